//! A new home: its keys, its first environments, its profiles.

use crate::trust::authority::TrustError;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use hearthkey_api::SOCKET_FILE;
use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::id::{HomeId, hex};
use hearthkey_core::profile::{Profile, built_in_texts};
use hearthkey_pki::CertificateAuthority;
use hearthkey_store::anchor::{ANCHOR_FILE, UNANCHORED_FILE};
use hearthkey_store::change::{Change, Write};
use hearthkey_store::files::{DataDir, HomeLock, LOCK_FILE, ROOM_FILE};
use hearthkey_store::journal::{ANEW_FILE, JOURNAL_FILE};
use hearthkey_store::keys::{RootKey, random};
use hearthkey_store::slots::{KEY_FILE, SLOTS_FILE, SlotError, Slots};
use hearthkey_store::{DATABASE_FILE, Opened, Store};
use zeroize::Zeroizing;

use crate::process::data_dir::check_data_dir;
use crate::process::loading::HomeError;
use crate::process::socket::{SocketError, rehearse};
use crate::state::clock::machine_time;
use crate::state::new_serial;
use crate::trust::authority::issuing;
use crate::trust::authority::keep_authority;
use crate::unlock::KEY_FILE_WARNING;

/// The longest name of a home, in bytes: it is in the root's subject.
const NAME_MAX_BYTES: usize = 49;
/// The environments that a new home begins with.
const FIRST_ENVIRONMENTS: [&str; 2] = ["home", "lab"];

/// The first way into a new home. The recovery code comes beside it.
pub enum InitSlot {
    /// A key file in the data directory.
    KeyFile,
    /// A passphrase.
    Passphrase(Zeroizing<String>),
}

/// A new home.
pub struct Initialized {
    /// Its id.
    pub home: String,
    /// SHA-256 of the root certificate's DER.
    pub root_sha256: String,
    /// The recovery code, to be shown once.
    pub recovery_code: Zeroizing<String>,
    /// What the chosen slot does not protect from.
    pub warning: Option<String>,
}

/// Why no home was made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// There is one already.
    #[error("there is a home in {0} already. Nothing was changed. Choose another --data-dir")]
    Exists(PathBuf),
    /// The directory is not the gateway's own.
    #[error(
        "others than its owner can put files into {0}, or it belongs to another user. Make it yours alone (`chmod 750`), or choose another --data-dir"
    )]
    NotPrivate(PathBuf),
    /// Something else is in the directory.
    #[error(
        "the directory {path} holds other files already: {names}. Nothing was changed. Choose an empty --data-dir"
    )]
    NotEmpty {
        /// The directory.
        path: PathBuf,
        /// Some of what is in it.
        names: String,
    },
    /// There is a home in the directory, without what opens it.
    #[error(
        "the directory {path} holds a home whose slots.json is missing: {names}. Nothing was changed. Put slots.json back from a copy; if there is none, the home cannot be opened any more: choose an empty --data-dir"
    )]
    WithoutSlots {
        /// The directory.
        path: PathBuf,
        /// Some of what is in it.
        names: String,
    },
    /// Another program is at work there.
    #[error(
        "another program is making or running a home in {0}. Wait until it is done, or choose another --data-dir"
    )]
    Busy(PathBuf),
    /// The name does not fit.
    #[error(
        "the home's name must have 1 to {NAME_MAX_BYTES} bytes on one line. Choose another --home name, like Attic"
    )]
    Name,
    /// The slot.
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// The data directory.
    #[error("the data directory {path} cannot be used: {source}. Check that it can be written")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The store or the CAs.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// No gateway could run there.
    #[error(transparent)]
    Unfit(#[from] Box<SocketError>),
}

/// Makes a new home in a data directory that holds none.
pub async fn init(data_dir: &Path, name: &str, slot: InitSlot) -> Result<Initialized, InitError> {
    if name.trim().is_empty() || name.len() > NAME_MAX_BYTES || name.chars().any(char::is_control) {
        return Err(InitError::Name);
    }
    let directory = |source| InitError::Directory {
        path: data_dir.to_owned(),
        source,
    };
    check_data_dir(data_dir).map_err(|unfit| Box::new(SocketError::from(unfit)))?;
    let place = Place::prepare(data_dir)?;

    // What `run` would refuse later is refused before there is a recovery code to write down.
    rehearse(&place.dir).map_err(Box::new)?;

    let id = home_id(name);
    let root = RootKey::generate();
    let mut slots = Slots::new(id.clone());
    let warning = match slot {
        InitSlot::KeyFile => {
            slots.add_key_file(&root, &place.dir)?;
            Some(KEY_FILE_WARNING.to_owned())
        }
        InitSlot::Passphrase(passphrase) => {
            slots.add_passphrase(&root, &passphrase)?;
            None
        }
    };
    let recovery_code = slots.add_recovery_code(&root);
    slots.dated(machine_time());
    let root_sha256 = furnish(&place.dir, root, &id, name.trim()).await?;
    // Last, so that an interrupted init can be repeated.
    slots.write(&place.dir).map_err(directory)?;
    if let Err(error) = place.dir.remove(UNFINISHED_FILE) {
        // The home is made; `run` removes it.
        tracing::warn!(%error, "{UNFINISHED_FILE} could not be removed");
    }
    Ok(Initialized {
        home: id.to_string(),
        root_sha256,
        recovery_code,
        warning,
    })
}

