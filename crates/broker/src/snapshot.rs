//! Handing what must survive a restart to the gateway, because the library's own storage would
//! write it to disk in the clear.
//!
//! Retained messages are handed over as they change. Sessions, their queues and their
//! unacknowledged messages are compared with what the gateway has once in
//! `Limits::snapshot_period_ms` (1 s), and completely at [`stop`](crate::Broker::stop).
//!
//! What `kill -9` or a power cut can cost, counted from the last batch that the gateway made
//! durable:
//! - up to one period of QoS 1 and 2 messages for sessions that are away or slow, though their
//!   publishers have the acknowledgement; of subscriptions and unsubscriptions; of new and ended
//!   sessions;
//! - messages on their way to a connected session (`Limits::lane_messages_max`) that were not yet
//!   sent;
//! - the retained messages of the last milliseconds.
//!
//! And what it can repeat: messages acknowledged within the last period, once more and marked as
//! duplicates. A clean stop costs nothing. If the gateway takes no batches, changes coalesce here
//! in what is live anyway; nothing grows.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use mqtt5::broker::storage::{
    ClientSession, InflightDirection, InflightMessage, QueuedMessage, StorageBackend,
};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use crate::ledger::Ledger;
use crate::library::Engine;
use crate::limits::Limits;
use crate::queue_rows::{QueueRows, identity};
use crate::state::{StateChange, StateKind, StateRow, encode};

/// A batch is sent when its values have this many bytes, if not before.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// What the gateway has.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) retained: HashSet<Arc<str>>,
    /// Those of them that expire by themselves.
    pub(crate) expiring: HashSet<Arc<str>>,
    pub(crate) sessions: HashMap<String, KnownSession>,
    /// Rows that belong to nothing: to be deleted.
    pub(crate) strays: Vec<(StateKind, String)>,
}

/// What the gateway has of one session.
#[derive(Default)]
pub(crate) struct KnownSession {
    /// Whether it has rows at all: a session that ends with its connection has none.
    pub(crate) lasting: bool,
    pub(crate) row: u64,
    pub(crate) queue: QueueRows,
    pub(crate) queue_bytes: usize,
    pub(crate) inflight: HashMap<String, u64>,
}

/// Compares and hands over.
pub(crate) struct Snapshotter {
    engine: Arc<Engine>,
    ledger: Arc<Ledger>,
    limits: Limits,
    sender: mpsc::Sender<Vec<StateChange>>,
    known: Known,
    batch: Vec<StateChange>,
    batch_bytes: usize,
    queued: u64,
    closed: bool,
}

impl Snapshotter {
    pub(crate) fn new(
        engine: Arc<Engine>,
        ledger: Arc<Ledger>,
        limits: Limits,
        sender: mpsc::Sender<Vec<StateChange>>,
        known: Known,
    ) -> Self {
        Self {
            engine,
            ledger,
            limits,
            sender,
            known,
            batch: Vec::new(),
            batch_bytes: 0,
            queued: 0,
            closed: false,
        }
    }

    /// Runs until `finish` speaks or is dropped; then hands over all that is left.
    pub(crate) async fn run(mut self, mut finish: oneshot::Receiver<()>) {
        let ledger = Arc::clone(&self.ledger);
        let mut period = tokio::time::interval(self.limits.snapshot_period());
        period.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.closed {
            tokio::select! {
                _ = &mut finish => {
                    self.retained().await;
                    self.sessions(true).await;
                    self.send().await;
                    return;
                }
                _ = period.tick() => {
                    self.retained().await;
                    self.sessions(false).await;
                }
                () = ledger.retained_changed.notified() => self.retained().await,
            }
            self.send().await;
        }
    }

    async fn retained(&mut self) {
        for topic in self.ledger.take_retained() {
            let Ok(Some(mut message)) = self.engine.storage.get_retained_message(&topic).await
            else {
                self.known.expiring.remove(&topic);
                if self.known.retained.remove(&topic) {
                    self.delete(StateKind::Retained, topic.to_string()).await;
                }
                continue;
            };
            if message.message_expiry_interval.is_some() {
                self.known.expiring.insert(Arc::clone(&topic));
            }
            let payload = std::mem::take(&mut message.payload);
            self.known.retained.insert(Arc::clone(&topic));
            self.put(StateKind::Retained, topic.to_string(), &message, &payload)
                .await;
        }
    }

