//! Home Assistant's long-lived access tokens, over its websocket API; whether one works, over its REST API.
//!
//! Each token belongs to a user and may do what that user may. Tokens are made, listed and deleted by their own user
//! alone, so the authority is another token of the same user; without one, the value itself is used. Seen against 2024.3.

use hearthkey_core::secret::Secret;
use hearthkey_core::time::Span;
use hyper::Method;
use hyper::header::AUTHORIZATION;
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::address::{HTTP, Site};
use crate::connector::{
    Abilities, Answer, Connector, Held, MintOrder, Minted, Revoked, Scopes, Verified,
};
use crate::error::{BridgeError, SettingsError};
use crate::exchange::{Ask, exchange, secret_header};
use crate::limits::{ANSWER_MAX_BYTES, Patience};
use crate::line::{Line, within};
use crate::progress::Progress;
use crate::quote;
use crate::websocket::{Say, Talk};

const DAY: Span = Span::days(1);
/// What Home Assistant's own interface gives a token.
const LIFETIME_DAYS: i64 = 3650;

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

    async fn sign_in(&self, token: &Secret) -> Result<Talk, BridgeError> {
        Talk::open(&self.line, token.expose_text().ok_or_else(not_text)?).await
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
            401 => Ok(Verified::Fails("Home Assistant rejects it (401)".into())),
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
                talk.delete(&left.id, false).await?;
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
        // It is made: whatever goes wrong from here on leaves it there.
        let found = talk.tokens().await.map_err(|error| match error {
            error if error.may_have_been_done() => error,
            error => BridgeError::Unclear {
                at: self.at(),
                why: error.to_string(),
            },
        })?;
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
            talk.delete(&id, self.authority.is_none()).await?;
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

impl Connector for HomeAssistant {
    fn abilities(&self) -> Abilities {
        Abilities {
            verify: true,
            mint: true,
            revoke: true,
            scopes: true,
            notify: false,
            children: true,
            shortest_child: Some(DAY),
            two_live: true,
            ends_lost: true,
            needs_person: false,
            cost: None,
            cannot: vec![
                "A token lives for whole days: a shorter lease is ended by deleting its token.".into(),
                "A token has all permissions of its user: create a separate user for fewer.".into(),
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
                        "Leave the scopes empty, and use an authority of a user with fewer permissions."
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
