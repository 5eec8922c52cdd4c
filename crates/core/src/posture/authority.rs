//! CAs that end.
//!
//! The server CA and the issuing CAs are followed by new ones at half of their lives, by themselves: a finding about one of them
//! says that this has failed. The root is followed by nobody but a person.

use crate::authority::Life;
use crate::finding::{Finding, FindingKind, Severity};
use crate::time::Timestamp;

/// A CA and its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaLife {
    /// What it is called in the registry: `root`, `server`, `issuing/<environment>`.
    pub name: String,
    /// From when until when it is valid.
    pub life: Life,
}

/// What there is to say of a CA: from two thirds of its life on, louder at five sixths and at eleven twelfths.
pub(super) fn of_authority(ca: &CaLife, home: &str, now: Timestamp) -> Option<Finding> {
    let severity = match ca.life.twelfths_over(now) {
        ..8 => return None,
        8..10 => Severity::Medium,
        10 => Severity::High,
        _ => Severity::Critical,
    };
    let object = format!("home:{home}");
    let finding = Finding::new(FindingKind::CaLife, severity, object, &ca.name);
    let (called, remedy) = match ca.name.as_str() {
        "root" => (
            "The root".to_owned(),
            "Set up a new home and enroll the devices there before then. This version cannot replace a root.",
        ),
        "server" => ("The server CA".to_owned(), FOLLOWS_BY_ITSELF),
        name => {
            let environment = name.strip_prefix("issuing/").unwrap_or(name);
            (
                format!("The issuing CA of {environment}"),
                FOLLOWS_BY_ITSELF,
            )
        }
    };
    let ends = ca.life.ends;
    let what = match (now > ends, ca.name.as_str()) {
        (false, _) => format!("{called} ends on {ends}."),
        (true, "root") => {
            format!("{called} has ended on {ends}: devices that check it connect no more.")
        }
        (true, "server") => {
            format!("{called} has ended on {ends}: devices that check the time connect no more.")
        }
        (true, _) => {
            format!("{called} has ended on {ends}: nothing is issued there, and nothing renewed.")
        }
    };
    Some(finding.saying(what, remedy))
}

const FOLLOWS_BY_ITSELF: &str = "The gateway replaces it by itself, and has not. Check that its clock is right, its disk takes writes and \
                                 the root has not ended; then start the gateway again.";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;

    fn day(days: i64) -> Timestamp {
        Timestamp::from_s(0).after(Span::days(days))
    }

    #[test]
    fn every_ca_is_named_from_two_thirds_of_its_life_on_and_louder_towards_its_end() {
        for name in ["root", "server", "issuing/home"] {
            let ca = CaLife {
                name: name.into(),
                life: Life {
                    begins: day(0),
                    ends: day(1200),
                },
            };
            let at = |days| of_authority(&ca, "attic", day(days)).map(|finding| finding.severity);
            assert_eq!(at(799), None);
            assert_eq!(at(801), Some(Severity::Medium));
            assert_eq!(at(1001), Some(Severity::High));
            assert_eq!(at(1101), Some(Severity::Critical));
            let ended = of_authority(&ca, "attic", day(1300)).unwrap();
            assert_eq!(ended.severity, Severity::Critical);
            assert!(ended.what.contains("has ended"), "{}", ended.what);
        }
    }
}
