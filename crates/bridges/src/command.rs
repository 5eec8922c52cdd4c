//! Any program: one JSON object on its standard input, one on its standard output, and an end.
//!
//! No shell is involved, and no secret is in an argument or in the environment, where other processes can see it.

use std::path::PathBuf;

use hearthkey_core::news::News;
use hearthkey_core::secret::Secret;
use hearthkey_core::time::Span;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use crate::connector::{
    Abilities, Answer, Connector, Held, MintOrder, Minted, Revoked, Scopes, Verified,
};
use crate::error::{BridgeError, SettingsError};
use crate::limits::Patience;
use crate::process::{self, Output};
use crate::progress::Progress;
use crate::quote;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    program: PathBuf,
    /// What the program can do.
    can: Vec<Ability>,
    timeout_s: Option<u64>,
    /// What a rotation costs, for the person who starts it.
    cost: Option<String>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum Ability {
    Verify,
    Mint,
    Revoke,
    Scopes,
    Notify,
    Children,
    TwoLive,
}

pub(crate) struct Command {
    settings: Settings,
    authority: Option<Secret>,
    patience: Patience,
}

/// What a program is told.
#[derive(Serialize)]
struct Say<'a> {
    hearthkey: u32,
    #[serde(rename = "do")]
    verb: &'static str,
    authority: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<SayHeld<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    order: Option<SayOrder<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    news: Option<SayNews<'a>>,
}

#[derive(Serialize)]
struct SayHeld<'a> {
    value: &'a str,
    remote_id: Option<&'a str>,
}

#[derive(Serialize)]
struct SayOrder<'a> {
    label: &'a str,
    lifetime_s: Option<i64>,
    scopes: &'a [String],
    replaces: Option<SayHeld<'a>>,
}

#[derive(Serialize)]
struct SayNews<'a> {
    event: &'static str,
    credential: &'a str,
    environment: &'a str,
    version: u32,
    deadline: Option<String>,
}