/// Where a home is made: a directory that nobody else can write, and that holds nothing else.
pub(crate) struct Place {
    pub(crate) dir: DataDir,
    _lock: HomeLock,
}

impl Place {
    pub(crate) fn prepare(path: &Path) -> Result<Self, InitError> {
        let failed = |source| InitError::Directory {
            path: path.to_owned(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(path)
            .map_err(failed)?;
        let dir = DataDir::open(path).map_err(failed)?;
        let is_made = || match dir.has(SLOTS_FILE).map_err(failed)? {
            true => Err(InitError::Exists(path.to_owned())),
            false => Ok(()),
        };
        is_made()?;
        if !dir.is_private().map_err(failed)? {
            return Err(InitError::NotPrivate(path.to_owned()));
        }
        // Before the lock, which is a file: a directory that is somebody else's is left as it is.
        let foreign = |names: &[String]| shown(names, |name| !is_left_over(name));
        let is_others = |names: &[String]| match foreign(names) {
            names if names.is_empty() => Ok(()),
            names => Err(InitError::NotEmpty {
                path: path.to_owned(),
                names,
            }),
        };
        is_others(&dir.names(NAMES_LOOKED_AT).map_err(failed)?)?;
        let lock = dir.lock().map_err(failed)?;
        let lock = lock.ok_or_else(|| InitError::Busy(path.to_owned()))?;
        // Another init may have come to its end before the lock was had.
        is_made()?;
        let unfinished = dir.has(UNFINISHED_FILE).map_err(failed)?;
        let names = dir.names(NAMES_LOOKED_AT).map_err(failed)?;
        is_others(&names)?;
        let names = shown(&names, is_of_a_home);
        if !unfinished && !names.is_empty() {
            let path = path.to_owned();
            return Err(InitError::WithoutSlots { path, names });
        }
        if !unfinished {
            dir.create(UNFINISHED_FILE).map_err(failed)?;
            dir.sync().map_err(failed)?;
        }
        dir.close_to_others().map_err(failed)?;
        Ok(Self { dir, _lock: lock })
    }
}

/// Some of the names of a kind, for people.
fn shown(names: &[String], which: fn(&str) -> bool) -> String {
    let names = names.iter().filter(|name| which(name.as_str()));
    let names: Vec<&str> = names.map(String::as_str).take(NAMES_SHOWN).collect();
    names.join(", ")
}

/// How much of a directory is looked at to see whether it is empty.
const NAMES_LOOKED_AT: usize = 100;
/// Names that a refusal gives.
const NAMES_SHOWN: usize = 3;

/// The database, and what SQLite keeps beside it.
const DATABASE_SUFFIXES: [&str; 4] = ["", "-wal", "-shm", "-journal"];

/// Lies in a directory from the beginning of an init to its end: what else is there then is of no use to anybody.
pub(crate) const UNFINISHED_FILE: &str = "init.unfinished";

/// Whether a file may be of an init that did not get to its end, or of the file system itself.
fn is_left_over(name: &str) -> bool {
    let plain = name.strip_suffix(".new").unwrap_or(name);
    let others = [
        SLOTS_FILE,
        LOCK_FILE,
        ROOM_FILE,
        UNFINISHED_FILE,
        // It is bound for a moment, to see whether it can be.
        SOCKET_FILE,
        "lost+found",
    ];
    is_of_a_home(plain) || others.contains(&plain)
}

/// Whether a file is of a home that was made to its end, unless an init says that it was not.
fn is_of_a_home(name: &str) -> bool {
    let database = name.strip_prefix(DATABASE_FILE);
    database.is_some_and(|suffix| DATABASE_SUFFIXES.contains(&suffix))
        || [
            KEY_FILE,
            ANCHOR_FILE,
            UNANCHORED_FILE,
            JOURNAL_FILE,
            ANEW_FILE,
        ]
        .contains(&name)
}

/// The files of a home that a restore brings back, and what SQLite keeps beside its database.
pub(crate) fn files_of_a_home() -> Vec<String> {
    let database = DATABASE_SUFFIXES.map(|suffix| format!("{DATABASE_FILE}{suffix}"));
    let others = [ANCHOR_FILE, UNANCHORED_FILE, JOURNAL_FILE, ANEW_FILE];
    let others = others.map(str::to_owned);
    database.into_iter().chain(others).collect()
}

/// The name as a DNS label, and something that no other home has.
fn home_id(name: &str) -> HomeId {
    let label: String = name
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(40)
        .collect();
    let unique = hex(random::<4>().as_slice());
    let label = label.trim_matches('-');
    let id = if label.is_empty() {
        format!("home-{unique}")
    } else {
        format!("{label}-{unique}")
    };
    id.parse()
        .unwrap_or_else(|_| unreachable!("made of a label's characters"))
}

/// The database with root, server CA, environments and profiles; returns the root's fingerprint.
async fn furnish(
    dir: &DataDir,
    root_key: RootKey,
    id: &HomeId,
    name: &str,
) -> Result<String, HomeError> {
    let (now, data_dir) = (machine_time(), dir.path());
    // Left by an init that did not get to its end: their key is lost.
    for suffix in DATABASE_SUFFIXES {
        dir.remove(&format!("{DATABASE_FILE}{suffix}"))
            .map_err(hearthkey_store::OpenError::from)?;
    }
    for name in [ANCHOR_FILE, JOURNAL_FILE] {
        dir.remove(name).map_err(hearthkey_store::OpenError::from)?;
    }
    Store::create(data_dir, &root_key, id, now)?;
    let Opened { store, .. } = Store::open(data_dir, root_key, id)?;
    let root = CertificateAuthority::new_root(name, new_serial(), now).map_err(TrustError::from)?;
    let server = root
        .new_server_ca(new_serial(), now)
        .map_err(TrustError::from)?;
    let fingerprint = root.certificate().fingerprint().to_string();
    let entry = Entry::new(now, Actor::gateway(), "home.init", format!("home:{id}"))
        .with("name", name)
        .with("root_sha256", fingerprint.as_str());
    let mut change = Change::record(entry);
    change
        .writes
        .push(Write::Setting("home_name", name.as_bytes().to_vec()));
    change
        .writes
        .extend(keep_authority(store.vault(), ("root", 1), &root, now));
    change
        .writes
        .extend(keep_authority(store.vault(), ("server", 1), &server, now));
    for environment in FIRST_ENVIRONMENTS
        .iter()
        .filter_map(|name| name.parse().ok())
    {
        let issuer = root
            .new_issuing(&environment, new_serial(), now)
            .map_err(TrustError::from)?;
        let name = issuing(&environment);
        change.writes.push(Write::Environment(environment, now));
        change
            .writes
            .extend(keep_authority(store.vault(), (&name, 1), &issuer, now));
    }
    for toml in built_in_texts() {
        let name = Profile::parse(toml)?.name;
        change.writes.push(Write::Profile {
            name,
            toml: toml.to_owned(),
            built_in: true,
        });
    }
    store.commit(change).await?;
    // This journal and this anchor are the first ones.
    store
        .note_missing_journal()
        .and_then(|()| store.note_missing_anchor())
        .map_err(hearthkey_store::OpenError::from)?;
    tokio::task::block_in_place(|| store.close());
    Ok(fingerprint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_init_leaves_is_its_own_and_what_somebody_else_has_there_is_not() {
        for left in [
            "hearthkey.db-journal",
            "hearthkey.db-wal",
            "hearthkey.sock",
            "slots.json.new",
            "unseal.key",
        ] {
            assert!(is_left_over(left), "{left}");
        }
        for foreign in ["hearthkey.db-copy", "notes.txt", "hearthkey.socket"] {
            assert!(!is_left_over(foreign), "{foreign}");
        }
        assert!(is_of_a_home("hearthkey.db-journal") && !is_of_a_home("hearthkey.sock"));
    }

    #[test]
    fn a_home_id_is_made_from_every_name() {
        for name in [
            "Casa",
            "Ünser Häuschen",
            "---",
            "x".repeat(49).as_str(),
            "家",
        ] {
            assert!(home_id(name).as_str().len() <= 63, "{name}");
        }
        assert_ne!(home_id("Casa"), home_id("Casa"));
    }
}
