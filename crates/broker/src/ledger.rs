//! What has changed since the gateway last heard of it, and how much is retained in all.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use mqtt5::broker::events::{BrokerEventHandler, RetainedSetEvent};
use mqtt5::broker::router::MessageRouter;
use tokio::sync::Notify;

use crate::broker::is_gateways;
use crate::limits::Limits;

/// While the retained payloads are over their bound, none longer than this is taken.
const TIGHT_MESSAGE_BYTES: usize = 1_024;

/// Keeps account of retained messages and of sessions that changed.
#[derive(Default)]
pub(crate) struct Ledger {
    account: Mutex<Account>,
    /// Told when a retained message has changed.
    pub(crate) retained_changed: Notify,
    router: OnceLock<Weak<MessageRouter>>,
    total_max_bytes: usize,
    messages_max: usize,
    message_max_bytes: usize,
}

#[derive(Default)]
struct Account {
    lengths: HashMap<Arc<str>, usize>,
    bytes: usize,
    tight: bool,
    retained: HashSet<Arc<str>>,
    sessions: HashSet<String>,
}

impl Ledger {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            total_max_bytes: limits.retained_total_max_bytes,
            messages_max: limits.retained_messages_max,
            message_max_bytes: limits.retained_message_max_bytes,
            ..Self::default()
        })
    }

    /// Gives the ledger the router whose limits it tightens.
    pub(crate) fn watch(&self, router: &Arc<MessageRouter>) {
        if self.router.set(Arc::downgrade(router)).is_err() {
            tracing::error!("the ledger was given a second router");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session has changed: it will be in the next snapshot.
    pub(crate) fn session_changed(&self, client_id: &str) {
        self.lock().sessions.insert(client_id.to_owned());
    }

    /// The sessions that have changed since the last call.
    pub(crate) fn take_sessions(&self) -> HashSet<String> {
        std::mem::take(&mut self.lock().sessions)
    }

    /// The retained topics that have changed since the last call.
    pub(crate) fn take_retained(&self) -> HashSet<Arc<str>> {
        std::mem::take(&mut self.lock().retained)
    }

    /// Whether a message is retained on a topic.
    pub(crate) fn is_retained(&self, topic: &str) -> bool {
        self.lock().lengths.contains_key(topic)
    }

    /// Takes note of a retained message: its payload's length, 0 when it was cleared. What the
    /// gateway itself has said follows from its registry, so that it need not be kept.
    pub(crate) fn note_retained(&self, topic: &Arc<str>, length: usize) {
        let limits = {
            let mut account = self.lock();
            let before = match length {
                0 => account.lengths.remove(topic),
                _ => account.lengths.insert(Arc::clone(topic), length),
            };
            account.bytes = account.bytes + length - before.unwrap_or(0);
            if !is_gateways(topic) {
                account.retained.insert(Arc::clone(topic));
            }
            let over = account.bytes > self.total_max_bytes;
            (over || account.tight).then(|| {
                account.tight = over;
                match over {
                    true => (account.lengths.len().max(1), TIGHT_MESSAGE_BYTES),
                    false => (self.messages_max, self.message_max_bytes),
                }
            })
        };
        if let (Some((messages, bytes)), Some(router)) =
            (limits, self.router.get().and_then(Weak::upgrade))
        {
            router.update_retained_limits(messages, bytes);
        }
        self.retained_changed.notify_one();
    }
}

impl BrokerEventHandler for Ledger {
    fn on_retained_set<'a>(
        &'a self,
        event: RetainedSetEvent,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        self.note_retained(&event.topic, event.payload.len());
        Box::pin(std::future::ready(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retained_limits_tighten_over_the_total_and_loosen_again() {
        let limits = Limits {
            retained_total_max_bytes: 100,
            ..Limits::default()
        };
        let ledger = Ledger::new(&limits);
        let router = Arc::new(MessageRouter::new());
        ledger.watch(&router);
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        ledger.note_retained(&a, 90);
        ledger.note_retained(&b, 20);
        assert_eq!(router.max_retained_messages(), 2);
        assert_eq!(router.max_retained_message_size(), TIGHT_MESSAGE_BYTES);
        ledger.note_retained(&a, 0);
        assert_eq!(router.max_retained_messages(), limits.retained_messages_max);
        assert_eq!(ledger.take_retained().len(), 2);
        assert!(ledger.take_retained().is_empty());
    }
}
