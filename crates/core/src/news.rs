//! News of a rotation, for the places of use that can be notified: a pipeline that is to be started, an application that is
//! to read the new value.
//!
//! News never hold a value. A notified place fetches it as always, with a token of its own.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::credential::CredentialId;
use crate::rotation::retry_at;
use crate::time::Timestamp;
use crate::words::words;

/// Tries until a place is given up: about an hour.
pub const TRIES_MAX: u32 = 20;

words! {
    /// What has happened.
    Event, "event", InvalidEvent {
        /// There is a new value, and the old one lives beside it until the deadline: switch.
        Switch = "switch",
        /// The old value is ended.
        Done = "done",
        /// The new value was taken back; the old one is the current one again: switch back.
        Undone = "undone",
    }
}

/// What one place of use is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// The credential.
    pub credential: CredentialId,
    /// The place of use: the name of a bridge in the credential's environment.
    pub place: String,
    /// What has happened.
    pub event: Event,
    /// The version that is current now.
    pub version: u32,
    /// Until when the old value lives; of a switch only.
    pub deadline: Option<Timestamp>,
}

/// News on their way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errand {
    /// Its number within the home. A place gets its news in the order of their numbers.
    pub id: i64,
    /// The news.
    pub news: News,
    /// Tries that failed.
    pub tries: u32,
    /// When it may be tried (again).
    pub not_before: Timestamp,
}

impl Errand {
    /// This errand after a try that failed; none if the place is given up.
    pub fn after_failure(&self, now: Timestamp) -> Option<Self> {
        let tries = self.tries + 1;
        (tries < TRIES_MAX).then(|| Self {
            tries,
            not_before: retry_at(self.tries, now),
            ..self.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;

    #[test]
    fn a_place_that_does_not_answer_is_told_again_for_about_an_hour() {
        let mut now = Timestamp::from_s(0);
        let mut errand = Errand {
            id: 1,
            news: News {
                credential: CredentialId {
                    environment: "home".parse().unwrap(),
                    name: "hue/api-key".parse().unwrap(),
                },
                place: "ci".into(),
                event: Event::Switch,
                version: 2,
                deadline: None,
            },
            tries: 0,
            not_before: now,
        };
        let mut told = 1;
        while let Some(next) = errand.after_failure(now) {
            assert!(next.not_before > now);
            now = next.not_before;
            errand = next;
            told += 1;
        }
        assert_eq!(told, TRIES_MAX);
        let hour = now.since(Timestamp::from_s(0));
        assert!(
            hour > Span::minutes(50) && hour < Span::minutes(70),
            "{hour:?}"
        );
    }
}
