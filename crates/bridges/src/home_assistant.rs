//! Home Assistant's long-lived access tokens, over its websocket API; whether one works, over its REST API.
//!
//! Each token belongs to a user and may do what that user may. Tokens are made, listed and deleted by their own user
//! alone, so the authority is another token of the same user; without one, the value itself is used.
//!
//! Protocol: `auth_required` → `auth` → `auth_ok` | `auth_invalid`, then requests with a rising `id`, each answered by a
//! `result`. Seen against 2024.3.

use futures_util::{SinkExt as _, StreamExt as _};
use hearthkey_core::secret::Secret;
use hearthkey_core::time::Span;
use hyper::Method;
use hyper::header::AUTHORIZATION;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use zeroize::Zeroizing;

use crate::address::{HTTP, Site};
use crate::connector::{
    Abilities, Answer, Connector, Held, MintOrder, Minted, Revoked, Scopes, Verified,
};
use crate::error::{BridgeError, SettingsError};
use crate::exchange::{Ask, exchange, secret_header};
use crate::limits::{ANSWER_MAX_BYTES, LIST_MAX_BYTES, MESSAGES_MAX, Patience};
use crate::line::{Duplex, Line, within};
use crate::progress::Progress;
use crate::quote;

const DAY: Span = Span::days(1);
/// What Home Assistant's own interface gives a token.
const LIFETIME_DAYS: i64 = 3650;
const LONG_LIVED: &str = "long_lived_access_token";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    url: String,
    #[serde(default)]
    allow_plain: bool,
    root_pem: Option<String>,
    pin_sha256: Option<String>,
}

pub(crate) struct HomeAssistant {
    line: Line,
    authority: Option<Secret>,
    patience: Patience,
}

impl HomeAssistant {
    pub(crate) fn new(
        settings: &str,
        authority: Option<Secret>,
        patience: Patience,
    ) -> Result<Self, SettingsError> {
        let settings: Settings = crate::settings::read(settings)?;
        let site = Site::read("url", &settings.url, &HTTP, settings.allow_plain)?;
        let tls = crate::tls::config(settings.root_pem.as_deref(), settings.pin_sha256.as_deref())?;
        Ok(Self {
            line: Line { site, tls },
            authority,
            patience,
        })
    }

    fn at(&self) -> String {
        self.line.site.to_string()
    }

    fn garbled(&self, why: &str) -> BridgeError {
        BridgeError::Garbled {
            at: self.at(),
            why: why.to_owned(),
        }
    }

    async fn bounded<T>(
        &self,
        work: impl Future<Output = Result<T, BridgeError>>,
    ) -> Result<T, BridgeError> {
        within(self.patience.exchange, &self.line.site, work).await
    }

