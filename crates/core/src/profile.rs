//! Profiles: what a kind of device may do, as data. A person can add their own.

use serde::{Deserialize, Serialize};

mod newer;
mod rights;

pub use newer::{Newer, newer};
pub use rights::Rights;
use rights::{hears_ours, is_reserved};

use crate::id::{DeviceId, EnvironmentName, ProfileName};
use crate::key::KeyType;
use crate::room::{Room, RoomRefusal};
use crate::time::Span;
use crate::topic::{InvalidTopic, TopicFilter, hearthkey};

/// The most topic rules a profile may have, for publishing and for subscribing each.
pub const RULES_MAX: usize = 64;

/// A profile as it is written in TOML.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The profile's name.
    pub name: ProfileName,
    /// One line for a person.
    pub description: String,
    /// How long a certificate lives: 1 to 398 days.
    pub certificate_lifetime_days: u16,
    /// For how long after expiry the newest certificate may still renew: 0 to 365 days.
    pub grace_days: u16,
    /// The key types a device may bring.
    pub keys: Vec<KeyType>,
    /// The key of the gateway's certificate, for devices whose TLS cannot verify what the usual one signs: `p256`, or
    /// `rsa2048` beside it.
    #[serde(
        default = "usual_server_key",
        skip_serializing_if = "is_usual_server_key"
    )]
    pub server_key: KeyType,
    /// Whether a renewal may keep its key.
    #[serde(default)]
    pub key_reuse: bool,
    /// Whether a person compares the key's fingerprint before the first certificate.
    #[serde(default)]
    pub approval: bool,
    /// Sessions at a time, each with a client id of its own.
    #[serde(default = "one")]
    pub sessions_max: u16,
    /// The topics the device may publish to.
    #[serde(default)]
    pub publish: Vec<TopicRule>,
    /// The topic filters the device may subscribe to, or to anything they cover.
    #[serde(default)]
    pub subscribe: Vec<TopicRule>,
    /// Where devices of this profile say whether they are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability: Option<Availability>,
    /// How much room a session of this profile has, where it differs from the home's.
    #[serde(default, skip_serializing_if = "Room::is_usual")]
    pub room: Room,
}

/// Where a device says whether it is there, and what means that it is not. The gateway says the latter in its own name
/// when it has shut the device out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Availability {
    /// A topic in which `{device}` and `{environment}` are replaced; no wildcards. One that the profile lets the device
    /// publish to.
    pub topic: String,
    /// What is retained there for a device that is gone: at most 256 bytes.
    pub offline: String,
}

/// The longest text that says that a device is gone.
pub const OFFLINE_MAX_BYTES: usize = 256;

fn out_of_range(refusal: RoomRefusal) -> InvalidProfile {
    InvalidProfile::Range {
        field: refusal.field,
        value: refusal.value,
        range: refusal.range,
    }
}

fn one() -> u16 {
    1
}

fn usual_server_key() -> KeyType {
    KeyType::P256
}

fn is_usual_server_key(key: &KeyType) -> bool {
    *key == usual_server_key()
}

/// One topic rule with the reason it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicRule {
    /// A topic filter in which `{device}` and `{environment}` are replaced.
    pub topic: String,
    /// Why devices of this profile need it, in one line.
    pub reason: String,
}

/// Why a profile is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProfile {
    /// Not TOML of the right shape.
    #[error("the profile cannot be read: {0}")]
    Toml(String),
    /// A number out of its range.
    #[error("{field} is {value}: it must be {range}")]
    Range {
        /// The field's name.
        field: &'static str,
        /// What was given.
        value: u64,
        /// What is allowed.
        range: &'static str,
    },
    /// No key type at all.
    #[error("keys is empty: name at least one of p256, p384, rsa2048")]
    NoKeys,
    /// A key that the gateway never has.
    #[error("server_key is {0}: it must be p256, or rsa2048 for devices that support nothing else")]
    ServerKey(&'static str),
    /// A topic that is no filter.
    #[error("topic {topic:?}: {why}")]
    Topic {
        /// The topic as written.
        topic: String,
        /// What is wrong.
        why: InvalidTopic,
    },
    /// What says that a device is gone.
    #[error("availability {0:?}: {1}")]
    Availability(String, &'static str),
    /// A topic in a place that no profile may give away.
    #[error(
        "topic {0:?} cannot be granted: it must neither begin with /, #, $ or hearthkey/, nor, as a \
         subscription, match the gateway's messages to one device"
    )]
    Reserved(String),
}

