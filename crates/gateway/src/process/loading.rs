//! What a home knows when it opens, out of its files: a whole home that nobody can reach yet.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use hearthkey_broker::{Broker, StateRow};
use hearthkey_core::access::{Access, Blind, CertificateAccess, DeviceAccess, REMEMBERED};
use hearthkey_core::certificate::{Certificate, CertificateState, RevocationReason};
use hearthkey_core::habit::Habits;
use hearthkey_core::id::{DeviceId, Fingerprint, HomeId, ProfileName, SerialNumber};
use hearthkey_core::posture::witness::JournalOpened;
use hearthkey_core::profile::{InvalidProfile, Newer, Profile, built_in_texts, newer};
use hearthkey_core::time::{Span, Timestamp};
use hearthkey_core::trusted_time::Gained;
use hearthkey_pki::CaCertificate;
use hearthkey_store::change::{Change, Write};
use hearthkey_store::journal::{Event, Replay, Revocation};
use hearthkey_store::registry::ReadError;
use hearthkey_store::{CommitError, OpenError, Opened, Store};
use rustls::ServerConfig;
use tokio::sync::watch;

use crate::audit::Audit;
use crate::auth::Auth;
use crate::auth::person_book::PersonBook;
use crate::auth::token_book::TokenBook;
use crate::devices::Recalled;
use crate::devices::readmit::readmitted;
use crate::devices::revoke::{Replayed, replayed};
use crate::home::Home;
use crate::mqtt::events::broker_rows;
use crate::posture;
use crate::process::witnesses::{Witness, gaps_are_recorded};
use crate::state::clock::{Clock, GAINED};
use crate::state::{Ctx, Parts};
use crate::trust::Trust;
use crate::trust::authority::issuing;
use crate::trust::authority::{TrustError, load_authority};
use crate::trust::server_tls::{Issuers, ServerTls};
use crate::trust::succession::{carry_on, longest_of};

/// What to do about an address that cannot be listened on.
fn remedy_of(source: &std::io::Error, flag: &str) -> String {
    match source.kind() {
        std::io::ErrorKind::AddrNotAvailable => format!(
            "This machine does not have this address: use one of its own, or 0.0.0.0, with {flag}"
        ),
        std::io::ErrorKind::PermissionDenied => {
            format!("Choose a port above 1023 with {flag}, or give the program the right to use it")
        }
        _ => format!("Choose another {flag} address, or end what uses it"),
    }
}

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
        "{address} cannot be listened on: {source}. {}",
        remedy_of(source, "--mqtt")
    )]
    Listen {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error(
        "{address} cannot be listened on: {source}. {}",
        remedy_of(source, "--http")
    )]
    ListenHttp {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("the broker cannot start: {0}")]
    Broker(#[from] hearthkey_broker::StartError),
}

/// Where and as whom a home opens its listener.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    pub(crate) data_dir: PathBuf,
    pub(crate) mqtt: SocketAddr,
    pub(crate) http: Option<SocketAddr>,
    pub(crate) connections_max: Option<u32>,
    pub(crate) hosts: Vec<String>,
}

/// A home that nobody can reach yet.
pub(crate) struct Loaded {
    pub(crate) clock: Arc<Clock>,
    pub(crate) access: Arc<RwLock<Access>>,
    /// What the MQTT listener speaks TLS with.
    pub(crate) tls: watch::Sender<Arc<ServerConfig>>,
    /// What the broker handed over when the home was closed.
    pub(crate) restored: Vec<StateRow>,
    https_tls: watch::Sender<Arc<ServerConfig>>,
    id: HomeId,
    hosts: Vec<String>,
    http: Option<SocketAddr>,
    store: Store,
    root: CaCertificate,
    issuers: Issuers,
    profiles: Profiles,
    tokens: TokenBook,
    people: PersonBook,
    habits: Habits,
    recalled: Recalled,
    opened: posture::Opened,
    warnings: Vec<String>,
    late: Late,
}

/// What is written down once the home is open.
pub(crate) struct Late {
    /// What the journal lacked.
    pub(crate) unjournaled: Vec<Revocation>,
    /// What was given that the journal lacked, because the home was stopped in between.
    pub(crate) unjournaled_issues: Vec<Event>,
    /// What the registry lacked of the journal, and holds in memory.
    pub(crate) replayed: Vec<Replayed>,
}

