//! Backups of a store: made while it is written to, and read again only whole, unaltered, of this home and with its keys.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Cursor;
use std::path::Path;

use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::certificate::RevocationReason;
use hearthkey_core::id::HomeId;
use hearthkey_core::time::Timestamp;
use hearthkey_store::Store;
use hearthkey_store::backup::{
    BackupError, Identity, Recipient, SNAPSHOT_FILE, Unpacked, add_journal, header_opens,
    open_unpacked, unpack,
};
use hearthkey_store::change::{Change, Write};
use hearthkey_store::files::DataDir;
use hearthkey_store::journal::{JOURNAL_FILE, Revocation};
use hearthkey_store::keys::RootKey;
use hearthkey_store::slots::kit::kit_identity;
use hearthkey_store::slots::{SlotKind, Slots, Way};
use hearthkey_store::vault::SecretName;
use tempfile::TempDir;
use zeroize::Zeroizing;

const CANARY: &str = "canary-value-that-nobody-may-read";

fn at(s: i64) -> Timestamp {
    Timestamp::from_s(1_800_000_000 + s)
}

struct Home {
    place: TempDir,
    store: Store,
    code: Zeroizing<String>,
}

impl Home {
    async fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let dir = DataDir::open(place.path()).unwrap();
        let (root, id): (RootKey, HomeId) = (RootKey::generate(), "attic".parse().unwrap());
        let mut slots = Slots::new(id.clone());
        let code = slots.add_recovery_code(&root);
        slots.write(&dir).unwrap();
        Store::create(place.path(), &root, &id, at(0)).unwrap();
        let store = Store::open(place.path(), root, &id).unwrap().store;
        let home = Self { place, store, code };
        let name = SecretName {
            kind: "test",
            name: "canary",
            version: 1,
        };
        let sealed = home.store.vault().seal(name, CANARY.as_bytes());
        let secret = Write::Secret {
            kind: "test",
            name: "canary".into(),
            version: 1,
            sealed,
            at: at(0),
        };
        home.record(CANARY, [secret]).await;
        home
    }

    async fn record(&self, object: &str, writes: impl IntoIterator<Item = Write>) {
        let entry = Entry::new(at(1), Actor::gateway(), "test", object.to_owned());
        let mut change = Change::record(entry);
        change.writes.extend(writes);
        self.store.commit(change).await.unwrap();
    }

    async fn revoke(&self, device: &str, s: i64) {
        let line = Revocation {
            device: device.parse().unwrap(),
            certificates: Vec::new(),
            keys: Vec::new(),
            reason: RevocationReason::KeyCompromise,
            at: at(s),
        };
        self.store.journal(line).await.unwrap();
    }

    fn recipients(&self) -> Vec<Recipient> {
        let mut all = self.store.kit_recipients().unwrap();
        all.push(self.store.backup_identity().recipient());
        all
    }

    fn backup(&self) -> Vec<u8> {
        let mut file = Vec::new();
        let snapshot = self.store.snapshot(at(2), &mut || true).unwrap();
        snapshot
            .write(&self.recipients(), "0.0.0", &mut file, &mut || true)
            .unwrap();
        file
    }
}

fn restore(file: &[u8], code: &str, to: &Path) -> Result<Unpacked, BackupError> {
    let dir = DataDir::open(to).unwrap();
    unpack(Cursor::new(file), &kit_identity(code), &dir, |slots| {
        Ok(slots.unseal(&Way::Words(Zeroizing::new(code.to_owned())))?)
    })
}

