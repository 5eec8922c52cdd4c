//! The key hierarchy: one root key, and what is derived from it.
//!
//! HKDF-SHA256 (RFC 5869) with the home id as salt and one label for each purpose.

use hearthkey_core::id::{EnvironmentName, HomeId};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

/// The root key of a home: 32 random bytes that exist in memory only while it is unsealed.
pub struct RootKey(Zeroizing<[u8; 32]>);

/// A key with one purpose.
pub struct DerivedKey(Zeroizing<[u8; 32]>);

impl RootKey {
    /// The root key made of these bytes.
    pub fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// A new root key.
    pub fn generate() -> Self {
        Self(random())
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn derive(&self, home: &HomeId, label: &str) -> DerivedKey {
        let mut key = Zeroizing::new([0; 32]);
        // 32 bytes are far below the limit of HKDF, the only way in which this could fail.
        let expanded = Hkdf::<Sha256>::new(Some(home.as_str().as_bytes()), self.0.as_slice())
            .expand(label.as_bytes(), key.as_mut_slice());
        debug_assert!(expanded.is_ok());
        DerivedKey(key)
    }

    /// The key of the database file.
    pub fn database(&self, home: &HomeId) -> DerivedKey {
        self.derive(home, "hearthkey/sqlcipher/v1")
    }

    /// The key-encryption key of an epoch.
    pub fn key_encryption(&self, home: &HomeId, epoch: u32) -> DerivedKey {
        self.derive(home, &format!("hearthkey/kek/{epoch}"))
    }

    /// The key-encryption key of an environment's epoch.
    pub fn key_encryption_in(
        &self,
        home: &HomeId,
        environment: &EnvironmentName,
        epoch: u32,
    ) -> DerivedKey {
        self.derive(home, &format!("hearthkey/kek/{environment}/{epoch}"))
    }

    /// The key of the fingerprints by which equal values are found.
    pub fn fingerprint(&self, home: &HomeId) -> DerivedKey {
        self.derive(home, "hearthkey/fingerprint/v1")
    }

    /// The key of the home's own identity, by which a running home opens its backups.
    pub(crate) fn backup_identity(&self, home: &HomeId) -> DerivedKey {
        self.derive(home, "hearthkey/backup/home/v1")
    }

    /// The key by which the home seals what its backups say of themselves.
    pub(crate) fn backup_seal(&self, home: &HomeId) -> DerivedKey {
        self.derive(home, "hearthkey/backup/seal/v1")
    }

    /// The key that authenticates the recovery kit's recipient beside its slot.
    pub(crate) fn kit(&self, home: &HomeId) -> DerivedKey {
        self.derive(home, "hearthkey/kit/v1")
    }

    /// The key that authenticates the revocation journal.
    pub fn journal(&self, home: &HomeId) -> DerivedKey {
        self.derive(home, "hearthkey/journal/v1")
    }
}

impl DerivedKey {
    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Random bytes from the operating system's generator.
pub fn random<const N: usize>() -> Zeroizing<[u8; N]> {
    let mut bytes = Zeroizing::new([0; N]);
    // aws-lc aborts the process rather than return without entropy.
    let filled = aws_lc_rs::rand::fill(bytes.as_mut_slice());
    assert!(filled.is_ok(), "the system's random generator failed");
    bytes
}
