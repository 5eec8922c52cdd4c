//! Somebody has had the disk in their hands: what opening a home says about it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use hearthkey_core::audit::{Actor, Entry, Outcome};
use hearthkey_core::id::HomeId;
use hearthkey_core::posture::backups::Backups;
use hearthkey_core::posture::witness::Anchor;
use hearthkey_core::time::Timestamp;
use hearthkey_store::anchor::{ANCHOR_FILE, Incident};
use hearthkey_store::change::Change;
use hearthkey_store::keys::RootKey;
use hearthkey_store::{CommitError, DATABASE_FILE, OpenError, Opened, Store};
use tempfile::TempDir;
use zeroize::Zeroizing;

/// SQLCipher's page size.
const PAGE: usize = 4096;

struct Disk(TempDir);

fn home() -> HomeId {
    "home-1".parse().unwrap()
}

fn root() -> RootKey {
    RootKey::new(Zeroizing::new([7; 32]))
}

fn entry(n: u32) -> Change {
    let at = Timestamp::from_s(1_800_000_000 + i64::from(n));
    let entry = Entry::new(at, Actor::gateway(), "test", format!("device:d{n}"));
    Change::record(entry.with("padding", "x".repeat(500)))
}

impl Disk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let now = Timestamp::from_s(1_800_000_000);
        Store::create(dir.path(), &root(), &home(), now).unwrap();
        Self(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn open(&self) -> Result<Opened, OpenError> {
        Store::open(self.path(), root(), &home())
    }

    /// Adds records in a run of the store that ends well.
    async fn grow(&self, records: u32) -> u64 {
        let store = self.open().unwrap().store;
        for n in 0..records {
            store.commit(entry(n)).await.unwrap();
        }
        let size = store.checkpoints().borrow().clone().unwrap().size;
        store.close();
        size
    }

    fn database(&self) -> Vec<u8> {
        fs::read(self.path().join(DATABASE_FILE)).unwrap()
    }

    fn put_database(&self, bytes: &[u8]) {
        fs::write(self.path().join(DATABASE_FILE), bytes).unwrap();
    }

    fn incident(&self) -> Option<Incident> {
        self.open().unwrap().incident
    }
}

#[tokio::test]
async fn one_altered_byte_of_any_page_is_reported_when_the_home_opens() {
    let disk = Disk::new();
    disk.grow(40).await;
    let whole = disk.database();
    assert!(whole.len() > 10 * PAGE);
    for page in 1..whole.len() / PAGE {
        let mut altered = whole.clone();
        altered[page * PAGE + 1000] ^= 1;
        disk.put_database(&altered);
        assert!(disk.open().is_err(), "page {}", page + 1);
    }
    disk.put_database(&whole);
    assert_eq!(disk.incident(), None);
}

#[tokio::test]
async fn a_page_that_was_moved_to_another_place_is_reported() {
    let disk = Disk::new();
    disk.grow(40).await;
    let mut moved = disk.database();
    let last = moved.len() / PAGE - 1;
    moved.copy_within(last * PAGE..(last + 1) * PAGE, (last - 1) * PAGE);
    disk.put_database(&moved);
    assert!(matches!(disk.open(), Err(OpenError::Damaged(1))));
}

#[tokio::test]
async fn a_database_opens_with_no_other_key() {
    let disk = Disk::new();
    let other = Store::open(disk.path(), RootKey::generate(), &home());
    assert!(matches!(other, Err(OpenError::WrongKey(_))));
    let elsewhere = Store::open(disk.path(), root(), &"home-2".parse().unwrap());
    assert!(matches!(elsewhere, Err(OpenError::WrongKey(_))));
}

#[tokio::test]
async fn an_older_database_is_read_only_until_a_person_accepts_it() {
    let disk = Disk::new();
    let then = disk.grow(3).await;
    let old = disk.database();
    let now = disk.grow(5).await;
    disk.put_database(&old);
    let Opened {
        store, incident, ..
    } = disk.open().unwrap();
    let rolled_back = Incident::RolledBack {
        log: then,
        anchor: now,
    };
    assert_eq!(incident, Some(rolled_back));
    let refused = store.commit(entry(9)).await;
    assert!(matches!(refused, Err(CommitError::ReadOnly(_))));
    store.accept_incident(entry(8)).await.unwrap();
    assert_eq!(store.incident(), None);
    let next = store.commit(entry(9)).await.unwrap();
    assert_eq!(next.first_seq, then + 1, "the acceptance is on record");
    store.close();
    assert_eq!(disk.incident(), None);
    assert!(disk.path().join("checkpoint.anchor.refuted").exists());
}

