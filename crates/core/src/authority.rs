//! When a CA is followed by a new one, and when the one before is forgotten.
//!
//! A home outlives its CAs. Each issuing CA and the server CA gets a successor with a new key at half of its life, or earlier if
//! the longest certificate of a device no longer fits into what is left. The successor is made first and signs only later
//! ([`Due::Promote`]): its key has to be in a backup before anything depends on it. The CA before is kept until the last
//! certificate that it signed has ended.

use crate::time::{Span, Timestamp};

/// A successor that would end less than this after the CA it follows is not worth making: the root ends.
const GAIN_MIN: Span = Span::days(30);

/// From when until when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// The first moment (RFC 5280 §4.1.2.5).
    pub begins: Timestamp,
    /// The last moment.
    pub ends: Timestamp,
}

impl Life {
    /// How much of it is over, in twelfths: 0 to 12.
    pub fn twelfths_over(self, now: Timestamp) -> u8 {
        let whole = self.ends.since(self.begins).as_ms();
        let over = now.since(self.begins).as_ms();
        if whole <= 0 || over >= whole {
            return 12;
        }
        u8::try_from((over.max(0) / (whole / 12).max(1)).min(11)).unwrap_or(11)
    }

    fn half(self) -> Timestamp {
        self.begins
            .after(Span::ms(self.ends.since(self.begins).as_ms() / 2))
    }
}

/// A CA that is followed by others, and what decides when.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    /// The CA that signs now.
    pub current: Life,
    /// Its successor, if it is made already, and whether its key is where a lost machine does not take it.
    pub next: Option<(Life, bool)>,
    /// When the root ends: no CA outlives it.
    pub root_ends: Timestamp,
    /// How long a new CA lives.
    pub lifetime: Span,
    /// The longest life of what it signs.
    pub longest: Span,
}

/// What is to be done about a CA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing.
    Nothing,
    /// A successor is to be made. It signs nothing yet.
    Make,
    /// The successor is to sign from now on.
    Promote,
}

impl Line {
    /// What is to be done now.
    pub fn due(&self, now: Timestamp) -> Due {
        match self.next {
            // One that has been kept back until it is hardly better than nothing waits no longer.
            Some((_, safe)) if safe || !self.still_signs_well(now) => Due::Promote,
            Some(_) => Due::Nothing,
            None if self.is_late(now) && self.successor_gains(now) => Due::Make,
            None => Due::Nothing,
        }
    }

    /// Half of its life is over, or what it signs no longer fits.
    fn is_late(&self, now: Timestamp) -> bool {
        now >= self.current.half() || !self.fits(now)
    }

    fn fits(&self, now: Timestamp) -> bool {
        now.after(self.longest) <= self.current.ends
    }

    /// Whether it can go on for a while: what it signs fits, and a quarter of its life is left.
    fn still_signs_well(&self, now: Timestamp) -> bool {
        self.fits(now) && self.current.twelfths_over(now) < 9
    }

    fn successor_gains(&self, now: Timestamp) -> bool {
        let ends = now.after(self.lifetime).min(self.root_ends);
        ends > now && ends > self.current.ends.after(GAIN_MIN)
    }
}

/// Whether a CA that was followed at `succeeded_at` may be forgotten with its key: the last certificate that it signed has ended,
/// and nobody may renew with it any more.
///
/// `last_ends` is the end of the last live certificate that was issued before `succeeded_at`, if there is one; `grace` is the
/// longest time after its end in which a device may still renew.
pub fn is_over(last_ends: Option<Timestamp>, grace: Span, now: Timestamp) -> bool {
    last_ends.is_none_or(|ends| now > ends.after(grace))
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR: i64 = 365;

    fn day(days: i64) -> Timestamp {
        Timestamp::from_s(0).after(Span::days(days))
    }

    fn line() -> Line {
        Line {
            current: Life {
                begins: day(0),
                ends: day(5 * YEAR),
            },
            next: None,
            root_ends: day(20 * YEAR),
            lifetime: Span::days(5 * YEAR),
            longest: Span::days(90),
        }
    }

    #[test]
    fn a_successor_is_made_at_half_of_a_cas_life_and_not_before() {
        assert_eq!(line().due(day(5 * YEAR / 2 - 1)), Due::Nothing);
        assert_eq!(line().due(day(5 * YEAR / 2 + 1)), Due::Make);
        assert_eq!(line().due(day(9 * YEAR)), Due::Make);
    }

    #[test]
    fn a_successor_is_made_earlier_if_the_longest_certificate_no_longer_fits() {
        let long = Line {
            longest: Span::days(4 * YEAR),
            ..line()
        };
        assert_eq!(long.due(day(YEAR - 1)), Due::Nothing);
        assert_eq!(long.due(day(YEAR + 1)), Due::Make);
    }

    #[test]
    fn a_successor_signs_once_its_key_is_safe_and_does_not_wait_for_ever() {
        let with = |safe| Line {
            next: Some((line().current, safe)),
            ..line()
        };
        assert_eq!(with(true).due(day(5 * YEAR / 2)), Due::Promote);
        assert_eq!(with(false).due(day(5 * YEAR / 2 + 30)), Due::Nothing);
        assert_eq!(with(false).due(day(5 * YEAR * 3 / 4 + 1)), Due::Promote);
        assert_eq!(with(false).due(day(6 * YEAR)), Due::Promote);
    }

    #[test]
    fn no_successor_is_made_that_would_end_with_the_root_as_the_one_before_does() {
        let last = Line {
            current: Life {
                begins: day(16 * YEAR),
                ends: day(20 * YEAR),
            },
            ..line()
        };
        assert_eq!(last.due(day(19 * YEAR)), Due::Nothing);
        assert_eq!(last.due(day(21 * YEAR)), Due::Nothing);
    }

    #[test]
    fn a_ca_is_forgotten_when_nobody_can_renew_with_what_it_signed() {
        let grace = Span::days(30);
        assert!(is_over(None, grace, day(1)));
        assert!(!is_over(Some(day(10)), grace, day(40)));
        assert!(is_over(Some(day(10)), grace, day(41)));
    }

    #[test]
    fn a_life_is_counted_in_twelfths() {
        let life = Life {
            begins: day(0),
            ends: day(1200),
        };
        assert_eq!(life.twelfths_over(day(-5)), 0);
        assert_eq!(life.twelfths_over(day(799)), 7);
        assert_eq!(life.twelfths_over(day(801)), 8);
        assert_eq!(life.twelfths_over(day(1100)), 11);
        assert_eq!(life.twelfths_over(day(1300)), 12);
    }
}
