//! Devices as witnesses of the time: what they say their clocks show, held against the machine's clock.
//!
//! A device's word is about the time alone, and counts only where home time does not follow the machine's clock. Whoever controls
//! the time of the whole network controls this, too.

use std::collections::HashMap;

use serde::Deserialize;

use crate::id::DeviceId;
use crate::time::{Span, Timestamp};
use crate::trusted_time::Reading;

/// A device's word counts for this long.
pub const WORD_LASTS: Span = Span::minutes(10);
/// Clocks agree that differ by no more than this.
pub const AGREES_WITHIN: Span = Span::minutes(5);
/// Devices whose words are kept, at most.
pub const WORDS_MAX: usize = 1024;
/// The longest message, in bytes.
pub const MESSAGE_MAX_BYTES: usize = 512;

/// What a device publishes about its clock, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Said {
    /// What its clock shows (RFC 3339).
    pub time: String,
    /// Whether its kernel says that the clock is synchronized; absent if it does not know.
    #[serde(default)]
    pub synchronized: Option<bool>,
    /// What tells the machine that it runs on from others, until that is started again; absent if it does not know.
    #[serde(default)]
    pub machine: Option<String>,
}

/// A device's word, and when it came.
#[derive(Debug, Clone, Copy)]
struct Word {
    time: Timestamp,
    synchronized: Option<bool>,
    monotonic_ms: i64,
}

/// What devices said lately.
#[derive(Debug, Default)]
pub struct Witnesses {
    words: HashMap<DeviceId, Word>,
}

/// Whether the witnesses agree with the machine's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreement {
    /// The devices that agree with it, in the order of their ids.
    pub agree: Vec<DeviceId>,
    /// How many do not.
    pub disagree: usize,
}

impl Agreement {
    /// Whether that is enough, in a home with so many active devices: two, or the only one; and more than disagree.
    pub fn is_enough(&self, active: u64) -> bool {
        let needed = if active <= 1 { 1 } else { 2 };
        self.agree.len() >= needed && self.agree.len() > self.disagree
    }
}

impl Witnesses {
    /// Takes a device's word, in place of the one before. None if it is not the form of one.
    pub fn hear(&mut self, device: DeviceId, said: &Said, monotonic_ms: i64) -> Option<()> {
        let time = said.time.parse().ok()?;
        self.forget_old(monotonic_ms);
        if self.words.len() >= WORDS_MAX && !self.words.contains_key(&device) {
            return None;
        }
        let word = Word {
            time,
            synchronized: said.synchronized,
            monotonic_ms,
        };
        self.words.insert(device, word);
        Some(())
    }

    fn forget_old(&mut self, monotonic_ms: i64) {
        let is_fresh = |word: &mut Word| {
            let age = monotonic_ms.saturating_sub(word.monotonic_ms);
            (0..=WORD_LASTS.as_ms()).contains(&age)
        };
        self.words.retain(|_, word| is_fresh(word));
    }

