//! Any HTTP API: what to ask is in the settings, as templates, and so does where the answer has what.

use hearthkey_core::news::News;
use hearthkey_core::secret::Secret;
use hearthkey_core::time::Span;
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::address::{HTTP, Site};
use crate::connector::{
    Abilities, Answer, Connector, Held, MintOrder, Minted, Revoked, Scopes, Verified,
};
use crate::error::{BridgeError, SettingsError};
use crate::exchange::{Heard, exchange};
use crate::limits::{ANSWER_MAX_BYTES, Patience};
use crate::line::Line;
use crate::progress::Progress;
use crate::quote;
use crate::request::{Purpose, RequestPlan, RequestSettings};
use crate::template::{Facts, Place};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    base_url: String,
    #[serde(default)]
    allow_plain: bool,
    root_pem: Option<String>,
    pin_sha256: Option<String>,
    timeout_s: Option<u64>,
    /// What `{{lifetime_s}}` is when nothing was ordered.
    lifetime_s: Option<i64>,
    /// Whether the old value works on beside the new one.
    #[serde(default)]
    two_live: bool,
    /// What a rotation costs, for the person who starts it.
    cost: Option<String>,
    verify: Option<RequestSettings>,
    mint: Option<RequestSettings>,
    revoke: Option<RequestSettings>,
    scopes: Option<RequestSettings>,
    notify: Option<RequestSettings>,
}

pub(crate) struct Http {
    line: Line,
    patience: Patience,
    authority: Option<Secret>,
    lifetime_s: Option<i64>,
    two_live: bool,
    cost: Option<String>,
    verify: Option<RequestPlan>,
    mint: Option<RequestPlan>,
    revoke: Option<RequestPlan>,
    scopes: Option<RequestPlan>,
    notify: Option<RequestPlan>,
}

impl Http {
    pub(crate) fn new(
        settings: &str,
        authority: Option<Secret>,
        patience: Patience,
    ) -> Result<Self, SettingsError> {
        let settings: Settings = crate::settings::read(settings)?;
        let site = Site::read("base_url", &settings.base_url, &HTTP, settings.allow_plain)?;
        let tls = crate::tls::config(settings.root_pem.as_deref(), settings.pin_sha256.as_deref())?;
        let timeout_s = crate::settings::timeout_s(settings.timeout_s)?;
        let plan = |name, purpose, request: Option<RequestSettings>| {
            request
                .map(|request| RequestPlan::read(name, purpose, request))
                .transpose()
        };
        let http = Self {
            line: Line { site, tls },
            patience: patience.for_exchange(timeout_s),
            authority,
            lifetime_s: settings.lifetime_s,
            two_live: settings.two_live,
            cost: settings.cost,
            verify: plan("verify", Purpose::Verify, settings.verify)?,
            mint: plan("mint", Purpose::Mint, settings.mint)?,
            revoke: plan("revoke", Purpose::Revoke, settings.revoke)?,
            scopes: plan("scopes", Purpose::Scopes, settings.scopes)?,
            notify: plan("notify", Purpose::Notify, settings.notify)?,
        };
        let plans = [
            &http.verify,
            &http.mint,
            &http.revoke,
            &http.scopes,
            &http.notify,
        ];
        let mut places = plans.into_iter().flatten().flat_map(RequestPlan::places);
        let needs_authority = places.any(|place| place == Place::Authority);
        drop(places);
        if http.authority.is_none() && needs_authority {
            return Err(SettingsError::NoAuthority("a template with {{authority}}"));
        }
        Ok(http)
    }

    fn at(&self) -> String {
        self.line.site.to_string()
    }

    fn garbled(&self, why: impl Into<String>) -> BridgeError {
        BridgeError::Garbled {
            at: self.at(),
            why: why.into(),
        }
    }

    fn cannot(&self, name: &str) -> BridgeError {
        BridgeError::CannotDo {
            what: format!("this bridge's settings have no request for \"{name}\""),
            instead: format!("Add \"{name}\" to its settings, or do it at the bridge by hand."),
        }
    }

    async fn ask(&self, plan: &RequestPlan, facts: &Facts<'_>) -> Result<Heard, BridgeError> {
        let ask = plan.fill(facts)?;
        exchange(&self.line, ask, self.patience.exchange, ANSWER_MAX_BYTES).await
    }

