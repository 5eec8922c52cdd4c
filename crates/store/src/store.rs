//! The store as the gateway holds it: opened with a root key, closed when the home is sealed.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use hearthkey_core::audit::Record;
use hearthkey_core::id::HomeId;
use hearthkey_core::time::Timestamp;
use rusqlite::Connection;
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::anchor::{ANCHOR_FILE, Incident, UNANCHORED_FILE};
use crate::change::{Change, Write};
use crate::connection::{self, Use};
use crate::examination::{
    check_in_background, examine_log, is_full, is_large, migrate, open_checked, refuse_newer,
    stored_checkpoint,
};
use crate::files::{DATABASE_FILE, DataDir, DatabaseFiles};
use crate::journal::{Event, JOURNAL_FILE, Journal, Replay, Revocation};
use crate::keys::{DerivedKey, RootKey};
use crate::log::{LogKey, SignedCheckpoint, open_checkpoint, proof};
use crate::log_hashes::StoredHashes;
pub use crate::open_error::OpenError;
use crate::reads::Readers;
use crate::registry::{ReadError, Registry};
use crate::slots::Slots;
use crate::vault::{SecretName, Vault};
use crate::writer::{CommitError, Committed, Writer};

/// The database, and what SQLite keeps beside it.
const DATABASE_FILES: [&str; 4] = [
    DATABASE_FILE,
    "hearthkey.db-wal",
    "hearthkey.db-shm",
    "hearthkey.db-journal",
];

/// What opening a home brought to light.
pub struct Opened {
    /// The store.
    pub store: Store,
    /// Revocations that were written down outside the database.
    pub replay: Replay,
    /// What is wrong with the log, if anything: then the store is read-only.
    pub incident: Option<Incident>,
    /// Whether there was an anchor to compare the log with.
    pub anchored: bool,
    /// The newest time that the home has durably seen.
    pub last_durable: Option<Timestamp>,
}

