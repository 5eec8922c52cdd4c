//! The engine of the MQTT listener: sessions, subscriptions, retained messages, queues and wills, as plain values.
//!
//! No socket, no task and no clock is in here: packets come in as values, bytes go out into a buffer of the caller,
//! and `now_ms` is an argument (milliseconds since the engine began). So everything that it does can be tested, and
//! compared with a model of the specification, without a connection.
//!
//! | part | module |
//! | --- | --- |
//! | who listens, where messages go | `subscriptions`, `routes`, `topics` |
//! | a message, and what is on its way to a session | `parcel`, `outbox`, `delivery` |
//! | a session and its connection, from CONNECT to its end | `session`, `attach`, `detach`; wills: `pending`, `wills` |
//! | what a client sends, what it is sent | `inbound`, `subscribe`, `outbound` |
//! | retained messages | `retained` |
//! | bounds, and what is reported when one is reached | `bounds`, `bucket`, `pressure`, `notes` |
//! | two machines under one identity | `meet`, `meetings` |
//! | what the gateway itself does | `gateway` |
//! | what survives a restart | `rows`, `ledger`, `journal`, `restore`; from before this engine: `earlier` |
//!
//! One engine is one room: nothing that happens in it can be seen from another. The home is one; each claim's
//! connection, and each renewal of an expired certificate, has one of its own.
//!
//! Invariants:
//! - Every session and every message has its owner. What ends an identity ends, in one place, every session, queue
//!   and will of it.
//! - Nothing is taken from a connection, and nothing is given to it, before its identity has been judged by the access
//!   as it is now: the count of changes is compared with each step, and a step that finds it moved does nothing.
//! - What is on its way to a session is bounded in bytes, for the session, its device and the home. A session that does
//!   not take its messages loses its connection or its queue; nobody who publishes ever waits for it.

pub(crate) mod arena;
mod attach;
pub(crate) mod bounds;
mod bucket;
mod delivery;
mod detach;
mod earlier;
mod gateway;
mod inbound;
mod journal;
mod ledger;
mod meet;
mod meetings;
mod notes;
mod outbound;
mod outbox;
mod parcel;
mod pending;
mod pressure;
mod progress;
mod restore;
mod retained;
mod routes;
mod rows;
pub(crate) mod session;
mod subscribe;
mod subscriptions;
mod topics;
mod weight;
mod wills;

use std::collections::HashMap;
use std::task::Waker;

use bytes::BytesMut;
use hearthkey_core::access::Epoch;

use crate::engine::arena::{Arena, Place};
use crate::engine::bounds::{Book, Bounds};
use crate::engine::ledger::Ledger;
use crate::engine::notes::Notes;
use crate::engine::parcel::Meter;
use crate::engine::pending::Wills;
use crate::engine::retained::Retained;
use crate::engine::routes::Routes;
use crate::engine::session::{Handle, Key, Owner, Session};
use crate::engine::subscriptions::Subscriptions;
use crate::event::Event;
use crate::protocol::ReasonCode;

pub(crate) use attach::{Arrival, Attached};
pub(crate) use detach::end_of;
pub(crate) use gateway::{Answer, Answered, Verdict};

pub(crate) use outbound::{Drained, Output};
pub(crate) use pending::{DueWill, Voice};
pub(crate) use progress::{Asked, Departure, Progress, RequestKind};
pub(crate) use rows::Moment;
pub(crate) use session::Identity;

/// One room: see the module's own words.
#[derive(Debug)]
pub(crate) struct Engine {
    bounds: Bounds,
    epoch: Epoch,
    sessions: Arena<Session>,
    keys: HashMap<Key, Place>,
    books: Arena<Book>,
    owners: HashMap<Owner, Place>,
    subscriptions: Subscriptions,
    subscription_bytes: usize,
    routes: Routes,
    retained: Retained,
    wills: Wills,
    /// Connections that have lost their session, until they have been told.
    leaving: HashMap<u64, LastWords>,
    meter: Meter,
    /// Connections that have something to send.
    calls: Vec<Waker>,
    notes: Notes,
    asked: Vec<Asked>,
    /// Counts what is done, so that nobody keeps the engine to themselves.
    work: usize,
    ledger: Ledger,
}

