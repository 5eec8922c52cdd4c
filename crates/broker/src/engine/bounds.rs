//! The bounds of an engine, and what a device takes of them with all its sessions.

use crate::engine::arena::Place;
use crate::engine::bucket::{Bucket, Pace};
use crate::engine::meetings::Meetings;
use crate::engine::retained::RetainedBounds;
use crate::engine::session::SessionBounds;
use crate::limits::Limits;
use hearthkey_core::room::Room;

/// The bounds of all sessions together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) session: SessionBounds,
    pub(crate) session_expiry_max_s: u32,
    pub(crate) receive_max: u16,
    pub(crate) topic_alias_max: u16,
    pub(crate) topic_max_bytes: usize,
    pub(crate) window_max: usize,
    pub(crate) half_done_max: usize,
    pub(crate) queues_device_max_bytes: usize,
    pub(crate) queues_max_bytes: usize,
    pub(crate) subscriptions_device_max_bytes: usize,
    pub(crate) subscriptions_max_bytes: usize,
    pub(crate) retained: RetainedBounds,
    pub(crate) pace: Pace,
    pub(crate) restart_will_ms: u64,
    pub(crate) keep_alive_max_s: u16,
}

impl Bounds {
    pub(crate) fn new(limits: &Limits) -> Self {
        let retained = RetainedBounds {
            messages_max: limits.retained_messages_max,
            bytes_max: limits.retained_total_max_bytes,
            message_max_bytes: limits.retained_message_max_bytes,
        };
        let session = SessionBounds {
            packet_max_bytes: limits.packet_max_bytes,
            subscriptions_max: limits.subscriptions_max,
            queue_max_bytes: limits.queue_max_bytes,
            queue_messages_max: limits.queue_messages_max,
            retained: RetainedBounds {
                messages_max: limits.retained_device_messages_max,
                bytes_max: limits.retained_device_max_bytes,
                message_max_bytes: limits.retained_message_max_bytes,
            },
            stored_max: 1,
        };
        Self {
            session,
            session_expiry_max_s: limits.session_expiry_max_s,
            receive_max: limits.receive_max.max(1),
            topic_alias_max: limits.topic_alias_max,
            topic_max_bytes: hearthkey_core::topic::TOPIC_MAX_BYTES,
            window_max: usize::from(limits.outbound_inflight_max.max(1)),
            half_done_max: limits.half_done_max,
            queues_device_max_bytes: limits.queues_device_max_bytes,
            queues_max_bytes: limits.queues_total_max_bytes,
            subscriptions_device_max_bytes: limits.subscriptions_device_max_bytes,
            subscriptions_max_bytes: limits.subscriptions_total_max_bytes,
            retained,
            pace: Pace {
                messages_per_s: limits.publishes_per_s_max,
                bytes_per_s: limits.publish_bytes_per_s_max,
            },
            restart_will_ms: limits.restart_will_s.saturating_mul(1000),
            keep_alive_max_s: limits.keep_alive_max_s,
        }
    }

    /// The bounds of a session under a profile: the home's, unless the profile says something else.
    pub(crate) fn of(&self, room: Room, sessions_max: u16) -> SessionBounds {
        let or = |value: Option<u32>, usual: usize| value.map_or(usual, |value| value as usize);
        let home = self.session;
        SessionBounds {
            packet_max_bytes: or(room.packet_max_bytes, home.packet_max_bytes),
            subscriptions_max: or(room.subscriptions_max, home.subscriptions_max),
            queue_max_bytes: or(room.queue_max_bytes, home.queue_max_bytes),
            queue_messages_max: home.queue_messages_max,
            retained: RetainedBounds {
                messages_max: or(room.retained_max, home.retained.messages_max),
                bytes_max: or(room.retained_max_bytes, home.retained.bytes_max),
                message_max_bytes: home.retained.message_max_bytes,
            },
            stored_max: usize::from(sessions_max.max(1)),
        }
    }
}

/// What one owner has of everything, over all sessions.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) sessions: Vec<Place>,
    pub(crate) queue_bytes: usize,
    pub(crate) subscription_bytes: usize,
    /// What it has used of its pace, over all its connections: connecting again does not begin anew.
    pub(crate) pace: Bucket,
    pub(crate) meetings: Meetings,
}

impl Book {
    /// Whether nothing is to be remembered of its owner any more.
    pub(crate) fn is_over(&self, now_ms: u64) -> bool {
        self.sessions.is_empty() && self.pace.is_rested(now_ms) && self.meetings.is_over(now_ms)
    }
}
