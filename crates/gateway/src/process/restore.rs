//! A home is made again out of a backup, on a machine where no gateway runs; and a backup is tried there.
//!
//! It is made as a new home is: in its directory itself, under the lock, and the slots come last. A directory without slots
//! holds no home, so that whoever cuts the power finds a home or none. A second directory that is renamed would do the same
//! on one disk only, and not where the data directory is a mount point or its parent belongs to another user.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use hearthkey_api::BackupVerified;
use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::backup::file_name;
use hearthkey_core::backup::shipped::Position;
use hearthkey_core::posture::backups::{Brought, Restored as Blind, SeenElsewhere};
use hearthkey_core::time::Timestamp;
use hearthkey_store::backup::{
    BackupError, Identity, JournalGiven, Unpacked, add_journal, begin_run, header_opens,
    open_unpacked, unpack,
};
use hearthkey_store::change::{Change, Write};
use hearthkey_store::files::{DataDir, LOCK_FILE, ROOM_FILE};
use hearthkey_store::log::open_checkpoint;
use hearthkey_store::slots::kit::kit_identity;
use hearthkey_store::slots::{KEY_FILE, SlotError, SlotKind, Slots, Way};
use hearthkey_store::{CommitError, Opened, Store};
use zeroize::Zeroizing;

use crate::backups::RESTORED;
use crate::backups::ship::COVERED;
use crate::backups::trial::{TrialError, examine};
use crate::process::data_dir::{UnfitDataDir, check_data_dir};
use crate::process::given_journal::{self, Given, JournalError};
use crate::process::init::{InitError, Place, UNFINISHED_FILE, files_of_a_home};
use crate::process::replay::{Replayed, replay};
use crate::state::clock::machine_time;
use crate::trust::published::ROOT_CRL;

/// CRLs of a restored home are numbered on from here: none has a number that the lost machine may have used (RFC 5280
/// §5.2.3).
const CRL_NUMBERS_AHEAD: u32 = 1_000_000;

/// A home that was restored.
pub struct Restored {
    /// Its id.
    pub home: String,
    /// When the backup was made.
    pub made_at: String,
    /// How many records its log had.
    pub log_size: u64,
    /// Revocations that the journal had and the backup had not.
    pub revocations_added: usize,
    /// Lines of the journal that this home has not written.
    pub foreign_lines: usize,
    /// Whether a journal was given that is at least as new as the backup.
    pub journal_is_newer: bool,
    /// Where the journal was found, if there was one.
    pub journal_at: Option<PathBuf>,
    /// Parts of it that could not be read, and why.
    pub journal_unreadable: Vec<String>,
    /// What it brought: devices that renewed, were enrolled, and are suspended since the backup.
    pub brought: Option<Brought>,
    /// How the home is unsealed: the kinds of its slots.
    pub slots: Vec<String>,
    /// What the home does not know, and what to do about it: two sentences or more.
    pub unknown: String,
    /// What did not pass when the restored home was looked at, if anything.
    pub doubt: Option<String>,
}

