//! What the gateway sends (MQTT 5 §3.2 to §3.15, MQTT 3.1.1 §3.2 to §3.13).
//!
//! All functions append, so that many packets share one buffer, one TLS record and one write. None of them can express
//! a packet that a server must not send: no property is missing a type here, and none has two places.

use std::num::{NonZeroU16, NonZeroU32};

use bytes::{BufMut, BytesMut};

use super::message::{MESSAGE_EXPIRY, Message};
use super::packet::{Connect, PacketId, QoS, SubscriptionId, Version};
use super::reader::VARINT_MAX;
use super::reason::ReasonCode;

/// What is said to one client, in its version and within its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoder {
    version: Version,
    packet_max_bytes: usize,
    problem_information: bool,
}

/// A packet is longer than the client takes (§3.1.2.11.4). Nothing was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the packet would have {length_bytes} bytes, the client takes {max_bytes}")]
pub struct TooLarge {
    /// All of the packet, its fixed header included.
    pub length_bytes: usize,
    /// What the client takes, or MQTT knows.
    pub max_bytes: usize,
}

/// What differs between two receivers of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery<'a> {
    /// The QoS and, with QoS 1 and 2, the packet identifier.
    pub qos: QoS,
    /// Present with QoS 1 and 2. Ignored with QoS 0.
    pub packet_id: Option<PacketId>,
    /// It was sent before. Ignored with QoS 0 [MQTT-3.3.1-2].
    pub dup: bool,
    /// The retain flag as this subscriber gets it.
    pub retain: bool,
    /// What is left of its life in seconds (§3.3.2.3.3).
    pub expiry_s: Option<u32>,
    /// The identifiers of all subscriptions that it matches [MQTT-3.3.4-3].
    pub subscription_ids: &'a [SubscriptionId],
    /// How its topic is written.
    pub alias: Alias,
}

impl Delivery<'_> {
    /// QoS 0, nothing else.
    pub const QOS_0: Delivery<'static> = Delivery {
        qos: QoS::AtMostOnce,
        packet_id: None,
        dup: false,
        retain: false,
        expiry_s: None,
        subscription_ids: &[],
        alias: Alias::None,
    };
}

/// A topic alias towards the client: 1 to its Topic Alias Maximum (§3.3.2.3.4). Nothing in MQTT 3.1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alias {
    /// The topic in full.
    None,
    /// The topic in full, and an alias for the next time.
    Set(NonZeroU16),
    /// The alias alone.
    Use(NonZeroU16),
}

/// CONNACK (§3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connack<'a> {
    /// A session was there. Sent as `false` with a refusal [MQTT-3.2.2-6].
    pub session_present: bool,
    /// `Success`, or why not. Any session expiry and bound below is left out with a refusal.
    pub reason: ReasonCode,
    /// The life of the session, if it is not what the client asked for.
    pub session_expiry_s: Option<u32>,
    /// QoS 1 and 2 messages that the client may have under way. `None`: 65,535.
    pub receive_max: Option<NonZeroU16>,
    /// The longest packet that is read here.
    pub packet_max_bytes: Option<NonZeroU32>,
    /// The client id that was made up for an empty one.
    pub assigned_client_id: Option<&'a str>,
    /// The highest topic alias that is read here.
    pub topic_alias_max: u16,
    /// For a person. Left out if the packet would be too long for the client.
    pub reason_string: Option<&'a str>,
    /// The keep alive to use in place of the client's, in seconds.
    pub server_keep_alive_s: Option<u16>,
    /// Where responses may be wanted, if the client asked (§3.2.2.3.15).
    pub response_information: Option<&'a str>,
}

impl Connack<'_> {
    /// An answer with a reason and nothing else.
    pub fn because(reason: ReasonCode) -> Connack<'static> {
        Connack {
            session_present: false,
            reason,
            session_expiry_s: None,
            receive_max: None,
            packet_max_bytes: None,
            assigned_client_id: None,
            topic_alias_max: 0,
            reason_string: None,
            server_keep_alive_s: None,
            response_information: None,
        }
    }
}

const SESSION_EXPIRY: u8 = 0x11;
const ASSIGNED_CLIENT_ID: u8 = 0x12;
const SERVER_KEEP_ALIVE: u8 = 0x13;
const RESPONSE_INFORMATION: u8 = 0x1a;
const REASON_STRING: u8 = 0x1f;
const RECEIVE_MAXIMUM: u8 = 0x21;
const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
const TOPIC_ALIAS: u8 = 0x23;
const MAXIMUM_PACKET_SIZE: u8 = 0x27;
const SUBSCRIPTION_IDENTIFIER: u8 = 0x0b;

