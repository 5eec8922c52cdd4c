//! Opening a home: from a root key to a running door.

use crate::audit::Audit;
use crate::auth::Auth;
use crate::devices::Recalled;
use crate::posture;
use crate::state::locked;
use crate::state::{Ctx, Parts, keep_writing_down};
use crate::trust::Trust;
use crate::trust::authority::{TrustError, load_authority};
use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use hearthkey_broker::{Broker, Config, Limits};
use hearthkey_core::access::{Access, CertificateAccess, DeviceAccess, REMEMBERED};
use hearthkey_core::certificate::{Certificate, CertificateState, RevocationReason};
use hearthkey_core::habit::Habits;
use hearthkey_core::id::{
    DeviceId, EnvironmentName, Fingerprint, HomeId, ProfileName, SerialNumber,
};
use hearthkey_core::posture::witness::JournalOpened;
use hearthkey_core::profile::{InvalidProfile, Newer, Profile, built_in_texts, newer};
use hearthkey_core::rejection::{Code, Rejection};
use hearthkey_core::time::{Span, Timestamp};
use hearthkey_pki::{CaCertificate, CaRole};
use hearthkey_store::change::{Change, Write};
use hearthkey_store::keys::RootKey;
use hearthkey_store::registry::ReadError;
use hearthkey_store::{CommitError, OpenError, Opened, Store};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::auth::person_book::PersonBook;
use crate::auth::token_book::TokenBook;
use crate::devices::revoke::replayed;
use crate::home::Home;
use crate::http::listener;
use crate::mqtt::events::{broker_rows, remember, work};
use crate::process::witnesses::{Witness, gaps_are_recorded};
use crate::process::{outbox, schedule};
use crate::state::clock::Clock;
use crate::state::endings::PATIENCE;
use crate::trust::published::issuing;
use crate::trust::server_tls::{Issuers, ServerTls};

/// Why a home does not open.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each carries the message of its cause.
pub enum HomeError {
    #[error(transparent)]
    Store(#[from] OpenError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error("a profile in the registry is damaged: {0}. Restore a backup")]
    Profile(#[from] InvalidProfile),
    #[error(
        "{address} cannot be listened on: {source}. Choose another --mqtt address, or end what uses it"
    )]
    Listen {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error(
        "{address} cannot be listened on: {source}. Choose another --http address, or end what uses it"
    )]
    ListenHttp {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("the broker cannot start: {0}")]
    Broker(#[from] hearthkey_broker::StartError),
}

/// Where and as whom a home opens its door.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    pub(crate) data_dir: PathBuf,
    pub(crate) mqtt: SocketAddr,
    pub(crate) http: Option<SocketAddr>,
    pub(crate) connections_max: Option<u32>,
    pub(crate) hosts: Vec<String>,
    /// Whether a key file opens the home.
    pub(crate) key_file: bool,
}

