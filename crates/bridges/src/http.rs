//! Any HTTP API: what to ask stands in the settings, as templates, and so does where the answer has what.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hearthkey_core::secret::Secret;
use hearthkey_core::time::Span;
use hyper::Method;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, HeaderValue,
    TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

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
use crate::template::{Facts, JsonTemplate, Place, Template, form_encode};

/// What frames a message is ours alone: a template must not make two requests of one.
const FRAMING: [HeaderName; 7] = [
    HOST,
    CONNECTION,
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    TE,
    TRAILER,
    UPGRADE,
];

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
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestSettings {
    method: String,
    path: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// `user:password`, sent as RFC 7617 says.
    basic: Option<String>,
    json: Option<Value>,
    form: Option<BTreeMap<String, String>>,
    /// Statuses that mean yes. By default 200 to 299.
    works: Option<Vec<u16>>,
    /// Statuses that mean no (`verify`: the value is not accepted; `revoke`: it is gone already).
    fails: Option<Vec<u16>>,
    /// What a yes must hold besides: a JSON pointer (RFC 6901) and the value there.
    #[serde(default)]
    expect: BTreeMap<String, Value>,
    /// Where the new value stands.
    value: Option<String>,
    /// Where its id stands.
    remote_id: Option<String>,
    /// Where its life in seconds stands.
    lifetime_s: Option<String>,
    /// Where the rights stand: a list of strings, or one string with spaces.
    rights: Option<String>,
    /// Which of the rights are an administrator's.
    #[serde(default)]
    privileged: Vec<String>,
}

/// What a request is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Verify,
    Mint,
    Revoke,
    Scopes,
}

enum Body {
    None,
    Json(JsonTemplate),
    Form(Vec<(String, Template)>),
}

struct RequestPlan {
    method: Method,
    path: Template,
    headers: Vec<(HeaderName, Template)>,
    basic: Option<Template>,
    body: Body,
    settings: RequestSettings,
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
}

fn is_pointer(pointer: &str) -> bool {
    pointer.is_empty() || pointer.starts_with('/')
}

impl RequestPlan {
    fn read(
        name: &'static str,
        purpose: Purpose,
        settings: RequestSettings,
    ) -> Result<Self, SettingsError> {
        let invalid = |why: String| SettingsError::invalid(name, why);
        let template = |text: &str| Template::read(text).map_err(invalid);
        let path = template(&settings.path)?;
        let plain = |text: &str| {
            text.bytes()
                .all(|b| b.is_ascii_graphic() && !b"#\\\"<>".contains(&b))
        };
        let rooted = settings.path.starts_with('/') && !settings.path.starts_with("//");
        if !rooted || !path.texts().all(plain) {
            return Err(invalid(
                "has a path that does not begin with one / or has other than URL characters".into(),
            ));
        }
        let method = Method::from_bytes(settings.method.as_bytes()).ok();
        let method = method.filter(|m| {
            [
                Method::GET,
                Method::POST,
                Method::PUT,
                Method::PATCH,
                Method::DELETE,
            ]
            .contains(m)
        });
        let method = method.ok_or_else(|| {
            invalid("has a method other than GET, POST, PUT, PATCH, DELETE".into())
        })?;
        let mut headers = Vec::new();
        for (header, value) in &settings.headers {
            let header: HeaderName = header.parse().map_err(|_| {
                invalid(format!(
                    "has a header that is none: {}",
                    quote::peer(header)
                ))
            })?;
            if FRAMING.contains(&header) {
                return Err(invalid(format!(
                    "sets \"{header}\", which is not for templates"
                )));
            }
            headers.push((header, template(value)?));
        }
        let body = match (&settings.json, &settings.form) {
            (Some(_), Some(_)) => return Err(invalid("has both \"json\" and \"form\"".into())),
            (Some(json), None) => Body::Json(JsonTemplate::read(json).map_err(invalid)?),
            (None, Some(form)) => Body::Form(
                form.iter()
                    .map(|(field, value)| Ok((field.clone(), template(value)?)))
                    .collect::<Result<_, SettingsError>>()?,
            ),
            (None, None) => Body::None,
        };
        let basic = settings.basic.as_deref().map(template).transpose()?;
        let plan = Self {
            method,
            path,
            headers,
            basic,
            body,
            settings,
        };
        plan.judge(name, purpose)?;
        Ok(plan)
    }