impl Encoder {
    /// The encoder for a client whose CONNECT has been read.
    pub fn for_client(connect: &Connect) -> Self {
        Self {
            version: connect.version,
            packet_max_bytes: connect
                .packet_max_bytes
                .map_or(usize::MAX, |max| max.get() as usize),
            problem_information: connect.wants_problem_information,
        }
    }

    /// The encoder for a client that has said nothing about itself.
    pub fn new(version: Version) -> Self {
        Self {
            version,
            packet_max_bytes: usize::MAX,
            problem_information: true,
        }
    }

    /// The version it writes.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The longest packet that the client takes, in bytes.
    pub fn packet_max_bytes(&self) -> usize {
        self.packet_max_bytes.min(PACKET_MAX_BYTES)
    }

    /// Appends CONNACK. A refusal says nothing but why.
    ///
    /// Fails if even the shortest form is longer than the client takes.
    pub fn connack(&self, connack: &Connack<'_>, out: &mut BytesMut) -> Result<(), TooLarge> {
        let accepted = !connack.reason.is_failure();
        let session_present = u8::from(connack.session_present && accepted);
        match self.version {
            Version::V311 => {
                out.put_slice(&[0x20, 2, session_present, connack.reason.connack_v311()]);
                Ok(())
            }
            Version::V5 => {
                let head = [session_present, connack.reason as u8];
                let mut properties = BytesMut::new();
                if accepted {
                    put_connack_bounds(&mut properties, connack);
                }
                // Reason strings in CONNACK are allowed whatever Request Problem Information says (§3.1.2.11.7).
                self.with_reason(0x20, &head, &properties, connack.reason_string, out)
            }
        }
    }

    /// Appends PUBACK for QoS 1.
    pub fn puback(&self, id: PacketId, reason: ReasonCode, why: Option<&str>, out: &mut BytesMut) {
        self.ack(0x40, id, reason, why, out);
    }

    /// Appends PUBREC, the first answer for QoS 2.
    pub fn pubrec(&self, id: PacketId, reason: ReasonCode, why: Option<&str>, out: &mut BytesMut) {
        self.ack(0x50, id, reason, why, out);
    }

    /// Appends PUBREL. `reason` is `Success` or `PacketIdentifierNotFound`.
    pub fn pubrel(&self, id: PacketId, reason: ReasonCode, out: &mut BytesMut) {
        self.ack(0x62, id, reason, None, out);
    }

    /// Appends PUBCOMP. `reason` is `Success` or `PacketIdentifierNotFound`.
    pub fn pubcomp(&self, id: PacketId, reason: ReasonCode, out: &mut BytesMut) {
        self.ack(0x70, id, reason, None, out);
    }

    /// Appends SUBACK with one code for each filter, in their order. In MQTT 3.1.1 every failure is 0x80
    /// [MQTT-3.9.3-2].
    ///
    /// Fails if it is longer than the client takes: then there is no way to answer, and the connection ends.
    pub fn suback(
        &self,
        id: PacketId,
        codes: impl ExactSizeIterator<Item = ReasonCode>,
        why: Option<&str>,
        out: &mut BytesMut,
    ) -> Result<(), TooLarge> {
        self.codes(0x90, id, codes, why, out)
    }

    /// Appends UNSUBACK, in MQTT 5 with one code for each filter.
    ///
    /// Fails if it is longer than the client takes.
    pub fn unsuback(
        &self,
        id: PacketId,
        codes: impl ExactSizeIterator<Item = ReasonCode>,
        out: &mut BytesMut,
    ) -> Result<(), TooLarge> {
        match self.version {
            Version::V5 => self.codes(0xb0, id, codes, None, out),
            Version::V311 => {
                out.put_slice(&[0xb0, 2]);
                out.put_u16(id.get());
                Ok(())
            }
        }
    }

    /// Appends PINGRESP.
    pub fn pingresp(&self, out: &mut BytesMut) {
        out.put_slice(&[0xd0, 0]);
    }

    /// Appends DISCONNECT in MQTT 5. A server of MQTT 3.1.1 has none: it closes.
    pub fn disconnect(&self, reason: ReasonCode, why: Option<&str>, out: &mut BytesMut) {
        if self.version == Version::V5 {
            // Longer than the client takes: then it is not told. The connection ends in any case.
            let _: Result<(), TooLarge> = self.with_reason(0xe0, &[reason as u8], &[], why, out);
        }
    }

