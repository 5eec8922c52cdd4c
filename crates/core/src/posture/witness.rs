//! What outlives the database: the anchor of its log, and the journal of its revocations.

use super::Named;
use crate::finding::{Finding, FindingKind, Severity};
use crate::id::{Fingerprint, hex};
use crate::time::{Span, Timestamp};
use crate::trusted_time::Doubted;

/// The anchor is written every second; one that has been behind for so long is not being written.
pub const ANCHOR_LATE: Span = Span::s(5 * 60);
/// The anchor file, as it lies beside the database now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Anchor {
    /// It covers the whole log, or nobody looked.
    #[default]
    Current,
    /// It ends before the log, whose first record beyond it was written at this moment.
    Behind(Timestamp),
    /// It is not there. It last covered a log of this size.
    Missing(u64),
    /// It does not carry this home's signature, or is of another log. It last covered the own one at this size.
    Foreign(u64),
}

/// Devices that a journal does not hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unwritten {
    named: Named,
    /// Of all their names, the first and the others.
    digest: Option<Fingerprint>,
}

impl Unwritten {
    /// Adds one.
    pub fn add(&mut self, name: String) {
        let before = self.digest.map(|all| hex(&all.0)).unwrap_or_default();
        self.digest = Some(Fingerprint::of(format!("{before}\n{name}").as_bytes()));
        self.named.add(name);
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.named.count
    }

    fn text(&self) -> Option<String> {
        (self.named.count > 0).then(|| self.named.text("revoked or retired device"))
    }

    /// Tells them from others, also beyond those that are named.
    fn mark(&self) -> String {
        let digest = self.digest.map(|all| hex(&all.0));
        digest.unwrap_or_default()
    }
}

/// What the revocation journal lacks now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JournalGaps {
    /// Whether the file is not there.
    pub missing: bool,
    /// Whether lines of what was issued were given up, because the disk took none for long or no backup was made.
    pub lost: bool,
    /// Devices whose revocation or retirement it does not hold, or not with every certificate.
    pub unwritten: Unwritten,
}

/// What the revocation journal lacked when the home opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JournalOpened {
    /// When the home last opened without the file, if it ever did.
    pub missing_at: Option<Timestamp>,
    /// Whether its last line had no end.
    pub unterminated: bool,
    /// Lines that this home did not write, or not to their end.
    pub foreign_lines: usize,
    /// Devices whose revocation or retirement it did not hold. The missing entries were added.
    pub unwritten: Unwritten,
}

/// What is wrong with the anchor.
pub fn of_anchor(anchor: Anchor, object: &str, now: Timestamp) -> Option<Finding> {
    let what = match anchor {
        Anchor::Current => return None,
        Anchor::Behind(since) if now < since.after(ANCHOR_LATE) => return None,
        Anchor::Behind(since) => {
            format!("The anchor file lacks the log records since {since}.")
        }
        Anchor::Missing(_) => "The anchor file is missing.".into(),
        Anchor::Foreign(_) => {
            "The anchor file belongs to another log, or is not signed by this home.".into()
        }
    };
    // Accepting this one does not accept what is found after the anchor was written again.
    let mark = match anchor {
        Anchor::Foreign(size) => format!("foreign {size}"),
        Anchor::Missing(size) => format!("missing {size}"),
        Anchor::Behind(since) => since.to_string(),
        Anchor::Current => String::new(),
    };
    let finding = Finding::new(
        FindingKind::AnchorBehind,
        Severity::High,
        object.to_owned(),
        &mark,
    );
    Some(finding.saying(
        what,
        "Check that checkpoint.anchor in the data directory can be written, and that the disk is not full. The \
         gateway's messages name the error. The file is written again with the next record.",
    ))
}

/// That the home opened without its anchor. Another opening is another finding.
pub fn of_opening_without_anchor(at: Timestamp, object: &str) -> Finding {
    let (kind, at) = (FindingKind::NotAnchored, at.to_string());
    Finding::new(kind, Severity::High, object.to_owned(), &at).saying(
        format!(
            "The anchor file was missing when the home was unlocked on {at}: if an older database was put back, this was not \
             detected."
        ),
        "Compare the log with a checkpoint from a device or an export, then accept this.",
    )
}

