//! What can be changed in the vault, as data: the one place where its tables are written.

use hearthkey_core::bridge::Bridge;
use hearthkey_core::credential::{Credential, CredentialId, Origin, State, Tier, VersionState};
use hearthkey_core::finding::{Finding, FindingKind};
use hearthkey_core::id::{EnvironmentName, Fingerprint};
use hearthkey_core::lease::Lease;
use hearthkey_core::news::{Errand, News};
use hearthkey_core::rotation::{Rotation, Step};
use hearthkey_core::time::Timestamp;

use crate::vault::{CredentialPlace, SealedSecret};

/// A version of a credential's value, as it is added.
#[derive(Debug)]
pub struct NewVersion {
    /// Its number.
    pub version: u32,
    /// Its state.
    pub state: VersionState,
    /// The value's fingerprint.
    pub fingerprint: Fingerprint,
    /// The value's length.
    pub bytes: usize,
    /// Where the value came from.
    pub origin: Origin,
    /// What the bridge calls it.
    pub remote_id: Option<String>,
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
    /// The value, sealed for its row.
    pub sealed: SealedSecret,
}

/// What a bridge said of the current value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// When it was asked.
    pub at: Timestamp,
    /// What the value may do; none if the bridge does not say.
    pub scopes: Option<Vec<String>>,
    /// Whether it may do everything.
    pub privileged: bool,
}

/// One write to the vault.
#[derive(Debug)]
pub enum VaultWrite {
    /// Adds a credential; a conflict if there is one of that name that is not over.
    Add(Credential),
    /// Changes what people said of an active credential.
    Describe(Credential),
    /// Adds a version of its value.
    Version(CredentialId, NewVersion),
    /// Moves a version to another state; a conflict if it does not stand where the decision saw it.
    MoveVersion {
        /// The credential.
        credential: CredentialId,
        /// The version.
        version: u32,
        /// Where it must stand.
        from: VersionState,
        /// Where it goes.
        to: VersionState,
        /// When.
        at: Timestamp,
    },
    /// Counts the gifts of a credential's value; a conflict if it is not in use any more, or if
    /// that version has ended.
    Used {
        /// The credential.
        credential: CredentialId,
        /// The version that is given out.
        version: u32,
        /// By whom.
        by: String,
        /// When.
        at: Timestamp,
    },
    /// Moves a credential to another state; a conflict if it does not stand there.
    MoveCredential {
        /// The credential.
        credential: CredentialId,
        /// Where it must stand.
        from: State,
        /// Where it goes.
        to: State,
        /// When its data keys are destroyed.
        shred_at: Option<Timestamp>,
    },
    /// Destroys the data key of one version.
    Shred(CredentialId, u32),
    /// Keeps what a bridge said.
    Verified(CredentialId, Verdict),
    /// Says when a credential's current value ends.
    Expires(CredentialId, Option<Timestamp>),
    /// Begins a rotation; a conflict if one is running.
    BeginRotation(CredentialId, Rotation),
    /// Keeps how far a rotation is; a conflict if it was not at that step any more.
    Rotate(Step, Rotation),
    /// A place of use is to be notified, from this moment on.
    Tell(News, Timestamp),
    /// A place is notified later; a conflict if that was ended.
    TellLater(Errand),
    /// A place has been notified, or is given up; a conflict if that was ended.
    Told(i64),
    /// Adds a lease.
    Lease(Lease),
    /// Keeps the child that was minted for a lease; a conflict if the lease has ended.
    LeaseChild {
        /// The lease.
        lease: String,
        /// Its environment.
        environment: EnvironmentName,
        /// What the bridge calls the child.
        remote_id: Option<String>,
        /// Its value.
        sealed: SealedSecret,
        /// When.
        at: Timestamp,
    },
    /// Ends a lease, and destroys the data key of its child; a conflict if it has ended.
    EndLease {
        /// The lease.
        lease: String,
        /// Its environment.
        environment: EnvironmentName,
        /// When.
        at: Timestamp,
        /// By whom.
        by: String,
        /// What is left to do.
        note: Option<String>,
    },
    /// Connects a bridge, or changes how.
    Bridge(Bridge),
    /// Disconnects a bridge.
    Disconnect(String, EnvironmentName),
    /// Gives what a bridge of this name and environment has made a tier of its own, where it has a lower one.
    KeepTier(String, EnvironmentName, Tier),
    /// Notes a finding, or that it is still there.
    Finding(Finding, Timestamp),
    /// A finding no longer exists; a conflict if it was not there.
    Resolved(String, Timestamp),
    /// A finding no longer exists, if it was there.
    Settled(String, Timestamp),
    /// What was found of one kind on an object, and was seen last before a moment, no longer exists.
    Overtaken {
        /// The object.
        object: String,
        /// The kind.
        kind: FindingKind,
        /// Seen last before this.
        seen_before: Timestamp,
        /// When.
        at: Timestamp,
    },
    /// Forgets leases, rotations and findings that ended before a moment. What they did is in the log.
    ForgetEnded(Timestamp),
    /// Remembers something of a principal.
    Habit(String, String, Timestamp),
    /// Seals an environment's new values under another epoch.
    KekEpoch(EnvironmentName, u32),
    /// Replaces a sealed value by the same one under another epoch; a conflict if somebody did.
    Reseal {
        /// The row.
        place: CredentialPlace,
        /// The epoch under which it must lie.
        from: u32,
        /// The value as it is to lie.
        sealed: SealedSecret,
    },
}
