//! What a journal line can say: what gave or ended access, with what is needed to make it so again.
//!
//! Events are made of the writes of a change, so that no use case has to think of the journal, and become writes again when
//! a restored home replays them. No event holds a secret. Nothing in one begins as a line does (`lines`): its objects begin
//! with other names than `device` and `seq`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hearthkey_core::certificate::{Certificate, CertificateState, RenewalWindow, RevocationReason};
use hearthkey_core::claim::ClaimUse;
use hearthkey_core::device::{Device, DeviceState};
use hearthkey_core::id::{
    ClaimId, DeviceId, EnvironmentName, Fingerprint, ProfileName, SerialNumber, TokenId,
};
use hearthkey_core::right::Narrowing;
use hearthkey_core::role::Mandate;
use hearthkey_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::change::{Change, Write};
use crate::journal::revocation::Revocation;
use crate::people::PersonWrite;
use crate::rights::RightWrite;
use crate::tokens::TokenWrite;

/// One thing that gave or ended access. `of` is the device that it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[allow(missing_docs)] // Each field carries the name of what it becomes in `Write`.
pub enum Event {
    /// A run of lines begins: there were none before, or they are not known. Numbers of lines go on from the time in
    /// milliseconds, so that no two lives of a home give the same number to different lines.
    Begun {},
    /// A device was revoked or retired, with its certificates.
    Revoked {
        reason: RevocationReason,
        at: Timestamp,
        of: DeviceId,
        certificates: Vec<Fingerprint>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        keys: Vec<Fingerprint>,
    },
    /// A device was suspended.
    Suspended { of: DeviceId },
    /// A device came from one state into another.
    State {
        from: DeviceState,
        to: DeviceState,
        of: DeviceId,
    },
    /// A device was named, or is known by something else from now on.
    Named(Device),
    /// A profile of the home's own was put.
    Profile { name: ProfileName, toml: String },
    /// A certificate was issued.
    Issued(Box<Issued>),
    /// A certificate is never accepted again.
    Over {
        state: CertificateState,
        certificate: Fingerprint,
        of: DeviceId,
    },
    /// The certificates of a device outside of one lineage are never accepted again.
    OthersOver { lineage: SerialNumber, of: DeviceId },
    /// A claim was used up.
    ClaimUsed {
        claim: ClaimId,
        key: Fingerprint,
        certificate: Fingerprint,
        at: Timestamp,
    },
    /// A claim was closed.
    ClaimClosed { claim: ClaimId },
    /// The open claims of a device were closed.
    ClaimsClosed { of: DeviceId },
    /// What a device may do was narrowed.
    Narrowed {
        at: Timestamp,
        to: Narrowing,
        of: DeviceId,
    },
    /// A device may do again all that its profile grants.
    Widened { of: DeviceId },
    /// A token was revoked.
    TokenEnded { token: TokenId, at: Timestamp },
    /// A person's access ended.
    PersonEnded { person: String, at: Timestamp },
    /// A person has another role.
    Role { person: String, mandate: Mandate },
    /// A passkey was taken away from a person.
    PasskeyEnded { person: String, passkey: String },
    /// A recovery code of a person was used up.
    CodeUsed {
        person: String,
        code: Fingerprint,
        at: Timestamp,
    },
    /// A session ended.
    SessionEnded { session: String },
    /// Nothing happened; the line says how far the audit log was.
    Mark {},
}

/// A certificate as it is issued again in a restored home's registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issued {
    serial: SerialNumber,
    device: DeviceId,
    environment: EnvironmentName,
    fingerprint: Fingerprint,
    key: Fingerprint,
    lineage: SerialNumber,
    generation: u32,
    not_before: Timestamp,
    not_after: Timestamp,
    renew_after: Timestamp,
    renew_before: Timestamp,
    issued_at: Timestamp,
    /// In Base64.
    der: String,
}

impl Issued {
    pub(crate) fn of(certificate: &Certificate, der: &[u8]) -> Self {
        let c = certificate;
        Self {
            serial: c.serial,
            device: c.device.clone(),
            environment: c.environment.clone(),
            fingerprint: c.fingerprint,
            key: c.key,
            lineage: c.lineage,
            generation: c.generation,
            not_before: c.not_before,
            not_after: c.not_after,
            renew_after: c.window.renew_after,
            renew_before: c.window.renew_before,
            issued_at: c.issued_at,
            der: STANDARD.encode(der),
        }
    }

