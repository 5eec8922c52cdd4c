//! A home gets a new root key, and with it new keys for everything: the database, the vault, the journal, the slots.
//!
//! A whole second home is made in a directory within the data directory, opened there, and put in the place of the first
//! file by file. Until the last of it is on the disk, the first home is as it was. From then on, a marker says so, and whoever
//! opens the home next puts in place what a crash has left. No gateway runs meanwhile: the caller holds the home's lock.
//!
//! What the old root key opens afterwards are copies from before: backups, and what a disk keeps of deleted files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hearthkey_core::id::HomeId;
use hearthkey_core::time::Timestamp;
use rusqlite::backup::Backup;
use rusqlite::{Connection, params};
use zeroize::Zeroizing;

use crate::anchor::{ANCHOR_FILE, Incident};
use crate::connection::{self, Use};
use crate::files::{DATABASE_FILE, DataDir};
use crate::journal::{JOURNAL_FILE, lines};
use crate::keys::RootKey;
use crate::open_error::OpenError;
use crate::slots::{KEY_FILE, SLOTS_FILE, Slots, UnsealError, Way};
use crate::store::Store;
use crate::vault::{CredentialPlace, SealedSecret, SecretName, UnsealError as SecretError, Vault};

pub use crate::slots::renewed::RenewError;

/// The directory in which the second home is made.
pub const REKEY_DIR: &str = "rekey";
/// The second home is whole.
const READY_FILE: &str = "ready";
/// What is put in place, in this order.
const PLACED: [&str; 5] = [
    JOURNAL_FILE,
    ANCHOR_FILE,
    KEY_FILE,
    DATABASE_FILE,
    SLOTS_FILE,
];
/// What SQLite may have left beside the database of the first home.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];
/// Pages that are copied at once: 4 MiB.
const STEP_PAGES: i32 = 1024;
/// Bytes that are left free on the disk beyond the second home.
const LEFT_FREE_BYTES: u64 = 16 * 1024 * 1024;

