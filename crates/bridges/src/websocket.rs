//! A signed-in conversation with Home Assistant's websocket API: `auth_required` → `auth` → `auth_ok` | `auth_invalid`, then
//! requests with a rising `id`, each answered by a `result`.

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, Message, Utf8Bytes};
use zeroize::Zeroizing;

use crate::error::BridgeError;
use crate::limits::{LIST_MAX_BYTES, MESSAGES_MAX};
use crate::line::{Duplex, Line};
use crate::quote;

const LONG_LIVED: &str = "long_lived_access_token";

/// A refresh token, which is what Home Assistant keeps of a token.
#[derive(Deserialize)]
pub(crate) struct Listed {
    pub(crate) id: String,
    client_name: Option<String>,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    pub(crate) is_current: bool,
}

impl Listed {
    pub(crate) fn is(&self, label: &str) -> bool {
        self.kind == LONG_LIVED && self.client_name.as_deref() == Some(label)
    }
}

#[derive(Serialize)]
#[serde(tag = "type")]
pub(crate) enum Say<'a> {
    #[serde(rename = "auth")]
    Auth { access_token: &'a str },
    #[serde(rename = "auth/long_lived_access_token")]
    Create {
        id: u64,
        client_name: &'a str,
        lifespan: i64,
    },
    #[serde(rename = "auth/refresh_tokens")]
    List { id: u64 },
    #[serde(rename = "auth/delete_refresh_token")]
    Delete { id: u64, refresh_token_id: &'a str },
    #[serde(rename = "auth/current_user")]
    User { id: u64 },
}

#[derive(Deserialize)]
struct Hear {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    id: u64,
    success: Option<bool>,
    #[serde(default)]
    result: Value,
    message: Option<String>,
    error: Option<Objection>,
}

#[derive(Deserialize)]
struct Objection {
    #[serde(default)]
    message: String,
}

/// A signed-in conversation.
pub(crate) struct Talk {
    at: String,
    socket: WebSocketStream<Box<dyn Duplex>>,
    last_id: u64,
}

impl Talk {
    /// Connects, and signs in as the user of this token.
    pub(crate) async fn open(line: &Line, token: &str) -> Result<Self, BridgeError> {
        let stream = line.open().await?;
        let scheme = if line.site.tls { "wss" } else { "ws" };
        let at = line.site.to_string();
        let url = format!("{scheme}://{at}{}/api/websocket", line.site.prefix);
        let mut bounds = WebSocketConfig::default();
        bounds.max_message_size = Some(LIST_MAX_BYTES);
        bounds.max_frame_size = Some(LIST_MAX_BYTES);
        let (socket, _) = tokio_tungstenite::client_async_with_config(url, stream, Some(bounds))
            .await
            .map_err(|error| broken(&at, &error))?;
        let mut talk = Self {
            at,
            socket,
            last_id: 0,
        };
        talk.hear("auth_required").await?;
        talk.say(&Say::Auth {
            access_token: token,
        })
        .await?;
        talk.hear("auth_ok").await?;
        Ok(talk)
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.last_id + 1
    }

    async fn say(&mut self, say: &Say<'_>) -> Result<(), BridgeError> {
        let unsent = |_| garbled(&self.at, "the request was not sent");
        // The bytes are wiped when the websocket lets go of them.
        let text = Bytes::from_owner(Zeroizing::new(serde_json::to_vec(say).map_err(unsent)?));
        let text =
            Utf8Bytes::try_from(text).map_err(|_| garbled(&self.at, "the request is no text"))?;
        let sent = self.socket.send(Message::Text(text)).await;
        sent.map_err(|error| broken(&self.at, &error))
    }

    /// The next message that can be read as one of the API's.
    async fn next(&mut self) -> Result<Hear, BridgeError> {
        for _ in 0..MESSAGES_MAX {
            let closed = || BridgeError::ClosedEarly {
                at: self.at.clone(),
            };
            match self.socket.next().await.ok_or_else(closed)? {
                Ok(Message::Text(text)) => {
                    return serde_json::from_str(&text)
                        .map_err(|_| garbled(&self.at, "a message is not of the API"));
                }
                Ok(Message::Close(_)) => return Err(closed()),
                Ok(_) => {}
                Err(error) => return Err(broken(&self.at, &error)),
            }
        }
        Err(garbled(&self.at, "it sends messages but no answer"))
    }

    async fn hear(&mut self, kind: &str) -> Result<(), BridgeError> {
        let heard = self.next().await?;
        match heard.kind.as_str() {
            found if found == kind => Ok(()),
            "auth_invalid" => Err(BridgeError::NoAuthority {
                at: self.at.clone(),
                why: format!(
                    "the token does not sign in: {}",
                    quote::peer(&heard.message.unwrap_or_default())
                ),
            }),
            _ => Err(garbled(&self.at, "the login took an unexpected course")),
        }
    }

    /// Asks with the next id, and takes the answer to it.
    pub(crate) async fn ask(&mut self, say: &Say<'_>) -> Result<Value, BridgeError> {
        self.last_id += 1;
        self.say(say).await?;
        for _ in 0..MESSAGES_MAX {
            let heard = self.next().await?;
            if heard.kind != "result" || heard.id != self.last_id {
                continue;
            }
            let why = heard.error.map(|error| error.message).unwrap_or_default();
            return match heard.success {
                Some(true) => Ok(heard.result),
                _ => Err(BridgeError::Refused {
                    at: self.at.clone(),
                    why: quote::peer(&why),
                }),
            };
        }
        Err(garbled(&self.at, "it sends messages but no answer"))
    }

    pub(crate) async fn tokens(&mut self) -> Result<Vec<Listed>, BridgeError> {
        let listed = self.ask(&Say::List { id: self.next_id() }).await?;
        serde_json::from_value(listed).map_err(|_| garbled(&self.at, "its list of tokens is none"))
    }

    pub(crate) async fn own_id(&mut self) -> Result<String, BridgeError> {
        let tokens = self.tokens().await?;
        let own = tokens.into_iter().find(|token| token.is_current);
        own.map(|token| token.id)
            .ok_or_else(|| garbled(&self.at, "its list does not name the token in use"))
    }

    pub(crate) async fn delete(&mut self, id: &str, is_own: bool) -> Result<(), BridgeError> {
        let say = Say::Delete {
            id: self.next_id(),
            refresh_token_id: id,
        };
        match self.ask(&say).await {
            // A token that deletes itself may lose its connection before the answer: what follows shows the truth.
            Err(BridgeError::ClosedEarly { .. }) if is_own => Ok(()),
            outcome => outcome.map(|_| ()),
        }
    }

    /// A courtesy; the answer is here already.
    pub(crate) async fn goodbye(mut self) {
        let _ = self.socket.close(None).await;
    }
}

fn garbled(at: &str, why: &str) -> BridgeError {
    BridgeError::Garbled {
        at: at.to_owned(),
        why: why.to_owned(),
    }
}

fn broken(at: &str, error: &WsError) -> BridgeError {
    let at = at.to_owned();
    match error {
        WsError::Capacity(_) => BridgeError::TooLong {
            at,
            most_bytes: LIST_MAX_BYTES,
        },
        WsError::ConnectionClosed
        | WsError::AlreadyClosed
        | WsError::Io(_)
        | WsError::Protocol(
            ProtocolError::HandshakeIncomplete | ProtocolError::ResetWithoutClosingHandshake,
        ) => BridgeError::ClosedEarly { at },
        WsError::Http(answer) if answer.status().is_redirection() => BridgeError::Redirected {
            at,
            to: "another address".into(),
        },
        WsError::Http(answer) => {
            let status = answer.status().as_u16();
            garbled(
                &at,
                &format!("its websocket is not there (status {status})"),
            )
        }
        _ => garbled(&at, "it is no websocket message"),
    }
}
