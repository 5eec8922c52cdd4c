//! Texts with places like `{{value}}`, filled so that no value can leave its place: each is encoded for where it is,
//! and refused where it cannot be.

use hearthkey_core::news::News;
use hearthkey_core::secret::Secret;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::error::BridgeError;

/// All but the unreserved characters (RFC 3986 §2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Value,
    Authority,
    Label,
    LifetimeS,
    RemoteId,
    Scopes,
    Event,
    Credential,
    Environment,
    Version,
    Deadline,
}

impl Place {
    const WORDS: [(&'static str, Self); 11] = [
        ("value", Self::Value),
        ("authority", Self::Authority),
        ("label", Self::Label),
        ("lifetime_s", Self::LifetimeS),
        ("remote_id", Self::RemoteId),
        ("scopes", Self::Scopes),
        ("event", Self::Event),
        ("credential", Self::Credential),
        ("environment", Self::Environment),
        ("version", Self::Version),
        ("deadline", Self::Deadline),
    ];

    /// Whether only an order for a new value has it.
    pub(crate) fn is_of_orders(self) -> bool {
        matches!(self, Self::Label | Self::LifetimeS | Self::Scopes)
    }

    /// Whether only news of a rotation have it.
    pub(crate) fn is_of_news(self) -> bool {
        use Place::{Credential, Deadline, Environment, Event, Version};
        matches!(self, Event | Credential | Environment | Version | Deadline)
    }

    /// All of them, for the message about an unknown one.
    fn all() -> String {
        let words = Self::WORDS
            .iter()
            .map(|(word, _)| format!("{{{{{word}}}}}"));
        words.collect::<Vec<_>>().join(", ")
    }

    fn word(self) -> &'static str {
        let found = Self::WORDS.iter().find(|(_, place)| *place == self);
        found.map_or("", |(word, _)| word)
    }
}

/// What fills the places of one request.
#[derive(Default)]
pub(crate) struct Facts<'a> {
    pub(crate) value: Option<&'a Secret>,
    pub(crate) authority: Option<&'a Secret>,
    pub(crate) label: Option<&'a str>,
    pub(crate) lifetime_s: Option<i64>,
    pub(crate) remote_id: Option<&'a str>,
    pub(crate) scopes: &'a [String],
    pub(crate) news: Option<&'a News>,
}

impl Facts<'_> {
    fn get(&self, place: Place) -> Result<Zeroizing<String>, BridgeError> {
        let text = |secret: &Secret| secret.expose_text().map(str::to_owned);
        let found = match place {
            Place::Value => self.value.and_then(text),
            Place::Authority => self.authority.and_then(text),
            Place::Label => self.label.map(str::to_owned),
            Place::LifetimeS => self.lifetime_s.map(|s| s.to_string()),
            Place::RemoteId => self.remote_id.map(str::to_owned),
            Place::Scopes => Some(self.scopes.join(" ")),
            Place::Event => self.news.map(|news| news.event.to_string()),
            Place::Credential => self.news.map(|news| news.credential.name.to_string()),
            Place::Environment => self
                .news
                .map(|news| news.credential.environment.to_string()),
            Place::Version => self.news.map(|news| news.version.to_string()),
            Place::Deadline => self.news.map(|news| {
                let deadline = news.deadline.map(|deadline| deadline.to_string());
                deadline.unwrap_or_default()
            }),
        };
        found
            .map(Zeroizing::new)
            .ok_or_else(|| BridgeError::Incomplete {
                why: format!(
                    "it needs {{{{{}}}}}, and this credential has none that is text",
                    place.word()
                ),
            })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Place(Place),
}

/// A text with places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Piece>);

