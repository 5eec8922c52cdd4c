//! What happens when a session, its device or the home holds more than it may.
//!
//! Nobody who publishes waits. A client that is there and does not take its messages loses what was sent without a promise
//! first, and its connection then; a session that is away loses its oldest messages.

use crate::engine::Engine;
use crate::engine::arena::Place;
use crate::engine::outbox::Entry;
use crate::event::Bound;
use crate::protocol::{QoS, ReasonCode};

impl Engine {
    /// Makes room for a message in a session that is full. False if the message is to be dropped.
    pub(super) fn make_room(&mut self, at: Place, entry: &Entry, now_ms: u64) -> bool {
        let Some(session) = self.sessions.get(at) else {
            return false;
        };
        if session.link.is_some() {
            if entry.qos == QoS::AtMostOnce {
                self.tell_bound(at, Bound::Slow, now_ms);
                return false;
            }
            self.drop_unpromised(at, now_ms);
            if self.fits(at, entry) {
                return true;
            }
            self.dismiss_slow(at, now_ms);
        }
        // It is away now, or gone.
        self.drop_oldest_for(at, entry, now_ms)
    }

    fn fits(&self, at: Place, entry: &Entry) -> bool {
        self.sessions.get(at).is_some_and(|session| {
            let held = session.outbox.bytes();
            held == 0 || held + entry.bytes() <= session.bounds.queue_max_bytes
        })
    }

    /// Takes the connection from a session whose client does not take its messages.
    fn dismiss_slow(&mut self, at: Place, now_ms: u64) {
        self.tell_bound(at, Bound::TooSlow, now_ms);
        let why = "takes its messages too slowly";
        self.dismiss(at, ReasonCode::QuotaExceeded, why, now_ms);
    }

    /// Drops what waits for a session and was published without a promise.
    fn drop_unpromised(&mut self, at: Place, now_ms: u64) {
        let dropped = self.change_outbox(at, |session| {
            let before = session.outbox.len();
            session
                .outbox
                .retain(|entry| entry.qos != QoS::AtMostOnce, |_| true);
            before > session.outbox.len()
        });
        if dropped == Some(true) {
            self.note_change(at);
            self.tell_bound(at, Bound::Slow, now_ms);
        }
    }

    fn drop_oldest_for(&mut self, at: Place, entry: &Entry, now_ms: u64) -> bool {
        let room = self.change_outbox(at, |session| {
            let (most, longest) = (
                session.bounds.queue_messages_max,
                session.bounds.queue_max_bytes,
            );
            loop {
                let held = session.outbox.bytes();
                let fits = held == 0 || held + entry.bytes() <= longest;
                if fits && session.outbox.len() < most.max(1) {
                    return true;
                }
                if session.outbox.drop_oldest().is_none() {
                    // Only what is not acknowledged is left: that comes again first.
                    return false;
                }
            }
        });
        if room.is_some() {
            // Also if what was dropped made no room after all.
            self.note_change(at);
            self.tell_bound(at, Bound::Queue, now_ms);
        }
        room == Some(true)
    }

    /// Keeps what is on its way to all sessions of a device within its bound: the longest queue gives way.
    pub(super) fn relieve_device(&mut self, at: Place, now_ms: u64) {
        let most = self.bounds.queues_device_max_bytes;
        let Some(book) = self.sessions.get(at).map(|session| session.book) else {
            return;
        };
        while let Some(book) = self.books.get(book)
            && book.queue_bytes > most
        {
            let longest = book.sessions.iter().copied().max_by_key(|at| {
                self.sessions
                    .get(*at)
                    .map_or(0, |session| session.outbox.bytes())
            });
            match longest {
                Some(longest) if self.empty(longest, Bound::QueuesOfDevice, now_ms) => {}
                _ => return,
            }
        }
    }

    /// Whether more is held for sessions than the home may hold, each message counted once.
    pub(super) fn is_over_the_top(&self) -> bool {
        self.meter.bytes().saturating_sub(self.retained.bytes()) > self.bounds.queues_max_bytes
    }

    /// Keeps what is on its way to all sessions within the home's bound: the longest queue is emptied.
    pub(super) fn relieve(&mut self, now_ms: u64) {
        while self.is_over_the_top() {
            let longest = self
                .sessions
                .iter()
                .max_by_key(|(_, session)| session.outbox.bytes())
                .map(|(at, _)| at);
            match longest {
                Some(longest) if self.empty(longest, Bound::QueuesOfHome, now_ms) => {}
                // What is left is being written, one message for each connection.
                _ => return,
            }
        }
    }

    /// Drops all that is on its way to a session; one that is there loses its connection. False if there was nothing.
    fn empty(&mut self, at: Place, bound: Bound, now_ms: u64) -> bool {
        let Some(session) = self.sessions.get(at) else {
            return false;
        };
        if session.outbox.is_empty() {
            return false;
        }
        if session.link.is_some() {
            self.drop_unpromised(at, now_ms);
            self.dismiss_slow(at, now_ms);
        }
        self.tell_bound(at, bound, now_ms);
        self.change_outbox(at, |session| session.outbox.clear());
        self.note_change(at);
        true
    }
}