    fn facts<'a>(&'a self, held: Option<&'a Held>) -> Facts<'a> {
        Facts {
            value: held.map(|held| &held.value),
            authority: self.authority.as_ref(),
            remote_id: held.and_then(|held| held.remote_id.as_deref()),
            ..Facts::default()
        }
    }

    /// Whether a yes holds what it must.
    fn as_expected(&self, plan: &RequestPlan, heard: &Heard) -> Result<bool, BridgeError> {
        if plan.settings.expect.is_empty() {
            return Ok(true);
        }
        let json = heard.json(&self.line.site)?;
        let mut expected = plan.settings.expect.iter();
        Ok(expected.all(|(pointer, value)| json.pointer(pointer) == Some(value)))
    }

    /// A yes, or why it is none.
    fn accepted(&self, plan: &RequestPlan, heard: &Heard) -> Result<(), BridgeError> {
        if plan.says_yes(heard.status) && self.as_expected(plan, heard)? {
            return Ok(());
        }
        let at = self.at();
        let why = format!("its status is {}", heard.status);
        Err(match heard.status {
            401 | 403 => BridgeError::NoAuthority { at, why },
            _ => BridgeError::Refused { at, why },
        })
    }

    async fn try_value(&self, held: &Held) -> Result<Verified, BridgeError> {
        let plan = self.verify.as_ref().ok_or_else(|| self.cannot("verify"))?;
        let heard = self.ask(plan, &self.facts(Some(held))).await?;
        let status = heard.status;
        if plan.says_no(status, &[401, 403]) {
            return Ok(Verified::Fails(format!("the status is {status}")));
        }
        if !plan.says_yes(status) {
            return Err(self.garbled(format!("its status is {status}, neither yes nor no")));
        }
        Ok(match self.as_expected(plan, &heard)? {
            true => Verified::Works,
            false => Verified::Fails("the answer does not hold what was expected".into()),
        })
    }

    async fn make(&self, order: &MintOrder) -> Result<Minted, BridgeError> {
        let plan = self.mint.as_ref().ok_or_else(|| self.cannot("mint"))?;
        let facts = Facts {
            label: Some(&order.label),
            lifetime_s: order.lifetime.map(Span::as_s).or(self.lifetime_s),
            scopes: &order.scopes,
            ..self.facts(order.replaces.as_ref())
        };
        if !order.scopes.is_empty() && !plan.places().contains(&Place::Scopes) {
            return Err(BridgeError::CannotDo {
                what: "this bridge's \"mint\" does not say which rights a value is to have".into(),
                instead: "Use {{scopes}} in it, or order no scopes.".into(),
            });
        }
        let heard = self.ask(plan, &facts).await?;
        if let Err(error) = self.accepted(plan, &heard) {
            return Err(match heard.status {
                // A server that failed, or one before it, may have got as far as to make a value; so may one whose yes
                // does not hold what is expected.
                200..=399 | 408 | 500.. => BridgeError::Unclear {
                    at: self.at(),
                    why: format!("its status is {}", heard.status),
                },
                _ => error,
            });
        }
        let json = heard.json(&self.line.site)?;
        let value = self.text_at(&json, plan.settings.value.as_deref(), "value")?;
        let value = value.ok_or_else(|| self.garbled("it holds no new value where it should"))?;
        let value =
            Secret::text(&value).map_err(|_| self.garbled("the new value is empty or too long"))?;
        let remote_id = self.text_at(&json, plan.settings.remote_id.as_deref(), "id")?;
        let life = self.text_at(&json, plan.settings.lifetime_s.as_deref(), "lifetime")?;
        let life = life.map(|life| {
            let seconds = life.parse().ok().filter(|s| *s > 0_i64);
            seconds.ok_or_else(|| self.garbled("the lifetime is no number of seconds"))
        });
        let ordered = facts
            .lifetime_s
            .filter(|_| plan.places().contains(&Place::LifetimeS));
        Ok(Minted {
            value,
            remote_id: remote_id.map(|id| id.to_string()),
            lifetime: life.transpose()?.or(ordered).map(Span::s),
        })
    }

