//! An unsealed home: what every use case works with.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use hearthkey_broker::Broker;
use hearthkey_core::access::Access;
use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::credential::CredentialId;
use hearthkey_core::habit::Habits;
use hearthkey_core::id::{
    ClaimId, DeviceId, EnvironmentName, Fingerprint, HomeId, ProfileName, SerialNumber,
};
use hearthkey_core::posture::overload::Overloads;
use hearthkey_core::posture::shared_identity::SharedIdentities;
use hearthkey_core::posture::witness::JournalOpened;
use hearthkey_core::profile::Profile;
use hearthkey_core::time::Timestamp;
use hearthkey_pki::{CaCertificate, CaRole, CertificateAuthority};
use hearthkey_store::change::Change;
use hearthkey_store::journal::Revocation;
use hearthkey_store::{CommitError, Committed, Store};
use rustls::ServerConfig;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::endings::Endings;
use crate::live_http::Waiters;
use crate::log_check::LogState;
use crate::people::People;
use crate::token_book::TokenBook;
use crate::turns::Turns;
use crate::versions;
use crate::waiting::Waiting;

/// What a bridge that makes a value tells meanwhile, by the credential.
pub(crate) type BridgeSays = Arc<Mutex<HashMap<CredentialId, String>>>;

/// An unsealed home.
pub(crate) struct Home {
    pub(crate) id: HomeId,
    pub(crate) hosts: Vec<String>,
    pub(crate) store: Store,
    pub(crate) clock: Arc<Clock>,
    pub(crate) access: Arc<RwLock<Access>>,
    pub(crate) broker: Broker,
    pub(crate) root: CaCertificate,
    pub(crate) issuers: RwLock<HashMap<EnvironmentName, Arc<CertificateAuthority>>>,
    pub(crate) profiles: RwLock<HashMap<ProfileName, Arc<Profile>>>,
    pub(crate) crls: Mutex<HashMap<CaRole, crate::trust::PublishedCrl>>,
    pub(crate) tls: watch::Sender<Arc<ServerConfig>>,
    /// Held by who makes the server certificates anew.
    pub(crate) tls_turn: tokio::sync::Mutex<()>,
    /// Where the HTTPS listener is, if there is one, and what it speaks TLS with.
    pub(crate) http: Option<SocketAddr>,
    pub(crate) https_tls: watch::Sender<Arc<ServerConfig>>,
    pub(crate) tokens: TokenBook,
    pub(crate) people: People,
    pub(crate) turns: Turns<DeviceId>,
    /// Held by who names a device or an environment, and alone by who puts a profile: each is compared with the others.
    pub(crate) trees: tokio::sync::RwLock<()>,
    /// Devices whose notice is to be published, and whose turn it is.
    pub(crate) owed_notices: Mutex<HashSet<DeviceId>>,
    pub(crate) notice_turns: Turns<DeviceId>,
    pub(crate) credential_turns: Turns<CredentialId>,
    /// What is usual for those who obtain secrets.
    pub(crate) habits: Mutex<Habits>,
    /// Leases that could not be ended in time, and when they are tried again.
    pub(crate) late_leases: Mutex<HashMap<String, Timestamp>>,
    /// Credentials that are out of use, and by which values are ended at a bridge that is being disconnected.
    pub(crate) last_authorities: Mutex<HashSet<CredentialId>>,
    /// How much services have reported.
    pub(crate) reports: Mutex<crate::vault::Reports>,
    /// Places for leases that wait for a bridge.
    pub(crate) slow: crate::vault::SlowPlaces,
    /// Leases whose child is being made: who makes it keeps it, or takes it back.
    pub(crate) lending: Mutex<HashSet<String>>,
    /// Held by who ends the child of a lease.
    pub(crate) lease_turns: Turns<String>,
    /// Credentials whose rotations are being driven.
    pub(crate) driven: Mutex<HashSet<CredentialId>>,
    /// Values that a bridge has made and the storage has not taken, by their rotations.
    pub(crate) minted: Mutex<HashMap<i64, crate::vault::Untaken>>,
    /// Children that are no lease's and are to be ended.
    pub(crate) children_left: Mutex<Vec<crate::vault::ChildLeft>>,
    /// What bridges are doing for rotations now.
    pub(crate) bridge_says: BridgeSays,
    /// A rotation has begun or changed.
    pub(crate) rotations: Notify,
    /// Environments whose values are being sealed anew.
    pub(crate) resealing: Mutex<HashSet<EnvironmentName>>,
    pub(crate) sightings: Mutex<HashMap<DeviceId, (Timestamp, SocketAddr)>>,
    /// Certificates that have a successor: whose they are, and since when.
    pub(crate) second_slots: Mutex<HashMap<Fingerprint, (DeviceId, Timestamp)>>,
    /// Requests that wait for a person, by their claim.
    pub(crate) waiting: Mutex<HashMap<ClaimId, Waiting>>,
    /// Access that has ended in memory and is being written down.
    pub(crate) endings: Endings,
    /// What the revocation journal held at start.
    pub(crate) replay: Vec<Revocation>,
    pub(crate) outbox: Notify,
    pub(crate) storage_available: AtomicBool,
    pub(crate) warnings: Vec<String>,
    /// Whether a key file opens the home.
    pub(crate) key_file: bool,
    /// What the revocation journal lacked when the home opened.
    pub(crate) journal_opened: JournalOpened,
    /// When the home last opened without its anchor file, if it ever did.
    pub(crate) unanchored_at: Option<Timestamp>,
    /// Tells this opening of the home from every other.
    pub(crate) epoch: String,
    /// Devices that had a session when the use of rights was last noted, or came since.
    pub(crate) lately_connected: Mutex<BTreeSet<DeviceId>>,
    /// How the verifying of the log stands.
    pub(crate) log_state: Mutex<LogState>,
    /// The whole log is to be verified now.
    pub(crate) verify_again: Notify,
    /// Places for those who wait for what happens.
    pub(crate) waiters: Waiters,
    /// What was found about the home as a whole.
    pub(crate) judged: crate::posture::Judged,
    /// Devices that seem to be two machines.
    pub(crate) shared_identities: Mutex<SharedIdentities>,
    /// Bounds that devices have reached lately.
    pub(crate) overloads: Mutex<Overloads>,
    /// What was made lately, and how that was answered.
    pub(crate) repeats: crate::repeats::Repeats,
    pub(crate) stopping: watch::Sender<bool>,
    pub(crate) tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// A lock that outlives a panic elsewhere: what it guards is replaced whole, never half.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Home {
    pub(crate) fn access(&self) -> RwLockReadGuard<'_, Access> {
        self.access.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn access_mut(&self) -> RwLockWriteGuard<'_, Access> {
        self.access.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn profile(&self, name: &ProfileName) -> Option<Arc<Profile>> {
        self.profiles
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
    }