    /// Appends all of a PUBLISH.
    ///
    /// Fails, and appends nothing, if it is longer than the client takes: the message is not sent, and for the session
    /// it counts as delivered [MQTT-3.1.2-25].
    pub fn publish(
        &self,
        message: &Message,
        delivery: &Delivery<'_>,
        out: &mut BytesMut,
    ) -> Result<(), TooLarge> {
        self.publish_head(message, delivery, out)?;
        out.put_slice(&message.payload);
        Ok(())
    }

    /// Appends a PUBLISH up to its payload, which the caller sends next, in as many pieces as it likes. Fails as
    /// [`Encoder::publish`] does.
    pub fn publish_head(
        &self,
        message: &Message,
        delivery: &Delivery<'_>,
        out: &mut BytesMut,
    ) -> Result<(), TooLarge> {
        let shape = Shape::of(self.version, message, delivery);
        self.fits(shape.body)?;
        out.reserve(5 + shape.body - message.payload.len());
        let acknowledged = delivery.qos != QoS::AtMostOnce;
        out.put_u8(
            0x30 | u8::from(delivery.dup && acknowledged) << 3
                | (delivery.qos as u8) << 1
                | u8::from(delivery.retain),
        );
        put_varint(out, shape.body);
        let topic = if shape.topic {
            message.topic.as_bytes()
        } else {
            &[]
        };
        put_binary(out, topic);
        if acknowledged {
            out.put_u16(delivery.packet_id.map_or(0, NonZeroU16::get));
        }
        if let Some(properties) = shape.properties {
            put_varint(out, properties);
            if let Some(expiry_s) = delivery.expiry_s {
                out.put_u8(MESSAGE_EXPIRY);
                out.put_u32(expiry_s);
            }
            if let Alias::Set(alias) | Alias::Use(alias) = delivery.alias {
                out.put_u8(TOPIC_ALIAS);
                out.put_u16(alias.get());
            }
            for id in delivery.subscription_ids {
                out.put_u8(SUBSCRIPTION_IDENTIFIER);
                put_varint(out, id.get() as usize);
            }
            out.put_slice(message.properties.as_bytes());
        }
        Ok(())
    }

    /// The length of this PUBLISH in bytes, all of it.
    pub fn publish_length_bytes(&self, message: &Message, delivery: &Delivery<'_>) -> usize {
        packet_length(Shape::of(self.version, message, delivery).body)
    }

    fn fits(&self, body: usize) -> Result<(), TooLarge> {
        let length_bytes = packet_length(body);
        let max_bytes = self.packet_max_bytes();
        match length_bytes <= max_bytes {
            true => Ok(()),
            false => Err(TooLarge {
                length_bytes,
                max_bytes,
            }),
        }
    }

    fn ack(
        &self,
        first: u8,
        id: PacketId,
        reason: ReasonCode,
        why: Option<&str>,
        out: &mut BytesMut,
    ) {
        let id = id.get().to_be_bytes();
        if self.version == Version::V311 || reason == ReasonCode::Success {
            // Without a reason code: Success (§3.4.2.1).
            out.put_slice(&[first, 2, id[0], id[1]]);
            return;
        }
        let why = why.filter(|_| self.problem_information);
        let head = [id[0], id[1], reason as u8];
        // Two bytes longer than any client can forbid: such a client gets nothing.
        let _: Result<(), TooLarge> = self.with_reason(first, &head, &[], why, out);
    }

    fn codes(
        &self,
        first: u8,
        id: PacketId,
        codes: impl ExactSizeIterator<Item = ReasonCode>,
        why: Option<&str>,
        out: &mut BytesMut,
    ) -> Result<(), TooLarge> {
        let count = codes.len();
        let why = why.filter(|_| self.version == Version::V5 && self.problem_information);
        let without = 2 + usize::from(self.version == Version::V5) + count;
        let why =
            why.filter(|why| self.fits(without + 3 + why.len()).is_ok() && 3 + why.len() < 128);
        let body = without + why.map_or(0, |why| 3 + why.len());
        self.fits(body)?;
        out.put_u8(first);
        put_varint(out, body);
        out.put_u16(id.get());
        if self.version == Version::V5 {
            put_reason_string(out, why);
        }
        for code in codes {
            out.put_u8(match self.version {
                Version::V311 if code.is_failure() => 0x80,
                _ => code as u8,
            });
        }
        Ok(())
    }

