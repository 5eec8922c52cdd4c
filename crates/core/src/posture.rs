//! What a home should look like, and what is found where it does not: facts in, findings out.
//!
//! Findings about one kind of thing in many devices are one finding that counts them: a list of a
//! hundred thousand lines helps nobody.

use crate::finding::{Finding, FindingKind, Severity};
use crate::time::{Span, Timestamp};

/// A device that has never been seen so long after it was enrolled is nobody's.
pub const NEVER_SEEN: Span = Span::days(30);
/// A credential that was not given out so long after it was made is not needed.
pub const NEVER_GIVEN: Span = Span::days(90);
/// A token that was not used so long after it was made is not needed.
pub const NEVER_SHOWN: Span = Span::days(30);
/// A CA is replaced while it has this much life left.
pub const CA_LIFE_LEFT: Span = Span::days(2 * 398);
/// Names that a finding about many gives.
pub const NAMED_MAX: usize = 5;

/// Things of which the same is wrong: the first few names, and how many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    /// The first of them.
    pub names: Vec<String>,
    /// All of them.
    pub count: u64,
}

/// A CA and its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaLife {
    /// What it is called in the registry.
    pub name: String,
    /// When it ends.
    pub not_after: Timestamp,
}

/// What is known of a home.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The home's id.
    pub home: String,
    /// Whether a key file opens it.
    pub key_file: bool,
    /// Whether the log's newest checkpoint lies outside the database.
    pub anchored: bool,
    /// Whether a backup was made and tried.
    pub backed_up: bool,
    /// The CAs.
    pub authorities: Vec<CaLife>,
    /// Active devices whose certificate should have been renewed by now.
    pub unrenewed: Named,
    /// Active devices that were enrolled long ago and never seen.
    pub unseen: Named,
    /// Devices whose owner's access has ended.
    pub orphaned_devices: Named,
    /// Credentials whose owner's access has ended.
    pub orphaned_credentials: Named,
    /// Credentials that were made long ago and never given out.
    pub ungiven: Named,
    /// Tokens that were made long ago and never used.
    pub unshown: Named,
}

impl Named {
    /// Adds one.
    pub fn add(&mut self, name: String) {
        self.count += 1;
        if self.names.len() < NAMED_MAX {
            self.names.push(name);
        }
    }

    fn text(&self, noun: &str) -> String {
        let (first, more) = (self.names.join(", "), self.count - self.names.len() as u64);
        match (self.count, more) {
            (1, _) => format!("1 {noun}: {first}"),
            (count, 0) => format!("{count} {noun}s: {first}"),
            (count, more) => format!("{count} {noun}s: {first} and {more} more"),
        }
    }
}

fn many(
    kind: FindingKind,
    severity: Severity,
    home: &str,
    (named, noun): (&Named, &str),
    (what, remedy): (&str, &str),
) -> Option<Finding> {
    if named.count == 0 {
        return None;
    }
    let finding = Finding::new(kind, severity, format!("home:{home}"), noun);
    Some(finding.saying(format!("{what} {}.", named.text(noun)), remedy))
}

/// What is not as it should be.
pub fn judge(facts: &Facts, now: Timestamp) -> Vec<Finding> {
    let object = format!("home:{}", facts.home);
    let one = |kind, severity, mark: &str, what: &str, remedy: &str| {
        Finding::new(kind, severity, object.clone(), mark).saying(what, remedy)
    };
    let mut findings = Vec::new();
    if facts.key_file {
        findings.push(one(
            FindingKind::KeyFile,
            Severity::Medium,
            "",
            "The home opens with a key file that lies beside it.",
            "Make a home with `hearthkey init --slot passphrase`, or accept it where nobody else reads the disk.",
        ));
    }
    if !facts.anchored {
        findings.push(one(
            FindingKind::NotAnchored,
            Severity::High,
            "",
            "The anchor file was missing when the home opened.",
            "Compare the log with a checkpoint that a device or an export holds, then accept this.",
        ));
    }
    if !facts.backed_up {
        findings.push(one(
            FindingKind::NoBackup,
            Severity::Medium,
            "",
            "No backup is known that was made and tried.",
            "Stop the gateway, copy its data directory, open the copy once; then accept this with the day of the next one.",
        ));
    }
    for ca in &facts.authorities {
        if now.after(CA_LIFE_LEFT) > ca.not_after {
            findings.push(one(
                FindingKind::CaLife,
                Severity::High,
                &ca.name,
                &format!("The CA {} ends on {}.", ca.name, ca.not_after),
                "Plan a new environment and move its devices before then: a CA cannot be replaced in this version.",
            ));
        }
    }
    let about_many = [
        (
            FindingKind::Expiring,
            Severity::High,
            (&facts.unrenewed, "device"),
            (
                "Should have renewed and did not:",
                "See whether they are switched on and reach the gateway; open a new claim for those that are lost.",
            ),
        ),
        (
            FindingKind::NeverUsed,
            Severity::Medium,
            (&facts.unseen, "device"),
            (
                "Enrolled and never seen again:",
                "Retire what is not there: `hearthkey device retire DEVICE`.",
            ),
        ),
        (
            FindingKind::Orphaned,
            Severity::High,
            (&facts.orphaned_devices, "device"),
            (
                "Belong to somebody whose access has ended:",
                "Claim them anew for another owner, or retire them.",
            ),
        ),
        (
            FindingKind::Orphaned,
            Severity::High,
            (&facts.orphaned_credentials, "credential"),
            (
                "Belong to somebody whose access has ended:",
                "Give them another owner, and rotate what that person has seen: `hearthkey credential change … --owner`.",
            ),
        ),
        (
            FindingKind::NeverUsed,
            Severity::Medium,
            (&facts.ungiven, "credential"),
            (
                "Made and never given out:",
                "Retire what nothing needs: `hearthkey credential retire NAME --env ENVIRONMENT`.",
            ),
        ),
        (
            FindingKind::NeverUsed,
            Severity::Medium,
            (&facts.unshown, "token"),
            (
                "Made and never used:",
                "Revoke what nothing needs: `hearthkey token revoke NAME`.",
            ),
        ),
    ];
    findings.extend(
        about_many
            .into_iter()
            .filter_map(|(kind, severity, named, said)| {
                many(kind, severity, &facts.home, named, said)
            }),
    );
    findings
}

