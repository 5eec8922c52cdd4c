//! What a client sends, packet by packet.

use std::collections::VecDeque;
use std::collections::hash_map::Entry as Slot;
use std::sync::Arc;

use hearthkey_core::topic::hearthkey;

use crate::engine::Engine;
use crate::engine::outbox::Acked;
use crate::engine::parcel::{Parcel, Terms, end_ms};
use crate::engine::progress::{Asked, Departure, Flow, Progress, RequestKind};
use crate::engine::retained::RetainedFull;
use crate::engine::session::{Handle, Link, Owner, RESTORED};
use crate::event::{Bound, Refusal, clipped};
use crate::protocol::{Packet, PacketId, Publish, QoS, ReasonCode, Text, Version, Violation};

/// A message that takes at least this much of the buffer it was read into keeps that buffer.
const OWN_BUFFER_BYTES: usize = 32 * 1024;
/// Work after which the engine is left to others for a moment: 256 packets, or 4,096 deliveries or filters.
const TURN: usize = 4_096;
/// The work of a packet. That of a delivery, and of a filter, is one.
const PACKET: usize = 16;

const ON: Flow = Ok(None);

fn violation(reason: ReasonCode, section: &'static str, what: &'static str) -> Flow {
    Err(Departure::Violated(Violation {
        reason,
        section,
        what,
    }))
}

impl Engine {
    /// Takes packets from a connection, as long as its identity is what it was judged to be.
    pub(crate) fn packets(
        &mut self,
        at: Handle,
        packets: &mut VecDeque<Packet>,
        now_ms: u64,
    ) -> Progress {
        if let Some(link) = self.live_mut(at).and_then(|session| session.link.as_mut()) {
            link.heard_ms = now_ms;
        }
        let begun = self.work;
        loop {
            let Some(session) = self.live(at) else {
                return Progress::Gone;
            };
            if session.identity.epoch != self.epoch.now() {
                return Progress::Stale;
            }
            if self.work.wrapping_sub(begun) >= TURN {
                return Progress::Turn;
            }
            let is_publish = matches!(packets.front(), Some(Packet::Publish(_)));
            if let Some(until_ms) = is_publish.then(|| self.rests_until(at, now_ms)).flatten() {
                return Progress::Rest(until_ms);
            }
            let Some(packet) = packets.pop_front() else {
                break;
            };
            self.work = self.work.wrapping_add(PACKET);
            match self.packet(at, packet, now_ms) {
                Ok(None) => {}
                Ok(Some(until_ms)) => return Progress::Rest(until_ms),
                Err(departure) => return Progress::Over(departure),
            }
        }
        Progress::All
    }

    fn packet(&mut self, at: Handle, packet: Packet, now_ms: u64) -> Flow {
        match packet {
            Packet::Publish(publish) => self.publish(at, publish, now_ms),
            Packet::Puback(ack) => self.acknowledged(at, ack.packet_id, QoS::AtLeastOnce),
            Packet::Pubrec(ack) if ack.reason.is_failure() => {
                let acked = self.change_outbox(at.session, |its| its.outbox.refused(ack.packet_id));
                self.landed(at, acked)
            }
            Packet::Pubrec(ack) => self.received(at, ack.packet_id),
            Packet::Pubrel(ack) => self.released(at, ack.packet_id),
            Packet::Pubcomp(ack) => self.acknowledged(at, ack.packet_id, QoS::ExactlyOnce),
            Packet::Subscribe(subscribe) => self.subscribe(at, &subscribe, now_ms),
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(at, &unsubscribe),
            Packet::Pingreq => {
                self.say(at, |link| link.encoder.pingresp(&mut link.control));
                ON
            }
            Packet::Disconnect(goodbye) => Err(Departure::Left(goodbye)),
            Packet::Connect(_) => violation(
                ReasonCode::ProtocolError,
                "[MQTT-3.1.0-2]",
                "a second CONNECT",
            ),
        }
    }

    /// Says something to the client of a connection.
    pub(super) fn say(&mut self, at: Handle, words: impl FnOnce(&mut Link)) {
        if let Some(link) = self.live_mut(at).and_then(|session| session.link.as_mut()) {
            words(link);
        }
    }

    fn acknowledged(&mut self, at: Handle, id: PacketId, qos: QoS) -> Flow {
        let acked = self.change_outbox(at.session, |session| session.outbox.complete(id, qos));
        self.landed(at, acked)
    }

    fn landed(&mut self, at: Handle, acked: Option<Acked>) -> Flow {
        match acked {
            Some(Acked::Wrong) => WRONG_ACK,
            Some(Acked::Done) => {
                self.note_change(at.session);
                ON
            }
            _ => ON,
        }
    }

