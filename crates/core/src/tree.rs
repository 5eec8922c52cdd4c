//! Topic trees that a device would get by its name alone.
//!
//! A profile's rules have a place for the device's id. A device that is called like another rule's fixed level
//! (`alarm`, where a profile grants `alarm/{device}/#`) would be granted what is said there. So a name is compared with
//! the rules of every profile that there is, in every environment, and a profile with the names of the devices.

use std::fmt;

use crate::id::{DeviceId, EnvironmentName, ProfileName};
use crate::profile::{Profile, TopicRule};

/// Replaces an id where it is asked what a rule reaches whatever the device is called. No id has it.
const NOBODY: &str = "\u{1}";

/// A device that takes topics of a profile by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The device.
    pub device: DeviceId,
    /// The rule that its own profile grants it.
    pub by: String,
    /// The profile whose topics those are.
    pub profile: ProfileName,
    /// The rule of that profile.
    pub rule: String,
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a device called {} would use {}, which the profile {} reserves with {}",
            self.device, self.by, self.profile, self.rule
        )
    }
}

/// A device with the rules that it would have.
#[derive(Debug, Clone, Copy)]
pub struct Named<'a> {
    /// What it is called.
    pub device: &'a DeviceId,
    /// Its environment.
    pub environment: &'a EnvironmentName,
    /// Its profile.
    pub profile: &'a Profile,
}

fn rules(profile: &Profile) -> impl Iterator<Item = &TopicRule> {
    profile.publish.iter().chain(&profile.subscribe)
}

/// What a device takes by its name from the devices of a profile, in any of the environments; nothing if nothing.
pub fn taken<'a>(
    named: Named<'_>,
    from: &Profile,
    environments: impl Iterator<Item = &'a EnvironmentName> + Clone,
) -> Option<Taken> {
    let own = rules(named.profile).filter(|rule| rule.topic.contains("{device}"));
    for own in own {
        let granted = filled(&own.topic, named.device.as_str(), named.environment);
        let anyone = filled(&own.topic, NOBODY, named.environment);
        for other in rules(from) {
            let by_name = |theirs: &str| meet(&granted, theirs) && !meet(&anyone, theirs);
            let by_name = match other.topic.contains("{environment}") {
                true => environments
                    .clone()
                    .any(|one| by_name(&other.topic.replace("{environment}", one.as_str()))),
                // It is the same everywhere.
                false => by_name(&other.topic),
            };
            if by_name {
                return Some(Taken {
                    device: named.device.clone(),
                    by: granted,
                    profile: from.name.clone(),
                    rule: other.topic.clone(),
                });
            }
        }
    }
    None
}

fn filled(topic: &str, device: &str, environment: &EnvironmentName) -> String {
    topic
        .replace("{device}", device)
        .replace("{environment}", environment.as_str())
}

/// Whether some topic fits a filter and some device's form of a rule.
fn meet(filter: &str, rule: &str) -> bool {
    let (mut filter, mut rule) = (filter.split('/'), rule.split('/'));
    loop {
        match (filter.next(), rule.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some(level), Some(pattern)) if level_fits(level, pattern) => {}
            _ => return false,
        }
    }
}

