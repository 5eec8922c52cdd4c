//! Parts of the log, as they are archived.

use std::sync::atomic::Ordering;

use tlog_tiles::{HashReader, sub_tree_index, tree_hash};

use crate::log::{LogKey, SignedCheckpoint};
use crate::log_hashes::{StoredHashes, log_size};
use crate::open_error::OpenError;
use crate::registry::ReadError;
use crate::store::{Store, open_log_key, origin};

/// A part of the log as it is archived: what is needed to verify its records without any other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The number of its first record.
    pub first: u64,
    /// The hashes of the largest whole subtrees before that, from the left.
    pub left: Vec<[u8; 32]>,
    /// What the log's key signs of all records before the end of the part.
    pub checkpoint: SignedCheckpoint,
}

impl Store {
    /// The part of the log from its first record here to before a number, for an archive; none if it has no such records.
    /// The log's key signs what it was at that size.
    pub fn segment(&self, before: u64) -> Result<Option<Segment>, ReadError> {
        let found = self.read(|registry| {
            let (first, size) = (registry.first_here()?, log_size(registry.0)?);
            if before <= first || before > size {
                return Ok(None);
            }
            let hashes = StoredHashes(registry.0);
            let broken = |error: tlog_tiles::Error| ReadError(error.to_string());
            let left = match first {
                0 => Vec::new(),
                _ => hashes
                    .read_hashes(&sub_tree_index(0, first, Vec::new()))
                    .map_err(broken)?,
            };
            let root = tree_hash(before, &hashes).map_err(broken)?;
            Ok(Some((first, left, root)))
        })?;
        let Some((first, left, root)) = found else {
            return Ok(None);
        };
        let key = self
            .log_key()
            .map_err(|error| ReadError(error.to_string()))?;
        let checkpoint = key.sign(before, root);
        Ok(Some(Segment {
            first,
            left: left.into_iter().map(|hash| hash.0).collect(),
            checkpoint: checkpoint.map_err(|error| ReadError(error.to_string()))?,
        }))
    }

    /// The size of the log that the anchor file covers.
    pub fn anchored_size(&self) -> u64 {
        self.anchored.load(Ordering::Relaxed)
    }

    fn log_key(&self) -> Result<LogKey, OpenError> {
        let private = self.read(|registry| {
            open_log_key(registry, self.vault()).map_err(|error| ReadError(error.to_string()))
        })?;
        Ok(LogKey::parse(&private, &origin(self.vault().home()))?)
    }
}