    /// A packet of fixed bytes, properties and a reason string, which is left out if it makes the packet too long
    /// [MQTT-3.2.2-19] and its like. A last reason code of `Success` and empty properties are written, too.
    fn with_reason(
        &self,
        first: u8,
        head: &[u8],
        properties: &[u8],
        why: Option<&str>,
        out: &mut BytesMut,
    ) -> Result<(), TooLarge> {
        let length = |why: Option<&str>| {
            let properties = properties.len() + why.map_or(0, |why| 3 + why.len());
            (
                properties,
                head.len() + varint_length(properties) + properties,
            )
        };
        let why = why.filter(|why| {
            why.len() <= usize::from(u16::MAX) && self.fits(length(Some(why)).1).is_ok()
        });
        let (properties_length, body) = length(why);
        self.fits(body)?;
        out.put_u8(first);
        put_varint(out, body);
        out.put_slice(head);
        put_varint(out, properties_length);
        out.put_slice(properties);
        if let Some(why) = why {
            out.put_u8(REASON_STRING);
            put_binary(out, why.as_bytes());
        }
        Ok(())
    }
}

/// The longest packet that MQTT knows, in bytes.
const PACKET_MAX_BYTES: usize = VARINT_MAX as usize + 5;

/// The lengths inside a PUBLISH.
struct Shape {
    /// Whether the topic is written.
    topic: bool,
    /// The length of the properties; `None` in MQTT 3.1.1.
    properties: Option<usize>,
    /// Everything after the fixed header.
    body: usize,
}

impl Shape {
    fn of(version: Version, message: &Message, delivery: &Delivery<'_>) -> Self {
        let topic = version == Version::V311 || !matches!(delivery.alias, Alias::Use(_));
        let properties = (version == Version::V5).then(|| {
            let ids = delivery.subscription_ids.iter();
            delivery.expiry_s.map_or(0, |_| 5)
                + if delivery.alias == Alias::None { 0 } else { 3 }
                + ids
                    .map(|id| 1 + varint_length(id.get() as usize))
                    .sum::<usize>()
                + message.properties.as_bytes().len()
        });
        let body = 2
            + if topic { message.topic.len() } else { 0 }
            + if delivery.qos == QoS::AtMostOnce {
                0
            } else {
                2
            }
            + properties.map_or(0, |length| varint_length(length) + length)
            + message.payload.len();
        Self {
            topic,
            properties,
            body,
        }
    }
}

fn put_connack_bounds(out: &mut BytesMut, connack: &Connack<'_>) {
    if let Some(seconds) = connack.session_expiry_s {
        out.put_u8(SESSION_EXPIRY);
        out.put_u32(seconds);
    }
    if let Some(max) = connack.receive_max {
        out.put_u8(RECEIVE_MAXIMUM);
        out.put_u16(max.get());
    }
    if let Some(max) = connack.packet_max_bytes {
        out.put_u8(MAXIMUM_PACKET_SIZE);
        out.put_u32(max.get());
    }
    if connack.topic_alias_max > 0 {
        out.put_u8(TOPIC_ALIAS_MAXIMUM);
        out.put_u16(connack.topic_alias_max);
    }
    if let Some(seconds) = connack.server_keep_alive_s {
        out.put_u8(SERVER_KEEP_ALIVE);
        out.put_u16(seconds);
    }
    let texts = [
        (ASSIGNED_CLIENT_ID, connack.assigned_client_id),
        (RESPONSE_INFORMATION, connack.response_information),
    ];
    for (id, text) in texts {
        if let Some(text) = text {
            out.put_u8(id);
            put_binary(out, text.as_bytes());
        }
    }
}

fn put_reason_string(out: &mut BytesMut, why: Option<&str>) {
    match why {
        None => out.put_u8(0),
        Some(why) => {
            put_varint(out, 3 + why.len());
            out.put_u8(REASON_STRING);
            put_binary(out, why.as_bytes());
        }
    }
}

/// Two bytes of length, then the bytes. What has more than 65,535 was refused before, when it became a `Text`.
fn put_binary(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u16(bytes.len().min(usize::from(u16::MAX)) as u16);
    out.put_slice(bytes);
}

pub(super) fn put_varint(out: &mut BytesMut, mut value: usize) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

pub(super) fn varint_length(value: usize) -> usize {
    match value {
        0..128 => 1,
        128..16_384 => 2,
        16_384..2_097_152 => 3,
        _ => 4,
    }
}

/// The length of a packet with such a body.
fn packet_length(body: usize) -> usize {
    match body <= VARINT_MAX as usize {
        true => 1 + varint_length(body) + body,
        false => usize::MAX,
    }
}
