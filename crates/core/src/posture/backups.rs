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

/// A span of time of which a restored home knows nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Hole {
    /// From when.
    pub from: Timestamp,
    /// To when.
    pub to: Timestamp,
}

/// What a journal brought into a restored home.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Brought {
    /// Devices that renewed after the backup.
    pub renewed: u64,
    /// Devices that were enrolled after it.
    pub enrolled: u64,
    /// Devices that were suspended after it, and still are.
    pub suspended: u64,
    /// What was left out: its environment, or its profile, is not in the backup.
    pub left_out: Vec<String>,
    /// Where lines are lacking.
    pub holes: Vec<Hole>,
}

/// A checkpoint that was kept elsewhere knows of more than the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SeenElsewhere {
    /// How many records the log had when the journal's newest line was written.
    pub journal: u64,
    /// How many the checkpoint has seen.
    pub checkpoint: u64,
}

/// That a home was restored, and up to where it knows what happened.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Restored {
    /// When.
    pub at: Timestamp,
    /// When the backup was made.
    pub backup_at: Timestamp,
    /// With a journal that is at least as new as the backup: when its newest line was written, or the backup's own time.
    pub journal_to: Option<Timestamp>,
    /// What that journal brought; none if it holds revocations alone, as those of earlier versions do.
    #[serde(default)]
    pub brought: Option<Brought>,
    /// A checkpoint that was given has seen more than the journal.
    #[serde(default)]
    pub seen: Option<SeenElsewhere>,
}

impl Restored {
    /// From when to when the home knows nothing of revocations.
    pub fn unknown_from(&self) -> Timestamp {
        self.journal_to.unwrap_or(self.backup_at)
    }

    /// From when on the home may lack certificates that it has issued: up to there it has all of them.
    pub fn certificates_unknown_from(&self) -> Timestamp {
        match (&self.brought, self.journal_to) {
            (Some(brought), Some(to)) => brought.holes.first().map_or(to, |hole| hole.from),
            _ => self.backup_at,
        }
    }

    /// What the home does not know, and what to do about it.
    pub fn finding(&self, object: &str) -> Finding {
        let Self { at, backup_at, .. } = self;
        let what = format!(
            "The home was restored on {at} from a backup of {backup_at}. {}{}{} Values that were replaced after the backup are \
             the old ones here.",
            self.revocations(),
            self.certificates(),
            self.shortened(),
        );
        // Without a journal nobody knows who was shut out: that comes before everything else.
        let severity = match self.journal_to.is_none() || self.seen.is_some() {
            true => Severity::Critical,
            false => Severity::High,
        };
        Finding::new(
            FindingKind::Restored,
            severity,
            object.to_owned(),
            &at.to_string(),
        )
        .saying(what, self.remedy())
    }

    fn revocations(&self) -> String {
        let Self { at, backup_at, .. } = self;
        match (self.journal_to, &self.brought) {
            (Some(to), Some(brought)) => format!(
                "Its journal was replayed to {to}: what was issued, renewed, suspended and revoked until then holds \
                 ({} renewed, {} enrolled, {} suspended). What happened later is unknown here.",
                brought.renewed, brought.enrolled, brought.suspended,
            ),
            (Some(to), None) => format!(
                "The revocation journal that was given is at least as new as the backup: the revocations of devices in it hold, to {to}. \
                 What ended later, and the access of people and tokens that ended after the backup, is unknown here and may come in again."
            ),
            (None, _) => format!(
                "There was no revocation journal newer than the backup: what happened from {backup_at} to {at} is unknown here, and \
                 devices, people and tokens that were shut out then may come in again."
            ),
        }
    }

    fn certificates(&self) -> String {
        let brought = self.brought.as_ref();
        let mut text = String::new();
        for hole in brought.iter().flat_map(|brought| &brought.holes) {
            let Hole { from, to } = hole;
            text.push_str(&format!(
                " Lines of the journal are missing: what happened from {from} to {to} is unknown here."
            ));
        }
        let left_out = brought.map(|brought| brought.left_out.join(", "));
        if let Some(left_out) = left_out.filter(|names| !names.is_empty()) {
            text.push_str(&format!(
                " Left out, because the backup lacks their environment or profile: {left_out}."
            ));
        }
        text.push_str(&format!(
            " Devices whose certificate was issued after {}, and is not known here, wait until they are confirmed one by one.",
            self.certificates_unknown_from()
        ));
        text
    }

