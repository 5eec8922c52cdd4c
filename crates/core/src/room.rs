//! How much a session of a profile may hold.

use serde::{Deserialize, Serialize};

/// A number of a room that is out of its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RoomRefusal {
    pub(crate) field: &'static str,
    pub(crate) value: u64,
    pub(crate) range: &'static str,
}

/// How much a session may hold, where a profile says something else than the home.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Room {
    /// The longest packet, in bytes: 1 KiB to 256 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packet_max_bytes: Option<u32>,
    /// Subscriptions of one session: 1 to 100,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscriptions_max: Option<u32>,
    /// Bytes on their way to one session: 64 KiB to 1 GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_max_bytes: Option<u32>,
    /// Retained messages of one device: 0 to 1,000,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retained_max: Option<u32>,
    /// Bytes of one device's retained messages: 0 to 1 GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retained_max_bytes: Option<u32>,
}

impl Room {
    pub(crate) fn is_usual(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn check(&self) -> Result<(), RoomRefusal> {
        const GIB: u32 = 1 << 30;
        for (field, value, (low, high), range) in [
            (
                "room.packet_max_bytes",
                self.packet_max_bytes,
                (1024, 1 << 28),
                "1 KiB to 256 MiB",
            ),
            (
                "room.subscriptions_max",
                self.subscriptions_max,
                (1, 100_000),
                "1 to 100,000",
            ),
            (
                "room.queue_max_bytes",
                self.queue_max_bytes,
                (65_536, GIB),
                "64 KiB to 1 GiB",
            ),
            (
                "room.retained_max",
                self.retained_max,
                (0, 1_000_000),
                "0 to 1,000,000",
            ),
            (
                "room.retained_max_bytes",
                self.retained_max_bytes,
                (0, GIB),
                "0 to 1 GiB",
            ),
        ] {
            if let Some(value) = value.filter(|value| !(low..=high).contains(value)) {
                let value = value.into();
                return Err(RoomRefusal {
                    field,
                    value,
                    range,
                });
            }
        }
        Ok(())
    }
}