/// An open home's storage.
pub struct Store {
    pub(crate) dir: Arc<DataDir>,
    path: PathBuf,
    /// Which files the database is.
    database: DatabaseFiles,
    /// Kept open and never asked: as long as it is, SQLite takes the write-ahead log away for no other that is closed.
    open: Mutex<Option<Connection>>,
    key: Arc<DerivedKey>,
    vault: Vault,
    pub(crate) vkey: String,
    pub(crate) journal: Journal,
    /// The size of the log that the anchor file covered when it was last written, or found to be right.
    pub(crate) anchored: AtomicU64,
    readers: Readers,
    pub(crate) writer: Mutex<Option<Arc<Writer>>>,
    pub(crate) read_only: Arc<Mutex<Option<Incident>>>,
    pub(crate) checkpoints: watch::Receiver<Option<Arc<SignedCheckpoint>>>,
    /// The slots as they were last read or written; held while they are changed.
    pub(crate) unlocking: Mutex<Option<Slots>>,
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The origin of a home's log, which is also the name of its key.
pub fn origin(home: &HomeId) -> String {
    format!("hearthkey.home.arpa/{home}")
}

impl Store {
    /// Makes the database of a new home, with a new log key.
    pub fn create(
        data_dir: &Path,
        root: &RootKey,
        home: &HomeId,
        now: Timestamp,
    ) -> Result<(), OpenError> {
        let path = data_dir.join(DATABASE_FILE);
        // SQLite gives its journals the mode of the database.
        DataDir::open(data_dir)?.create(DATABASE_FILE)?;
        connection::prepare_new(&path, &root.database(home))?;
        let mut connection = connection::open(&path, &root.database(home), Use::Write)?;
        migrate(&mut connection)?;
        let (private, vkey) = LogKey::generate(&origin(home));
        let vault = Vault::new(home.clone(), RootKey::new(Zeroizing::new(*root.bytes())));
        let sealed = vault.seal(LOG_KEY, private.as_bytes());
        let transaction = connection.transaction()?;
        for write in [
            Write::Setting("log_vkey", vkey.into_bytes()),
            Write::Secret {
                kind: LOG_KEY.kind,
                name: LOG_KEY.name.into(),
                version: 1,
                sealed,
                at: now,
            },
        ] {
            crate::change_apply::apply(&transaction, &write).map_err(|error| match error {
                crate::apply::ApplyError::Database(error) => OpenError::Database(error),
                _ => OpenError::Missing("room for a new home"),
            })?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Opens a home: checks every page, the log's edge, its anchor, and reads the journal.
    pub fn open(data_dir: &Path, root: RootKey, home: &HomeId) -> Result<Opened, OpenError> {
        let path = data_dir.join(DATABASE_FILE);
        let dir = Arc::new(DataDir::open(data_dir)?);
        if !dir.has(DATABASE_FILE)? {
            return Err(OpenError::Missing("file"));
        }
        dir.are_files(&DATABASE_FILES)?;
        for name in DATABASE_FILES.into_iter().chain([JOURNAL_FILE]) {
            dir.has_no_other_name(name)?;
        }
        let key = Arc::new(root.database(home));
        refuse_newer(&path, &key)?;
        match Journal::newer_lines(&dir, &root, home)? {
            0 => {}
            newer => return Err(OpenError::NewerJournal(newer)),
        }
        let mut connection = match open_checked(&path, &key) {
            Err(OpenError::Database(error)) if is_full(&error) && dir.give_up_room() => {
                tracing::error!(%error, "the disk is full: the home opens in the room that was kept for that");
                open_checked(&path, &key)?
            }
            opened => opened?,
        };
        migrate(&mut connection)?;
        if let Err(error) = connection::shrink_once(&connection) {
            tracing::warn!(%error, "the database could not be made smaller");
        }
        connection::only_read(&connection)?;
        let registry = Registry(&connection);
        let vkey = registry
            .setting("log_vkey")?
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or(OpenError::Missing("log key"))?;
        let (journal, replay) = Journal::open(data_dir, &root, home)?;
        let vault = Vault::new(home.clone(), root);
        let log_key = LogKey::parse(&open_log_key(&registry, &vault)?, &origin(home))?;
        let anchored = dir.has(ANCHOR_FILE)?;
        if !anchored {
            dir.begin_anew(UNANCHORED_FILE);
        }
        let anchored = anchored && !dir.has(UNANCHORED_FILE)?;
        let incident = examine_log(&connection, &dir, &vkey)?;
        let anchor = dir.read(ANCHOR_FILE)?;
        let anchor = anchor.and_then(|note| open_checkpoint(&note, &vkey).ok());
        let covered = anchor.map_or(0, |anchor| anchor.size);
        let read_only = Arc::new(Mutex::new(incident.clone()));
        if is_large(&path) {
            check_in_background(path.clone(), Arc::clone(&key), Arc::clone(&read_only));
        }
        let last_durable = last_durable(&registry)?;
        let newest = stored_checkpoint(&connection, &vkey).map(Arc::new);
        let (sender, checkpoints) = watch::channel(newest);
        let open = connection::open(&path, &key, Use::Read)?;
        let database = DatabaseFiles::of(&dir)?;
        let slots = Slots::of(&dir, home);
        let writer = Arc::new(Writer::start(
            (Arc::clone(&dir), path.clone(), database),
            Arc::clone(&key),
            log_key,
            sender,
            journal.inlet(),
        )?);
        let store = Self {
            dir,
            path,
            database,
            open: Mutex::new(Some(open)),
            key,
            vault,
            vkey,
            journal,
            anchored: AtomicU64::new(covered),
            readers: Readers::new(connection),
            writer: Mutex::new(Some(writer)),
            read_only,
            checkpoints,
            unlocking: Mutex::new(slots),
        };
        store.dir.keep_room();
        Ok(Opened {
            store,
            replay,
            incident,
            anchored,
            last_durable,
        })
    }

    /// Commits a change: all of it, durably, or nothing.
    pub async fn commit(&self, change: Change) -> Result<Committed, CommitError> {
        if let Some(incident) = locked(&self.read_only).as_ref() {
            return Err(CommitError::ReadOnly(incident.to_string()));
        }
        let writer = locked(&self.writer).clone();
        writer.ok_or(CommitError::Sealed)?.commit(change).await
    }

    /// Asks the registry, in one snapshot. What waits for a disk that hangs leaves the others a worker of the runtime.
    pub fn read<T>(
        &self,
        question: impl FnOnce(&Registry<'_>) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let open = || {
            self.still_its_own().map_err(ReadError)?;
            Ok(connection::open(&self.path, &self.key, Use::Read)?)
        };
        self.readers.ask(open, question)
    }

    /// Writes a revocation into the journal and waits until it is on the disk.
    pub async fn journal(&self, revocation: Revocation) -> std::io::Result<()> {
        self.journal.append(revocation).await
    }

    /// Writes what is about to end access into the journal and waits until it is on the disk.
    pub async fn journal_all(
        &self,
        at: Option<Timestamp>,
        events: Vec<Event>,
    ) -> std::io::Result<()> {
        self.journal.append_all(at, events).await
    }

    /// The journal beside the database.
    pub fn journal_file(&self) -> &Journal {
        &self.journal
    }

    /// The key of the database.
    pub(crate) fn database_key(&self) -> &DerivedKey {
        &self.key
    }

    /// Fails if the directory, or the database in it, is another one by now.
    pub(crate) fn still_its_own(&self) -> Result<(), String> {
        self.dir.still_there()?;
        self.database.are_still_there(&self.dir)
    }

    /// The keys that open this home's secrets.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// The value of a secret's newest version.
    pub fn secret(&self, kind: &str, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, OpenError> {
        match self.read(|registry| registry.secret(kind, name))? {
            Some((version, sealed)) => Ok(Some(self.vault.open(
                SecretName {
                    kind,
                    name,
                    version,
                },
                &sealed,
            )?)),
            None => Ok(None),
        }
    }

    /// The log's public key (C2SP vkey).
    pub fn vkey(&self) -> &str {
        &self.vkey
    }

    /// What keeps the store read-only, if anything does.
    pub fn incident(&self) -> Option<Incident> {
        locked(&self.read_only).clone()
    }

    /// Something was found that makes the store read-only, until a person accepts it. Nothing, if it is already.
    pub fn make_read_only(&self, incident: Incident) {
        locked(&self.read_only).get_or_insert(incident);
    }

    /// The newest checkpoint, and word of each that follows.
    pub fn checkpoints(&self) -> watch::Receiver<Option<Arc<SignedCheckpoint>>> {
        self.checkpoints.clone()
    }

    /// The checkpoint and a proof that a record is in the log it covers.
    pub fn prove(&self, seq: u64) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(checkpoint) = self.checkpoints.borrow().clone() else {
            return Ok(None);
        };
        if seq >= checkpoint.size {
            return Ok(None);
        }
        self.read(|registry| {
            let proof = proof(seq, &checkpoint, &StoredHashes(registry.0));
            proof
                .map(Some)
                .map_err(|error| ReadError(error.to_string()))
        })
    }

    /// Commits what waits, writes the anchor, and closes everything. Blocks until done.
    pub fn close(&self) {
        let writer = locked(&self.writer).take();
        if let Some(writer) = writer.and_then(Arc::into_inner) {
            writer.stop();
        }
        if let Err(error) = self.write_anchor() {
            tracing::error!(%error, "the anchor file could not be written");
        }
        locked(&self.open).take();
        self.readers.close();
        // SQLite has taken its log and the index away: what that leaves free is for the next opening.
        self.dir.keep_room();
    }

    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        self.dir.path()
    }

    /// How much of the disk is free for this user, in bytes.
    pub fn free_bytes(&self) -> std::io::Result<u64> {
        self.dir.free_bytes()
    }
}

const LOG_KEY: SecretName<'static> = SecretName {
    kind: "log",
    name: "checkpoint",
    version: 1,
};

pub(crate) fn open_log_key(
    registry: &Registry<'_>,
    vault: &Vault,
) -> Result<Zeroizing<String>, OpenError> {
    let missing = OpenError::Missing("log key");
    let Some((version, sealed)) = registry.secret(LOG_KEY.kind, LOG_KEY.name)? else {
        return Err(missing);
    };
    let bytes = vault.open(SecretName { version, ..LOG_KEY }, &sealed)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(missing),
    }
}

