//! One short MQTT 5 session: sign in, ask on a topic, be answered on another, leave.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use hearthkey_core::id::hex;
use hearthkey_core::secret::Secret;
use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, MqttOptions, Packet,
    PubAckReason, PublishOptions, QoS, StateError, SubscribeReasonCode,
};
use zeroize::Zeroizing;

use crate::error::BridgeError;
use crate::limits::{LIST_MAX_BYTES, MESSAGES_MAX};
use crate::line::Line;

/// Messages of this side that are on their way at once.
const WAITING_MAX: u16 = 8;

/// Whether a user may come in.
pub(crate) enum Entry {
    Open(Box<Session>),
    /// The broker refused, and by which MQTT 5 reason.
    Refused(&'static str),
}

/// A session that nobody else drives: it moves while something is awaited from it.
pub(crate) struct Session {
    client: AsyncClient,
    events: EventLoop,
    at: String,
}

impl Session {
    /// Connects under a client id of its own, so that no session of the same user is taken over.
    pub(crate) async fn open(
        line: &Line,
        user: &str,
        password: &Secret,
    ) -> Result<Entry, BridgeError> {
        // Opened here and handed over, so that its errors arrive as what they are.
        let stream = Arc::new(Mutex::new(Some(line.open().await?)));
        let id = format!("hearthkey-{}", hex(crate::random::bytes::<8>()?.as_ref()));
        let mut options = MqttOptions::new(id, "bridge");
        let password = Zeroizing::new(password.expose().to_vec());
        options
            .set_credentials(user, Bytes::from_owner(password))
            .set_keep_alive(30)
            .set_max_packet_size(Some(u32::try_from(LIST_MAX_BYTES).unwrap_or(u32::MAX)))
            // The client keeps a place for each message on its way from the start: 65,535 if it is not told.
            .set_outgoing_inflight_upper_limit(WAITING_MAX)
            .set_socket_connector(move |_, _| {
                let stream = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
                async move { stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)) }
            });
        let (client, events) = AsyncClient::builder(options)
            .capacity(usize::from(WAITING_MAX))
            .build();
        let mut session = Self {
            client,
            events,
            at: line.site.to_string(),
        };
        for _ in 0..MESSAGES_MAX {
            match session.events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    return Ok(Entry::Open(Box::new(session)));
                }
                Ok(_) => {}
                Err(ConnectionError::ConnectionRefused(code)) => return session.refused(code),
                Err(error) => return Err(session.broken(&error)),
            }
        }
        Err(session.garbled("it sends messages before it accepts the login"))
    }

    fn refused(&self, code: ConnectReturnCode) -> Result<Entry, BridgeError> {
        match code {
            ConnectReturnCode::BadUserNamePassword => {
                Ok(Entry::Refused("bad user name or password"))
            }
            ConnectReturnCode::NotAuthorized => Ok(Entry::Refused("not authorized")),
            ConnectReturnCode::Banned => Ok(Entry::Refused("banned")),
            other => Err(BridgeError::Refused {
                at: self.at.clone(),
                why: match other {
                    ConnectReturnCode::ServerBusy => "it is busy",
                    ConnectReturnCode::ServiceUnavailable
                    | ConnectReturnCode::ServerUnavailable => "it is not available now",
                    _ => "it refuses every login",
                }
                .to_owned(),
            }),
        }
    }

    fn garbled(&self, why: &str) -> BridgeError {
        BridgeError::Garbled {
            at: self.at.clone(),
            why: why.to_owned(),
        }
    }

    /// What the library's error means. Its text is not repeated: it may hold whole packets.
    fn broken(&self, error: &ConnectionError) -> BridgeError {
        let at = self.at.clone();
        match error {
            ConnectionError::MqttState(StateError::IncomingPacketTooLarge { .. }) => {
                BridgeError::TooLong {
                    at,
                    most_bytes: LIST_MAX_BYTES,
                }
            }
            ConnectionError::MqttState(
                StateError::Deserialization(_) | StateError::ProtocolViolation(_),
            )
            | ConnectionError::NotConnAck(_) => self.garbled("it is not MQTT 5"),
            _ => BridgeError::ClosedEarly { at },
        }
    }

    fn not_allowed(&self, what: &str) -> BridgeError {
        BridgeError::NoAuthority {
            at: self.at.clone(),
            why: format!("its user may not {what}"),
        }
    }

    /// Listens on a topic.
    pub(crate) async fn subscribe(&mut self, topic: &str) -> Result<(), BridgeError> {
        let queued = self.client.subscribe(topic, QoS::AtLeastOnce).await;
        queued.map_err(|_| self.garbled("the subscription was not sent"))?;
        for _ in 0..MESSAGES_MAX {
            match self.events.poll().await {
                Ok(Event::Incoming(Packet::SubAck(ack))) => {
                    let granted = |code: &_| matches!(code, SubscribeReasonCode::Success(_));
                    return match ack.return_codes.iter().all(granted) {
                        true => Ok(()),
                        false => Err(self.not_allowed("listen to the answers")),
                    };
                }
                Ok(_) => {}
                Err(error) => return Err(self.broken(&error)),
            }
        }
        Err(self.garbled("it sends messages before it grants the subscription"))
    }

    /// Publishes, and takes the first message on `answers` of which `wanted` makes something.
    pub(crate) async fn ask<T>(
        &mut self,
        topic: &str,
        payload: Zeroizing<Vec<u8>>,
        answers: &str,
        wanted: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<T, BridgeError> {
        let options = PublishOptions::new(QoS::AtLeastOnce);
        let payload = Bytes::from_owner(payload);
        let queued = self.client.publish(topic, payload, options).await;
        queued.map_err(|_| self.garbled("the request was not sent"))?;
        for _ in 0..MESSAGES_MAX {
            match self.events.poll().await {
                Ok(Event::Incoming(Packet::PubAck(ack))) => match ack.reason {
                    PubAckReason::Success | PubAckReason::NoMatchingSubscribers => {}
                    _ => return Err(self.not_allowed("administer it")),
                },
                Ok(Event::Incoming(Packet::Publish(said))) if said.topic == answers.as_bytes() => {
                    if let Some(answer) = wanted(&said.payload) {
                        return Ok(answer);
                    }
                }
                Ok(_) => {}
                Err(error) => return Err(self.broken(&error)),
            }
        }
        Err(self.garbled("it sends messages but no answer"))
    }

    /// A courtesy; the answer is here already.
    pub(crate) async fn leave(mut self) {
        if self.client.disconnect().await.is_ok() {
            while self.events.poll().await.is_ok() {}
        }
    }
}