/// Opens a home and starts all that runs in it.
pub(crate) async fn open(
    door: Door,
    root: RootKey,
    id: HomeId,
) -> Result<(Arc<Home>, Option<listener::Listener>), HomeError> {
    let address = door.mqtt;
    let listener =
        TcpListener::bind(address).map_err(|source| HomeError::Listen { address, source })?;
    let http = match door.http {
        Some(address) => Some(listen_http(address).await?),
        None => None,
    };
    let Opened {
        store,
        replay,
        incident,
        anchored,
        last_durable,
    } = Store::open(&door.data_dir, root, &id)?;
    let clock = Arc::new(Clock::start(last_durable));
    if let Some(incident) = &incident {
        tracing::error!(%incident, "the home opens read-only");
    }
    let now = clock.now();
    let own = refresh_built_in_profiles(&store, incident.is_none()).await?;
    let (profiles, mut warnings) = load_profiles(&store)?;
    warnings.extend(own.iter().map(stays_own));
    let issuers = load_issuers(&store)?;
    let loaded = load_access(&store, &profiles, now)?;
    let mut habits = Habits::default();
    for (principal, fact, first_seen) in store.read(|registry| registry.habits())? {
        habits.recall(principal, fact, first_seen);
    }
    let access = Arc::new(RwLock::new(loaded.access));
    let replayed = replayed(&store, &access, &replay.revocations);
    let (root_der, _) = store
        .read(|registry| registry.authority("root"))?
        .ok_or_else(|| TrustError::NoAuthority("root".into()))?;
    let tls = ServerTls {
        store: &store,
        issuers: &issuers,
        access: &access,
        clock: &clock,
        hosts: &door.hosts,
        rsa: profiles.values().any(|profile| profile.needs_rsa_server()),
        opening: true,
    }
    .doors()
    .await?;
    let https_tls = watch::Sender::new(tls.https);
    let tokens = TokenBook::load(&store, now)?;
    let (tls, configs) = watch::channel(tls.mqtt);
    let unjournaled = store.unjournaled(now)?;
    let mut journal_opened = JournalOpened {
        missing_at: replay.missing.then_some(now),
        unterminated: replay.unterminated,
        foreign_lines: replay.foreign_lines,
        unwritten: store.journal_gaps()?.unwritten,
    };
    warnings.extend(journal_opened.sentences());
    gaps_are_recorded(&store, &id, now, &journal_opened.unwritten).await;
    let missing_now = journal_opened.missing_at;
    journal_opened.missing_at = Witness::Journal
        .missing_at(&store, &id, missing_now)
        .await?;
    let missing_now = (!anchored).then_some(now);
    let unanchored_at = Witness::Anchor.missing_at(&store, &id, missing_now).await?;
    if !anchored {
        warnings.push("The anchor file (checkpoint.anchor) was missing when the home opened: a database put back to an earlier state would not have been seen. Compare the log with a checkpoint that a device or an export holds.".into());
    }
    let port = http.as_ref().map(|(_, address)| address.port());
    let people = PersonBook::new(&door.hosts, port, &door.data_dir);
    people.remember_logins(&store)?;
    let shared_identities = crate::devices::signs::recalled(&store)?;
    let root = CaCertificate::from_der(&root_der).map_err(TrustError::from)?;
    let restored = broker_rows(store.read(|registry| registry.broker_state())?);
    let time = Arc::clone(&clock);
    // Last: from here on devices come in, and nothing fails any more that would leave them in a home that is not open.
    let (broker, events, changes) = Broker::start(Config {
        listener,
        tls: configs,
        access: Arc::clone(&access),
        now: Arc::new(move || time.now()),
        limits: match door.connections_max {
            Some(most) => Limits::default().with_connections(most as usize),
            None => Limits::default(),
        },
        busy: Bytes::from(Rejection::from(Code::RateLimited).to_json()),
        restored,
    })
    .await?;
    let ctx = Arc::new(Ctx::new(Parts {
        id,
        hosts: door.hosts,
        store,
        clock,
        access,
        broker,
        root,
        issuers,
        profiles,
        http: http.as_ref().map(|(_, address)| *address),
    }));
    let trust = Arc::new(Trust::new(Arc::clone(&ctx), tls, https_tls));
    let auth = Arc::new(Auth::new(Arc::clone(&ctx), tokens, people));
    let audit = Arc::new(Audit::new(Arc::clone(&ctx)));
    let recalled = Recalled {
        second_slots: loaded.second_slots,
        shared_identities,
        replay: replay.revocations,
    };
    let opened = posture::Opened {
        key_file: door.key_file,
        journal: journal_opened,
        unanchored_at,
    };
    let home = Arc::new(Home::assemble(
        (ctx, trust, auth, audit),
        recalled,
        habits,
        opened,
        warnings,
    ));
    let endings = tokio::spawn(keep_writing_down(Arc::clone(&home.ctx)));
    locked(home.ctx.tasks()).push(endings);
    home.devices.write_into_journal_again(unjournaled);
    home.devices.write_down_replayed(replayed).await;
    home.begin(events, changes).await;
    let http = http.map(|(tcp, _)| {
        listener::Listener::new(tcp, home.trust.https_tls(), home.ctx.stopping().subscribe())
    });
    Ok((home, http))
}