fn said(file: &[u8], code: &str) -> String {
    let to = tempfile::tempdir().unwrap();
    match restore(file, code, to.path()) {
        Ok(_) => panic!("it was believed"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_backup_holds_opens_with_the_recovery_code_alone() {
    let home = Home::new().await;
    home.revoke("lamp", 1).await;
    let file = home.backup();
    let to = tempfile::tempdir().unwrap();
    let unpacked = restore(&file, &home.code, to.path()).unwrap();
    assert_eq!(
        (unpacked.manifest.log_size, unpacked.manifest.made_at),
        (1, at(2))
    );
    assert_eq!(unpacked.slots.kinds(), [SlotKind::RecoveryCode]);
    let opened = open_unpacked(&DataDir::open(to.path()).unwrap(), &unpacked).unwrap();
    assert!(opened.anchored && opened.incident.is_none());
    assert!(!opened.replay.missing || opened.replay.revocations.len() == 1);
    assert_eq!(opened.replay.revocations.len(), 1);
    opened.store.check_whole().unwrap();
    let value = opened.store.secret("test", "canary").unwrap().unwrap();
    assert_eq!(value.as_slice(), CANARY.as_bytes());
    assert!(
        !home.place.path().join(SNAPSHOT_FILE).exists(),
        "the copy is gone"
    );
    // The same by the key of the home.
    let trial = home.store.trial_dir().unwrap();
    let (_, again) = home.store.open_backup(Cursor::new(&file), &trial).unwrap();
    again.store.close();
    opened.store.close();
    home.store.forget_trial().unwrap();
    assert!(!trial.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_of_one_moment_however_much_is_written_meanwhile() {
    let home = Home::new().await;
    let filler = Write::Setting("filler", vec![7; 5_000_000]);
    home.record("thing:large", [filler]).await;
    let mut steps = 0;
    let runtime = tokio::runtime::Handle::current();
    let snapshot = tokio::task::block_in_place(|| {
        home.store.snapshot(at(2), &mut || {
            steps += 1;
            runtime.block_on(home.record("thing:meanwhile", []));
            true
        })
    });
    let snapshot = snapshot.unwrap();
    assert!(steps >= 4, "it took {steps} steps");
    assert_eq!(snapshot.log_size, 2, "none of what came meanwhile");
    let mut file = Vec::new();
    let recipients = home.recipients();
    snapshot
        .write(&recipients, "0.0.0", &mut file, &mut || true)
        .unwrap();
    drop(snapshot);
    let to = tempfile::tempdir().unwrap();
    let unpacked = restore(&file, &home.code, to.path()).unwrap();
    let opened = open_unpacked(&DataDir::open(to.path()).unwrap(), &unpacked).unwrap();
    assert!(opened.incident.is_none());
    opened.store.check_whole().unwrap();
    assert_eq!(
        home.store.checkpoints().borrow().as_ref().unwrap().size,
        2 + steps
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_stopped_leaves_nothing() {
    let home = Home::new().await;
    let filler = Write::Setting("filler", vec![7; 5_000_000]);
    home.record("thing:large", [filler]).await;
    let stopped = home.store.snapshot(at(2), &mut || false);
    assert!(matches!(stopped.err(), Some(BackupError::Stopped)));
    assert!(!home.place.path().join(SNAPSHOT_FILE).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_cut_off_or_altered_anywhere_is_not_believed() {
    let home = Home::new().await;
    let file = home.backup();
    let header = file.windows(4).position(|four| four == b"\n---").unwrap();
    let near = (0..header + 200).step_by(7);
    let far = (header + 200..file.len()).step_by(file.len() / 40);
    let last = file.len() - 20..file.len();
    for at in near.chain(far).chain(last) {
        let cut = said(&file[..at], &home.code);
        assert!(
            cut.contains("cut off or altered")
                || cut.contains("no age file")
                || cut.contains("does not open"),
            "{at}: {cut}"
        );
        let mut altered = file.clone();
        altered[at] ^= 1;
        let altered = said(&altered, &home.code);
        assert!(
            altered.contains("altered") || altered.contains("no age file"),
            "{at}: {altered}"
        );
    }
    let longer = [&file[..], b"more"].concat();
    assert!(said(&longer, &home.code).contains("cut off or altered"));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_code_another_file_and_another_homes_words_open_nothing() {
    let (home, other) = (Home::new().await, Home::new().await);
    let file = home.backup();
    assert!(said(&file, &other.code).contains("this key does not open the backup"));
    assert!(said(b"", &home.code).contains("no age file"));
    assert!(said(b"PK\x03\x04 something else", &home.code).contains("no age file"));
    let kit = kit_identity(&home.code);
    assert!(header_opens(Cursor::new(&file), &kit).unwrap());
    assert!(!header_opens(Cursor::new(&file), &kit_identity(&other.code)).unwrap());
    assert!(header_opens(Cursor::new(&file), &home.store.backup_identity()).unwrap());
}

/// Who knows a recipient can encrypt for it: what is inside must be the home's own.
#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_encrypts_for_the_kit_is_not_believed() {
    let (home, other) = (Home::new().await, Home::new().await);
    let for_our_kit = home.recipients();
    let mut file = Vec::new();
    let snapshot = other.store.snapshot(at(2), &mut || true).unwrap();
    snapshot
        .write(&for_our_kit, "0.0.0", &mut file, &mut || true)
        .unwrap();
    assert!(said(&file, &home.code).contains("does not open with it"));
    drop(snapshot);
    // With slots of ours around a database of theirs.
    let slots = std::fs::read(home.place.path().join("slots.json")).unwrap();
    std::fs::write(other.place.path().join("slots.json"), slots).unwrap();
    let mut file = Vec::new();
    let snapshot = other.store.snapshot(at(2), &mut || true).unwrap();
    snapshot
        .write(&for_our_kit, "0.0.0", &mut file, &mut || true)
        .unwrap();
    assert!(said(&file, &home.code).contains("not made by this home"));
    let age_of_something = |text: &[u8]| {
        let recipient: age::x25519::Recipient = for_our_kit[0].to_string().parse().unwrap();
        age::encrypt(&recipient, text).unwrap()
    };
    for text in [&b"photos"[..], b"", &[b'x'; 100]] {
        let told = said(&age_of_something(text), &home.code);
        assert!(
            told.contains("holds something else") || told.contains("cut off"),
            "{told}"
        );
    }
    let newer = [
        b"hearthkey backup\n",
        &[0, 0, 0, 12][..],
        br#"{"format":9}"#,
    ]
    .concat();
    assert!(said(&age_of_something(&newer), &home.code).contains("has format 9"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_home_is_in_the_clear() {
    let home = Home::new().await;
    let file = home.backup();
    for clear in [CANARY, &home.code, "attic", "slots.json", "manifest"] {
        let found = file
            .windows(clear.len())
            .any(|part| part == clear.as_bytes());
        assert!(!found, "{clear}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_beside_a_backup_adds_what_the_backup_does_not_have() {
    let home = Home::new().await;
    home.revoke("lamp", 1).await;
    let file = home.backup();
    let older = std::fs::read(home.place.path().join(JOURNAL_FILE)).unwrap();
    home.revoke("plug", 5).await;
    let newer = std::fs::read(home.place.path().join(JOURNAL_FILE)).unwrap();
    let other = Home::new().await;
    other.revoke("lamp", 1).await;
    let foreign = std::fs::read(other.place.path().join(JOURNAL_FILE)).unwrap();
    let given = |journal: &[u8]| {
        let to = tempfile::tempdir().unwrap();
        let unpacked = restore(&file, &home.code, to.path()).unwrap();
        let dir = DataDir::open(to.path()).unwrap();
        let id = unpacked.manifest.home.clone();
        let given = add_journal(&dir, &unpacked.root, &id, journal);
        let opened = open_unpacked(&dir, &unpacked).unwrap();
        (given, opened.replay.revocations.len())
    };
    let (newest, held) = given(&newer);
    let newest = newest.unwrap();
    assert_eq!(
        (newest.added, newest.covers, newest.newest, held),
        (1, true, Some(at(5)), 2)
    );
    let (same, held) = given(&older);
    assert_eq!((same.unwrap().added, held), (0, 1));
    let (empty, held) = given(b"");
    assert_eq!(
        (empty.unwrap().covers, held),
        (false, 1),
        "it is older than the backup"
    );
    let (torn, _) = given(&[&newer[..], b"{\"device\":\"x"].concat());
    assert_eq!(torn.unwrap().foreign_lines, 1);
    let (refused, held) = given(&foreign);
    assert!(matches!(refused, Err(BackupError::ForeignJournal)));
    assert_eq!(held, 1);
}

#[test]
fn an_identity_has_one_recipient() {
    let identity: Identity = kit_identity("ABCDE-00000");
    assert_eq!(
        identity.recipient().to_string(),
        kit_identity("abcde00000").recipient().to_string()
    );
}
