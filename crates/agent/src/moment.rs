//! A point in time, in whole seconds, as certificates and notices write it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A point in time: whole seconds since 1970-01-01T00:00:00Z. Written as RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Moment(i64);

/// 9999-12-31T23:59:59Z, the last second that RFC 3339 can write.
const LATEST_S: i64 = 253_402_300_799;

impl Moment {
    /// The point `s` seconds after the epoch, held within the years 1970 to 9999.
    pub fn from_unix_s(s: i64) -> Self {
        Self(s.clamp(0, LATEST_S))
    }

    /// Seconds since the epoch.
    pub fn as_unix_s(self) -> i64 {
        self.0
    }

    /// This point, `s` seconds later.
    pub fn plus_s(self, s: u64) -> Self {
        Self::from_unix_s(self.0.saturating_add(i64::try_from(s).unwrap_or(LATEST_S)))
    }

    /// Seconds from this point to a later one; 0 if that point has passed.
    pub fn seconds_until(self, later: Self) -> u64 {
        u64::try_from(later.0 - self.0).unwrap_or(0)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = OffsetDateTime::from_unix_timestamp(self.0)
            .ok()
            .and_then(|time| time.format(&Rfc3339).ok())
            .ok_or(fmt::Error)?;
        f.write_str(&text)
    }
}

/// A text that is not an RFC 3339 time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a time: write it like 2026-01-31T12:00:00Z")]
pub struct MomentError;

impl FromStr for Moment {
    type Err = MomentError;

    fn from_str(text: &str) -> Result<Self, MomentError> {
        OffsetDateTime::parse(text, &Rfc3339)
            .map(|time| Self::from_unix_s(time.unix_timestamp()))
            .map_err(|_| MomentError)
    }
}

impl TryFrom<String> for Moment {
    type Error = MomentError;

    fn try_from(text: String) -> Result<Self, MomentError> {
        text.parse()
    }
}

impl From<Moment> for String {
    fn from(moment: Moment) -> Self {
        moment.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_reads_what_it_writes() {
        let moment: Moment = "2026-03-01T12:30:05Z".parse().unwrap();
        assert_eq!(moment.to_string(), "2026-03-01T12:30:05Z");
        assert_eq!(moment.as_unix_s(), 1_772_368_205);
    }

    #[test]
    fn a_time_with_another_offset_is_the_same_moment() {
        let there: Moment = "2026-03-01T14:30:05.9+02:00".parse().unwrap();
        assert_eq!(there.to_string(), "2026-03-01T12:30:05Z");
    }

    #[test]
    fn a_passed_moment_is_zero_seconds_away() {
        let now = Moment::from_unix_s(100);
        assert_eq!(now.seconds_until(Moment::from_unix_s(40)), 0);
        assert_eq!(now.seconds_until(Moment::from_unix_s(160)), 60);
    }
}
