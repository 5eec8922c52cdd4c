//! What is on its way to one session: messages that wait, and messages that were sent and are not acknowledged.

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::sync::Arc;

use crate::engine::parcel::Parcel;
use crate::engine::routes::Ids;
use crate::protocol::{PacketId, QoS};

/// What an entry takes besides the bytes of its message.
const ENTRY_BYTES: usize = 64;
/// A queue that was longer than this gives its memory back when it is empty.
const KEPT_ENTRIES: usize = 32;
/// Messages that were sent and are not acknowledged to the end, over all connections of a session: a receiver that never
/// completes its QoS 2 messages gets no more of them.
const FLIGHTS_MAX: usize = 4_096;

/// A message for one session.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) parcel: Arc<Parcel>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) ids: Ids,
    /// Its number among the messages of its session: the name under which it is written down.
    pub(crate) number: u64,
}

impl Entry {
    /// What it counts for.
    pub(crate) fn bytes(&self) -> usize {
        self.parcel.bytes() + ENTRY_BYTES
    }
}

/// A message that was sent.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) id: PacketId,
    /// Its number, as in its entry.
    pub(crate) number: u64,
    /// The message, until the receiver has it.
    pub(crate) entry: Option<Entry>,
    /// It went out over the present connection.
    sent: bool,
    /// It counts against the receiver's bound: a release alone does not (MQTT 5 §4.9).
    counts: bool,
    /// It was sent at all: a second time it is a duplicate.
    again: bool,
}

impl Flight {
    /// A QoS 2 message that the receiver has: only its identifier is to be released.
    pub(crate) fn is_released(&self) -> bool {
        self.entry.is_none()
    }
}

/// What an acknowledgement did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acked {
    Done,
    /// Nothing with this identifier is under way.
    Unknown,
    /// It is not the acknowledgement that is due: a client that sends it has lost its place.
    Wrong,
}

/// Something to send.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Message {
        entry: Entry,
        id: Option<PacketId>,
        dup: bool,
    },
    Release(PacketId),
}

/// What is on its way to one session.
#[derive(Debug)]
pub(crate) struct Outbox {
    waiting: VecDeque<Entry>,
    flights: VecDeque<Flight>,
    bytes: usize,
    next_id: NonZeroU16,
    next_number: u64,
    /// Flights of the present connection that count against the receiver's bound.
    open: usize,
    /// Flights of an earlier connection that were not sent again yet.
    unsent: usize,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            flights: VecDeque::new(),
            bytes: 0,
            next_id: NonZeroU16::MIN,
            next_number: 1,
            open: 0,
            unsent: 0,
        }
    }
}