impl JournalOpened {
    /// What was wrong, a sentence for each.
    pub fn sentences(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        if let Some(at) = self.missing_at {
            sentences.push(format!(
                "The revocation journal was missing when the home was unlocked on {at}: revocations that only the journal had are \
                 unknown."
            ));
        }
        if self.unterminated {
            let what = "The last line of the revocation journal was cut off (it had no end) when the home opened.";
            sentences.push(what.to_owned());
        }
        if self.foreign_lines > 0 {
            sentences.push(format!(
                "The revocation journal has {} lines that are cut off or from another home.",
                self.foreign_lines
            ));
        }
        if let Some(devices) = self.unwritten.text() {
            sentences.push(format!(
                "When the home opened, the revocation journal did not hold {devices}. The missing entries were added."
            ));
        }
        sentences
    }
}

/// What is wrong with the revocation journal.
pub fn of_journal(opened: &JournalOpened, gaps: &JournalGaps, object: &str) -> Option<Finding> {
    let mut what = opened.sentences();
    if gaps.missing {
        what.push(
            "The revocation journal is not where it was when the home opened, or is shorter."
                .into(),
        );
    }
    if gaps.lost {
        what.push(
            "The journal has lost lines of what was issued: the disk took none for long, or it became too long without a backup."
                .into(),
        );
    }
    if let Some(devices) = gaps.unwritten.text() {
        what.push(format!("The revocation journal does not hold {devices}."));
    }
    if what.is_empty() {
        return None;
    }
    let what = what.join(" ");
    // Accepting this one does not accept what is found later.
    let mark = [what.clone(), opened.unwritten.mark(), gaps.unwritten.mark()].concat();
    let finding = Finding::new(
        FindingKind::JournalIncomplete,
        Severity::High,
        object.to_owned(),
        &mark,
    );
    Some(finding.saying(
        what,
        "Restore revocations.journal from a copy, or revoke each of these devices again, which records it again. Find out \
         what changed the file, then accept this.",
    ))
}

/// A machine's clock that home time does not follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockDoubted {
    /// Since when, and why.
    pub doubted: Doubted,
    /// What the machine's clock shows.
    pub machine: Timestamp,
    /// Whether its kernel says that it is synchronized; none if that is not known.
    pub synchronized: Option<bool>,
}

/// A time to the minute, so that a finding does not change with each second.
fn to_the_minute(time: Timestamp) -> String {
    let text = time.to_string();
    format!("{}Z", text.get(..16).unwrap_or(&text))
}

