//! Rights held against rights used: which devices may do more than they do.

use crate::finding::{Finding, FindingKind, RemedyAction, RemedyKind, Severity};
use crate::id::DeviceId;
use crate::posture::NAMED_MAX;
use crate::right::Right;
use crate::time::{Span, Timestamp};

/// A right that was not used for so long is not needed.
pub const UNUSED_FOR: Span = Span::days(30);

/// A right that a device holds beyond the gateway's own topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldRight {
    /// The right.
    pub right: Right,
    /// When it was last used, if it ever was since uses are counted.
    pub last_used_at: Option<Timestamp>,
}

/// What an active device holds and what of it it has used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Privileges {
    /// The device.
    pub device: DeviceId,
    /// Since when it holds these rights, and their uses are counted.
    pub since: Timestamp,
    /// When it was last there; now, while it is connected.
    pub last_seen_at: Timestamp,
    /// What it holds.
    pub held: Vec<HeldRight>,
}

/// A device that holds more than it uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverPrivileged {
    /// The device.
    pub device: DeviceId,
    /// Whether it has been there meanwhile.
    pub present: bool,
    /// What it did not use.
    pub unused: Vec<Right>,
    /// What it used.
    pub used: Vec<Right>,
}

impl Privileges {
    /// What of them is too much, if anything is: none of what was held for less than [`UNUSED_FOR`].
    pub fn judge(self, now: Timestamp) -> Option<OverPrivileged> {
        let begun = now.before(UNUSED_FOR);
        if self.since > begun {
            return None;
        }
        let (used, unused): (Vec<HeldRight>, Vec<HeldRight>) = self
            .held
            .into_iter()
            .partition(|held| held.last_used_at.is_some_and(|at| at > begun));
        let rights = |held: Vec<HeldRight>| held.into_iter().map(|held| held.right).collect();
        (!unused.is_empty()).then(|| OverPrivileged {
            device: self.device,
            present: self.last_seen_at > begun,
            unused: rights(unused),
            used: rights(used),
        })
    }
}

impl OverPrivileged {
    /// Returns the finding. A device that connected is reduced to the rights it used; one that did not is suspended until
    /// it is needed, because which rights it will use is unknown.
    pub fn finding(&self) -> Finding {
        let (device, days) = (&self.device, UNUSED_FOR.as_s() / 86_400);
        let object = format!("device:{device}");
        let finding = Finding::new(
            FindingKind::OverPrivileged,
            Severity::Medium,
            object.clone(),
            "",
        );
        if !self.present {
            return finding
                .saying(
                    format!("{device} has not connected for {days} days and still has {}.", count(self.unused.len())),
                    format!("Suspend it until it is needed, or retire it if it is gone. On the command line: `hearthkey device suspend {device}`."),
                )
                .solved_by(RemedyAction::new(RemedyKind::Suspend, object));
        }
        let held = self.unused.len() + self.used.len();
        let named: Vec<String> = self.unused[..self.unused.len().min(NAMED_MAX)]
            .iter()
            .map(|(verb, filter)| format!("{verb} {filter}"))
            .collect();
        let more = match self.unused.len() - named.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        finding
            .saying(
                format!(
                    "{device} has not used {} of its {} for {days} days: {}{more}.",
                    self.unused.len(),
                    count(held),
                    named.join(", ")
                ),
                "Reduce its permissions to those it uses. They can be restored at any time.",
            )
            .solved_by(RemedyAction {
                kind: RemedyKind::Narrow,
                object,
                keep: self.used.clone(),
            })
    }
}

fn count(rights: usize) -> String {
    match rights {
        1 => "1 right".into(),
        rights => format!("{rights} rights"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::right::Verb;

    fn day(day: i64) -> Timestamp {
        Timestamp::from_s((1000 + day) * 86_400)
    }

    fn right(filter: &str) -> Right {
        (Verb::Publish, filter.to_owned())
    }

    /// A device that holds two rights since day 0, of which the first was used on `first`.
    fn lamp(first: Option<i64>, last_seen: i64) -> Privileges {
        Privileges {
            device: "lamp".parse().unwrap(),
            since: day(0),
            last_seen_at: day(last_seen),
            held: vec![
                HeldRight {
                    right: right("a"),
                    last_used_at: first.map(day),
                },
                HeldRight {
                    right: right("b"),
                    last_used_at: None,
                },
            ],
        }
    }

    #[test]
    fn what_was_not_used_for_thirty_days_is_too_much_and_not_a_day_earlier() {
        assert_eq!(lamp(Some(29), 29).judge(day(29)), None);
        let found = lamp(Some(29), 29).judge(day(30)).unwrap();
        assert_eq!(
            (found.unused, found.used),
            (vec![right("b")], vec![right("a")])
        );
        let all_used = Privileges {
            held: lamp(Some(29), 29).held[..1].to_vec(),
            ..lamp(None, 29)
        };
        assert_eq!(all_used.judge(day(30)), None);
    }

    #[test]
    fn a_use_counts_for_thirty_days() {
        let unused = |first, now| lamp(Some(first), 60).judge(day(now)).unwrap().unused.len();
        assert_eq!(unused(31, 60), 1);
        assert_eq!(unused(30, 60), 2);
    }

    #[test]
    fn the_remedy_keeps_what_is_used_and_a_device_that_was_away_is_suspended_instead() {
        let finding = lamp(Some(29), 29).judge(day(30)).unwrap().finding();
        assert_eq!(
            finding.what,
            "lamp has not used 1 of its 2 rights for 30 days: publish b."
        );
        let action = finding.action.unwrap();
        assert_eq!(action.kind, RemedyKind::Narrow);
        assert_eq!(action.object, "device:lamp");
        assert_eq!(action.keep, [right("a")]);
        let idle = lamp(None, 29).judge(day(30)).unwrap().finding();
        assert_eq!(
            idle.action.unwrap().keep,
            [],
            "one that used nothing keeps nothing"
        );
        let away = lamp(None, 0).judge(day(30)).unwrap().finding();
        assert_eq!(
            away.what,
            "lamp has not connected for 30 days and still has 2 rights."
        );
        assert_eq!(away.action.unwrap().kind, RemedyKind::Suspend);
        assert_eq!(
            idle.id, away.id,
            "it is one finding, however it is put right"
        );
    }
}