    fn received(&mut self, at: Handle, id: PacketId) -> Flow {
        let acked = self.change_outbox(at.session, |session| session.outbox.release(id));
        let reason = match acked {
            Some(Acked::Wrong) => return WRONG_ACK,
            Some(Acked::Done) => ReasonCode::Success,
            _ => ReasonCode::PacketIdentifierNotFound,
        };
        self.note_change(at.session);
        self.say(at, |link| {
            link.encoder.pubrel(id, reason, &mut link.control)
        });
        ON
    }

    fn released(&mut self, at: Handle, id: PacketId) -> Flow {
        let Some(session) = self.live_mut(at) else {
            return ON;
        };
        let reason = match session.received.remove(&id) {
            Some(_) => ReasonCode::Success,
            None => ReasonCode::PacketIdentifierNotFound,
        };
        self.note_change(at.session);
        self.say(at, |link| {
            link.encoder.pubcomp(id, reason, &mut link.control)
        });
        ON
    }

    fn publish(&mut self, at: Handle, publish: Publish, now_ms: u64) -> Flow {
        if publish.qos == QoS::ExactlyOnce
            && let Some(flow) = self.twice_or_too_many(at, &publish, now_ms)
        {
            return flow;
        }
        let topic = &publish.message.topic;
        if topic.len() > self.bounds.topic_max_bytes {
            self.tell_bound(at.session, Bound::Topic, now_ms);
            self.answer_publish(at, &publish, ReasonCode::TopicNameInvalid);
            return Ok(self.pace(at, publish.message.len_bytes(), now_ms));
        }
        let Some(session) = self.live(at) else {
            return ON;
        };
        let rights = Arc::clone(&session.identity.rights);
        let (route, place) = self.routes.permitted(topic, &rights, &self.subscriptions);
        let Some(place) = place else {
            return self.refuse(at, &publish, now_ms);
        };
        rights.published(place);
        let rest = self.pace(at, publish.message.len_bytes(), now_ms);
        if let Some(kind) = self.request_kind(at, topic) {
            let message = publish.message.compact();
            self.asked.push(Asked::Request { kind, message });
            self.answer_publish(at, &publish, ReasonCode::Success);
            return Ok(rest);
        }
        let message = match publish.message.len_bytes() >= OWN_BUFFER_BYTES {
            true => publish.message.clone(),
            false => publish.message.compact(),
        };
        let terms = Terms {
            qos: publish.qos,
            retain: publish.retain,
            expires_ms: publish.expiry_s.and_then(|life| end_ms(now_ms, life)),
        };
        let parcel = Parcel::new(message, terms, &self.meter);
        if publish.retain && !self.retain(at, &parcel, &publish, now_ms) {
            return Ok(rest);
        }
        self.deliver(&parcel, &route, Some(at.session), now_ms);
        self.answer_publish(at, &publish, ReasonCode::Success);
        Ok(rest)
    }

    /// Whether the message was received before and is only to be answered again, or is one more than the client may have
    /// under way.
    fn twice_or_too_many(&mut self, at: Handle, publish: &Publish, now_ms: u64) -> Option<Flow> {
        let (receive_max, half_done_max) = (self.bounds.receive_max, self.bounds.half_done_max);
        let session = self.live_mut(at)?;
        let id = publish.packet_id?;
        let under_way = session.received.len();
        match session.received.entry(id) {
            // Its release may have been lost in a crash. A client that sends again says so [MQTT-3.3.1-1]: this is another.
            Slot::Occupied(times) if *times.get() == RESTORED && !publish.dup => None,
            Slot::Occupied(mut times) => {
                let before = times.get_mut();
                *before = match *before {
                    RESTORED => 1,
                    before => before + 1,
                };
                if *before > 2 {
                    return Some(violation(
                        ReasonCode::ProtocolError,
                        "§4.3.3",
                        "one QoS 2 message was sent again and again",
                    ));
                }
                self.say(at, |link| {
                    link.encoder
                        .pubrec(id, ReasonCode::Success, None, &mut link.control);
                });
                Some(ON)
            }
            Slot::Vacant(_) => match session.version() {
                Some(Version::V5) if under_way >= usize::from(receive_max) => Some(violation(
                    ReasonCode::ReceiveMaximumExceeded,
                    "[MQTT-3.3.4-9]",
                    "more QoS 2 messages are under way than the gateway takes",
                )),
                _ if under_way >= half_done_max => {
                    self.tell_bound(at.session, Bound::HalfDone, now_ms);
                    Some(violation(
                        ReasonCode::QuotaExceeded,
                        "§4.3.3",
                        "too many QoS 2 messages are not released",
                    ))
                }
                _ => None,
            },
        }
    }

    /// Until when nothing that this device publishes is taken, on whatever connection it comes.
    fn rests_until(&mut self, at: Handle, now_ms: u64) -> Option<u64> {
        let book = self.live(at)?.book;
        let until_ms = self.books.get(book)?.pace.rests_until(now_ms)?;
        // Not reading it is ours: it does not count as silence.
        self.live_mut(at)?.link.as_mut()?.heard_ms = until_ms;
        Some(until_ms)
    }