/// What is left to say on a connection that has lost its session.
#[derive(Debug)]
pub(crate) struct LastWords {
    bytes: BytesMut,
    reason: ReasonCode,
}

impl Engine {
    /// An empty room.
    pub(crate) fn new(bounds: Bounds, epoch: Epoch) -> Self {
        Self {
            bounds,
            epoch,
            sessions: Arena::default(),
            keys: HashMap::new(),
            books: Arena::default(),
            owners: HashMap::new(),
            subscriptions: Subscriptions::default(),
            subscription_bytes: 0,
            routes: Routes::default(),
            retained: Retained::default(),
            wills: Wills::default(),
            leaving: HashMap::new(),
            meter: Meter::default(),
            calls: Vec::new(),
            notes: Notes::default(),
            asked: Vec::new(),
            work: 0,
            ledger: Ledger::default(),
        }
    }

    pub(crate) fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// The bytes of all messages and subscriptions.
    pub(crate) fn held_bytes(&self) -> usize {
        self.meter.bytes() + self.subscription_bytes
    }

    /// The connections to be called when the engine is free again.
    pub(crate) fn take_calls(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.calls)
    }

    /// What is to be reported to the gateway.
    pub(crate) fn take_notes(&mut self) -> Vec<Event> {
        match self.notes.is_empty() {
            true => Vec::new(),
            false => self.notes.take(),
        }
    }

    /// What the gateway is asked for by the packets that were just read.
    pub(crate) fn take_asked(&mut self) -> Vec<Asked> {
        std::mem::take(&mut self.asked)
    }

    /// The session of a connection, while it has it.
    fn live(&self, at: Handle) -> Option<&Session> {
        let session = self.sessions.get(at.session)?;
        let link = session.link.as_ref()?;
        (link.connection == at.connection).then_some(session)
    }

    fn live_mut(&mut self, at: Handle) -> Option<&mut Session> {
        let session = self.sessions.get_mut(at.session)?;
        let link = session.link.as_ref()?;
        (link.connection == at.connection).then_some(session)
    }

    fn sessions_of(&self, owner: &Owner) -> Vec<Place> {
        let book = self.owners.get(owner).and_then(|at| self.books.get(*at));
        book.map(|book| book.sessions.clone()).unwrap_or_default()
    }

    /// Changes a session, and what its device is counted to have on its way.
    fn change_outbox<T>(&mut self, at: Place, change: impl FnOnce(&mut Session) -> T) -> Option<T> {
        let session = self.sessions.get_mut(at)?;
        let before = session.outbox.bytes();
        let done = change(session);
        let after = session.outbox.bytes();
        if let Some(book) = self.books.get_mut(session.book) {
            book.queue_bytes = book.queue_bytes + after - before;
        }
        Some(done)
    }

    /// Notes that something about a session is to be written down.
    fn note_change(&mut self, at: Place) {
        if let Some(session) = self.sessions.get_mut(at)
            && (session.is_lasting() || session.written.head)
            && session.touch()
        {
            self.ledger.stale(at);
        }
    }

    /// Notes that the session itself has changed: its subscriptions, its life.
    fn note_head_change(&mut self, at: Place) {
        if let Some(session) = self.sessions.get_mut(at) {
            session.written.head_is_stale = true;
        }
        self.note_change(at);
    }

    /// Calls the connection of a session, if it rests.
    fn call(&mut self, at: Place) {
        if let Some(link) = self
            .sessions
            .get_mut(at)
            .and_then(|session| session.link.as_mut())
            && !std::mem::replace(&mut link.is_awake, true)
            && let Some(waker) = &link.waker
        {
            self.calls.push(waker.clone());
        }
    }
}

#[cfg(any(test, fuzzing))]
pub mod fuzzed;
#[cfg(test)]
mod model;
#[cfg(any(test, fuzzing))]
mod testing;
#[cfg(test)]
mod tests;
