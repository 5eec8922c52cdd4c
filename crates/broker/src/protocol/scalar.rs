//! The small values that stand in many packets.

use std::num::{NonZeroU16, NonZeroU32};

/// The largest value of a variable byte integer (MQTT 5 §1.5.5).
pub(super) const VARINT_MAX: u32 = 268_435_455;

/// A packet identifier: never 0 (MQTT 5 §2.2.1).
pub type PacketId = NonZeroU16;

/// A subscription identifier, 1 to 268,435,455 (MQTT 5 §3.8.2.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(pub(super) NonZeroU32);

impl SubscriptionId {
    /// The identifier with this value. `None` for 0 and above 268,435,455.
    pub fn new(value: u32) -> Option<Self> {
        (value <= VARINT_MAX)
            .then(|| NonZeroU32::new(value))
            .flatten()
            .map(Self)
    }

    /// Its value.
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

/// The MQTT version of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// MQTT 3.1.1, and what mosquitto's bridges speak (protocol levels 0x83 and 0x84).
    V311,
    /// MQTT 5.
    V5,
}

/// How often a message may arrive (MQTT 5 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QoS {
    /// QoS 0.
    AtMostOnce = 0,
    /// QoS 1.
    AtLeastOnce = 1,
    /// QoS 2.
    ExactlyOnce = 2,
}

impl QoS {
    /// The QoS with this value: 0, 1 or 2.
    pub fn from_byte(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}