/// Why a finding of a kind matters.
pub fn why(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::SharedAcrossEnvironments => {
            "Whoever gets it in one environment has it in the other."
        }
        FindingKind::Reused => "One leak opens two doors, and neither can be closed alone.",
        FindingKind::Leaked => "A value that others may have read protects nothing.",
        FindingKind::Due => "The longer a value lives, the more places and people have seen it.",
        FindingKind::Expired => "What needs it has stopped working, or soon will.",
        FindingKind::Drift => {
            "It can do more than anybody wrote down, and so can whoever steals it."
        }
        FindingKind::Unmanaged => {
            "A secret in a file has no owner, no end and no record of who read it."
        }
        FindingKind::RotationHeld => "Two values live until somebody decides.",
        FindingKind::Leftover => "Something that should be gone may still open a door.",
        FindingKind::NotTold => "Whoever uses it may go on with a value that ends.",
        FindingKind::KeyFile => {
            "Whoever can read the disk can open the home: a stolen card, a backup."
        }
        FindingKind::NotAnchored => {
            "A database put back to an earlier state would not have been noticed."
        }
        FindingKind::NoBackup => "A dead card takes every identity in the home with it.",
        FindingKind::CaLife => "When a CA ends, everything it has signed ends with it.",
        FindingKind::Expiring => "A device that does not renew drops out of the home.",
        FindingKind::NeverUsed => "A right that nobody uses serves only who steals it.",
        FindingKind::Orphaned => "Nobody answers for it, and somebody who left may know it.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calm() -> Facts {
        Facts {
            home: "attic".into(),
            anchored: true,
            backed_up: true,
            authorities: vec![CaLife {
                name: "root".into(),
                not_after: Timestamp::from_s(0).after(Span::days(7300)),
            }],
            ..Facts::default()
        }
    }

    fn kinds(facts: &Facts) -> Vec<FindingKind> {
        let found = judge(facts, Timestamp::from_s(0));
        found.iter().map(|finding| finding.kind).collect()
    }

    #[test]
    fn a_home_as_it_should_be_has_no_findings() {
        assert_eq!(kinds(&calm()), []);
    }

    #[test]
    fn each_thing_that_is_wrong_is_found() {
        for (facts, kind) in [
            (
                Facts {
                    key_file: true,
                    ..calm()
                },
                FindingKind::KeyFile,
            ),
            (
                Facts {
                    anchored: false,
                    ..calm()
                },
                FindingKind::NotAnchored,
            ),
            (
                Facts {
                    backed_up: false,
                    ..calm()
                },
                FindingKind::NoBackup,
            ),
        ] {
            assert_eq!(kinds(&facts), [kind]);
        }
        let mut old = calm();
        old.authorities[0].not_after = Timestamp::from_s(0).after(Span::days(795));
        assert_eq!(kinds(&old), [FindingKind::CaLife]);
        old.authorities[0].not_after = Timestamp::from_s(0).after(Span::days(797));
        assert_eq!(kinds(&old), []);
    }

    #[test]
    fn many_of_a_kind_are_one_finding_with_the_first_names() {
        let mut facts = calm();
        for n in 0..7 {
            facts.unrenewed.add(format!("lamp-{n}"));
        }
        facts.unshown.add("ci".into());
        let found = judge(&facts, Timestamp::from_s(0));
        assert_eq!(found.len(), 2);
        assert_eq!(
            found[0].what,
            "Should have renewed and did not: 7 devices: lamp-0, lamp-1, lamp-2, lamp-3, lamp-4 and 2 more."
        );
        assert_eq!(found[1].what, "Made and never used: 1 token: ci.");
    }

    #[test]
    fn the_same_thing_found_again_has_the_same_id() {
        let mut facts = calm();
        facts.unrenewed.add("lamp".into());
        let first = judge(&facts, Timestamp::from_s(0)).remove(0);
        facts.unrenewed.add("door".into());
        let second = judge(&facts, Timestamp::from_s(60)).remove(0);
        assert_eq!(first.id, second.id);
    }

    #[test]
    fn each_kind_says_why_it_matters() {
        for kind in FindingKind::ALL {
            assert!(why(*kind).ends_with('.'), "{kind}");
        }
    }
}