    /// A conversation as the user of this token.
    async fn sign_in(&self, token: &Secret) -> Result<Talk<'_>, BridgeError> {
        let token = token.expose_text().ok_or_else(not_text)?;
        let stream = self.line.open().await?;
        let scheme = if self.line.site.tls { "wss" } else { "ws" };
        let site = &self.line.site;
        let url = format!("{scheme}://{site}{}/api/websocket", site.prefix);
        let mut bounds = WebSocketConfig::default();
        bounds.max_message_size = Some(LIST_MAX_BYTES);
        bounds.max_frame_size = Some(LIST_MAX_BYTES);
        let (socket, _) = tokio_tungstenite::client_async_with_config(url, stream, Some(bounds))
            .await
            .map_err(|error| self.broken(&error))?;
        let mut talk = Talk {
            bridge: self,
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

    /// The token by which tokens are managed, or the one at hand.
    fn acting<'a>(&'a self, held: Option<&'a Held>) -> Result<&'a Secret, BridgeError> {
        let own = held.map(|held| &held.value);
        self.authority
            .as_ref()
            .or(own)
            .ok_or_else(|| BridgeError::NoAuthority {
                at: self.at(),
                why: "there is no token that could make the first one".into(),
            })
    }

    fn broken(&self, error: &WsError) -> BridgeError {
        let at = self.at();
        match error {
            WsError::Capacity(_) => BridgeError::TooLong {
                at,
                most_bytes: LIST_MAX_BYTES,
            },
            WsError::ConnectionClosed | WsError::AlreadyClosed | WsError::Io(_) => {
                BridgeError::ClosedEarly { at }
            }
            WsError::Protocol(
                ProtocolError::HandshakeIncomplete | ProtocolError::ResetWithoutClosingHandshake,
            ) => BridgeError::ClosedEarly { at },
            WsError::Http(answer) if answer.status().is_redirection() => BridgeError::Redirected {
                at,
                to: "another address".into(),
            },
            WsError::Http(answer) => BridgeError::Garbled {
                at,
                why: format!(
                    "its websocket is not there (status {})",
                    answer.status().as_u16()
                ),
            },
            _ => self.garbled("it is no websocket message"),
        }
    }

    async fn try_token(&self, held: &Held) -> Result<Verified, BridgeError> {
        let token = held.value.expose_text().ok_or_else(not_text)?;
        let bearer = Zeroizing::new(format!("Bearer {token}"));
        let ask = Ask {
            method: Method::GET,
            target: Zeroizing::new("/api/".to_owned()),
            headers: vec![(AUTHORIZATION, secret_header(&bearer)?)],
            body: Zeroizing::default(),
        };
        let limit = self.patience.exchange;
        let heard = exchange(&self.line, ask, limit, ANSWER_MAX_BYTES).await?;
        match heard.status {
            // Another server would answer 200 as well: only Home Assistant says it in these words.
            200 => match heard.json(&self.line.site)?.get("message") {
                Some(Value::String(_)) => Ok(Verified::Works),
                _ => Err(self.garbled("it is not Home Assistant's")),
            },
            401 => Ok(Verified::Fails(
                "Home Assistant does not know it (401)".into(),
            )),
            403 => Err(BridgeError::Refused {
                at: self.at(),
                why: "this machine's address is banned (403): see ip_bans.yaml there".into(),
            }),
            status => Err(self.garbled(&format!("its status is {status}"))),
        }
    }

    async fn create(&self, order: &MintOrder) -> Result<Minted, BridgeError> {
        let mut talk = self.sign_in(self.acting(order.replaces.as_ref())?).await?;
        for left in talk.tokens().await? {
            // A token by this name is ours, from an attempt whose answer was lost; names are unique there.
            if left.is(&order.label) && !left.is_current {
                talk.delete(&left.id).await?;
            }
        }
        let lifespan = days_of(order.lifetime);
        let made = talk
            .ask(&Say::Create {
                id: talk.next_id(),
                client_name: &order.label,
                lifespan,
            })
            .await?;
        let value = match made {
            Value::String(text) => {
                let text = Zeroizing::new(text);
                Secret::text(&text).map_err(|_| self.garbled("the new token is empty or too long"))
            }
            _ => Err(self.garbled("the new token is no text")),
        }?;
        let found = talk.tokens().await?;
        let found = found.into_iter().find(|token| token.is(&order.label));
        let found = found.ok_or_else(|| self.garbled("the new token is not in its list"))?;
        talk.goodbye().await;
        Ok(Minted {
            value,
            remote_id: Some(found.id),
            lifetime: Some(Span::days(lifespan)),
        })
    }

    async fn delete(&self, held: &Held) -> Result<Revoked, BridgeError> {
        let outcome = self.sign_in(self.acting(Some(held))?).await;
        let mut talk = match (outcome, &self.authority) {
            // It was to end itself and is ended already.
            (Err(BridgeError::NoAuthority { .. }), None) => return Ok(Revoked::Gone),
            (outcome, _) => outcome?,
        };
        let id = match (&held.remote_id, &self.authority) {
            (Some(id), _) => id.clone(),
            (None, None) => talk.own_id().await?,
            // Its id is asked of itself; if it cannot sign in any more, there is nothing left to end.
            (None, Some(_)) => match self.sign_in(&held.value).await {
                Ok(mut own) => own.own_id().await?,
                Err(BridgeError::NoAuthority { .. }) => return Ok(Revoked::Gone),
                Err(error) => return Err(error),
            },
        };
        let listed = talk.tokens().await?.iter().any(|token| token.id == id);
        if listed {
            talk.delete(&id).await?;
        }
        talk.goodbye().await;
        if !listed && self.try_token(held).await? == Verified::Works {
            return Err(BridgeError::CannotDo {
                what: "the token belongs to another user than the authority".into(),
                instead: "Delete it in that user's profile, or record a token of that user as the authority.".into(),
            });
        }
        Ok(Revoked::Gone)
    }

    async fn user(&self, held: &Held) -> Result<Scopes, BridgeError> {
        let mut talk = self.sign_in(&held.value).await?;
        let user = talk.ask(&Say::User { id: talk.next_id() }).await?;
        talk.goodbye().await;
        let user: User = serde_json::from_value(user)
            .map_err(|_| self.garbled("its description of the user is none"))?;
        let name = quote::peer(&user.name);
        let rights = match (user.is_owner, user.is_admin) {
            (true, _) => "owner: everything",
            (_, true) => "administrator: everything but the owner's",
            _ => "user: states and services, no administration",
        };
        Ok(Scopes {
            rights: vec![format!("user {name}"), rights.to_owned()],
            privileged: (user.is_admin || user.is_owner).then(|| {
                format!("its user {name} is an administrator: use a token of a user who is none")
            }),
        })
    }
}

/// Whole days, at least one: Home Assistant counts no less.
fn days_of(lifetime: Option<Span>) -> i64 {
    lifetime.map_or(LIFETIME_DAYS, |span| {
        let days = span.as_ms().div_euclid(DAY.as_ms());
        let rest = span.as_ms() % DAY.as_ms();
        (days + i64::from(rest > 0)).clamp(1, 2 * LIFETIME_DAYS)
    })
}

fn not_text() -> BridgeError {
    BridgeError::Incomplete {
        why: "a token is text, and this value is not".into(),
    }
}

#[derive(Deserialize)]
struct User {
    name: String,
    is_admin: bool,
    is_owner: bool,
}

/// A refresh token, which is what Home Assistant keeps of a token.
#[derive(Deserialize)]
struct Listed {
    id: String,
    client_name: Option<String>,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    is_current: bool,
}

impl Listed {
    fn is(&self, label: &str) -> bool {
        self.kind == LONG_LIVED && self.client_name.as_deref() == Some(label)
    }
}

#[derive(Serialize)]
#[serde(tag = "type")]
enum Say<'a> {
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
struct Talk<'a> {
    bridge: &'a HomeAssistant,
    socket: WebSocketStream<Box<dyn Duplex>>,
    last_id: u64,
}

