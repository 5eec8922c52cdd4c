//! Application keys of a Philips Hue bridge: made after its link button was pressed, tried over API v2.
//!
//! `POST /api` answers error 101 until the button was pressed within the last 30 s. A key is tried with
//! `GET /clip/v2/resource/bridge`, which needs one. A bridge shows a certificate that its maker or itself has signed for
//! its id, so it is pinned by fingerprint.

use hearthkey_core::id::Fingerprint;
use hearthkey_core::secret::Secret;
use hearthkey_core::time::Span;
use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use crate::address::{HTTP, Site};
use crate::connector::{
    Abilities, Answer, Connector, Held, MintOrder, Minted, Revoked, Scopes, Verified,
};
use crate::error::{BridgeError, SettingsError};
use crate::exchange::{Ask, Heard, exchange, secret_header};
use crate::limits::{ANSWER_MAX_BYTES, Patience};
use crate::line::Line;
use crate::progress::Progress;
use crate::quote;

const NOT_PRESSED: u32 = 101;
const KEY_HEADER: HeaderName = HeaderName::from_static("hue-application-key");
/// The bridge takes 20 characters before the `#` and 19 behind it.
const APPLICATION: &str = "hearthkey";
const DEVICE_MAX_CHARS: usize = 19;
const DELETE_BY_HAND: &str = "A Hue bridge deletes no key over its local API since version 1.31. End it in your Philips \
    account: account.meethue.com/apps, or in the Hue app under Settings, Apps; resetting the bridge to its factory state \
    ends every key. Until then the old key works.";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    url: String,
    pin_sha256: Option<String>,
    root_pem: Option<String>,
    #[serde(default)]
    allow_plain: bool,
    /// Whether the value also holds the key for entertainment streaming.
    #[serde(default)]
    client_key: bool,
}

pub(crate) struct Hue {
    line: Line,
    client_key: bool,
    patience: Patience,
}

/// The SHA-256 of the certificate that a bridge shows now, to be put into `pin_sha256` once a person has confirmed that
/// this is the bridge. Nothing secret is sent.
pub async fn certificate_pin(url: &str) -> Result<Fingerprint, BridgeError> {
    let site = Site::read("url", url, &HTTP, false)
        .ok()
        .filter(|site| site.tls);
    let site = site.ok_or_else(|| BridgeError::Forbidden {
        at: quote::peer(url),
        why: "only an https address shows a certificate".into(),
    })?;
    crate::line::pin_of(site, Patience::default().exchange).await
}

/// Both keys, as the bridge itself writes them.
#[derive(Serialize, Deserialize)]
struct Keys {
    username: String,
    #[serde(default)]
    clientkey: String,
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.username.zeroize();
        self.clientkey.zeroize();
    }
}

#[derive(Serialize)]
struct Pair<'a> {
    devicetype: &'a str,
    generateclientkey: bool,
}

#[derive(Deserialize)]
struct Paired {
    success: Option<Keys>,
    error: Option<Objection>,
}

#[derive(Deserialize)]
struct Objection {
    #[serde(rename = "type")]
    kind: u32,
    #[serde(default)]
    description: String,
}

impl Hue {
    pub(crate) fn new(settings: &str, patience: Patience) -> Result<Self, SettingsError> {
        let settings: Settings = crate::settings::read(settings)?;
        let site = Site::read("url", &settings.url, &HTTP, settings.allow_plain)?;
        if site.tls && settings.pin_sha256.is_none() && settings.root_pem.is_none() {
            return Err(SettingsError::invalid(
                "pin_sha256",
                "is missing: a Hue bridge's certificate is signed by none of the system's roots; read it from the \
                 bridge once, compare, and write its SHA-256",
            ));
        }
        let tls = crate::tls::config(settings.root_pem.as_deref(), settings.pin_sha256.as_deref())?;
        Ok(Self {
            line: Line { site, tls },
            client_key: settings.client_key,
            patience,
        })
    }

    fn garbled(&self, why: impl Into<String>) -> BridgeError {
        BridgeError::Garbled {
            at: self.line.site.to_string(),
            why: why.into(),
        }
    }

    async fn ask(&self, ask: Ask) -> Result<Heard, BridgeError> {
        exchange(&self.line, ask, self.patience.exchange, ANSWER_MAX_BYTES).await
    }

    /// Asks until the button was pressed or nobody came.
    async fn pair(&self, order: &MintOrder, progress: &Progress) -> Result<Minted, BridgeError> {
        let device: String = device_of(&order.label);
        let devicetype = format!("{APPLICATION}#{device}");
        let wait = self.patience.person;
        let over = tokio::time::sleep(wait);
        tokio::pin!(over);
        let mut waited = std::time::Duration::ZERO;
        loop {
            // A request that is under way gets to its end: the bridge may make a key for it.
            if let Some(minted) = self.ask_for_key(&devicetype).await? {
                return Ok(minted);
            }
            let left = wait.saturating_sub(waited).as_millis();
            progress.ask(
                "Press the round link button on the Hue bridge.",
                Span::ms(i64::try_from(left).unwrap_or(i64::MAX)),
            );
            tokio::select! {
                biased;
                () = &mut over => {
                    return Err(BridgeError::NotPressed {
                        at: self.line.site.to_string(),
                        after: wait,
                    });
                }
                () = tokio::time::sleep(self.patience.poll) => waited += self.patience.poll,
            }
        }
    }

