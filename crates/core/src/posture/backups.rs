//! What is wrong with a home's backups, and what a restored home does not know.

use crate::backup::Every;
use crate::finding::{Finding, FindingKind, Severity};
use crate::time::{Span, Timestamp};

/// Without a schedule, a backup that is older misses too much of what has been issued and revoked since.
pub const BACKUP_EVERY: Span = Span::days(30);
/// A backup is tried so often.
pub const BACKUP_TRIED_EVERY: Span = Span::days(90);

/// When backups were made and tried, as far as the log can tell, and where they should go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backups {
    /// How often one is made by itself, if a place is set.
    pub every: Option<Every>,
    /// When the newest was made and verified.
    pub made_at: Option<Timestamp>,
    /// When one was last verified or restored.
    pub tried_at: Option<Timestamp>,
    /// When the newest attempt failed, and why, if none has succeeded since.
    pub failed: Option<(Timestamp, String)>,
}

impl Backups {
    /// How old the newest may get: twice the time between two, so that one that is late is not found at once.
    fn oldest(&self) -> Span {
        let between = self.every.and_then(Every::span);
        between.map_or(BACKUP_EVERY, |span| Span::ms(2 * span.as_ms()))
    }
}

/// What is wrong with the backups: there is none, the last attempt failed, the newest is old, or none was tested.
pub fn of_backups(backups: &Backups, object: &str, now: Timestamp) -> Option<Finding> {
    let finding = |kind, severity, mark: &str, what: String, remedy: &str| {
        Some(Finding::new(kind, severity, object.to_owned(), mark).saying(what, remedy))
    };
    if let Some((at, why)) = &backups.failed {
        // One that fails after the next success is another finding.
        let mark = backups.made_at.map(|made| made.to_string());
        return finding(
            FindingKind::BackupFailed,
            Severity::High,
            mark.as_deref().unwrap_or_default(),
            format!("The backup of {at} failed: {}.", why.trim_end_matches('.')),
            "Put right what the sentence names, then make one. On the command line: `hearthkey backup create`.",
        );
    }
    let Some(made_at) = backups.made_at else {
        return match backups.every {
            None => finding(
                FindingKind::BackupMissing,
                Severity::Medium,
                "",
                "No backup yet, and no place for backups is set.".into(),
                "Set a directory on another disk or a mounted share: a backup is then made and verified every day. On the command line: `hearthkey backup set --to /mnt/usb/backups`.",
            ),
            Some(_) => finding(
                FindingKind::BackupMissing,
                Severity::Medium,
                "",
                "No backup yet.".into(),
                "Make the first one. On the command line: `hearthkey backup create`.",
            ),
        };
    };
    if now >= made_at.after(backups.oldest()) {
        return finding(
            FindingKind::BackupOld,
            Severity::Medium,
            "",
            format!("The newest backup was made on {made_at}."),
            "Make a new one. On the command line: `hearthkey backup create`; `hearthkey backup set --every daily` makes one every day.",
        );
    }
    let what = match backups.tried_at {
        None => "No backup has been verified or restored yet.".into(),
        Some(at) if now >= at.after(BACKUP_TRIED_EVERY) => {
            format!("A backup was last verified or restored on {at}.")
        }
        Some(_) => return None,
    };
    finding(
        FindingKind::Untested,
        Severity::Medium,
        "",
        what,
        "Verify the newest one. On the command line: `hearthkey backup verify --latest`.",
    )
}

/// That a home was restored, and up to where it knows what happened.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Restored {
    /// When.
    pub at: Timestamp,
    /// When the backup was made.
    pub backup_at: Timestamp,
    /// With a journal that is at least as new as the backup: the newest revocation in it, or the backup's own time.
    pub journal_to: Option<Timestamp>,
}

impl Restored {
    /// From when to when the home knows nothing of revocations.
    pub fn unknown_from(&self) -> Timestamp {
        self.journal_to.unwrap_or(self.backup_at)
    }

    /// What the home does not know, and what to do about it.
    pub fn finding(&self, object: &str) -> Finding {
        let Self { at, backup_at, .. } = self;
        let revocations = match self.journal_to {
            Some(to) => format!(
                "The revocation journal that was given is at least as new as the backup: the revocations of devices in it hold, to {to}. \
                 What ended later, and the access of people and tokens that ended after the backup, is unknown here and may come in again."
            ),
            None => format!(
                "There was no revocation journal newer than the backup: what happened from {backup_at} to {at} is unknown here, and \
                 devices, people and tokens that were shut out then may come in again."
            ),
        };
        let what = format!(
            "The home was restored on {at} from a backup of {backup_at}. {revocations} Certificates that were issued or renewed \
             after the backup are refused: their devices need a new claim. Values that were replaced after it are the old ones here."
        );
        Finding::new(
            FindingKind::Restored,
            Severity::High,
            object.to_owned(),
            &at.to_string(),
        )
        .saying(what, self.remedy())
    }

