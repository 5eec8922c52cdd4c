//! Why a backup is not made, or not believed.

use std::io;

use hearthkey_core::backup::InvalidManifest;

use crate::open_error::OpenError;
use crate::slots::UnsealError;

/// Why a backup is not made, or not believed.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It does not begin as age files do.
    #[error("this is not a backup: it is no age file (age-encryption.org/v1). Name another file")]
    NotAge,
    /// An age file with something else in it.
    #[error("this is not a backup: the age file holds something else. Name another file")]
    NotABackup,
    /// An age file with something else than lines of a journal in it.
    #[error("this is no part of a journal: the age file holds something else. Name another file")]
    NotAJournal,
    /// No key that was tried opens it.
    #[error(
        "this key does not open the backup: it belongs to another home or to an earlier recovery code, or the beginning of the file was altered. Use the recovery code that was valid when the backup was made, or another backup"
    )]
    NoFit,
    /// It ends early, or a byte in it is another.
    #[error("the backup was cut off or altered. Use another one")]
    Damaged,
    /// What it says of itself.
    #[error(transparent)]
    Manifest(#[from] InvalidManifest),
    /// The home's keys did not make it.
    #[error("the backup was not made by this home: its seal does not fit. Use another one")]
    Foreign,
    /// A newer program has made it.
    #[error(
        "the backup has schema {found}, and this program supports schemas up to {known}: a newer Hearthkey has made it. Use that one"
    )]
    Newer {
        /// The number of the last migration in it.
        found: i64,
        /// The number of the last that this program has.
        known: i64,
    },
    /// The journal that was given has nothing of this home.
    #[error(
        "the journal has no line that this home has written: it belongs to another home, or was altered. Name the revocations.journal of the lost machine"
    )]
    ForeignJournal,
    /// The journal that was given is from a newer program.
    #[error(
        "the journal has {0} lines that this program does not understand: a newer Hearthkey has written them. Use that one"
    )]
    NewerJournal(usize),
    /// The ways in that it holds.
    #[error(transparent)]
    Slots(#[from] UnsealError),
    /// The copy of the home does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is no room for the copy beside the database.
    #[error(
        "the data directory's disk has {free} bytes free, and a copy of the database needs {needed}. Free space there"
    )]
    NoRoom {
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The database cannot be copied.
    #[error("the database cannot be copied: {0}. Free space or repair the disk")]
    Copy(#[from] rusqlite::Error),
    /// A file of the home cannot be read, or a copy of it not be written.
    #[error("a file of the home cannot be read or written: {0}. Free space or repair the disk")]
    Home(io::Error),
    /// The backup cannot be written.
    #[error("the backup cannot be written: {0}. Check the place: its disk, its rights, its mount")]
    Write(io::Error),
    /// The backup cannot be read.
    #[error("the backup cannot be read: {0}. Check the file and its disk")]
    Read(io::Error),
    /// The home is being closed.
    #[error("the home was closed before the backup was complete. Make it again")]
    Stopped,
}

impl BackupError {
    /// What reading through the decryption reported: what does not decrypt is damage, and not the disk's failure.
    pub(super) fn of_reading(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => Self::Damaged,
            _ => Self::Read(error),
        }
    }
}
