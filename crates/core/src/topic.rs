//! Topic names and filters (MQTT 5 §4.7), and which filter covers which.

use std::fmt;

/// The longest topic that this gateway accepts, in bytes. MQTT allows 65,535.
pub const TOPIC_MAX_BYTES: usize = 1024;

/// Why a text is not a topic filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTopic {
    /// Empty, too long, or with a NUL character.
    #[error("a topic has 1 to {TOPIC_MAX_BYTES} bytes and no NUL character")]
    Shape,
    /// A wildcard where MQTT does not allow one.
    #[error(
        "in {0:?} a wildcard is misplaced: + replaces a whole level, # all that follow and comes last"
    )]
    Wildcard(String),
}

/// A topic filter: levels of text, `+`, and a last `#`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TopicFilter(Box<str>);

impl TopicFilter {
    /// Reads a filter, without a `$share` prefix.
    pub fn parse(text: &str) -> Result<Self, InvalidTopic> {
        if text.is_empty() || text.len() > TOPIC_MAX_BYTES || text.contains('\0') {
            return Err(InvalidTopic::Shape);
        }
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            let misplaced = match level {
                "#" => levels.peek().is_some(),
                "+" => false,
                _ => level.contains(['#', '+']),
            };
            if misplaced {
                return Err(InvalidTopic::Wildcard(text.chars().take(80).collect()));
            }
        }
        Ok(Self(text.into()))
    }

    /// The filter a client asked for, with `$share/{group}/` taken off (MQTT 5 §4.8.2).
    pub fn parse_shared(text: &str) -> Result<Self, InvalidTopic> {
        let Some(shared) = text.strip_prefix("$share/") else {
            return Self::parse(text);
        };
        match shared.split_once('/') {
            Some((group, inner)) if !group.is_empty() && !group.contains(['+', '#']) => {
                Self::parse(inner)
            }
            _ => Err(InvalidTopic::Wildcard(text.chars().take(80).collect())),
        }
    }

    /// The filter as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether every topic that `other` matches is matched by this filter too.
    ///
    /// Filters that begin with a wildcard match no topic that begins with `$` (MQTT 5 §4.7.2),
    /// so only a filter that names `$…` covers one.
    pub fn covers(&self, other: &TopicFilter) -> bool {
        let wild_first = self.0.starts_with('+') || self.0.starts_with('#');
        if wild_first && other.0.starts_with('$') {
            return false;
        }
        let mut mine = self.0.split('/');
        let mut theirs = other.0.split('/');
        loop {
            match (mine.next(), theirs.next()) {
                (Some("#"), _) => return true,
                (None, None) => return true,
                (Some("+"), Some(level)) if level != "#" => {}
                (Some(a), Some(b)) if a == b => {}
                _ => return false,
            }
        }
    }

    /// Whether there is a topic name that both filters match, apart from those beginning with `$`.
    pub fn overlaps(&self, other: &TopicFilter) -> bool {
        let mut mine = self.0.split('/');
        let mut theirs = other.0.split('/');
        loop {
            match (mine.next(), theirs.next()) {
                (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
                (Some(a), Some(b)) if a == b || a == "+" || b == "+" => {}
                _ => return false,
            }
        }
    }

    /// Whether the filter matches a topic name. A name with a wildcard is matched by nothing.
    pub fn matches(&self, name: &str) -> bool {
        if name.is_empty() || name.len() > TOPIC_MAX_BYTES || name.contains(['#', '+', '\0']) {
            return false;
        }
        let wild_first = self.0.starts_with('+') || self.0.starts_with('#');
        if wild_first && name.starts_with('$') {
            return false;
        }
        let (mut mine, mut its) = (self.0.split('/'), name.split('/'));
        loop {
            match (mine.next(), its.next()) {
                // `a/#` matches `a` as well.
                (Some("#"), _) | (None, None) => return true,
                (Some(level), Some(name)) if level == "+" || level == name => {}
                _ => return false,
            }
        }
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The topics that the gateway itself speaks on. Everything below `hearthkey/` belongs to it.
pub mod hearthkey {
    use crate::id::{ClaimId, DeviceId, EnvironmentName};

    /// Retained: PEM of the current and next roots.
    pub const TRUST_BUNDLE: &str = "hearthkey/v1/trust/bundle";
    /// Retained: the audit log's newest signed checkpoint.
    pub const TRUST_CHECKPOINT: &str = "hearthkey/v1/trust/checkpoint";
    /// Retained: the root's CRL in DER.
    pub const ROOT_CRL: &str = "hearthkey/v1/trust/root/crl";
    /// Retained: the server CA's CRL in DER.
    pub const SERVER_CRL: &str = "hearthkey/v1/trust/server/crl";

    /// The topics between the gateway and one device. What it says to all, under `trust/`, every
    /// device may read.
    pub const PRIVATE: [&str; 5] = [
        "hearthkey/v1/claims/+/enroll/#",
        "hearthkey/v1/devices/+/renew/#",
        "hearthkey/v1/devices/+/trust/ack/#",
        "hearthkey/v1/devices/+/clock/#",
        "hearthkey/v1/devices/+/notice",
    ];

    /// Where a claim sends its CSR.
    pub fn enroll(claim: &ClaimId) -> String {
        format!("hearthkey/v1/claims/{claim}/enroll")
    }
    /// Where a device sends the CSR of its next key.
    pub fn renew(device: &DeviceId) -> String {
        format!("hearthkey/v1/devices/{device}/renew")
    }
    /// Where a device says which trust bundle it now uses.
    pub fn trust_ack(device: &DeviceId) -> String {
        format!("hearthkey/v1/devices/{device}/trust/ack")
    }
    /// Where a device says what its clock shows.
    pub fn clock(device: &DeviceId) -> String {
        format!("hearthkey/v1/devices/{device}/clock")
    }
    /// Retained: a device's renewal window.
    pub fn notice(device: &DeviceId) -> String {
        format!("hearthkey/v1/devices/{device}/notice")
    }
    /// Retained: an issuing CA's CRL in DER.
    pub fn crl(issuer: &EnvironmentName) -> String {
        format!("hearthkey/v1/trust/crl/{issuer}")
    }
    /// Retained: the CRL of a CA that signed for an environment before, in DER; `key` is its SubjectKeyIdentifier in hex.
    pub fn former_crl(issuer: &EnvironmentName, key: &str) -> String {
        format!("hearthkey/v1/trust/crl/{issuer}/{key}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::parse(text).unwrap()
    }

    #[test]
    fn a_filter_covers_another_only_if_it_matches_all_that_the_other_matches() {
        for (wide, narrow) in [
            ("devices/lamp/#", "devices/lamp/state"),
            ("devices/lamp/#", "devices/lamp"),
            ("devices/lamp/#", "devices/lamp/+/x"),
            ("devices/lamp/#", "devices/lamp/#"),
            ("devices/+/state", "devices/lamp/state"),
            ("a/+/#", "a/b/c/d"),
            ("#", "a/b"),
            ("$SYS/#", "$SYS/broker"),
        ] {
            assert!(
                filter(wide).covers(&filter(narrow)),
                "{wide} covers {narrow}"
            );
        }
        for (wide, other) in [
            ("devices/lamp/#", "devices/#"),
            ("devices/lamp/#", "devices/+/state"),
            ("devices/lamp/#", "#"),
            ("devices/lamp/#", "devices/lamp2"),
            ("devices/+/state", "devices/#"),
            ("a/+", "a/#"),
            ("a/+", "a/b/c"),
            ("#", "$SYS/broker"),
            ("+/broker", "$SYS/broker"),
            ("a", "a/b"),
        ] {
            assert!(
                !filter(wide).covers(&filter(other)),
                "{wide} does not cover {other}"
            );
        }
    }

    #[test]
    fn two_filters_overlap_if_one_topic_fits_both() {
        for (a, b) in [
            ("+/v1/#", "hearthkey/v1/trust/#"),
            ("a/+", "+/b"),
            ("a/#", "a"),
            ("a", "a"),
        ] {
            assert!(
                filter(a).overlaps(&filter(b)) && filter(b).overlaps(&filter(a)),
                "{a} {b}"
            );
        }
        for (a, b) in [
            ("+/status/#", "hearthkey/v1/trust/#"),
            ("a/b", "a/c"),
            ("a", "a/+"),
        ] {
            assert!(!filter(a).overlaps(&filter(b)), "{a} {b}");
        }
    }

    #[test]
    fn a_shared_subscription_is_judged_by_its_inner_filter() {
        assert_eq!(
            TopicFilter::parse_shared("$share/g/a/#").unwrap().as_str(),
            "a/#"
        );
        for bad in [
            "$share/g",
            "$share//a",
            "$share/+/a",
            "$share/g/",
            "$share/#/a",
        ] {
            assert!(TopicFilter::parse_shared(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_misplaced_wildcard_is_no_filter() {
        for bad in [
            "",
            "a/#/b",
            "a#",
            "a/b+",
            "+a",
            "##",
            "a\0b",
            &"x".repeat(TOPIC_MAX_BYTES + 1),
        ] {
            assert!(TopicFilter::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_topic_name_with_a_wildcard_is_matched_by_nothing() {
        assert!(filter("devices/#").matches("devices/lamp"));
        assert!(!filter("devices/#").matches("devices/+"));
        assert!(!filter("#").matches("a/#"));
    }
}