    fn remedy(&self) -> &'static str {
        match self.journal_to {
            Some(_) => {
                "End again what was ended in that time, open a new claim for each device that is refused, and test the bridges; then accept \
                 this. On the command line: `hearthkey device revoke`, `hearthkey device claim`, `hearthkey bridge test`."
            }
            None => {
                "End again what was ended in that time, open a new claim for each device that is refused, and test the bridges; then accept \
                 this. If the journal of the lost machine turns up, restore once more, into another directory and with it. On the command line: \
                 `hearthkey device revoke`, `hearthkey device claim`, `hearthkey bridge test`, `hearthkey restore FILE --journal FILE`."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: &str = "home:attic";

    fn day(day: i64) -> Timestamp {
        Timestamp::from_s(day * 86_400)
    }

    fn backups(made: Option<i64>, tried: Option<i64>) -> Backups {
        Backups {
            made_at: made.map(day),
            tried_at: tried.map(day),
            ..Backups::default()
        }
    }

    fn kind(backups: &Backups, now: i64) -> Option<FindingKind> {
        of_backups(backups, OBJECT, day(now)).map(|finding| finding.kind)
    }

    #[test]
    fn without_a_schedule_a_backup_is_wanted_every_month_and_a_trial_of_one_every_quarter() {
        let found = |made, tried| kind(&backups(made, tried), 100);
        assert_eq!(found(None, None), Some(FindingKind::BackupMissing));
        assert_eq!(found(Some(70), Some(99)), Some(FindingKind::BackupOld));
        assert_eq!(found(Some(71), Some(99)), None);
        assert_eq!(found(Some(99), None), Some(FindingKind::Untested));
        assert_eq!(found(Some(99), Some(10)), Some(FindingKind::Untested));
        assert_eq!(found(Some(99), Some(11)), None);
    }

    #[test]
    fn a_scheduled_backup_is_old_when_two_in_a_row_are_lacking() {
        for (every, old) in [
            (Every::Daily, 2),
            (Every::Weekly, 14),
            (Every::Monthly, 60),
            (Every::Never, 30),
        ] {
            let backups = Backups {
                every: Some(every),
                ..backups(Some(0), Some(0))
            };
            assert_eq!(kind(&backups, old - 1), None, "{every}");
            assert_eq!(kind(&backups, old), Some(FindingKind::BackupOld), "{every}");
        }
    }

    #[test]
    fn an_attempt_that_failed_is_found_with_its_reason_until_one_succeeds() {
        let failed = |made| {
            let backups = Backups {
                failed: Some((day(5), "the disk is full.".into())),
                ..backups(made, made)
            };
            of_backups(&backups, OBJECT, day(6)).unwrap()
        };
        let first = failed(None);
        assert_eq!(first.kind, FindingKind::BackupFailed);
        assert!(
            first.what.ends_with("failed: the disk is full."),
            "{}",
            first.what
        );
        assert_ne!(first.id, failed(Some(4)).id);
        assert_ne!(failed(Some(3)).id, failed(Some(4)).id);
    }

    #[test]
    fn what_is_missing_names_the_place_first_where_none_is_set() {
        let remedy = |every| {
            let backups = Backups {
                every,
                ..Backups::default()
            };
            of_backups(&backups, OBJECT, day(1)).unwrap().remedy
        };
        assert!(remedy(None).contains("backup set --to"));
        assert!(remedy(Some(Every::Daily)).contains("backup create"));
    }

    #[test]
    fn a_restored_home_says_from_when_to_when_it_knows_nothing() {
        let restored = |journal_to| Restored {
            at: day(9),
            backup_at: day(3),
            journal_to,
        };
        let blind = restored(None).finding(OBJECT);
        assert_eq!(
            (blind.kind, blind.severity),
            (FindingKind::Restored, Severity::High)
        );
        let span = format!("from {} to {} is unknown", day(3), day(9));
        assert!(blind.what.contains(&span), "{}", blind.what);
        let knowing = restored(Some(day(8))).finding(OBJECT);
        assert!(
            knowing.what.contains("hold, to 1970-01-09"),
            "{}",
            knowing.what
        );
        assert!(blind.remedy.contains("turns up") && !knowing.remedy.contains("turns up"));
        for found in [blind, knowing] {
            assert!(found.what.contains("need a new claim"), "{}", found.what);
        }
        assert_eq!(restored(None).unknown_from(), day(3));
    }
}
