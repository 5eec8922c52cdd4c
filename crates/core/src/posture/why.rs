//! Why findings matter: one sentence for each kind.

use crate::finding::FindingKind;

/// Why a finding of a kind matters.
pub fn why(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::SharedAcrossEnvironments => {
            "Anyone who gets it in one environment has it in the others."
        }
        FindingKind::Reused => "One leak exposes them all, and then each has to be replaced.",
        FindingKind::Leaked => "A value that others may have read gives no protection.",
        FindingKind::Due => "The longer a value is used, the more places and people have seen it.",
        FindingKind::Expired => "Whatever needs it has stopped working, or soon will.",
        FindingKind::Drift => "It can do more than was declared, and so can anyone who steals it.",
        FindingKind::Unmanaged => {
            "A secret in a file has no owner, no end and no record of who read it."
        }
        FindingKind::RotationHeld => "Two values are valid until somebody decides.",
        FindingKind::Leftover => "A value that should be gone may still be accepted.",
        FindingKind::NotTold => {
            "Programs may still use the old value, and stop working when it ends."
        }
        FindingKind::KeyFile => "Anyone who can read the disk can unlock the home.",
        FindingKind::NotAnchored => {
            "The anchor file notes the newest log record. Without it, an older database that is put back is not noticed."
        }
        FindingKind::BackupMissing => {
            "If the disk fails, every secret in the vault is lost, and every device must be enrolled again."
        }
        FindingKind::BackupFailed => {
            "What changed since the last backup is lost if the disk fails."
        }
        FindingKind::BackupOld => "What was issued and revoked since then is in no backup.",
        FindingKind::JournalNotShipped => {
            "If the machine is lost now, what was issued and revoked since then is unknown to the home that is restored."
        }
        FindingKind::Waiting => {
            "The home has issued their certificates and lost that: they may be its own devices, or ones that were revoked since."
        }
        FindingKind::Restored => {
            "What was revoked after the backup may come in again, and what renewed after it is refused."
        }
        FindingKind::CaLife => "When a CA ends, everything it has signed ends with it.",
        FindingKind::Expiring => "A device that does not renew loses its connection.",
        FindingKind::NeverUsed => "A permission that is not used only helps an attacker.",
        FindingKind::Orphaned => {
            "No one is responsible for it, and a former member may still know its value or have its key."
        }
        FindingKind::WeakAlgorithm => "An attacker can compute a weak key without stealing it.",
        FindingKind::Unencrypted => "Anyone who listens on the network has the secret.",
        FindingKind::OverAge => {
            "The longer a key is used, the longer someone who copied it can pass for the device."
        }
        FindingKind::OverPrivileged => {
            "Someone who takes over the device gets all its permissions, used or not."
        }
        FindingKind::Ending => "Whatever needs it stops working at that moment, day or night.",
        FindingKind::AnchorBehind => {
            "The anchor file notes the newest log record. If an older database is put back, that is noticed only up to there."
        }
        FindingKind::Untested => "A backup that was never tested may fail when it is needed.",
        FindingKind::JournalIncomplete => {
            "After a restore, a revoked device could connect again unnoticed."
        }
        FindingKind::ClockNotTrusted => {
            "While the time is not known, nothing is issued, and an expiry may be noticed late."
        }
        FindingKind::WrongClock => {
            "It lasts longer than it should, and a device with the right time may refuse to use it yet."
        }
        FindingKind::StorageUnavailable => {
            "A revocation made now is lost at a restart unless the disk has it by then. Nothing can be issued or given out."
        }
        FindingKind::UnlockMissing => {
            "The home may not open again at its next start. Then all that it holds is lost."
        }
        FindingKind::NoRecoveryCode => {
            "Whoever forgets the passphrase, or loses the disk, cannot open the home or a backup of it again."
        }
        FindingKind::SharedIdentity => {
            "Someone who has copied a device's key can do all that the device may do, in its name."
        }
        FindingKind::BoundReached => {
            "Messages beyond the limit are lost or late, and the device may not notice."
        }
        FindingKind::LogAltered => {
            "Somebody who has the home's keys has changed what is on record, or the disk has."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_says_why_it_matters() {
        for kind in FindingKind::ALL {
            assert!(why(*kind).ends_with('.'), "{kind}");
        }
    }
}
