//! One act on many devices: what it will do to each, before anything is done.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::device::{Change, DeviceState, StateRefusal};
use crate::words::words;

/// Devices in one request at most.
pub const DEVICES_MAX: usize = 1000;

words! {
    /// What is done to each device.
    BulkAct, "act on devices", InvalidBulkAct {
        /// Ask it to renew now.
        Rotate = "rotate",
        /// Cut it off for now.
        Suspend = "suspend",
        /// Undo a suspension.
        Resume = "resume",
        /// Cut it off for good.
        Revoke = "revoke",
        /// Take it out of service.
        Retire = "retire",
    }
}

/// The state of a device before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Its state.
    pub state: DeviceState,
    /// Its live sessions.
    pub sessions: u64,
    /// Its certificates that are not revoked.
    pub certificates: u64,
    /// The service tokens that are bound to it and not revoked.
    pub tokens: u64,
}

/// What an act will do to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Foreseen {
    act: BulkAct,
    /// Where it will stand.
    pub state: DeviceState,
    /// Live sessions that will end.
    pub sessions: u64,
    /// Certificates that will be revoked.
    pub certificates: u64,
    /// Service tokens that will be revoked.
    pub tokens: u64,
}

/// Why an act cannot be done to a device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BulkRefusal {
    /// Its state does not allow it.
    #[error(transparent)]
    State(#[from] StateRefusal),
    /// It has no certificate that it could renew.
    #[error("a device that is {} cannot renew", .0.as_str())]
    CannotRenew(DeviceState),
    /// It is in that state, and nothing is left that would end.
    #[error("it is {} already", .0.as_str())]
    Already(DeviceState),
}

impl BulkAct {
    /// The change of state that it is; none if it leaves the state as it is.
    pub fn change(self) -> Option<Change> {
        match self {
            Self::Rotate => None,
            Self::Suspend => Some(Change::Suspend),
            Self::Resume => Some(Change::Resume),
            Self::Revoke => Some(Change::Revoke),
            Self::Retire => Some(Change::Retire),
        }
    }

    /// What it will do to a device in this state.
    pub fn foresee(self, standing: &Standing) -> Result<Foreseen, BulkRefusal> {
        let from = standing.state;
        let state = match self.change() {
            Some(change) => change.decide(from)?,
            None if from.can_renew() => from,
            None => return Err(BulkRefusal::CannotRenew(from)),
        };
        let for_good = self.is_for_good();
        let ends_sessions = for_good || self == Self::Suspend;
        let counted = |number: u64, counts: bool| if counts { number } else { 0 };
        let foreseen = Foreseen {
            act: self,
            state,
            sessions: counted(standing.sessions, ends_sessions),
            certificates: counted(standing.certificates, for_good),
            tokens: counted(standing.tokens, for_good),
        };
        let ends = foreseen.sessions + foreseen.certificates + foreseen.tokens;
        match self.change() {
            Some(_) if state == from && ends == 0 => Err(BulkRefusal::Already(state)),
            _ => Ok(foreseen),
        }
    }

    fn is_for_good(self) -> bool {
        matches!(self, Self::Revoke | Self::Retire)
    }

    fn past(self) -> &'static str {
        match self {
            Self::Rotate => "asked to renew",
            Self::Suspend => "suspended",
            Self::Resume => "resumed",
            Self::Revoke => "revoked",
            Self::Retire => "retired",
        }
    }
}

fn count(number: u64, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

fn verb(number: u64, one: &'static str, many: &'static str) -> &'static str {
    if number == 1 { one } else { many }
}

/// What ends, as a sentence; none if nothing does.
fn ends(sessions: u64, certificates: u64, tokens: u64) -> Option<String> {
    let parts = [
        (sessions, "live session", "ends", "end"),
        (certificates, "certificate", "is revoked", "are revoked"),
        (tokens, "token", "is revoked", "are revoked"),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(number, ..)| *number > 0)
        .map(|(number, noun, one, many)| {
            format!("{} {}", count(number, noun), verb(number, one, many))
        })
        .collect();
    (!parts.is_empty()).then(|| format!("{}.", parts.join(", ")))
}

impl Foreseen {
    /// What will happen, for a person.
    pub fn what(&self) -> String {
        let first = match self.act {
            BulkAct::Rotate => "It is asked to renew now, and stays connected.",
            BulkAct::Suspend => "It is disconnected until it is resumed.",
            BulkAct::Resume => "It can reconnect with its certificate.",
            BulkAct::Revoke => "Permanently blocked.",
            BulkAct::Retire => "Permanently removed from service.",
        };
        match ends(self.sessions, self.certificates, self.tokens) {
            Some(ends) => format!("{first} {ends}"),
            None => first.to_owned(),
        }
    }
}

