//! Devices: how they enroll, renew, are narrowed, and taken back.
//!
//! | what | where |
//! | --- | --- |
//! | a claim is opened, presented, approved | [`claims`], [`present`], [`approvals`] |
//! | a certificate is issued and renewed | [`csr_request`], [`enroll`], [`renew`], [`issuance`] |
//! | a restored home lets a device in again | [`readmit`] |
//! | a device is suspended, retired, revoked | [`lifecycle`], [`revoke`] |
//! | what it may do, and has done | [`rights`], [`profiles`] |
//! | when it was seen, and what of it wants attention | [`sighting`], [`signs`] |
//! | how it is shown | [`views`] |
//! | environments | [`environments`] |

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use hearthkey_core::id::{ClaimId, DeviceId, Fingerprint};
use hearthkey_core::posture::overload::Overloads;
use hearthkey_core::posture::shared_identity::SharedIdentities;
use hearthkey_core::time::Timestamp;
use hearthkey_store::journal::Revocation;

use crate::auth::Auth;
use crate::state::Ctx;
use crate::trust::Trust;
use waiting::Waiting;

pub(crate) mod approvals;
pub(crate) mod claims;
pub(crate) mod csr_request;
pub(crate) mod enroll;
pub(crate) mod environments;
pub(crate) mod issuance;
pub(crate) mod lifecycle;
pub(crate) mod present;
pub(crate) mod profiles;
pub(crate) mod readmit;
mod recall;
mod refused;
pub(crate) mod renew;
pub(crate) mod revoke;
pub(crate) mod rights;
pub(crate) mod sighting;
pub(crate) mod signs;
#[cfg(test)]
mod tests;
pub(crate) mod views;
pub(crate) mod waiting;

/// The devices of a home.
pub(crate) struct Devices {
    ctx: Arc<Ctx>,
    trust: Arc<Trust>,
    auth: Arc<Auth>,
    /// Held while a device or an environment is named, and alone while a profile is put: each is compared with the others.
    trees: tokio::sync::RwLock<()>,
    sightings: Mutex<HashMap<DeviceId, (Timestamp, SocketAddr)>>,
    /// Certificates that have a successor: whose they are, and since when.
    second_slots: Mutex<HashMap<Fingerprint, (DeviceId, Timestamp)>>,
    /// Requests that wait for a person, by their claim.
    waiting: Mutex<HashMap<ClaimId, Waiting>>,
    /// Devices that had a session when the use of rights was last noted, or came since.
    lately_connected: Mutex<BTreeSet<DeviceId>>,
    /// Devices that seem to be two machines.
    shared_identities: Mutex<SharedIdentities>,
    /// Bounds that devices have reached lately.
    overloads: Mutex<Overloads>,
    /// What the revocation journal held at start.
    replay: Vec<Revocation>,
}

/// What is known of devices when the home opens.
pub(crate) struct Recalled {
    pub(crate) second_slots: HashMap<Fingerprint, (DeviceId, Timestamp)>,
    pub(crate) shared_identities: SharedIdentities,
    pub(crate) replay: Vec<Revocation>,
}

impl Devices {
    pub(crate) fn new(
        ctx: Arc<Ctx>,
        trust: Arc<Trust>,
        auth: Arc<Auth>,
        recalled: Recalled,
    ) -> Self {
        Self {
            ctx,
            trust,
            auth,
            trees: tokio::sync::RwLock::default(),
            sightings: Mutex::default(),
            second_slots: Mutex::new(recalled.second_slots),
            waiting: Mutex::default(),
            lately_connected: Mutex::default(),
            shared_identities: Mutex::new(recalled.shared_identities),
            overloads: Mutex::default(),
            replay: recalled.replay,
        }
    }
}