impl Talk<'_> {
    fn next_id(&self) -> u64 {
        self.last_id + 1
    }

    async fn say(&mut self, say: &Say<'_>) -> Result<(), BridgeError> {
        let text = serde_json::to_string(say).map_err(|_| not_text())?;
        let sent = self.socket.send(Message::text(text)).await;
        sent.map_err(|error| self.bridge.broken(&error))
    }

    /// The next message that can be read as one of the API's.
    async fn next(&mut self) -> Result<Hear, BridgeError> {
        for _ in 0..MESSAGES_MAX {
            let closed = || BridgeError::ClosedEarly {
                at: self.bridge.at(),
            };
            match self.socket.next().await.ok_or_else(closed)? {
                Ok(Message::Text(text)) => {
                    return serde_json::from_str(&text)
                        .map_err(|_| self.bridge.garbled("a message is not of the API"));
                }
                Ok(Message::Close(_)) => return Err(closed()),
                Ok(_) => {}
                Err(error) => return Err(self.bridge.broken(&error)),
            }
        }
        Err(self.bridge.garbled("it talks without answering"))
    }

    async fn hear(&mut self, kind: &str) -> Result<(), BridgeError> {
        let heard = self.next().await?;
        match heard.kind.as_str() {
            found if found == kind => Ok(()),
            "auth_invalid" => Err(BridgeError::NoAuthority {
                at: self.bridge.at(),
                why: format!(
                    "the token does not sign in: {}",
                    quote::peer(&heard.message.unwrap_or_default())
                ),
            }),
            _ => Err(self.bridge.garbled("signing in went another way")),
        }
    }

    /// Asks with the next id, and takes the answer to it.
    async fn ask(&mut self, say: &Say<'_>) -> Result<Value, BridgeError> {
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
                    at: self.bridge.at(),
                    why: quote::peer(&why),
                }),
            };
        }
        Err(self.bridge.garbled("it talks without answering"))
    }

    async fn tokens(&mut self) -> Result<Vec<Listed>, BridgeError> {
        let listed = self.ask(&Say::List { id: self.next_id() }).await?;
        serde_json::from_value(listed)
            .map_err(|_| self.bridge.garbled("its list of tokens is none"))
    }

    async fn own_id(&mut self) -> Result<String, BridgeError> {
        let tokens = self.tokens().await?;
        let own = tokens.into_iter().find(|token| token.is_current);
        own.map(|token| token.id).ok_or_else(|| {
            self.bridge
                .garbled("its list does not name the token in use")
        })
    }

    async fn delete(&mut self, id: &str) -> Result<(), BridgeError> {
        let say = Say::Delete {
            id: self.next_id(),
            refresh_token_id: id,
        };
        match self.ask(&say).await {
            // A token that deletes itself may lose its connection before the answer: what follows shows the truth.
            Err(BridgeError::ClosedEarly { .. }) if self.bridge.authority.is_none() => Ok(()),
            outcome => outcome.map(|_| ()),
        }
    }

    /// A courtesy; the answer is here already.
    async fn goodbye(&mut self) {
        let _ = self.socket.close(None).await;
    }
}

