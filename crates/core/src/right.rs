//! Rights held against rights used: what a device may do beyond what it does, and how that is taken away.
//!
//! A narrowing names what is kept of a profile's rights. It only ever takes away: what a profile
//! does not grant, or grants no more, is not kept by being named. The gateway's own topics, by which
//! a device renews and receives what it must, are never taken.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::topic::TopicFilter;
use crate::words::words;

words! {
    /// What is done with a topic.
    Verb, "verb", InvalidVerb {
        /// Publish to it.
        Publish = "publish",
        /// Subscribe to it.
        Subscribe = "subscribe",
    }
}

/// A right: a verb and the filter that it holds for.
pub type Right = (Verb, String);

/// What is kept of a profile's rights.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Narrowing(BTreeSet<Right>);

/// Why rights are not narrowed like this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NarrowRefusal {
    /// It names a right that the device does not have by its profile.
    #[error("the profile does not grant {0} {1:?}")]
    NotHeld(Verb, String),
    /// Nothing would change.
    #[error("this would keep everything that the profile grants")]
    Nothing,
}

impl Narrowing {
    /// Whether a filter of a profile is kept.
    pub fn keeps(&self, verb: Verb, filter: &TopicFilter) -> bool {
        self.0.contains(&(verb, filter.as_str().to_owned()))
    }

    /// What this one and another keep both.
    pub fn within(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).cloned().collect())
    }
}

/// Decides on a narrowing: each right that is to be kept must be one that the profile grants.
pub fn decide(granted: &[Right], keep: Vec<Right>) -> Result<Narrowing, NarrowRefusal> {
    if let Some((verb, filter)) = keep.iter().find(|right| !granted.contains(right)) {
        return Err(NarrowRefusal::NotHeld(*verb, filter.clone()));
    }
    let keep: BTreeSet<Right> = keep.into_iter().collect();
    match granted.iter().all(|right| keep.contains(right)) {
        true => Err(NarrowRefusal::Nothing),
        false => Ok(Narrowing(keep)),
    }
}

/// How often a right was used since it was last asked. It is no part of what the right is.
#[derive(Debug, Default)]
pub(crate) struct Used(AtomicU64);

impl Used {
    pub(crate) fn once_more(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn take(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

impl Clone for Used {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Used {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Used {}

#[cfg(test)]
mod tests {
    use super::*;

    fn right(verb: Verb, filter: &str) -> Right {
        (verb, filter.to_owned())
    }

    #[test]
    fn only_what_is_granted_is_kept_and_something_is_taken() {
        let granted = [
            right(Verb::Publish, "devices/lamp/#"),
            right(Verb::Subscribe, "devices/lamp/#"),
        ];
        let kept = decide(&granted, vec![granted[0].clone()]).unwrap();
        let filter = TopicFilter::parse("devices/lamp/#").unwrap();
        assert!(kept.keeps(Verb::Publish, &filter));
        assert!(!kept.keeps(Verb::Subscribe, &filter));
        assert_eq!(
            decide(&granted, vec![right(Verb::Publish, "#")]),
            Err(NarrowRefusal::NotHeld(Verb::Publish, "#".into()))
        );
        assert_eq!(
            decide(&granted, granted.to_vec()),
            Err(NarrowRefusal::Nothing)
        );
        assert!(
            decide(&granted, Vec::new()).is_ok(),
            "everything may be taken"
        );
    }

    #[test]
    fn what_two_narrowings_keep_both_is_what_each_keeps() {
        let of = |filters: &[&str]| {
            let rights = filters.iter().map(|filter| right(Verb::Publish, filter));
            Narrowing(rights.collect())
        };
        assert_eq!(of(&["a", "b"]).within(&of(&["b", "c"])), of(&["b"]));
        assert_eq!(of(&["a"]).within(&of(&[])), of(&[]));
    }

    #[test]
    fn a_narrowing_is_kept_as_it_was_written() {
        let granted = [right(Verb::Publish, "a"), right(Verb::Publish, "b")];
        let kept = decide(&granted, vec![granted[1].clone()]).unwrap();
        let text = serde_json::to_string(&kept).unwrap();
        assert_eq!(text, r#"[["publish","b"]]"#);
        assert_eq!(serde_json::from_str::<Narrowing>(&text).unwrap(), kept);
    }
}
