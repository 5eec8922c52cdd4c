//! Secrets at rest: each under a data key of its own, which a key-encryption key wraps.
//!
//! AES-256-GCM (NIST SP 800-38D) with a random nonce. The associated data names the row, so that
//! a value moved to another row, version or epoch does not open.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use hearthkey_core::credential::CredentialId;
use hearthkey_core::id::{EnvironmentName, Fingerprint, HomeId};
use hearthkey_core::secret::{InvalidValue, Secret};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::keys::{DerivedKey, RootKey, random};

const NONCE_BYTES: usize = 12;

/// What a secret is: its row's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretName<'a> {
    /// The kind: `ca`, `server`, `log`, …
    pub kind: &'a str,
    /// Its name within the kind.
    pub name: &'a str,
    /// Its version, from 1.
    pub version: u32,
}

impl SecretName<'_> {
    fn does_not_open(self) -> UnsealError {
        UnsealError {
            kind: self.kind.into(),
            name: self.name.into(),
        }
    }
}

/// The row of one version of a credential's value, or of a lease's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialPlace {
    kind: &'static str,
    environment: EnvironmentName,
    name: String,
    version: u32,
}

impl CredentialPlace {
    /// Where a version of a credential lies.
    pub fn of(credential: &CredentialId, version: u32) -> Self {
        Self {
            kind: "credential",
            environment: credential.environment.clone(),
            name: credential.to_string(),
            version,
        }
    }

    /// Where the child that was minted for a lease lies.
    pub fn of_lease(environment: &EnvironmentName, lease: &str) -> Self {
        Self {
            kind: "lease",
            environment: environment.clone(),
            name: format!("{environment}/{lease}"),
            version: 1,
        }
    }

    /// The place behind a row's name, if it is one.
    pub(crate) fn of_row(kind: &str, name: String, version: u32) -> Option<Self> {
        let kind = match kind {
            "credential" => "credential",
            "lease" => "lease",
            _ => return None,
        };
        let environment = name.split('/').next()?.parse().ok()?;
        Some(Self {
            kind,
            environment,
            name,
            version,
        })
    }

    /// The row's name.
    pub fn row(&self) -> SecretName<'_> {
        SecretName {
            kind: self.kind,
            name: &self.name,
            version: self.version,
        }
    }
}

/// A secret as it lies in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSecret {
    /// The epoch of the key-encryption key.
    pub epoch: u32,
    /// The data key, wrapped: nonce and ciphertext.
    pub wrapped: Vec<u8>,
    /// The value, encrypted with the data key: nonce and ciphertext.
    pub sealed: Vec<u8>,
}

/// A secret that does not open: moved, altered, or from another home.
#[derive(Debug, thiserror::Error)]
#[error("the secret {kind}/{name} does not open: it was moved or altered; restore a backup")]
pub struct UnsealError {
    kind: String,
    name: String,
}

fn associated_data(name: SecretName<'_>, epoch: u32) -> Vec<u8> {
    format!("hk1|{}|{}|{}|{epoch}", name.kind, name.name, name.version).into_bytes()
}

fn encrypt(key: &[u8; 32], aad: &[u8], msg: &[u8]) -> Vec<u8> {
    let nonce = random::<NONCE_BYTES>();
    let sealed = Aes256Gcm::new(key.into())
        .encrypt(Nonce::from_slice(nonce.as_slice()), Payload { msg, aad })
        // Fails only for messages beyond 64 GiB.
        .unwrap_or_default();
    [nonce.as_slice(), &sealed].concat()
}

fn decrypt(key: &[u8; 32], aad: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, msg) = sealed.split_at_checked(NONCE_BYTES)?;
    let cipher = Aes256Gcm::new(key.into());
    cipher
        .decrypt(Nonce::from_slice(nonce), Payload { msg, aad })
        .ok()
        .map(Zeroizing::new)
}

/// The keys that open a home's secrets.
pub struct Vault {
    home: HomeId,
    root: RootKey,
}

impl Vault {
    pub(crate) fn new(home: HomeId, root: RootKey) -> Self {
        Self { home, root }
    }

    /// The home whose secrets they are.
    pub fn home(&self) -> &HomeId {
        &self.home
    }

    pub(crate) fn root(&self) -> &RootKey {
        &self.root
    }

    fn kek(&self, epoch: u32) -> DerivedKey {
        self.root.key_encryption(&self.home, epoch)
    }

    /// Encrypts a value for its row.
    pub fn seal(&self, name: SecretName<'_>, value: &[u8]) -> SealedSecret {
        seal_under(&self.kek(1), 1, name, value)
    }

