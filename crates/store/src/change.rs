//! What can be changed, as data. How it is written: `change_apply`.
//!
//! A [`Change`] is applied whole or not at all. A write whose precondition no longer holds makes
//! it a conflict; the use case then reads the facts again and decides anew.

use hearthkey_core::audit::Entry;
use hearthkey_core::certificate::{Certificate, CertificateState, RevocationReason};
use hearthkey_core::claim::{Claim, ClaimUse};
use hearthkey_core::device::{Device, DeviceState};
use hearthkey_core::id::{ClaimId, DeviceId, EnvironmentName, Fingerprint, ProfileName};
use hearthkey_core::time::Timestamp;

pub use crate::effect::Effect;
use crate::log_start::LogWrite;
use crate::people::PersonWrite;
use crate::posture::PostureWrite;
use crate::rights::RightWrite;
use crate::tokens::TokenWrite;
use crate::turn_back::TurnBack;
use crate::vault::SealedSecret;
use crate::vault_change::VaultWrite;

/// One durable transaction: what is written, and what is recorded about it.
#[derive(Debug, Default)]
pub struct Change {
    /// Applied in order.
    pub writes: Vec<Write>,
    /// Appended to the audit log in order.
    pub entries: Vec<Entry>,
    /// What must still be the newest about a thing: else nothing of the change happens.
    pub expects: Option<Expected>,
    /// Whether the journal has it already: what ends access is written there first.
    pub is_journaled: bool,
}

/// A thing as a decision saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// What audit records call the thing.
    pub object: String,
    /// The number of the newest record about it; none if there was none.
    pub newest: Option<u64>,
}

impl Change {
    /// A change that is only recorded.
    pub fn record(entry: Entry) -> Self {
        Self {
            writes: Vec::new(),
            entries: vec![entry],
            expects: None,
            is_journaled: false,
        }
    }

    /// The same, of which the journal needs no word any more.
    pub fn journaled(mut self) -> Self {
        self.is_journaled = true;
        self
    }

    /// The same, if the newest record about a thing is still this one.
    pub fn expecting(mut self, object: String, newest: Option<u64>) -> Self {
        self.expects = Some(Expected { object, newest });
        self
    }

    /// With one more record.
    pub fn entry(mut self, entry: Entry) -> Self {
        self.entries.push(entry);
        self
    }

    /// With one more write to the vault.
    pub fn vault(self, write: VaultWrite) -> Self {
        self.write(Write::Vault(write))
    }

    /// With one more write.
    pub fn write(mut self, write: Write) -> Self {
        self.writes.push(write);
        self
    }
}

/// One write.
#[derive(Debug)]
pub enum Write {
    /// Sets a named value.
    Setting(&'static str, Vec<u8>),
    /// Adds an environment.
    Environment(EnvironmentName, Timestamp),
    /// Adds or replaces a profile.
    Profile {
        /// Its name.
        name: ProfileName,
        /// Its text.
        toml: String,
        /// Whether it came with the program.
        built_in: bool,
    },
    /// Adds a device, or replaces what is known of it except its sightings.
    Device(Device),
    /// Moves a device from one state to another; a conflict if it is in neither. Not for what ends access: see `CutOff`.
    DeviceState {
        /// The device.
        device: DeviceId,
        /// Where it must stand.
        from: DeviceState,
        /// Where it goes.
        to: DeviceState,
    },
    /// Suspends, retires or revokes a device, in whichever state it is; a conflict if it is cut off for longer already.
    CutOff {
        /// The device.
        device: DeviceId,
        /// Where it goes.
        to: DeviceState,
    },
    /// Nothing is written; a conflict if the device is not active.
    StillActive(DeviceId),
    /// Makes a device active; a conflict if it does not stand where the decision saw it.
    Activate {
        /// The device.
        device: DeviceId,
        /// Where it must stand.
        from: DeviceState,
    },
    /// Notes that a device was seen.
    Seen {
        /// The device.
        device: DeviceId,
        /// When.
        at: Timestamp,
        /// From which address.
        address: String,
    },
    /// Asks a device to renew at once.
    AskRotation(DeviceId, Timestamp),
    /// Notes which trust bundle a device uses.
    TrustBundle(DeviceId, Fingerprint),
    /// Adds a claim.
    OpenClaim(Claim),
    /// Counts a wrong secret, and locks the claim if that was the last try.
    WrongSecret {
        /// The claim.
        claim: ClaimId,
        /// Whether to lock it.
        locks: bool,
    },
    /// Uses a claim; a conflict if it is not open.
    UseClaim(ClaimId, ClaimUse),
    /// Notes the key that waits for approval.
    PresentKey(ClaimId, Fingerprint),
    /// Approves a key for a claim; a conflict if another key was presented.
    ApproveKey(ClaimId, Fingerprint),
    /// Closes the open claims of a device.
    CloseClaims(DeviceId),
    /// Closes one claim; a conflict if it is not open.
    CloseClaim(ClaimId),
    /// Adds a certificate with its DER; a conflict if its generation is taken in its lineage.
    Certificate(Certificate, Vec<u8>),
    /// Moves a certificate to another state, unless it has been revoked.
    CertificateState(DeviceId, Fingerprint, CertificateState),
    /// Revokes every certificate of a device that is not revoked yet.
    RevokeCertificates(DeviceId, RevocationReason, Timestamp),
    /// Supersedes every live certificate of a device outside one lineage.
    SupersedeOtherLineages(DeviceId, hearthkey_core::id::SerialNumber),
    /// Adds or replaces a CA's certificate.
    Authority(String, Vec<u8>),
    /// Keeps the certificate of a CA that another has followed, under a name of its own, with when that was.
    FormerAuthority(String, Vec<u8>, Timestamp),
    /// Destroys every version of a CA's key.
    DestroyAuthorityKey(String),
    /// Forgets a CA and destroys its key.
    ForgetAuthority(String),
    /// Forgets a server certificate and destroys its key.
    ForgetServer(&'static str),
    /// Lets the CRL numbers of every CA go on so far ahead.
    CrlNumbersAhead(u32),
    /// Counts a CRL number up.
    CrlNumber(String),
    /// Adds a version of a secret.
    Secret {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Its version.
        version: u32,
        /// The value, sealed for this row.
        sealed: SealedSecret,
        /// When.
        at: Timestamp,
    },
    /// Adds an effect that must happen once the change is durable.
    Effect(Effect),
    /// The effects up to this one have happened.
    EffectsDone(i64),
    /// Remembers something for the broker, or forgets it.
    BrokerState {
        /// The kind of thing.
        kind: String,
        /// Its key.
        key: String,
        /// Its value; none to forget it.
        value: Option<Vec<u8>>,
    },
    /// Drops claims that ended before a moment.
    ForgetClaims(Timestamp),
    /// Ends what had ended by a time that home time leaves.
    TurnBack(TurnBack),
    /// Something in the vault.
    Vault(VaultWrite),
    /// Changes something about service tokens.
    Token(TokenWrite),
    /// Changes something about people and their sessions.
    Person(PersonWrite),
    /// Accepts a finding, or takes that back.
    Posture(PostureWrite),
    /// Notes the use of rights, narrows or widens them.
    Right(RightWrite),
    /// Archives a part of the log, or drops it here.
    Log(LogWrite),
    /// A write that a journal has kept. If its precondition does not hold, it has happened already, or something after it
    /// has: nothing is written.
    Again(Box<Write>),
}
