//! The end of a connection: what its session keeps, what is said on its behalf, and what is forgotten.

use std::collections::HashSet;

use bytes::BytesMut;

use crate::engine::arena::Place;
use crate::engine::parcel::end_ms;
use crate::engine::pending::Pending;
use crate::engine::progress::Departure;
use crate::engine::session::{Handle, Key, Link, Owner, Session};
use crate::engine::{Engine, LastWords};
use crate::event::{Bound, SessionEnd};
use crate::protocol::ReasonCode;

impl Engine {
    /// Ends a connection by its own doing. Returns what is left to say: DISCONNECT after a violation.
    pub(crate) fn depart(&mut self, at: Handle, how: Departure, now_ms: u64) -> BytesMut {
        let mut bytes = BytesMut::new();
        let Some(session) = self.live_mut(at) else {
            return self
                .leaving
                .remove(&at.connection)
                .map_or(bytes, |last| last.bytes);
        };
        let mut speaks = true;
        match how {
            Departure::Lost => {}
            Departure::Left(goodbye) => {
                speaks = !goodbye.discards_will();
                if let Some(life) = goodbye.session_expiry_s {
                    let longest = self.bounds.session_expiry_max_s;
                    if let Some(session) = self.live_mut(at) {
                        session.expiry_s = life.min(longest);
                    }
                }
            }
            Departure::Violated(violation) => {
                if let Some(link) = &mut session.link {
                    bytes = std::mem::take(&mut link.control);
                    link.encoder
                        .disconnect(violation.reason, Some(violation.what), &mut bytes);
                    let (address, key) = (link.address, session.key.clone());
                    if violation.reason == ReasonCode::PacketTooLarge {
                        let bound = Bound::Packet;
                        self.notes.bound(&key, Some(address), bound, now_ms);
                    } else {
                        let what = violation.to_string();
                        self.notes.violated(&key, address, &what, now_ms);
                    }
                }
            }
        }
        self.detach(at.session, speaks, now_ms);
        bytes
    }

    /// Ends a connection from here. Its client gets the reason, as its version expresses it.
    pub(super) fn dismiss(&mut self, at: Place, reason: ReasonCode, why: &str, now_ms: u64) {
        let Some(link) = self.detach(at, true, now_ms) else {
            return;
        };
        // Also if it is busy writing: it may never get to the end of that.
        self.calls.extend(link.waker);
        let mut bytes = link.control;
        link.encoder.disconnect(reason, Some(why), &mut bytes);
        self.leaving
            .insert(link.connection, LastWords { bytes, reason });
    }

    /// Takes the connection from a session. The session goes on without it, or ends.
    pub(super) fn detach(&mut self, at: Place, speaks: bool, now_ms: u64) -> Option<Link> {
        let link = *self.sessions.get_mut(at)?.link.take()?;
        self.change_outbox(at, |session| session.outbox.disconnected());
        let session = self.sessions.get_mut(at)?;
        session.away_since_ms = now_ms;
        session.ends_ms = end_ms(now_ms, session.expiry_s);
        let will = session.will.take();
        let (key, expiry_s) = (session.key.clone(), session.expiry_s);
        let certificate = session.identity.certificate;
        self.wills.changed.insert(key.clone());
        if let Some(will) = will.filter(|_| speaks) {
            // At the latest with the end of the session (MQTT 5 §3.1.2.5).
            let delay_s = will.delay_s.min(expiry_s);
            let at_ms = now_ms + u64::from(delay_s) * 1000;
            self.wills
                .put(key, Pending::new(Some(will), certificate, at_ms));
        }
        match expiry_s {
            0 => self.end_session(at),
            _ => self.note_head_change(at),
        }
        Some(link)
    }