/// The time of the newest record, or the time that was last noted, whichever is later.
fn last_durable(registry: &Registry<'_>) -> Result<Option<Timestamp>, OpenError> {
    let recorded = registry
        .last_record()?
        .and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok())
        .map(|record| record.time);
    let noted = registry
        .setting("last_time")?
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|text| text.parse().ok());
    Ok(recorded.max(noted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_of_a_newer_program_is_refused_and_left_as_it_is() {
        let place = tempfile::tempdir().unwrap();
        let home: HomeId = "home-1".parse().unwrap();
        let again = Zeroizing::new(*b"0123456789abcdef0123456789abcdef");
        let root = RootKey::new(again.clone());
        Store::create(place.path(), &root, &home, Timestamp::from_s(1)).unwrap();
        let path = place.path().join(DATABASE_FILE);
        let key = root.database(&home);
        let set = |schema: i64| {
            let connection = connection::open(&path, &key, Use::Write).unwrap();
            connection
                .pragma_update(None, "user_version", schema)
                .unwrap();
        };
        for unknown in [connection::SCHEMA + 1, i64::from(i32::MAX), -1] {
            set(unknown);
            let root = RootKey::new(again.clone());
            let refused = Store::open(place.path(), root, &home).err().unwrap();
            let said = refused.to_string();
            assert!(
                matches!(refused, OpenError::Newer { found, .. } if found == unknown),
                "{said}"
            );
            assert!(said.contains("a newer Hearthkey has written it"), "{said}");
            let connection = connection::open(&path, &key, Use::Read).unwrap();
            assert_eq!(connection::schema(&connection).unwrap(), unknown);
        }
        set(0);
        let refused = Store::open(place.path(), RootKey::new(again), &home);
        let said = refused.err().unwrap().to_string();
        assert!(said.contains("cannot be brought from schema 0"), "{said}");
    }

    #[test]
    fn what_a_crash_of_a_newer_program_has_left_in_the_write_ahead_log_stays_there() {
        let place = tempfile::tempdir().unwrap();
        let home: HomeId = "home-1".parse().unwrap();
        let again = Zeroizing::new(*b"0123456789abcdef0123456789abcdef");
        let root = RootKey::new(again.clone());
        Store::create(place.path(), &root, &home, Timestamp::from_s(1)).unwrap();
        let path = place.path().join(DATABASE_FILE);
        let newer = connection::open(&path, &root.database(&home), Use::Write).unwrap();
        let crash = rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
        newer.set_db_config(crash, true).unwrap();
        let schema = connection::SCHEMA + 1;
        newer.pragma_update(None, "user_version", schema).unwrap();
        drop(newer);
        let content = || {
            let names = [DATABASE_FILE, "hearthkey.db-wal"];
            names.map(|name| std::fs::read(place.path().join(name)).unwrap())
        };
        let before = content();
        assert!(!before[1].is_empty());
        let refused = Store::open(place.path(), RootKey::new(again), &home);
        let refused = refused.err().unwrap();
        assert!(matches!(refused, OpenError::Newer { .. }), "{refused}");
        assert!(content() == before);
    }

    #[test]
    fn beside_a_journal_of_a_newer_program_an_older_database_stays_as_it_is() {
        use hmac::{Hmac, Mac};

        let place = tempfile::tempdir().unwrap();
        let home: HomeId = "home-1".parse().unwrap();
        let again = Zeroizing::new(*b"0123456789abcdef0123456789abcdef");
        let root = RootKey::new(again.clone());
        Store::create(place.path(), &root, &home, Timestamp::from_s(1)).unwrap();
        let (path, key) = (place.path().join(DATABASE_FILE), root.database(&home));
        let older = connection::open(&path, &key, Use::Write).unwrap();
        let before =
            "ALTER TABLE person DROP COLUMN invited_by; ALTER TABLE claim DROP COLUMN opened_by;
             PRAGMA user_version = 14";
        older.execute_batch(before).unwrap();
        drop(older);
        let json = r#"{"device":"lamp","later":1}"#;
        let journal = root.journal(&home);
        let mut mac = <Hmac<sha2::Sha256> as Mac>::new_from_slice(journal.bytes()).unwrap();
        mac.update(json.as_bytes());
        let tag = hearthkey_core::id::hex(&mac.finalize().into_bytes());
        let line = format!("{json}\t{tag}\n");
        std::fs::write(place.path().join(JOURNAL_FILE), line).unwrap();
        let refused = Store::open(place.path(), RootKey::new(again), &home);
        let refused = refused.err().unwrap();
        assert!(matches!(refused, OpenError::NewerJournal(1)), "{refused}");
        let kept = connection::open(&path, &key, Use::Read).unwrap();
        assert_eq!(connection::schema(&kept), Ok(14));
    }
}
