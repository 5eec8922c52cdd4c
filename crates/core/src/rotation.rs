//! Rotating a credential: when it is due, and which step follows which.
//!
//! A rotation is a row that says which step is next. Each step is one call to a bridge or one wait,
//! between two commits, so that a crash anywhere repeats one step and no more. The rule that is
//! never broken: the old value is ended only after the new one was seen to work, in that order and
//! within one step; where nobody can try it, after the bridge itself has made it. A rotation leaves
//! one working value or two, never none.

use std::fmt;
use std::str::FromStr;

use ::time::{Date, Month, OffsetDateTime, Time, Weekday};
use serde::{Deserialize, Serialize};

use crate::tier::Tier;
use crate::time::{Span, Timestamp};

/// How long two values live side by side when nobody says otherwise.
pub const OVERLAP_DEFAULT: Span = Span::hours(24);
/// The longest time for which two values live side by side.
pub const OVERLAP_MAX: Span = Span::days(90);
/// A replaced value can be brought back for this long; then its data key is destroyed.
pub const KEPT: Span = Span::days(7);
/// Tries of a step that cannot reach its bridge. Then the rotation waits for a person.
pub const TRIES_MAX: u32 = 8;
/// After a rotation was undone, none begins by itself for this long: what failed would fail again, and what a person
/// took back stays back.
pub const REST_AFTER_UNDOING: Span = Span::hours(24);

/// A day on which rotations are due, at midnight UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Calendar {
    /// Every week, on this day.
    Weekly(Weekday),
    /// On the first day of every month.
    Monthly,
    /// On the first day of January, April, July and October.
    Quarterly,
    /// On the first day of January.
    Yearly,
}

const WEEKDAYS: [(&str, Weekday); 7] = [
    ("monday", Weekday::Monday),
    ("tuesday", Weekday::Tuesday),
    ("wednesday", Weekday::Wednesday),
    ("thursday", Weekday::Thursday),
    ("friday", Weekday::Friday),
    ("saturday", Weekday::Saturday),
    ("sunday", Weekday::Sunday),
];

/// Why a text is no calendar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a calendar: use a weekday, monthly, quarterly or yearly")]
pub struct InvalidCalendar(String);

impl FromStr for Calendar {
    type Err = InvalidCalendar;
    fn from_str(text: &str) -> Result<Self, InvalidCalendar> {
        match text {
            "monthly" => Ok(Self::Monthly),
            "quarterly" => Ok(Self::Quarterly),
            "yearly" => Ok(Self::Yearly),
            _ => WEEKDAYS
                .iter()
                .find(|(word, _)| *word == text)
                .map(|(_, day)| Self::Weekly(*day))
                .ok_or_else(|| InvalidCalendar(text.chars().take(40).collect())),
        }
    }
}

impl fmt::Display for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Monthly => "monthly",
            Self::Quarterly => "quarterly",
            Self::Yearly => "yearly",
            Self::Weekly(day) => WEEKDAYS
                .iter()
                .find(|(_, weekday)| weekday == day)
                .map_or("", |(word, _)| word),
        })
    }
}

impl TryFrom<String> for Calendar {
    type Error = InvalidCalendar;
    fn try_from(text: String) -> Result<Self, InvalidCalendar> {
        text.parse()
    }
}

impl From<Calendar> for String {
    fn from(calendar: Calendar) -> String {
        calendar.to_string()
    }
}

impl Calendar {
    /// The first such day after a moment.
    pub fn next_after(self, moment: Timestamp) -> Timestamp {
        let Ok(from) = OffsetDateTime::from_unix_timestamp(moment.as_s()) else {
            return moment;
        };
        let first_of = |year: i32, month: u8| {
            let (year, month) = (year + i32::from((month - 1) / 12), (month - 1) % 12 + 1);
            Month::try_from(month)
                .ok()
                .and_then(|month| Date::from_calendar_date(year, month, 1).ok())
        };
        let (year, month) = (from.year(), u8::from(from.month()));
        let day = match self {
            Self::Weekly(weekday) => Some(from.date().next_occurrence(weekday)),
            Self::Monthly => first_of(year, month + 1),
            Self::Quarterly => first_of(year, (month - 1) / 3 * 3 + 4),
            Self::Yearly => first_of(year, 13),
        };
        day.map_or(moment, |day| {
            Timestamp::from_s(day.with_time(Time::MIDNIGHT).assume_utc().unix_timestamp())
        })
    }
}