    /// The device that it names.
    pub fn device(&self) -> &DeviceId {
        &self.device
    }

    /// SHA-256 of its DER.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// How many renewals lie between the first certificate of its lineage and this one.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    fn write(self) -> Option<Write> {
        let der = STANDARD.decode(&self.der).ok()?;
        let certificate = Certificate {
            fingerprint: self.fingerprint,
            serial: self.serial,
            device: self.device,
            environment: self.environment,
            key: self.key,
            lineage: self.lineage,
            generation: self.generation,
            state: CertificateState::Issued,
            not_before: self.not_before,
            not_after: self.not_after,
            window: RenewalWindow {
                renew_after: self.renew_after,
                renew_before: self.renew_before,
            },
            issued_at: self.issued_at,
        };
        Some(Write::Certificate(certificate, der))
    }
}

impl From<Revocation> for Event {
    fn from(revocation: Revocation) -> Self {
        Self::Revoked {
            reason: revocation.reason,
            at: revocation.at,
            of: revocation.device,
            certificates: revocation.certificates,
            keys: revocation.keys,
        }
    }
}

impl Event {
    /// What a change is to the journal. Revocations are not among it: they have a line of their own, which is written first.
    pub fn all_of(change: &Change) -> Vec<Self> {
        change.writes.iter().filter_map(Self::of).collect()
    }

    fn of(write: &Write) -> Option<Self> {
        Some(match write {
            Write::Profile {
                name,
                toml,
                built_in: false,
            } => Self::Profile {
                name: name.clone(),
                toml: toml.clone(),
            },
            Write::Device(device) => Self::Named(device.clone()),
            Write::DeviceState { device, from, to } => Self::State {
                from: *from,
                to: *to,
                of: device.clone(),
            },
            Write::CutOff {
                device,
                to: DeviceState::Suspended,
            } => Self::Suspended { of: device.clone() },
            Write::Activate { device, from } => Self::State {
                from: *from,
                to: DeviceState::Active,
                of: device.clone(),
            },
            Write::Certificate(certificate, der) => {
                Self::Issued(Box::new(Issued::of(certificate, der)))
            }
            Write::CertificateState(device, certificate, state) if state.is_over() => Self::Over {
                state: *state,
                certificate: *certificate,
                of: device.clone(),
            },
            Write::SupersedeOtherLineages(device, lineage) => Self::OthersOver {
                lineage: *lineage,
                of: device.clone(),
            },
            Write::UseClaim(claim, used) => Self::ClaimUsed {
                claim: claim.clone(),
                key: used.key,
                certificate: used.certificate,
                at: used.at,
            },
            Write::CloseClaim(claim) | Write::WrongSecret { claim, locks: true } => {
                Self::ClaimClosed {
                    claim: claim.clone(),
                }
            }
            Write::CloseClaims(device) => Self::ClaimsClosed { of: device.clone() },
            Write::Right(right) => Self::of_right(right)?,
            Write::Token(TokenWrite::Revoke(token, at)) => Self::TokenEnded {
                token: token.clone(),
                at: *at,
            },
            Write::Person(person) => Self::of_person(person)?,
            _ => return None,
        })
    }

    fn of_right(write: &RightWrite) -> Option<Self> {
        Some(match write {
            RightWrite::Narrow(device, to, at) => Self::Narrowed {
                at: *at,
                to: to.clone(),
                of: device.clone(),
            },
            RightWrite::Widen(device) => Self::Widened { of: device.clone() },
            RightWrite::Used(..) => return None,
        })
    }