/// The profiles that every home begins with.
const BUILT_IN: [&str; 6] = [
    include_str!("../profiles/generic.toml"),
    include_str!("../profiles/home-assistant.toml"),
    include_str!("../profiles/zigbee2mqtt.toml"),
    include_str!("../profiles/esphome.toml"),
    include_str!("../profiles/tasmota.toml"),
    include_str!("../profiles/shelly.toml"),
];

/// The texts of the built-in profiles.
pub fn built_in_texts() -> [&'static str; 6] {
    BUILT_IN
}

/// The built-in profiles.
pub fn built_in() -> Result<Vec<Profile>, InvalidProfile> {
    BUILT_IN.iter().map(|text| Profile::parse(text)).collect()
}

/// What is wrong and in which line, without the picture of it that the parser draws over several lines.
fn in_one_line(error: &toml::de::Error, text: &str) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    let message = error.message().replace('\n', " ");
    match before {
        Some(before) => format!("line {}: {message}", before.matches('\n').count() + 1),
        None => message,
    }
}

impl Profile {
    /// Reads and checks a profile written in TOML.
    pub fn parse(text: &str) -> Result<Self, InvalidProfile> {
        let profile = Self::read(text)?;
        profile.check()?;
        Ok(profile)
    }

    fn read(text: &str) -> Result<Self, InvalidProfile> {
        toml::from_str(text).map_err(|error| InvalidProfile::Toml(in_one_line(&error, text)))
    }

    /// Reads a profile that a home has kept. A room that is larger than a home has in this version is cut down to that, which is
    /// returned beside it.
    pub fn parse_kept(text: &str) -> Result<(Self, Option<InvalidProfile>), InvalidProfile> {
        let mut profile = Self::read(text)?;
        let refusal = profile.room.check().map_err(out_of_range).err();
        profile.room = profile.room.within_home();
        profile.check()?;
        Ok((profile, refusal))
    }

