//! What a home should look like, and what is found where it does not: facts in, findings out.
//!
//! Findings about one kind of thing in many devices are one finding that counts them: a list of a
//! hundred thousand lines helps nobody. Where each can be put right by one act, the first few are findings of their
//! own, and the rest is counted.

pub mod authority;
pub mod backups;
pub mod ending;
mod many;
pub mod next_value;
pub mod overload;
pub mod privilege;
pub mod restart;
pub mod shared_identity;
pub mod strength;
mod why;
pub mod witness;

use crate::backup::shipped::Shipped;
use crate::finding::{Finding, FindingKind, RemedyAction, RemedyKind, Severity};
use crate::time::{Span, Timestamp};

use authority::CaLife;
use backups::{Backups, Restored};
use many::AboutMany;
pub use many::{EACH_MAX, Each, NAMED_MAX, Named};
use restart::Disk;
pub use why::why;
use witness::{Anchor, ClockDoubted, JournalGaps, JournalOpened};

/// A device that has never been seen so long after it was enrolled is nobody's.
pub const NEVER_SEEN: Span = Span::days(30);
/// A credential that was not given out so long after it was made is not needed.
pub const NEVER_GIVEN: Span = Span::days(90);
/// A token that was not used so long after it was made is not needed.
pub const NEVER_SHOWN: Span = Span::days(30);
/// A device's key that has been certified for longer is too old (NIST SP 800-57 part 1 revision 5, §5.3.6: a private
/// authentication key is used for one to two years).
pub const KEY_AGE: Span = Span::days(2 * 365);

/// What is known of a home.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The home's id.
    pub home: String,
    /// Whether a key file opens it.
    pub key_file: bool,
    /// Whether no recovery code opens it.
    pub no_recovery_code: bool,
    /// Whether the disk takes what is written.
    pub disk: Disk,
    /// The files that open the home and are not there, or open nothing.
    pub unusable_unlock_files: Vec<&'static str>,
    /// When the home last opened without a checkpoint of its log outside the database, if it ever did.
    pub unanchored_at: Option<Timestamp>,
    /// The log's newest checkpoint outside the database, as it is now.
    pub anchor: Anchor,
    /// What the revocation journal lacked when the home opened.
    pub journal_opened: JournalOpened,
    /// What it lacks now.
    pub journal: JournalGaps,
    /// What the machine's clock and home time show, if home time does not follow it.
    pub clock_doubted: Option<ClockDoubted>,
    /// Active devices whose certificate was made by a clock that was taken back.
    pub of_the_future: Named,
    /// What is known of backups.
    pub backups: Backups,
    /// How far the place for backups knows the journal.
    pub shipped: Shipped,
    /// How the home was restored, if it was.
    pub restored: Option<Restored>,
    /// What is wrong with the log, as the gateway found when it verified it.
    pub log_problem: Option<String>,
    /// What is weaker than what the home issues.
    pub weak: Each,
    /// Bridges that are talked to without encryption.
    pub unencrypted: Named,
    /// Active devices whose key has been certified for longer than [`KEY_AGE`].
    pub over_age: Named,
    /// Active devices that hold more than they use.
    pub over_privileged: Each,
    /// Tokens that can soon be renewed no more.
    pub ending: Each,
    /// The CAs.
    pub authorities: Vec<CaLife>,
    /// Devices of a restored home that wait to be confirmed.
    pub waiting: Named,
    /// Active devices whose certificate should have been renewed by now.
    pub unrenewed: Named,
    /// Active devices that were enrolled long ago and never seen.
    pub unseen: Named,
    /// Devices whose owner's access has ended.
    pub orphaned_devices: Named,
    /// Credentials whose owner's access has ended.
    pub orphaned_credentials: Named,
    /// Tokens whose owner's, or maker's, access has ended.
    pub orphaned_tokens: Named,
    /// Credentials that were made long ago and never given out.
    pub ungiven: Named,
    /// Tokens that were made long ago and never used.
    pub unshown: Each,
    /// Devices that seem to be two machines: by turns, and side by side.
    pub shared_identities: Each,
    /// Bounds that devices have reached lately.
    pub overloads: Each,
}

