//! Is the machine's clock to be believed?
//!
//! A Raspberry Pi has no battery behind its clock, and a wrong clock must neither expire a home
//! nor bring back what has ended. So the home keeps its own time, which goes on at the pace of the
//! monotonic clock and follows the machine's clock in steps:
//!
//! | the machine's clock against home time | synchronized, by its kernel's word | not synchronized, or not known |
//! | --- | --- | --- |
//! | at most 5 minutes behind | as it is | as it is |
//! | at most a day ahead | followed | followed, a day in all until it is synchronized |
//! | more than 5 minutes and at most a day behind | followed back | doubted |
//! | more than a day away, or before 2026 | doubted | doubted |
//!
//! A doubted clock is not followed: home time goes on at its own pace, until the machine's clock is right again, a person confirms
//! it, or witnesses agree with it ([`crate::clock_witness`]).

use serde::{Deserialize, Serialize};

use crate::time::{Span, Timestamp};

/// No real clock shows an earlier time than this: 2026-01-01T00:00:00Z.
pub const EARLIEST: Timestamp = Timestamp::from_const_ms(1_767_225_600_000);
/// The longest step that is followed without a person or witnesses.
pub const STEP_MAX: Span = Span::days(1);
/// The machine's clock may lie behind home time by this much. A longer step is written down.
pub const BEHIND_MAX: Span = Span::minutes(5);
/// What steps by a synchronized clock may make in all, in either direction; each day that the gateway runs gives a day back.
/// Otherwise somebody who controls the time of the network could walk home time anywhere, a day at a time.
const SYNCHRONIZED_MAX: Span = Span::days(3);
/// After home time was set by more than a day, nothing is forgotten or destroyed for this long.
const SETTLES_IN: Span = Span::days(1);
/// A difference up to this is no step: two clocks are not read at the same moment.
const JITTER: Span = Span::s(1);
/// Steps that wait to be written down, at most.
const STEPS_MAX: usize = 16;

/// One reading of the machine: what its clock says, and how long it has run.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// The wall clock.
    pub wall: Timestamp,
    /// Milliseconds since an arbitrary point, counting sleep.
    pub monotonic_ms: i64,
}

/// Why home time does not follow the machine's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Doubt {
    /// It shows a time before this program was made.
    BeforeProgram,
    /// It is more than a day ahead.
    FarAhead,
    /// It is more than a day behind.
    FarBehind,
    /// It is behind, and not synchronized.
    Behind,
    /// It has stepped by more in all than is followed without a person or witnesses.
    TooManySteps,
}

impl Doubt {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BeforeProgram => "before-program",
            Self::FarAhead => "far-ahead",
            Self::FarBehind => "far-behind",
            Self::Behind => "behind",
            Self::TooManySteps => "too-many-steps",
        }
    }

    /// What is wrong, as the end of a sentence about the machine's clock.
    pub fn says(self) -> &'static str {
        match self {
            Self::BeforeProgram => "shows a time before 2026",
            Self::FarAhead => "is more than a day ahead of home time",
            Self::FarBehind => "is more than a day behind home time",
            Self::Behind => "is behind home time, and not synchronized",
            Self::TooManySteps => {
                "was set forward or back by more in all than is followed by itself"
            }
        }
    }
}

/// Since when, in home time, it does not follow, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubted {
    /// Since when, in home time.
    pub since: Timestamp,
    /// Why, at this moment.
    pub why: Doubt,
}

/// Home time was set, by more than five minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// From what.
    pub from: Timestamp,
    /// To what.
    pub to: Timestamp,
    /// Whether the machine's clock was synchronized; none if that is not known.
    pub synchronized: Option<bool>,
}

impl Step {
    /// Whether home time went back.
    pub fn is_back(&self) -> bool {
        self.to < self.from
    }
}

/// What home time has gained on the monotonic clock by itself. Kept over restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Gained {
    /// By a clock that was not synchronized, since it last was, or was confirmed or agreed with, in milliseconds.
    pub unsynchronized_ms: i64,
    /// By a synchronized clock, in either direction, less the time that has passed since, in milliseconds.
    pub synchronized_ms: i64,
    /// For how long nothing is forgotten or destroyed yet, because home time was set by more than a day, in milliseconds.
    #[serde(default)]
    pub unsettled_ms: i64,
}

/// Home time.
#[derive(Debug, Clone)]
pub struct TrustedTime {
    base: Timestamp,
    base_monotonic_ms: i64,
    gained: Gained,
    /// Up to which reading of the monotonic clock `gained` was worn off.
    worn_monotonic_ms: i64,
    doubted: Option<Doubted>,
    steps: Vec<Step>,
}

impl TrustedTime {
    /// Begins with the last durable time that the home has seen, if there is one. `synchronized` is asked only where it matters.
    pub fn start(
        reading: Reading,
        synchronized: impl FnOnce() -> Option<bool>,
        last: Option<(Timestamp, Gained)>,
    ) -> Self {
        let (base, gained) = last.unwrap_or((reading.wall, Gained::default()));
        let mut time = Self {
            base,
            base_monotonic_ms: reading.monotonic_ms,
            gained,
            worn_monotonic_ms: reading.monotonic_ms,
            doubted: None,
            steps: Vec::new(),
        };
        time.follow(reading, synchronized);
        time
    }

    /// Home time if it did not follow this reading.
    fn expected(&self, reading: Reading) -> Timestamp {
        let elapsed = reading.monotonic_ms.saturating_sub(self.base_monotonic_ms);
        self.base.after(Span::ms(elapsed))
    }

