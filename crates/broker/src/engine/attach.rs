//! A client that has been let in gets its session: a new one, or the one it left, taken over from the connection that has it.

use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32};

use bytes::BytesMut;
use hearthkey_core::ja4::Ja4;
use hearthkey_core::posture::shared_identity::Machine;

use crate::engine::Engine;
use crate::engine::arena::Place;
use crate::engine::bounds::Book;
use crate::engine::session::{
    Handle, Identity, Key, Link, Owner, RESTORED, Session, SessionBounds,
};
use crate::protocol::{Connack, Connect, Encoder, OutgoingAliases, ReasonCode, TooLarge, Version};

/// Topic aliases that a connection has towards its client, at most.
const ALIASES_OUT_MAX: u16 = 32;

/// A client that has been let in.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) key: Key,
    pub(crate) identity: Identity,
    pub(crate) bounds: SessionBounds,
    pub(crate) connection: u64,
    pub(crate) address: SocketAddr,
    pub(crate) ja4: Option<Ja4>,
    /// What it asked for. Its password is not in it any more.
    pub(crate) connect: Connect,
    /// Its client id was made up here.
    pub(crate) is_assigned: bool,
}

impl Arrival {
    fn machine(&self) -> Machine {
        Machine {
            address: self.address.ip(),
            ja4: self.ja4,
        }
    }
}

/// What became of an arrival.
#[derive(Debug)]
pub(crate) enum Attached {
    /// It has its session, and CONNACK is the first that is sent. A connection that had the session before has been told.
    Done { handle: Handle },
    /// Rights have changed since the identity was judged: judge it again.
    Stale(Box<Arrival>),
    /// It takes no CONNACK of any length: there is no way to answer it (MQTT 5 §3.1.2.11.4).
    Mute,
}

impl Engine {
    /// Gives a client its session.
    pub(crate) fn attach(&mut self, arrival: Box<Arrival>, now_ms: u64) -> Attached {
        if arrival.identity.epoch != self.epoch.now() {
            return Attached::Stale(arrival);
        }
        let encoder = Encoder::for_client(&arrival.connect);
        let expiry_s = self.expiry_of(&arrival.connect);
        let old = self.keys.get(&arrival.key).copied();
        let resumes = old.filter(|at| {
            !arrival.connect.clean_start && self.sessions.get(*at).is_some_and(Session::is_lasting)
        });
        let mut control = BytesMut::new();
        if self
            .connack(
                &arrival,
                &encoder,
                (resumes.is_some(), expiry_s),
                &mut control,
            )
            .is_err()
        {
            return Attached::Mute;
        }
        if let Some(at) = old {
            self.take_over(at, &arrival, now_ms);
        }
        self.settle_will(&arrival, resumes.is_some(), now_ms);
        if let Some(at) = old.filter(|at| resumes != Some(*at)) {
            self.end_session(at);
        }
        if arrival.bounds.stored_max <= 1 {
            self.displace_others(&arrival, now_ms);
        }
        if expiry_s > 0 {
            self.make_way(&arrival, now_ms);
        }
        let at = resumes.unwrap_or_else(|| self.new_session(&arrival));
        let link = self.link(&arrival, encoder, control, now_ms);
        self.begin(at, *arrival, (expiry_s, link), now_ms)
    }

    fn expiry_of(&self, connect: &Connect) -> u32 {
        connect
            .session_expiry_s
            .min(self.bounds.session_expiry_max_s)
    }

    fn connack(
        &self,
        arrival: &Arrival,
        encoder: &Encoder,
        (session_present, expiry_s): (bool, u32),
        out: &mut BytesMut,
    ) -> Result<(), TooLarge> {
        let connect = &arrival.connect;
        let packet_max = u32::try_from(arrival.bounds.packet_max_bytes).unwrap_or(u32::MAX);
        let keep_alive = self.bounds.keep_alive_max_s;
        let too_long =
            keep_alive > 0 && (connect.keep_alive_s == 0 || connect.keep_alive_s > keep_alive);
        encoder.connack(
            &Connack {
                session_present,
                session_expiry_s: (expiry_s != connect.session_expiry_s).then_some(expiry_s),
                receive_max: NonZeroU16::new(self.bounds.receive_max),
                packet_max_bytes: NonZeroU32::new(packet_max),
                assigned_client_id: arrival.is_assigned.then_some(&*arrival.key.client_id),
                topic_alias_max: self.bounds.topic_alias_max,
                server_keep_alive_s: too_long.then_some(keep_alive),
                ..Connack::because(ReasonCode::Success)
            },
            out,
        )
    }

    /// Ends the connection that has the session. Its end is published before the new one begins: see `settle_will`.
    fn take_over(&mut self, at: Place, arrival: &Arrival, now_ms: u64) {
        let Some(link) = self.sessions.get(at).and_then(|its| its.link.as_ref()) else {
            return;
        };
        let earlier = (link.machine(), link.heard_ms);
        self.meet(&arrival.key, earlier, arrival.machine(), now_ms);
        let why = "another connection took the session";
        self.dismiss(at, ReasonCode::SessionTakenOver, why, now_ms);
    }

