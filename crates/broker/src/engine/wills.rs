//! Wills of connections that have ended: each is spoken when it is due, in the device's own words or in the
//! gateway's, as `edge/will_words.rs` decides.

use hearthkey_core::profile::{Availability, Rights};

use crate::engine::Engine;
use crate::engine::parcel::{Parcel, Terms, end_ms};
use crate::engine::pending::{DueWill, Voice};
use crate::engine::session::{Key, Owner};
use crate::protocol::{Message, Properties, QoS, Text, Will};

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