    /// Counts a message against the pace of its publisher's device. Returns until when the connection is not read.
    fn pace(&mut self, at: Handle, bytes: usize, now_ms: u64) -> Option<u64> {
        let book = self.live(at)?.book;
        let used = &mut self.books.get_mut(book)?.pace;
        let until_ms = used.take(bytes, self.bounds.pace, now_ms)?;
        // Not reading it is ours: it does not count as silence.
        self.live_mut(at)?.link.as_mut()?.heard_ms = until_ms;
        self.tell_bound(at.session, Bound::Pace, now_ms);
        Some(until_ms)
    }

    fn request_kind(&self, at: Handle, topic: &Text) -> Option<RequestKind> {
        if !topic.as_bytes().starts_with(b"hearthkey/") {
            return None;
        }
        match &self.live(at)?.key.owner {
            Owner::Claim(claim) => {
                (topic.as_str() == hearthkey::enroll(claim)).then_some(RequestKind::Enroll)
            }
            Owner::Device(device) if topic.as_str() == hearthkey::renew(device) => {
                Some(RequestKind::Renew)
            }
            Owner::Device(device) if topic.as_str() == hearthkey::clock(device) => {
                Some(RequestKind::Clock)
            }
            Owner::Device(device) => {
                (topic.as_str() == hearthkey::trust_ack(device)).then_some(RequestKind::TrustAck)
            }
        }
    }

    /// Retains a message, within the bounds. False if the publisher was refused, and nothing more is to be done with it:
    /// MQTT 3.1.1, and QoS 0, have no word for that, and the message still goes to those who listen now.
    fn retain(&mut self, at: Handle, parcel: &Arc<Parcel>, publish: &Publish, now_ms: u64) -> bool {
        let Some(session) = self.sessions.get(at.session) else {
            return true;
        };
        let bounds = session.bounds.retained;
        let owner = session.key.owner.device().map(|device| (device, bounds));
        let Err(full) = self.retained.set(parcel, owner, self.bounds.retained) else {
            return true;
        };
        let version = session.version();
        self.tell_bound(at.session, full.into(), now_ms);
        if version == Some(Version::V5) && publish.qos != QoS::AtMostOnce {
            self.answer_publish(at, publish, ReasonCode::QuotaExceeded);
            return false;
        }
        true
    }

    fn refuse(&mut self, at: Handle, publish: &Publish, now_ms: u64) -> Flow {
        let Some(session) = self.live(at) else {
            return ON;
        };
        let Some(link) = &session.link else { return ON };
        let why = Refusal::Publish(clipped(publish.message.topic.as_str()));
        let (owner, address) = (session.key.owner.clone(), link.address);
        let is_old = link.encoder.version() == Version::V311;
        self.notes.refused(&owner, address, why);
        if is_old && matches!(owner, Owner::Claim(_)) {
            // MQTT 3.1.1 has no word for "no" here: acknowledging would be a lie.
            return Err(Departure::Lost);
        }
        self.answer_publish(at, publish, ReasonCode::NotAuthorized);
        Ok(self.pace(at, publish.message.len_bytes(), now_ms))
    }

    /// Answers a PUBLISH: nothing for QoS 0, PUBACK for QoS 1, PUBREC for QoS 2.
    fn answer_publish(&mut self, at: Handle, publish: &Publish, reason: ReasonCode) {
        let Some(id) = publish.packet_id.filter(|_| publish.qos != QoS::AtMostOnce) else {
            return;
        };
        let why = reason.is_failure().then(|| reason.name());
        if publish.qos == QoS::AtLeastOnce {
            return self.say(at, |link| {
                link.encoder.puback(id, reason, why, &mut link.control);
            });
        }
        // After a PUBREC that refuses, the identifier is free again; MQTT 3.1.1 cannot refuse.
        if let Some(session) = self.live_mut(at)
            && (!reason.is_failure() || session.version() == Some(Version::V311))
        {
            session.received.insert(id, 1);
        }
        self.note_change(at.session);
        self.say(at, |link| {
            link.encoder.pubrec(id, reason, why, &mut link.control)
        });
    }
}

const WRONG_ACK: Flow = Err(Departure::Violated(Violation {
    reason: ReasonCode::ProtocolError,
    section: "§4.3",
    what: "an acknowledgement is not the one that is due",
}));

impl From<RetainedFull> for Bound {
    fn from(full: RetainedFull) -> Self {
        match full {
            RetainedFull::Message => Self::RetainedMessage,
            RetainedFull::Device => Self::RetainedOfDevice,
            RetainedFull::Home => Self::RetainedOfHome,
        }
    }
}
