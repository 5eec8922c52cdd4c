//! Taking up where the last run ended.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use hearthkey_core::access::Admission;
use hearthkey_core::id::DeviceId;
use hearthkey_core::profile::Rights;

use crate::engine::Engine;
use crate::engine::arena::Place;
use crate::engine::earlier::{EarlierMessage, EarlierSession, name_of};
use crate::engine::outbox::Outbox;
use crate::engine::parcel::{Meter, end_ms};
use crate::engine::pending::Pending;
use crate::engine::rows::{FlightRow, MessageRow, Moment, SessionRow, WillRow, read_key};
use crate::engine::session::{Held, Identity, Key, RESTORED, Session, Written};
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

/// Why a row is not taken up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dropped {
    /// Its time is over.
    Over,
    /// It cannot be read.
    Unreadable,
}

/// What a session's row says.
struct SessionRead {
    head: SessionRow,
    key: Key,
    /// It has another name today.
    is_renamed: bool,
}

impl Engine {
    /// Restores every row that can be read and whose time is not over. The others, and those that belong to nothing any more,
    /// are deleted with the next changes. Returns how many could not be read.
    pub(crate) fn restore(&mut self, rows: Vec<StateRow>, at: Moment) -> usize {
        let mut messages: HashMap<String, Messages> = HashMap::new();
        let mut wills = Vec::new();
        let mut unreadable = 0;
        for row in rows {
            let (kind, key) = (row.kind, row.key.clone());
            let taken = match kind {
                StateKind::Retained => self.restore_retained(row, at),
                StateKind::Session => self.restore_session(&row, at),
                // After every session: a will is said before its session ends.
                StateKind::Will => {
                    wills.push(row);
                    Ok(())
                }
                StateKind::Queue | StateKind::Inflight => {
                    sort_in(&mut messages, row).ok_or(Dropped::Unreadable)
                }
            };
            if let Err(dropped) = taken {
                unreadable += usize::from(dropped == Dropped::Unreadable);
                self.ledger.strays.push((kind, key));
            }
        }
        for row in wills {
            let key = row.key.clone();
            if self.restore_will(row, at).is_none() {
                unreadable += 1;
                self.ledger.strays.push((StateKind::Will, key));
            }
        }
        for (name, messages) in messages {
            unreadable += self.restore_messages(&name, messages, at);
        }
        unreadable
    }

    fn restore_retained(&mut self, row: StateRow, at: Moment) -> Result<(), Dropped> {
        let earlier = || {
            let (earlier, payload) = decode::<EarlierMessage>(&row.value)?;
            earlier.into_row(&payload)
        };
        let read = decode::<MessageRow>(&row.value).or_else(earlier);
        let (head, raw) = read.ok_or(Dropped::Unreadable)?;
        if head.is_over(at) {
            return Err(Dropped::Over);
        }
        let parcel = head.parcel(raw, at, &self.meter);
        let parcel = parcel.ok_or(Dropped::Unreadable)?;
        let topic = parcel.message.topic.bytes();
        if *topic != row.key.as_bytes() || parcel.message.payload.is_empty() {
            return Err(Dropped::Unreadable);
        }
        let owner: Option<DeviceId> = head.owner.and_then(|owner| owner.parse().ok());
        // What was within its bounds once stays, also if the bounds are others now.
        let any = super::retained::RetainedBounds {
            messages_max: usize::MAX,
            bytes_max: usize::MAX,
            message_max_bytes: usize::MAX,
        };
        let owner = owner.as_ref().map(|device| (device, any));
        let kept = self.retained.set(&parcel, owner, any);
        kept.map_err(|_| Dropped::Unreadable)?;
        self.retained.take_changed(1);
        self.ledger.retained_written.insert(topic.clone());
        Ok(())
    }

    fn read_session(&mut self, row: &StateRow, at: Moment) -> Option<SessionRead> {
        if let Some((head, _)) = decode::<SessionRow>(&row.value) {
            return Some(SessionRead {
                head,
                key: read_key(&row.key)?,
                is_renamed: false,
            });
        }
        let (earlier, _) = decode::<EarlierSession>(&row.value)?;
        let life_s = i64::from(self.bounds.session_expiry_max_s);
        let name = name_of(&row.key);
        if name.is_some() {
            // It is written again under the name that it has today.
            self.ledger.strays.push((row.kind, row.key.clone()));
        }
        Some(SessionRead {
            head: earlier.into_row(at.home_s + life_s),
            key: read_key(name.as_ref().unwrap_or(&row.key))?,
            is_renamed: name.is_some(),
        })
    }

