//! Answers to requests: to the requesting connection, and to nobody else.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use mqtt5::QoS;
use mqtt5::broker::events::ClientPublishEvent;
use mqtt5::broker::router::MessageRouter;
use mqtt5::broker::storage::{QueuedMessage, StorageBackend};
use mqtt5::packet::publish::PublishPacket;
use mqtt5::validation::topic_matches_filter;

use crate::library::Engine;
use crate::sessions::Sessions;

/// Where the answer to one request goes.
///
/// The topic is the response topic of the request, if it named one of the requester's own, or
/// else the request's topic with `/accepted` or `/rejected`. MQTT 5 clients get their correlation
/// data back, and the user property `outcome` says which of the two it was.
#[derive(Clone)]
pub struct Reply {
    way: Way,
    topic: String,
    response_topic: Option<String>,
    correlation: Option<Bytes>,
}

/// What became of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivered {
    /// On its way in the connection's own queue.
    Sent,
    /// The connection has not subscribed to the topic: the answer is lost, as MQTT has it.
    NotSubscribed,
    /// The connection has ended.
    Gone,
}

#[derive(Clone)]
pub(crate) enum Way {
    /// Into a device's session.
    Session {
        engine: Arc<Engine>,
        sessions: Arc<Sessions>,
        connection: u64,
        client_id: String,
    },
    /// Into a claim's room.
    Room {
        router: Arc<MessageRouter>,
        client_id: String,
        open: Arc<AtomicBool>,
    },
}

impl Reply {
    /// The answer to a request published on a topic below `own`, the requester's own prefix.
    pub(crate) fn to(way: Way, request: &ClientPublishEvent, own: &str) -> Self {
        let response_topic = request
            .response_topic
            .as_deref()
            .filter(|topic| topic.starts_with(own));
        Self {
            way,
            topic: request.topic.to_string(),
            response_topic: response_topic.map(str::to_owned),
            correlation: request.correlation_data.clone(),
        }
    }

    /// Answers with what was asked for.
    pub async fn accepted(&self, payload: Bytes) -> Delivered {
        self.answer("accepted", payload).await
    }

    /// Answers with a refusal.
    pub async fn rejected(&self, payload: Bytes) -> Delivered {
        self.answer("rejected", payload).await
    }

    /// Whether the connection is still there.
    pub fn is_open(&self) -> bool {
        match &self.way {
            Way::Session {
                sessions,
                connection,
                ..
            } => sessions.is_live(*connection),
            Way::Room { open, .. } => open.load(Ordering::Acquire),
        }
    }

    async fn answer(&self, outcome: &str, payload: Bytes) -> Delivered {
        if !self.is_open() {
            return Delivered::Gone;
        }
        let topic = match &self.response_topic {
            Some(topic) => topic.clone(),
            None => format!("{}/{outcome}", self.topic),
        };
        let mut publish = PublishPacket::new(topic, payload, QoS::AtLeastOnce);
        publish
            .properties
            .add_user_property("outcome".to_owned(), outcome.to_owned());
        if let Some(correlation) = &self.correlation {
            publish.properties.set_correlation_data(correlation.clone());
        }
        match &self.way {
            Way::Session {
                engine, client_id, ..
            } => into_session(engine, client_id, publish).await,
            Way::Room {
                router, client_id, ..
            } => into_room(router, client_id, publish).await,
        }
    }
}

/// Queues the answer for one session alone; its handler gives it a packet identifier and keeps it
/// until it is acknowledged. The router is not asked: it would serve every subscriber.
async fn into_session(engine: &Engine, client_id: &str, mut publish: PublishPacket) -> Delivered {
    let mut granted = None;
    for (filter, subscription) in engine.subscriptions(client_id).await {
        let filter = mqtt5::strip_shared_subscription_prefix(&filter);
        if !topic_matches_filter(&publish.topic_name, filter) {
            continue;
        }
        granted = granted.max(Some(subscription.qos as u8));
        if let Some(id) = subscription.subscription_id {
            publish.properties.set_subscription_identifier(id);
        }
    }
    let qos = match granted {
        None => return Delivered::NotSubscribed,
        Some(0) => QoS::AtMostOnce,
        Some(_) => QoS::AtLeastOnce,
    };
    let queue = engine.storage.queue_handle(client_id);
    queue.push(QueuedMessage::new(publish, client_id.to_owned(), qos, None));
    queue.notify();
    Delivered::Sent
}

/// Routes the answer in the claim's room, where nobody else is.
async fn into_room(router: &MessageRouter, client_id: &str, publish: PublishPacket) -> Delivered {
    if router.subscription_count_for_client(client_id).await == 0 {
        return Delivered::NotSubscribed;
    }
    router.route_message(&publish, None).await;
    Delivered::Sent
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}
