//! A home for unit tests of use cases: real files in a temporary directory, a clock that is set by hand, and a broker that
//! nobody can connect to. No socket is opened and nothing runs beside the test but what writes down ends of access.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use hearthkey_api::{ClaimOpened, ClaimRequest};
use hearthkey_broker::{Broker, ClaimAnswer};
use hearthkey_core::audit::Record;
use hearthkey_core::id::{ClaimId, Fingerprint};
use hearthkey_core::rejection::Rejection;
use hearthkey_core::role::{Act, Role};
use hearthkey_core::time::{Span, Timestamp};
use hearthkey_store::Store;
use hearthkey_store::log_search::RecordFilter;
use hearthkey_store::slots::{Slots, key_file};
use tempfile::TempDir;

use crate::auth::caller::Caller;
use crate::auth::caller::tests::role_token;
use crate::auth::permit::Permit;
use crate::devices::enroll::Guest;
use crate::home::Home;
use crate::process::init::{InitSlot, init};
use crate::process::loading::Door;
use crate::process::loading::Loaded;
use crate::state::clock::{Clock, machine_time};
use crate::state::write_down::keep_writing_down;

/// Where devices of tests come from.
pub(crate) const DEVICE: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)), 50_000);

/// A CSR with a new key, in PEM.
pub(crate) fn csr() -> Vec<u8> {
    let key = rcgen::KeyPair::generate().unwrap();
    let asked = rcgen::CertificateParams::default().serialize_request(&key);
    asked.unwrap().pem().unwrap().into_bytes()
}

/// The caller on the gateway's own machine.
pub(crate) const HERE: Caller = Caller::Local { uid: 0, pid: None };

/// Leave of the gateway's own machine for an act.
pub(crate) fn here(act: Act) -> Permit {
    HERE.permitted(act).unwrap()
}

/// Leave of a token with the role of an operator in one environment.
pub(crate) fn operator_in(environment: &str, act: Act) -> Permit {
    role_token(Role::Operator, &[environment])
        .permitted(act)
        .unwrap()
}

/// A home of a test.
pub(crate) struct TestHome {
    pub(crate) home: Arc<Home>,
    pub(crate) directory: TempDir,
    clock_ms: Arc<AtomicI64>,
}

impl std::ops::Deref for TestHome {
    type Target = Home;

    fn deref(&self) -> &Home {
        &self.home
    }
}

/// Homes differ by what is done in them: making one takes much longer than copying one.
fn made() -> &'static Path {
    static MADE: OnceLock<TempDir> = OnceLock::new();
    MADE.get_or_init(|| {
        let directory = directory();
        let path = directory.path().join("home");
        std::thread::scope(|scope| {
            let making = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .enable_all()
                    .build();
                runtime.unwrap().block_on(async {
                    let made = init(&path, "test", InitSlot::KeyFile).await;
                    made.map(drop).unwrap();
                    // What its first opening makes is made once, too.
                    open(&path, Clock::by_hand(begins())).await.close().await;
                });
            });
            making.join().unwrap();
        });
        directory
    })
    .path()
}

/// When homes of tests begin: as their CAs were made, whatever year the tests run in.
fn begins() -> Arc<AtomicI64> {
    static BEGINS: OnceLock<Timestamp> = OnceLock::new();
    Arc::new(AtomicI64::new(BEGINS.get_or_init(machine_time).as_ms()))
}

/// Opens a home as the program does, but for its sockets.
async fn open(data_dir: &Path, clock: Clock) -> Arc<Home> {
    let slots = Slots::read(data_dir).unwrap();
    let root = slots.unseal(&key_file(data_dir).unwrap()).unwrap();
    let door = Door {
        data_dir: data_dir.to_owned(),
        mqtt: ([127, 0, 0, 1], 8883).into(),
        http: Some(([127, 0, 0, 1], 8443).into()),
        connections_max: None,
        hosts: vec!["localhost".into()],
    };
    let id = slots.home().clone();
    let store = Store::open(data_dir, root, &id).unwrap();
    let loaded = Loaded::of(&door, id, store, door.http, |_| clock)
        .await
        .unwrap();
    let time = Arc::clone(&loaded.clock);
    let access = Arc::clone(&loaded.access);
    let broker = Broker::unreachable(access, Arc::new(move || time.now()));
    let (home, _) = loaded.into_home(broker);
    let writer = tokio::spawn(keep_writing_down(Arc::clone(&home.ctx)));
    home.ctx.endings().written_by(writer);
    home
}

