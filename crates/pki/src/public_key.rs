//! Which public keys are accepted, in a CSR and at the listener.

use hearthkey_core::key::KeyType;
use rcgen::{
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, PublicKeyData,
    SignatureAlgorithm,
};
use rustls_pki_types::{AlgorithmIdentifier, alg_id};

use crate::der::{Element, SEQUENCE};

/// An uncompressed point (SEC 1 §2.3.3): a leading 4 and two coordinates.
const P256_POINT_BYTES: usize = 65;
const P384_POINT_BYTES: usize = 97;
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

/// A public key whose SubjectPublicKeyInfo (RFC 5280 §4.1.2.7) is in its one canonical form.
pub(crate) struct PublicKey<'a> {
    pub key_type: KeyType,
    /// The content of the BIT STRING: the point, or RSAPublicKey (RFC 8017 §A.1.1).
    pub bits: &'a [u8],
}

/// Why a SubjectPublicKeyInfo was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyRefusal {
    /// Not a SubjectPublicKeyInfo in DER.
    Malformed,
    /// Of a type or size that nothing here accepts.
    Unsupported,
}

impl<'a> PublicKey<'a> {
    /// Reads a SubjectPublicKeyInfo. Whether a point lies on its curve shows when a signature
    /// is verified with it.
    pub fn read(spki: &'a [u8]) -> Result<Self, KeyRefusal> {
        let (algorithm, bits) = split(spki).ok_or(KeyRefusal::Malformed)?;
        let is = |id: AlgorithmIdentifier| algorithm == id.as_ref();
        let key_type = if is(alg_id::ECDSA_P256) {
            uncompressed(bits, P256_POINT_BYTES)?;
            KeyType::P256
        } else if is(alg_id::ECDSA_P384) {
            uncompressed(bits, P384_POINT_BYTES)?;
            KeyType::P384
        } else if is(alg_id::RSA_ENCRYPTION) {
            let modulus_bits = rsa_modulus_bits(bits).ok_or(KeyRefusal::Malformed)?;
            if !RSA_BITS.contains(&modulus_bits) {
                return Err(KeyRefusal::Unsupported);
            }
            KeyType::Rsa2048
        } else {
            return Err(KeyRefusal::Unsupported);
        };
        let key = Self { key_type, bits };
        if key.subject_public_key_info() != spki {
            return Err(KeyRefusal::Malformed);
        }
        Ok(key)
    }

    /// The AlgorithmIdentifier of the key.
    pub fn algorithm_id(&self) -> AlgorithmIdentifier {
        match self.key_type {
            KeyType::P256 => alg_id::ECDSA_P256,
            KeyType::P384 => alg_id::ECDSA_P384,
            KeyType::Rsa2048 => alg_id::RSA_ENCRYPTION,
        }
    }
}

impl PublicKeyData for PublicKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.bits
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match self.key_type {
            KeyType::P256 => &PKCS_ECDSA_P256_SHA256,
            KeyType::P384 => &PKCS_ECDSA_P384_SHA384,
            KeyType::Rsa2048 => &PKCS_RSA_SHA256,
        }
    }
}

fn split(spki: &[u8]) -> Option<(&[u8], &[u8])> {
    let [algorithm, key] = Element::only(spki, SEQUENCE)?.sequence_of()?;
    Some((algorithm.expect(SEQUENCE)?.content, key.bits()?))
}

fn uncompressed(point: &[u8], bytes: usize) -> Result<(), KeyRefusal> {
    match point {
        [4, ..] if point.len() == bytes => Ok(()),
        [2 | 3, ..] => Err(KeyRefusal::Unsupported),
        _ => Err(KeyRefusal::Malformed),
    }
}

fn rsa_modulus_bits(key: &[u8]) -> Option<usize> {
    let [modulus, exponent] = Element::only(key, SEQUENCE)?.sequence_of()?;
    exponent.positive_integer()?;
    let modulus = modulus.positive_integer()?;
    let leading = modulus.first()?.leading_zeros() as usize;
    Some(modulus.len() * 8 - leading)
}
