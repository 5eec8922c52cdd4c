//! Every bound of the broker, with its unit and what happens when it is reached.

use std::time::Duration;

use hearthkey_core::room;

/// Every bound of the broker. `Default` suits a home of a few hundred devices on a Raspberry Pi.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all. For one more, one that has shown no certificate gives way (`gate.rs`), or it is closed
    /// before TLS.
    pub connections_max: usize,
    /// Connections from one IPv4 /24 or one IPv6 /48, so that a quarter is left for others. For one more, one of the
    /// same network gives way, or it is closed before TLS.
    pub connections_per_network_max: usize,
    /// Connections from one IPv4 address or one IPv6 /64. For one more, one of the same gives way, or it is closed before
    /// TLS.
    pub connections_per_address_max: usize,
    /// From accept to the end of the TLS handshake. Then the socket is closed.
    pub handshake_timeout_ms: u64,
    /// From the end of the handshake to a complete CONNECT. Then the socket is closed.
    pub connect_timeout_ms: u64,
    /// The longest CONNECT packet of a device. A longer one closes the socket unread. What it needs beyond 1 KiB counts with
    /// the packets that are not complete.
    pub connect_packet_max_bytes: usize,
    /// The longest CONNECT packet of a client that has shown no certificate. A longer one closes the socket unread.
    pub connect_claim_max_bytes: usize,
    /// Claim connections at a time. One more gets "server busy".
    pub claim_connections_max: usize,
    /// How long a claim connection lives. Then it is closed.
    pub claim_life_s: u64,
    /// How long the gateway may take to judge a claim's secret. Then "server unavailable".
    pub claim_answer_timeout_ms: u64,
    /// Events waiting for the gateway. Refusals use only the first half and are counted beyond it.
    pub events_max: usize,
    /// How long an event that matters waits for room. Then a request is answered `busy`, and a
    /// session that cannot be announced is closed.
    pub event_wait_ms: u64,
    /// The longest request payload. A longer one is reported as oversized, without its bytes.
    pub request_max_bytes: usize,
    /// Requests per connection and minute. One more is answered `busy` without an event.
    pub requests_per_minute_max: u32,
    /// The longest packet from a device. A longer one closes the session.
    pub packet_max_bytes: usize,
    /// The longest life of a session without a connection. A longer wish is cut down to it.
    pub session_expiry_max_s: u32,
    /// Messages queued for one session. Beyond it one that is away loses the oldest; one that is connected loses QoS 0,
    /// then its connection.
    pub queue_messages_max: usize,
    /// Bytes queued for one session. Beyond it as with the number of messages.
    pub queue_max_bytes: usize,
    /// Bytes on their way to all sessions of one device. Beyond it the largest of its queues gives way.
    pub queues_device_max_bytes: usize,
    /// Bytes queued for all sessions together, each message counted once. The largest queue is emptied beyond it.
    pub queues_total_max_bytes: usize,
    /// Unacknowledged QoS 1 and 2 messages towards one client. More wait in its queue.
    pub outbound_inflight_max: u16,
    /// Unacknowledged QoS 2 messages from one client (Receive Maximum). More close the session.
    pub receive_max: u16,
    /// QoS 2 messages of one MQTT 3.1.1 client that it has not released. One more closes the session.
    pub half_done_max: usize,
    /// Bytes of packets that are not complete yet, of all connections together, where a buffer has more than 16 KiB. A
    /// connection that needs more is closed.
    pub incoming_total_max_bytes: usize,
    /// The same, of all connections of one device.
    pub incoming_device_max_bytes: usize,
    /// Topic aliases per connection. A higher one closes the session.
    pub topic_alias_max: u16,
    /// Subscriptions per session. One more is answered "quota exceeded".
    pub subscriptions_max: usize,
    /// Bytes of the subscriptions of one device. One more is answered "quota exceeded".
    pub subscriptions_device_max_bytes: usize,
    /// Bytes of all subscriptions. One more is answered "quota exceeded".
    pub subscriptions_total_max_bytes: usize,
    /// Retained messages of one device. One more topic is answered "quota exceeded".
    pub retained_device_messages_max: usize,
    /// Bytes of the retained messages of one device. More are answered "quota exceeded".
    pub retained_device_max_bytes: usize,
    /// Retained messages in all. One more topic is answered "quota exceeded".
    pub retained_messages_max: usize,
    /// The longest retained message. A longer one is answered "quota exceeded".
    pub retained_message_max_bytes: usize,
    /// Bytes of retained messages in all. What does not fit is answered "quota exceeded".
    pub retained_total_max_bytes: usize,
    /// Messages per device and second, on average over ten, over all its connections. A device that sends more is read more
    /// slowly.
    pub publishes_per_s_max: u32,
    /// Payload bytes per device and second, on average over ten. A device that sends more is read more slowly.
    pub publish_bytes_per_s_max: u64,
    /// After a restart, the will of a device that does not come back is published after its own delay, or, if that is
    /// none, after this time.
    pub restart_will_s: u64,
    /// The longest keep alive. MQTT 5 clients that ask for more, or for none, get this one; 0: any.
    pub keep_alive_max_s: u16,
    /// How often expired sessions and messages are removed and live sessions judged anew.
    pub sweep_period_s: u64,
    /// How often changes of sessions and queues are handed to the gateway: what `kill -9` costs.
    pub snapshot_period_ms: u64,
    /// Batches of state changes waiting for the gateway. The snapshotter waits; changes coalesce.
    pub state_batches_max: usize,
    /// Changes in one batch.
    pub state_batch_changes_max: usize,
    /// How long `stop` waits for sessions to end, and then for the gateway to take the last state.
    pub stop_timeout_ms: u64,
}

