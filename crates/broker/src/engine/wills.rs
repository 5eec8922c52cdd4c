//! Wills of connections that have ended: each is spoken when it is due, in the device's own words or in the gateway's.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use hearthkey_core::id::Fingerprint;
use hearthkey_core::profile::{Availability, Rights};

use crate::engine::Engine;
use crate::engine::parcel::{Parcel, Terms, end_ms};
use crate::engine::session::{Key, Owner};
use crate::protocol::{Message, Properties, QoS, Text, Will};

/// A will that is not spoken yet.
#[derive(Debug)]
pub(crate) struct Pending {
    /// Nothing where the device left none: then only the gateway may have something to say.
    pub(crate) will: Option<Box<Will>>,
    pub(crate) certificate: Option<Fingerprint>,
    pub(crate) at_ms: u64,
    /// The gateway has ended the connection: if the device is back before this is spoken, nothing is said.
    pub(crate) is_cut: bool,
    /// Of a connection of an earlier run: a device that comes back in time takes it back.
    pub(crate) is_restored: bool,
    number: u64,
}

/// What is to be judged before a will is spoken.
#[derive(Debug, Clone)]
pub(crate) struct DueWill {
    pub(crate) key: Key,
    pub(crate) certificate: Option<Fingerprint>,
    number: u64,
}

/// In whose words a will is spoken.
#[derive(Debug, Clone)]
pub(crate) enum Voice {
    /// In the device's, as far as these rights go.
    Own(Arc<Rights>),
    /// In the gateway's, where its profile has a place for that: the connection's identity is let in no more.
    Gateway {
        availability: Option<Availability>,
        /// The device itself has been shut out.
        is_shut_out: bool,
    },
}

#[derive(Debug, Default)]
pub(crate) struct Wills {
    pending: HashMap<Key, Pending>,
    number: u64,
    /// One has come that may be due at once.
    is_new: bool,
    /// Sessions whose will has changed since it was written down.
    pub(crate) changed: HashSet<Key>,
    pub(crate) written: HashSet<Key>,
}

impl Wills {
    pub(crate) fn get(&self, key: &Key) -> Option<&Pending> {
        self.pending.get(key)
    }

    pub(crate) fn put(&mut self, key: Key, mut pending: Pending) {
        self.number += 1;
        self.is_new = true;
        pending.number = self.number;
        self.changed.insert(key.clone());
        self.pending.insert(key, pending);
    }

    pub(crate) fn take(&mut self, key: &Key) -> Option<Pending> {
        let taken = self.pending.remove(key)?;
        self.changed.insert(key.clone());
        Some(taken)
    }

    pub(crate) fn next_ms(&self) -> Option<u64> {
        self.pending.values().map(|pending| pending.at_ms).min()
    }
}

impl Pending {
    pub(crate) fn new(
        will: Option<Box<Will>>,
        certificate: Option<Fingerprint>,
        at_ms: u64,
    ) -> Self {
        Self {
            will,
            certificate,
            at_ms,
            is_cut: false,
            is_restored: false,
            number: 0,
        }
    }
}

impl Engine {
    /// Whether a will has come since this was last asked.
    pub(crate) fn take_new_wills(&mut self) -> bool {
        std::mem::take(&mut self.wills.is_new)
    }

    /// Whether a will waits to be judged and spoken.
    pub(crate) fn has_due_wills(&self, now_ms: u64) -> bool {
        self.wills.next_ms().is_some_and(|at| at <= now_ms)
    }

    /// The wills that are due.
    pub(crate) fn due_wills(&self, now_ms: u64) -> Vec<DueWill> {
        let due = self.wills.pending.iter();
        let due = due.filter(|(_, pending)| pending.at_ms <= now_ms);
        due.map(|(key, pending)| DueWill {
            key: key.clone(),
            certificate: pending.certificate,
            number: pending.number,
        })
        .collect()
    }

    /// Speaks a will that is due, unless its client has come back since. False if rights have changed after `voice` was
    /// judged, at the count `epoch`: then it is to be judged again.
    pub(crate) fn speak(&mut self, due: &DueWill, voice: Voice, epoch: u64, now_ms: u64) -> bool {
        let Some(pending) = self.wills.get(&due.key) else {
            return true;
        };
        if pending.number != due.number {
            return true;
        }
        if self.epoch.now() != epoch {
            return false;
        }
        let Some(pending) = self.wills.take(&due.key) else {
            return true;
        };
        match voice {
            Voice::Own(rights) => {
                if let Some(will) = pending.will {
                    self.speak_will(&due.key, &will, &rights, now_ms);
                }
            }
            Voice::Gateway {
                availability,
                is_shut_out,
            } => {
                if is_shut_out {
                    self.silence(&due.key.owner);
                }
                if let Some(availability) = availability {
                    self.speak_offline(&availability, now_ms);
                }
            }
        }
        true
    }

    /// Publishes a will in the device's words, if it may publish there.
    pub(super) fn speak_will(&mut self, key: &Key, will: &Will, rights: &Rights, now_ms: u64) {
        let topic = &will.message.topic;
        let Some(place) = rights.publish_place(topic.as_str()) else {
            tracing::info!(owner = ?key.owner, "a will was not published: its topic is not granted any more");
            return;
        };
        rights.published(place);
        let terms = Terms {
            qos: will.qos,
            retain: will.retain,
            expires_ms: will.expiry_s.and_then(|life| end_ms(now_ms, life)),
        };
        let parcel = Parcel::new(will.message.clone(), terms, &self.meter);
        self.send_out(&parcel, Some(key), now_ms);
    }

    /// Says in the gateway's name that a device is gone.
    fn speak_offline(&mut self, availability: &Availability, now_ms: u64) {
        let Ok(topic) = Text::try_from(availability.topic.as_str()) else {
            return;
        };
        let message = Message {
            topic,
            payload: availability.offline.clone().into_bytes().into(),
            properties: Properties::default(),
        };
        let terms = Terms {
            qos: QoS::AtLeastOnce,
            retain: true,
            expires_ms: None,
        };
        let parcel = Parcel::new(message, terms, &self.meter);
        self.send_out(&parcel, None, now_ms);
    }

    /// Keeps nothing for the sessions of an owner until it is let in again.
    pub(crate) fn silence(&mut self, owner: &Owner) {
        for at in self.sessions_of(owner) {
            let is_away = self.sessions.get(at).is_some_and(|its| its.link.is_none());
            if is_away {
                self.change_outbox(at, |session| {
                    session.is_silenced = true;
                    session.cursors.clear();
                    session.outbox.clear();
                });
                self.note_change(at);
            }
        }
    }
}
