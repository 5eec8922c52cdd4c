//! One MQTT 5 connection to the gateway: publish and know it arrived, subscribe, ask and be answered, learn why it closed.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rumqttc::{
    AsyncClient, Event, EventLoop, MqttOptions, Packet, PublishNoticeError, PublishOptions, QoS,
    SubscribeFilterInput, SubscribeNoticeError,
};
use rustls::ClientConfig;
use rustls_pki_types::CertificateDer;
use tokio::sync::{mpsc, oneshot, watch};
use zeroize::Zeroizing;

use crate::claim_code::ClaimUri;
use crate::closed::ClosedReason;
use crate::line::{self, Fault, Line};
use crate::payload::Rejection;
use crate::pin::PinnedRoot;

/// A live connection. Dropping it closes the connection without a goodbye; `close` says goodbye first.
pub struct Session {
    client: AsyncClient,
    inbox: mpsc::Receiver<Message>,
    waiting: Waiting,
    closed: watch::Receiver<Option<ClosedReason>>,
}

/// A message from the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Topic it was published on.
    pub topic: String,
    /// Its bytes.
    pub payload: Bytes,
    /// Whether the gateway had kept it from before the subscription.
    pub retained: bool,
}

/// The gateway's answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// What came on `T/accepted`.
    Accepted(Bytes),
    /// What came on `T/rejected`.
    Rejected(Rejection),
}

/// Why a connection could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ConnectError {
    /// Why it ended before it began.
    pub reason: ClosedReason,
}

/// Why a publish, a subscription or a request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    /// The gateway's profile for this device does not allow the topic, or it refused for another named reason.
    #[error("the gateway refused {topic} ({code})")]
    Denied {
        /// Topic or filter.
        topic: String,
        /// The MQTT reason code in words.
        code: String,
    },
    /// Not a topic or filter that MQTT defines.
    #[error("{topic} is not a topic")]
    InvalidTopic {
        /// What was given.
        topic: String,
    },
    /// The connection ended first.
    #[error("{0}")]
    Closed(ClosedReason),
    /// The gateway did not answer.
    #[error("the gateway did not answer within {waited_s} s")]
    NoAnswer {
        /// How long this side waited.
        waited_s: u64,
    },
    /// The gateway answered with something that is not an answer.
    #[error("the gateway's answer cannot be read: {why}")]
    Unreadable {
        /// What is wrong with it.
        why: String,
    },
}

type Waiting = Arc<Mutex<Option<Waiter>>>;

/// The task that waits for the response to a request on `topic`.
struct Waiter {
    topic: String,
    answer: oneshot::Sender<(bool, Bytes)>,
}

/// Messages that wait to be received; more end the session rather than fill the memory.
const MOST_WAITING: usize = 1024;
/// Largest packet this side takes. Certificates, bundles and notices are far below it.
const LARGEST_PACKET_BYTES: u32 = 256 * 1024;
/// Messages of this side that wait for their PUBACK; more wait to be sent. The MQTT client keeps a place for each from the
/// start, and its own choice, 65,535 of them, is more memory than all else in the agent together.
const UNACKNOWLEDGED_MAX: u16 = 64;
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

impl Session {
    /// Connects with a claim. The secret is sent only after the gateway has proven the pinned root, which is returned.
    pub(crate) async fn open_with_claim(
        claim: &ClaimUri,
    ) -> Result<(Self, CertificateDer<'static>), ConnectError> {
        let pin = Arc::new(PinnedRoot::new(claim.root, line::provider()));
        let config = line::pinned_config(pin.clone()).map_err(|error| ConnectError {
            reason: ClosedReason::Lost {
                why: error.to_string(),
            },
        })?;
        let mut options = MqttOptions::new(&claim.claim, "gateway");
        // The bytes are wiped when the MQTT client lets go of them.
        let secret = Zeroizing::new(claim.secret().as_bytes().to_vec());
        options.set_credentials(&claim.claim, Bytes::from_owner(secret));
        let session = Self::open(options, &claim.host, claim.port, config).await?;
        let root = pin.proven().cloned().ok_or_else(|| ConnectError {
            reason: ClosedReason::NotTrusted {
                why: crate::pin::PinError::Mismatch.to_string(),
            },
        })?;
        Ok((session, root))
    }