/// When and how a credential is rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RotationPolicy {
    /// At this age, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_age_ms: Option<i64>,
    /// On these days.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub calendar: Option<Calendar>,
    /// After it was given out this often.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_uses: Option<u64>,
    /// Whether the gateway begins it by itself, or only says that it is due.
    #[serde(default)]
    pub automatic: bool,
    /// How long both values are valid, in milliseconds: the deadline of every dependent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub overlap_ms: Option<i64>,
}

/// Why a credential is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// It is too old.
    Age(Span),
    /// Its day has come.
    Calendar(Timestamp),
    /// It was given out too often.
    Uses(u64),
}

impl fmt::Display for Due {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Age(age) => write!(f, "its value is {} old", age.in_words()),
            Self::Calendar(day) => write!(f, "its due day was {day}"),
            Self::Uses(uses) => write!(f, "its value was given out {uses} times"),
        }
    }
}

impl RotationPolicy {
    /// How long both values are valid.
    pub fn overlap(&self) -> Span {
        self.overlap_ms.map_or(OVERLAP_DEFAULT, Span::ms)
    }

    /// The greatest age, by the policy or by the tier: 90 days for critical credentials, 180 for
    /// high ones, a year for all others.
    pub fn max_age(&self, tier: Tier) -> Span {
        self.max_age_ms.map_or(
            match tier {
                Tier::Critical => Span::days(90),
                Tier::High => Span::days(180),
                Tier::Standard => Span::days(365),
            },
            Span::ms,
        )
    }

    /// Whether a value that was made at a moment and given out so often is due.
    pub fn due(&self, tier: Tier, made_at: Timestamp, uses: u64, now: Timestamp) -> Option<Due> {
        if let Some(calendar) = self.calendar {
            let day = calendar.next_after(made_at);
            if day <= now {
                return Some(Due::Calendar(day));
            }
        }
        if self.max_uses.is_some_and(|max| uses >= max) {
            return Some(Due::Uses(uses));
        }
        let age = now.since(made_at);
        // A calendar of one's own replaces the tier's age.
        let by_age = self.max_age_ms.is_some() || self.calendar.is_none();
        (by_age && age >= self.max_age(tier)).then_some(Due::Age(age))
    }

    /// When it is due by time alone, as far as is known now.
    pub fn due_at(&self, tier: Tier, made_at: Timestamp) -> Timestamp {
        let by_age = made_at.after(self.max_age(tier));
        match (self.calendar, self.max_age_ms) {
            (None, _) => by_age,
            (Some(calendar), None) => calendar.next_after(made_at),
            (Some(calendar), Some(_)) => calendar.next_after(made_at).min(by_age),
        }
    }
}

/// A rotation's step: what is done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// A new value is to be had: from the bridge, or made here.
    Mint,
    /// The new value is stored and is to be tried.
    Verify,
    /// Both values live; dependents switch, until all have confirmed or the deadline has passed.
    Switch,
    /// The new value is tried once more, then the old one is ended.
    Revoke,
    /// The new value is to be taken back: it did not work, or a person said so.
    Undo,
    /// Nothing more: the new value is the only one.
    Done,
    /// Nothing more: the old value is the only one.
    Undone,
}

impl Step {
    /// The word used in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mint => "mint",
            Self::Verify => "verify",
            Self::Switch => "switch",
            Self::Revoke => "revoke",
            Self::Undo => "undo",
            Self::Done => "done",
            Self::Undone => "undone",
        }
    }

    /// Whether the rotation has ended.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Undone)
    }
}