/// Listens for services. Nobody is answered before the home is open.
async fn listen_http(
    address: SocketAddr,
) -> Result<(tokio::net::TcpListener, SocketAddr), HomeError> {
    let failed = |source| HomeError::ListenHttp { address, source };
    let tcp = tokio::net::TcpListener::bind(address)
        .await
        .map_err(failed)?;
    let bound = tcp.local_addr().map_err(failed)?;
    Ok((tcp, bound))
}

impl Home {
    /// Starts what runs beside the requests.
    async fn begin(
        self: &Arc<Self>,
        events: hearthkey_broker::Events,
        changes: hearthkey_broker::StateChanges,
    ) {
        let tasks = [
            tokio::spawn(work(Arc::clone(self), events)),
            tokio::spawn(remember(Arc::clone(self), changes)),
        ];
        self.trust.publish_bundle().await;
        let environments: Vec<EnvironmentName> = {
            let issuers = self
                .ctx
                .issuers()
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            issuers.keys().cloned().collect()
        };
        let mut change = Change::default();
        let cas = environments.into_iter().map(CaRole::Issuing);
        for ca in cas.chain([CaRole::Server, CaRole::Root]) {
            change.writes.extend(self.trust.publish_crl(&ca).await);
        }
        // Devices are let in by now: nobody waits for a disk that hangs before they can be cut off.
        match timeout(PATIENCE, self.ctx.commit(change)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the CRL numbers could not be kept"),
            Err(_) => tracing::warn!("the disk hangs: the CRL numbers are not kept yet"),
        }
        self.vault.reseal_all();
        let more = [
            tokio::spawn(outbox::deliver(Arc::clone(self))),
            tokio::spawn(schedule::keep(Arc::clone(self))),
            tokio::spawn(schedule::keep_ending(Arc::clone(self))),
            tokio::spawn(schedule::keep_anchoring(Arc::clone(self))),
            tokio::spawn(crate::posture::judged::keep_judging(Arc::clone(
                &self.posture,
            ))),
            tokio::spawn(crate::audit::log_check::keep_verifying(Arc::clone(
                &self.audit,
            ))),
            tokio::spawn(crate::vault::rotation::drive::rotate_what_is_due(
                Arc::clone(&self.vault),
            )),
            tokio::spawn(crate::vault::rotation::begin::begin_what_is_due(
                Arc::clone(&self.vault),
            )),
            tokio::spawn(crate::vault::leases::end_what_was_lent(Arc::clone(
                &self.vault,
            ))),
            tokio::spawn(crate::vault::rotation::notify::tell_the_places(Arc::clone(
                &self.vault,
            ))),
        ];
        crate::state::locked(self.ctx.tasks()).extend(tasks.into_iter().chain(more));
    }

    /// Ends every session, and lets nobody in any more.
    pub(crate) async fn close_doors(&self) {
        self.ctx.stopping().send_replace(true);
        self.ctx.broker().clone().stop().await;
    }

    /// Ends everything in order and closes the store: nothing that was acknowledged is lost.
    pub(crate) async fn close(&self) {
        self.close_doors().await;
        let tasks = std::mem::take(&mut *crate::state::locked(self.ctx.tasks()));
        for task in tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a task of the home ended badly");
            }
        }
        self.devices.note_sightings().await;
        self.auth.note_token_uses().await;
        self.note_time().await;
        tokio::task::block_in_place(|| self.ctx.store().close());
    }
}

/// Brings the profiles that come with the program up to date. Returns those whose names profiles of the home's own have.
async fn refresh_built_in_profiles(
    store: &Store,
    writable: bool,
) -> Result<Vec<ProfileName>, HomeError> {
    let stored = store.read(|registry| registry.profiles())?;
    let Newer { put, own } = newer(&built_in_texts(), &stored)?;
    let writes = put.into_iter().map(|(name, toml)| Write::Profile {
        name,
        toml: toml.to_owned(),
        built_in: true,
    });
    let writes: Vec<Write> = writes.collect();
    if !writable || writes.is_empty() {
        return Ok(own);
    }
    let change = Change {
        writes,
        ..Change::default()
    };
    match store.commit(change).await {
        // A home opens also while its disk takes nothing. Until it does, the profiles are those of the program before.
        Err(error) if error.is_of_storage() => {
            tracing::error!(%error, "the profiles that come with the program are not brought up to date yet");
        }
        done => {
            done?;
        }
    }
    Ok(own)
}

