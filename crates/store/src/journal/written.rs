//! What the journal holds by now, and what is handed to the thread that writes it.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hearthkey_core::id::{DeviceId, Fingerprint};
use hearthkey_core::time::Timestamp;

use crate::journal::event::Event;
use crate::journal::revocation::Revocation;

/// The journal's name in the data directory.
pub const JOURNAL_FILE: &str = "revocations.journal";
/// It is there from when the journal was begun anew until that is in the database.
pub const ANEW_FILE: &str = "revocations.journal.anew";

/// The newest line of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its number; 0 if there is none.
    pub seq: u64,
    /// Its HMAC.
    pub tag: Fingerprint,
    /// When it was written.
    pub at: Timestamp,
    /// How many records the audit log had.
    pub log: u64,
}

impl Head {
    /// Before the first line.
    pub fn none() -> Self {
        Self {
            seq: 0,
            tag: Fingerprint([0; 32]),
            at: Timestamp::default(),
            log: 0,
        }
    }
}

/// What the journal holds by now. The lock is never held while the disk is waited for.
pub(super) struct Written {
    pub(super) file: Arc<File>,
    /// How long it was at least, in bytes.
    pub(super) size: u64,
    pub(super) devices: HashSet<DeviceId>,
    pub(super) certificates: HashSet<Fingerprint>,
    /// Whether lines of what has happened could not be written, and wait for the next that can.
    pub(super) owes: bool,
    /// Whether lines were given up for good.
    pub(super) lost: bool,
}

impl Written {
    pub(super) fn of(file: Arc<File>, size: u64, revocations: &[Revocation]) -> Self {
        let mut written = Self {
            file,
            size,
            devices: HashSet::new(),
            certificates: HashSet::new(),
            owes: false,
            lost: false,
        };
        for revocation in revocations {
            written.add(revocation);
        }
        written
    }

    pub(super) fn add(&mut self, revocation: &Revocation) {
        self.devices.insert(revocation.device.clone());
        self.certificates.extend(&revocation.certificates);
    }
}

pub(super) fn locked(written: &Mutex<Written>) -> MutexGuard<'_, Written> {
    written.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is done when the lines are on the disk, or are not.
pub(crate) type Reply = Box<dyn FnOnce(io::Result<()>) + Send>;

/// What one caller wants written.
pub(crate) struct Lines {
    /// When it happened; the time of the line before if that is not known.
    pub(crate) at: Option<Timestamp>,
    pub(crate) events: Vec<Event>,
    /// Whether it has happened, so that nobody comes with it again if it cannot be written now.
    pub(crate) has_happened: bool,
    pub(crate) reply: Reply,
}

/// What the thread is asked to do.
pub(crate) enum Task {
    Write(Lines),
    /// Drops the lines up to a number, all but what is held for good.
    Drop(u64, Reply),
}