    /// Ends a session: nothing of it is left but a will that is not spoken yet.
    pub(super) fn end_session(&mut self, at: Place) {
        let Some(mut session) = self.sessions.remove(at) else {
            return;
        };
        for held in session.subscriptions.values() {
            self.subscriptions.remove(&held.filter, at);
        }
        let held = session.subscriptions.values();
        let bytes = held.map(|held| crate::engine::weight::weight(&held.filter));
        let subscription_bytes: usize = bytes.sum();
        self.subscription_bytes -= subscription_bytes;
        self.keys.remove(&session.key);
        // Its owner is remembered for a while: see `close_books`.
        if let Some(book) = self.books.get_mut(session.book) {
            book.sessions.retain(|its| *its != at);
            book.queue_bytes -= session.outbox.bytes();
            book.subscription_bytes -= subscription_bytes;
        }
        if session.written.head {
            let written = std::mem::take(&mut session.written);
            self.ledger.ended(session.key, written);
        }
    }

    /// Forgets a session without a connection: its device is gone for good.
    pub(super) fn forget_left_behind(&mut self, at: Place, now_ms: u64) {
        let Some(session) = self.sessions.get(at).filter(|its| its.link.is_none()) else {
            return;
        };
        let key = session.key.clone();
        self.end_session(at);
        self.leave_to_gateway(key, now_ms);
    }

    /// What a client left to be said is not said in its words any more: only that it is gone is still to be said, and by the
    /// gateway.
    fn leave_to_gateway(&mut self, key: Key, now_ms: u64) {
        if let Some(mut pending) = self.wills.take(&key) {
            (pending.will, pending.is_cut, pending.at_ms) = (None, true, now_ms);
            self.wills.put(key, pending);
        }
    }

    /// Ends the connections of every session that fits, without a word: their sockets are shut. What is said on their
    /// behalf is judged later.
    pub(crate) fn cut(&mut self, fits: impl Fn(&Key, &super::Identity) -> bool, now_ms: u64) {
        for at in self.sessions.places() {
            let Some(session) = self.sessions.get(at) else {
                continue;
            };
            if session.link.is_none() || !fits(&session.key, &session.identity) {
                continue;
            }
            let key = session.key.clone();
            let certificate = session.identity.certificate;
            self.detach(at, true, now_ms);
            let will = self.wills.take(&key).and_then(|pending| pending.will);
            let mut pending = Pending::new(will, certificate, now_ms);
            pending.is_cut = true;
            self.wills.put(key, pending);
        }
    }

    /// The same for these connections.
    pub(crate) fn cut_connections(&mut self, connections: &HashSet<u64>, now_ms: u64) {
        let its = |session: &Session| {
            let link = session.link.as_ref()?;
            connections
                .contains(&link.connection)
                .then(|| session.key.clone())
        };
        let keys: HashSet<Key> = self
            .sessions
            .iter()
            .filter_map(|(_, session)| its(session))
            .collect();
        self.cut(|key, _| keys.contains(key), now_ms);
    }

    /// Forgets every session of an owner that fits, with its queue and its will.
    pub(crate) fn forget(&mut self, owner: &Owner, fits: impl Fn(&Key) -> bool, now_ms: u64) {
        for at in self.sessions_of(owner) {
            let Some(session) = self.sessions.get(at) else {
                continue;
            };
            if !fits(&session.key) {
                continue;
            }
            let key = session.key.clone();
            if session.link.is_some() {
                self.cut(|its, _| *its == key, now_ms);
            }
            self.end_session(at);
            self.leave_to_gateway(key, now_ms);
        }
    }

    /// Ends all connections in good order.
    pub(crate) fn close(&mut self, now_ms: u64) {
        for at in self.sessions.places() {
            let Some(session) = self.sessions.get_mut(at) else {
                continue;
            };
            let (key, will) = (session.key.clone(), session.will.take());
            let certificate = session.identity.certificate;
            self.dismiss(
                at,
                ReasonCode::ServerShuttingDown,
                "the gateway is stopping",
                now_ms,
            );
            // If the device does not come back after the restart, its will is published then.
            if let Some(will) = will {
                self.wills
                    .put(key, Pending::new(Some(will), certificate, u64::MAX));
            }
        }
    }
}

/// How the end of a connection is reported to the gateway.
pub(crate) fn end_of(reason: ReasonCode) -> SessionEnd {
    match reason {
        ReasonCode::SessionTakenOver => SessionEnd::TakenOver,
        ReasonCode::ServerShuttingDown => SessionEnd::Stopped,
        _ => SessionEnd::Lost,
    }
}
