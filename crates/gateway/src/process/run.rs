//! The gateway as a process: sealed or not, with its socket, until it is asked to stop.

mod sealing;

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use axum::middleware;
use hearthkey_api::{ClockView, Listeners, SOCKET_FILE, Status};
use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::id::HomeId;
use hearthkey_store::files::{DataDir, HomeLock};
use hearthkey_store::keys::RootKey;
use hearthkey_store::slots::kit::learn_kit;
use hearthkey_store::slots::{self, SlotKind, Slots, UnsealError, Way};
use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::auth::caller::Caller;
use crate::auth::permit::Permit;
use crate::auth::setup_file::SetupLink;
use crate::auth::throttle::Throttle;
use crate::home::Home;
use crate::http::gateway::{Gateway, Keeper, Later};
use crate::http::middleware::drain_body::linger;
use crate::http::middleware::guard::{Front, guard};
use crate::http::middleware::host::{Hosts, InvalidHost, check_hosts};
use crate::http::middleware::run_to_end::to_the_end;
use crate::http::router::{router, table};
use crate::http::socket;
use crate::process::announce::{Announce, announce};
use crate::process::data_dir::{UnfitDataDir, check_data_dir};
use crate::process::half_rekeyed::finish_what_was_begun;
use crate::process::init::UNFINISHED_FILE;
use crate::process::loading::{Door, HomeError};
use crate::process::opening::open;
use crate::process::socket::{SocketError, bind_socket};
use crate::process::written::WrittenMeter;
use crate::state::clock::{machine_time, synchronized};
use crate::state::endings::PATIENCE;
use crate::state::locked;
use crate::unlock::KEY_FILE_WARNING;

/// How the gateway is run.
#[derive(Clone)]
pub struct RunConfig {
    /// The home's data directory.
    pub data_dir: PathBuf,
    /// Where devices connect.
    pub mqtt: SocketAddr,
    /// Where services ask over HTTPS, if they may.
    pub http: Option<SocketAddr>,
    /// Connections of devices at the same time, if not the usual number.
    pub connections_max: Option<u32>,
    /// The names and addresses by which devices know this gateway.
    pub hosts: Vec<String>,
    /// Whether it says in the local network where it is.
    pub announce: Announce,
    /// A passphrase or recovery code to open the home with.
    pub passphrase: Option<Zeroizing<String>>,
}

/// What the one who runs it wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEvent {
    /// It serves devices.
    Ready {
        /// The MQTT listener's address.
        mqtt: SocketAddr,
        /// The HTTPS listener's address.
        http: Option<SocketAddr>,
    },
    /// It is sealed: it answers `status` and `unseal` only.
    Sealed,
    /// Nobody owns the home yet: this link makes its first visitor the owner.
    Setup(SetupLink),
}

/// Why the gateway did not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The home does not open.
    #[error(transparent)]
    Unseal(#[from] UnsealError),
    /// The home cannot be served.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// Devices could not reach the gateway by a name that it is given.
    #[error(transparent)]
    Host(#[from] InvalidHost),
    /// The directory cannot hold a home.
    #[error(transparent)]
    DataDir(#[from] UnfitDataDir),
    /// Another directory is where the home was locked.
    #[error("the data directory {0} was moved or replaced while the gateway ran")]
    Moved(PathBuf),
    /// Another gateway runs on this home.
    #[error("another gateway runs on {0}. Stop it first, or choose another --data-dir")]
    Running(PathBuf),
    /// The home cannot be locked.
    #[error(
        "the home in {path} cannot be locked: {source}. Check that the directory can be written, and that hearthkey.lock and hearthkey.db in it are files and no links"
    )]
    Lock {
        /// The data directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
}

/// The process: an open home, or none.
pub(crate) struct Process {
    door: Door,
    announce: Announce,
    /// The directory that is locked.
    dir: DataDir,
    /// The slots as they were last known; while the home is open its store knows them better.
    slots: Mutex<Slots>,
    gateway: Arc<Gateway>,
    /// Whether the home is out already, and its storage is not closed yet.
    closing: AtomicBool,
    /// One seals or unseals at a time.
    turn: tokio::sync::Mutex<()>,
    /// Words that opened nothing.
    guesses: Mutex<Throttle>,
    on_event: Arc<dyn Fn(RunEvent) + Send + Sync>,
    /// What this process writes to the disk.
    written: WrittenMeter,
}

/// Runs the gateway until `shutdown`.
pub async fn run(
    config: RunConfig,
    on_event: impl Fn(RunEvent) + Send + Sync + 'static,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let running = Running::start(config, on_event).await?;
    shutdown.await;
    running.stop().await;
    Ok(())
}

/// A core dump would hold the home's keys, on a disk and often in a report to somebody else: this process leaves none.
fn keep_out_of_core_dumps() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "a crash may leave a core dump, which would hold keys");
    }
}