/// Says of a profile of the home's own that a built-in one has its name.
fn stays_own(name: &ProfileName) -> String {
    tracing::warn!(%name, "a profile of the home's own has the name of a built-in one, which is not used");
    format!(
        "The profile {name} is your own, and this version has a built-in one of that name, which is not used. Yours stays as it is. \
         To tell them apart, add yours under another name with `hearthkey profile add`, and claim its devices by that one from now on."
    )
}

type Profiles = HashMap<ProfileName, Arc<Profile>>;

/// The profiles, and a sentence for each that asks for more than a home has.
fn load_profiles(store: &Store) -> Result<(Profiles, Vec<String>), HomeError> {
    let texts = store.read(|registry| registry.profiles())?;
    let (mut profiles, mut warnings) = (HashMap::new(), Vec::new());
    for (toml, _) in &texts {
        let (profile, too_much) = Profile::parse_kept(toml)?;
        let name = profile.name.clone();
        if let Some(too_much) = too_much {
            warnings.push(format!("In the profile {name}, {too_much}. It has the nearest value that is allowed; put the profile again with one that is."));
        }
        profiles.insert(name, Arc::new(profile));
    }
    Ok((profiles, warnings))
}

fn load_issuers(store: &Store) -> Result<Issuers, HomeError> {
    let environments = store.read(|registry| registry.environments())?;
    environments
        .into_iter()
        .map(|name| {
            let authority = load_authority(store, &issuing(&name))?;
            Ok((name, Arc::new(authority)))
        })
        .collect()
}

struct LoadedAccess {
    access: Access,
    second_slots: HashMap<Fingerprint, (DeviceId, Timestamp)>,
}

fn load_access(
    store: &Store,
    profiles: &Profiles,
    now: Timestamp,
) -> Result<LoadedAccess, HomeError> {
    let mut access = Access::default();
    let mut after = String::new();
    let mut narrowings: HashMap<_, _> = store
        .read(|registry| registry.narrowings())?
        .into_iter()
        .collect();
    loop {
        let page = store.read(|registry| registry.devices(&after, 1000))?;
        let Some(last) = page.last() else { break };
        after = last.device.id.to_string();
        for known in page {
            let device = known.device;
            let Some(profile) = profiles.get(&device.profile) else {
                continue;
            };
            let narrowing = narrowings.remove(&device.id).map(Arc::new);
            let entry =
                DeviceAccess::new(device.state, device.environment, profile).narrowed(narrowing);
            access.set_device(device.id, entry);
        }
    }
    let mut second_slots = HashMap::new();
    let mut newest: HashMap<SerialNumber, Fingerprint> = HashMap::new();
    store.read(|registry| {
        registry.each_certificate_since(now.before(REMEMBERED), |certificate| {
            let earlier = newest.insert(certificate.lineage, certificate.fingerprint);
            let live = |earlier: &Fingerprint| {
                access.certificate(earlier).is_some_and(|known| {
                    matches!(
                        known.state,
                        CertificateState::Issued | CertificateState::Active
                    )
                })
            };
            if let Some(earlier) = earlier.filter(live) {
                let since = certificate.issued_at;
                second_slots.insert(earlier, (certificate.device.clone(), since));
            }
            admit(&mut access, certificate);
        })
    })?;
    for claim in store.read(|registry| registry.claims_since(now.before(Span::days(1))))? {
        if now < claim.bell_until() {
            access.expect(claim);
        }
    }
    let compromised = RevocationReason::KeyCompromise;
    for key in store.read(|registry| registry.keys_revoked_for(compromised))? {
        access.refuse_key(key);
    }
    Ok(LoadedAccess {
        access,
        second_slots,
    })
}

fn admit(access: &mut Access, certificate: Certificate) {
    let Certificate {
        fingerprint,
        device,
        state,
        not_after,
        ..
    } = certificate;
    access.set_certificate(
        fingerprint,
        CertificateAccess {
            device,
            state,
            not_after,
        },
    );
}