    /// Home time at this reading. `synchronized` is asked only where the clocks differ.
    pub fn now(
        &mut self,
        reading: Reading,
        synchronized: impl FnOnce() -> Option<bool>,
    ) -> Timestamp {
        let expected = self.expected(reading);
        let ahead_ms = reading.wall.ms_from(expected);
        let is_steady = (-BEHIND_MAX.as_ms()..=JITTER.as_ms()).contains(&ahead_ms);
        let gained_ms = self.gained.unsynchronized_ms + ahead_ms.clamp(0, JITTER.as_ms());
        if self.doubted.is_some() || !is_steady || gained_ms > STEP_MAX.as_ms() {
            return self.follow(reading, synchronized);
        }
        self.gained.unsynchronized_ms = gained_ms;
        if ahead_ms > 0 {
            self.set(reading, reading.wall);
        }
        expected.max(reading.wall)
    }

    /// Home time at this reading, after a look at all of it.
    pub fn follow(
        &mut self,
        reading: Reading,
        synchronized: impl FnOnce() -> Option<bool>,
    ) -> Timestamp {
        let expected = self.expected(reading);
        self.wear_off(reading);
        let synchronized = synchronized();
        match self.judge(reading.wall, expected, synchronized) {
            Ok(to) => {
                self.doubted = None;
                if synchronized == Some(true) {
                    self.gained.unsynchronized_ms = 0;
                }
                if to != expected {
                    self.note(Step {
                        from: expected,
                        to,
                        synchronized,
                    });
                    self.set(reading, to);
                }
                to
            }
            Err(why) => {
                let since = self.doubted.map_or(expected, |doubted| doubted.since);
                self.doubted = Some(Doubted { since, why });
                expected
            }
        }
    }

    /// Where home time goes, and what that costs; or why it goes on at its own pace.
    fn judge(
        &mut self,
        wall: Timestamp,
        expected: Timestamp,
        synchronized: Option<bool>,
    ) -> Result<Timestamp, Doubt> {
        if wall < EARLIEST {
            return Err(Doubt::BeforeProgram);
        }
        // A home that began with such a clock knows no time that could be lost.
        if expected < EARLIEST {
            return Ok(wall);
        }
        let ahead_ms = wall.ms_from(expected);
        if (-BEHIND_MAX.as_ms()..=0).contains(&ahead_ms) {
            return Ok(expected);
        }
        let by_ms = ahead_ms.saturating_abs();
        if by_ms > STEP_MAX.as_ms() {
            return Err(if wall > expected {
                Doubt::FarAhead
            } else {
                Doubt::FarBehind
            });
        }
        let (gained_ms, max) = match synchronized {
            Some(true) => (&mut self.gained.synchronized_ms, SYNCHRONIZED_MAX),
            _ if wall < expected => return Err(Doubt::Behind),
            _ => (&mut self.gained.unsynchronized_ms, STEP_MAX),
        };
        if gained_ms.saturating_add(by_ms) > max.as_ms() {
            return Err(Doubt::TooManySteps);
        }
        *gained_ms = gained_ms.saturating_add(by_ms);
        Ok(wall)
    }

    fn wear_off(&mut self, reading: Reading) {
        let elapsed = reading.monotonic_ms.saturating_sub(self.worn_monotonic_ms);
        self.worn_monotonic_ms = reading.monotonic_ms;
        let left = self.gained.synchronized_ms.saturating_sub(elapsed.max(0));
        self.gained.synchronized_ms = left.max(0);
        let left = self.gained.unsettled_ms.saturating_sub(elapsed.max(0));
        self.gained.unsettled_ms = left.max(0);
    }

    fn set(&mut self, reading: Reading, to: Timestamp) {
        self.base = to;
        self.base_monotonic_ms = reading.monotonic_ms;
    }

    fn note(&mut self, step: Step) {
        let by_ms = step.to.ms_from(step.from).saturating_abs();
        if by_ms > BEHIND_MAX.as_ms() && self.steps.len() < STEPS_MAX {
            self.steps.push(step);
        }
    }

    /// A person has confirmed the machine's clock, or witnesses agree with it: home time is what it shows, forward or back. None,
    /// and nothing happens, if it shows a time before this program was made.
    pub fn confirm(&mut self, reading: Reading, synchronized: Option<bool>) -> Option<Step> {
        if reading.wall < EARLIEST {
            return None;
        }
        let from = self.expected(reading);
        self.wear_off(reading);
        self.set(reading, reading.wall);
        let is_far = reading.wall.ms_from(from).saturating_abs() > STEP_MAX.as_ms();
        self.gained = Gained {
            unsettled_ms: match is_far {
                true => SETTLES_IN.as_ms(),
                false => self.gained.unsettled_ms,
            },
            ..Gained::default()
        };
        self.doubted = None;
        Some(Step {
            from,
            to: reading.wall,
            synchronized,
        })
    }

    /// The steps that were not written down yet.
    pub fn take_steps(&mut self) -> Vec<Step> {
        std::mem::take(&mut self.steps)
    }

    /// What is kept over a restart, beside the time.
    pub fn gained(&self) -> Gained {
        self.gained
    }

    /// Whether what time brings may be forgotten and destroyed for good: home time is trusted, and was not set by more than a day
    /// within the last day, which a person could still take back.
    pub fn is_settled(&self) -> bool {
        self.is_trusted() && self.gained.unsettled_ms == 0
    }

    /// Whether home time follows the machine's clock.
    pub fn is_trusted(&self) -> bool {
        self.doubted.is_none()
    }

    /// Since when it does not, and why.
    pub fn doubted(&self) -> Option<Doubted> {
        self.doubted
    }
}

#[cfg(test)]
mod tests;
