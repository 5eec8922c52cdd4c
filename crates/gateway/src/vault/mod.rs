//! The vault: the secrets of everything that is not a device of ours.
//!
//! | what happens | module |
//! | --- | --- |
//! | a credential is added, described, shown, listed, retired | [`adding`], [`credentials`], [`inventory`], [`views`], [`retire`] |
//! | a value is made, given out, lent | [`making`], [`reveal`], [`leases`], [`children`] |
//! | a value is replaced; its users are notified | [`rotation`] |
//! | a bridge is connected and asked | [`bridges`], [`bridge_places`], [`interruptible`] |
//! | values are sealed anew, destroyed | [`rewrap`], [`out_of_use`] |
//! | something is wrong; a repository is checked | [`findings`], [`manifest`] |
//! | leaked values are looked for | [`marks`] |
//! | a token ends, and what it holds with it | [`token_ends`] |

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use hearthkey_core::credential::CredentialId;
use hearthkey_core::habit::Habits;
use hearthkey_core::id::EnvironmentName;
use hearthkey_core::time::Timestamp;
use tokio::sync::Notify;

use crate::auth::Auth;
use crate::devices::Devices;
use crate::state::Ctx;
use crate::state::keyed_locks::Turns;
use child_left::ChildLeft;
use reports::Reports;
use rotation::value::Untaken;
use slow_places::SlowPlaces;

mod adding;
mod bridge_places;
mod bridges;
mod child_left;
mod children;
pub(crate) mod credentials;
mod disconnecting;
pub(crate) mod findings;
mod guarding;
mod interruptible;
mod inventory;
mod kept_tier;
pub(crate) mod leases;
mod leftovers;
mod making;
mod manifest;
mod marks;
pub(crate) mod out_of_use;
mod reports;
mod retire;
mod reveal;
mod rewrap;
pub(crate) mod rotation;
mod slow_places;
#[cfg(test)]
mod tests;
pub(crate) mod token_ends;
pub(crate) mod views;

/// What a bridge that makes a value tells meanwhile, by the credential.
pub(crate) type BridgeSays = Arc<Mutex<HashMap<CredentialId, String>>>;

/// The vault of a home.
pub(crate) struct Vault {
    ctx: Arc<Ctx>,
    auth: Arc<Auth>,
    devices: Arc<Devices>,
    credential_turns: Turns<CredentialId>,
    /// What is usual for those who obtain secrets.
    habits: Mutex<Habits>,
    /// Leases that could not be ended in time, and when they are tried again.
    late_leases: Mutex<HashMap<String, Timestamp>>,
    /// Credentials that are out of use, and by which values are ended at a bridge that is being disconnected.
    last_authorities: Mutex<HashSet<CredentialId>>,
    /// How much services have reported.
    reports: Mutex<Reports>,
    /// Places for leases that wait for a bridge.
    slow: SlowPlaces,
    /// Leases whose child is being made: its maker keeps it, or takes it back.
    lending: Mutex<HashSet<String>>,
    /// Held while the child of a lease is ended.
    lease_turns: Turns<String>,
    /// Credentials whose rotations are being driven.
    driven: Mutex<HashSet<CredentialId>>,
    /// Values that a bridge has made and the storage has not taken, by their rotations.
    minted: Mutex<HashMap<i64, Untaken>>,
    /// Children that are no lease's and are to be ended.
    children_left: Mutex<Vec<ChildLeft>>,
    /// What bridges are doing for rotations now.
    bridge_says: BridgeSays,
    /// A rotation has begun or changed.
    rotations: Notify,
    /// Environments whose values are being sealed anew.
    resealing: Mutex<HashSet<EnvironmentName>>,
}

impl Vault {
    pub(crate) fn new(
        ctx: Arc<Ctx>,
        auth: Arc<Auth>,
        devices: Arc<Devices>,
        habits: Habits,
    ) -> Self {
        Self {
            ctx,
            auth,
            devices,
            credential_turns: Turns::new(),
            habits: Mutex::new(habits),
            late_leases: Mutex::default(),
            last_authorities: Mutex::default(),
            reports: Mutex::default(),
            slow: SlowPlaces::default(),
            lending: Mutex::default(),
            lease_turns: Turns::new(),
            driven: Mutex::default(),
            minted: Mutex::default(),
            children_left: Mutex::default(),
            bridge_says: Arc::default(),
            rotations: Notify::new(),
            resealing: Mutex::default(),
        }
    }
}