    fn shortened(&self) -> String {
        let Some(SeenElsewhere {
            journal,
            checkpoint,
        }) = self.seen
        else {
            return String::new();
        };
        format!(
            " The checkpoint that was given has seen {checkpoint} records of the log, and the journal ends at {journal}. If access was \
             given or ended in between, the journal was shortened, or its last lines were never shipped."
        )
    }

    fn remedy(&self) -> &'static str {
        match self.journal_to {
            Some(_) => {
                "End again what was ended in the time that is unknown, confirm the devices that wait, each by its name, and test the bridges; then \
                 accept this. On the command line: `hearthkey device waiting`, `hearthkey device readmit DEVICE`, `hearthkey device revoke`, \
                 `hearthkey bridge test`."
            }
            None => {
                "End again what was ended in that time, confirm the devices that wait, each by its name, and test the bridges; then accept \
                 this. If the journal of the lost machine turns up, restore once more, into another directory and with it. On the command line: \
                 `hearthkey device revoke`, `hearthkey device waiting`, `hearthkey device readmit DEVICE`, `hearthkey bridge test`, \
                 `hearthkey restore FILE --journal FILE`."
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

    fn restored(journal_to: Option<i64>, brought: Option<Brought>) -> Restored {
        Restored {
            at: day(9),
            backup_at: day(3),
            journal_to: journal_to.map(day),
            brought,
            seen: None,
        }
    }

    #[test]
    fn a_restored_home_says_from_when_to_when_it_knows_nothing() {
        let blind = restored(None, None).finding(OBJECT);
        assert_eq!(
            (blind.kind, blind.severity),
            (FindingKind::Restored, Severity::Critical)
        );
        let span = format!("from {} to {} is unknown", day(3), day(9));
        assert!(blind.what.contains(&span), "{}", blind.what);
        let knowing = restored(Some(8), None).finding(OBJECT);
        assert_eq!(knowing.severity, Severity::High);
        assert!(
            knowing.what.contains("hold, to 1970-01-09"),
            "{}",
            knowing.what
        );
        assert!(blind.remedy.contains("turns up") && !knowing.remedy.contains("turns up"));
        for found in [blind, knowing] {
            assert!(
                found.what.contains("confirmed one by one"),
                "{}",
                found.what
            );
        }
        assert_eq!(restored(None, None).unknown_from(), day(3));
        assert_eq!(restored(Some(8), None).certificates_unknown_from(), day(3));
    }

    #[test]
    fn a_replayed_journal_is_known_to_its_end_or_to_its_first_hole() {
        let whole = restored(Some(8), Some(Brought::default()));
        assert_eq!(whole.certificates_unknown_from(), day(8));
        assert!(
            whole
                .finding(OBJECT)
                .what
                .contains("replayed to 1970-01-09")
        );
        let hole = Hole {
            from: day(4),
            to: day(5),
        };
        let holed = restored(
            Some(8),
            Some(Brought {
                holes: vec![hole],
                left_out: vec!["lamp".into()],
                ..Brought::default()
            }),
        );
        assert_eq!(holed.certificates_unknown_from(), day(4));
        let what = holed.finding(OBJECT).what;
        let span = format!("from {} to {} is unknown", day(4), day(5));
        assert!(
            what.contains(&span) && what.contains("profile: lamp"),
            "{what}"
        );
        let shortened = Restored {
            seen: Some(SeenElsewhere {
                journal: 7,
                checkpoint: 9,
            }),
            ..whole
        };
        let found = shortened.finding(OBJECT);
        assert_eq!(found.severity, Severity::Critical);
        assert!(
            found.what.contains("ends at 7. If access"),
            "{}",
            found.what
        );
    }
}
