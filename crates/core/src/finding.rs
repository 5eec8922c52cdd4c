//! Findings: what is wrong with the inventory as it is, and what to do about it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::{Fingerprint, hex};
use crate::right::Right;
use crate::words::words;

words! {
    /// What kind of thing is wrong.
    FindingKind, "kind of finding", InvalidFindingKind {
        /// One value is used in two environments (R5).
        SharedAcrossEnvironments = "shared-across-environments",
        /// One value is used twice within an environment.
        Reused = "reused",
        /// A value was found where it must not be (R14).
        Leaked = "leaked",
        /// A value is older, or was used more often, than its policy allows.
        Due = "due",
        /// A credential has ended and is still in the inventory as active.
        Expired = "expired",
        /// A bridge gives a credential more than was declared (R16).
        Drift = "drift",
        /// A secret was seen in a file and not taken into the inventory (R1).
        Unmanaged = "unmanaged",
        /// A rotation waits for a person.
        RotationHeld = "rotation-held",
        /// A bridge could not be notified that something has ended.
        Leftover = "leftover",
        /// A place of use could not be notified of a rotation.
        NotTold = "not-told",
        /// The home opens with a key file (R4).
        KeyFile = "key-file",
        /// The log's newest checkpoint was not found outside the database.
        NotAnchored = "not-anchored",
        /// There is no backup, and no place for one.
        BackupMissing = "backup-missing",
        /// The newest attempt at a backup failed.
        BackupFailed = "backup-failed",
        /// The newest backup is old.
        BackupOld = "backup-old",
        /// The place for backups lacks the journal's newest lines.
        JournalNotShipped = "journal-not-shipped",
        /// Devices of a restored home wait until a person confirms them.
        Waiting = "devices-waiting",
        /// The home was restored from a backup.
        Restored = "restored",
        /// A CA ends soon.
        CaLife = "ca-life",
        /// Devices that should have renewed.
        Expiring = "expiring",
        /// Something is there and was never used.
        NeverUsed = "never-used",
        /// Somebody who has gone owns something.
        Orphaned = "orphaned",
        /// A key, a signature or a value is weaker than what the home issues (R22).
        WeakAlgorithm = "weak-algorithm",
        /// A bridge is talked to without encryption (R13).
        Unencrypted = "unencrypted",
        /// A device's key is older than a key should get (R22).
        OverAge = "over-age",
        /// A device holds rights that it does not use (R2).
        OverPrivileged = "over-privileged",
        /// A credential or a token ends soon.
        Ending = "ending",
        /// The log's newest checkpoint has not been put outside the database for a while.
        AnchorBehind = "anchor-behind",
        /// There is a backup, and whether it can be read is untested.
        Untested = "untested-backup",
        /// The log does not match its signature (R40).
        LogAltered = "log-altered",
        /// The revocation journal does not hold what it should.
        JournalIncomplete = "journal-incomplete",
        /// The machine's clock is not believed, so that what depends on the time waits.
        ClockNotTrusted = "clock-not-trusted",
        /// Something was made by a clock that was taken back.
        WrongClock = "wrong-clock",
        /// The disk does not take what is written.
        StorageUnavailable = "storage-unavailable",
        /// A file that opens the home is not there.
        UnlockMissing = "unlock-missing",
        /// No recovery code opens the home.
        NoRecoveryCode = "no-recovery-code",
        /// Two machines seem to use one identity.
        SharedIdentity = "shared-identity",
        /// A device has reached a bound.
        BoundReached = "bound-reached",
    }
}

words! {
    /// What puts a finding right, where that is one act.
    RemedyKind, "kind of remedy", InvalidRemedyKind {
        /// A credential gets a new value, or a device is asked for a new key.
        Rotate = "rotate",
        /// A device is left the rights that are named, and no others.
        Narrow = "narrow",
        /// A device is cut off until it is needed again.
        Suspend = "suspend",
        /// A device or a credential is taken out of use.
        Retire = "retire",
        /// A token ends.
        Revoke = "revoke",
        /// A token may be renewed for another ceiling.
        Reauthorize = "reauthorize",
    }
}

words! {
    /// The severity.
    Severity, "severity", InvalidSeverity {
        /// Act now.
        Critical = "critical",
        /// Act this week.
        High = "high",
        /// Look at it when there is time.
        Medium = "medium",
    }
}

/// The one act that puts a finding right: what an interface offers to do at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemedyAction {
    /// What is done.
    pub kind: RemedyKind,
    /// To what: `device:lamp`, `credential:home/hue/api-key`, `token:ci`.
    pub object: String,
    /// With [`RemedyKind::Narrow`]: the rights that are left.
    pub keep: Vec<Right>,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The same thing found again has the same id: 16 hexadecimal digits.
    pub id: String,
    /// What kind of thing.
    pub kind: FindingKind,
    /// The severity.
    pub severity: Severity,
    /// With what: `credential:home/hue/api-key`, a path.
    pub object: String,
    /// What is wrong, in one sentence.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
    /// The same for a program, where it is one act.
    pub action: Option<RemedyAction>,
}

impl RemedyAction {
    /// An act on an object.
    pub fn new(kind: RemedyKind, object: impl Into<String>) -> Self {
        Self {
            kind,
            object: object.into(),
            keep: Vec::new(),
        }
    }

    /// What always puts findings of this kind about such an object right.
    pub fn usual(kind: FindingKind, object: &str) -> Option<Self> {
        let is_credential = object.starts_with("credential:");
        let ends_with_a_new_value = matches!(
            kind,
            FindingKind::Leaked | FindingKind::Due | FindingKind::Expired | FindingKind::Ending
        );
        (is_credential && ends_with_a_new_value).then(|| Self::new(RemedyKind::Rotate, object))
    }
}

impl Finding {
    /// A finding about an object. `mark` tells apart two of one kind about one object.
    pub fn new(kind: FindingKind, severity: Severity, object: String, mark: &str) -> Self {
        let id = Fingerprint::of(format!("{kind}\n{object}\n{mark}").as_bytes());
        Self {
            id: hex(&id.0[..8]),
            kind,
            severity,
            action: RemedyAction::usual(kind, &object),
            object,
            what: String::new(),
            remedy: String::new(),
        }
    }

    /// With what is wrong, and what to do.
    pub fn saying(mut self, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        self.what = what.into();
        self.remedy = remedy.into();
        self
    }

    /// With the one act that puts it right.
    pub fn solved_by(mut self, action: RemedyAction) -> Self {
        self.action = Some(action);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaked_value_is_put_right_by_a_new_one_and_a_leak_of_unknown_origin_by_no_one_act() {
        let about = |object: &str| {
            Finding::new(
                FindingKind::Leaked,
                Severity::Critical,
                object.into(),
                "here",
            )
        };
        let object = "credential:home/hue/api-key";
        let rotate = RemedyAction::new(RemedyKind::Rotate, object);
        assert_eq!(about(object).action, Some(rotate));
        assert_eq!(about("place:repo").action, None);
    }
}
