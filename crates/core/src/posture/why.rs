//! Why findings matter: one sentence for each kind.

use crate::finding::FindingKind;

/// Why a finding of a kind matters.
pub fn why(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::SharedAcrossEnvironments => {
            "Anyone who gets it in one environment has it in the other."
        }
        FindingKind::Reused => "One leak exposes both, and neither can be replaced alone.",
        FindingKind::Leaked => "A value that others may have read gives no protection.",
        FindingKind::Due => "The longer a value is used, the more places and people have seen it.",
        FindingKind::Expired => "Whatever needs it has stopped working, or soon will.",
        FindingKind::Drift => "It can do more than was declared, and so can anyone who steals it.",
        FindingKind::Unmanaged => {
            "A secret in a file has no owner, no end and no record of who read it."
        }
        FindingKind::RotationHeld => "Two values are valid until somebody decides.",
        FindingKind::Leftover => "A value that should be gone may still be accepted.",
        FindingKind::NotTold => "Its users may continue with a value that ends.",
        FindingKind::KeyFile => "Anyone who can read the disk or a backup can unlock the home.",
        FindingKind::NotAnchored => {
            "If an older database had been put back, it would not have been detected."
        }
        FindingKind::NoBackup => "If the SD card fails, every device must be enrolled again.",
        FindingKind::CaLife => "When a CA ends, everything it has signed ends with it.",
        FindingKind::Expiring => "A device that does not renew loses its connection.",
        FindingKind::NeverUsed => "A permission that is not used only helps an attacker.",
        FindingKind::Orphaned => {
            "No one is responsible for it, and a former member may still know it."
        }
        FindingKind::WeakAlgorithm => "A weak key can be computed, and does not have to be stolen.",
        FindingKind::Unencrypted => "Anyone who listens on the network has the secret.",
        FindingKind::OverAge => {
            "The longer a key is used, the longer someone who copied it can pass for the device."
        }
        FindingKind::OverPrivileged => {
            "Someone who takes over the device gets all its permissions, used or not."
        }
        FindingKind::Ending => "Whatever needs it stops working at that moment, day or night.",
        FindingKind::AnchorBehind => {
            "If an older database is put back, it is detected only up to the anchor."
        }
        FindingKind::Untested => "A backup that was never tested may fail when it is needed.",
        FindingKind::JournalIncomplete => {
            "After a restore, a revoked device could connect again unnoticed."
        }
        FindingKind::ClockNotTrusted => {
            "While the time is not known, nothing is issued, and an expiry may be noticed late."
        }
        FindingKind::StorageUnavailable => {
            "What is revoked now comes back with a restart, and nothing else can be issued or given out."
        }
        FindingKind::UnlockMissing => {
            "What opens the home is needed again at the next start; without it, all that the home keeps is lost."
        }
        FindingKind::NoRecoveryCode => {
            "Whoever forgets the passphrase, or loses the disk, cannot open the home or a backup of it again."
        }
        FindingKind::SharedIdentity => {
            "Someone who has copied a device's key can do all that the device may do, in its name."
        }
        FindingKind::BoundReached => {
            "What is beyond a bound is lost or late, and the device may not notice."
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
