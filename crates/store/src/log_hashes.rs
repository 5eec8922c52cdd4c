//! The hashes of the log's tree, as they are stored, and where the log begins and ends here.

use rusqlite::Connection;
use tlog_tiles::{Error as TlogError, Hash, HashReader};

use crate::log::{Edge, stored_at};
use crate::registry::ReadError;

/// Reads stored hashes through a connection.
pub(crate) struct StoredHashes<'a>(pub(crate) &'a Connection);

impl HashReader for StoredHashes<'_> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, TlogError> {
        let missing = |_| TlogError::IndexesNotInTree;
        let mut statement = self
            .0
            .prepare_cached("SELECT substr(hashes, ?2 * 32 + 1, 32) FROM audit WHERE seq = ?1")
            .map_err(missing)?;
        let mut read = |index: u64| {
            let (seq, place) = stored_at(index);
            let here = statement.query_row((seq, place), |row| row.get::<_, [u8; 32]>(0));
            match here {
                // Its record is archived: the few hashes that are needed of those are kept for themselves.
                Err(rusqlite::Error::QueryReturnedNoRows) => kept_hash(self.0, index),
                here => here,
            }
            .map(Hash)
        };
        indexes
            .iter()
            .map(|index| read(*index).map_err(missing))
            .collect()
    }
}

pub(crate) fn log_size(connection: &Connection) -> rusqlite::Result<u64> {
    connection.query_row("SELECT coalesce(max(seq) + 1, 0) FROM audit", [], |row| {
        row.get(0)
    })
}

/// The number of the first record that is here.
pub(crate) fn first_here(connection: &Connection) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("SELECT first FROM log_start")?
        .query_row([], |row| row.get(0))
}

/// A hash of the tree whose record is archived.
pub(crate) fn kept_hash(connection: &Connection, index: u64) -> rusqlite::Result<[u8; 32]> {
    connection
        .prepare_cached("SELECT hash FROM log_kept WHERE place = ?1")?
        .query_row([index], |row| row.get(0))
}

/// The edge of the tree before the first record that is here.
pub(crate) fn edge_here(connection: &Connection) -> Result<Edge, ReadError> {
    let first = first_here(connection)?;
    Edge::load(first, &StoredHashes(connection)).map_err(|error| ReadError(error.to_string()))
}
