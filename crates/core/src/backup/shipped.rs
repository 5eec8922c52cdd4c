//! The journal at the place for backups: what its files are called, and how long it may lag behind.

use serde::{Deserialize, Serialize};

use super::{PREFIX, SUFFIX};
use crate::finding::{Finding, FindingKind, Severity};
use crate::id::{Fingerprint, HomeId};
use crate::time::{Span, Timestamp};

/// Lines of the journal that one file at the place holds at most.
pub const SEGMENT_LINES: u64 = 64;
/// The longest file of the journal at a place that is read, in bytes.
pub const SEGMENT_MAX_BYTES: u64 = 64 * 1024 * 1024;
/// So long after something happened that the place does not have yet, that is a finding.
pub const NOT_SHIPPED: Span = Span::minutes(15);
/// How often the journal says how far the log is, if the log has grown.
pub const MARK_EVERY: Span = Span::minutes(10);

/// A line of the journal: up to there something is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The line's number; 0 before the first.
    pub seq: u64,
    /// Its HMAC.
    pub tag: Fingerprint,
    /// When it was written.
    pub at: Timestamp,
}

/// The number of the file that holds a line: that of the first line that it could hold. Revocations by themselves are in 0.
pub fn segment_of(seq: u64) -> u64 {
    seq / SEGMENT_LINES * SEGMENT_LINES
}

/// Between the home's name and the number.
const JOURNAL: &str = "-journal-";

/// The name of a file of the journal: `hearthkey-attic-1a2b3c4d-journal-00000001800000000000.age`. They sort by their age.
pub fn segment_name(home: &HomeId, segment: u64) -> String {
    format!("{PREFIX}{home}{JOURNAL}{segment:020}{SUFFIX}")
}

/// Which file of the journal of a home has this name; none if none has.
pub fn segment_by_name(home: &HomeId, name: &str) -> Option<u64> {
    let number = name
        .strip_prefix(PREFIX)?
        .strip_prefix(home.as_str())?
        .strip_prefix(JOURNAL)?
        .strip_suffix(SUFFIX)?;
    let segment = number.parse().ok()?;
    (segment_name(home, segment) == name).then_some(segment)
}

/// How far the place knows the journal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shipped {
    /// Whether a place is set.
    pub is_planned: bool,
    /// When everything that had happened was last there.
    pub known_at: Option<Timestamp>,
    /// Since when something has happened that is not there.
    pub behind_since: Option<Timestamp>,
    /// Why it could not be put there, at the last try.
    pub failed: Option<String>,
}

impl Shipped {
    /// Until when the place knows everything; none if that is not known, or no place is set.
    pub fn known_until(&self, now: Timestamp) -> Option<Timestamp> {
        match (self.is_planned, self.behind_since) {
            (false, _) => None,
            (true, None) => self.known_at.map(|_| now),
            (true, Some(_)) => self.known_at,
        }
    }

    /// That the place lags behind for long.
    pub fn finding(&self, object: &str, now: Timestamp) -> Option<Finding> {
        let since = self.behind_since.filter(|_| self.is_planned)?;
        if now < since.after(NOT_SHIPPED) {
            return None;
        }
        let why = match &self.failed {
            Some(why) => format!(": {}", why.trim_end_matches('.')),
            None => ": the place does not respond".into(),
        };
        let finding = Finding::new(
            FindingKind::JournalNotShipped,
            Severity::High,
            object.to_owned(),
            &since.to_string(),
        );
        Some(finding.saying(
            format!("The place for backups lacks what was issued and revoked since {since}{why}."),
            "Check the place: that it is there, mounted, writable by the gateway, and not full. The journal is put there again by itself. On the command line: `hearthkey backup list`.",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> HomeId {
        "attic-1a2b3c4d".parse().unwrap()
    }

    #[test]
    fn a_name_says_whose_journal_it_is_and_which_part_of_it() {
        let name = segment_name(&home(), segment_of(1_800_000_000_063));
        assert_eq!(
            name,
            "hearthkey-attic-1a2b3c4d-journal-00000001800000000000.age"
        );
        assert_eq!(segment_by_name(&home(), &name), Some(1_800_000_000_000));
        assert_eq!(segment_by_name(&"attic".parse().unwrap(), &name), None);
        assert_eq!(super::super::made_at(&home(), &name), None);
        for foreign in ["notes.age", "hearthkey-attic-1a2b3c4d-journal-7.age"] {
            assert_eq!(segment_by_name(&home(), foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_place_that_lags_behind_for_a_quarter_of_an_hour_is_found_and_says_until_when_it_knows() {
        let at = |minute: i64| Timestamp::from_s(60 * minute);
        let mut shipped = Shipped {
            is_planned: true,
            known_at: Some(at(10)),
            ..Shipped::default()
        };
        assert_eq!(shipped.known_until(at(30)), Some(at(30)));
        assert_eq!(shipped.finding("home:attic", at(99)), None);
        shipped.behind_since = Some(at(12));
        assert_eq!(shipped.known_until(at(30)), Some(at(10)));
        assert_eq!(shipped.finding("home:attic", at(26)), None);
        let hangs = shipped.finding("home:attic", at(27)).unwrap();
        assert!(hangs.what.contains("does not respond"), "{}", hangs.what);
        shipped.failed = Some("the disk is full.".into());
        let found = shipped.finding("home:attic", at(27)).unwrap();
        assert!(
            found.what.ends_with(": the disk is full."),
            "{}",
            found.what
        );
        shipped.is_planned = false;
        assert_eq!(shipped.finding("home:attic", at(99)), None);
        assert_eq!(shipped.known_until(at(99)), None);
    }
}
