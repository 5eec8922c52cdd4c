//! Where the log begins here: what is before is archived, and gone from the database.
//!
//! The tree over the log stays whole. Of the records that are dropped, the hashes of the largest whole subtrees before the
//! first record here are kept: at most one for each bit of its number. With them, the root of every later size and every proof
//! of a record here can be made. The roots of sizes before that need the archive.
//!
//! One transaction says where the log begins from then on. What is before is dropped after that, a part at a time, so that
//! nobody waits; whatever has not been dropped yet is not read any more. After a crash that goes on.

use hearthkey_core::id::Fingerprint;
use hearthkey_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use tlog_tiles::{HashReader, sub_tree_index, tree_hash};

use crate::apply::ApplyError;
use crate::connection;
use crate::log_hashes::{StoredHashes, first_here, log_size};
use crate::registry::{ReadError, Registry, time};

/// Archives that are remembered, and were not followed by a shortening, at most: the newest.
const PENDING_MAX: u32 = 100;

/// A part of the log that was written into a file elsewhere and verified there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// The number of its first record.
    pub first: u64,
    /// The number after its last.
    pub before: u64,
    /// The tree's root over all records before `before`.
    pub root: [u8; 32],
    /// The SHA-256 of the file.
    pub sha256: Fingerprint,
    /// How many bytes the file has.
    pub bytes: u64,
    /// When.
    pub at: Timestamp,
}

/// How large the log is, and how much of it is here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extent {
    /// Records that the log has.
    pub size: u64,
    /// The number of the first that is here; those before are archived.
    pub first: u64,
    /// The number of the first that is not in a known archive.
    pub archived_before: u64,
    /// What the records that are here take in the database, in bytes: estimated by the newest of them.
    pub bytes: u64,
    /// What the whole database takes on the disk, in bytes.
    pub database_bytes: u64,
    /// What of that is free for new records, in bytes.
    pub free_bytes: u64,
    /// Whether records before the first are still to be dropped.
    pub is_being_shortened: bool,
}

/// What is written about the log itself.
#[derive(Debug)]
pub enum LogWrite {
    /// Remembers an archive. A conflict if its root is not that of the log.
    Archived(Archive),
    /// The log begins later from now on. A conflict if it does already, or if the records before are not in this archive.
    BeginAt {
        /// The number of the first record that stays.
        first: u64,
        /// The file that has those before.
        sha256: Fingerprint,
    },
    /// Drops some of the records before the beginning.
    Drop {
        /// How many at most.
        at_most: u32,
    },
    /// Gives free pages of the database back to the disk.
    GiveBack {
        /// How many at most.
        pages: u32,
    },
}

pub(crate) fn apply(tx: &Transaction<'_>, write: &LogWrite) -> Result<(), ApplyError> {
    match write {
        LogWrite::Archived(archive) => remember(tx, archive),
        LogWrite::BeginAt { first, sha256 } => begin_at(tx, *first, *sha256),
        LogWrite::Drop { at_most } => drop_some(tx, *at_most),
        LogWrite::GiveBack { pages } => Ok(connection::give_back(tx, *pages)?),
    }
}

fn remember(tx: &Transaction<'_>, archive: &Archive) -> Result<(), ApplyError> {
    let is_part = archive.first < archive.before && archive.before <= log_size(tx)?;
    let root = is_part.then(|| tree_hash(archive.before, &StoredHashes(tx)));
    if !matches!(root, Some(Ok(root)) if root.0 == archive.root) {
        return Err(ApplyError::Conflict);
    }
    tx.prepare_cached("INSERT OR REPLACE INTO log_archive VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute(params![
            archive.before,
            archive.first,
            archive.root,
            archive.sha256.0,
            archive.bytes,
            archive.at.as_ms(),
        ])?;
    tx.prepare_cached(
        "DELETE FROM log_archive WHERE before > (SELECT first FROM log_start) AND (before, first) NOT IN (
             SELECT before, first FROM log_archive ORDER BY archived_at DESC LIMIT ?1)",
    )?
    .execute([PENDING_MAX])?;
    Ok(())
}

fn begin_at(tx: &Transaction<'_>, first: u64, sha256: Fingerprint) -> Result<(), ApplyError> {
    let (before, size) = (first_here(tx)?, log_size(tx)?);
    let sql = "SELECT 1 FROM log_archive WHERE before = ?1 AND first <= ?2 AND sha256 = ?3";
    let archived = tx
        .prepare_cached(sql)?
        .query_row(params![first, before, sha256.0], |_| Ok(()))
        .optional()?;
    if archived.is_none() || first <= before || first >= size {
        return Err(ApplyError::Conflict);
    }
    let places = sub_tree_index(0, first, Vec::new());
    let hashes = StoredHashes(tx).read_hashes(&places);
    let hashes = hashes.map_err(|error| ApplyError::Log(error.to_string()))?;
    tx.execute("DELETE FROM log_kept", [])?;
    for (place, hash) in places.into_iter().zip(hashes) {
        tx.execute("INSERT INTO log_kept VALUES (?1, ?2)", (place, hash.0))?;
    }
    tx.execute("UPDATE log_start SET first = ?1", [first])?;
    Ok(())
}