impl Template {
    /// Reads a template, or says what is wrong with it.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find("{{") {
            let (before, after) = rest.split_at(at);
            let (word, behind) = after[2..]
                .split_once("}}")
                .ok_or("opens {{ and does not close it")?;
            let place = Place::WORDS.iter().find(|(known, _)| *known == word.trim());
            let (_, place) = place
                .ok_or_else(|| format!("has a place that is none: use one of {}", Place::all()))?;
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(Piece::Place(*place));
            rest = behind;
        }
        if !rest.is_empty() || pieces.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self(pieces))
    }

    pub(crate) fn places(&self) -> impl Iterator<Item = Place> + '_ {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Place(place) => Some(*place),
            Piece::Text(_) => None,
        })
    }

    /// The parts that stand in the settings.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> + '_ {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Place(_) => None,
            Piece::Text(text) => Some(text.as_str()),
        })
    }

    fn fill(
        &self,
        facts: &Facts<'_>,
        encode: impl Fn(&str) -> String,
    ) -> Result<Zeroizing<String>, BridgeError> {
        let mut filled = Zeroizing::new(String::new());
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Place(place) => {
                    let encoded = Zeroizing::new(encode(&facts.get(*place)?));
                    filled.push_str(&encoded);
                }
            }
        }
        Ok(filled)
    }

    /// Filled for a path or a query: percent-encoded, and never a step upwards, not even for a server that decodes first.
    pub(crate) fn target(&self, facts: &Facts<'_>) -> Result<Zeroizing<String>, BridgeError> {
        let target = self.fill(facts, |text| utf8_percent_encode(text, ENCODED).to_string())?;
        let plain = self.fill(facts, str::to_owned)?;
        let path = plain.split('?').next().unwrap_or_default();
        let climbs = |segment: &str| segment == "." || segment == "..";
        let in_path = self.places().next().is_some() && path.split(['/', '\\']).any(climbs);
        let in_places = self.places().any(|place| {
            let text = facts.get(place).unwrap_or_default();
            text.split(['/', '\\']).any(climbs)
        });
        if in_path || in_places {
            return Err(BridgeError::Incomplete {
                why: "a value would change the path of the request".into(),
            });
        }
        Ok(target)
    }

    /// Filled for a header: visible characters only, so that no line can be added.
    pub(crate) fn header(&self, facts: &Facts<'_>) -> Result<Zeroizing<String>, BridgeError> {
        let header = self.fill(facts, str::to_owned)?;
        match header.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
            true => Ok(header),
            false => Err(BridgeError::Incomplete {
                why: "a value has characters that no HTTP header can carry".into(),
            }),
        }
    }

    /// Filled for `application/x-www-form-urlencoded`.
    pub(crate) fn form(&self, facts: &Facts<'_>) -> Result<Zeroizing<String>, BridgeError> {
        let filled = self.fill(facts, str::to_owned)?;
        Ok(form_encode(&filled))
    }

    /// Filled for JSON. Alone in its string, a lifetime or version becomes a number and scopes become a list.
    fn write_json(
        &self,
        facts: &Facts<'_>,
        out: &mut Zeroizing<Vec<u8>>,
    ) -> Result<(), BridgeError> {
        match self.0.as_slice() {
            [Piece::Place(place @ (Place::LifetimeS | Place::Version))] => {
                out.extend_from_slice(facts.get(*place)?.as_bytes());
                Ok(())
            }
            [Piece::Place(Place::Scopes)] => write(facts.scopes, out),
            _ => write(self.fill(facts, str::to_owned)?.as_str(), out),
        }
    }
}

/// Percent-encoded for a form.
pub(crate) fn form_encode(text: &str) -> Zeroizing<String> {
    Zeroizing::new(utf8_percent_encode(text, ENCODED).to_string())
}

/// JSON whose strings are templates.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum JsonTemplate {
    Text(Template),
    Other(Value),
    List(Vec<JsonTemplate>),
    Object(Vec<(String, JsonTemplate)>),
}

impl JsonTemplate {
    pub(crate) fn read(value: &Value) -> Result<Self, String> {
        Ok(match value {
            Value::String(text) => Self::Text(Template::read(text)?),
            Value::Array(items) => {
                Self::List(items.iter().map(Self::read).collect::<Result<_, _>>()?)
            }
            Value::Object(fields) => {
                let field = |(name, value): (&String, &Value)| {
                    Self::read(value).map(|value| (name.clone(), value))
                };
                Self::Object(fields.iter().map(field).collect::<Result<_, _>>()?)
            }
            other => Self::Other(other.clone()),
        })
    }

    pub(crate) fn places(&self) -> Vec<Place> {
        match self {
            Self::Text(template) => template.places().collect(),
            Self::Other(_) => Vec::new(),
            Self::List(items) => items.iter().flat_map(Self::places).collect(),
            Self::Object(fields) => fields.iter().flat_map(|(_, item)| item.places()).collect(),
        }
    }

    pub(crate) fn fill(&self, facts: &Facts<'_>) -> Result<Zeroizing<Vec<u8>>, BridgeError> {
        let mut out = Zeroizing::new(Vec::with_capacity(1024));
        self.write(facts, &mut out)?;
        Ok(out)
    }