    /// Connects with a client certificate, under a client id.
    pub(crate) async fn open_with_certificate(
        client_id: &str,
        host: &str,
        port: u16,
        config: ClientConfig,
    ) -> Result<Self, ConnectError> {
        Self::open(MqttOptions::new(client_id, "gateway"), host, port, config).await
    }

    async fn open(
        mut options: MqttOptions,
        host: &str,
        port: u16,
        config: ClientConfig,
    ) -> Result<Self, ConnectError> {
        let fault: Fault = Arc::new(OnceLock::new());
        let (host, config, noted) = (host.to_owned(), Arc::new(config), fault.clone());
        options
            .set_keep_alive(30)
            .set_connect_timeout(CONNECT_PATIENCE)
            .set_max_packet_size(Some(LARGEST_PACKET_BYTES))
            .set_outgoing_inflight_upper_limit(UNACKNOWLEDGED_MAX)
            .set_socket_connector(move |_, _| {
                Line::open(host.clone(), port, config.clone(), noted.clone())
            });
        let (client, events) = AsyncClient::builder(options)
            .capacity(usize::from(UNACKNOWLEDGED_MAX))
            .build();
        let (inbox_in, inbox) = mpsc::channel(MOST_WAITING);
        let (closed_in, closed) = watch::channel(None);
        let (opened_in, opened) = oneshot::channel();
        let waiting = Waiting::default();
        let driver = Driver {
            inbox: inbox_in,
            waiting: waiting.clone(),
            opened: Some(opened_in),
            fault,
        };
        tokio::spawn(async move {
            let reason = driver.run(events).await;
            closed_in.send_replace(Some(reason));
        });
        let session = Self {
            client,
            inbox,
            waiting,
            closed,
        };
        match opened.await {
            Ok(()) => Ok(session),
            Err(_) => Err(ConnectError {
                reason: session.closed().await,
            }),
        }
    }

    /// Publishes with QoS 1 and returns once the gateway has acknowledged.
    pub async fn publish(
        &self,
        topic: &str,
        payload: impl Into<Bytes>,
    ) -> Result<(), ExchangeError> {
        let notice = self
            .client
            .publish_tracked(topic, payload.into(), PublishOptions::new(QoS::AtLeastOnce))
            .await
            .map_err(|error| self.not_queued(error, topic))?;
        match notice.wait_completion_async().await {
            Ok(()) => Ok(()),
            Err(PublishNoticeError::V5PubAck(code)) => Err(ExchangeError::Denied {
                topic: topic.to_owned(),
                code: spoken(&format!("{code:?}")),
            }),
            Err(_) => Err(ExchangeError::Closed(self.closed().await)),
        }
    }

    /// Subscribes with QoS 1 and returns once the gateway has granted every filter.
    pub async fn subscribe(&self, filters: &[&str]) -> Result<(), ExchangeError> {
        let wanted = filters
            .iter()
            .map(|filter| SubscribeFilterInput::new(*filter, QoS::AtLeastOnce));
        let notice = self
            .client
            .subscribe_many_tracked(wanted)
            .await
            .map_err(|error| self.not_queued(error, &filters.join(" ")))?;
        match notice.wait_completion_async().await {
            Ok(()) => Ok(()),
            Err(SubscribeNoticeError::V5SubAckFailure(codes)) => Err(ExchangeError::Denied {
                topic: filters.join(" "),
                code: codes
                    .iter()
                    .map(|code| spoken(&format!("{code:?}")))
                    .collect::<Vec<_>>()
                    .join(", "),
            }),
            Err(_) => Err(ExchangeError::Closed(self.closed().await)),
        }
    }

    /// Publishes a request on `topic` and waits for the gateway's answer on `topic/accepted` or `topic/rejected`, to
    /// both of which this session must be subscribed. One request at a time.
    pub async fn request(
        &self,
        topic: &str,
        payload: impl Into<Bytes>,
        patience: Duration,
    ) -> Result<Reply, ExchangeError> {
        let (answer, answered) = oneshot::channel();
        *self.waiter() = Some(Waiter {
            topic: topic.to_owned(),
            answer,
        });
        let exchange = async {
            self.publish(topic, payload).await?;
            match answered.await {
                Ok((accepted, bytes)) => read_reply(accepted, bytes),
                Err(_) => Err(ExchangeError::Closed(self.closed().await)),
            }
        };
        let outcome = tokio::time::timeout(patience, exchange).await;
        self.waiter().take();
        outcome.unwrap_or(Err(ExchangeError::NoAnswer {
            waited_s: patience.as_secs(),
        }))
    }