/// That a token was made long ago and never used.
pub fn token_never_used(name: &str) -> Finding {
    let object = format!("token:{name}");
    let finding = Finding::new(FindingKind::NeverUsed, Severity::Medium, object.clone(), "");
    finding
        .saying(
            format!("The token {name} was never used."),
            format!("Revoke it if nothing needs it. On the command line: `hearthkey token revoke {name}`."),
        )
        .solved_by(RemedyAction::new(RemedyKind::Revoke, object))
}

/// What is not as it should be.
pub fn judge(facts: &Facts, now: Timestamp) -> Vec<Finding> {
    let mut findings = of_home(facts, now);
    for ca in &facts.authorities {
        findings.extend(authority::of_authority(ca, &facts.home, now));
    }
    let many = about_many(facts);
    findings.extend(many.iter().filter_map(|about| about.finding(&facts.home)));
    for (kind, each) in [
        (FindingKind::WeakAlgorithm, &facts.weak),
        (FindingKind::OverPrivileged, &facts.over_privileged),
        (FindingKind::Ending, &facts.ending),
        (FindingKind::NeverUsed, &facts.unshown),
        (FindingKind::SharedIdentity, &facts.shared_identities),
        (FindingKind::BoundReached, &facts.overloads),
    ] {
        findings.extend(each.judged(kind, &facts.home));
    }
    findings
}

/// What is not as it should be with the home as a whole.
fn of_home(facts: &Facts, now: Timestamp) -> Vec<Finding> {
    let object = format!("home:{}", facts.home);
    let one = |kind, severity, what: &str, remedy: &str| {
        Finding::new(kind, severity, object.clone(), "").saying(what, remedy)
    };
    let mut findings = Vec::new();
    if facts.key_file {
        findings.push(one(
            FindingKind::KeyFile,
            Severity::Medium,
            "The unlock key is stored next to the data.",
            "Add a passphrase and remove the key file, or accept the risk if nobody else can read the disk. On the command line: `hearthkey unlock add-passphrase`, then `hearthkey unlock remove key-file`.",
        ));
    }
    if facts.no_recovery_code {
        findings.push(one(
            FindingKind::NoRecoveryCode,
            Severity::High,
            "The home has no recovery code.",
            "Issue one, and keep it away from this machine. On the command line: `hearthkey unlock recovery-code`.",
        ));
    }
    if let Some(problem) = &facts.log_problem {
        // Accepting this one does not accept what is found later.
        let finding = Finding::new(
            FindingKind::LogAltered,
            Severity::Critical,
            object.clone(),
            problem,
        );
        findings.push(finding.saying(
            format!("The log does not verify: {problem}."),
            "Keep a copy of the database, compare an export with a checkpoint that a device or an earlier export holds, \
             and restore a backup. To continue with this log instead, accept it. On the command line: `hearthkey log accept --reason WHY`.",
        ));
    }
    if let Some(at) = facts.unanchored_at {
        findings.push(witness::of_opening_without_anchor(at, &object));
    }
    findings.extend(witness::of_anchor(facts.anchor, &object, now));
    findings.extend(witness::of_journal(
        &facts.journal_opened,
        &facts.journal,
        &object,
    ));
    findings.extend(restart::of_disk(facts.disk, &object));
    let unusable = &facts.unusable_unlock_files;
    findings.extend(restart::of_unlock_files(unusable, &object));
    findings.extend(witness::of_clock(
        facts.clock_doubted.as_ref(),
        &object,
        now,
    ));
    findings.extend(backups::of_backups(&facts.backups, &object, now));
    findings.extend(facts.shipped.finding(&object, now));
    findings.extend(
        facts
            .restored
            .as_ref()
            .map(|restored| restored.finding(&object)),
    );
    findings
}

