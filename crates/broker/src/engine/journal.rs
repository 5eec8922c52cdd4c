//! Which rows have changed since they were last written down.
//!
//! A session is compared with what was written of it by the numbers of its messages: what is gone is deleted, what is new
//! is put. A message that came and was acknowledged in between is never written.

use std::collections::HashSet;

use serde::Serialize;

use crate::engine::Engine;
use crate::engine::arena::Place;
use crate::engine::rows::{self, FlightRow, Moment};
use crate::engine::session::Written;
use crate::state::{StateChange, StateKind, StateRow, encode};

/// Changes that are gathered until there are enough.
#[derive(Debug, Default)]
struct Batch {
    changes: Vec<StateChange>,
    bytes: usize,
}

impl Batch {
    fn put<T: Serialize>(&mut self, kind: StateKind, key: String, head: &T, raw: &[u8]) {
        match encode(head, raw) {
            Ok(value) => {
                self.bytes += value.len();
                self.changes
                    .push(StateChange::Put(StateRow { kind, key, value }));
            }
            Err(error) => tracing::error!(%error, ?kind, "a state row could not be written"),
        }
    }

    fn delete(&mut self, kind: StateKind, key: String) {
        self.changes.push(StateChange::Delete { kind, key });
    }
}

/// A batch is full with values of this many bytes.
const BATCH_BYTES: usize = 1024 * 1024;

impl Engine {
    /// Whether retained messages have changed since they were written down.
    pub(crate) fn has_retained_changes(&self) -> bool {
        self.retained.has_changed()
    }

    /// Changes that are to be written down together, about `max` of them; none if all is written. `all`: not only those of
    /// retained messages.
    pub(crate) fn take_changes(&mut self, max: usize, all: bool, at: Moment) -> Vec<StateChange> {
        let mut batch = Batch::default();
        self.retained_changes(&mut batch, max, at);
        if all {
            for (kind, key) in std::mem::take(&mut self.ledger.strays) {
                batch.delete(kind, key);
            }
            for (key, written) in std::mem::take(&mut self.ledger.ended) {
                // A successor with the same name is written anew behind this.
                if let Some(name) = rows::key_text(&key) {
                    batch.delete(StateKind::Session, name.clone());
                    forget(&mut batch, &name, written);
                }
            }
            while batch.changes.len() < max.max(1)
                && batch.bytes < BATCH_BYTES
                && let Some(place) = self.ledger.stale.pop()
            {
                self.session_changes(&mut batch, place, at);
            }
            self.will_changes(&mut batch);
        }
        batch.changes
    }

    fn retained_changes(&mut self, batch: &mut Batch, max: usize, at: Moment) {
        while batch.changes.len() < max.max(1) && batch.bytes < BATCH_BYTES {
            let changed = self.retained.take_changed(1);
            let Some(topic) = changed.first() else { return };
            let Ok(name) = std::str::from_utf8(topic) else {
                continue;
            };
            let owner = self.retained.owner(topic).map(ToString::to_string);
            match self.retained.get(topic) {
                // What the gateway itself has said below its own topics follows from its registry.
                Some(_) if name.starts_with("hearthkey/") => {}
                Some(parcel) => {
                    let (row, raw) = rows::retained(parcel, owner, at);
                    self.ledger.retained_written.insert(topic.clone());
                    batch.put(StateKind::Retained, name.to_owned(), &row, &raw);
                }
                None => {
                    if self.ledger.retained_written.remove(topic) {
                        batch.delete(StateKind::Retained, name.to_owned());
                    }
                }
            }
        }
    }