/// What waits until the clock is trusted.
pub fn of_clock(clock: Option<&ClockDoubted>, object: &str, now: Timestamp) -> Option<Finding> {
    let clock = clock?;
    let since = clock.doubted.since.to_string();
    // Accepting this one does not accept what the clock does later.
    let finding = Finding::new(
        FindingKind::ClockNotTrusted,
        Severity::High,
        object.to_owned(),
        &since,
    );
    let synchronized = match clock.synchronized {
        Some(true) => "It is synchronized.",
        Some(false) => "It is not synchronized.",
        None => "Whether it is synchronized is not known.",
    };
    let what = format!(
        "The system clock has not been trusted since {since}: it {}. It shows {}; home time is {}. {synchronized} Until it is \
         trusted again, no certificate is issued, and nothing is rotated or destroyed.",
        clock.doubted.why.says(),
        to_the_minute(clock.machine),
        to_the_minute(now),
    );
    let remedy = "Set the clock, for example with NTP. If it is right already, confirm it in the settings of the gateway. On the command line: `hearthkey clock confirm`.";
    Some(finding.saying(what, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trusted_time::Doubt;

    const OBJECT: &str = "home:attic";

    fn day(day: i64) -> Timestamp {
        Timestamp::from_s(day * 86_400)
    }

    #[test]
    fn an_anchor_may_be_behind_for_five_minutes_and_may_never_be_missing_or_foreign() {
        let written = day(1);
        let kind = |anchor, now| of_anchor(anchor, OBJECT, now).map(|finding| finding.kind);
        let late = written.after(ANCHOR_LATE);
        assert_eq!(kind(Anchor::Current, day(9)), None);
        assert_eq!(
            kind(Anchor::Behind(written), late.before(Span::ms(1))),
            None
        );
        let found = Some(FindingKind::AnchorBehind);
        assert_eq!(kind(Anchor::Behind(written), late), found);
        assert_eq!(kind(Anchor::Missing(1), written), found);
        assert_eq!(kind(Anchor::Foreign(1), written), found);
    }

    #[test]
    fn an_anchor_that_is_lost_again_is_another_finding() {
        let id = |anchor| of_anchor(anchor, OBJECT, day(9)).unwrap().id;
        let ids = [
            Anchor::Behind(day(1)),
            Anchor::Behind(day(2)),
            Anchor::Missing(1),
            Anchor::Missing(2),
            Anchor::Foreign(1),
            Anchor::Foreign(2),
        ]
        .map(id);
        let different: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(different.len(), ids.len());
        assert_eq!(id(Anchor::Missing(1)), ids[2], "as long as it is missing");
    }

    #[test]
    fn a_device_beyond_those_that_are_named_makes_another_finding() {
        let id = |names: &[&str]| {
            let mut gaps = JournalGaps::default();
            for name in names {
                gaps.unwritten.add((*name).to_owned());
            }
            let found = of_journal(&JournalOpened::default(), &gaps, OBJECT);
            found.unwrap().id
        };
        let first = id(&["a", "b", "c", "d", "e", "f"]);
        assert_eq!(id(&["a", "b", "c", "d", "e", "f"]), first);
        assert_ne!(id(&["a", "b", "c", "d", "e", "g"]), first);
    }

    fn gap(name: &str) -> JournalGaps {
        let mut gaps = JournalGaps::default();
        gaps.unwritten.add(name.into());
        gaps
    }

    #[test]
    fn a_journal_that_is_gone_or_short_is_found_and_the_devices_are_named() {
        let whole = JournalGaps::default();
        assert_eq!(of_journal(&JournalOpened::default(), &whole, OBJECT), None);
        let opened = JournalOpened {
            missing_at: Some(day(1)),
            unterminated: true,
            foreign_lines: 2,
            unwritten: gap("hall").unwritten,
        };
        let found = of_journal(&opened, &whole, OBJECT).unwrap();
        assert_eq!(found.kind, FindingKind::JournalIncomplete);
        for said in ["was missing", "had no end", "2 lines", "did not hold 1"] {
            assert!(found.what.contains(said), "{}", found.what);
        }
        let gaps = JournalGaps {
            missing: true,
            ..gap("lamp")
        };
        let found = of_journal(&JournalOpened::default(), &gaps, OBJECT).unwrap();
        for said in ["not where it was", "1 revoked or retired device: lamp."] {
            assert!(found.what.contains(said), "{}", found.what);
        }
    }

    #[test]
    fn a_clock_that_is_not_trusted_is_found() {
        assert_eq!(of_clock(None, OBJECT, day(1)), None);
        let since = |since| ClockDoubted {
            doubted: Doubted {
                since: day(since),
                why: Doubt::FarAhead,
            },
            machine: day(130),
            synchronized: Some(false),
        };
        let first = of_clock(Some(&since(1)), OBJECT, day(3)).unwrap();
        assert_eq!(first.kind, FindingKind::ClockNotTrusted);
        let says = "since 1970-01-02T00:00:00Z: it is more than a day ahead of home time. It shows 1970-05-11T00:00Z; home time \
                    is 1970-01-04T00:00Z. It is not synchronized.";
        assert!(first.what.contains(says), "{}", first.what);
        let next = of_clock(Some(&since(2)), OBJECT, day(3)).unwrap();
        assert_ne!(first.id, next.id, "each is accepted by itself");
    }
}