    fn of_person(write: &PersonWrite) -> Option<Self> {
        Some(match write {
            PersonWrite::Mandate(person, mandate) => Self::Role {
                person: person.clone(),
                mandate: mandate.clone(),
            },
            PersonWrite::End(person, at) => Self::PersonEnded {
                person: person.clone(),
                at: *at,
            },
            PersonWrite::EndPasskey(person, passkey) => Self::PasskeyEnded {
                person: person.clone(),
                passkey: STANDARD.encode(passkey),
            },
            PersonWrite::UseRecoveryCode(person, code, at) => Self::CodeUsed {
                person: person.clone(),
                code: *code,
                at: *at,
            },
            PersonWrite::EndSession(session) => Self::SessionEnded {
                session: session.clone(),
            },
            _ => return None,
        })
    }

    /// What makes it so again. A revocation is replayed when the home opens, as always, so that here only the device and its
    /// claims are ended.
    pub fn writes(self) -> Vec<Write> {
        match self {
            Self::Begun {} | Self::Mark {} => Vec::new(),
            Self::Revoked { reason, at, of, .. } => {
                let to = match reason {
                    RevocationReason::CessationOfOperation => DeviceState::Retired,
                    _ => DeviceState::Revoked,
                };
                vec![
                    Write::CutOff {
                        device: of.clone(),
                        to,
                    },
                    Write::RevokeCertificates(of.clone(), reason, at),
                    Write::CloseClaims(of),
                ]
            }
            Self::Issued(issued) => issued.write().into_iter().collect(),
            other => other.write().into_iter().collect(),
        }
    }

    fn write(self) -> Option<Write> {
        let person = |write| Some(Write::Person(write));
        match self {
            Self::Suspended { of } => Some(Write::CutOff {
                device: of,
                to: DeviceState::Suspended,
            }),
            Self::State { from, to, of } => Some(Write::DeviceState {
                device: of,
                from,
                to,
            }),
            Self::Named(device) => Some(Write::Device(device)),
            Self::Profile { name, toml } => Some(Write::Profile {
                name,
                toml,
                built_in: false,
            }),
            Self::Over {
                state,
                certificate,
                of,
            } => Some(Write::CertificateState(of, certificate, state)),
            Self::OthersOver { lineage, of } => Some(Write::SupersedeOtherLineages(of, lineage)),
            Self::ClaimUsed {
                claim,
                key,
                certificate,
                at,
            } => Some(Write::UseClaim(
                claim,
                ClaimUse {
                    key,
                    certificate,
                    at,
                },
            )),
            Self::ClaimClosed { claim } => Some(Write::CloseClaim(claim)),
            Self::ClaimsClosed { of } => Some(Write::CloseClaims(of)),
            Self::Narrowed { at, to, of } => Some(Write::Right(RightWrite::Narrow(of, to, at))),
            Self::Widened { of } => Some(Write::Right(RightWrite::Widen(of))),
            Self::TokenEnded { token, at } => Some(Write::Token(TokenWrite::Revoke(token, at))),
            Self::PersonEnded { person: who, at } => person(PersonWrite::End(who, at)),
            Self::Role {
                person: who,
                mandate,
            } => person(PersonWrite::Mandate(who, mandate)),
            Self::PasskeyEnded {
                person: who,
                passkey,
            } => person(PersonWrite::EndPasskey(who, STANDARD.decode(passkey).ok()?)),
            Self::CodeUsed {
                person: who,
                code,
                at,
            } => person(PersonWrite::UseRecoveryCode(who, code, at)),
            Self::SessionEnded { session } => person(PersonWrite::EndSession(session)),
            Self::Begun {} | Self::Mark {} | Self::Revoked { .. } | Self::Issued(_) => None,
        }
    }

    /// The environment that has to be there for it.
    pub fn environment(&self) -> Option<&EnvironmentName> {
        match self {
            Self::Named(device) => Some(&device.environment),
            Self::Issued(issued) => Some(&issued.environment),
            _ => None,
        }
    }

    /// The revocation that it is, if it is one. The journal holds it for good, also when a backup covers it: a database of
    /// long ago must not undo it.
    pub(crate) fn revocation(&self) -> Option<Revocation> {
        match self {
            Self::Revoked {
                reason,
                at,
                of,
                certificates,
                keys,
            } => Some(Revocation {
                device: of.clone(),
                certificates: certificates.clone(),
                keys: keys.clone(),
                reason: *reason,
                at: *at,
            }),
            _ => None,
        }
    }
}
