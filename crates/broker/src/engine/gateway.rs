//! What the gateway itself does: publishing, answering, judging everybody anew, and the passing of time.

use std::sync::Arc;

use bytes::Bytes;
use hearthkey_core::access::Admission;
use hearthkey_core::id::DeviceId;
use hearthkey_core::profile::Rights;

use crate::engine::Engine;
use crate::engine::arena::Place;
use crate::engine::outbox::Entry;
use crate::engine::parcel::{Parcel, Terms};
use crate::engine::progress::Departure;
use crate::engine::routes::{Grant, Ids};
use crate::engine::session::{Handle, Identity, Key, Owner, SessionBounds};
use crate::engine::topics::matches;
use crate::protocol::{
    Filter, Message, MessageProperties, Properties, QoS, ReasonCode, SubscriptionId, Text,
};

/// An answer to a request, for the connection that asked and for nobody else.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) topic: &'a str,
    pub(crate) outcome: &'a str,
    pub(crate) correlation: Option<&'a [u8]>,
    pub(crate) payload: Bytes,
}

/// What became of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answered {
    Sent,
    NotSubscribed,
    Gone,
}

/// A session that is to be judged anew.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub(crate) at: Place,
    pub(crate) owner: Owner,
}

/// The state of the device of a session.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It may receive this, and hold so much.
    Active {
        rights: Arc<Rights>,
        bounds: SessionBounds,
    },
    /// It is suspended: nothing is kept for it until it is let in again.
    ShutOut,
    /// It is revoked, retired or unknown: it never comes back to this session.
    Over,
}

impl Engine {
    /// Publishes in the gateway's own name.
    pub(crate) fn publish_own(&mut self, topic: &str, payload: Bytes, retain: bool, now_ms: u64) {
        let Ok(topic) = Text::try_from(topic) else {
            return;
        };
        let message = Message {
            topic,
            payload,
            properties: Properties::default(),
        };
        let terms = Terms {
            qos: QoS::AtLeastOnce,
            retain,
            expires_ms: None,
        };
        let parcel = Parcel::new(message, terms, &self.meter);
        self.send_out(&parcel, None, now_ms);
    }

    /// Answers a request on the connection that asked.
    pub(crate) fn answer(&mut self, at: Handle, answer: Answer<'_>, now_ms: u64) -> Answered {
        let Some(session) = self.live(at) else {
            return Answered::Gone;
        };
        let topic = answer.topic.as_bytes();
        let subscriptions = session.subscriptions.values();
        let hearing = subscriptions.filter(|held| matches(held.filter.inner().as_bytes(), topic));
        let options: Vec<_> = hearing.map(|held| held.options).collect();
        let Some(qos) = options.iter().map(|its| its.qos).max() else {
            return Answered::NotSubscribed;
        };
        let ids: Vec<SubscriptionId> = options.iter().filter_map(|its| its.id).collect();
        let properties = Properties::new(&MessageProperties {
            correlation_data: answer.correlation,
            user: vec![("outcome", answer.outcome)],
            ..MessageProperties::default()
        });
        let (Ok(topic), Ok(properties)) = (Text::try_from(answer.topic), properties) else {
            return Answered::NotSubscribed;
        };
        let message = Message {
            topic,
            payload: answer.payload,
            properties,
        };
        let terms = Terms {
            qos: QoS::AtLeastOnce,
            retain: false,
            expires_ms: None,
        };
        let ids: Ids = (!ids.is_empty()).then(|| ids.into());
        let grant = Grant {
            qos,
            retain_as_published: false,
            ids,
        };
        let parcel = Parcel::new(message, terms, &self.meter);
        self.hand(at.session, &parcel, &grant, now_ms);
        Answered::Sent
    }

    /// Whether a connection has its session.
    pub(crate) fn has(&self, at: Handle) -> bool {
        self.live(at).is_some()
    }

    /// Whether the session of a connection listens to a topic.
    pub(crate) fn hears(&self, at: Handle, topic: &str) -> bool {
        self.live(at).is_some_and(|session| {
            let mut filters = session.subscriptions.values();
            filters.any(|held| matches(held.filter.inner().as_bytes(), topic.as_bytes()))
        })
    }