    /// Who of those that may speak agrees with this reading of the machine. The word of a device counts neither way whose own
    /// kernel says that its clock is not synchronized.
    pub fn about(&mut self, reading: Reading, may_speak: impl Fn(&DeviceId) -> bool) -> Agreement {
        self.forget_old(reading.monotonic_ms);
        let mut agreement = Agreement {
            agree: Vec::new(),
            disagree: 0,
        };
        for (device, word) in &self.words {
            if word.synchronized == Some(false) || !may_speak(device) {
                continue;
            }
            let since = Span::ms(reading.monotonic_ms - word.monotonic_ms);
            let apart_ms = reading.wall.ms_from(word.time.after(since));
            if apart_ms.saturating_abs() <= AGREES_WITHIN.as_ms() {
                agreement.agree.push(device.clone());
            } else {
                agreement.disagree += 1;
            }
        }
        agreement.agree.sort();
        agreement
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: i64 = 1_800_000_000;

    fn said(time_s: i64, synchronized: Option<bool>) -> Said {
        Said {
            time: Timestamp::from_s(time_s).to_string(),
            synchronized,
            machine: None,
        }
    }

    fn id(name: &str) -> DeviceId {
        name.parse().unwrap()
    }

    fn now(wall_s: i64, monotonic_s: i64) -> Reading {
        Reading {
            wall: Timestamp::from_s(wall_s),
            monotonic_ms: monotonic_s * 1000,
        }
    }

    /// What comes of these words, said at once and looked at a minute later, in a home with ten devices.
    fn enough(words: &[(&str, i64, Option<bool>)]) -> bool {
        let mut witnesses = Witnesses::default();
        for (device, time, synchronized) in words {
            let word = said(*time, *synchronized);
            witnesses.hear(id(device), &word, 0).unwrap();
        }
        let agreement = witnesses.about(now(TODAY + 60, 60), |_| true);
        agreement.is_enough(10)
    }

    #[test]
    fn two_devices_that_agree_are_enough_and_one_is_not() {
        assert!(enough(&[
            ("a", TODAY, Some(true)),
            ("b", TODAY + 290, None)
        ]));
        assert!(!enough(&[("a", TODAY, Some(true))]));
        assert!(!enough(&[("a", TODAY, Some(true)), ("a", TODAY, None)]));
        assert!(!enough(&[("a", TODAY, None), ("b", TODAY + 301, None)]));
    }

    #[test]
    fn a_clock_that_is_not_synchronized_by_its_own_word_counts_neither_way() {
        let not = Some(false);
        assert!(!enough(&[("a", TODAY, not), ("b", TODAY, not)]));
        let two = [("a", TODAY, None), ("b", TODAY, None)];
        let three = [("c", 5, not), ("d", 5, not), ("e", 5, not)];
        assert!(enough(&[&two[..], &three].concat()));
    }

    #[test]
    fn those_who_agree_have_to_be_more_than_those_who_do_not() {
        let two = [("a", TODAY, None), ("b", TODAY, None)];
        let other = [("c", 5, None), ("d", 5, None)];
        assert!(enough(&[&two[..], &other[..1]].concat()));
        assert!(!enough(&[&two[..], &other].concat()));
    }

    #[test]
    fn the_only_device_of_a_home_is_enough() {
        let mut witnesses = Witnesses::default();
        witnesses.hear(id("a"), &said(TODAY, None), 0).unwrap();
        assert!(witnesses.about(now(TODAY, 0), |_| true).is_enough(1));
        assert!(!witnesses.about(now(TODAY, 0), |_| true).is_enough(2));
    }

    #[test]
    fn a_word_is_forgotten_after_ten_minutes_and_one_that_may_not_speak_is_not_asked() {
        let mut witnesses = Witnesses::default();
        for device in ["a", "b"] {
            witnesses.hear(id(device), &said(TODAY, None), 0).unwrap();
        }
        let may = |device: &DeviceId| *device != id("b");
        assert_eq!(witnesses.about(now(TODAY, 0), may).agree, [id("a")]);
        let late = now(TODAY + 601, 601);
        assert!(witnesses.about(late, |_| true).agree.is_empty());
        assert!(witnesses.words.is_empty());
    }

    #[test]
    fn no_more_words_are_kept_than_there_is_room_for() {
        let mut witnesses = Witnesses::default();
        for n in 0..WORDS_MAX {
            let word = said(TODAY, None);
            witnesses.hear(id(&format!("d{n}")), &word, 0).unwrap();
        }
        assert_eq!(witnesses.hear(id("late"), &said(TODAY, None), 0), None);
        // One that is known may speak again; and when the others are forgotten, so may a new one.
        assert!(witnesses.hear(id("d1"), &said(TODAY, None), 1).is_some());
        let later_ms = WORD_LASTS.as_ms() + 1;
        assert!(
            witnesses
                .hear(id("late"), &said(TODAY, None), later_ms)
                .is_some()
        );
    }

    #[test]
    fn what_is_no_time_is_not_heard() {
        let mut witnesses = Witnesses::default();
        let word = Said {
            time: "yesterday".into(),
            synchronized: None,
            machine: None,
        };
        assert_eq!(witnesses.hear(id("a"), &word, 0), None);
    }
}
