//! What is looked at when a home opens: the schema and every page of its database, and the log against its checkpoint and its
//! anchor.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, ffi};
use tlog_tiles::{Hash, HashReader, tree_hash};

use crate::anchor::{ANCHOR_FILE, Incident};
use crate::connection::{self, Use};
use crate::files::DataDir;
use crate::keys::DerivedKey;
use crate::log::{SignedCheckpoint, open_checkpoint};
use crate::log_hashes::{StoredHashes, first_here, log_size};
use crate::open_error::OpenError;
use crate::registry::Registry;

/// Fails if a newer program has written the database, before a byte of it is changed.
pub(crate) fn refuse_newer(path: &Path, key: &DerivedKey) -> Result<(), OpenError> {
    // What keeps it from being read is told when it is opened.
    connection::schema_untouched(path, key).map_or(Ok(()), is_known)
}

/// Fails if this program does not know a schema.
fn is_known(found: i64) -> Result<(), OpenError> {
    let known = connection::SCHEMA;
    // No program of ours writes a negative number; one that does is not known here, either.
    match (0..=known).contains(&found) {
        true => Ok(()),
        false => Err(OpenError::Newer { found, known }),
    }
}

/// Brings the schema up to date. One that is newer than this program is left as it is.
pub(crate) fn migrate(connection: &mut Connection) -> Result<(), OpenError> {
    let (found, known) = (connection::schema(connection)?, connection::SCHEMA);
    is_known(found)?;
    connection::migrate(connection).map_err(|error| OpenError::Migration {
        found,
        known,
        why: match error {
            // Without the text of the migration.
            rusqlite::Error::SqlInputError { msg, .. } => msg,
            error => error.to_string(),
        },
    })
}

pub(crate) fn open_checked(path: &Path, key: &DerivedKey) -> Result<Connection, OpenError> {
    let connection = connection::open(path, key, Use::Write).map_err(|error| {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::NotADatabase) => OpenError::WrongKey(path.to_owned()),
            Some(rusqlite::ErrorCode::DatabaseCorrupt) => OpenError::Unreadable,
            _ => OpenError::Database(error),
        }
    })?;
    if is_large(path) {
        return Ok(connection);
    }
    // What a crash has left half moved into the file would look like damage there.
    let damaged = match connection::empty_log(&connection) {
        true => connection::integrity(&connection)?.len(),
        false => connection::damaged(&connection)?,
    };
    match damaged {
        0 => Ok(connection),
        damaged => Err(OpenError::Damaged(damaged)),
    }
}

/// Whether it is room that was lacking, for the database or for the index of its log.
pub(crate) fn is_full(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    matches!(code, Some(ffi::SQLITE_FULL | ffi::SQLITE_IOERR_SHMSIZE))
}

/// A database beyond this size is checked while the home already serves: 128 MiB take about a
/// quarter of a second.
const CHECKED_AT_ONCE_MAX_BYTES: u64 = 128 * 1024 * 1024;

pub(crate) fn is_large(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.len() > CHECKED_AT_ONCE_MAX_BYTES)
}

/// Checks every page of a large database. What is found makes the store read-only.
pub(crate) fn check_in_background(
    path: PathBuf,
    key: Arc<DerivedKey>,
    read_only: Arc<Mutex<Option<Incident>>>,
) {
    let check = move || {
        let damaged = connection::open(&path, &key, Use::Read)
            .and_then(|connection| connection::damaged(&connection));
        match damaged {
            Ok(0) => tracing::info!("every page of the database is whole"),
            Ok(pages) => {
                tracing::error!(pages, "pages of the database are damaged");
                let mut read_only = read_only.lock().unwrap_or_else(PoisonError::into_inner);
                read_only.get_or_insert(Incident::Damaged(pages));
            }
            Err(error) => tracing::error!(%error, "the database could not be checked"),
        }
    };
    if let Err(error) = std::thread::Builder::new()
        .name("store-check".into())
        .spawn(check)
    {
        tracing::error!(%error, "the database is not being checked");
    }
}

pub(crate) fn stored_checkpoint(connection: &Connection, vkey: &str) -> Option<SignedCheckpoint> {
    let note: Vec<u8> = connection
        .query_row("SELECT note FROM checkpoint", [], |row| row.get(0))
        .ok()?;
    open_checkpoint(&note, vkey).ok()
}

/// Compares the log with its own checkpoint and with the anchor outside the database.
pub(crate) fn examine_log(
    connection: &Connection,
    dir: &DataDir,
    vkey: &str,
) -> Result<Option<Incident>, OpenError> {
    let (first, size) = (first_here(connection)?, log_size(connection)?);
    let hashes = StoredHashes(connection);
    let root_at = |size: u64| -> Option<Hash> { tree_hash(size, &hashes).ok() };
    if size > 0 {
        let own = stored_checkpoint(connection, vkey);
        if own.is_none_or(|own| own.size != size || root_at(size) != Some(Hash(own.root))) {
            return Ok(Some(Incident::Rewritten(size)));
        }
        let record = Registry(connection).last_record()?.unwrap_or_default();
        let stored = hashes.read_hashes(&[tlog_tiles::stored_hash_index(0, size - 1)]);
        if stored.ok() != Some(vec![tlog_tiles::record_hash(&record)]) {
            return Ok(Some(Incident::RecordAltered(size - 1)));
        }
    }
    let Some(anchor) = dir.read(ANCHOR_FILE)? else {
        return Ok(None);
    };
    Ok(match open_checkpoint(&anchor, vkey) {
        Err(_) => Some(Incident::AnchorAltered),
        Ok(anchor) if anchor.size > size => Some(Incident::RolledBack {
            log: size,
            anchor: anchor.size,
        }),
        // What it has seen is archived: the archive tells whether it is that. Here, it shows no more than that the log goes on.
        Ok(anchor) if anchor.size < first => None,
        Ok(anchor) if root_at(anchor.size) != Some(Hash(anchor.root)) => {
            Some(Incident::Rewritten(anchor.size))
        }
        Ok(_) => None,
    })
}
