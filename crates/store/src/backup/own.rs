//! What a home does with its own backups: its keys, its copies, its kit.

use std::io;
use std::path::Path;

use hearthkey_core::id::HomeId;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::error::BackupError;
use super::recipient::{Identity, Recipient};
use super::unpack::{Unpacked, unpack};
use crate::connection::{self, Use};
use crate::files::{DATABASE_FILE, DataDir};
use crate::keys::{DerivedKey, RootKey};
use crate::open_error::OpenError;
use crate::registry::ReadError;
use crate::slots::Slots;
use crate::slots::kit::KitChecked;
use crate::store::{Opened, Store, locked};
use crate::vault::Vault;
use zeroize::Zeroizing;

fn seal(key: &DerivedKey, manifest: &[u8]) -> Hmac<Sha256> {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key.bytes())
        .unwrap_or_else(|_| unreachable!("HMAC takes keys of every length"));
    mac.update(manifest);
    mac
}

impl Vault {
    /// The home's seal over what a backup says of itself.
    pub(super) fn seal_of_backup(&self, manifest: &[u8]) -> [u8; 32] {
        let key = self.root().backup_seal(self.home());
        seal(&key, manifest).finalize().into_bytes().into()
    }
}

impl RootKey {
    /// Whether the home of this root key has sealed a manifest.
    pub(super) fn has_sealed_backup(&self, home: &HomeId, manifest: &[u8], by: &[u8]) -> bool {
        let key = self.backup_seal(home);
        seal(&key, manifest).verify_slice(by).is_ok()
    }

    fn again(&self) -> Self {
        Self::new(Zeroizing::new(*self.bytes()))
    }
}

impl Store {
    /// The home's own key to its backups.
    pub fn backup_identity(&self) -> Identity {
        let vault = self.vault();
        Identity::of_key(&vault.root().backup_identity(vault.home()))
    }

    /// What backups are encrypted for so that the recovery codes open them; none if that is not known yet.
    pub fn kit_recipients(&self) -> Result<Vec<Recipient>, BackupError> {
        let slots = Slots::read(self.dir.path())?;
        Ok(slots.kit_recipients(self.vault().root()))
    }

    /// Tries a recovery code, and keeps what backups are encrypted for if that was not known.
    pub fn check_kit(&self, code: &str) -> Result<KitChecked, BackupError> {
        // Held while the file is read and written: a change of the unlock methods at the same moment loses nothing.
        let mut known = locked(&self.unlocking);
        let mut slots = Slots::read(self.dir.path())?;
        let checked = slots.check_kit(self.vault().root(), code);
        if checked == KitChecked::FitsAnew {
            slots.write(&self.dir).map_err(BackupError::Home)?;
            *known = Some(slots);
        }
        Ok(checked)
    }

    /// Restores one of the home's own backups into an empty directory of its own and opens it, as a restored home is opened.
    pub fn open_backup(
        &self,
        file: impl io::Read,
        dir: &Path,
    ) -> Result<(Unpacked, Opened), BackupError> {
        let own = DataDir::open(dir).map_err(BackupError::Home)?;
        let root = self.vault().root();
        let unpacked = unpack(file, &self.backup_identity(), &own, |_| Ok(root.again()))?;
        let opened = open_unpacked(&own, &unpacked)?;
        Ok((unpacked, opened))
    }

    /// Makes the directory for a trial of a backup anew, empty and for its owner alone.
    pub fn trial_dir(&self) -> io::Result<std::path::PathBuf> {
        let path = self.dir.path().join(TRIAL_DIR);
        self.forget_trial()?;
        self.dir.make_dir(TRIAL_DIR)?;
        Ok(path)
    }

    /// Removes the directory for a trial of a backup, also one that a crash has left.
    pub fn forget_trial(&self) -> io::Result<()> {
        match std::fs::remove_dir_all(self.dir.path().join(TRIAL_DIR)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes what a backup that was killed has left in the data directory. Not while one is being made or verified.
    pub fn forget_backup_leftovers(&self) {
        self.forget_snapshot();
        if let Err(error) = self.forget_trial() {
            tracing::warn!(%error, "what a backup was restored to on trial could not be removed");
        }
    }

    /// Checks every page of the database, and that its tables and indexes agree. Takes as long as reading all of it.
    pub fn check_whole(&self) -> Result<(), OpenError> {
        self.still_its_own().map_err(ReadError)?;
        let path = self.dir.path().join(DATABASE_FILE);
        let connection = connection::open(&path, self.database_key(), Use::Read)?;
        match connection::damaged(&connection)? {
            0 => {}
            damaged => return Err(OpenError::Damaged(damaged)),
        }
        match connection::disagreement(&connection)? {
            None => Ok(()),
            Some(what) => Err(OpenError::Disagreeing(what)),
        }
    }
}

/// Opens the home that was unpacked into a directory.
pub fn open_unpacked(dir: &DataDir, unpacked: &Unpacked) -> Result<Opened, BackupError> {
    let root = unpacked.root.again();
    Ok(Store::open(dir.path(), root, &unpacked.manifest.home)?)
}

/// Where a backup is restored to on trial, below the data directory.
pub const TRIAL_DIR: &str = "backup.trial";