    /// The next message that is not an answer to a request; `None` once the connection has closed.
    pub async fn receive(&mut self) -> Option<Message> {
        self.inbox.recv().await
    }

    /// Waits until the connection has closed, and says why. The future borrows nothing.
    pub fn closed(&self) -> impl Future<Output = ClosedReason> + Send + use<> {
        let mut closed = self.closed.clone();
        async move {
            let reason = closed.wait_for(Option::is_some).await;
            reason
                .ok()
                .and_then(|reason| reason.clone())
                .unwrap_or(ClosedReason::Requested)
        }
    }

    /// Says goodbye, closes, and returns why the connection ended: another reason may have come first.
    pub async fn close(self) -> ClosedReason {
        let closed = self.closed();
        // A session that has already closed has nobody to say goodbye to.
        let _ = self.client.disconnect_now().await;
        tokio::time::timeout(CLOSE_PATIENCE, closed)
            .await
            .unwrap_or(ClosedReason::Requested)
    }

    fn waiter(&self) -> std::sync::MutexGuard<'_, Option<Waiter>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn not_queued(&self, error: rumqttc::ClientError, topic: &str) -> ExchangeError {
        match error {
            rumqttc::ClientError::InvalidRequest(_) => ExchangeError::InvalidTopic {
                topic: topic.to_owned(),
            },
            _ => {
                let reason = self.closed.borrow().clone();
                ExchangeError::Closed(reason.unwrap_or(ClosedReason::Requested))
            }
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("closed", &*self.closed.borrow())
            .finish_non_exhaustive()
    }
}

/// A reason code's name as words: `NotAuthorized` is `not authorized`.
fn spoken(name: &str) -> String {
    let letters = name.chars().enumerate().flat_map(|(at, letter)| {
        let space = (at > 0 && letter.is_ascii_uppercase()).then_some(' ');
        space.into_iter().chain([letter.to_ascii_lowercase()])
    });
    letters.collect()
}

fn read_reply(accepted: bool, bytes: Bytes) -> Result<Reply, ExchangeError> {
    if accepted {
        return Ok(Reply::Accepted(bytes));
    }
    serde_json::from_slice(&bytes)
        .map(Reply::Rejected)
        .map_err(|error| ExchangeError::Unreadable {
            why: error.to_string(),
        })
}

/// Turns the MQTT client's events into messages, answers and one closing reason.
struct Driver {
    inbox: mpsc::Sender<Message>,
    waiting: Waiting,
    opened: Option<oneshot::Sender<()>>,
    fault: Fault,
}

impl Driver {
    async fn run(mut self, mut events: EventLoop) -> ClosedReason {
        let reason = loop {
            match events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    if let Some(opened) = self.opened.take() {
                        // The task that asked for the connection may have stopped waiting for it.
                        let _ = opened.send(());
                    }
                }
                Ok(Event::Incoming(Packet::Publish(publish))) => {
                    if !self.deliver(publish) {
                        break ClosedReason::Overflowed;
                    }
                }
                Ok(_) => {}
                Err(error) => break ClosedReason::from_errors(self.fault.get(), &error),
            }
        };
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        reason
    }

    /// Hands a message to the task that waits for it. False if nobody takes messages fast enough.
    fn deliver(&self, publish: rumqttc::Publish) -> bool {
        let topic = String::from_utf8_lossy(&publish.topic).into_owned();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(accepted) = waiting
            .as_ref()
            .and_then(|waiter| answer_kind(&waiter.topic, &topic))
        {
            if let Some(waiter) = waiting.take() {
                // The requester may have run out of patience at this very moment.
                let _ = waiter.answer.send((accepted, publish.payload));
            }
            return true;
        }
        drop(waiting);
        let message = Message {
            topic,
            payload: publish.payload,
            retained: publish.retain,
        };
        !matches!(
            self.inbox.try_send(message),
            Err(mpsc::error::TrySendError::Full(_))
        )
    }
}

/// Whether a message on `topic` answers a request on `request`, and if so whether it accepts.
fn answer_kind(request: &str, topic: &str) -> Option<bool> {
    match topic.strip_prefix(request)? {
        "/accepted" => Some(true),
        "/rejected" => Some(false),
        _ => None,
    }
}