/// What will happen to all of them, in sentences.
pub fn summary(act: BulkAct, will: &[Foreseen], cannot: usize) -> Vec<String> {
    let sum = |of: fn(&Foreseen) -> u64| will.iter().map(of).sum();
    let (done, cannot) = (will.len() as u64, cannot as u64);
    let mut says = vec![format!("{} will be {}.", count(done, "device"), act.past())];
    says.extend(ends(
        sum(|f| f.sessions),
        sum(|f| f.certificates),
        sum(|f| f.tokens),
    ));
    if act.is_for_good() && done > 0 {
        says.push("This cannot be undone. Only a new claim admits the device again.".into());
    }
    if cannot > 0 {
        let (devices, stay) = (count(cannot, "device"), verb(cannot, "stays", "stay"));
        let (is, it) = (verb(cannot, "it is", "they are"), act.past());
        says.push(format!("{devices} cannot be {it} and {stay} as {is}."));
    }
    says
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACTIVE: Standing = Standing {
        state: DeviceState::Active,
        sessions: 2,
        certificates: 3,
        tokens: 1,
    };

    fn standing(state: DeviceState) -> Standing {
        Standing { state, ..ACTIVE }
    }

    #[test]
    fn only_what_an_act_ends_is_foreseen_to_end() {
        let ends = |act: BulkAct| {
            let foreseen = act.foresee(&ACTIVE).unwrap();
            (foreseen.sessions, foreseen.certificates, foreseen.tokens)
        };
        assert_eq!(ends(BulkAct::Rotate), (0, 0, 0));
        assert_eq!(ends(BulkAct::Suspend), (2, 0, 0));
        assert_eq!(ends(BulkAct::Revoke), (2, 3, 1));
        assert_eq!(ends(BulkAct::Retire), (2, 3, 1));
    }

    #[test]
    fn what_is_foreseen_is_what_the_change_of_state_decides() {
        use DeviceState::*;
        for from in [Pending, Active, Suspended, Retired, Revoked] {
            for act in BulkAct::ALL {
                let foreseen = match act.foresee(&standing(from)) {
                    Err(BulkRefusal::Already(state)) => Ok(state),
                    foreseen => foreseen.map(|foreseen| foreseen.state),
                };
                match act.change() {
                    Some(change) => {
                        assert_eq!(foreseen.ok(), change.decide(from).ok(), "{act} {from:?}");
                    }
                    None => assert_eq!(foreseen.is_ok(), from == Active, "{act} {from:?}"),
                }
            }
        }
    }

    #[test]
    fn a_refusal_says_how_the_device_stands() {
        let why = |act: BulkAct, from| act.foresee(&standing(from)).unwrap_err().to_string();
        assert_eq!(
            why(BulkAct::Rotate, DeviceState::Suspended),
            "a device that is suspended cannot renew"
        );
        assert_eq!(
            why(BulkAct::Resume, DeviceState::Revoked),
            "a device that is revoked cannot be resumed"
        );
        assert_eq!(
            why(BulkAct::Resume, DeviceState::Active),
            "it is active already"
        );
        // Of one that is revoked already something may be left to end.
        assert!(
            BulkAct::Revoke
                .foresee(&standing(DeviceState::Revoked))
                .is_ok()
        );
    }

    #[test]
    fn what_will_happen_is_said_in_whole_sentences() {
        let revoked = BulkAct::Revoke.foresee(&ACTIVE).unwrap();
        assert_eq!(
            revoked.what(),
            "Permanently blocked. 2 live sessions end, 3 certificates are revoked, 1 token is revoked."
        );
        assert_eq!(
            summary(BulkAct::Revoke, &[revoked, revoked], 1),
            [
                "2 devices will be revoked.",
                "4 live sessions end, 6 certificates are revoked, 2 tokens are revoked.",
                "This cannot be undone. Only a new claim admits the device again.",
                "1 device cannot be revoked and stays as it is.",
            ]
        );
        let suspended = standing(DeviceState::Suspended);
        let resumed = BulkAct::Resume.foresee(&suspended).unwrap();
        assert_eq!(
            summary(BulkAct::Resume, &[resumed], 2),
            [
                "1 device will be resumed.",
                "2 devices cannot be resumed and stay as they are.",
            ]
        );
        assert_eq!(
            summary(BulkAct::Retire, &[], 0),
            ["0 devices will be retired."]
        );
    }
}