    /// The string or number at a pointer. A pointer that is set and leads nowhere is an error: half an answer is none.
    fn text_at(
        &self,
        json: &Value,
        pointer: Option<&str>,
        name: &str,
    ) -> Result<Option<Zeroizing<String>>, BridgeError> {
        let Some(pointer) = pointer else {
            return Ok(None);
        };
        match json.pointer(pointer) {
            Some(Value::String(text)) => Ok(Some(Zeroizing::new(text.clone()))),
            Some(Value::Number(number)) => Ok(Some(Zeroizing::new(number.to_string()))),
            _ => Err(self.garbled(format!("it holds no {name} where it should"))),
        }
    }

    async fn end(&self, held: &Held) -> Result<Revoked, BridgeError> {
        let Some(plan) = &self.revoke else {
            return Ok(Revoked::ByHand(format!(
                "The settings have no request that ends a value: end it at {} by hand.",
                self.at()
            )));
        };
        let heard = self.ask(plan, &self.facts(Some(held))).await?;
        if !plan.says_no(heard.status, &[404, 410]) {
            self.accepted(plan, &heard)?;
        }
        Ok(Revoked::Gone)
    }

    async fn rights(&self, held: &Held) -> Result<Scopes, BridgeError> {
        let plan = self.scopes.as_ref().ok_or_else(|| self.cannot("scopes"))?;
        let heard = self.ask(plan, &self.facts(Some(held))).await?;
        self.accepted(plan, &heard)?;
        let json = heard.json(&self.line.site)?;
        let pointer = plan.settings.rights.as_deref().unwrap_or_default();
        let rights: Vec<String> = match json.pointer(pointer) {
            Some(Value::String(text)) => text.split_whitespace().map(str::to_owned).collect(),
            Some(Value::Array(items)) => {
                let text = |item: &Value| item.as_str().map(str::to_owned);
                let rights: Option<Vec<String>> = items.iter().map(text).collect();
                rights.ok_or_else(|| self.garbled("its rights are no list of strings"))?
            }
            _ => return Err(self.garbled("it holds no rights where it should")),
        };
        let admin = rights
            .iter()
            .find(|right| plan.settings.privileged.contains(right));
        Ok(Scopes {
            privileged: admin.map(|right| {
                format!(
                    "it has the right {:?}, which the settings call an administrator's",
                    quote::topic(right)
                )
            }),
            rights: rights.iter().map(|right| quote::topic(right)).collect(),
        })
    }

    async fn tell(&self, news: &News) -> Result<(), BridgeError> {
        let plan = self.notify.as_ref().ok_or_else(|| self.cannot("notify"))?;
        let facts = Facts {
            news: Some(news),
            ..self.facts(None)
        };
        let heard = self.ask(plan, &facts).await?;
        self.accepted(plan, &heard)
    }
}

impl Connector for Http {
    fn abilities(&self) -> Abilities {
        let timed = |plan: &RequestPlan| plan.places().contains(&Place::LifetimeS);
        let named = [
            (
                self.verify.is_some(),
                "Values are not tested: the settings have no \"verify\".",
            ),
            (
                self.mint.is_some(),
                "New values are not made: the settings have no \"mint\".",
            ),
            (
                self.revoke.is_some(),
                "Old values are ended by hand: the settings have no \"revoke\".",
            ),
            (
                self.scopes.is_some(),
                "Scopes are not read: the settings have no \"scopes\".",
            ),
        ];
        let cannot = named.iter().filter(|(has, _)| !has);
        Abilities {
            verify: self.verify.is_some(),
            mint: self.mint.is_some(),
            revoke: self.revoke.is_some(),
            scopes: self.scopes.is_some(),
            notify: self.notify.is_some(),
            children: self.two_live && self.mint.as_ref().is_some_and(timed),
            shortest_child: None,
            two_live: self.two_live,
            // In place, the next value ends whatever was there; so does PUT, which is idempotent (RFC 9110 §9.2.2), of what
            // is named by the label.
            ends_lost: !self.two_live
                || self.mint.as_ref().is_some_and(|plan| {
                    plan.is_idempotent() && plan.places().contains(&Place::Label)
                }),
            needs_person: false,
            cost: crate::settings::cost(self.cost.as_deref()),
            cannot: cannot.map(|(_, why)| (*why).to_owned()).collect(),
        }
    }

    fn verify<'a>(&'a self, held: &'a Held) -> Answer<'a, Verified> {
        Box::pin(self.try_value(held))
    }

    fn mint<'a>(&'a self, order: &'a MintOrder, progress: &'a Progress) -> Answer<'a, Minted> {
        Box::pin(async move {
            progress.tell("Asking for a new value.");
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
