//! Is the machine's clock to be believed?
//!
//! A Raspberry Pi has no battery behind its clock, and a wrong clock must neither expire a home
//! nor bring back what has ended. So the home keeps its own time: it never runs backwards, not
//! even across a restart, and it follows the machine's clock only while that one is plausible.
//! When it is not, home time goes on at the pace of the monotonic clock, and is not trusted.

use crate::time::{Span, Timestamp};

/// No real clock shows an earlier time than this: 2026-01-01T00:00:00Z.
const EARLIEST: Timestamp = Timestamp::from_const_ms(1_767_225_600_000);
/// The machine may have been switched off for this long.
const OFF_MAX: Span = Span::days(120);
/// While running, the machine's clock may be set forward by this much: time synchronization.
const STEP_FORWARD_MAX: Span = Span::hours(1);
/// The machine's clock may lie behind home time by this much.
const BEHIND_MAX: Span = Span::minutes(5);

/// One reading of the machine: what its clock says, and how long it has run.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// The wall clock.
    pub wall: Timestamp,
    /// Milliseconds since an arbitrary point, counting sleep.
    pub monotonic_ms: i64,
}

/// Home time.
#[derive(Debug, Clone, Copy)]
pub struct TrustedTime {
    base: Timestamp,
    base_monotonic_ms: i64,
    /// In home time: since when it does not follow the machine's clock.
    doubted_since: Option<Timestamp>,
}

impl TrustedTime {
    /// Begins with the last durable time that the home has seen, if there is one.
    pub fn start(reading: Reading, last_durable: Option<Timestamp>) -> Self {
        let wall = reading.wall;
        let (base, trusted) = match last_durable {
            None => (wall, wall >= EARLIEST),
            Some(last) if wall < last.before(BEHIND_MAX) || wall > last.after(OFF_MAX) => {
                (last, false)
            }
            Some(last) => (wall.max(last), true),
        };
        Self {
            base,
            base_monotonic_ms: reading.monotonic_ms,
            doubted_since: (!trusted).then_some(base),
        }
    }

    /// Home time at this reading. It never runs backwards.
    pub fn now(&mut self, reading: Reading) -> Timestamp {
        let elapsed = Span::ms(reading.monotonic_ms.saturating_sub(self.base_monotonic_ms));
        let expected = self.base.after(elapsed);
        let plausible = reading.wall >= expected.before(BEHIND_MAX)
            && reading.wall <= expected.after(STEP_FORWARD_MAX);
        let trusted = plausible && (self.is_trusted() || reading.wall >= EARLIEST);
        self.doubted_since = match self.doubted_since {
            _ if trusted => None,
            None => Some(expected),
            since => since,
        };
        if plausible && reading.wall > expected {
            self.base = reading.wall;
            self.base_monotonic_ms = reading.monotonic_ms;
            return self.base;
        }
        expected
    }

    /// A person has confirmed the machine's clock: home time follows it forward.
    pub fn confirm(&mut self, reading: Reading) -> Timestamp {
        let now = self.now(reading);
        self.base = now.max(reading.wall);
        self.base_monotonic_ms = reading.monotonic_ms;
        let trusted = reading.wall >= EARLIEST && reading.wall >= self.base.before(BEHIND_MAX);
        let since = self.doubted_since.unwrap_or(self.base);
        self.doubted_since = (!trusted).then_some(since);
        self.base
    }

    /// Whether home time follows the machine's clock.
    pub fn is_trusted(&self) -> bool {
        self.doubted_since.is_none()
    }

    /// Since when it does not, in home time.
    pub fn doubted_since(&self) -> Option<Timestamp> {
        self.doubted_since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: i64 = 1_800_000_000;

    fn reading(wall_s: i64, monotonic_s: i64) -> Reading {
        Reading {
            wall: Timestamp::from_s(wall_s),
            monotonic_ms: monotonic_s * 1000,
        }
    }

    fn running() -> TrustedTime {
        TrustedTime::start(reading(TODAY, 0), Some(Timestamp::from_s(TODAY - 60)))
    }

    #[test]
    fn home_time_follows_a_plausible_clock() {
        let mut time = running();
        assert_eq!(
            time.now(reading(TODAY + 10, 10)),
            Timestamp::from_s(TODAY + 10)
        );
        assert_eq!(
            time.now(reading(TODAY + 50, 11)),
            Timestamp::from_s(TODAY + 50)
        );
        assert!(time.is_trusted());
    }

    #[test]
    fn ten_years_forth_moves_home_time_by_what_really_passed_and_is_not_trusted() {
        let mut time = running();
        let years = 10 * 365 * 86_400;
        assert_eq!(
            time.now(reading(TODAY + years, 5)),
            Timestamp::from_s(TODAY + 5)
        );
        assert!(!time.is_trusted());
        let restarted =
            TrustedTime::start(reading(TODAY + years, 0), Some(Timestamp::from_s(TODAY)));
        assert!(!restarted.is_trusted());
        assert_eq!(restarted.base, Timestamp::from_s(TODAY));
    }

    #[test]
    fn ten_years_back_never_turns_home_time_back() {
        let mut time = running();
        let years = 10 * 365 * 86_400;
        assert_eq!(
            time.now(reading(TODAY - years, 5)),
            Timestamp::from_s(TODAY + 5)
        );
        assert!(!time.is_trusted());
        let mut restarted =
            TrustedTime::start(reading(TODAY - years, 0), Some(Timestamp::from_s(TODAY)));
        assert_eq!(
            restarted.now(reading(TODAY - years, 7)),
            Timestamp::from_s(TODAY + 7)
        );
        assert!(!restarted.is_trusted());
    }

    #[test]
    fn trust_returns_with_the_right_time_or_with_a_persons_word() {
        let mut time = running();
        time.now(reading(TODAY + 10_000_000, 5));
        time.now(reading(TODAY + 10_000_001, 6));
        assert_eq!(time.doubted_since(), Some(Timestamp::from_s(TODAY + 5)));
        time.now(reading(TODAY + 6, 6));
        assert!(time.is_trusted());
        let months_later = reading(TODAY + 200 * 86_400, 0);
        let mut found = TrustedTime::start(months_later, Some(Timestamp::from_s(TODAY)));
        assert!(!found.is_trusted());
        assert_eq!(found.confirm(months_later), months_later.wall);
        assert!(found.is_trusted());
    }

    #[test]
    fn a_new_home_believes_no_clock_from_before_the_program() {
        assert!(!TrustedTime::start(reading(0, 0), None).is_trusted());
        assert!(TrustedTime::start(reading(TODAY, 0), None).is_trusted());
    }
}
