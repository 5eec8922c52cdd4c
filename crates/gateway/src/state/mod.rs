//! What all areas share: the store, the clock, who may connect, the broker, and the primitives that several areas use.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use hearthkey_broker::Broker;
use hearthkey_core::access::Access;
use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::backup::shipped::Shipped;
use hearthkey_core::id::{DeviceId, EnvironmentName, HomeId, ProfileName, SerialNumber};
use hearthkey_core::profile::Profile;
use hearthkey_core::time::Timestamp;
use hearthkey_pki::{CaCertificate, CertificateAuthority};
use hearthkey_store::change::Change;
use hearthkey_store::{CommitError, Committed, Store};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use clock::Clock;
use endings::Endings;
use keyed_locks::Turns;
use shipping::Shipping;

pub(crate) mod aside;
pub(crate) mod clock;
pub(crate) mod endings;
pub(crate) mod expected;
pub(crate) mod failure;
pub(crate) mod keyed_locks;
mod lock;
pub(crate) mod shares;
pub(crate) mod shipping;
pub(crate) mod url;
pub(crate) mod write_down;

pub(crate) use lock::locked;

/// The setting that says where backups go. Looked at also where a new CA waits for one.
pub(crate) const BACKUP_PLAN: &str = "backup_plan";

/// What all areas of an unsealed home share.
pub(crate) struct Ctx {
    id: HomeId,
    hosts: Vec<String>,
    store: Store,
    clock: Arc<Clock>,
    access: Arc<RwLock<Access>>,
    broker: Broker,
    root: CaCertificate,
    issuers: RwLock<HashMap<EnvironmentName, Arc<CertificateAuthority>>>,
    profiles: RwLock<HashMap<ProfileName, Arc<Profile>>>,
    /// Where the HTTPS listener is, if there is one.
    http: Option<SocketAddr>,
    /// Writes about one device are made one at a time.
    turns: Turns<DeviceId>,
    /// Access that has ended in memory and is being written down.
    endings: Endings,
    /// How far the place for backups knows the journal.
    shipped: Shipping,
    outbox: Notify,
    storage_available: AtomicBool,
    /// Tells this opening of the home from every other.
    epoch: String,
    stopping: watch::Sender<bool>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// What a [`Ctx`] is made of.
pub(crate) struct Parts {
    pub(crate) id: HomeId,
    pub(crate) hosts: Vec<String>,
    pub(crate) store: Store,
    pub(crate) clock: Arc<Clock>,
    pub(crate) access: Arc<RwLock<Access>>,
    pub(crate) broker: Broker,
    pub(crate) root: CaCertificate,
    pub(crate) issuers: HashMap<EnvironmentName, Arc<CertificateAuthority>>,
    pub(crate) profiles: HashMap<ProfileName, Arc<Profile>>,
    pub(crate) http: Option<SocketAddr>,
}

impl Ctx {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            id: parts.id,
            hosts: parts.hosts,
            store: parts.store,
            clock: parts.clock,
            access: parts.access,
            broker: parts.broker,
            root: parts.root,
            issuers: RwLock::new(parts.issuers),
            profiles: RwLock::new(parts.profiles),
            http: parts.http,
            turns: Turns::new(),
            endings: Endings::default(),
            shipped: Shipping::default(),
            outbox: Notify::new(),
            storage_available: AtomicBool::new(true),
            epoch: hearthkey_core::id::hex(hearthkey_store::keys::random::<4>().as_slice()),
            stopping: watch::Sender::new(false),
            tasks: Mutex::default(),
        }
    }

    pub(crate) fn id(&self) -> &HomeId {
        &self.id
    }

    /// The names and addresses by which devices know the gateway.
    pub(crate) fn hosts(&self) -> &[String] {
        &self.hosts
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn clock(&self) -> &Arc<Clock> {
        &self.clock
    }

    pub(crate) fn broker(&self) -> &Broker {
        &self.broker
    }

    /// Who may connect, as the broker and the TLS listeners share it.
    pub(crate) fn shared_access(&self) -> &Arc<RwLock<Access>> {
        &self.access
    }

    /// The home's root certificate.
    pub(crate) fn root(&self) -> &CaCertificate {
        &self.root
    }

    pub(crate) fn issuers(&self) -> &RwLock<HashMap<EnvironmentName, Arc<CertificateAuthority>>> {
        &self.issuers
    }

    pub(crate) fn profiles(&self) -> &RwLock<HashMap<ProfileName, Arc<Profile>>> {
        &self.profiles
    }

    /// Where the HTTPS listener is, if there is one.
    pub(crate) fn http(&self) -> Option<SocketAddr> {
        self.http
    }

    pub(crate) fn turns(&self) -> &Turns<DeviceId> {
        &self.turns
    }

    pub(crate) fn endings(&self) -> &Endings {
        &self.endings
    }

    /// How far the place for backups knows the journal.
    pub(crate) fn shipped(&self) -> &Shipping {
        &self.shipped
    }

    /// The same, as it is now.
    pub(crate) fn shipped_now(&self) -> Shipped {
        self.shipped.now(self.store.journal_file().newest())
    }

    /// Wakes the delivery of what waits in the outbox.
    pub(crate) fn outbox(&self) -> &Notify {
        &self.outbox
    }

    /// Whether the storage took the last change.
    pub(crate) fn storage_available(&self) -> bool {
        self.storage_available.load(Ordering::Relaxed)
    }

    /// Tells this opening of the home from every other.
    pub(crate) fn epoch(&self) -> &str {
        &self.epoch
    }

    /// Turns true when the home closes.
    pub(crate) fn stopping(&self) -> &watch::Sender<bool> {
        &self.stopping
    }

    /// What runs until the home closes.
    pub(crate) fn tasks(&self) -> &Mutex<Vec<JoinHandle<()>>> {
        &self.tasks
    }

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
        let rests = expected::expect(&mut change);
        let committed = self.commit_whatever(change).await;
        if rests && committed.is_ok() {
            expected::met();
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