impl Loaded {
    /// Reads everything, and applies the journal to who may come in.
    pub(crate) async fn of(
        door: &Door,
        id: HomeId,
        opened: Opened,
        http: Option<SocketAddr>,
        clock: impl FnOnce(Option<(Timestamp, Gained)>) -> Clock,
    ) -> Result<Self, HomeError> {
        let Opened {
            store,
            replay,
            incident,
            anchored,
            last_durable,
        } = opened;
        let clock = Arc::new(clock(last_time(&store, last_durable)?));
        if let Some(incident) = &incident {
            tracing::error!(%incident, "the home opens read-only");
        }
        let now = clock.now();
        let own = refresh_built_in_profiles(&store, incident.is_none()).await?;
        let (profiles, mut warnings) = load_profiles(&store)?;
        warnings.extend(own.iter().map(stays_own));
        succeed_authorities(&store, &profiles, &clock).await?;
        let issuers = load_issuers(&store)?;
        let loaded = load_access(&store, &profiles, now)?;
        let access = Arc::new(RwLock::new(loaded.access));
        if let Some(restored) = store.read(crate::backups::restored)? {
            let blind = Blind {
                from: restored.certificates_unknown_from(),
                to: restored.at,
            };
            let access = access.read().unwrap_or_else(PoisonError::into_inner);
            access.strangers().expect(blind);
        }
        let replayed = replayed(&store, &access, &replay.revocations);
        let (root, _) = store
            .read(|registry| registry.authority("root"))?
            .ok_or_else(|| TrustError::NoAuthority("root".into()))?;
        let tls = ServerTls {
            store: &store,
            access: &access,
            clock: &clock,
            hosts: &door.hosts,
            rsa: profiles.values().any(|profile| profile.needs_rsa_server()),
            opening: true,
        }
        .doors()
        .await?;
        let tokens = TokenBook::load(&store, now)?;
        let unjournaled = store.unjournaled(now)?;
        let unjournaled_issues = store.unjournaled_issues(&replay.chain)?;
        let opened = how_it_opened((&store, &id), (&replay, anchored), now, &mut warnings);
        let opened = opened.await?;
        let people = PersonBook::new(&door.hosts, http.map(|http| http.port()), &door.data_dir);
        people.remember_logins(&store)?;
        let recalled = Recalled {
            second_slots: loaded.second_slots,
            shared_identities: crate::devices::signs::recalled(&store)?,
            replay: replay.revocations,
        };
        Ok(Self {
            tls: watch::Sender::new(tls.mqtt),
            https_tls: watch::Sender::new(tls.https),
            restored: broker_rows(store.read(|registry| registry.broker_state())?),
            root: CaCertificate::from_der(&root).map_err(TrustError::from)?,
            habits: load_habits(&store)?,
            hosts: door.hosts.clone(),
            late: Late {
                unjournaled,
                unjournaled_issues,
                replayed,
            },
            clock,
            access,
            id,
            http,
            store,
            issuers,
            profiles,
            tokens,
            people,
            recalled,
            opened,
            warnings,
        })
    }

    /// The home, with the broker that its devices connect to.
    pub(crate) fn into_home(self, broker: Broker) -> (Arc<Home>, Late) {
        let ctx = Arc::new(Ctx::new(Parts {
            id: self.id,
            hosts: self.hosts,
            store: self.store,
            clock: self.clock,
            access: self.access,
            broker,
            root: self.root,
            issuers: self.issuers,
            profiles: self.profiles,
            http: self.http,
        }));
        let trust = Arc::new(Trust::new(Arc::clone(&ctx), self.tls, self.https_tls));
        let auth = Arc::new(Auth::new(Arc::clone(&ctx), self.tokens, self.people));
        let audit = Arc::new(Audit::new(Arc::clone(&ctx), Arc::clone(&auth)));
        let home = Home::assemble(
            (ctx, trust, auth, audit),
            self.recalled,
            self.habits,
            self.opened,
            self.warnings,
        );
        (Arc::new(home), self.late)
    }
}

/// What the files beside the database lacked when the home opened; recorded, and said to the person who runs it.
async fn how_it_opened(
    (store, id): (&Store, &HomeId),
    (replay, anchored): (&Replay, bool),
    now: Timestamp,
    warnings: &mut Vec<String>,
) -> Result<posture::Opened, HomeError> {
    let mut journal = JournalOpened {
        missing_at: replay.missing.then_some(now),
        unterminated: replay.unterminated,
        foreign_lines: replay.foreign_lines,
        unwritten: store.journal_gaps()?.unwritten,
    };
    warnings.extend(journal.sentences());
    gaps_are_recorded(store, id, now, &journal.unwritten).await;
    let missing_now = journal.missing_at;
    journal.missing_at = Witness::Journal.missing_at(store, id, missing_now).await?;
    let missing_now = (!anchored).then_some(now);
    let unanchored_at = Witness::Anchor.missing_at(store, id, missing_now).await?;
    if !anchored {
        warnings.push("The anchor file (checkpoint.anchor) was missing when the home opened: a database put back to an earlier state would not have been seen. Compare the log with a checkpoint that a device or an export holds.".into());
    }
    Ok(posture::Opened {
        journal,
        unanchored_at,
    })
}

/// The last durable time, with what it had gained. A home of an earlier version has gained nothing.
fn last_time(
    store: &Store,
    last: Option<Timestamp>,
) -> Result<Option<(Timestamp, Gained)>, ReadError> {
    let gained = store.read(|registry| registry.setting(GAINED))?;
    let gained = gained.and_then(|json| serde_json::from_slice(&json).ok());
    Ok(last.map(|last| (last, gained.unwrap_or_default())))
}

fn load_habits(store: &Store) -> Result<Habits, HomeError> {
    let mut habits = Habits::default();
    for (principal, fact, first_seen) in store.read(|registry| registry.habits())? {
        habits.recall(principal, fact, first_seen);
    }
    Ok(habits)
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

/// Lets CAs be followed that ended, or were due, while the home was closed: it opens however long that was. Nothing by a clock that
/// is not believed. A successor is made in the first round and signs from the second on.
async fn succeed_authorities(
    store: &Store,
    profiles: &Profiles,
    clock: &Clock,
) -> Result<(), TrustError> {
    let (now, trusted) = clock.now_and_trust();
    if !trusted {
        return Ok(());
    }
    let lifetimes = profiles
        .values()
        .map(|profile| profile.certificate_lifetime());
    let longest = longest_of(lifetimes);
    for _ in 0..2 {
        match carry_on(store, longest, now).await {
            // A home opens also while its disk takes nothing.
            Err(TrustError::Commit(error)) if error.is_of_storage() => {
                tracing::error!(%error, "a CA that is due to be followed is not followed yet");
                return Ok(());
            }
            done => done.map(drop)?,
        }
    }
    Ok(())
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
    for certificate in store.read(readmitted)? {
        access.renews_only(&certificate);
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
            renews_only: false,
        },
    );
}
