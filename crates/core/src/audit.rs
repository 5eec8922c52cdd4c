//! What is written down: audit records, and their one canonical form.
//!
//! A record's bytes are what the log's Merkle tree is built over, so the form must never depend
//! on a library's mood: JSON with keys in ASCII order and no white space. With the values used
//! here (texts, whole numbers, booleans) that is also the JCS form (RFC 8785).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::time::Timestamp;

/// The longest record, in bytes of its canonical form.
pub const RECORD_MAX_BYTES: usize = 64 * 1024;

/// Who did something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// A name: `uid:1000`, `person:anna`, `device:lamp`, `claim:c-…`, `gateway`.
    pub name: String,
    /// In which role: `operator`, `developer@lab`, `device`, `claim`, `gateway`.
    pub role: String,
    /// The session or connection it acted through, where there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub session: Option<String>,
    /// The network address it came from, where there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub address: Option<String>,
}

impl Actor {
    /// Whether it may know all that is in the home: neither a service, nor a person whose role is
    /// limited to environments.
    pub fn sees_the_whole_home(&self) -> bool {
        self.role != "service" && !self.role.contains('@')
    }

    /// The gateway itself.
    pub fn gateway() -> Self {
        Self {
            name: "gateway".into(),
            role: "gateway".into(),
            session: None,
            address: None,
        }
    }
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was refused by a rule.
    Refused,
    /// It waits for a person.
    Held,
    /// It should not have happened: a person should look.
    Alert,
}

impl Outcome {
    /// The word used in records and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Held => "held",
            Self::Alert => "alert",
        }
    }
}

/// What happened, before the log gives it a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub time: Timestamp,
    /// Who.
    pub actor: Actor,
    /// What: `device.enroll`, `device.revoke`, …
    pub action: &'static str,
    /// To what: `device:lamp`, `claim:c-…`, `certificate:…`.
    pub object: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, where there is a code or a reason.
    pub reason: Option<String>,
    /// Anything else worth knowing. Never a secret.
    pub details: BTreeMap<&'static str, Value>,
}

impl Entry {
    /// An entry without reason or details.
    pub fn new(time: Timestamp, actor: Actor, action: &'static str, object: String) -> Self {
        let details = BTreeMap::new();
        Self {
            time,
            actor,
            action,
            object,
            outcome: Outcome::Done,
            reason: None,
            details,
        }
    }

    /// With an outcome other than done, and why.
    pub fn ended(mut self, outcome: Outcome, reason: impl Into<String>) -> Self {
        self.outcome = outcome;
        self.reason = Some(reason.into());
        self
    }

    /// With a reason.
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// With a detail.
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.details.insert(name, value.into());
        self
    }

    /// The record with this number, in its canonical form.
    pub fn into_record(self, seq: u64) -> Vec<u8> {
        let record = Record {
            action: self.action.into(),
            actor: self.actor,
            details: self
                .details
                .into_iter()
                .map(|(k, v)| (k.to_owned(), v))
                .collect(),
            object: self.object,
            outcome: self.outcome,
            reason: self.reason,
            seq,
            time: self.time,
        };
        let bytes = record.canonical();
        if bytes.len() <= RECORD_MAX_BYTES {
            return bytes;
        }
        // Only details can be that long; what they were is lost, that they were is not.
        let details = [("omitted_bytes".to_owned(), Value::from(bytes.len()))].into();
        Record { details, ..record }.canonical()
    }
}

/// A record as it is in the log. `seq` counts from 0 and is the leaf's index in the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // The fields of `Entry`, in the order of the canonical form.
pub struct Record {
    pub action: String,
    pub actor: Actor,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub details: BTreeMap<String, Value>,
    pub object: String,
    pub outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    pub seq: u64,
    pub time: Timestamp,
}

impl Record {
    /// The canonical form. Going through [`Value`] sorts the keys at every depth.
    pub fn canonical(&self) -> Vec<u8> {
        serde_json::to_value(self)
            .and_then(|value| serde_json::to_vec(&value))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        let actor = Actor {
            address: Some("[::1]:9".into()),
            ..Actor::gateway()
        };
        Entry::new(
            Timestamp::from_s(1),
            actor,
            "device.enroll",
            "device:lamp".into(),
        )
        .with("z", 1)
        .with("a", "b")
    }

    #[test]
    fn a_record_has_one_form_with_its_keys_in_order() {
        assert_eq!(
            String::from_utf8(entry().into_record(7)).unwrap(),
            r#"{"action":"device.enroll","actor":{"address":"[::1]:9","name":"gateway","role":"gateway"},"details":{"a":"b","z":1},"object":"device:lamp","outcome":"done","seq":7,"time":"1970-01-01T00:00:01Z"}"#
        );
    }

    #[test]
    fn reading_a_record_and_writing_it_again_changes_nothing() {
        let bytes = entry().ended(Outcome::Refused, "claim_used").into_record(3);
        let record: Record = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(record.canonical(), bytes);
    }

    #[test]
    fn an_outcome_is_written_as_it_is_called() {
        for outcome in [
            Outcome::Done,
            Outcome::Refused,
            Outcome::Held,
            Outcome::Alert,
        ] {
            let written = serde_json::to_value(outcome).unwrap();
            assert_eq!(written, outcome.as_str());
        }
    }

    #[test]
    fn an_overlong_record_loses_its_details_and_says_so() {
        let long = entry().with("text", "x".repeat(RECORD_MAX_BYTES));
        let bytes = long.into_record(0);
        assert!(bytes.len() < 1024);
        assert!(String::from_utf8(bytes).unwrap().contains("omitted_bytes"));
    }
}