    /// The payload that is retained on a topic.
    pub(crate) fn retained_on(&self, topic: &str) -> Option<Bytes> {
        let parcel = self.retained.get(topic.as_bytes())?;
        Some(parcel.message.payload.clone())
    }

    /// Takes note of what a connection may do now.
    pub(crate) fn rejudge(&mut self, at: Handle, identity: Identity, now_ms: u64) {
        if self.live(at).is_none() {
            return;
        }
        self.apply_rights(at.session, &identity, now_ms);
        if let Some(session) = self.live_mut(at) {
            session.identity = identity;
        }
    }

    /// The count of changes as it is now.
    pub(crate) fn epoch_now(&self) -> u64 {
        self.epoch.now()
    }

    /// Takes note that a connection may do what it could before.
    pub(crate) fn keep_identity(&mut self, at: Handle) {
        let epoch = self.epoch.now();
        if let Some(session) = self.live_mut(at) {
            session.identity.epoch = epoch;
        }
    }

    /// Ends every connection of an owner, which has made another one elsewhere.
    pub(crate) fn displace(&mut self, owner: &Owner, now_ms: u64) {
        for other in self.sessions_of(owner) {
            let is_live = self
                .sessions
                .get(other)
                .is_some_and(|its| its.link.is_some());
            if is_live {
                let why = "the device has made another connection";
                self.dismiss(other, ReasonCode::SessionTakenOver, why, now_ms);
            }
        }
    }

    /// Drops what an earlier connection left for a session on a topic, because it is said anew.
    pub(crate) fn drop_left(&mut self, at: Handle, topic: &str) {
        if self
            .live(at)
            .is_none_or(|session| session.outbox.is_empty())
        {
            return;
        }
        let is_other = |entry: &Entry| entry.parcel.message.topic.as_str() != topic;
        // The client may hold the identifier of a QoS 2 message: it stays in use until that is completed.
        let is_due = |entry: &Entry| is_other(entry) || entry.qos == QoS::ExactlyOnce;
        self.change_outbox(at.session, |session| {
            session.outbox.retain(is_other, is_due);
        });
        self.note_change(at.session);
    }

    /// Hands a session what is retained on a topic that it is subscribed to, unless that waits for it already.
    pub(crate) fn say_again(&mut self, at: Handle, topic: &str, now_ms: u64) {
        let is_on = |entry: &Entry| entry.parcel.message.topic.as_str() == topic;
        let Some(session) = self.live(at) else { return };
        let Some(parcel) = self.retained.get(topic.as_bytes()).cloned() else {
            return;
        };
        if session.outbox.waiting().any(is_on) {
            return;
        }
        let route = self.routes.of(&parcel.message.topic, &self.subscriptions);
        let mut targets = route.targets.iter();
        if let Some(target) = targets.find(|target| target.session == at.session) {
            self.hand(at.session, &parcel, &target.foreign, now_ms);
        }
    }

    /// Topics with a retained message of a device, behind one of them.
    pub(crate) fn retained_of_devices(
        &self,
        after: Option<&Bytes>,
        count: usize,
    ) -> Vec<(Bytes, DeviceId)> {
        self.retained.owned(after, count)
    }

    /// Forgets what a device has retained on a topic.
    pub(crate) fn forget_retained(&mut self, topic: &[u8], device: &DeviceId) {
        self.retained.disown(topic, device);
    }

    /// Ends a connection whose socket was shut.
    pub(crate) fn cut_one(&mut self, at: Handle, now_ms: u64) {
        self.leaving.remove(&at.connection);
        if let Some(session) = self.live(at) {
            let key = session.key.clone();
            self.cut(|its, _| *its == key, now_ms);
        }
    }

    /// Every session of a device, live or left behind.
    pub(crate) fn standings(&self) -> Vec<Standing> {
        let sessions = self.sessions.iter();
        sessions
            .map(|(at, session)| Standing {
                at,
                owner: session.key.owner.clone(),
            })
            .collect()
    }