fn drop_some(tx: &Transaction<'_>, at_most: u32) -> Result<(), ApplyError> {
    let Some((begin, end)) = to_be_dropped(tx)? else {
        return Ok(());
    };
    let end = end.min(begin + u64::from(at_most));
    tx.prepare_cached(
        "INSERT INTO log_gone
         SELECT object, count(*), max(CASE WHEN CASE WHEN json_valid(CAST(record AS TEXT))
             THEN json_extract(CAST(record AS TEXT), '$.action') NOT GLOB '*.refuse' ELSE 1 END THEN seq END)
         FROM audit WHERE seq >= ?1 AND seq < ?2 AND object IS NOT NULL GROUP BY object
         ON CONFLICT (object) DO UPDATE SET records = records + excluded.records,
             decided = coalesce(excluded.decided, decided)",
    )?
    .execute((begin, end))?;
    tx.prepare_cached("DELETE FROM audit WHERE seq < ?1")?
        .execute([end])?;
    Ok(())
}

/// The records that are still in the database and should not be: from the first of them to where the log begins.
fn to_be_dropped(connection: &Connection) -> rusqlite::Result<Option<(u64, u64)>> {
    let first = first_here(connection)?;
    let oldest: Option<u64> = connection
        .prepare_cached("SELECT min(seq) FROM audit")?
        .query_row([], |row| row.get(0))?;
    Ok(oldest
        .filter(|oldest| *oldest < first)
        .map(|oldest| (oldest, first)))
}

/// How many of the newest records the size of all is estimated by.
const WEIGHED: u64 = 200;

impl Registry<'_> {
    /// The number of the first record that is here; those before are archived.
    pub fn first_here(&self) -> Result<u64, ReadError> {
        Ok(first_here(self.0)?)
    }

    /// How many archived records there are about some things.
    pub fn archived_about(&self, objects: &[String]) -> Result<u64, ReadError> {
        let first = self.first_here()?;
        let mut records = 0;
        for object in objects {
            let sql = "SELECT coalesce((SELECT records FROM log_gone WHERE object = ?1), 0)
                 + (SELECT count(*) FROM audit WHERE object = ?1 AND seq < ?2)";
            let counted = self.one(sql, (object, first), |row| row.get::<_, u64>(0))?;
            records += counted.unwrap_or_default();
        }
        Ok(records)
    }

    /// How large the log is, and how much of it is here.
    pub fn log_extent(&self) -> Result<Extent, ReadError> {
        let (size, first) = (log_size(self.0)?, self.first_here()?);
        let sql = "SELECT coalesce(max(before), 0) FROM log_archive";
        let archived = self.one(sql, [], |row| row.get::<_, u64>(0))?;
        // Beside the bytes of a record: its number, its lengths, and its places in two indexes.
        let sql =
            "SELECT coalesce(avg(length(record) + length(hashes) + 3 * length(object) + 24), 0)
             FROM audit WHERE seq >= ?1";
        let newest = size.saturating_sub(WEIGHED).max(first);
        let weight = self.one(sql, [newest], |row| row.get::<_, f64>(0))?;
        let pages = connection::pages(self.0)?;
        Ok(Extent {
            size,
            first,
            archived_before: archived.unwrap_or_default().max(first),
            bytes: ((size - first) as f64 * weight.unwrap_or_default()) as u64,
            database_bytes: pages.all * pages.bytes,
            free_bytes: pages.free * pages.bytes,
            is_being_shortened: to_be_dropped(self.0)?.is_some(),
        })
    }

    /// Whether enough of the database is free, and can be given back to the disk while the home is open.
    pub fn has_room_to_give_back(&self) -> Result<bool, ReadError> {
        let pages = connection::pages(self.0)?;
        Ok(pages.can_shrink && pages.has_much_room())
    }

    /// Whether records before the first are still to be dropped.
    pub fn has_records_to_drop(&self) -> Result<bool, ReadError> {
        Ok(to_be_dropped(self.0)?.is_some())
    }

    /// The archives that are known, the newest first.
    pub fn archives(&self) -> Result<Vec<Archive>, ReadError> {
        let sql = "SELECT first, before, root, sha256, bytes, archived_at FROM log_archive
             ORDER BY before DESC, first LIMIT 1000";
        self.all(sql, [], |row| {
            Ok(Archive {
                first: row.get(0)?,
                before: row.get(1)?,
                root: row.get(2)?,
                sha256: Fingerprint(row.get(3)?),
                bytes: row.get(4)?,
                at: time(row, 5)?,
            })
        })
    }
}