fn about_many(facts: &Facts) -> Vec<AboutMany<'_>> {
    vec![
        AboutMany {
            kind: FindingKind::Waiting,
            severity: Severity::High,
            named: &facts.waiting,
            noun: "device",
            what: "Wait to be confirmed after the restore:",
            remedy: "Look which of them are yours and were not revoked after the backup; confirm each of these by its name: it gets a new key. On the command line: `hearthkey device waiting`, `hearthkey device readmit DEVICE`.",
            act: None,
        },
        AboutMany {
            kind: FindingKind::Expiring,
            severity: Severity::High,
            named: &facts.unrenewed,
            noun: "device",
            what: "Missed their renewal:",
            remedy: "Check that they are switched on and can reach the gateway. Those that have lost their key need a new claim code. On the command line: `hearthkey device claim DEVICE --help`.",
            act: None,
        },
        AboutMany {
            kind: FindingKind::OverAge,
            severity: Severity::Medium,
            named: &facts.over_age,
            noun: "device",
            what: "Same key for more than two years (NIST SP 800-57 part 1 recommends one to two):",
            remedy: "Rotate them. A profile with key_reuse lets a device keep its key: open a claim under a profile without it, and enroll the device again. On the command line: `hearthkey device rotate DEVICE`.",
            act: Some(RemedyKind::Rotate),
        },
        AboutMany {
            kind: FindingKind::WrongClock,
            severity: Severity::Medium,
            named: &facts.of_the_future,
            noun: "device",
            what: "Certificate made while the clock was wrong, dated in the future:",
            remedy: "Ask them for a new key. On the command line: `hearthkey device rotate DEVICE`.",
            act: Some(RemedyKind::Rotate),
        },
        AboutMany {
            kind: FindingKind::NeverUsed,
            severity: Severity::Medium,
            named: &facts.unseen,
            noun: "device",
            what: "Not connected since enrollment:",
            remedy: "Retire the devices that are gone. On the command line: `hearthkey device retire DEVICE`.",
            act: Some(RemedyKind::Retire),
        },
        AboutMany {
            kind: FindingKind::Orphaned,
            severity: Severity::High,
            named: &facts.orphaned_devices,
            noun: "device",
            what: "No current owner: the former owner's access has ended:",
            remedy: "Open a new claim with another owner, and enroll the device again; it stays connected until then. Or retire it. On the command line: `hearthkey device claim DEVICE --profile PROFILE --env ENVIRONMENT --owner WHO --purpose WHY`, `hearthkey device retire DEVICE`.",
            act: None,
        },
        AboutMany {
            kind: FindingKind::Orphaned,
            severity: Severity::High,
            named: &facts.orphaned_credentials,
            noun: "credential",
            what: "No current owner: the former owner's access has ended:",
            remedy: "Assign a new owner, and rotate the values that the former owner has seen. On the command line: `hearthkey credential change NAME --env ENVIRONMENT --owner WHO`.",
            act: None,
        },
        AboutMany {
            kind: FindingKind::Orphaned,
            severity: Severity::High,
            named: &facts.orphaned_tokens,
            noun: "token",
            what: "No current owner or maker: their access has ended:",
            remedy: "Revoke them, and create new ones for another owner. On the command line: `hearthkey token revoke NAME`.",
            act: Some(RemedyKind::Revoke),
        },
        AboutMany {
            kind: FindingKind::NeverUsed,
            severity: Severity::Medium,
            named: &facts.ungiven,
            noun: "credential",
            what: "Never given out:",
            remedy: "Retire those that nothing needs. On the command line: `hearthkey credential retire NAME --env ENVIRONMENT`.",
            act: Some(RemedyKind::Retire),
        },
        AboutMany {
            kind: FindingKind::Unencrypted,
            severity: Severity::High,
            named: &facts.unencrypted,
            noun: "bridge",
            what: "Secrets are sent over the network without encryption:",
            remedy: "Switch on TLS at the bridge, then connect it again with an address that begins with https:// or mqtts://. On the command line: `hearthkey bridge connect --help`.",
            act: None,
        },
    ]
}

#[cfg(test)]
mod tests;