const MIB: usize = 1024 * 1024;

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 2_048,
            connections_per_network_max: 1_536,
            connections_per_address_max: 256,
            handshake_timeout_ms: 10_000,
            connect_timeout_ms: 10_000,
            connect_packet_max_bytes: 64 * 1024,
            connect_claim_max_bytes: 4 * 1024,
            claim_connections_max: 256,
            claim_life_s: 60,
            claim_answer_timeout_ms: 5_000,
            events_max: 1_024,
            event_wait_ms: 5_000,
            request_max_bytes: 16 * 1024,
            requests_per_minute_max: 12,
            packet_max_bytes: 16 * MIB,
            session_expiry_max_s: 7 * 24 * 3_600,
            queue_messages_max: 100_000,
            queue_max_bytes: 16 * MIB,
            queues_device_max_bytes: room::QUEUES_DEVICE_MAX_BYTES,
            queues_total_max_bytes: 128 * MIB,
            outbound_inflight_max: 1_024,
            receive_max: 64,
            half_done_max: 4_096,
            incoming_total_max_bytes: room::INCOMING_HOME_MAX_BYTES,
            incoming_device_max_bytes: room::INCOMING_DEVICE_MAX_BYTES,
            topic_alias_max: 16,
            subscriptions_max: 10_000,
            subscriptions_device_max_bytes: room::SUBSCRIPTIONS_DEVICE_MAX_BYTES,
            subscriptions_total_max_bytes: 64 * MIB,
            retained_device_messages_max: 20_000,
            retained_device_max_bytes: 32 * MIB,
            retained_messages_max: room::RETAINED_HOME_MAX,
            retained_message_max_bytes: 16 * MIB,
            retained_total_max_bytes: room::RETAINED_HOME_MAX_BYTES,
            publishes_per_s_max: 1_000,
            publish_bytes_per_s_max: 10 * MIB as u64,
            restart_will_s: 60,
            keep_alive_max_s: 0,
            sweep_period_s: 15,
            snapshot_period_ms: 1_000,
            state_batches_max: 8,
            state_batch_changes_max: 256,
            stop_timeout_ms: 5_000,
        }
    }
}

impl Limits {
    /// The same with other numbers of connections: in all, three quarters of them from one network, an eighth from one
    /// address.
    pub fn with_connections(self, in_all: usize) -> Self {
        Self {
            connections_max: in_all,
            connections_per_network_max: in_all / 4 * 3,
            connections_per_address_max: in_all.div_ceil(8),
            ..self
        }
    }

    pub(crate) fn handshake_timeout(&self) -> Duration {
        Duration::from_millis(self.handshake_timeout_ms)
    }
    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }
    pub(crate) fn claim_life(&self) -> Duration {
        Duration::from_secs(self.claim_life_s)
    }
    pub(crate) fn claim_answer_timeout(&self) -> Duration {
        Duration::from_millis(self.claim_answer_timeout_ms)
    }
    pub(crate) fn event_wait(&self) -> Duration {
        Duration::from_millis(self.event_wait_ms)
    }
    pub(crate) fn stop_timeout(&self) -> Duration {
        Duration::from_millis(self.stop_timeout_ms)
    }
    pub(crate) fn sweep_period(&self) -> Duration {
        Duration::from_secs(self.sweep_period_s.max(1))
    }
    pub(crate) fn snapshot_period(&self) -> Duration {
        Duration::from_millis(self.snapshot_period_ms.max(10))
    }
}