/// A directory whose files wait for no disk, where there is one.
fn directory() -> TempDir {
    let in_memory = TempDir::new_in("/dev/shm");
    in_memory.or_else(|_| TempDir::new()).unwrap()
}

impl TestHome {
    /// A new home. Its tests need a runtime of several threads, as the gateway does.
    pub(crate) async fn new() -> Self {
        Self::opened(Self::made(), begins()).await
    }

    /// A new home on a machine whose clock can be set, by these milliseconds apart from what passes, and whose kernel says this of it.
    pub(crate) async fn on_a_machine(synchronized: Option<bool>) -> (Self, Arc<AtomicI64>) {
        let (directory, apart_ms) = (Self::made(), Arc::new(AtomicI64::new(0)));
        let clock_ms = begins();
        let parts = (Arc::clone(&clock_ms), Arc::clone(&apart_ms));
        let clock = Clock::of_parts(parts.0, parts.1, synchronized);
        let home = Self {
            home: open(directory.path(), clock).await,
            directory,
            clock_ms,
        };
        (home, apart_ms)
    }

    /// The files of a new home.
    fn made() -> TempDir {
        let directory = directory();
        for entry in std::fs::read_dir(made().join("home")).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                std::fs::copy(entry.path(), directory.path().join(entry.file_name())).unwrap();
            }
        }
        directory
    }

    async fn opened(directory: TempDir, clock_ms: Arc<AtomicI64>) -> Self {
        Self {
            home: open(directory.path(), Clock::by_hand(Arc::clone(&clock_ms))).await,
            directory,
            clock_ms,
        }
    }

    /// The same home, closed and opened again.
    pub(crate) async fn reopened(self) -> Self {
        self.home.close().await;
        Self::opened(self.directory, self.clock_ms).await
    }

    /// Lets time go by.
    pub(crate) fn wait(&self, span: Span) {
        self.clock_ms.fetch_add(span.as_ms(), Ordering::Relaxed);
    }

    /// Opens a claim for a device of the generic profile, and gives its id and secret.
    pub(crate) async fn claim(&self, device: &str, environment: &str) -> ClaimOpened {
        let asked = ClaimRequest {
            device: device.into(),
            profile: "generic".into(),
            environment: environment.into(),
            owner: "anna".into(),
            purpose: "a test".into(),
            lifetime: "15m".into(),
        };
        self.devices.open_claim(&HERE, &asked).await.unwrap()
    }

    /// Enrolls a device: a claim, its secret, a key of its own. Gives its certificate's fingerprint.
    pub(crate) async fn enroll(&self, device: &str, environment: &str) -> Fingerprint {
        let claim = self.claim(device, environment).await;
        let outcome = self.enrolled_by(&claim).await;
        let answer = outcome.unwrap_or_else(|rejection| panic!("{rejection:?}"));
        let device = device.parse().unwrap();
        let certificates = self.ctx.store();
        let certificates = certificates.read(|registry| registry.certificates_of(&device, 1));
        assert!(!answer.is_empty());
        certificates.unwrap()[0].fingerprint
    }

    /// What a device with a key of its own gets for a claim.
    pub(crate) async fn enrolled_by(&self, claim: &ClaimOpened) -> Result<Vec<u8>, Rejection> {
        let id: ClaimId = claim.claim.parse().unwrap();
        let presented = self.devices.present(&id, claim.secret.as_bytes(), DEVICE);
        assert_eq!(presented.await, ClaimAnswer::Admitted);
        let guest = Guest {
            claim: &id,
            address: DEVICE,
            connection: 1,
        };
        self.devices.enroll(&guest, &csr(), false).await
    }

    /// The records of the audit log whose action is this, the oldest first.
    pub(crate) fn records(&self, action: &str) -> Vec<Record> {
        let filter = RecordFilter {
            action: Some(action.to_owned()),
            ..RecordFilter::default()
        };
        let size = self.audit.log_size();
        let store = self.ctx.store();
        let found = store.read(|registry| registry.search_records(&filter, (0, size), 1000));
        let newest_first = found.unwrap().records;
        let read = |(_, leaf): &(u64, Vec<u8>)| serde_json::from_slice(leaf).unwrap();
        newest_first.iter().rev().map(read).collect()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.home.ctx.now()
    }
}