/// One rotation, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// Its number within the home.
    pub id: i64,
    /// The step that is next.
    pub step: Step,
    /// The version that was current when it began; none if there was none.
    pub from_version: Option<u32>,
    /// The version that it brings, once there is one.
    pub to_version: Option<u32>,
    /// Why it began: `asked`, `due: …`, `leaked`.
    pub reason: String,
    /// Who began it.
    pub begun_by: String,
    /// When it began.
    pub begun_at: Timestamp,
    /// How long both values are valid, if given; otherwise as long as the credential's policy has it.
    pub overlap: Option<Span>,
    /// When every dependent must have switched; set when the switch begins.
    pub deadline: Option<Timestamp>,
    /// Whether the bridge was asked for a value, and what came of it is not known.
    pub asked: bool,
    /// When the version that is not current ends: the new one's end before the switch, the old one's after it.
    pub other_expires_at: Option<Timestamp>,
    /// Who uses the value, as they were when the switch began.
    pub dependents: Vec<String>,
    /// Which of them have confirmed.
    pub confirmed: Vec<String>,
    /// Tries of the present step that did not get an answer.
    pub tries: u32,
    /// When the step may be tried again.
    pub not_before: Timestamp,
    /// What a person should know: why a step failed, what is left to do by hand.
    pub notes: Vec<String>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// Whether the bridge may be asked to end the old value: only after the new one was seen to work, or came from the
/// bridge itself. A value that was typed in, and that nobody can try, ends nothing.
pub fn may_end_old(new_was_tried: bool, new_was_minted: bool) -> bool {
    new_was_tried || new_was_minted
}

/// What a rotation does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Take this step.
    Take(Step),
    /// Nothing until then, unless something is confirmed before.
    Wait(Timestamp),
    /// Nothing until a person acts: the bridge could not be reached too often.
    Hold,
    /// It is over.
    Over,
}

impl Rotation {
    /// The end of the new value, which is given out from now on; `ends` is the old one's. Neither a token nor the gateway
    /// by itself, which uses may set off, moves the end of a credential away by replacing the value: unless the bridge
    /// says another one, it stays.
    pub fn new_end(&self, ends: Option<Timestamp>) -> Option<Timestamp> {
        let is_by_nobody = self.begun_by.starts_with("token:") || self.begun_by == "gateway";
        self.other_expires_at.or(ends.filter(|_| is_by_nobody))
    }

    /// Dependents that have not confirmed.
    pub fn unconfirmed(&self) -> impl Iterator<Item = &str> {
        self.dependents
            .iter()
            .filter(|dependent| !self.confirmed.contains(dependent))
            .map(String::as_str)
    }

    /// What happens now.
    pub fn next(&self, now: Timestamp) -> Next {
        if self.step.is_over() {
            return Next::Over;
        }
        if self.tries >= TRIES_MAX {
            return Next::Hold;
        }
        if now < self.not_before {
            return Next::Wait(self.not_before);
        }
        match (self.step, self.deadline) {
            (Step::Switch, Some(deadline)) if now < deadline => {
                // Without dependents nobody can confirm: the overlap itself is what they have.
                let everyone = !self.dependents.is_empty() && self.unconfirmed().next().is_none();
                if everyone {
                    Next::Take(Step::Revoke)
                } else {
                    Next::Wait(deadline)
                }
            }
            (Step::Switch, _) => Next::Take(Step::Revoke),
            (step, _) => Next::Take(step),
        }
    }

    /// Whether nothing happens before its time comes or a person acts.
    pub fn rests(&self, now: Timestamp) -> bool {
        !matches!(self.next(now), Next::Take(_))
    }

    /// When a step that got no answer is tried again.
    pub fn next_try(&self, now: Timestamp) -> Timestamp {
        retry_at(self.tries, now)
    }
}