    /// Every profile.
    pub(crate) fn all_profiles(&self) -> Vec<Arc<Profile>> {
        let profiles = self.profiles.read().unwrap_or_else(PoisonError::into_inner);
        profiles.values().cloned().collect()
    }

    pub(crate) fn issuer(
        &self,
        environment: &EnvironmentName,
    ) -> Option<Arc<CertificateAuthority>> {
        self.issuers
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(environment)
            .cloned()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Commits a change, if what the request at hand expects still holds.
    pub(crate) async fn commit(&self, mut change: Change) -> Result<Committed, CommitError> {
        let rests = versions::expect(&mut change);
        let committed = self.commit_whatever(change).await;
        if rests && committed.is_ok() {
            versions::met();
        }
        committed
    }

    /// Commits a change and remembers whether the storage took it.
    async fn commit_whatever(&self, change: Change) -> Result<Committed, CommitError> {
        let committed = self.store.commit(change).await;
        match &committed {
            Ok(_) => self.storage_available.store(true, Ordering::Relaxed),
            Err(error) if error.is_of_storage() => {
                self.storage_available.store(false, Ordering::Relaxed);
            }
            Err(_) => {}
        }
        committed
    }

    /// Commits a change whose effects wait in the outbox, and wakes the outbox.
    pub(crate) async fn commit_with_effects(
        &self,
        change: Change,
    ) -> Result<Committed, CommitError> {
        let committed = self.commit(change).await?;
        self.outbox.notify_one();
        Ok(committed)
    }

    /// Records something that changes nothing else. If that fails, it is logged: what was
    /// refused stays refused.
    pub(crate) async fn record(&self, entry: Entry) {
        let action = entry.action;
        if let Err(error) = self.commit_whatever(Change::record(entry)).await {
            tracing::error!(%error, action, "could not be recorded");
        }
    }
}

/// A new serial number.
pub(crate) fn new_serial() -> SerialNumber {
    SerialNumber::from_random(*hearthkey_store::keys::random::<16>())
}

/// The device as an actor.
pub(crate) fn device_actor(device: &DeviceId, address: SocketAddr, connection: u64) -> Actor {
    Actor {
        name: format!("device:{device}"),
        role: "device".into(),
        session: Some(connection.to_string()),
        address: Some(address.to_string()),
    }
}