    /// Encrypts a credential's value for its row, under an epoch of its environment.
    pub fn seal_credential(
        &self,
        place: &CredentialPlace,
        epoch: u32,
        value: &Secret,
    ) -> SealedSecret {
        let kek = self
            .root
            .key_encryption_in(&self.home, &place.environment, epoch);
        seal_under(&kek, epoch, place.row(), value.expose())
    }

    /// Decrypts a credential's value.
    pub fn open_credential(
        &self,
        place: &CredentialPlace,
        secret: &SealedSecret,
    ) -> Result<Secret, UnsealError> {
        let kek = self
            .root
            .key_encryption_in(&self.home, &place.environment, secret.epoch);
        let value = open_under(&kek, place.row(), secret)?;
        Secret::new(value).map_err(|_: InvalidValue| place.row().does_not_open())
    }

    /// A value's fingerprint: HMAC-SHA256 (RFC 2104) under a key of this home. Equal values have
    /// equal ones, and without the key nobody can try values out.
    pub fn fingerprint(&self, value: &Secret) -> Fingerprint {
        let key = self.root.fingerprint(&self.home);
        // HMAC takes keys of any length.
        let Ok(mut mac) = <Hmac<Sha256> as Mac>::new_from_slice(key.bytes()) else {
            return Fingerprint::of(&[]);
        };
        mac.update(value.expose());
        Fingerprint(mac.finalize().into_bytes().into())
    }

    /// Decrypts the value of a row.
    pub fn open(
        &self,
        name: SecretName<'_>,
        secret: &SealedSecret,
    ) -> Result<Zeroizing<Vec<u8>>, UnsealError> {
        open_under(&self.kek(secret.epoch), name, secret)
    }
}

fn seal_under(kek: &DerivedKey, epoch: u32, name: SecretName<'_>, value: &[u8]) -> SealedSecret {
    let aad = associated_data(name, epoch);
    let data_key = random::<32>();
    SealedSecret {
        epoch,
        wrapped: encrypt(kek.bytes(), &aad, data_key.as_slice()),
        sealed: encrypt(&data_key, &aad, value),
    }
}

fn open_under(
    kek: &DerivedKey,
    name: SecretName<'_>,
    secret: &SealedSecret,
) -> Result<Zeroizing<Vec<u8>>, UnsealError> {
    let aad = associated_data(name, secret.epoch);
    decrypt(kek.bytes(), &aad, &secret.wrapped)
        .and_then(|key| {
            <[u8; 32]>::try_from(key.as_slice())
                .ok()
                .map(Zeroizing::new)
        })
        .and_then(|key| decrypt(&key, &aad, &secret.sealed))
        .ok_or_else(|| name.does_not_open())
}

/// Wraps the root key for a slot.
pub(crate) fn wrap(key: &[u8; 32], aad: &[u8], value: &[u8; 32]) -> Vec<u8> {
    encrypt(key, aad, value)
}

/// Opens what [`wrap`] made.
pub(crate) fn unwrap(key: &[u8; 32], aad: &[u8], wrapped: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let value = decrypt(key, aad, wrapped)?;
    <[u8; 32]>::try_from(value.as_slice())
        .ok()
        .map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault() -> Vault {
        Vault::new("home-1".parse().unwrap(), RootKey::generate())
    }

    const NAME: SecretName<'static> = SecretName {
        kind: "ca",
        name: "root",
        version: 1,
    };

    #[test]
    fn a_secret_opens_in_its_own_row_and_in_no_other() {
        let vault = vault();
        let sealed = vault.seal(NAME, b"value");
        assert_eq!(vault.open(NAME, &sealed).unwrap().as_slice(), b"value");
        for moved in [
            SecretName { version: 2, ..NAME },
            SecretName {
                name: "other",
                ..NAME
            },
            SecretName {
                kind: "log",
                ..NAME
            },
        ] {
            assert!(vault.open(moved, &sealed).is_err());
        }
        let epoch = SealedSecret { epoch: 2, ..sealed };
        assert!(vault.open(NAME, &epoch).is_err());
    }

    #[test]
    fn an_altered_or_foreign_secret_does_not_open() {
        let vault = vault();
        let sealed = vault.seal(NAME, b"value");
        assert!(self::vault().open(NAME, &sealed).is_err());
        for cut in 0..sealed.sealed.len() {
            let short = SealedSecret {
                sealed: sealed.sealed[..cut].to_vec(),
                ..sealed.clone()
            };
            assert!(vault.open(NAME, &short).is_err());
            let mut flipped = sealed.clone();
            flipped.sealed[cut] ^= 1;
            assert!(vault.open(NAME, &flipped).is_err());
        }
    }
}