/// Why a home did not get new keys. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RekeyError {
    /// The home does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Its slots do not open.
    #[error(transparent)]
    Unseal(#[from] UnsealError),
    /// No slots could be made.
    #[error(transparent)]
    Slots(#[from] RenewError),
    /// Its log is not what was signed, or its database is damaged.
    #[error("{0}. Start the gateway, look at `hearthkey status`, and settle that first")]
    Incident(Incident),
    /// A secret does not open.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// There is no room for a second home.
    #[error(
        "the disk has {free} bytes free, and {needed} are needed for the home with its new keys. Free space and try again"
    )]
    NoRoom {
        /// What is needed.
        needed: u64,
        /// What is there.
        free: u64,
    },
    /// The database.
    #[error("the database cannot be copied: {0}. Check the disk and try again")]
    Database(#[from] rusqlite::Error),
    /// The directory.
    #[error("the data directory cannot be written: {0}. Free space or repair the disk")]
    Io(#[from] io::Error),
}

/// A second home that is made, with new keys, and not in its place yet.
pub struct Prepared {
    /// Where it is. It opens there with [`Prepared::open`].
    place: PathBuf,
    root: RootKey,
    slots: Slots,
    /// A new recovery code, if there is one.
    pub code: Option<Zeroizing<String>>,
    /// The names of unlock methods that open nothing any more.
    pub ended: Vec<String>,
    /// How many values were sealed anew.
    pub resealed: u64,
}

/// Puts a second home in place that was made whole, and takes one away that was not. Whoever opens a home does this first,
/// under its lock. Whether there was one to be put in place.
pub fn finish(dir: &DataDir) -> io::Result<bool> {
    if !dir.has(REKEY_DIR)? {
        return Ok(false);
    }
    let place = dir.path().join(REKEY_DIR);
    if !fs::symlink_metadata(&place)?.is_dir() {
        // Nobody of ours has put it there.
        let why = format!("{REKEY_DIR}: it is no directory. Remove it, and try again");
        return Err(io::Error::other(why));
    }
    let is_ready = place.join(READY_FILE).exists();
    if is_ready {
        for name in PLACED {
            put(dir, &place, name)?;
        }
        fs::remove_file(place.join(READY_FILE))?;
    }
    fs::remove_dir_all(&place)?;
    dir.sync()?;
    Ok(is_ready)
}

fn put(dir: &DataDir, place: &Path, name: &str) -> io::Result<()> {
    let made = place.join(name);
    if !made.exists() {
        // It was put in place before a crash, or there is none.
        return Ok(());
    }
    if name == DATABASE_FILE {
        // Of the database that goes. All of it was in the copy.
        for end in BESIDE {
            dir.remove(&format!("{name}{end}"))?;
        }
    }
    fs::rename(&made, dir.path().join(name))?;
    dir.sync()
}

/// Makes a second home with new keys, in a directory within the first. The caller holds the home's lock.
pub fn prepare(dir: &DataDir, way: &Way, now: Timestamp) -> Result<Prepared, RekeyError> {
    finish(dir)?;
    let slots = Slots::read(dir.path())?;
    let home = slots.home().clone();
    let old = slots.unseal(way)?;
    let root = RootKey::generate();
    let needed = fs::metadata(dir.path().join(DATABASE_FILE))?.len() + LEFT_FREE_BYTES;
    let opened = Store::open(dir.path(), copy_of(&old), &home)?;
    let made = match (opened.incident, opened.store.free_bytes()?) {
        (Some(incident), _) => Err(RekeyError::Incident(incident)),
        (None, free) if free < needed => Err(RekeyError::NoRoom { needed, free }),
        _ => make(dir, (&old, &root), &home),
    };
    opened.store.close();
    let (place, resealed) = made?;
    let place_dir = DataDir::open(&place)?;
    let renewed = slots.for_new_root(&root, way, (&place_dir, now))?;
    Ok(Prepared {
        place,
        root,
        slots: renewed.slots,
        code: renewed.code,
        ended: renewed.ended,
        resealed,
    })
}

fn copy_of(root: &RootKey) -> RootKey {
    RootKey::new(Zeroizing::new(*root.bytes()))
}

fn make(
    dir: &DataDir,
    (old, new): (&RootKey, &RootKey),
    home: &HomeId,
) -> Result<(PathBuf, u64), RekeyError> {
    dir.make_dir(REKEY_DIR)?;
    let place = dir.path().join(REKEY_DIR);
    let second = DataDir::open(&place)?;
    second.create(DATABASE_FILE)?;
    let source = connection::open(
        &dir.path().join(DATABASE_FILE),
        &old.database(home),
        Use::Read,
    )?;
    let path = place.join(DATABASE_FILE);
    {
        let mut target = connection::open_copy(&path, &new.database(home))?;
        Backup::new(&source, &mut target)?.run_to_completion(
            STEP_PAGES,
            std::time::Duration::ZERO,
            None,
        )?;
    }
    let mut target = connection::open_copy(&path, &new.database(home))?;
    target.pragma_update(None, "journal_mode", "DELETE")?;
    target.pragma_update(None, "secure_delete", true)?;
    let vaults = [old, new].map(|root| Vault::new(home.clone(), copy_of(root)));
    let resealed = reseal(&mut target, &vaults)?;
    drop(target);
    let journal = dir.read(JOURNAL_FILE)?.unwrap_or_default();
    let known = lines::read(&old.journal(home), &journal).revocations;
    let key = new.journal(home);
    let anew: Result<String, _> = known.iter().map(|one| lines::written(&key, one)).collect();
    second.replace(JOURNAL_FILE, anew.map_err(io::Error::from)?.as_bytes())?;
    if let Some(anchor) = dir.read(ANCHOR_FILE)? {
        second.replace(ANCHOR_FILE, &anchor)?;
    }
    Ok((place, resealed))
}

/// Seals every value anew, each under a new data key, and makes the fingerprints by which equal values are found anew. Those of
/// values that were destroyed equal nothing from then on.
fn reseal(connection: &mut Connection, [old, new]: &[Vault; 2]) -> Result<u64, RekeyError> {
    let tx = connection.transaction()?;
    tx.execute(
        "UPDATE credential_version SET fingerprint = randomblob(32)",
        [],
    )?;
    let mut rows = 0;
    {
        let sql = "SELECT kind, name, version, epoch, wrapped, sealed FROM secret";
        let mut statement = tx.prepare(sql)?;
        let read = statement.query_map([], |row| {
            let secret = SealedSecret {
                epoch: row.get(3)?,
                wrapped: row.get(4)?,
                sealed: row.get(5)?,
            };
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, secret))
        })?;
        // All of them first: what is read is not changed under the reading.
        let all: Vec<(String, String, u32, SealedSecret)> = read.collect::<Result<_, _>>()?;
        for (kind, name, version, secret) in all {
            let sealed = match CredentialPlace::of_row(&kind, name.clone(), version) {
                Some(place) => {
                    let value = old.open_credential(&place, &secret)?;
                    let fingerprint = new.fingerprint(&value);
                    let (environment, within) = name.split_once('/').unwrap_or_default();
                    if kind == "credential" {
                        tx.prepare_cached(
                            "UPDATE credential_version SET fingerprint = ?1 WHERE version = ?2 AND credential =
                                 (SELECT id FROM credential WHERE environment = ?3 AND name = ?4)",
                        )?
                        .execute(params![fingerprint.0, version, environment, within])?;
                    }
                    new.seal_credential(&place, secret.epoch, &value)
                }
                None => {
                    let row = SecretName {
                        kind: &kind,
                        name: &name,
                        version,
                    };
                    new.seal(row, &old.open(row, &secret)?)
                }
            };
            tx.prepare_cached(
                "UPDATE secret SET epoch = ?4, wrapped = ?5, sealed = ?6
                 WHERE kind = ?1 AND name = ?2 AND version = ?3",
            )?
            .execute(params![
                kind,
                name,
                version,
                sealed.epoch,
                sealed.wrapped,
                sealed.sealed
            ])?;
            rows += 1;
        }
    }
    tx.commit()?;
    Ok(rows)
}