/// When somebody who gave no answer so often before is asked again: after 1 s, 2 s, 4 s … at most 5 minutes.
pub fn retry_at(tries: u32, now: Timestamp) -> Timestamp {
    now.after(Span::s(1_i64 << tries.min(9)).min(Span::minutes(5)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_calendar_names_the_next_day_after_a_moment() {
        let from = at("2026-11-23T10:00:00Z"); // a Monday
        for (word, day) in [
            ("monday", "2026-11-30T00:00:00Z"),
            ("tuesday", "2026-11-24T00:00:00Z"),
            ("monthly", "2026-12-01T00:00:00Z"),
            ("quarterly", "2027-01-01T00:00:00Z"),
            ("yearly", "2027-01-01T00:00:00Z"),
        ] {
            let calendar: Calendar = word.parse().unwrap();
            assert_eq!(calendar.next_after(from), at(day), "{word}");
            assert_eq!(calendar.to_string(), word);
        }
        let may = at("2026-05-31T23:59:59Z");
        assert_eq!(
            Calendar::Monthly.next_after(may),
            at("2026-06-01T00:00:00Z")
        );
        assert_eq!(
            Calendar::Quarterly.next_after(may),
            at("2026-07-01T00:00:00Z")
        );
        assert!("daily".parse::<Calendar>().is_err());
    }

    #[test]
    fn a_value_is_due_by_age_by_day_or_by_use_whichever_comes_first() {
        let made = at("2026-01-15T00:00:00Z");
        let none = RotationPolicy::default();
        let after = |days| made.after(Span::days(days));
        assert_eq!(none.due(Tier::Critical, made, 0, after(89)), None);
        assert!(matches!(
            none.due(Tier::Critical, made, 0, after(90)),
            Some(Due::Age(_))
        ));
        assert_eq!(none.due(Tier::Standard, made, 0, after(364)), None);
        let monthly = RotationPolicy {
            calendar: Some(Calendar::Monthly),
            ..none
        };
        assert_eq!(monthly.due(Tier::High, made, 0, after(16)), None);
        assert!(monthly.due(Tier::High, made, 0, after(17)).is_some());
        let often = RotationPolicy {
            max_uses: Some(3),
            ..none
        };
        assert_eq!(often.due(Tier::High, made, 2, after(1)), None);
        assert_eq!(often.due(Tier::High, made, 3, after(1)), Some(Due::Uses(3)));
    }

    fn rotation(step: Step) -> Rotation {
        Rotation {
            id: 1,
            step,
            from_version: Some(1),
            to_version: Some(2),
            reason: "asked".into(),
            begun_by: "uid:0".into(),
            begun_at: Timestamp::from_s(0),
            overlap: None,
            deadline: None,
            asked: false,
            other_expires_at: None,
            dependents: Vec::new(),
            confirmed: Vec::new(),
            tries: 0,
            not_before: Timestamp::from_s(0),
            notes: Vec::new(),
            ended_at: None,
        }
    }

    #[test]
    fn an_end_is_moved_by_a_person_or_by_the_bridge_alone() {
        let end = |s| Some(Timestamp::from_s(s));
        let mut verified = rotation(Step::Verify);
        for (by, kept) in [("token:ci", end(9)), ("gateway", end(9)), ("uid:0", None)] {
            verified.begun_by = by.into();
            verified.other_expires_at = None;
            assert_eq!(verified.new_end(end(9)), kept, "{by}");
            verified.other_expires_at = end(5);
            assert_eq!(verified.new_end(end(9)), end(5), "{by}");
        }
    }

    #[test]
    fn the_old_value_is_ended_when_all_have_switched_or_at_the_deadline() {
        let mut switching = rotation(Step::Switch);
        let deadline = Timestamp::from_s(100);
        switching.deadline = Some(deadline);
        switching.dependents = vec!["a".into(), "b".into()];
        switching.confirmed = vec!["b".into()];
        let now = Timestamp::from_s(50);
        assert_eq!(switching.next(now), Next::Wait(deadline));
        switching.confirmed.push("a".into());
        assert_eq!(switching.next(now), Next::Take(Step::Revoke));
        switching.confirmed.clear();
        assert_eq!(switching.next(deadline), Next::Take(Step::Revoke));
        assert!(switching.rests(now) && !switching.rests(deadline));
        switching.dependents.clear();
        assert_eq!(switching.next(now), Next::Wait(deadline));
    }

    #[test]
    fn a_bridge_that_does_not_answer_is_asked_ever_more_slowly_and_then_not_at_all() {
        let mut minting = rotation(Step::Mint);
        let now = Timestamp::from_s(1000);
        let mut last = Span::ms(0);
        for tries in 0..TRIES_MAX {
            minting.tries = tries;
            let wait = minting.next_try(now).since(now);
            assert!(wait > last || wait == Span::minutes(5));
            last = wait;
            assert_eq!(minting.next(now), Next::Take(Step::Mint));
        }
        minting.tries = TRIES_MAX;
        assert_eq!(minting.next(now), Next::Hold);
    }
}
