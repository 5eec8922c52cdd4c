//! PUBLISH to a client (MQTT 5 §3.3): one message, many receivers.

use std::num::NonZeroU16;

use bytes::{BufMut, BytesMut};

use super::encode::{Encoder, TooLarge};
use super::message::{MESSAGE_EXPIRY, Message};
use super::scalar::{PacketId, QoS, SubscriptionId, Version};
use super::writer::{packet_length, put_binary, put_varint, varint_length};

const SUBSCRIPTION_IDENTIFIER: u8 = 0x0b;
const TOPIC_ALIAS: u8 = 0x23;

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

impl Encoder {
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
        let shape = Shape::of(self.version(), message, delivery);
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
        packet_length(Shape::of(self.version(), message, delivery).body)
    }
}

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
