//! A home gets new keys, where no gateway runs.

use std::path::{Path, PathBuf};

use hearthkey_core::audit::{Actor, Entry};
use hearthkey_store::CommitError;
use hearthkey_store::change::Change;
use hearthkey_store::files::DataDir;
use hearthkey_store::rekey::{self, Prepared};
use hearthkey_store::slots::{SlotKind, Slots, UnsealError, Way, key_file};
use zeroize::Zeroizing;

pub use hearthkey_store::rekey::RekeyError as NewKeysError;

use crate::process::data_dir::{UnfitDataDir, check_data_dir};
use crate::process::half_rekeyed::finish_what_was_begun;
use crate::process::run::slot_name;
use crate::state::clock::machine_time;

/// A home that has new keys.
pub struct Rekeyed {
    /// Its id.
    pub home: String,
    /// How many values were sealed anew.
    pub resealed: u64,
    /// How it is unsealed: the kinds of its slots.
    pub slots: Vec<String>,
    /// The names of unlock methods that open nothing any more.
    pub ended: Vec<String>,
    /// A new recovery code, to be shown once; none if the one there was goes on.
    pub recovery_code: Option<Zeroizing<String>>,
}

/// Why a home has no new keys.
#[derive(Debug, thiserror::Error)]
pub enum RekeyError {
    /// The path of the directory.
    #[error(transparent)]
    DataDir(#[from] UnfitDataDir),
    /// A gateway runs, or something else is at work there.
    #[error("a gateway runs in {0}. Stop it first: a home gets new keys while no gateway runs")]
    Running(PathBuf),
    /// The home does not open.
    #[error(transparent)]
    Unseal(#[from] UnsealError),
    /// Making it with new keys failed.
    #[error(transparent)]
    Made(#[from] NewKeysError),
    /// It could not be recorded.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The directory cannot be written.
    #[error("the data directory cannot be written: {0}. Free space or repair the disk")]
    Write(#[from] std::io::Error),
}

/// How a home without a gateway is opened: whether it has a key file, and a passphrase.
pub fn ways_into(data_dir: &Path) -> Result<(bool, bool), RekeyError> {
    check_data_dir(data_dir)?;
    finish_what_was_begun(data_dir)?;
    let slots = Slots::read(data_dir)?;
    let opens = key_file(data_dir).is_some_and(|way| slots.unseal(&way).is_ok());
    Ok((opens, slots.kinds().contains(&SlotKind::Passphrase)))
}

/// Gives a home a new root key, and with it new keys for everything. `words` are a passphrase or the recovery code; without, it
/// is opened with its key file.
pub async fn rekey(
    data_dir: &Path,
    words: Option<Zeroizing<String>>,
) -> Result<Rekeyed, RekeyError> {
    check_data_dir(data_dir)?;
    let dir = DataDir::open(data_dir)?;
    let lock = dir.lock()?;
    let _lock = lock.ok_or_else(|| RekeyError::Running(data_dir.to_owned()))?;
    rekey::finish(&dir)?;
    let way = match words {
        Some(words) => Way::Words(words),
        None => key_file(data_dir).ok_or(UnsealError::NoFit)?,
    };
    let made = make(&dir, &way).await;
    if made.is_err() {
        rekey::give_up(&dir);
    }
    made
}

async fn make(dir: &DataDir, way: &Way) -> Result<Rekeyed, RekeyError> {
    let prepared = tokio::task::block_in_place(|| rekey::prepare(dir, way, machine_time()))?;
    record(&prepared).await?;
    tokio::task::block_in_place(|| prepared.put_in_place(dir))?;
    let kinds = prepared.kinds().into_iter();
    Ok(Rekeyed {
        home: prepared.home().to_string(),
        resealed: prepared.resealed,
        slots: kinds.map(slot_name).collect(),
        ended: prepared.ended,
        recovery_code: prepared.code,
    })
}

/// Opens the home with its new keys and writes that down in its log: what is put in place has a record of it.
async fn record(prepared: &Prepared) -> Result<(), RekeyError> {
    let store = prepared.open()?;
    let seen = store.read(|registry| registry.last_record_time());
    let actor = Actor {
        name: format!("uid:{}", rustix::process::geteuid().as_raw()),
        role: "operator".into(),
        session: Some("rekey".into()),
        address: None,
    };
    let now = machine_time().max(seen.ok().flatten().unwrap_or_default());
    let home = format!("home:{}", prepared.home());
    let entry = Entry::new(now, actor, "home.rekey", home)
        .with("resealed", prepared.resealed)
        .with("ended", prepared.ended.join(", "));
    let recorded = store.commit(Change::record(entry)).await;
    tokio::task::block_in_place(|| store.close());
    recorded?;
    Ok(())
}
