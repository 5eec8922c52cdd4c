//! Answers to requests: to the requesting connection, and to nobody else.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::edge::hall::Hall;
use crate::engine::session::Handle;
use crate::engine::{Answer, Answered};
use crate::protocol::Message;

/// Where the answer to one request goes.
///
/// The topic is the response topic of the request, if it named one of the requester's own, or else the request's topic with
/// `/accepted` or `/rejected`. MQTT 5 clients get their correlation data back, and the user property `outcome` says which of
/// the two it was.
#[derive(Clone)]
pub struct Reply {
    hall: Arc<Hall>,
    at: Handle,
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

impl Reply {
    /// The answer to a request published on a topic below `own`, the requester's own prefix.
    pub(crate) fn to(hall: &Arc<Hall>, at: Handle, request: &Message, own: &str) -> Self {
        let properties = request.properties.get();
        let response_topic = properties
            .response_topic
            .filter(|topic| topic.starts_with(own));
        Self {
            hall: Arc::clone(hall),
            at,
            topic: request.topic.to_string(),
            response_topic: response_topic.map(str::to_owned),
            correlation: properties.correlation_data.map(Bytes::copy_from_slice),
        }
    }

    /// Answers with what was asked for.
    pub async fn accepted(&self, payload: Bytes) -> Delivered {
        self.answer("accepted", payload)
    }

    /// Answers with a refusal.
    pub async fn rejected(&self, payload: Bytes) -> Delivered {
        self.answer("rejected", payload)
    }

    /// Whether the connection is still there.
    pub fn is_open(&self) -> bool {
        let at = self.at;
        self.hall.with(|engine, _| engine.has(at))
    }

    fn answer(&self, outcome: &str, payload: Bytes) -> Delivered {
        let topic = match &self.response_topic {
            Some(topic) => topic.clone(),
            None => format!("{}/{outcome}", self.topic),
        };
        let answer = Answer {
            topic: &topic,
            outcome,
            correlation: self.correlation.as_deref(),
            payload,
        };
        match self
            .hall
            .with(|engine, now_ms| engine.answer(self.at, answer, now_ms))
        {
            Answered::Sent => Delivered::Sent,
            Answered::NotSubscribed => Delivered::NotSubscribed,
            Answered::Gone => Delivered::Gone,
        }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}