    /// One request for a key; none if the button was not pressed.
    async fn ask_for_key(&self, devicetype: &str) -> Result<Option<Minted>, BridgeError> {
        let pair = Pair {
            devicetype,
            generateclientkey: true,
        };
        let ask = Ask {
            method: Method::POST,
            target: Zeroizing::new("/api".to_owned()),
            headers: vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))],
            body: Zeroizing::new(serde_json::to_vec(&pair).unwrap_or_default()),
        };
        let heard = self.ask(ask).await?;
        // Read from the bytes, so that the keys stand in no text that is not wiped.
        let answer: Vec<Paired> = serde_json::from_slice(&heard.body)
            .map_err(|_| self.garbled("it is not a Hue bridge's"))?;
        match answer.into_iter().next() {
            Some(Paired {
                success: Some(keys),
                ..
            }) => self.minted(&keys).map(Some),
            Some(Paired {
                error: Some(error), ..
            }) if error.kind == NOT_PRESSED => Ok(None),
            Some(Paired {
                error: Some(error), ..
            }) => Err(BridgeError::Refused {
                at: self.line.site.to_string(),
                why: quote::peer(&error.description),
            }),
            _ => Err(self.garbled("it has neither success nor error")),
        }
    }

    fn minted(&self, keys: &Keys) -> Result<Minted, BridgeError> {
        let plausible =
            |key: &str| (8..=128).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
        if !plausible(&keys.username) || (self.client_key && !plausible(&keys.clientkey)) {
            return Err(self.garbled("the new key is no key"));
        }
        let text = match self.client_key {
            true => serde_json::to_string(&keys).unwrap_or_default(),
            false => keys.username.clone(),
        };
        let text = Zeroizing::new(text);
        Ok(Minted {
            value: crate::random::secret(&text)?,
            remote_id: None,
            lifetime: None,
        })
    }

    async fn try_key(&self, held: &Held) -> Result<Verified, BridgeError> {
        let Some(key) = application_key(&held.value) else {
            return Ok(Verified::Fails("it is not the text of a key".into()));
        };
        let ask = Ask {
            method: Method::GET,
            target: Zeroizing::new("/clip/v2/resource/bridge".to_owned()),
            headers: vec![(KEY_HEADER, secret_header(&key)?)],
            body: Zeroizing::default(),
        };
        let heard = self.ask(ask).await?;
        match heard.status {
            200 => match heard.json(&self.line.site)?.pointer("/data/0/bridge_id") {
                Some(_) => Ok(Verified::Works),
                None => Err(self.garbled("it does not describe a Hue bridge")),
            },
            401 | 403 => Ok(Verified::Fails(format!(
                "the bridge rejects it ({})",
                heard.status
            ))),
            status => Err(self.garbled(format!("its status is {status}"))),
        }
    }
}

/// The key that goes into a header, whichever of the two forms the value has.
fn application_key(value: &Secret) -> Option<Zeroizing<String>> {
    let text = value.expose_text()?;
    if text.starts_with('{') {
        let both: Keys = serde_json::from_str(text).ok()?;
        return Some(Zeroizing::new(both.username.clone()));
    }
    Some(Zeroizing::new(text.to_owned()))
}

/// What the bridge's list of applications shows: the end of the label, where the version is.
fn device_of(label: &str) -> String {
    let plain: Vec<char> = label
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-._".contains(c) {
                c
            } else {
                '-'
            }
        })
        .collect();
    let tail = plain.len().saturating_sub(DEVICE_MAX_CHARS);
    plain[tail..].iter().collect()
}

impl Connector for Hue {
    fn abilities(&self) -> Abilities {
        Abilities {
            verify: true,
            mint: true,
            revoke: false,
            scopes: true,
            notify: false,
            children: false,
            shortest_child: None,
            two_live: true,
            ends_lost: false,
            needs_person: true,
            cost: Some("A person has to press the link button on the bridge.".into()),
            cannot: vec![
                DELETE_BY_HAND.into(),
                "Every key has all permissions on the bridge. They cannot be reduced.".into(),
            ],
        }
    }

    fn verify<'a>(&'a self, held: &'a Held) -> Answer<'a, Verified> {
        Box::pin(self.try_key(held))
    }

    fn mint<'a>(&'a self, order: &'a MintOrder, progress: &'a Progress) -> Answer<'a, Minted> {
        Box::pin(self.pair(order, progress))
    }

    fn revoke<'a>(&'a self, held: &'a Held) -> Answer<'a, Revoked> {
        Box::pin(async move {
            Ok(match self.try_key(held).await? {
                Verified::Fails(_) => Revoked::Gone,
                Verified::Works => Revoked::ByHand(DELETE_BY_HAND.into()),
            })
        })
    }

    fn scopes<'a>(&'a self, _: &'a Held) -> Answer<'a, Scopes> {
        Box::pin(async {
            Ok(Scopes {
                rights: vec!["all lights, rooms, scenes and settings of the bridge".into()],
                privileged: None,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_shows_the_end_of_the_label_in_characters_that_it_takes() {
        assert_eq!(device_of("attic hue/api-key v12"), "tic-hue-api-key-v12");
        assert_eq!(device_of("ü"), "-");
    }

    #[test]
    fn the_settings_of_a_bridge_with_tls_need_a_pin() {
        let error = Hue::new("{\"url\": \"https://192.168.1.2\"}", Patience::default());
        let error = error.err().unwrap().to_string();
        assert!(error.contains("pin_sha256"), "{error}");
    }
}
