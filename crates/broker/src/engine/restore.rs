//! Taking up where the last run ended.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use hearthkey_core::access::Admission;
use hearthkey_core::id::DeviceId;
use hearthkey_core::profile::Rights;

use crate::engine::Engine;
use crate::engine::arena::Place;
use crate::engine::bounds::Book;
use crate::engine::earlier::{EarlierMessage, EarlierSession, name_of};
use crate::engine::outbox::Outbox;
use crate::engine::parcel::end_ms;
use crate::engine::pending::Pending;
use crate::engine::rows::{FlightRow, MessageRow, Moment, SessionRow, WillRow, read_key};
use crate::engine::session::{Identity, Key, RESTORED, Session, Written};
use crate::engine::subscriptions::Member;
use crate::protocol::PacketId;
use crate::state::{StateKind, StateRow, decode};

/// What rows say about the messages of one session.
#[derive(Debug, Default)]
struct Messages {
    queued: BTreeMap<u64, Vec<u8>>,
    flights: BTreeMap<u64, FlightRow>,
    received: Vec<PacketId>,
}

impl Engine {
    /// Restores every row that can be read. Those that cannot, or that belong to nothing any more, are deleted with the next
    /// changes. Returns how many could not be read.
    pub(crate) fn restore(&mut self, rows: Vec<StateRow>, at: Moment) -> usize {
        let mut messages: HashMap<String, Messages> = HashMap::new();
        let mut unreadable = 0;
        for row in rows {
            let (kind, key) = (row.kind, row.key.clone());
            let read = match kind {
                StateKind::Retained => self.restore_retained(row, at),
                StateKind::Session => self.restore_session(&row, at),
                StateKind::Will => self.restore_will(row, at),
                StateKind::Queue | StateKind::Inflight => sort_in(&mut messages, row),
            };
            if read.is_none() {
                unreadable += 1;
                self.ledger.strays.push((kind, key));
            }
        }
        for (name, messages) in messages {
            unreadable += self.restore_messages(&name, messages, at);
        }
        unreadable
    }

    fn restore_retained(&mut self, row: StateRow, at: Moment) -> Option<()> {
        let (head, raw) = match decode::<MessageRow>(&row.value) {
            Some(read) => read,
            None => {
                let (earlier, payload) = decode::<EarlierMessage>(&row.value)?;
                earlier.into_row(&payload)?
            }
        };
        let parcel = head.parcel(raw, at, &self.meter)?;
        let topic = parcel.message.topic.bytes();
        if *topic != row.key.as_bytes() || parcel.message.payload.is_empty() {
            return None;
        }
        let owner: Option<DeviceId> = head.owner.and_then(|owner| owner.parse().ok());
        // What was within its bounds once stays, also if the bounds are others now.
        let any = super::retained::RetainedBounds {
            messages_max: usize::MAX,
            bytes_max: usize::MAX,
            message_max_bytes: usize::MAX,
        };
        let owner = owner.as_ref().map(|device| (device, any));
        self.retained.set(&parcel, owner, any).ok()?;
        self.retained.take_changed(1);
        self.ledger.retained_written.insert(topic.clone());
        Some(())
    }

    fn restore_session(&mut self, row: &StateRow, at: Moment) -> Option<()> {
        let (head, name) = match decode::<SessionRow>(&row.value) {
            Some((head, _)) => (head, None),
            None => {
                let (earlier, _) = decode::<EarlierSession>(&row.value)?;
                let life_s = i64::from(self.bounds.session_expiry_max_s);
                (earlier.into_row(at.home_s + life_s), name_of(&row.key))
            }
        };
        if name.is_some() {
            // It is written again under the name that it has today.
            self.ledger.strays.push((row.kind, row.key.clone()));
        }
        let key = read_key(name.as_ref().unwrap_or(&row.key))?;
        if head.expiry_s == 0 || head.ends_at_s.is_some_and(|end| end <= at.home_s) {
            return None;
        }
        let expiry_s = head.expiry_s.min(self.bounds.session_expiry_max_s);
        let book = self.book_of(&key);
        let place = self.sessions.insert(Session {
            identity: Identity {
                certificate: head.certificate.and_then(|its| its.parse().ok()),
                admission: Admission::Full,
                // Judged when the home opens, and when the device comes.
                rights: Arc::new(Rights::default()),
                epoch: u64::MAX,
            },
            bounds: self.bounds.session,
            book,
            link: None,
            expiry_s,
            ends_ms: match head.ends_at_s {
                Some(end) => Some(at.ms_of(end)),
                None => end_ms(at.now_ms, expiry_s),
            },
            away_since_ms: at.now_ms,
            subscriptions: HashMap::new(),
            outbox: Outbox::default(),
            received: HashMap::new(),
            cursors: VecDeque::new(),
            will: None,
            is_silenced: false,
            written: Written {
                head: name.is_none(),
                ..Written::default()
            },
            key: key.clone(),
        });
        self.keys.insert(key, place);
        if let Some(book) = self.books.get_mut(book) {
            book.sessions.push(place);
        }
        for held in head.subscriptions.iter().filter_map(|row| row.held()) {
            let member = Member {
                session: place,
                options: held.options,
            };
            let bytes = super::subscribe::weight(&held.filter);
            self.subscriptions.insert(&held.filter, member);
            self.subscription_bytes += bytes;
            if let Some(book) = self.books.get_mut(book) {
                book.subscription_bytes += bytes;
            }
            if let Some(session) = self.sessions.get_mut(place) {
                session
                    .subscriptions
                    .insert(held.filter.text().clone(), held);
            }
        }
        if name.is_some() {
            self.note_head_change(place);
        }
        Some(())
    }