    async fn sessions(&mut self, all: bool) {
        self.expire_retained().await;
        for (kind, key) in std::mem::take(&mut self.known.strays) {
            self.delete(kind, key).await;
        }
        let changed = self.ledger.take_sessions();
        let ids = self.engine.stored_sessions().await;
        let queued = ids
            .first()
            .map_or(0, |id| self.engine.storage.queue_handle(id).next_seq());
        let moved = all || queued != self.queued;
        self.queued = queued;

        let here: HashSet<&String> = ids.iter().collect();
        let gone: Vec<String> = self
            .known
            .sessions
            .keys()
            .filter(|id| !here.contains(id))
            .cloned()
            .collect();
        for id in gone {
            if let Some(known) = self.known.sessions.remove(&id) {
                self.forget(&id, known).await;
            }
        }
        for id in &ids {
            let mut known = self.known.sessions.remove(id);
            if all || known.is_none() || changed.contains(id) {
                known = self.session(id, known).await;
            }
            if let Some(mut known) = known {
                // Messages go from the queue into flight and back. Looking at what is in flight
                // before and after the queue finds each at least once.
                let before = self.in_flight(id, &known).await;
                self.queue(id, &mut known, moved).await;
                self.inflight(id, &mut known, before).await;
                self.known.sessions.insert(id.clone(), known);
            }
        }
        self.bound_queues().await;
    }

    /// The library drops an expired retained message without a word.
    async fn expire_retained(&self) {
        for topic in &self.known.expiring {
            if let Ok(None) = self.engine.storage.get_retained_message(topic).await {
                self.ledger.note_retained(topic, 0);
            }
        }
    }

    async fn session(&mut self, id: &str, known: Option<KnownSession>) -> Option<KnownSession> {
        let mut known = known.unwrap_or_default();
        let session = self.engine.storage.get_session(id).await.ok().flatten();
        let lasting = session.filter(|session| session.expiry_interval != Some(0));
        let Some(session) = lasting else {
            if known.lasting {
                self.forget(id, known).await;
                known = KnownSession::default();
            }
            return Some(known);
        };
        let row = session_identity(&session);
        if !known.lasting || known.row != row {
            self.put(StateKind::Session, id.to_owned(), &session, &[])
                .await;
        }
        (known.lasting, known.row) = (true, row);
        Some(known)
    }

    async fn queue(&mut self, id: &str, known: &mut KnownSession, moved: bool) {
        let queue = self.engine.storage.queue_handle(id);
        queue.purge_expired();
        let count = queue.count();
        let same = if known.lasting {
            count == known.queue.len()
        } else {
            count == 0
        };
        if same && (!moved || count == 0) {
            known.queue_bytes = if count == 0 { 0 } else { known.queue_bytes };
            return;
        }
        let mut messages = queue.peek_all().await;
        known.queue_bytes = messages.iter().map(QueuedMessage::footprint).sum();
        if !known.lasting {
            return;
        }
        let identities: Vec<u64> = messages.iter().map(identity).collect();
        let diff = known.queue.become_queue(&identities);
        for number in diff.delete {
            self.delete(StateKind::Queue, queue_key(id, number)).await;
        }
        for (number, at) in diff.put {
            let payload = std::mem::take(&mut messages[at].payload);
            self.put(
                StateKind::Queue,
                queue_key(id, number),
                &messages[at],
                &payload,
            )
            .await;
        }
    }

    async fn in_flight(&self, id: &str, known: &KnownSession) -> Vec<InflightMessage> {
        if !known.lasting {
            return Vec::new();
        }
        self.engine
            .storage
            .get_inflight_messages(id)
            .await
            .unwrap_or_default()
    }

    async fn inflight(&mut self, id: &str, known: &mut KnownSession, before: Vec<InflightMessage>) {
        let mut messages = HashMap::new();
        let after = self.in_flight(id, known).await;
        for message in before.into_iter().chain(after) {
            messages.insert(inflight_key(id, &message), message);
        }
        let mut left = std::mem::take(&mut known.inflight);
        for (key, mut message) in messages {
            let identity = inflight_identity(&message);
            if left.remove(&key) != Some(identity) {
                let payload = std::mem::take(&mut message.payload);
                self.put(StateKind::Inflight, key.clone(), &message, &payload)
                    .await;
            }
            known.inflight.insert(key, identity);
        }
        for key in left.into_keys() {
            self.delete(StateKind::Inflight, key).await;
        }
    }

