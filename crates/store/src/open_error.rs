//! Why a home's database does not open.

use std::path::PathBuf;

use crate::registry::ReadError;

/// Why a home's database does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It does not open with this key, or is no database.
    #[error(
        "the database {0} cannot be decrypted with this home's key: it is damaged or belongs to another home. Restore a backup"
    )]
    WrongKey(PathBuf),
    /// Pages fail their authentication.
    #[error("{0} pages of the database are damaged. Restore a backup")]
    Damaged(usize),
    /// A page that describes the database fails its authentication, so that the others cannot be checked.
    #[error(
        "some pages of the database are damaged, among them one that describes it. Restore a backup"
    )]
    Unreadable,
    /// Its tables and indexes do not agree.
    #[error("the database contradicts itself: {0}. Restore a backup")]
    Disagreeing(String),
    /// A newer program has written it.
    #[error(
        "the database has schema {found}, and this program supports schemas up to {known}: a newer Hearthkey has written it. Run that one, or restore a backup from before it"
    )]
    Newer {
        /// The number of the last migration that was applied.
        found: i64,
        /// The number of the last that this program has.
        known: i64,
    },
    /// A newer program has written into the revocation journal.
    #[error(
        "the revocation journal holds {0} lines that this program does not understand: a newer Hearthkey has written them. Run that one, or restore a backup from before it"
    )]
    NewerJournal(usize),
    /// It is older, and a migration failed.
    #[error(
        "the database cannot be brought from schema {found} to {known}: {why}. Free the disk if it is full; otherwise restore a backup"
    )]
    Migration {
        /// The number of the last migration that was applied.
        found: i64,
        /// The number of the last that this program has.
        known: i64,
        /// Why.
        why: String,
    },
    /// It cannot be read or written.
    #[error("the database cannot be opened: {0}. Free space or repair the disk")]
    Database(#[from] rusqlite::Error),
    /// A file beside it cannot be read or written.
    #[error(
        "the data directory cannot be used: {0}. Check that every file in it is a file and belongs to this user, as the directory does"
    )]
    Io(#[from] std::io::Error),
    /// A part is missing.
    #[error("the database has no {0}. Restore a backup")]
    Missing(&'static str),
    /// A stored secret does not open.
    #[error(transparent)]
    Secret(#[from] crate::vault::UnsealError),
    /// A question was not answered.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log key cannot be read.
    #[error(transparent)]
    LogKey(#[from] crate::log::InvalidKey),
}
