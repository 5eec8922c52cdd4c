//! How much a session of a profile may hold, within what a home holds.

use serde::{Deserialize, Serialize};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Bytes of packets that are not complete yet, of all connections of a home together.
pub const INCOMING_HOME_MAX_BYTES: usize = 64 * MIB;
/// Of those, of all connections of one device: the longest packet there is, and a little.
pub const INCOMING_DEVICE_MAX_BYTES: usize = INCOMING_HOME_MAX_BYTES / 2 + MIB;
/// Bytes on their way to all sessions of one device together.
pub const QUEUES_DEVICE_MAX_BYTES: usize = 48 * MIB;
/// Bytes of the subscriptions of one device.
pub const SUBSCRIPTIONS_DEVICE_MAX_BYTES: usize = 8 * MIB;
/// What a subscription takes in memory besides its text.
pub const SUBSCRIPTION_BYTES: usize = 256;
/// Retained messages of a home.
pub const RETAINED_HOME_MAX: usize = 50_000;
/// Bytes of the retained messages of a home.
pub const RETAINED_HOME_MAX_BYTES: usize = 64 * MIB;

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
    /// The longest packet, in bytes: 1 KiB to 32 MiB, so that one device never takes all that may be on its way in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packet_max_bytes: Option<u32>,
    /// Subscriptions of one session: 1 to 30,000, which is what a device has bytes for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscriptions_max: Option<u32>,
    /// Bytes on their way to one session: 64 KiB to 48 MiB, which is what all sessions of a device have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_max_bytes: Option<u32>,
    /// Retained messages of one device: 0 to 50,000, which is what the home has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retained_max: Option<u32>,
    /// Bytes of one device's retained messages: 0 to 64 MiB, which is what the home has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retained_max_bytes: Option<u32>,
}

/// A number of a room: its field, itself, the least and the most it may be, and that in words.
type Number<'a> = (&'static str, &'a mut Option<u32>, (u32, u32), &'static str);

impl Room {
    pub(crate) fn is_usual(&self) -> bool {
        *self == Self::default()
    }

    /// The first number that is out of its range.
    pub(crate) fn check(mut self) -> Result<(), RoomRefusal> {
        for (field, value, (low, high), range) in self.numbers() {
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

    /// The same with each number in its range.
    pub(crate) fn within_home(mut self) -> Self {
        for (_, value, (low, high), _) in self.numbers() {
            *value = value.map(|value| value.clamp(low, high));
        }
        self
    }

    fn numbers(&mut self) -> [Number<'_>; 5] {
        let most = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        [
            (
                "room.packet_max_bytes",
                &mut self.packet_max_bytes,
                (1024, most(INCOMING_HOME_MAX_BYTES / 2)),
                "1 KiB to 32 MiB, half of what a home takes in at a time",
            ),
            (
                "room.subscriptions_max",
                &mut self.subscriptions_max,
                (1, 30_000),
                "1 to 30,000, what one device has room for",
            ),
            (
                "room.queue_max_bytes",
                &mut self.queue_max_bytes,
                (most(64 * KIB), most(QUEUES_DEVICE_MAX_BYTES)),
                "64 KiB to 48 MiB, what all sessions of a device have",
            ),
            (
                "room.retained_max",
                &mut self.retained_max,
                (0, most(RETAINED_HOME_MAX)),
                "0 to 50,000, what the home has",
            ),
            (
                "room.retained_max_bytes",
                &mut self.retained_max_bytes,
                (0, most(RETAINED_HOME_MAX_BYTES)),
                "0 to 64 MiB, what the home has",
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_room_is_larger_than_what_the_home_has() {
        let all = Room {
            packet_max_bytes: Some(32 << 20),
            subscriptions_max: Some(30_000),
            queue_max_bytes: Some(48 << 20),
            retained_max: Some(50_000),
            retained_max_bytes: Some(64 << 20),
        };
        assert_eq!(all.check(), Ok(()));
        assert_eq!(all.within_home(), all);
        let device = 30_000 * (SUBSCRIPTION_BYTES + 20);
        assert!(
            device <= SUBSCRIPTIONS_DEVICE_MAX_BYTES,
            "with filters of 20 bytes"
        );
        for (room, field) in [
            (
                Room {
                    packet_max_bytes: Some((32 << 20) + 1),
                    ..all
                },
                "room.packet_max_bytes",
            ),
            (
                Room {
                    queue_max_bytes: Some(49 << 20),
                    ..all
                },
                "room.queue_max_bytes",
            ),
            (
                Room {
                    subscriptions_max: Some(0),
                    ..all
                },
                "room.subscriptions_max",
            ),
            (
                Room {
                    retained_max: Some(50_001),
                    ..all
                },
                "room.retained_max",
            ),
            (
                Room {
                    retained_max_bytes: Some(u32::MAX),
                    ..all
                },
                "room.retained_max_bytes",
            ),
        ] {
            assert_eq!(room.check().unwrap_err().field, field);
            assert_eq!(room.within_home().check(), Ok(()));
        }
        assert_eq!(Room::default().within_home(), Room::default());
    }
}