    fn write(&self, facts: &Facts<'_>, out: &mut Zeroizing<Vec<u8>>) -> Result<(), BridgeError> {
        match self {
            Self::Text(template) => template.write_json(facts, out)?,
            Self::Other(value) => write(value, out)?,
            Self::List(items) => {
                out.push(b'[');
                for (n, item) in items.iter().enumerate() {
                    if n > 0 {
                        out.push(b',');
                    }
                    item.write(facts, out)?;
                }
                out.push(b']');
            }
            Self::Object(fields) => {
                out.push(b'{');
                for (n, (name, item)) in fields.iter().enumerate() {
                    if n > 0 {
                        out.push(b',');
                    }
                    write(name, out)?;
                    out.push(b':');
                    item.write(facts, out)?;
                }
                out.push(b'}');
            }
        }
        Ok(())
    }
}

fn write(
    value: &(impl serde::Serialize + ?Sized),
    out: &mut Zeroizing<Vec<u8>>,
) -> Result<(), BridgeError> {
    serde_json::to_writer(&mut **out, value).map_err(|_| BridgeError::Incomplete {
        why: "a value cannot be written as JSON".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn hostile() -> Secret {
        Secret::text("a\", \"admin\": true, \"b\": \"&x=1?y#z/%2e\r\nHost: evil").unwrap()
    }

    #[test]
    fn a_template_that_is_broken_says_so() {
        assert!(Template::read("{{value").unwrap_err().contains("close"));
        assert!(
            Template::read("{{vale}}")
                .unwrap_err()
                .contains("{{value}}")
        );
        let read = Template::read("a{{ value }}b{{label}}").unwrap();
        assert_eq!(
            read.places().collect::<Vec<_>>(),
            [Place::Value, Place::Label]
        );
    }

    #[test]
    fn no_value_leaves_its_place_in_json() {
        let value = hostile();
        let facts = Facts {
            value: Some(&value),
            lifetime_s: Some(60),
            scopes: &["a\"b".to_owned()],
            ..Facts::default()
        };
        let template = json!({"token": "x{{value}}", "ttl": "{{lifetime_s}}", "s": "{{scopes}}", "n": [1, null]});
        let filled = JsonTemplate::read(&template).unwrap().fill(&facts).unwrap();
        let read: Value = serde_json::from_slice(&filled).unwrap();
        let expected = format!("x{}", value.expose_text().unwrap());
        assert_eq!(
            read,
            json!({"token": expected, "ttl": 60, "s": ["a\"b"], "n": [1, null]})
        );
    }

    #[test]
    fn no_value_leaves_its_place_in_a_path_a_form_or_a_header() {
        let value = hostile();
        let facts = Facts {
            value: Some(&value),
            ..Facts::default()
        };
        let path = Template::read("/token/{{value}}/end?v={{value}}").unwrap();
        let filled = path.target(&facts).unwrap();
        let expected = |c: char| c.is_ascii_alphanumeric() || "/?=%-._~".contains(c);
        assert!(filled.chars().all(expected), "{}", *filled);
        assert_eq!(filled.matches('/').count(), 3);
        assert_eq!(filled.matches(['?', '=']).count(), 2);
        let form = Template::read("{{value}}").unwrap();
        assert!(
            !form
                .form(&facts)
                .unwrap()
                .contains(['&', '=', ' ', '\r', '"'])
        );
        assert!(form.header(&facts).is_err());
    }

    #[test]
    fn no_value_climbs_up_a_path() {
        for bad in ["..", ".", "a/../../admin", "..\\admin"] {
            let value = Secret::text(bad).unwrap();
            let facts = Facts {
                value: Some(&value),
                ..Facts::default()
            };
            let path = Template::read("/token/{{value}}").unwrap();
            assert!(path.target(&facts).is_err(), "{bad}");
        }
        let joined = Secret::text(".").unwrap();
        let facts = Facts {
            value: Some(&joined),
            ..Facts::default()
        };
        assert!(
            Template::read("/a/.{{value}}/b")
                .unwrap()
                .target(&facts)
                .is_err()
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let facts = Facts::default();
        let error = Template::read("{{remote_id}}")
            .unwrap()
            .header(&facts)
            .unwrap_err();
        assert!(error.to_string().contains("{{remote_id}}"), "{error}");
    }
}