    /// What must hold of a whole request.
    fn judge(&self, name: &'static str, purpose: Purpose) -> Result<(), SettingsError> {
        let invalid = |why: &str| Err(SettingsError::invalid(name, why));
        let settings = &self.settings;
        if purpose != Purpose::Mint && self.places().iter().any(|place| place.is_of_orders()) {
            return invalid(
                "uses {{label}}, {{lifetime_s}} or {{scopes}}, which only \"mint\" has",
            );
        }
        if (purpose == Purpose::Mint) != settings.value.is_some() {
            return invalid(
                "says where the new value stands if and only if it is \"mint\": \"value\"",
            );
        }
        if (purpose == Purpose::Scopes) != settings.rights.is_some() {
            return invalid(
                "says where the rights stand if and only if it is \"scopes\": \"rights\"",
            );
        }
        let ids = settings.remote_id.is_some() || settings.lifetime_s.is_some();
        if purpose != Purpose::Mint && ids {
            return invalid("says where an id or a lifetime stands, which only \"mint\" has");
        }
        let named = [
            &settings.value,
            &settings.remote_id,
            &settings.lifetime_s,
            &settings.rights,
        ];
        let mut pointers = named.into_iter().flatten().chain(settings.expect.keys());
        if !pointers.all(|pointer| is_pointer(pointer)) {
            return invalid("has a place in the answer that is no JSON pointer like /data/token");
        }
        Ok(())
    }

    fn places(&self) -> Vec<Place> {
        let mut places: Vec<Place> = self.path.places().collect();
        places.extend(self.headers.iter().flat_map(|(_, value)| value.places()));
        places.extend(self.basic.iter().flat_map(Template::places));
        match &self.body {
            Body::None => {}
            Body::Json(json) => places.extend(json.places()),
            Body::Form(form) => places.extend(form.iter().flat_map(|(_, value)| value.places())),
        }
        places
    }

    fn fill(&self, facts: &Facts<'_>) -> Result<Ask, BridgeError> {
        let mut headers = vec![(ACCEPT, HeaderValue::from_static("application/json"))];
        for (name, value) in &self.headers {
            headers.push((name.clone(), secret_header(&value.header(facts)?)?));
        }
        if let Some(basic) = &self.basic {
            let pair = basic.header(facts)?;
            let encoded = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
            headers.push((AUTHORIZATION, secret_header(&encoded)?));
        }
        let (kind, body) = match &self.body {
            Body::None => (None, Zeroizing::default()),
            Body::Json(json) => (Some("application/json"), json.fill(facts)?),
            Body::Form(form) => {
                let mut body = Zeroizing::new(Vec::new());
                for (n, (field, value)) in form.iter().enumerate() {
                    if n > 0 {
                        body.push(b'&');
                    }
                    body.extend_from_slice(form_encode(field).as_bytes());
                    body.push(b'=');
                    body.extend_from_slice(value.form(facts)?.as_bytes());
                }
                (Some("application/x-www-form-urlencoded"), body)
            }
        };
        let given = headers.iter().any(|(name, _)| *name == CONTENT_TYPE);
        if let Some(kind) = kind.filter(|_| !given) {
            headers.push((CONTENT_TYPE, HeaderValue::from_static(kind)));
        }
        Ok(Ask {
            method: self.method.clone(),
            target: self.path.target(facts)?,
            headers,
            body,
        })
    }

    fn says_yes(&self, status: u16) -> bool {
        match &self.settings.works {
            Some(works) => works.contains(&status),
            None => (200..300).contains(&status),
        }
    }

    fn says_no(&self, status: u16, by_default: &[u16]) -> bool {
        let fails = self.settings.fails.as_deref().unwrap_or(by_default);
        fails.contains(&status)
    }
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
        };
        let plans = [&http.verify, &http.mint, &http.revoke, &http.scopes];
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
        self.accepted(plan, &heard)?;
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
}

impl Connector for Http {
    fn abilities(&self) -> Abilities {
        let timed = |plan: &RequestPlan| plan.places().contains(&Place::LifetimeS);
        let named = [
            (
                self.verify.is_some(),
                "Whether a value works is not asked: the settings have no \"verify\".",
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
                "Rights are not seen: the settings have no \"scopes\".",
            ),
        ];
        let cannot = named.iter().filter(|(has, _)| !has);
        Abilities {
            verify: self.verify.is_some(),
            mint: self.mint.is_some(),
            revoke: self.revoke.is_some(),
            scopes: self.scopes.is_some(),
            children: self.two_live && self.mint.as_ref().is_some_and(timed),
            shortest_child: None,
            two_live: self.two_live,
            needs_person: false,
            cost: self.cost.clone(),
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
}