    /// Checks every bound and every topic.
    pub fn check(&self) -> Result<(), InvalidProfile> {
        let in_range = |field, value: u16, low: u16, high: u16, range| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(InvalidProfile::Range {
                    field,
                    value: value.into(),
                    range,
                })
            }
        };
        let days = self.certificate_lifetime_days;
        in_range("certificate_lifetime_days", days, 1, 398, "1 to 398 days")?;
        in_range("grace_days", self.grace_days, 0, 365, "0 to 365 days")?;
        in_range("sessions_max", self.sessions_max, 1, 64, "1 to 64")?;
        if self.keys.is_empty() {
            return Err(InvalidProfile::NoKeys);
        }
        if self.server_key == KeyType::P384 {
            return Err(InvalidProfile::ServerKey(self.server_key.as_str()));
        }
        for (field, rules) in [("publish", &self.publish), ("subscribe", &self.subscribe)] {
            if rules.len() > RULES_MAX {
                let value = rules.len() as u64;
                return Err(InvalidProfile::Range {
                    field,
                    value,
                    range: "64 rules at most",
                });
            }
            for rule in rules {
                check_topic(&rule.topic, field == "subscribe")?;
            }
        }
        self.room.check().map_err(out_of_range)?;
        self.check_availability()
    }

    fn check_availability(&self) -> Result<(), InvalidProfile> {
        let Some(availability) = &self.availability else {
            return Ok(());
        };
        let wrong = |why| {
            let shown = availability.topic.chars().take(80).collect();
            Err(InvalidProfile::Availability(shown, why))
        };
        if availability.offline.len() > OFFLINE_MAX_BYTES {
            return wrong("the text is longer than 256 bytes");
        }
        let (Ok(device), Ok(environment)) = ("d".parse(), "e".parse()) else {
            return Ok(());
        };
        let expanded = self.availability_of(&device, &environment);
        let rights = self.rights(&device, &environment);
        match expanded.is_some_and(|its| rights.publish_place(&its.topic).is_some()) {
            true => Ok(()),
            false => wrong("the profile does not let its devices publish there"),
        }
    }

    /// Where one device of this profile says whether it is there.
    pub fn availability_of(
        &self,
        device: &DeviceId,
        environment: &EnvironmentName,
    ) -> Option<Availability> {
        let availability = self.availability.as_ref()?;
        let topic = availability
            .topic
            .replace("{device}", device.as_str())
            .replace("{environment}", environment.as_str());
        Some(Availability {
            topic,
            offline: availability.offline.clone(),
        })
    }

    /// Whether its devices need an RSA certificate of the gateway beside the usual one.
    pub fn needs_rsa_server(&self) -> bool {
        self.server_key == KeyType::Rsa2048
    }

    /// How long a certificate lives.
    pub fn certificate_lifetime(&self) -> Span {
        Span::days(self.certificate_lifetime_days.into())
    }

    /// For how long after expiry the newest certificate may still renew.
    pub fn grace(&self) -> Span {
        Span::days(self.grace_days.into())
    }

    /// What one device of this profile may do.
    pub fn rights(&self, device: &DeviceId, environment: &EnvironmentName) -> Rights {
        let own = |text: String| TopicFilter::parse(&text);
        let publish = filled(&self.publish, device, environment);
        let mut publish: Vec<_> = publish.filter(|f| !is_reserved(f.as_str())).collect();
        let subscribe = filled(&self.subscribe, device, environment);
        let mut subscribe: Vec<_> = subscribe.filter(|f| !hears_ours(f)).collect();
        publish.extend(own(hearthkey::renew(device)));
        publish.extend(own(hearthkey::trust_ack(device)));
        publish.extend(own(hearthkey::clock(device)));
        subscribe.extend(own(format!("hearthkey/v1/devices/{device}/#")));
        subscribe.extend(own("hearthkey/v1/trust/#".into()));
        Rights::new(publish, subscribe)
    }

    /// Whether some rule, with these names in it, would reach topics of the gateway's own: `+/{device}/#` does for a device
    /// called `v1`. It gets nothing by such a rule, and is better called otherwise.
    pub fn reaches_ours(&self, device: &DeviceId, environment: &EnvironmentName) -> bool {
        filled(&self.publish, device, environment).any(|filter| is_reserved(filter.as_str()))
            || filled(&self.subscribe, device, environment).any(|filter| hears_ours(&filter))
    }
}

/// The filters of rules, with these names in their places.
fn filled(
    rules: &[TopicRule],
    device: &DeviceId,
    environment: &EnvironmentName,
) -> impl Iterator<Item = TopicFilter> {
    let filters = rules
        .iter()
        .map(|rule| filter_for(&rule.topic, device.as_str(), environment.as_str()));
    filters.filter_map(Result::ok)
}

fn filter_for(topic: &str, device: &str, environment: &str) -> Result<TopicFilter, InvalidTopic> {
    TopicFilter::parse(
        &topic
            .replace("{device}", device)
            .replace("{environment}", environment),
    )
}

/// No rule names a reserved topic, and no subscription can be handed one. A rule for publishing
/// may begin with `+`: there every message is judged by its own topic.
fn check_topic(topic: &str, subscribe: bool) -> Result<(), InvalidProfile> {
    let shown = || topic.chars().take(80).collect();
    let filter = filter_for(topic, "d", "e").map_err(|why| InvalidProfile::Topic {
        topic: shown(),
        why,
    })?;
    let text = filter.as_str();
    let nameless = text.starts_with('/') || text.starts_with('#');
    if nameless || is_reserved(text) || subscribe && hears_ours(&filter) {
        return Err(InvalidProfile::Reserved(shown()));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