impl Connector for HomeAssistant {
    fn abilities(&self) -> Abilities {
        Abilities {
            verify: true,
            mint: true,
            revoke: true,
            scopes: true,
            children: true,
            shortest_child: Some(DAY),
            two_live: true,
            needs_person: false,
            cost: None,
            cannot: vec![
                "A token lives for whole days: a shorter lease is ended by deleting its token.".into(),
                "A token may do what its user may: make a user of its own for less.".into(),
                "Only tokens of the authority's own user are made, seen and deleted.".into(),
                "Open websocket connections of a deleted token are closed by Home Assistant itself.".into(),
            ],
        }
    }

    fn verify<'a>(&'a self, held: &'a Held) -> Answer<'a, Verified> {
        Box::pin(self.try_token(held))
    }

    fn mint<'a>(&'a self, order: &'a MintOrder, progress: &'a Progress) -> Answer<'a, Minted> {
        Box::pin(async move {
            if !order.scopes.is_empty() {
                return Err(BridgeError::CannotDo {
                    what: "Home Assistant cannot narrow a token's rights".into(),
                    instead:
                        "Leave the scopes empty, and use an authority of a user who may do less."
                            .into(),
                });
            }
            progress.tell("Asking Home Assistant for a new token.");
            self.bounded(self.create(order)).await
        })
    }

    fn revoke<'a>(&'a self, held: &'a Held) -> Answer<'a, Revoked> {
        Box::pin(self.bounded(self.delete(held)))
    }

    fn scopes<'a>(&'a self, held: &'a Held) -> Answer<'a, Scopes> {
        Box::pin(self.bounded(self.user(held)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_rounded_up_to_whole_days_and_is_never_none() {
        assert_eq!(days_of(Some(Span::minutes(5))), 1);
        assert_eq!(days_of(Some(Span::hours(24))), 1);
        assert_eq!(days_of(Some(Span::hours(25))), 2);
        assert_eq!(days_of(Some(Span::s(0))), 1);
        assert_eq!(days_of(None), LIFETIME_DAYS);
        assert_eq!(days_of(Some(Span::ms(i64::MAX))), 2 * LIFETIME_DAYS);
    }
}
