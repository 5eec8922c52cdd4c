//! Which public keys the home accepts, and what the rules need to know of one.

use serde::{Deserialize, Serialize};

use crate::id::Fingerprint;

/// A key type that a certificate may carry. Ed25519 and P-521 are refused: common device
/// stacks fail on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyType {
    /// ECDSA on NIST P-256 (FIPS 186-5).
    P256,
    /// ECDSA on NIST P-384.
    P384,
    /// RSA with a modulus of at least 2048 bits.
    Rsa2048,
}

impl KeyType {
    /// The name used in profiles and audit records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::P256 => "p256",
            Self::P384 => "p384",
            Self::Rsa2048 => "rsa2048",
        }
    }
}

/// The one thing that is taken from a CSR: its public key, after possession has been proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenKey {
    /// What kind of key it is.
    pub key_type: KeyType,
    /// DER of the SubjectPublicKeyInfo (RFC 5280 §4.1.2.7).
    pub spki: Vec<u8>,
    /// SHA-256 of `spki`.
    pub fingerprint: Fingerprint,
}

impl ProvenKey {
    /// For the PKI alone, after it has verified the CSR's signature.
    pub fn proven(key_type: KeyType, spki: Vec<u8>) -> Self {
        Self {
            key_type,
            fingerprint: Fingerprint::of(&spki),
            spki,
        }
    }
}

/// Why a CSR was refused before any rule looked at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CsrRefusal {
    /// Longer than 16 KiB.
    #[error("the request is larger than 16 KiB")]
    TooLarge,
    /// Not one PKCS#10 structure (RFC 2986), or followed by other bytes.
    #[error("the request is not a PKCS#10 certificate signing request in PEM")]
    Malformed,
    /// The CSR is not signed by the key that it carries.
    #[error("the signature in the CSR does not verify with the key it carries")]
    SignatureInvalid,
    /// A key type or size that no profile can allow.
    #[error("the key is not P-256, P-384 or RSA of 2048 bits or more")]
    KeyUnsupported,
}
