//! Points in time and spans of it. Rules receive the time; they never read it.

use std::fmt;
use std::str::FromStr;

use ::time::OffsetDateTime;
use ::time::format_description::well_known::Rfc3339;
use serde::{Deserialize, Serialize};

/// A point in time: milliseconds since 1970-01-01T00:00:00Z. Written as RFC 3339 in UTC.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(i64);

/// 9999-12-31T23:59:59.999Z, the last instant that RFC 3339 can write.
const LATEST_MS: i64 = 253_402_300_799_999;

impl Timestamp {
    /// The point `ms` milliseconds after the epoch, held within the years 1970 to 9999.
    pub fn from_ms(ms: i64) -> Self {
        Self(ms.clamp(0, LATEST_MS))
    }

    /// As [`Timestamp::from_ms`], for constants.
    pub(crate) const fn from_const_ms(ms: i64) -> Self {
        Self(ms)
    }

    /// The point `s` seconds after the epoch.
    pub fn from_s(s: i64) -> Self {
        Self::from_ms(s.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    pub fn as_ms(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch.
    pub fn as_s(self) -> i64 {
        self.0 / 1000
    }

    /// This point, later by a span.
    pub fn after(self, span: Span) -> Self {
        Self::from_ms(self.0.saturating_add(span.0))
    }

    /// This point, earlier by a span.
    pub fn before(self, span: Span) -> Self {
        Self::from_ms(self.0.saturating_sub(span.0))
    }

    /// The span from an earlier point to this one; nothing if that point is later.
    pub fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0).max(0))
    }

    /// Milliseconds from another point to this one; negative if that one is later.
    pub fn ms_from(self, other: Self) -> i64 {
        self.0.saturating_sub(other.0)
    }

    /// The same point, without its fraction of a second: what an X.509 certificate can hold.
    pub fn whole_second(self) -> Self {
        Self(self.0 - self.0 % 1000)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .ok()
            .and_then(|time| time.format(&Rfc3339).ok())
            .ok_or(fmt::Error)?;
        f.write_str(&text)
    }
}

/// A text that is not an RFC 3339 time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time: write it with the time of day, like 2026-01-31T12:00:00Z")]
pub struct InvalidTime(String);

impl FromStr for Timestamp {
    type Err = InvalidTime;
    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        OffsetDateTime::parse(text, &Rfc3339)
            .map(|time| Self::from_ms((time.unix_timestamp_nanos() / 1_000_000) as i64))
            .map_err(|_| InvalidTime(text.chars().take(64).collect()))
    }
}

impl TryFrom<String> for Timestamp {
    type Error = InvalidTime;
    fn try_from(text: String) -> Result<Self, InvalidTime> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(time: Timestamp) -> String {
        time.to_string()
    }
}

/// A span of time in milliseconds, never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(i64);

impl Span {
    /// A span of milliseconds.
    pub const fn ms(ms: i64) -> Self {
        Self(if ms < 0 { 0 } else { ms })
    }
    /// A span of seconds.
    pub const fn s(s: i64) -> Self {
        Self::ms(s.saturating_mul(1000))
    }
    /// A span of minutes.
    pub const fn minutes(minutes: i64) -> Self {
        Self::s(minutes.saturating_mul(60))
    }
    /// A span of hours.
    pub const fn hours(hours: i64) -> Self {
        Self::minutes(hours.saturating_mul(60))
    }
    /// A span of days of 24 hours.
    pub const fn days(days: i64) -> Self {
        Self::hours(days.saturating_mul(24))
    }
    /// The span in milliseconds.
    pub const fn as_ms(self) -> i64 {
        self.0
    }
    /// The span in the greatest unit of which it has at least two, like `36 hours`.
    pub fn in_words(self) -> String {
        let seconds = self.as_s();
        let units = [(86_400, "days"), (3_600, "hours"), (60, "minutes")];
        let fitting = units.into_iter().find(|(unit, _)| seconds >= 2 * unit);
        let (unit, name) = fitting.unwrap_or((1, "seconds"));
        format!("{} {name}", seconds / unit)
    }
    /// The span in whole seconds.
    pub const fn as_s(self) -> i64 {
        self.0 / 1000
    }
}

/// A text that is not a span of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a span of time: write a whole number and a unit, like 90s, 15m or 12h")]
pub struct InvalidSpan(String);

impl FromStr for Span {
    type Err = InvalidSpan;
    fn from_str(text: &str) -> Result<Self, InvalidSpan> {
        let invalid = || InvalidSpan(text.chars().take(64).collect());
        let unit = text.chars().next_back().ok_or_else(invalid)?;
        let count = &text[..text.len() - unit.len_utf8()];
        if count.is_empty() || count.len() > 9 || !count.bytes().all(|b| b.is_ascii_digit()) {
            return Err(invalid());
        }
        let count: i64 = count.parse().map_err(|_| invalid())?;
        match unit {
            's' => Ok(Self::s(count)),
            'm' => Ok(Self::minutes(count)),
            'h' => Ok(Self::hours(count)),
            'd' => Ok(Self::days(count)),
            _ => Err(invalid()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_in_words_is_never_none_of_a_unit() {
        for (span, words) in [
            (Span::days(90), "90 days"),
            (Span::hours(36), "36 hours"),
            (Span::minutes(20), "20 minutes"),
            (Span::s(7), "7 seconds"),
        ] {
            assert_eq!(span.in_words(), words);
        }
    }

    #[test]
    fn a_time_is_written_and_read_as_rfc_3339_in_utc() {
        let time: Timestamp = "2026-11-22T10:00:00.25Z".parse().unwrap();
        assert_eq!(time.to_string(), "2026-11-22T10:00:00.25Z");
        assert_eq!("2026-11-22T11:00:00.250+01:00".parse(), Ok(time));
        assert!("yesterday".parse::<Timestamp>().is_err());
    }

    #[test]
    fn time_never_overflows() {
        assert_eq!(
            Timestamp::from_ms(i64::MAX)
                .after(Span::days(i64::MAX))
                .as_ms(),
            LATEST_MS
        );
        assert_eq!(Timestamp::from_ms(i64::MIN).as_ms(), 0);
        assert!(!Timestamp::from_ms(i64::MAX).to_string().is_empty());
    }

    #[test]
    fn a_span_is_a_number_and_a_unit() {
        assert_eq!("15m".parse(), Ok(Span::minutes(15)));
        assert_eq!("30d".parse(), Ok(Span::days(30)));
        for bad in [
            "",
            "m",
            "15",
            "-1m",
            "1.5h",
            "1w",
            "9999999999s",
            "1ü",
            "m15",
        ] {
            assert!(bad.parse::<Span>().is_err(), "{bad:?}");
        }
    }
}