/// A gateway that runs in this process: its listeners are open, and its socket answers.
pub(crate) struct Running {
    process: Arc<Process>,
    serving: JoinHandle<()>,
    _lock: HomeLock,
}

impl Running {
    pub(crate) async fn start(
        config: RunConfig,
        on_event: impl Fn(RunEvent) + Send + Sync + 'static,
    ) -> Result<Self, RunError> {
        keep_out_of_core_dumps();
        let RunConfig {
            data_dir,
            mqtt,
            http,
            connections_max,
            hosts,
            announce,
            passphrase,
        } = config;
        let hosts = if hosts.is_empty() {
            vec!["localhost".to_owned()]
        } else {
            check_hosts(&hosts)?
        };
        check_data_dir(&data_dir)?;
        finish_what_was_begun(&data_dir).map_err(|source| RunError::Lock {
            path: data_dir.clone(),
            source,
        })?;
        let slots = Slots::read(&data_dir)?;
        let (socket, dir, lock) = bind(&data_dir)?;
        let process = Arc::new(Process {
            door: Door {
                data_dir: data_dir.clone(),
                mqtt,
                http,
                connections_max,
                hosts,
            },
            announce,
            dir,
            slots: Mutex::new(slots),
            gateway: Arc::new(Gateway::new(table())),
            closing: AtomicBool::new(false),
            turn: tokio::sync::Mutex::default(),
            guesses: Mutex::default(),
            on_event: Arc::new(on_event),
            written: WrittenMeter::start(),
        });
        let keeper: Weak<Process> = Arc::downgrade(&process);
        process.gateway.kept_by(keeper);
        let opened = match passphrase.map(Way::Words) {
            Some(way) => process.open(&way).await,
            None => process.open_by_itself().await,
        };
        if let Err(error) = opened {
            // Nobody answers there.
            let _ = process.dir.remove(SOCKET_FILE);
            return Err(error);
        }
        let serving = tokio::spawn(socket::serve(socket, router(Arc::clone(&process.gateway))));
        Ok(Self {
            process,
            serving,
            _lock: lock,
        })
    }

    /// The gateway, to be asked in this process.
    pub(crate) fn gateway(&self) -> Arc<Gateway> {
        Arc::clone(&self.process.gateway)
    }

    pub(crate) async fn stop(self) {
        self.serving.abort();
        self.process.close(None).await;
        let _ = self.process.dir.remove(SOCKET_FILE);
    }
}

/// What a data directory that is open to others does not protect from.
const NOT_PRIVATE_WARNING: &str = "Others than its owner can put files into the data directory, or it belongs to another user: \
     they can take the home's files away or replace them. Make it the gateway's own (`chmod 750`).";

/// Locks the home and binds its socket: the holder of the data directory's lock is the only gateway of the home.
fn bind(data_dir: &Path) -> Result<(UnixListener, DataDir, HomeLock), RunError> {
    let failed = |source| RunError::Lock {
        path: data_dir.to_owned(),
        source,
    };
    let dir = DataDir::open(data_dir).map_err(failed)?;
    let lock = dir.lock().map_err(failed)?;
    let lock = lock.ok_or_else(|| RunError::Running(data_dir.to_owned()))?;
    // What opens the home was read: it is made to its end.
    dir.remove(UNFINISHED_FILE).map_err(failed)?;
    if !dir.is_private().map_err(failed)? {
        tracing::warn!(
            data_dir = %data_dir.display(),
            "others than its owner can put files into the data directory, or it belongs to another user"
        );
    }
    Ok((bind_socket(&dir)?, dir, lock))
}