    fn restore_session(&mut self, row: &StateRow, at: Moment) -> Result<(), Dropped> {
        let read = self.read_session(row, at);
        let SessionRead {
            head,
            key,
            is_renamed,
        } = read.ok_or(Dropped::Unreadable)?;
        if head.expiry_s == 0 || head.ends_at_s.is_some_and(|end| end <= at.home_s) {
            return Err(Dropped::Over);
        }
        let identity = Identity {
            certificate: head.certificate.as_ref().and_then(|its| its.parse().ok()),
            admission: Admission::Full,
            // With its bounds, judged before anybody comes.
            rights: Arc::new(Rights::default()),
            epoch: u64::MAX,
        };
        let book = self.book_of(&key.owner);
        let mut session = Session::new(key, identity, self.bounds.session, book);
        session.expiry_s = head.expiry_s.min(self.bounds.session_expiry_max_s);
        session.ends_ms = match head.ends_at_s {
            Some(end) => Some(at.ms_of(end)),
            None => end_ms(at.now_ms, session.expiry_s),
        };
        session.away_since_ms = at.now_ms;
        session.written.head = !is_renamed;
        let place = self.add_session(session);
        for held in head.subscriptions.iter().filter_map(|row| row.held()) {
            self.restore_subscription(place, book, held);
        }
        if is_renamed {
            self.note_head_change(place);
        }
        Ok(())
    }

    fn restore_subscription(&mut self, session: Place, book: Place, held: Held) {
        let member = Member {
            session,
            options: held.options,
        };
        let bytes = crate::engine::weight::weight(&held.filter);
        self.subscriptions.insert(&held.filter, member);
        self.subscription_bytes += bytes;
        if let Some(book) = self.books.get_mut(book) {
            book.subscription_bytes += bytes;
        }
        if let Some(session) = self.sessions.get_mut(session) {
            session
                .subscriptions
                .insert(held.filter.text().clone(), held);
        }
    }

    fn restore_will(&mut self, row: StateRow, at: Moment) -> Option<()> {
        let (head, raw) = decode::<WillRow>(&row.value)?;
        let key = read_key(&row.key)?;
        let will = head.will(raw)?;
        // How much of the delay had gone by is not known: it begins anew, and ends with the session at the latest.
        let session = self
            .keys
            .get(&key)
            .and_then(|place| self.sessions.get(*place));
        let life_s = session.map_or(0, |session| session.expiry_s);
        let patience_ms = match head.delay_s.min(life_s) {
            0 => self.bounds.restart_will_ms,
            delay_s => u64::from(delay_s) * 1000,
        };
        let ends_ms = session.and_then(|session| session.ends_ms);
        let at_ms = at.now_ms.saturating_add(patience_ms);
        let at_ms = at_ms.min(ends_ms.unwrap_or(u64::MAX));
        let certificate = head.certificate.and_then(|its| its.parse().ok());
        let mut pending = Pending::new(Some(Box::new(will)), certificate, at_ms);
        pending.is_restored = true;
        self.wills.written.insert(key.clone());
        self.wills.put(key, pending);
        Some(())
    }

    fn restore_messages(&mut self, name: &str, messages: Messages, at: Moment) -> usize {
        let place = read_key(name).and_then(|key| self.keys.get(&key).copied());
        let meter = self.meter.clone();
        let restored = place.and_then(|place| {
            self.change_outbox(place, |session| {
                let received = messages.received.iter();
                session.received.extend(received.map(|id| (*id, RESTORED)));
                messages.fill(&mut session.outbox, at, &meter)
            })
        });
        // What is in the database is known, whether or not it could be used: the next changes put it right.
        let mut written = messages.written();
        match (place, restored) {
            (Some(place), Some(unreadable)) => {
                if let Some(session) = self.sessions.get_mut(place) {
                    written.head = true;
                    session.written = written;
                }
                self.note_change(place);
                unreadable
            }
            _ => {
                // Their session is over.
                self.forget_rows(name, written);
                0
            }
        }
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

impl Messages {
    /// Puts everything back in its order. Returns how many could not be read.
    fn fill(&self, outbox: &mut Outbox, at: Moment, meter: &Meter) -> usize {
        let mut unreadable = 0;
        let mut flights = self.flights.iter().peekable();
        for (number, value) in &self.queued {
            outbox.pass(*number);
            while let Some((number, row)) = flights.next_if(|(its, _)| *its < number) {
                restore_released(outbox, *number, row);
            }
            let flight = flights.next_if(|(its, _)| *its == number);
            let Some((row, raw)) = decode::<MessageRow>(value) else {
                unreadable += 1;
                continue;
            };
            if row.is_over(at) {
                continue;
            }
            match row.entry(raw, *number, at, meter) {
                Some(entry) => outbox.restore(entry, flight.map(|(_, row)| row.id)),
                None => unreadable += 1,
            }
        }
        for (number, row) in flights {
            restore_released(outbox, *number, row);
        }
        unreadable
    }

    /// What the database has of them.
    fn written(self) -> Written {
        let flights = self.flights.into_iter();
        Written {
            messages: self.queued.into_keys().collect(),
            flights: flights
                .map(|(number, row)| (number, (row.id, row.is_released)))
                .collect(),
            received: self.received.into_iter().collect(),
            ..Written::default()
        }
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
