//! A home's log in a test, and its archives.

use std::fs;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::id::{Fingerprint, HomeId};
use hearthkey_core::time::Timestamp;
use hearthkey_store::anchor::Incident;
use hearthkey_store::change::{Change, Write};
use hearthkey_store::keys::RootKey;
use hearthkey_store::log::SignedCheckpoint;
use hearthkey_store::log_archive::{Compared, Head, VerifiedArchive, verify_archive};
use hearthkey_store::log_check::{LogCheck, Part};
use hearthkey_store::log_start::{Archive, LogWrite};
use hearthkey_store::{CommitError, DATABASE_FILE, Opened, Store};
use tempfile::TempDir;
use zeroize::Zeroizing;

fn home() -> HomeId {
    "home-1".parse().unwrap()
}

fn root() -> RootKey {
    RootKey::new(Zeroizing::new([7; 32]))
}

pub fn at(n: u64) -> Timestamp {
    Timestamp::from_s(1_800_000_000 + i64::try_from(n).unwrap())
}

/// A record about one of ten devices; each seventh is a refusal, which decides nothing.
pub fn entry(n: u64) -> Entry {
    let action = if n.is_multiple_of(7) {
        "test.refuse"
    } else {
        "test"
    };
    let entry = Entry::new(
        at(n),
        Actor::gateway(),
        action,
        format!("device:d{}", n % 10),
    );
    entry.with("padding", "x".repeat(300))
}

pub struct Log {
    pub store: Option<Store>,
    pub dir: TempDir,
}

impl Log {
    pub async fn of(records: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Store::create(dir.path(), &root(), &home(), at(0)).unwrap();
        let mut log = Self { store: None, dir };
        assert_eq!(log.open(), None);
        log.grow(records).await;
        log
    }

    pub fn open(&mut self) -> Option<Incident> {
        if let Some(store) = self.store.take() {
            store.close();
        }
        let Opened {
            store, incident, ..
        } = Store::open(self.dir.path(), root(), &home()).unwrap();
        self.store = Some(store);
        incident
    }

    pub fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    pub async fn grow(&self, records: u64) {
        let mut next = self.size();
        let end = next + records;
        while next < end {
            let mut change = Change::default();
            for n in next..end.min(next + 100) {
                change = change.entry(entry(n));
            }
            self.store().commit(change).await.unwrap();
            next = self.size();
        }
    }

    pub fn newest(&self) -> Option<SignedCheckpoint> {
        let newest = self.store().checkpoints().borrow().clone();
        newest.map(|newest| (*newest).clone())
    }

    pub fn size(&self) -> u64 {
        self.newest().map_or(0, |newest| newest.size)
    }

    /// The archive of what is here before a number, as a file has it.
    pub fn archive(&self, before: u64) -> Vec<u8> {
        let segment = self.store().segment(before).unwrap().unwrap();
        let left = segment.left.iter().map(|hash| STANDARD.encode(hash));
        let note = String::from_utf8(segment.checkpoint.note).unwrap();
        let key = self.store().vkey().to_owned();
        let head = Head::new((segment.first, before), left.collect(), note, key);
        let mut file = [head.to_line(), b"\n".to_vec()].concat();
        file.extend(self.records(segment.first, before));
        file
    }

    pub fn records(&self, from: u64, before: u64) -> Vec<u8> {
        let limit = u32::try_from(before - from).unwrap();
        let records = self.store().read(|registry| registry.records(from, limit));
        let lines = records.unwrap().into_iter();
        lines
            .flat_map(|record| [record, b"\n".to_vec()].concat())
            .collect()
    }

    pub fn verified(&self, file: &[u8]) -> VerifiedArchive {
        verify_archive(file, self.store().vkey(), &Compared::default()).unwrap()
    }

    pub async fn note_archive(&self, file: &[u8]) -> Result<(), CommitError> {
        let verified = self.verified(file);
        let archive = Archive {
            first: verified.first,
            before: verified.before,
            root: verified.root,
            sha256: Fingerprint::of(file),
            bytes: file.len() as u64,
            at: at(0),
        };
        self.write(LogWrite::Archived(archive)).await
    }

    pub async fn write(&self, write: LogWrite) -> Result<(), CommitError> {
        let change = Change::default().write(Write::Log(write));
        self.store().commit(change).await.map(drop)
    }

    /// Archives what is before a number, and begins there.
    pub async fn begin_at(&self, first: u64) -> Vec<u8> {
        let file = self.archive(first);
        self.note_archive(&file).await.unwrap();
        let sha256 = Fingerprint::of(&file);
        self.write(LogWrite::BeginAt { first, sha256 })
            .await
            .unwrap();
        file
    }

    pub async fn drop_all(&self) {
        while self
            .store()
            .read(|registry| registry.has_records_to_drop())
            .unwrap()
        {
            self.write(LogWrite::Drop { at_most: 37 }).await.unwrap();
        }
    }

    pub fn check(&self) -> Part {
        let mut check = LogCheck::default();
        loop {
            match self.store().check_log(&mut check, 50).unwrap() {
                Part::More => {}
                end => return end,
            }
        }
    }

    pub fn proof(&self, seq: u64) -> Vec<u8> {
        self.store().prove(seq).unwrap().unwrap()
    }

    pub fn newest_about(&self, device: &str) -> Option<u64> {
        let read = self
            .store()
            .read(|registry| registry.newest_record_about(device));
        read.unwrap()
    }

    pub fn database_bytes(&self) -> u64 {
        fs::metadata(self.dir.path().join(DATABASE_FILE))
            .unwrap()
            .len()
    }
}
