//! What a client can send, after every rule has been checked.

use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};

use zeroize::Zeroizing;

use super::message::Message;
use super::reason::ReasonCode;
use super::scalar::{PacketId, QoS, Version};
use super::subscribe::{Subscribe, Unsubscribe};
use super::text::Text;

/// A packet from a client.
///
/// AUTH is none of them: the gateway agrees to no authentication method, so AUTH is always a violation
/// [MQTT-4.12.0-7].
#[derive(Debug, PartialEq, Eq)]
pub enum Packet {
    /// The first packet, and only the first.
    Connect(Box<Connect>),
    /// A message.
    Publish(Publish),
    /// A QoS 1 message has arrived.
    Puback(Ack),
    /// A QoS 2 message has arrived: step one.
    Pubrec(Ack),
    /// A QoS 2 message is released: step two.
    Pubrel(Ack),
    /// A QoS 2 message is complete: step three.
    Pubcomp(Ack),
    /// Subscriptions.
    Subscribe(Subscribe),
    /// Ends subscriptions.
    Unsubscribe(Unsubscribe),
    /// To be answered with PINGRESP.
    Pingreq,
    /// The last packet.
    Disconnect(Disconnect),
}

/// CONNECT (MQTT 5 §3.1). Its texts hold bytes of their own.
#[derive(Debug, PartialEq, Eq)]
pub struct Connect {
    /// The version spoken from here on.
    pub version: Version,
    /// A mosquitto bridge (bit 0x80 of the protocol level): its subscriptions do not bring back what it published,
    /// and it wants the retain flag as it was published.
    pub bridge: bool,
    /// MQTT 5: Clean Start. MQTT 3.1.1: Clean Session.
    pub clean_start: bool,
    /// Seconds between two packets; 0 turns the check off. One and a half times as much ends the connection.
    pub keep_alive_s: u16,
    /// May be empty: then the server makes one up (MQTT 3.1.1 only with `clean_start`).
    pub client_id: Text,
    /// What is said on the client's behalf when it is gone.
    pub will: Option<Will>,
    /// The user name.
    pub user_name: Option<Text>,
    /// The password.
    pub password: Option<Password>,
    /// How long the session outlives the connection, in seconds; `u32::MAX` for ever. MQTT 3.1.1: 0 with Clean
    /// Session, otherwise `u32::MAX`.
    pub session_expiry_s: u32,
    /// How many QoS 1 and 2 messages the client takes before it acknowledges one. 65,535 if it does not say; MQTT 3.1.1
    /// has no such bound.
    pub receive_max: NonZeroU16,
    /// The longest packet that the client takes, in bytes. `None`: any.
    pub packet_max_bytes: Option<NonZeroU32>,
    /// The highest topic alias that the client takes; 0: none.
    pub topic_alias_max: u16,
    /// The client would like response information in CONNACK.
    pub wants_response_information: bool,
    /// The client takes reason strings and user properties in every packet, not in PUBLISH, CONNACK and DISCONNECT
    /// alone.
    pub wants_problem_information: bool,
    /// Extended authentication (§4.12). The gateway has none: a CONNECT with a method is refused with 0x8C.
    pub authentication_method: Option<Text>,
}

/// The will (MQTT 5 §3.1.2.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// Topic, payload and properties. In memory of its own.
    pub message: Message,
    /// The QoS to publish it with.
    pub qos: QoS,
    /// Whether it is retained.
    pub retain: bool,
    /// Seconds from the end of the connection to its publication; a shorter session expiry is earlier.
    pub delay_s: u32,
    /// Seconds from its publication to its end (§3.1.3.2.4).
    pub expiry_s: Option<u32>,
}

/// A password: shown to nobody, wiped from memory when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Zeroizing<Vec<u8>>);

impl Password {
    pub(super) fn new(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }

    /// The bytes, to be verified.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, moved out; they are still wiped when they are dropped.
    pub fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// PUBLISH (MQTT 5 §3.3). A topic alias has been resolved: the topic is never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Sent before. Never with QoS 0.
    pub dup: bool,
    /// How often it may arrive.
    pub qos: QoS,
    /// To be kept for later subscribers.
    pub retain: bool,
    /// Present with QoS 1 and 2 exactly.
    pub packet_id: Option<PacketId>,
    /// Seconds until it is worth nothing (§3.3.2.3.3).
    pub expiry_s: Option<u32>,
    /// Topic, payload and properties: slices of the read buffer.
    pub message: Message,
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP (MQTT 5 §3.4 to §3.7). A client's reason string and user properties are checked
/// and left out: the specification forbids acting on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// The message that it is about.
    pub packet_id: PacketId,
    /// `Success` in MQTT 3.1.1.
    pub reason: ReasonCode,
}

/// DISCONNECT (MQTT 5 §3.14).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disconnect {
    /// `Success` (no will) in MQTT 3.1.1. Anything else publishes the will.
    pub reason: ReasonCode,
    /// A new session expiry in seconds. Never above 0 if CONNECT said 0.
    pub session_expiry_s: Option<u32>,
}

impl Disconnect {
    /// Whether the will is discarded [MQTT-3.14.4-3].
    pub fn discards_will(&self) -> bool {
        self.reason == ReasonCode::Success
    }
}