    /// Ends every other connection of the device of this client: it may have one at a time.
    fn displace_others(&mut self, arrival: &Arrival, now_ms: u64) {
        self.meet_all(&arrival.key, arrival.machine(), now_ms);
        for other in self.sessions_of(&arrival.key.owner) {
            let is_other = |its: &Session| its.link.is_some() && its.key != arrival.key;
            if self.sessions.get(other).is_some_and(is_other) {
                let why = "the device connected under another client id";
                self.dismiss(other, ReasonCode::SessionTakenOver, why, now_ms);
            }
        }
    }

    /// What the last connection of this client left to be said is said now, before the new one is answered; or not at all,
    /// if the session goes on before the will was due [MQTT-3.1.3-9].
    fn settle_will(&mut self, arrival: &Arrival, resumes: bool, now_ms: u64) {
        let Some(pending) = self.wills.take(&arrival.key) else {
            return;
        };
        let is_due = pending.at_ms <= now_ms || !resumes;
        if pending.is_cut || pending.is_restored || !is_due {
            return;
        }
        if let Some(will) = pending.will {
            self.speak_will(&arrival.key, &will, &arrival.identity.rights, now_ms);
        }
    }

    /// A device may leave behind as many sessions as its profile says: the one that has been away longest makes way.
    fn make_way(&mut self, arrival: &Arrival, now_ms: u64) {
        let its = self.sessions_of(&arrival.key.owner);
        let lasting = |at: &Place| {
            let session = self.sessions.get(*at)?;
            (session.is_lasting() && session.key != arrival.key).then_some((*at, session))
        };
        let others: Vec<(Place, &Session)> = its.iter().filter_map(lasting).collect();
        if others.len() < arrival.bounds.stored_max {
            return;
        }
        let away = others.iter().filter(|(_, session)| session.link.is_none());
        let oldest = away.min_by_key(|(_, session)| session.away_since_ms);
        if let Some((at, session)) = oldest {
            let (at, key) = (*at, session.key.clone());
            tracing::info!(owner = ?key.owner, client_id = ?key.client_id, "a session was replaced by another of its device");
            self.end_session(at);
            if let Some(mut pending) = self.wills.take(&key) {
                pending.at_ms = pending.at_ms.min(now_ms);
                self.wills.put(key, pending);
            }
        }
    }

    fn new_session(&mut self, arrival: &Arrival) -> Place {
        let book = self.book_of(&arrival.key.owner);
        let (identity, bounds) = (arrival.identity.clone(), arrival.bounds);
        self.add_session(Session::new(arrival.key.clone(), identity, bounds, book))
    }

    /// The book of an owner, begun if there is none.
    pub(super) fn book_of(&mut self, owner: &Owner) -> Place {
        match self.owners.get(owner) {
            Some(book) => *book,
            None => {
                let book = self.books.insert(Book::default());
                self.owners.insert(owner.clone(), book);
                book
            }
        }
    }

    /// Enters a session under its name, and with its owner.
    pub(super) fn add_session(&mut self, session: Session) -> Place {
        let (key, book) = (session.key.clone(), session.book);
        let at = self.sessions.insert(session);
        if let Some(book) = self.books.get_mut(book) {
            book.sessions.push(at);
        }
        self.keys.insert(key, at);
        at
    }

    fn link(&self, arrival: &Arrival, encoder: Encoder, control: BytesMut, now_ms: u64) -> Link {
        let connect = &arrival.connect;
        let keep_alive_s = match (connect.version, self.bounds.keep_alive_max_s) {
            (Version::V5, max) if max > 0 => match connect.keep_alive_s {
                0 => max,
                asked => asked.min(max),
            },
            _ => connect.keep_alive_s,
        };
        // MQTT 3.1.1 has no window: ours is only there so that not everything is under way at once.
        let window = match connect.version {
            Version::V5 => usize::from(connect.receive_max.get()).min(self.bounds.window_max),
            Version::V311 => self.bounds.window_max,
        };
        Link {
            connection: arrival.connection,
            address: arrival.address,
            ja4: arrival.ja4,
            encoder,
            aliases: OutgoingAliases::new(connect.topic_alias_max, ALIASES_OUT_MAX),
            window,
            control,
            waker: None,
            is_awake: true,
            silence_max_ms: u64::from(keep_alive_s) * 1500,
            heard_ms: now_ms,
            is_bridge: connect.bridge,
        }
    }

    fn begin(
        &mut self,
        at: Place,
        arrival: Arrival,
        (expiry_s, link): (u32, Link),
        now_ms: u64,
    ) -> Attached {
        let Arrival {
            identity,
            bounds,
            connect,
            connection,
            ..
        } = arrival;
        // What was kept for the session is judged by what it may receive now.
        self.apply_rights(at, &identity, now_ms);
        if let Some(session) = self.sessions.get_mut(at) {
            (session.identity, session.bounds) = (identity, bounds);
            (session.expiry_s, session.ends_ms) = (expiry_s, None);
            session.is_silenced = false;
            let received = session.received.values_mut();
            for times in received.filter(|times| **times != RESTORED) {
                *times = 0;
            }
            session.will = connect.will.map(Box::new);
            if session.will.is_some() {
                self.wills.changed.insert(session.key.clone());
            }
            session.link = Some(Box::new(link));
        }
        self.note_head_change(at);
        Attached::Done {
            handle: Handle {
                session: at,
                connection,
            },
        }
    }
}
