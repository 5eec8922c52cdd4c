//! A home for one test: a CA, an access, a broker, and a gateway that answers it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use bytes::Bytes;
use hearthkey_broker::{
    Broker, ClaimAnswer, Config, Event, Events, Limits, StateChange, StateChanges, StateKind,
    StateRow,
};
use hearthkey_core::access::{Access, CertificateAccess, DeviceAccess};
use hearthkey_core::certificate::CertificateState;
use hearthkey_core::claim::Claim;
use hearthkey_core::device::DeviceState;
use hearthkey_core::id::{ClaimId, Fingerprint};
use hearthkey_core::profile::Profile;
use hearthkey_core::time::{Span, Timestamp};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

pub const NOW_S: i64 = 1_800_000_000;
pub const CLAIM: &str = "c-0000000000000001";

/// Something to do when the broker has asked the clock so many times more.
type AtTick = Arc<Mutex<Option<(u32, Box<dyn FnOnce() + Send>)>>>;

type Rows = BTreeMap<(StateKind, String), Vec<u8>>;

pub struct Authority {
    issuer: rcgen::Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

#[derive(Clone)]
pub struct Identity {
    pub chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKeyDer<'static>>,
}

impl Identity {
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.chain[0])
    }
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "Test Root");
        let root = params.self_signed(&key).unwrap();
        let root = root.der().clone();
        Self {
            issuer: rcgen::Issuer::new(params, key),
            root,
        }
    }

    pub fn issue(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        let leaf = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        Identity {
            chain: vec![leaf],
            key: Arc::new(key),
        }
    }

    pub fn device(&self, name: &str) -> Identity {
        self.issue(name, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        Arc::new(roots)
    }

    pub fn server_config(&self) -> Arc<ServerConfig> {
        let server = self.issue("localhost", ExtendedKeyUsagePurpose::ServerAuth);
        let provider = Arc::new(default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(self.roots(), provider.clone())
            .allow_unauthenticated()
            .build()
            .unwrap();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(server.chain.clone(), server.key.clone_key())
            .unwrap();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Arc::new(config)
    }

    pub fn client_config(&self, identity: Option<&Identity>) -> Arc<ClientConfig> {
        let roots = self.roots();
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(match identity {
            None => builder.with_no_client_auth(),
            Some(i) => builder
                .with_client_auth_cert(i.chain.clone(), i.key.clone_key())
                .unwrap(),
        })
    }
}

pub struct Home {
    pub ca: Arc<Authority>,
    pub broker: Broker,
    pub access: Arc<RwLock<Access>>,
    pub tls: watch::Sender<Arc<ServerConfig>>,
    pub now: Arc<Mutex<Timestamp>>,
    pub at_tick: AtTick,
    pub heard: tokio::sync::Mutex<mpsc::UnboundedReceiver<String>>,
    rows: Arc<Mutex<Rows>>,
    collecting: JoinHandle<()>,
}

pub fn profile(sessions_max: u16) -> Profile {
    Profile::parse(&format!(
        "name = \"test\"\ndescription = \"d\"\ncertificate_lifetime_days = 30\ngrace_days = 30\n\
         keys = [\"p256\"]\nsessions_max = {sessions_max}\n\
         [[publish]]\ntopic = \"home/{{device}}/#\"\nreason = \"its own\"\n\
         [[subscribe]]\ntopic = \"home/#\"\nreason = \"to hear the others\"\n"
    ))
    .unwrap()
}

impl Home {
    pub async fn new() -> Self {
        Self::with(
            Limits::default(),
            Vec::new(),
            Arc::new(Authority::new()),
            Arc::default(),
        )
        .await
    }

    pub async fn with(
        limits: Limits,
        restored: Vec<StateRow>,
        ca: Arc<Authority>,
        access: Arc<RwLock<Access>>,
    ) -> Self {
        let (tls, config) = watch::channel(ca.server_config());
        let now = Arc::new(Mutex::new(Timestamp::from_s(NOW_S)));
        let at_tick = AtTick::default();
        let (clock, alarm) = (Arc::clone(&now), Arc::clone(&at_tick));
        let (broker, events, changes) = Broker::start(Config {
            listener: std::net::TcpListener::bind("127.0.0.1:0").unwrap(),
            tls: config,
            access: Arc::clone(&access),
            now: Arc::new(move || {
                tick(&alarm);
                *clock.lock().unwrap()
            }),
            limits,
            busy: Bytes::from_static(b"{\"code\":\"rate_limited\"}"),
            restored: restored.clone(),
        })
        .await
        .unwrap();
        let (tell, heard) = mpsc::unbounded_channel();
        tokio::spawn(gateway(events, tell));
        let rows: Rows = restored
            .into_iter()
            .map(|r| ((r.kind, r.key), r.value))
            .collect();
        let rows = Arc::new(Mutex::new(rows));
        let collecting = tokio::spawn(collect(changes, Arc::clone(&rows)));
        let heard = tokio::sync::Mutex::new(heard);
        Self {
            ca,
            broker,
            access,
            tls,
            now,
            at_tick,
            heard,
            rows,
            collecting,
        }
    }

    /// Enrolls a device and returns its certificate.
    pub fn enroll(&self, name: &str, sessions_max: u16) -> Identity {
        let identity = self.ca.device(name);
        self.let_in(name, sessions_max, &identity);
        identity
    }

    pub fn let_in(&self, name: &str, sessions_max: u16, identity: &Identity) {
        let device: hearthkey_core::id::DeviceId = name.parse().unwrap();
        let environment: hearthkey_core::id::EnvironmentName = "home".parse().unwrap();
        let mut access = self.access.write().unwrap();
        let (state, profile) = (DeviceState::Active, profile(sessions_max).into());
        let known = DeviceAccess::new(state, environment, &profile);
        access.set_device(device.clone(), known);
        let state = CertificateState::Active;
        let not_after = Timestamp::from_s(NOW_S + 86_400);
        let known = CertificateAccess {
            device,
            state,
            not_after,
            renews_only: false,
        };
        access.set_certificate(identity.fingerprint(), known);
    }

    pub fn valid_until(&self, identity: &Identity, not_after_s: i64) {
        let mut access = self.access.write().unwrap();
        let mut known = access.certificate(&identity.fingerprint()).unwrap().clone();
        known.not_after = Timestamp::from_s(not_after_s);
        access.set_certificate(identity.fingerprint(), known);
    }

    pub fn open_claim(&self) -> ClaimId {
        let id: ClaimId = CLAIM.parse().unwrap();
        let (guest, secret) = ("guest".parse().unwrap(), Fingerprint([0; 32]));
        let (now, life) = (Timestamp::from_s(NOW_S), Span::minutes(15));
        let claim = Claim::opened(id.clone(), guest, secret, now, life);
        self.access.write().unwrap().expect(claim);
        id
    }

    /// Waits for an event whose debug text has all these parts.
    pub async fn hears(&self, parts: &[&str]) -> String {
        let mut heard = self.heard.lock().await;
        within("an event", async {
            loop {
                let event = heard.recv().await.expect("the broker is running");
                if parts.iter().all(|part| event.contains(part)) {
                    return event;
                }
            }
        })
        .await
    }

    pub fn rows(&self, kind: StateKind) -> Vec<String> {
        let rows = self.rows.lock().unwrap();
        rows.keys()
            .filter(|(k, _)| *k == kind)
            .map(|(_, key)| key.clone())
            .collect()
    }

    /// What a gateway that is killed now would find in its database.
    pub fn all_rows(&self) -> Vec<StateRow> {
        let rows = self.rows.lock().unwrap();
        rows.iter()
            .map(|((kind, key), value)| StateRow {
                kind: *kind,
                key: key.clone(),
                value: value.clone(),
            })
            .collect()
    }

    /// Stops the broker and returns what the gateway has stored.
    pub async fn stop(self) -> Vec<StateRow> {
        let Self {
            broker,
            rows,
            collecting,
            ..
        } = self;
        broker.stop().await;
        within("the last state", collecting).await.unwrap();
        let rows = std::mem::take(&mut *rows.lock().unwrap());
        rows.into_iter()
            .map(|((kind, key), value)| StateRow { kind, key, value })
            .collect()
    }
}

fn tick(alarm: &AtTick) {
    let mut alarm = alarm.lock().unwrap();
    let due = match alarm.as_mut() {
        Some((left, _)) => {
            *left -= 1;
            *left == 0
        }
        None => false,
    };
    let action = if due { alarm.take() } else { None };
    drop(alarm);
    if let Some((_, action)) = action {
        action();
    }
}

async fn collect(mut changes: StateChanges, rows: Arc<Mutex<Rows>>) {
    while let Some(batch) = changes.recv().await {
        let mut rows = rows.lock().unwrap();
        for change in batch {
            match change {
                StateChange::Put(row) => drop(rows.insert((row.kind, row.key), row.value)),
                StateChange::Delete { kind, key } => drop(rows.remove(&(kind, key))),
            }
        }
    }
}

async fn gateway(mut events: Events, tell: mpsc::UnboundedSender<String>) {
    while let Some(event) = events.recv().await {
        // A test may have ended before its broker.
        let _ = tell.send(shown(&event));
        match event {
            Event::ClaimPresented { secret, answer, .. } => {
                let _ = answer.send(match secret.as_slice() {
                    b"right" => ClaimAnswer::Admitted,
                    b"sealed" => ClaimAnswer::Unavailable,
                    _ => ClaimAnswer::Refused,
                });
            }
            Event::EnrollmentRequested { request, .. }
            | Event::RenewalRequested { request, .. }
            | Event::TrustAcknowledged { request, .. } => {
                let number = request.connection.to_string();
                if request.oversized {
                    request.reply.rejected("csr_too_large".into()).await;
                } else if request.payload == "bad" {
                    request.reply.rejected("csr_malformed".into()).await;
                } else {
                    let answer = [&b"for "[..], &request.payload, b" on ", number.as_bytes()];
                    request.reply.accepted(answer.concat().into()).await;
                }
            }
            _ => {}
        }
    }
}

fn shown(event: &impl Debug) -> String {
    format!("{event:?}")
}

/// Waits for a state, and fails rather than hang.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(Duration::from_secs(20), future).await {
        Ok(output) => output,
        Err(_) => panic!("waited too long for {what}"),
    }
}

/// Waits until a condition holds.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    within(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}