impl Outbox {
    /// The bytes of all that waits and all that is not acknowledged.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.flights.is_empty()
    }

    /// Adds a message behind all others.
    pub(crate) fn push(&mut self, mut entry: Entry) {
        entry.number = self.next_number;
        self.next_number += 1;
        self.bytes += entry.bytes();
        self.waiting.push_back(entry);
    }

    /// The next thing to send, if the receiver takes one more: first what an earlier connection left, in its order.
    pub(crate) fn next(&mut self, window: usize) -> Option<Outgoing> {
        if self.unsent > 0 {
            return self.next_again(window);
        }
        let first = self.waiting.front()?;
        if first.qos == QoS::AtMostOnce {
            let entry = self.pop_waiting()?;
            self.bytes -= entry.bytes();
            return Some(Outgoing::Message {
                entry,
                id: None,
                dup: false,
            });
        }
        if !self.takes_one_more(window) {
            return None;
        }
        let entry = self.pop_waiting()?;
        let id = self.take_off(entry.clone());
        Some(Outgoing::Message {
            entry,
            id: Some(id),
            dup: false,
        })
    }

    fn pop_waiting(&mut self) -> Option<Entry> {
        let entry = self.waiting.pop_front()?;
        if self.waiting.is_empty() && self.waiting.capacity() > KEPT_ENTRIES {
            self.waiting = VecDeque::new();
        }
        Some(entry)
    }

    fn next_again(&mut self, window: usize) -> Option<Outgoing> {
        let full = self.open >= window;
        let flight = self.flights.iter_mut().find(|flight| !flight.sent)?;
        if full && !flight.is_released() {
            return None;
        }
        flight.sent = true;
        self.unsent -= 1;
        Some(match &flight.entry {
            None => Outgoing::Release(flight.id),
            Some(entry) => {
                self.open += 1;
                flight.counts = true;
                let dup = std::mem::replace(&mut flight.again, true);
                Outgoing::Message {
                    entry: entry.clone(),
                    id: Some(flight.id),
                    dup,
                }
            }
        })
    }

    /// Counts a message that did not wait, and gives it its identifier. It is to be sent now.
    pub(crate) fn send_at_once(&mut self, mut entry: Entry) -> (Entry, PacketId) {
        entry.number = self.next_number;
        self.next_number += 1;
        self.bytes += entry.bytes();
        let id = self.take_off(entry.clone());
        (entry, id)
    }

    /// Whether the receiver takes one more QoS 1 or 2 message now, none waits, and less than `most_bytes` are on their way.
    pub(crate) fn is_open(&self, window: usize, most_bytes: usize) -> bool {
        let has_room = self.unsent == 0 && self.waiting.is_empty() && self.takes_one_more(window);
        has_room && (self.bytes < most_bytes || self.bytes == 0)
    }

    fn takes_one_more(&self, window: usize) -> bool {
        self.open < window && self.flights.len() < FLIGHTS_MAX
    }

    fn take_off(&mut self, entry: Entry) -> PacketId {
        // Identifiers are given in turn, so the next one that is in use is that of the oldest flight; only a client
        // that acknowledges out of order for 65,535 messages makes this look further.
        let mut id = self.next_id;
        if self.flights.front().is_some_and(|first| first.id == id) {
            while self.flights.iter().any(|flight| flight.id == id) {
                id = after(id);
            }
        }
        self.next_id = after(id);
        self.open += 1;
        self.flights.push_back(Flight {
            id,
            number: entry.number,
            entry: Some(entry),
            sent: true,
            counts: true,
            again: true,
        });
        id
    }

    /// Takes note of a PUBACK (QoS 1), or of a PUBCOMP (QoS 2).
    pub(crate) fn complete(&mut self, id: PacketId, qos: QoS) -> Acked {
        let Some(at) = self.flights.iter().position(|flight| flight.id == id) else {
            return Acked::Unknown;
        };
        let due = self.flights.get(at).map(|flight| match &flight.entry {
            Some(entry) => (entry.qos, entry.qos == QoS::AtLeastOnce),
            None => (QoS::ExactlyOnce, true),
        });
        if due != Some((qos, true)) {
            return Acked::Wrong;
        }
        self.land(at);
        Acked::Done
    }

    /// Takes note of a PUBREC that refuses the message: nothing is to be released.
    pub(crate) fn refused(&mut self, id: PacketId) -> Acked {
        let Some(at) = self.flights.iter().position(|flight| flight.id == id) else {
            return Acked::Unknown;
        };
        let entry = self
            .flights
            .get(at)
            .and_then(|flight| flight.entry.as_ref());
        if entry.is_none_or(|entry| entry.qos != QoS::ExactlyOnce) {
            return Acked::Wrong;
        }
        self.land(at);
        Acked::Done
    }

    /// Gives up a message that cannot be sent: for its session it counts as delivered.
    pub(crate) fn abandon(&mut self, id: PacketId) {
        if let Some(at) = self.flights.iter().rposition(|flight| flight.id == id) {
            self.land(at);
        }
    }

    fn land(&mut self, at: usize) {
        if let Some(flight) = self.flights.remove(at) {
            self.bytes -= flight.entry.as_ref().map_or(0, Entry::bytes);
            self.open -= usize::from(flight.counts);
            self.unsent -= usize::from(!flight.sent);
        }
        if self.flights.is_empty() && self.flights.capacity() > KEPT_ENTRIES {
            self.flights = VecDeque::new();
        }
    }

    /// Takes note of a PUBREC: the receiver has the message, and its identifier is to be released.
    pub(crate) fn release(&mut self, id: PacketId) -> Acked {
        let Some(flight) = self.flights.iter_mut().find(|flight| flight.id == id) else {
            return Acked::Unknown;
        };
        match &flight.entry {
            Some(entry) if entry.qos == QoS::ExactlyOnce => {
                self.bytes -= entry.bytes();
                flight.entry = None;
                self.unsent -= usize::from(!std::mem::replace(&mut flight.sent, true));
                Acked::Done
            }
            Some(_) => Acked::Wrong,
            // Sent again because the PUBREL was lost.
            None => Acked::Done,
        }
    }

    /// The connection has ended: what was not acknowledged is sent again over the next one, what came without a
    /// promise is dropped. Returns the bytes that were given up.
    pub(crate) fn disconnected(&mut self) -> usize {
        let before = self.bytes;
        self.retain(|entry| entry.qos != QoS::AtMostOnce, |_| true);
        for flight in &mut self.flights {
            (flight.sent, flight.counts) = (false, false);
        }
        self.unsent = self.flights.len();
        self.open = 0;
        before - self.bytes
    }

    /// Keeps waiting messages and unsent flights that pass; what is on its way over the present connection stays.
    pub(crate) fn retain(
        &mut self,
        waits: impl Fn(&Entry) -> bool,
        flies: impl Fn(&Entry) -> bool,
    ) {
        let bytes = &mut self.bytes;
        self.waiting.retain(|entry| {
            let keep = waits(entry);
            if !keep {
                *bytes -= entry.bytes();
            }
            keep
        });
        let unsent = &mut self.unsent;
        self.flights.retain(|flight| match &flight.entry {
            Some(entry) if !flight.sent && !flies(entry) => {
                *bytes -= entry.bytes();
                *unsent -= 1;
                false
            }
            _ => true,
        });
    }

    /// Drops the oldest waiting message. Returns what it counted for.
    pub(crate) fn drop_oldest(&mut self) -> Option<usize> {
        let entry = self.pop_waiting()?;
        self.bytes -= entry.bytes();
        Some(entry.bytes())
    }

    /// Drops all that waits, and all that was not acknowledged. Returns how many messages and bytes.
    pub(crate) fn clear(&mut self) -> (usize, usize) {
        let dropped = (self.waiting.len() + self.flights.len(), self.bytes);
        let (next_id, next_number) = (self.next_id, self.next_number);
        *self = Self {
            next_id,
            next_number,
            ..Self::default()
        };
        dropped
    }

    pub(crate) fn waiting(&self) -> impl Iterator<Item = &Entry> {
        self.waiting.iter()
    }

    pub(crate) fn flights(&self) -> impl Iterator<Item = &Flight> {
        self.flights.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + self.flights.len()
    }

    /// Gives a number to no other message: the database has a row by that name, whether or not it can be used.
    pub(crate) fn pass(&mut self, number: u64) {
        self.next_number = self.next_number.max(number + 1);
    }

    /// Puts back a message of an earlier run, in the order of its number. `flight` is its identifier if it was sent.
    pub(crate) fn restore(&mut self, entry: Entry, flight: Option<PacketId>) {
        self.next_number = self.next_number.max(entry.number + 1);
        self.bytes += entry.bytes();
        match flight {
            None => self.waiting.push_back(entry),
            Some(id) => self.restore_flight(id, entry.number, Some(entry)),
        }
    }

    /// Puts back a message that only has to be released.
    pub(crate) fn restore_released(&mut self, id: PacketId, number: u64) {
        self.next_number = self.next_number.max(number + 1);
        self.restore_flight(id, number, None);
    }

    fn restore_flight(&mut self, id: PacketId, number: u64, entry: Option<Entry>) {
        self.next_id = after(id);
        self.unsent += 1;
        self.flights.push_back(Flight {
            id,
            number,
            entry,
            sent: false,
            counts: false,
            again: true,
        });
    }
}

fn after(id: NonZeroU16) -> NonZeroU16 {
    id.checked_add(1).unwrap_or(NonZeroU16::MIN)
}

#[cfg(test)]
mod tests;