/// What any program may answer instead.
#[derive(Deserialize)]
struct HearError {
    error: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HearVerified {
    works: bool,
    why: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HearMinted {
    value: String,
    remote_id: Option<String>,
    lifetime_s: Option<i64>,
}

impl Drop for HearMinted {
    fn drop(&mut self) {
        self.value.zeroize();
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HearRevoked {
    #[serde(default)]
    gone: bool,
    by_hand: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HearScopes {
    rights: Vec<String>,
    privileged: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HearTold {
    told: bool,
}

const VERSION: u32 = 1;

impl Command {
    pub(crate) fn new(
        settings: &str,
        authority: Option<Secret>,
        patience: Patience,
    ) -> Result<Self, SettingsError> {
        let settings: Settings = crate::settings::read(settings)?;
        if let Some(why) = process::objection(&settings.program) {
            return Err(SettingsError::invalid("program", why));
        }
        let can = |ability| settings.can.contains(&ability);
        if can(Ability::Children) && !(can(Ability::Mint) && can(Ability::TwoLive)) {
            return Err(SettingsError::invalid(
                "can",
                "has \"children\" without \"mint\" and \"two-live\": a child lives beside its parent",
            ));
        }
        let timeout_s = crate::settings::timeout_s(settings.timeout_s)?;
        Ok(Self {
            settings,
            authority,
            patience: patience.for_exchange(timeout_s),
        })
    }

    fn at(&self) -> String {
        self.settings.program.display().to_string()
    }

    fn garbled(&self, why: &str) -> BridgeError {
        BridgeError::Garbled {
            at: self.at(),
            why: why.to_owned(),
        }
    }

    fn can(&self, ability: Ability) -> bool {
        self.settings.can.contains(&ability)
    }

    fn must_be_able(&self, ability: Ability, word: &str) -> Result<(), BridgeError> {
        match self.can(ability) {
            true => Ok(()),
            false => Err(BridgeError::CannotDo {
                what: format!("this program cannot \"{word}\", says its \"can\""),
                instead: format!(
                    "Do it by hand, or extend the program and add \"{word}\" to \"can\"."
                ),
            }),
        }
    }

    fn saying<'a>(&'a self, verb: &'static str) -> Result<Say<'a>, BridgeError> {
        let authority = self.authority.as_ref().map(text).transpose()?;
        Ok(Say {
            hearthkey: VERSION,
            verb,
            authority,
            held: None,
            order: None,
            news: None,
        })
    }

    /// Runs the program once, and reads its one answer.
    async fn ask<T: DeserializeOwned>(&self, say: Say<'_>) -> Result<T, BridgeError> {
        let mut input = Zeroizing::new(Vec::with_capacity(1024));
        serde_json::to_writer(&mut *input, &say).map_err(|_| not_text())?;
        input.push(b'\n');
        let program = &self.settings.program;
        let output = process::run(program, input, self.patience.exchange).await?;
        let refusal = serde_json::from_slice::<HearError>(&output.stdout).ok();
        let refusal = refusal.map(|refusal| quote::peer(&refusal.error));
        let failed = || (!output.succeeded).then(|| last_words(&output));
        if let Some(why) = refusal.or_else(failed) {
            let at = self.at();
            // Whether a program made a value before it failed, it does not say.
            return Err(match say.verb {
                "mint" => BridgeError::Unclear { at, why },
                _ => BridgeError::Refused { at, why },
            });
        }
        if output.stdout.iter().all(u8::is_ascii_whitespace) {
            return Err(BridgeError::ClosedEarly { at: self.at() });
        }
        // The parser's own text may quote the answer, and so the value.
        serde_json::from_slice(&output.stdout).map_err(|error| {
            self.garbled(&format!(
                "it is not the one JSON object that \"{}\" is answered with (line {}, column {})",
                say.verb,
                error.line(),
                error.column()
            ))
        })
    }

    async fn try_value(&self, held: &Held) -> Result<Verified, BridgeError> {
        self.must_be_able(Ability::Verify, "verify")?;
        let say = Say {
            held: Some(shown(held)?),
            ..self.saying("verify")?
        };
        let heard: HearVerified = self.ask(say).await?;
        Ok(match heard.works {
            true => Verified::Works,
            false => Verified::Fails(quote::peer(&heard.why.unwrap_or_default())),
        })
    }

    async fn make(&self, order: &MintOrder) -> Result<Minted, BridgeError> {
        self.must_be_able(Ability::Mint, "mint")?;
        let say = Say {
            order: Some(SayOrder {
                label: &order.label,
                lifetime_s: order.lifetime.map(Span::as_s),
                scopes: &order.scopes,
                replaces: order.replaces.as_ref().map(shown).transpose()?,
            }),
            ..self.saying("mint")?
        };
        let mut heard: HearMinted = self.ask(say).await?;
        if heard.lifetime_s.is_some_and(|s| s <= 0) {
            return Err(self.garbled("the lifetime is no number of seconds"));
        }
        let value = Secret::text(&heard.value)
            .map_err(|_| self.garbled("the new value is empty or too long"))?;
        Ok(Minted {
            value,
            remote_id: heard.remote_id.take(),
            lifetime: heard.lifetime_s.map(Span::s),
        })
    }

    async fn end(&self, held: &Held) -> Result<Revoked, BridgeError> {
        if !self.can(Ability::Revoke) {
            return Ok(Revoked::ByHand(
                "This program cannot end a value: end it at the bridge by hand.".into(),
            ));
        }
        let say = Say {
            held: Some(shown(held)?),
            ..self.saying("revoke")?
        };
        let heard: HearRevoked = self.ask(say).await?;
        match (heard.gone, heard.by_hand) {
            (true, None) => Ok(Revoked::Gone),
            (false, Some(what)) => Ok(Revoked::ByHand(quote::peer(&what))),
            _ => Err(self.garbled("it must say either \"gone\": true or \"by_hand\"")),
        }
    }

    async fn rights(&self, held: &Held) -> Result<Scopes, BridgeError> {
        self.must_be_able(Ability::Scopes, "scopes")?;
        let say = Say {
            held: Some(shown(held)?),
            ..self.saying("scopes")?
        };
        let heard: HearScopes = self.ask(say).await?;
        Ok(Scopes {
            rights: heard
                .rights
                .iter()
                .map(|right| quote::topic(right))
                .collect(),
            privileged: heard.privileged.map(|why| quote::peer(&why)),
        })
    }

    async fn tell(&self, news: &News) -> Result<(), BridgeError> {
        self.must_be_able(Ability::Notify, "notify")?;
        let say = Say {
            news: Some(SayNews {
                event: news.event.as_str(),
                credential: news.credential.name.as_str(),
                environment: news.credential.environment.as_str(),
                version: news.version,
                deadline: news.deadline.map(|deadline| deadline.to_string()),
            }),
            ..self.saying("notify")?
        };
        match self.ask::<HearTold>(say).await?.told {
            true => Ok(()),
            false => Err(self.garbled("it does not say \"told\": true")),
        }
    }
}

/// What a program that failed said last on its standard error.
fn last_words(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    format!(
        "it failed, and said {}",
        quote::peer(last.unwrap_or_default())
    )
}

fn not_text() -> BridgeError {
    BridgeError::Incomplete {
        why: "a program gets values as text, and this one is not text".into(),
    }
}

fn text(secret: &Secret) -> Result<&str, BridgeError> {
    secret.expose_text().ok_or_else(not_text)
}

fn shown(held: &Held) -> Result<SayHeld<'_>, BridgeError> {
    Ok(SayHeld {
        value: text(&held.value)?,
        remote_id: held.remote_id.as_deref(),
    })
}

impl Connector for Command {
    fn abilities(&self) -> Abilities {
        let named = [
            (
                Ability::Verify,
                "Values are not tested: \"can\" has no \"verify\".",
            ),
            (
                Ability::Mint,
                "New values are not made: \"can\" has no \"mint\".",
            ),
            (
                Ability::Revoke,
                "Old values are ended by hand: \"can\" has no \"revoke\".",
            ),
            (
                Ability::Scopes,
                "Scopes are not read: \"can\" has no \"scopes\".",
            ),
        ];
        let cannot = named.iter().filter(|(ability, _)| !self.can(*ability));
        Abilities {
            verify: self.can(Ability::Verify),
            mint: self.can(Ability::Mint),
            revoke: self.can(Ability::Revoke),
            scopes: self.can(Ability::Scopes),
            notify: self.can(Ability::Notify),
            children: self.can(Ability::Children),
            shortest_child: None,
            two_live: self.can(Ability::TwoLive),
            // What a program must do, says docs/CONNECTORS.md.
            ends_lost: true,
            needs_person: false,
            cost: crate::settings::cost(self.settings.cost.as_deref()),
            cannot: cannot.map(|(_, why)| (*why).to_owned()).collect(),
        }
    }

    fn verify<'a>(&'a self, held: &'a Held) -> Answer<'a, Verified> {
        Box::pin(self.try_value(held))
    }

    fn mint<'a>(&'a self, order: &'a MintOrder, progress: &'a Progress) -> Answer<'a, Minted> {
        Box::pin(async move {
            progress.tell("Running the program for a new value.");
            self.make(order).await
        })
    }

    fn revoke<'a>(&'a self, held: &'a Held) -> Answer<'a, Revoked> {
        Box::pin(self.end(held))
    }

    fn scopes<'a>(&'a self, held: &'a Held) -> Answer<'a, Scopes> {
        Box::pin(self.rights(held))
    }

    fn notify<'a>(&'a self, news: &'a News) -> Answer<'a, ()> {
        Box::pin(self.tell(news))
    }
}