impl Prepared {
    /// Opens the second home where it was made: every page is checked, and the log, as of every home.
    pub fn open(&self) -> Result<Store, RekeyError> {
        let opened = Store::open(&self.place, copy_of(&self.root), self.slots.home())?;
        match opened.incident {
            Some(incident) => {
                opened.store.close();
                Err(RekeyError::Incident(incident))
            }
            None => Ok(opened.store),
        }
    }

    /// The home.
    pub fn home(&self) -> &HomeId {
        self.slots.home()
    }

    /// The kinds of its slots.
    pub fn kinds(&self) -> Vec<crate::slots::SlotKind> {
        self.slots.kinds()
    }

    /// Puts the second home in the place of the first. From the moment that its marker is on the disk it is the home, whatever
    /// happens.
    pub fn put_in_place(&self, dir: &DataDir) -> io::Result<()> {
        self.mark(dir)?;
        if let Err(error) = finish(dir) {
            tracing::error!(%error, "the home has new keys, and is not put in place yet: that is done when it opens next");
        }
        Ok(())
    }

    /// Writes down that the second home is the home.
    fn mark(&self, dir: &DataDir) -> io::Result<()> {
        let second = DataDir::open(&self.place)?;
        self.slots.write(&second)?;
        for name in PLACED {
            match fs::File::open(self.place.join(name)) {
                Ok(file) => file.sync_all()?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        second.sync()?;
        dir.sync()?;
        second.replace(READY_FILE, b"")
    }
}

/// Takes away what was made of a second home that is not wanted any more.
pub fn give_up(dir: &DataDir) {
    if let Err(error) = finish(dir) {
        tracing::warn!(%error, "a home with new keys that was not made to its end is left; it is removed when the home opens");
    }
}

#[cfg(test)]
mod tests {
    use hearthkey_core::audit::{Actor, Entry};
    use hearthkey_core::certificate::RevocationReason;
    use tempfile::TempDir;

    use super::*;
    use crate::change::{Change, Write};
    use crate::journal::Revocation;
    use crate::slots::{SlotKind, key_file};

    const NOW: i64 = 1_800_000_000;
    const WORDS: &str = "correct horse battery";
    const ROW: SecretName<'static> = SecretName {
        kind: "server",
        name: "tls",
        version: 1,
    };

    fn now() -> Timestamp {
        Timestamp::from_s(NOW)
    }

    fn words() -> Way {
        Way::Words(Zeroizing::new(WORDS.to_owned()))
    }

    struct Home(TempDir);

    impl Home {
        /// With a secret, a revocation in the journal, a key file and a passphrase.
        async fn new() -> Self {
            let home = Self(tempfile::tempdir().unwrap());
            let id: HomeId = "home-1".parse().unwrap();
            let root = RootKey::generate();
            let mut slots = Slots::new(id.clone());
            slots.add_key_file(&root, &home.dir()).unwrap();
            slots.add_passphrase(&root, WORDS).unwrap();
            slots.add_recovery_code(&root);
            slots.write(&home.dir()).unwrap();
            Store::create(home.0.path(), &root, &id, now()).unwrap();
            let store = Store::open(home.0.path(), root, &id).unwrap().store;
            let sealed = store.vault().seal(ROW, b"value");
            let entry = Entry::new(now(), Actor::gateway(), "test", "home:home-1".into());
            let change = Change::record(entry).write(Write::Secret {
                kind: ROW.kind,
                name: ROW.name.into(),
                version: 1,
                sealed,
                at: now(),
            });
            store.commit(change).await.unwrap();
            let revocation = Revocation {
                device: "lamp".parse().unwrap(),
                certificates: Vec::new(),
                keys: Vec::new(),
                reason: RevocationReason::Unspecified,
                at: now(),
            };
            store.journal(revocation).await.unwrap();
            store.close();
            home
        }

        fn dir(&self) -> DataDir {
            DataDir::open(self.0.path()).unwrap()
        }

        async fn prepared(&self, way: &Way) -> Prepared {
            let prepared = prepare(&self.dir(), way, now()).unwrap();
            let store = prepared.open().unwrap();
            let entry = Entry::new(now(), Actor::gateway(), "home.rekey", "home:home-1".into());
            store.commit(Change::record(entry)).await.unwrap();
            store.close();
            prepared
        }

        /// Opens it and returns its root key and how many records its log has.
        fn opened(&self, way: &Way) -> Result<([u8; 32], u64), UnsealError> {
            finish(&self.dir()).unwrap();
            let slots = Slots::read(self.0.path())?;
            let root = slots.unseal(way)?;
            let bytes = *root.bytes();
            let opened = Store::open(self.0.path(), root, slots.home()).unwrap();
            assert_eq!(opened.incident, None);
            assert_eq!(
                (opened.replay.revocations.len(), opened.replay.foreign_lines),
                (1, 0)
            );
            let value = opened.store.secret(ROW.kind, ROW.name).unwrap().unwrap();
            assert_eq!(value.as_slice(), b"value");
            let size = opened.store.checkpoints().borrow().as_ref().unwrap().size;
            opened.store.close();
            assert!(!self.dir().has(REKEY_DIR).unwrap());
            Ok((bytes, size))
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_typed_opens_the_home_with_its_new_keys_and_nothing_of_the_old_does() {
        let home = Home::new().await;
        let old_file = key_file(home.0.path()).unwrap();
        let (old, _) = home.opened(&words()).unwrap();
        let prepared = home.prepared(&words()).await;
        assert_eq!(prepared.ended, ["recovery-code"]);
        assert_eq!(prepared.resealed, 2, "the value, and the log's key");
        prepared.put_in_place(&home.dir()).unwrap();
        let (new, size) = home.opened(&words()).unwrap();
        assert!(new != old && size == 2);
        assert_eq!(
            home.opened(&key_file(home.0.path()).unwrap()).unwrap().0,
            new
        );
        let code = Way::Words(prepared.code.unwrap());
        assert_eq!(home.opened(&code).unwrap().0, new);
        assert!(matches!(home.opened(&old_file), Err(UnsealError::NoFit)));
        let path = home.0.path().join(DATABASE_FILE);
        let key = RootKey::new(Zeroizing::new(old)).database(&"home-1".parse().unwrap());
        assert!(connection::open(&path, &key, Use::Read).is_err());
        // The code that was typed goes on, and no other is made.
        let prepared = home.prepared(&code).await;
        assert!(prepared.code.is_none());
        assert_eq!(prepared.ended, ["passphrase"]);
        assert_eq!(
            prepared.kinds(),
            [SlotKind::KeyFile, SlotKind::RecoveryCode]
        );
        prepared.put_in_place(&home.dir()).unwrap();
        assert!(home.opened(&words()).is_err());
        assert_eq!(home.opened(&code).unwrap().1, 3);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn whatever_a_crash_leaves_of_it_opens() {
        let home = Home::new().await;
        let (old, _) = home.opened(&words()).unwrap();
        // Before the marker, it is the first home.
        home.prepared(&words()).await;
        assert_eq!(home.opened(&words()).unwrap(), (old, 1));
        let mut before = old;
        // After it, the second, however far its files were put in place.
        for placed in 0..=PLACED.len() {
            let prepared = home.prepared(&words()).await;
            prepared.mark(&home.dir()).unwrap();
            for name in &PLACED[..placed] {
                put(&home.dir(), &prepared.place, name).unwrap();
            }
            let (now, _) = home.opened(&words()).unwrap();
            assert_ne!(now, before, "{placed}");
            before = now;
        }
    }
}