#[tokio::test]
async fn a_log_that_went_another_way_since_its_anchor_is_reported() {
    let disk = Disk::new();
    disk.grow(3).await;
    let old = disk.database();
    let anchored = disk.grow(2).await;
    let anchor = fs::read(disk.path().join(ANCHOR_FILE)).unwrap();
    disk.put_database(&old);
    fs::remove_file(disk.path().join(ANCHOR_FILE)).unwrap();
    // Another history of the same length: its first record differs in time.
    let store = disk.open().unwrap().store;
    for n in 50..55 {
        store.commit(entry(n)).await.unwrap();
    }
    store.close();
    fs::write(disk.path().join(ANCHOR_FILE), &anchor).unwrap();
    assert_eq!(disk.incident(), Some(Incident::Rewritten(anchored)));
}

#[tokio::test]
async fn an_altered_anchor_is_reported() {
    let disk = Disk::new();
    disk.grow(3).await;
    let path = disk.path().join(ANCHOR_FILE);
    let anchor = fs::read_to_string(&path).unwrap();
    fs::write(&path, anchor.replacen("\n3\n", "\n2\n", 1)).unwrap();
    assert_eq!(disk.incident(), Some(Incident::AnchorAltered));
}

/// While somebody reads, SQLite moves only a part of the write-ahead log into the database, and leaves pages out that
/// were written again since. After a crash they stand in the log alone; that is no damage.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_half_a_checkpoint_is_no_damage() {
    let disk = Disk::new();
    let store = disk.open().unwrap().store;
    for n in 0..400 {
        store.commit(entry(n)).await.unwrap();
    }
    let committing = tokio::runtime::Handle::current();
    store
        .read(|registry| {
            registry.last_record()?;
            tokio::task::block_in_place(|| {
                for n in 400..2000 {
                    committing.block_on(store.commit(entry(n))).unwrap();
                }
            });
            Ok(())
        })
        .unwrap();
    // As they lie there when the machine stops.
    let crashed = tempfile::tempdir().unwrap();
    for file in fs::read_dir(disk.path()).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), crashed.path().join(file.file_name())).unwrap();
    }
    let opened = Store::open(crashed.path(), root(), &home());
    let opened = opened.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        opened.store.checkpoints().borrow().clone().unwrap().size,
        2000
    );
}

#[tokio::test]
async fn how_the_anchor_stands_to_the_log_is_known_while_the_home_is_open() {
    let disk = Disk::new();
    let store = disk.open().unwrap().store;
    store.commit(entry(1)).await.unwrap();
    store.write_anchor().unwrap();
    assert_eq!(store.anchor().unwrap(), Anchor::Current);
    store.commit(entry(2)).await.unwrap();
    store.commit(entry(3)).await.unwrap();
    let since = Timestamp::from_s(1_800_000_002);
    assert_eq!(store.anchor().unwrap(), Anchor::Behind(since));
    let anchor = disk.path().join(ANCHOR_FILE);
    fs::write(&anchor, "not a note").unwrap();
    let Anchor::Foreign(covered) = store.anchor().unwrap() else {
        panic!("it is no note");
    };
    fs::remove_file(&anchor).unwrap();
    assert_eq!(store.anchor().unwrap(), Anchor::Missing(covered));
    store.write_anchor().unwrap();
    assert_eq!(store.anchor().unwrap(), Anchor::Current);
    fs::remove_file(&anchor).unwrap();
    assert_eq!(store.anchor().unwrap(), Anchor::Missing(covered + 2));
    store.close();
}

#[tokio::test]
async fn when_backups_were_made_and_tried_is_read_from_the_log() {
    let disk = Disk::new();
    let store = disk.open().unwrap().store;
    let at = |s: i64| Timestamp::from_s(1_800_000_000 + s);
    let backups = || store.read(|registry| registry.backups()).unwrap();
    assert_eq!(backups(), Backups::default());
    for (s, action, outcome) in [
        (1, "backup.create", Outcome::Done),
        (2, "backup.verify", Outcome::Done),
        (3, "backup.create", Outcome::Done),
        (4, "backup.create", Outcome::Refused),
        (5, "backup.restore", Outcome::Refused),
        (6, "backup.create", Outcome::Alert),
    ] {
        let entry = Entry::new(at(s), Actor::gateway(), action, "backup:sunday".into());
        let entry = entry.ended(outcome, "");
        store.commit(Change::record(entry)).await.unwrap();
    }
    let expected = Backups {
        made_at: Some(at(3)),
        tried_at: Some(at(2)),
        failed: Some((at(6), String::new())),
        ..Backups::default()
    };
    assert_eq!(
        backups(),
        expected,
        "what was refused made and tried nothing"
    );
    let to = |place: &str| store.read(|registry| registry.backed_up_to(place)).unwrap();
    assert_eq!(to("/mnt/usb"), None);
    let entry = Entry::new(
        at(7),
        Actor::gateway(),
        "backup.create",
        "backup:monday".into(),
    );
    let change = Change::record(entry.with("to", "/mnt/usb"));
    store.commit(change).await.unwrap();
    assert_eq!((to("/mnt/usb"), to("/mnt/stick")), (Some(at(7)), None));
    store.close();
}