/// Why no home was restored. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup, or the code.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// A file cannot be read.
    #[error("{path} cannot be read: {source}. Check its path and its rights")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// It cannot be replayed.
    #[error("the journal cannot be replayed: {0}")]
    Replay(String),
    /// The checkpoint that was given.
    #[error(
        "{0} holds no checkpoint of this home's log. Name a checkpoint that a device or an export has kept"
    )]
    Checkpoint(PathBuf),
    /// The directory.
    #[error(transparent)]
    Place(#[from] InitError),
    /// The path of the directory.
    #[error(transparent)]
    DataDir(#[from] UnfitDataDir),
    /// What came of it does not pass.
    #[error("{0}. Use another backup")]
    Trial(#[from] TrialError),
    /// The restored log is not what was signed.
    #[error("in the backup, {0}. Use another backup")]
    Incident(hearthkey_store::anchor::Incident),
    /// It could not be recorded.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The key file.
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// The directory cannot be written.
    #[error("the data directory cannot be written: {0}. Free space or repair the disk")]
    Write(io::Error),
}

fn opened(path: &Path) -> Result<File, RestoreError> {
    File::open(path).map_err(|source| RestoreError::File {
        path: path.to_owned(),
        source,
    })
}

/// The key of a code, if it opens the backup. The file is read anew afterwards.
fn key_to(file: &Path, code: &str) -> Result<Identity, RestoreError> {
    let identity = kit_identity(code);
    match header_opens(opened(file)?, &identity)? {
        true => Ok(identity),
        false => Err(BackupError::NoFit.into()),
    }
}

fn unpacked_by(
    file: &Path,
    identity: &Identity,
    code: &str,
    dir: &DataDir,
) -> Result<Unpacked, RestoreError> {
    let words = Way::Words(Zeroizing::new(code.to_owned()));
    Ok(unpack(opened(file)?, identity, dir, |slots| {
        Ok(slots.unseal(&words)?)
    })?)
}

/// Restores a backup with the recovery code into a directory of its own, opens it there, and says what was opened.
pub fn verify_backup(file: &Path, code: &str) -> Result<BackupVerified, RestoreError> {
    let identity = key_to(file, code)?;
    let place = tempfile::tempdir().map_err(RestoreError::Write)?;
    let dir = DataDir::open(place.path()).map_err(RestoreError::Write)?;
    let unpacked = unpacked_by(file, &identity, code, &dir)?;
    let opened = open_unpacked(&dir, &unpacked)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let verified = examine(&name, &unpacked, &opened);
    opened.store.close();
    Ok(verified?)
}

/// What a home is restored from.
pub struct Sources<'a> {
    /// The backup.
    pub file: &'a Path,
    /// The journal of the lost machine, as a file or the directory of its parts; what lies beside the backup if none.
    pub journal: Option<&'a Path>,
    /// A checkpoint of the log that was kept elsewhere.
    pub checkpoint: Option<&'a Path>,
}

/// Makes a home again in a directory that holds none.
pub async fn restore(
    data_dir: &Path,
    sources: Sources<'_>,
    code: &str,
) -> Result<Restored, RestoreError> {
    check_data_dir(data_dir)?;
    // What can be told without touching the directory is told first.
    let identity = key_to(sources.file, code)?;
    let was_there = data_dir.exists();
    let place = Place::prepare(data_dir)?;
    let made = build(&place.dir, &sources, &identity, code).await;
    if made.is_err() {
        remove_all(&place, was_there);
    }
    made
}

async fn build(
    dir: &DataDir,
    sources: &Sources<'_>,
    identity: &Identity,
    code: &str,
) -> Result<Restored, RestoreError> {
    // Left by a restore or an init that did not get to its end.
    for name in files_of_a_home() {
        dir.remove(&name).map_err(RestoreError::Write)?;
    }
    let mut unpacked = unpacked_by(sources.file, identity, code, dir)?;
    let home = unpacked.manifest.home.clone();
    let (found, given) = journal_for(dir, sources, identity, &unpacked)?;
    begin_run(dir, &unpacked.root, &home, machine_time())?;
    let mut opened = open_unpacked(dir, &unpacked)?;
    if let Some(incident) = opened.incident {
        return Err(RestoreError::Incident(incident));
    }
    let doubt = examine("", &unpacked, &opened)
        .err()
        .map(|error| error.to_string());
    let chain = std::mem::take(&mut opened.replay.chain);
    let replayed = replay(&opened.store, chain).await;
    let replayed = replayed.map_err(|error| RestoreError::Replay(error.to_string()))?;
    let seen = match sources.checkpoint {
        Some(path) => seen_elsewhere(path, &opened.store, &unpacked, &replayed)?,
        None => None,
    };
    let blind = record(&unpacked, &opened, given.as_ref(), (replayed, seen)).await?;
    tokio::task::block_in_place(|| opened.store.close());
    if unpacked.slots.kinds().contains(&SlotKind::KeyFile) {
        // The one that the lost machine had opens nothing here.
        unpacked.slots.renew_key_file(&unpacked.root, dir)?;
    }
    let restored = Restored {
        home: home.to_string(),
        made_at: unpacked.manifest.made_at.to_string(),
        log_size: unpacked.manifest.log_size,
        revocations_added: given.map_or(0, |given| given.added),
        foreign_lines: given.map_or(0, |given| given.foreign_lines),
        journal_is_newer: blind.journal_to.is_some(),
        journal_at: found.as_ref().map(|found| found.at.clone()),
        journal_unreadable: found.map(|found| found.unreadable).unwrap_or_default(),
        brought: blind.brought.clone(),
        slots: names_of(&unpacked.slots),
        unknown: {
            let finding = blind.finding("");
            format!("{} {}", finding.what, finding.remedy)
        },
        doubt,
    };
    dir.sync().map_err(RestoreError::Write)?;
    // Last: the home is there when they are.
    unpacked.slots.write(dir).map_err(RestoreError::Write)?;
    if let Err(error) = dir.remove(UNFINISHED_FILE) {
        // `run` removes it.
        tracing::warn!(%error, "{UNFINISHED_FILE} could not be removed");
    }
    Ok(restored)
}

/// The journal that was named, or lies beside the backup, added to the backup's own. One that was found and has no line of
/// this home is none.
fn journal_for(
    dir: &DataDir,
    sources: &Sources<'_>,
    identity: &Identity,
    unpacked: &Unpacked,
) -> Result<(Option<Given>, Option<JournalGiven>), RestoreError> {
    let home = &unpacked.manifest.home;
    let add = |lines: &[u8]| add_journal(dir, &unpacked.root, home, lines);
    if let Some(path) = sources.journal {
        let found = given_journal::named(path, home, identity)?;
        let given = add(&found.lines)?;
        return Ok((Some(found), Some(given)));
    }
    let Some(found) = given_journal::beside(sources.file, home, identity) else {
        return Ok((None, None));
    };
    match add(&found.lines) {
        Err(BackupError::ForeignJournal) => Ok((Some(found), None)),
        given => Ok((Some(found), Some(given?))),
    }
}

/// The longest checkpoint that is read, in bytes.
const CHECKPOINT_MAX_BYTES: u64 = 64 * 1024;

/// Compares a checkpoint that was kept elsewhere, as a signed note or in the file of an agent, with how far the log was when
/// the newest line of the journal was written.
fn seen_elsewhere(
    path: &Path,
    store: &Store,
    unpacked: &Unpacked,
    replayed: &Replayed,
) -> Result<Option<SeenElsewhere>, RestoreError> {
    let mut content = Vec::new();
    let read = opened(path)?
        .take(CHECKPOINT_MAX_BYTES)
        .read_to_end(&mut content);
    read.map_err(|source| RestoreError::File {
        path: path.to_owned(),
        source,
    })?;
    let kept: Option<serde_json::Value> = serde_json::from_slice(&content).ok();
    let note = kept.as_ref().and_then(|kept| {
        let inner = kept.get("checkpoint").unwrap_or(kept);
        inner.get("note")?.as_str().map(str::as_bytes)
    });
    let checkpoint = open_checkpoint(note.unwrap_or(&content), store.vkey())
        .map_err(|_| RestoreError::Checkpoint(path.to_owned()))?;
    let journal = replayed.log.max(unpacked.manifest.log_size);
    Ok((checkpoint.size > journal).then_some(SeenElsewhere {
        journal,
        checkpoint: checkpoint.size,
    }))
}

fn names_of(slots: &Slots) -> Vec<String> {
    let kinds = slots.kinds().into_iter();
    kinds.map(crate::process::run::slot_name).collect()
}

/// Writes down that the home was restored, in its own log: what follows there was not on the lost machine.
async fn record(
    unpacked: &Unpacked,
    opened: &Opened,
    given: Option<&JournalGiven>,
    (replayed, seen): (Replayed, Option<SeenElsewhere>),
) -> Result<Blind, RestoreError> {
    let (manifest, store) = (&unpacked.manifest, &opened.store);
    let now: Timestamp = machine_time().max(opened.last_durable.unwrap_or_default());
    let newer = given.filter(|given| given.covers);
    let blind = Blind {
        at: now,
        backup_at: manifest.made_at,
        journal_to: newer.map(|given| given.newest.unwrap_or_default().max(manifest.made_at)),
        brought: newer.and_then(|_| replayed.brought(manifest.made_at)),
        seen,
    };
    let actor = Actor {
        name: format!("uid:{}", rustix::process::geteuid().as_raw()),
        role: "operator".into(),
        session: Some("restore".into()),
        address: None,
    };
    let object = format!("backup:{}", file_name(&manifest.home, manifest.made_at));
    let mut entry = Entry::new(now, actor, "backup.restore", object)
        .with("made_at", manifest.made_at.to_string())
        .with("log_size", manifest.log_size)
        .with("journal_is_newer", blind.journal_to.is_some());
    if let Some(given) = given {
        entry = entry
            .with("revocations_added", given.added)
            .with("foreign_lines", given.foreign_lines);
    }
    if let Some(brought) = &blind.brought {
        entry = entry
            .with("renewed", brought.renewed)
            .with("enrolled", brought.enrolled)
            .with("suspended", brought.suspended)
            .with("holes", brought.holes.len());
    }
    if let Some(seen) = &blind.seen {
        entry = entry
            .with("journal_ends_at", seen.journal)
            .with("checkpoint_has_seen", seen.checkpoint);
    }
    let covered = serde_json::to_vec(&covered_now(store))
        .map_err(|error| RestoreError::Write(error.into()))?;
    let text = serde_json::to_vec(&blind).map_err(|error| RestoreError::Write(error.into()))?;
    let change = Change::record(entry)
        .write(Write::Setting(RESTORED, text))
        .write(Write::Setting(COVERED, covered))
        .write(Write::Setting(ROOT_CRL, Vec::new()))
        .write(Write::CrlNumbersAhead(CRL_NUMBERS_AHEAD));
    store.commit(change).await?;
    Ok(blind)
}

/// Up to where the journal is in the database now: all of it was replayed.
fn covered_now(store: &Store) -> Position {
    let head = store.journal_file().newest();
    Position {
        seq: head.seq,
        tag: head.tag,
        at: head.at,
    }
}

/// Leaves the directory as it was: a home that is half there is of no use.
fn remove_all(place: &Place, was_there: bool) {
    let others = [KEY_FILE, ROOM_FILE, LOCK_FILE, UNFINISHED_FILE];
    let others = others.map(str::to_owned);
    for name in files_of_a_home().into_iter().chain(others) {
        for name in [format!("{name}.new"), name] {
            if let Err(error) = place.dir.remove(&name) {
                tracing::warn!(%error, name, "a part of a home that was not restored is left");
            }
        }
    }
    if !was_there && let Err(error) = std::fs::remove_dir(place.dir.path()) {
        tracing::warn!(%error, "the directory of a home that was not restored is left");
    }
}