    fn book_of(&mut self, key: &Key) -> Place {
        match self.owners.get(&key.owner) {
            Some(book) => *book,
            None => {
                let book = self.books.insert(Book::default());
                self.owners.insert(key.owner.clone(), book);
                book
            }
        }
    }

    fn restore_will(&mut self, row: StateRow, at: Moment) -> Option<()> {
        let (head, raw) = decode::<WillRow>(&row.value)?;
        let key = read_key(&row.key)?;
        let will = head.will(raw)?;
        let patience_ms = match head.delay_s {
            0 => self.bounds.restart_will_ms,
            delay_s => u64::from(delay_s) * 1000,
        };
        let certificate = head.certificate.and_then(|its| its.parse().ok());
        let at_ms = at.now_ms.saturating_add(patience_ms);
        let mut pending = Pending::new(Some(Box::new(will)), certificate, at_ms);
        pending.is_restored = true;
        self.wills.written.insert(key.clone());
        self.wills.put(key, pending);
        Some(())
    }

    fn restore_messages(&mut self, name: &str, messages: Messages, at: Moment) -> usize {
        let place = read_key(name).and_then(|key| self.keys.get(&key).copied());
        let mut unreadable = 0;
        let meter = self.meter.clone();
        let mut written = Written::default();
        let restored = place.and_then(|place| {
            self.change_outbox(place, |session| {
                let mut flights = messages.flights.iter().peekable();
                for (number, value) in &messages.queued {
                    while let Some((number, row)) = flights.next_if(|(its, _)| *its < number) {
                        restore_released(&mut session.outbox, *number, row);
                    }
                    let flight = flights.next_if(|(its, _)| *its == number);
                    let read = decode::<MessageRow>(value);
                    let entry = read.and_then(|(row, raw)| row.entry(raw, *number, at, &meter));
                    match entry {
                        Some(entry) => session.outbox.restore(entry, flight.map(|(_, row)| row.id)),
                        None => unreadable += 1,
                    }
                }
                for (number, row) in flights {
                    restore_released(&mut session.outbox, *number, row);
                }
                let received = messages.received.iter();
                session.received.extend(received.map(|id| (*id, RESTORED)));
            })
        });
        // What is in the database is known, whether or not it could be used: the next changes put it right.
        written.messages = messages.queued.into_keys().collect();
        let flights = messages.flights.into_iter();
        written.flights = flights
            .map(|(number, row)| (number, (row.id, row.is_released)))
            .collect();
        written.received = messages.received.into_iter().collect();
        match (place, restored) {
            (Some(place), Some(())) => {
                if let Some(session) = self.sessions.get_mut(place) {
                    written.head = true;
                    session.written = written;
                }
                self.note_change(place);
            }
            _ => {
                unreadable += written.messages.len();
                self.forget_rows(name, written);
            }
        }
        unreadable
    }

    fn forget_rows(&mut self, name: &str, written: Written) {
        let queued = written.messages.iter();
        let queued = queued.map(|number| (StateKind::Queue, super::rows::queue_key(name, *number)));
        let flights = written.flights.keys();
        let flights =
            flights.map(|number| (StateKind::Inflight, super::rows::flight_key(name, *number)));
        let received = written.received.iter();
        let received =
            received.map(|id| (StateKind::Inflight, super::rows::received_key(name, *id)));
        self.ledger
            .strays
            .extend(queued.chain(flights).chain(received));
    }
}

/// Puts back an identifier that is only to be released. Without a message, another has nothing to say.
fn restore_released(outbox: &mut Outbox, number: u64, row: &FlightRow) {
    if row.is_released {
        outbox.restore_released(row.id, number);
    }
}

/// Sorts a row to the session that it belongs to.
fn sort_in(messages: &mut HashMap<String, Messages>, row: StateRow) -> Option<()> {
    let (before, last) = row.key.rsplit_once('/')?;
    let number: u64 = last.parse().ok()?;
    if row.kind == StateKind::Queue {
        let its = messages.entry(before.to_owned()).or_default();
        its.queued.insert(number, row.value);
        return Some(());
    }
    let (name, direction) = before.rsplit_once('/')?;
    let its = messages.entry(name.to_owned()).or_default();
    match direction {
        "in" => its
            .received
            .push(PacketId::new(u16::try_from(number).ok()?)?),
        "out" => {
            let (flight, _) = decode::<FlightRow>(&row.value)?;
            its.flights.insert(number, flight);
        }
        _ => return None,
    }
    Some(())
}