    async fn forget(&mut self, id: &str, known: KnownSession) {
        if known.lasting {
            self.delete(StateKind::Session, id.to_owned()).await;
        }
        for number in known.queue.numbers() {
            self.delete(StateKind::Queue, queue_key(id, number)).await;
        }
        for key in known.inflight.into_keys() {
            self.delete(StateKind::Inflight, key).await;
        }
    }

    /// Empties the largest queue while all together hold too much.
    async fn bound_queues(&mut self) {
        let mut total: usize = self
            .known
            .sessions
            .values()
            .map(|known| known.queue_bytes)
            .sum();
        while total > self.limits.queues_total_max_bytes {
            let largest = self
                .known
                .sessions
                .iter()
                .max_by_key(|(_, known)| known.queue_bytes);
            let Some(id) = largest.map(|(id, _)| id.clone()) else {
                return;
            };
            let dropped = self.engine.storage.queue_handle(&id).clear(Some(u64::MAX));
            tracing::warn!(client_id = %id, dropped, "all queues are over their bound: emptied one");
            let Some(mut known) = self.known.sessions.remove(&id) else {
                return;
            };
            total -= known.queue_bytes;
            self.queue(&id, &mut known, true).await;
            self.known.sessions.insert(id, known);
        }
    }

    async fn put<T: Serialize>(&mut self, kind: StateKind, key: String, head: &T, payload: &[u8]) {
        match encode(head, payload) {
            Ok(value) => {
                self.batch_bytes += value.len();
                self.push(StateChange::Put(StateRow { kind, key, value }))
                    .await;
            }
            Err(error) => tracing::error!(%error, ?kind, "a state row could not be written"),
        }
    }

    async fn delete(&mut self, kind: StateKind, key: String) {
        self.push(StateChange::Delete { kind, key }).await;
    }

    async fn push(&mut self, change: StateChange) {
        self.batch.push(change);
        let full = self.batch.len() >= self.limits.state_batch_changes_max.max(1);
        if full || self.batch_bytes >= BATCH_BYTES {
            self.send().await;
        }
    }

    async fn send(&mut self) {
        self.batch_bytes = 0;
        if self.batch.is_empty() || self.closed {
            self.batch.clear();
            return;
        }
        if self
            .sender
            .send(std::mem::take(&mut self.batch))
            .await
            .is_err()
        {
            tracing::error!("nobody takes state changes any more: sessions will not survive");
            self.closed = true;
        }
    }
}

/// The key of a queued message's row.
pub(crate) fn queue_key(client_id: &str, number: u64) -> String {
    format!("{client_id}/{number:020}")
}

/// The key of an unacknowledged message's row.
pub(crate) fn inflight_key(client_id: &str, message: &InflightMessage) -> String {
    let direction = match message.direction {
        InflightDirection::Inbound => "in",
        InflightDirection::Outbound => "out",
    };
    format!("{client_id}/{direction}/{:05}", message.packet_id)
}

/// A session's content in one number.
pub(crate) fn session_identity(session: &ClientSession) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut filters: Vec<_> = session
        .subscriptions
        .iter()
        .map(|(filter, s)| {
            let options = (
                s.qos as u8,
                s.no_local,
                s.retain_as_published,
                s.retain_handling,
            );
            (filter, options, s.subscription_id)
        })
        .collect();
    filters.sort_unstable();
    filters.hash(&mut hasher);
    (
        session.expiry_interval,
        session.disconnected_at,
        session.connection_token,
    )
        .hash(&mut hasher);
    if let Some(will) = &session.will_message {
        (&will.topic, &will.payload, will.qos as u8, will.retain).hash(&mut hasher);
    }
    hasher.finish()
}

/// An unacknowledged message's content in one number.
pub(crate) fn inflight_identity(message: &InflightMessage) -> u64 {
    let mut hasher = DefaultHasher::new();
    (message.phase as u8, message.stored_at_secs, &message.topic).hash(&mut hasher);
    message.payload.hash(&mut hasher);
    hasher.finish()
}