    fn session_changes(&mut self, batch: &mut Batch, place: Place, at: Moment) {
        let Some(session) = self.sessions.get_mut(place) else {
            return;
        };
        session.written.is_stale = false;
        let Some(name) = rows::key_text(&session.key) else {
            return;
        };
        if !session.is_lasting() {
            let written = std::mem::take(&mut session.written);
            if written.head {
                batch.delete(StateKind::Session, name.clone());
                forget(batch, &name, written);
            }
            return;
        }
        if session.written.head_is_stale || !session.written.head {
            let row = rows::session(session, at);
            batch.put(StateKind::Session, name.clone(), &row, &[]);
            (session.written.head, session.written.head_is_stale) = (true, false);
        }
        if !message_changes(batch, &name, session, at) {
            // The rest goes with the next batch.
            session.written.is_stale = true;
            return self.ledger.stale(place);
        }
        let received: HashSet<_> = session.received.keys().copied().collect();
        for id in session.written.received.difference(&received) {
            batch.delete(StateKind::Inflight, rows::received_key(&name, *id));
        }
        for id in received.difference(&session.written.received) {
            batch.put(
                StateKind::Inflight,
                rows::received_key(&name, *id),
                &(),
                &[],
            );
        }
        session.written.received = received;
    }

    fn will_changes(&mut self, batch: &mut Batch) {
        for key in std::mem::take(&mut self.wills.changed) {
            let Some(name) = rows::key_text(&key) else {
                continue;
            };
            let session = self.keys.get(&key).and_then(|at| self.sessions.get(*at));
            let live = session.and_then(|session| {
                let will = session.will.as_ref()?;
                Some((will, session.identity.certificate))
            });
            let pending = || {
                let pending = self.wills.get(&key).filter(|pending| !pending.is_cut)?;
                Some((pending.will.as_ref()?, pending.certificate))
            };
            match live.or_else(pending) {
                Some((will, certificate)) => {
                    let (row, raw) = rows::will(will, certificate.map(|its| its.to_string()));
                    batch.put(StateKind::Will, name, &row, &raw);
                    self.wills.written.insert(key);
                }
                None => {
                    if self.wills.written.remove(&key) {
                        batch.delete(StateKind::Will, name);
                    }
                }
            }
        }
    }
}

/// Puts what is new among a session's messages, and deletes what is gone. False if the batch is full before all is said.
fn message_changes(
    batch: &mut Batch,
    name: &str,
    session: &mut super::session::Session,
    at: Moment,
) -> bool {
    let written = &mut session.written;
    let flights = session.outbox.flights();
    let held = flights.filter_map(|flight| flight.entry.as_ref());
    // Both are in the order of their numbers, and flights come before what waits.
    let entries = held.chain(session.outbox.waiting());
    let mut before = std::mem::take(&mut written.messages).into_iter().peekable();
    let mut is_full = false;
    for entry in entries {
        is_full = batch.bytes >= BATCH_BYTES;
        if is_full {
            break;
        }
        while let Some(gone) = before.next_if(|number| *number < entry.number) {
            batch.delete(StateKind::Queue, rows::queue_key(name, gone));
        }
        if before.next_if_eq(&entry.number).is_none() {
            let (row, raw) = rows::queued(entry, at);
            let key = rows::queue_key(name, entry.number);
            batch.put(StateKind::Queue, key, &row, &raw);
        }
        written.messages.push_back(entry.number);
    }
    if is_full {
        // What was written of the rest is compared again.
        written.messages.extend(before);
        return false;
    }
    for gone in before {
        batch.delete(StateKind::Queue, rows::queue_key(name, gone));
    }
    let mut left = std::mem::take(&mut written.flights);
    for flight in session.outbox.flights() {
        let row = FlightRow {
            id: flight.id,
            is_released: flight.is_released(),
        };
        let state = (row.id, row.is_released);
        if left.remove(&flight.number) != Some(state) {
            let key = rows::flight_key(name, flight.number);
            batch.put(StateKind::Inflight, key, &row, &[]);
        }
        written.flights.insert(flight.number, state);
    }
    for gone in left.into_keys() {
        batch.delete(StateKind::Inflight, rows::flight_key(name, gone));
    }
    true
}

fn forget(batch: &mut Batch, name: &str, written: Written) {
    for number in written.messages {
        batch.delete(StateKind::Queue, rows::queue_key(name, number));
    }
    for number in written.flights.into_keys() {
        batch.delete(StateKind::Inflight, rows::flight_key(name, number));
    }
    for id in written.received {
        batch.delete(StateKind::Inflight, rows::received_key(name, id));
    }
}