    /// Judges a session anew. Returns how many subscriptions it lost.
    pub(crate) fn restrict(&mut self, at: Place, verdict: &Verdict, now_ms: u64) -> usize {
        let Some(session) = self.sessions.get(at) else {
            return 0;
        };
        match verdict {
            Verdict::Over => {
                self.forget_left_behind(at, now_ms);
                0
            }
            Verdict::ShutOut => {
                let owner = session.key.owner.clone();
                if session.link.is_none() && !session.is_silenced {
                    self.silence(&owner);
                }
                0
            }
            Verdict::Active { .. } if session.identity.admission != Admission::Full => 0,
            Verdict::Active { rights, bounds } => {
                let identity = Identity {
                    rights: Arc::clone(rights),
                    ..session.identity.clone()
                };
                let lost = self.apply_rights(at, &identity, now_ms);
                if let Some(session) = self.sessions.get_mut(at) {
                    (session.identity.rights, session.bounds) = (identity.rights, *bounds);
                }
                lost
            }
        }
    }

    /// Takes from a session the subscriptions and waiting messages that these rights do not cover. Returns how many
    /// subscriptions it lost.
    pub(super) fn apply_rights(&mut self, at: Place, to: &Identity, _now_ms: u64) -> usize {
        let Some(session) = self.sessions.get(at) else {
            return 0;
        };
        if Arc::ptr_eq(&session.identity.rights, &to.rights) {
            return 0;
        }
        let held = session.subscriptions.values();
        let lost = held.filter(|held| !to.rights.covers(held.filter.as_str()));
        let lost: Vec<Filter> = lost.map(|held| held.filter.clone()).collect();
        for filter in &lost {
            self.let_go(at, filter);
        }
        self.stop_reading(at);
        self.change_outbox(at, |session| {
            let may_hear = |entry: &super::outbox::Entry| {
                to.rights.may_hear(entry.parcel.message.topic.as_str())
            };
            session.outbox.retain(may_hear, may_hear);
        });
        self.note_change(at);
        lost.len()
    }

    /// Lets time pass: ends what is over, and connections that are silent. True if a will is due.
    pub(crate) fn tick(&mut self, now_ms: u64) -> bool {
        let mut over = Vec::new();
        let mut silent = Vec::new();
        for (at, session) in self.sessions.iter() {
            match &session.link {
                None if session.ends_ms.is_some_and(|end| end <= now_ms) => over.push(at),
                None => {}
                Some(link) => {
                    let is_silent = link.silence_max_ms > 0
                        && now_ms > link.heard_ms.saturating_add(link.silence_max_ms);
                    if is_silent {
                        silent.push(at);
                    }
                }
            }
        }
        for at in over {
            self.end_session(at);
        }
        for at in silent {
            if let Some(session) = self.sessions.get(at) {
                let Key { owner, client_id } = &session.key;
                tracing::info!(
                    ?owner,
                    ?client_id,
                    "said nothing for its keep alive: the connection was ended"
                );
            }
            self.dismiss(
                at,
                ReasonCode::KeepAliveTimeout,
                "nothing came for too long",
                now_ms,
            );
        }
        self.retained.expire(now_ms);
        self.close_books(now_ms);
        self.has_due_wills(now_ms)
    }

    /// Forgets owners without a session, once they have rested.
    fn close_books(&mut self, now_ms: u64) {
        let books = &mut self.books;
        self.owners.retain(|_, at| {
            let is_over = books.get(*at).is_none_or(|book| book.is_over(now_ms));
            if is_over {
                books.remove(*at);
            }
            !is_over
        });
    }

    /// Ends a connection by the gateway's doing, with a reason that its client is told.
    pub(crate) fn end(&mut self, at: Handle, reason: ReasonCode, why: &str, now_ms: u64) {
        if self.live(at).is_some() {
            self.dismiss(at.session, reason, why, now_ms);
        }
    }

    /// Forgets what a connection was still to be told.
    pub(crate) fn hang_up(&mut self, at: Handle, now_ms: u64) {
        self.depart(at, Departure::Lost, now_ms);
    }
}