impl Process {
    /// Opens the home with its key file, if it has one that opens it. Otherwise somebody has to unseal it.
    async fn open_by_itself(&self) -> Result<(), RunError> {
        let has_slot = locked(&self.slots).kinds().contains(&SlotKind::KeyFile);
        let way = slots::key_file(&self.door.data_dir).filter(|_| has_slot);
        let opened = match &way {
            Some(way) => self.open(way).await,
            None => Err(UnsealError::NoFit.into()),
        };
        match opened {
            Err(RunError::Unseal(UnsealError::NoFit)) => {
                if has_slot {
                    tracing::error!(
                        "the key file is missing or opens nothing: unseal the home with a passphrase or the recovery code"
                    );
                }
                (self.on_event)(RunEvent::Sealed);
                Ok(())
            }
            opened => opened,
        }
    }

    /// The root key, and the home that it is of. The slots are read anew; if the file is gone, they are those that were known.
    fn root_key(&self, way: &Way) -> Result<(RootKey, HomeId), UnsealError> {
        let mut known = locked(&self.slots);
        match Slots::read(&self.door.data_dir) {
            Ok(slots) if slots.home() == known.home() => *known = slots,
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "the home opens as it was known"),
        }
        let slots = known.clone();
        drop(known);
        Ok((slots.unseal(way)?, slots.home().clone()))
    }

    async fn open(&self, way: &Way) -> Result<(), RunError> {
        // Argon2 takes a tenth of a second of a core.
        let (root, id) = tokio::task::block_in_place(|| self.root_key(way))?;
        // The lock is on the directory that was there at start.
        if !self.dir.is_at_its_path().unwrap_or_default() {
            return Err(RunError::Moved(self.door.data_dir.clone()));
        }
        if let Way::Words(words) = way {
            tokio::task::block_in_place(|| learn_kit(&self.dir, &root, words));
        }
        let (home, https) = open(self.door.clone(), root, id).await?;
        let (mqtt, http) = (home.ctx.broker().local_addr(), home.ctx.http());
        if let Some((listener, address)) = https.zip(http) {
            let hosts = Hosts::new(home.ctx.hosts(), address);
            let front = Front::new(Arc::clone(&home), Arc::clone(&self.gateway), hosts);
            let guarded = middleware::from_fn_with_state(front, guard);
            // To the end, so that a client that disconnects at once is recorded, too.
            let app = router(Arc::clone(&self.gateway))
                .layer(guarded)
                .layer(middleware::from_fn(linger))
                .layer(middleware::from_fn(to_the_end));
            locked(home.ctx.tasks()).push(tokio::spawn(listener.serve(app)));
        }
        let announced = announce(Arc::clone(&home.ctx), self.announce);
        locked(home.ctx.tasks()).push(tokio::spawn(announced));
        match home.ctx.store().tidy_key_file() {
            Ok(true) => tracing::warn!("a key file that opened nothing any more was deleted"),
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "a key file that opens nothing is left"),
        }
        self.gateway.serve(Arc::clone(&home));
        (self.on_event)(RunEvent::Ready { mqtt, http });
        match home.people.setup_link() {
            Ok(Some(url)) => {
                let link = SetupLink::new(url, &self.door.data_dir);
                let on_event = Arc::clone(&self.on_event);
                let told = tokio::task::spawn_blocking(move || on_event(RunEvent::Setup(link)));
                // It may go into a file. Devices are in by now: nobody waits for a disk that hangs before they can be cut off.
                let _ = timeout(PATIENCE, told).await;
            }
            Ok(None) => {}
            Err(failure) => tracing::error!(why = failure.0.detail, "no setup link could be made"),
        }
        Ok(())
    }

    /// Closes the home, for somebody who is then on record, or because the gateway stops.
    async fn close(&self, sealed_by: Option<Actor>) {
        let home = self.gateway.withdraw();
        let Some(home) = home else { return };
        self.closing.store(true, Ordering::Relaxed);
        home.auth.people.forget_setup_link();
        // Everybody is out before anything waits for the disk.
        home.close_doors().await;
        if let Some(actor) = sealed_by {
            let entry = Entry::new(
                home.ctx.now(),
                actor,
                "home.seal",
                format!("home:{}", home.ctx.id()),
            );
            let _ = timeout(PATIENCE, home.ctx.record(entry)).await;
        }
        if let Some(slots) = home.ctx.store().known_slots() {
            *locked(&self.slots) = slots;
        }
        home.close().await;
        self.closing.store(false, Ordering::Relaxed);
    }
}

