//! A copy of the database, made while the writer goes on.
//!
//! SQLite's online backup copies page by page through the two keys. A read transaction is held on the source all the time: so
//! the copy is of one moment, however many commits come meanwhile, and no commit makes it begin anew. Writers never wait for
//! a reader of the write-ahead log; the log grows by what is written meanwhile.

use std::fs::File;
use std::path::Path;

use hearthkey_core::time::Timestamp;
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::BackupError;
use crate::connection::{self, Use};
use crate::files::DATABASE_FILE;
use crate::log_hashes::log_size;
use crate::store::Store;

/// The copy's name in the data directory, for as long as it is needed.
pub const SNAPSHOT_FILE: &str = "backup.snapshot";
/// What SQLite may leave beside it.
const BESIDE: [&str; 3] = ["-journal", "-wal", "-shm"];
/// Pages that are copied at once: 1 MiB.
const STEP_PAGES: i32 = 256;
/// Bytes that are left free on the disk of the home beyond the copy.
const LEFT_FREE_BYTES: u64 = 16 * 1024 * 1024;

/// A copy of the database in the data directory. It is removed when it is dropped.
pub struct Snapshot<'a> {
    store: &'a Store,
    /// The number of the last migration in it.
    pub schema: i64,
    /// How many records its log has.
    pub log_size: u64,
    /// The log's checkpoint of that size, as a signed note.
    pub checkpoint: Vec<u8>,
    /// Home time when it was begun.
    pub made_at: Timestamp,
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        self.store.forget_snapshot();
    }
}

impl Snapshot<'_> {
    /// The copy, from its beginning.
    pub(super) fn open(&self) -> Result<File, BackupError> {
        let path = self.store.dir.path().join(SNAPSHOT_FILE);
        File::open(path).map_err(BackupError::Home)
    }

    pub(super) fn store(&self) -> &Store {
        self.store
    }
}

impl Store {
    /// Copies the database. `goes_on` is asked after each step: it may rest, and says whether to go on. One copy at a time.
    pub fn snapshot(
        &self,
        made_at: Timestamp,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<Snapshot<'_>, BackupError> {
        self.forget_snapshot();
        let io = |error: std::io::Error| BackupError::Home(error);
        let path = self.dir.path().join(DATABASE_FILE);
        self.still_its_own()
            .map_err(|why| io(std::io::Error::other(why)))?;
        let source = connection::open(&path, self.database_key(), Use::Read)?;
        source.execute_batch("BEGIN")?;
        let size = log_size(&source)?;
        let needed = bytes_of(&path).map_err(io)? + LEFT_FREE_BYTES;
        let free = self.free_bytes().map_err(io)?;
        if free < needed {
            return Err(BackupError::NoRoom { needed, free });
        }
        let (schema, checkpoint) = (connection::schema(&source)?, note(&source)?);
        self.dir.create(SNAPSHOT_FILE).map_err(io)?;
        let snapshot = Snapshot {
            store: self,
            schema,
            log_size: size,
            checkpoint,
            made_at,
        };
        let copy = self.dir.path().join(SNAPSHOT_FILE);
        {
            let mut target = connection::open_copy(&copy, self.database_key())?;
            let backup = Backup::new(&source, &mut target)?;
            loop {
                match backup.step(STEP_PAGES)? {
                    StepResult::Done => break,
                    _ if goes_on() => {}
                    _ => return Err(BackupError::Stopped),
                }
            }
        }
        // The copy says that it has a write-ahead log, as its source has one. It is whole without.
        let target = connection::open_copy(&copy, self.database_key())?;
        target.pragma_update(None, "journal_mode", "DELETE")?;
        Ok(snapshot)
    }

    /// Removes the copy, also one that a crash has left.
    pub(crate) fn forget_snapshot(&self) {
        let beside = BESIDE.map(|end| format!("{SNAPSHOT_FILE}{end}"));
        for name in beside.iter().map(String::as_str).chain([SNAPSHOT_FILE]) {
            if let Err(error) = self.dir.remove(name) {
                tracing::warn!(%error, name, "a copy of the database could not be removed");
            }
        }
    }
}

/// How long the copy of a database may be, in bytes: as long as the database and all of its write-ahead log.
fn bytes_of(path: &Path) -> std::io::Result<u64> {
    let log = path.with_extension("db-wal");
    let log = std::fs::metadata(log).map_or(0, |log| log.len());
    Ok(std::fs::metadata(path)?.len() + log)
}

fn note(connection: &Connection) -> Result<Vec<u8>, BackupError> {
    Ok(connection.query_row("SELECT note FROM checkpoint", [], |row| row.get(0))?)
}
