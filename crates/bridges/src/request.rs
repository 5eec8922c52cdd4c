//! One request of an HTTP bridge as its settings describe it: read once, judged, filled for each use.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, HeaderValue,
    TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::error::{BridgeError, SettingsError};
use crate::exchange::{Ask, secret_header};
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
pub(crate) struct RequestSettings {
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
    pub(crate) expect: BTreeMap<String, Value>,
    /// Where the new value is.
    pub(crate) value: Option<String>,
    /// Where its id is.
    pub(crate) remote_id: Option<String>,
    /// Where its life in seconds is.
    pub(crate) lifetime_s: Option<String>,
    /// Where the rights stand: a list of strings, or one string with spaces.
    pub(crate) rights: Option<String>,
    /// Which of the rights are an administrator's.
    #[serde(default)]
    pub(crate) privileged: Vec<String>,
}

/// What a request is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Verify,
    Mint,
    Revoke,
    Scopes,
    Notify,
}

enum Body {
    None,
    Json(JsonTemplate),
    Form(Vec<(String, Template)>),
}

pub(crate) struct RequestPlan {
    method: Method,
    path: Template,
    headers: Vec<(HeaderName, Template)>,
    basic: Option<Template>,
    body: Body,
    pub(crate) settings: RequestSettings,
}

fn is_pointer(pointer: &str) -> bool {
    pointer.is_empty() || pointer.starts_with('/')
}

impl RequestPlan {
    pub(crate) fn read(
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
        let places = self.places();
        let of_values = |place: &Place| matches!(place, Place::Value | Place::RemoteId);
        if purpose == Purpose::Notify && places.iter().any(of_values) {
            return invalid("uses {{value}} or {{remote_id}}: news hold no value, it is fetched");
        }
        if purpose != Purpose::Notify && places.iter().any(|place| place.is_of_news()) {
            return invalid("uses a place that only \"notify\" has");
        }
        if (purpose == Purpose::Mint) != settings.value.is_some() {
            return invalid("says where the new value is if and only if it is \"mint\": \"value\"");
        }
        if (purpose == Purpose::Scopes) != settings.rights.is_some() {
            return invalid(
                "says where the rights stand if and only if it is \"scopes\": \"rights\"",
            );
        }
        let ids = settings.remote_id.is_some() || settings.lifetime_s.is_some();
        if purpose != Purpose::Mint && ids {
            return invalid("says where an id or a lifetime is, which only \"mint\" has");
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

    pub(crate) fn places(&self) -> Vec<Place> {
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

    pub(crate) fn fill(&self, facts: &Facts<'_>) -> Result<Ask, BridgeError> {
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

    /// Whether asking again replaces what was made before (RFC 9110 §9.2.2).
    pub(crate) fn is_idempotent(&self) -> bool {
        self.method == Method::PUT
    }

    pub(crate) fn says_yes(&self, status: u16) -> bool {
        match &self.settings.works {
            Some(works) => works.contains(&status),
            None => (200..300).contains(&status),
        }
    }

    pub(crate) fn says_no(&self, status: u16, by_default: &[u16]) -> bool {
        let fails = self.settings.fails.as_deref().unwrap_or(by_default);
        fails.contains(&status)
    }
}