impl Keeper for Process {
    fn unseal(&self, caller: Caller, words: Zeroizing<String>) -> Later<'_, ()> {
        Box::pin(self.unseal_with(caller, words))
    }

    fn is_settled(&self) -> Later<'_, ()> {
        Box::pin(self.settle())
    }

    fn seal(&self, permit: Permit) -> Later<'_, ()> {
        Box::pin(self.seal_for(permit))
    }

    fn status(&self) -> Status {
        let home = self.gateway.home().ok();
        let known = home
            .as_ref()
            .and_then(|home| home.ctx.store().known_slots());
        let slots = known.unwrap_or_else(|| locked(&self.slots).clone());
        let kinds = slots.kinds();
        let mut warnings = home
            .as_ref()
            .map(|home| home.warnings.clone())
            .unwrap_or_default();
        if kinds.contains(&SlotKind::KeyFile) {
            warnings.push(KEY_FILE_WARNING.to_owned());
        }
        if !self.dir.is_private().unwrap_or_default() {
            warnings.push(NOT_PRIVATE_WARNING.to_owned());
        }
        let socket = self.door.data_dir.join(SOCKET_FILE).display().to_string();
        let mqtt = home
            .as_ref()
            .map(|home| home.ctx.broker().local_addr().to_string());
        let http = home
            .as_ref()
            .and_then(|home| home.ctx.http())
            .map(|address| address.to_string());
        let unknown = ClockView {
            trusted: false,
            now: machine_time().to_string(),
            machine: None,
            synchronized: synchronized(),
            doubt: None,
        };
        let home = home.as_deref();
        let clock = home.map_or(unknown, Home::clock_view);
        let extent = home.map(|home| home.audit.known_extent());
        let extent = extent.unwrap_or_default();
        Status {
            sealed: home.is_none() && !self.closing.load(Ordering::Relaxed),
            version: env!("CARGO_PKG_VERSION").into(),
            home: slots.home().to_string(),
            listeners: Listeners { mqtt, http, socket },
            sessions: home.map_or(0, |home| home.ctx.broker().session_count()),
            devices: home.map_or(0, |home| home.devices.device_count()),
            log_size: home.map_or(0, |home| home.audit.log_size()),
            log_first: extent.first,
            log_archived_before: extent.archived_before,
            log_bytes: extent.bytes,
            written: self.written.so_far(),
            log_verified_at: home
                .and_then(|home| home.audit.log_verified_at())
                .map(|at| at.to_string()),
            clock_trusted: clock.trusted,
            clock,
            storage_available: home.is_some_and(|h| h.ctx.storage_available()),
            revocations_pending: home.map_or(0, |home| home.ctx.endings().pending()),
            backed_up_until: home
                .and_then(|home| home.ctx.shipped_now().known_until(home.ctx.now()))
                .map(|at| at.whole_second().to_string()),
            incident: home
                .and_then(|home| home.ctx.store().incident())
                .map(|i| i.to_string()),
            warnings,
            slots: kinds.into_iter().map(slot_name).collect(),
        }
    }
}

pub(crate) fn slot_name(kind: SlotKind) -> String {
    match kind {
        SlotKind::KeyFile => "keyfile",
        SlotKind::Passphrase => "passphrase",
        SlotKind::RecoveryCode => "recovery-code",
    }
    .into()
}
