//! An RSA key for a server certificate: for devices whose TLS supports no other. CAs and devices' certificates of this home
//! never rest on it.

use std::fmt;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use rcgen::{PKCS_RSA_SHA256, PublicKeyData, SignatureAlgorithm};
use zeroize::Zeroizing;

use crate::key::KeyError;

const MODULUS_BYTES: usize = 256;

/// An RSA private key of 2048 bits (FIPS 186-5). It shows its content to nobody but [`RsaKey::to_pkcs8`]; TLS signs with
/// it, in aws-lc, and nothing else does.
pub struct RsaKey {
    /// RSAPublicKey in DER (RFC 8017 §A.1.1).
    public: Vec<u8>,
    pkcs8: Zeroizing<Vec<u8>>,
}

/// A server certificate with an RSA key.
#[derive(Debug)]
pub struct RsaLeaf {
    /// The certificate in DER.
    pub der: Vec<u8>,
    /// Its key.
    pub key: RsaKey,
}

impl RsaKey {
    /// Makes a new key. It takes a while: a tenth of a second, or a second on a small board.
    pub fn generate() -> Result<Self, KeyError> {
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| KeyError::Generate)?;
        let pkcs8 = pair.as_der().map_err(|_| KeyError::Generate)?;
        Self::from_pkcs8(pkcs8.as_ref())
    }

    /// Reads a key from PKCS#8 (RFC 5958) in DER.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let pair = KeyPair::from_pkcs8(pkcs8).map_err(|_| KeyError::NotRsa2048)?;
        if pair.public_modulus_len() != MODULUS_BYTES {
            return Err(KeyError::NotRsa2048);
        }
        Ok(Self {
            public: pair.public_key().as_ref().to_vec(),
            pkcs8: Zeroizing::new(pkcs8.to_vec()),
        })
    }

    /// The key as PKCS#8 in DER: for the vault.
    pub fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        self.pkcs8.clone()
    }

    /// The key's PKCS#8, without a copy.
    pub(crate) fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }
}

impl fmt::Debug for RsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RsaKey").finish_non_exhaustive()
    }
}

impl PublicKeyData for RsaKey {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_RSA_SHA256
    }
}
