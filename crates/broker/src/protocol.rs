//! MQTT 3.1.1 and MQTT 5 on the wire: bytes to packets, packets to bytes, and every rule about them.
//!
//! No socket, no clock, no task is in here. [`Decoder`] takes what a client sent and answers with a [`Packet`] or
//! with a [`Violation`], which names the section that was broken. [`Encoder`] appends packets to a buffer of the
//! caller, as many as fit into one write.
//!
//! Invariants:
//! - Every MUST about bytes that a client sends is checked here, once, and nowhere else in the gateway.
//! - What the decoder lets through can be forwarded as it is: text is UTF-8 that every subscriber takes, and the
//!   properties of a message are those that a server may forward, each at most once.
//! - A packet that a server must not send cannot be expressed with [`Encoder`].
//! - Topics, payloads and properties are slices of the buffer that was read; nothing is copied until somebody keeps a
//!   message for long ([`Message::compact`]). CONNECT alone is copied, and its bytes are wiped from the buffer.
//!
//! Sections are those of MQTT 5.0; a rule of MQTT 3.1.1 alone says so.

mod alias;
mod connack;
mod connect;
mod control;
mod decode;
mod delivery;
mod encode;
mod message;
mod packet;
mod publish;
mod reader;
mod reason;
mod scalar;
mod subscribe;
mod text;
mod writer;

pub use alias::OutgoingAliases;
pub use connack::Connack;
pub use decode::{Decoder, DecoderLimits};
pub use delivery::{Alias, Delivery};
pub use encode::{Encoder, TooLarge};
pub use message::{Message, MessageProperties, Properties};
pub use packet::{Ack, Connect, Disconnect, Packet, Password, Publish, Will};
pub use reason::{ReasonCode, Violation};
pub use scalar::{PacketId, QoS, SubscriptionId, Version};
pub use subscribe::{Filters, RetainHandling, Subscribe, Subscription, Unsubscribe};
pub use text::{Filter, Text, is_topic_name};

#[cfg(test)]
mod tests;