/// Whether one level of a filter and one of a rule have a text in common. A place in the rule is filled with any id, so
/// that `{device}_fb` is `lamp_fb`, and not `lamp`.
fn level_fits(level: &str, pattern: &str) -> bool {
    if level == "+" || pattern == "+" {
        return true;
    }
    let mut parts = pattern.split("{device}");
    let Some(mut rest) = parts.next().and_then(|first| level.strip_prefix(first)) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, between)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in between {
        // An id has one character at least. The earliest end leaves the most for what follows.
        let start = rest.char_indices().nth(1).map_or(rest.len(), |(at, _)| at);
        match rest[start..].find(part) {
            Some(at) if start < rest.len() => rest = &rest[start + at + part.len()..],
            _ => return false,
        }
    }
    rest.strip_suffix(last).is_some_and(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::built_in;

    fn profile(name: &str, publish: &[&str], subscribe: &[&str]) -> Profile {
        let rules = |verb: &str, topics: &[&str]| -> String {
            let rule = |topic: &&str| format!("[[{verb}]]\ntopic = {topic:?}\nreason = \"r\"\n");
            topics.iter().map(rule).collect()
        };
        let text = format!(
            "name = {name:?}\ndescription = \"d\"\ncertificate_lifetime_days = 30\ngrace_days = 30\n\
             keys = [\"p256\"]\n{}{}",
            rules("publish", publish),
            rules("subscribe", subscribe)
        );
        Profile::parse(&text).unwrap()
    }

    fn built_in_named(name: &str) -> Profile {
        let found = built_in().unwrap().into_iter();
        found
            .into_iter()
            .find(|known| known.name.as_str() == name)
            .unwrap()
    }

    fn environments() -> Vec<EnvironmentName> {
        ["home", "lab"].map(|name| name.parse().unwrap()).to_vec()
    }

    fn takes(device: &str, own: &Profile, from: &Profile) -> bool {
        let (device, environments) = (device.parse().unwrap(), environments());
        let named = Named {
            device: &device,
            environment: &environments[1],
            profile: own,
        };
        taken(named, from, environments.iter()).is_some()
    }

    #[test]
    fn a_name_that_is_a_fixed_level_of_another_rule_takes_its_tree() {
        let esphome = built_in_named("esphome");
        let panel = profile("panel", &["alarm/{device}/#"], &[]);
        let deep = profile("deep", &["site/{environment}/{device}/state"], &[]);
        let in_lab = profile("in-lab", &["{environment}/alarm/#"], &[]);
        let wide = profile("wide", &[], &["alarm/+/+/set"]);
        for (device, own, from, takes_it) in [
            ("alarm", &esphome, &panel, true),
            ("alarms", &esphome, &panel, false),
            ("lamp", &esphome, &panel, false),
            ("alarm", &panel, &panel, false),
            ("site", &esphome, &deep, true),
            ("alarm", &esphome, &wide, true),
            ("lab", &esphome, &in_lab, true),
            ("home", &esphome, &in_lab, true),
            ("garage", &esphome, &in_lab, false),
        ] {
            assert_eq!(takes(device, own, from), takes_it, "{device} {}", from.name);
        }
    }

    #[test]
    fn a_place_for_the_id_may_be_in_any_level_and_part_of_one() {
        let second = profile("second", &["+/{device}/set"], &[]);
        let shelly = built_in_named("shelly");
        assert!(takes("status", &second, &shelly));
        assert!(!takes("lamp", &second, &shelly));
        let joined = profile("joined", &["sensor-{device}/#"], &[]);
        let esphome = built_in_named("esphome");
        assert!(takes("sensor-attic", &esphome, &joined));
        assert!(!takes("sensor", &esphome, &joined));
        let fallback = profile("fallback", &["cmnd/{device}/#", "cmnd/{device}-fb/#"], &[]);
        assert!(takes("lamp-fb", &fallback, &fallback));
        assert!(!takes("lamp", &fallback, &fallback));
        let twice = profile("twice", &["x/a{device}b{device}c/#"], &[]);
        let under_x = profile("under-x", &["x/{device}/#"], &[]);
        assert!(takes("a1b2c", &under_x, &twice));
        assert!(!takes("abc", &under_x, &twice));
    }

    #[test]
    fn the_names_of_the_built_in_trees_are_taken_for_who_owns_a_first_level() {
        let all = built_in().unwrap();
        let reserved =
            |own: &Profile, device: &str| all.iter().any(|from| takes(device, own, from));
        for own in ["esphome", "shelly"].map(built_in_named) {
            for device in [
                "cmnd",
                "devices",
                "esphome",
                "homeassistant",
                "shellies",
                "stat",
                "tasmota",
                "tele",
                "zigbee2mqtt",
            ] {
                let broad = own.name.as_str() == "esphome";
                assert!(reserved(&own, device) || !broad, "{} {device}", own.name);
            }
            for device in ["lamp", "front-door", "kitchen", "shelly1-a1b2c3"] {
                assert!(!reserved(&own, device), "{} {device}", own.name);
            }
        }
        let tasmota = built_in_named("tasmota");
        assert!(reserved(&tasmota, "tasmotas") && !reserved(&tasmota, "plug"));
        let generic = built_in_named("generic");
        for device in ["alarm", "zigbee2mqtt", "homeassistant"] {
            assert!(!reserved(&generic, device), "{device}");
        }
    }
}
