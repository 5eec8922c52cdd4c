//! The device's own key: made here, kept here, wiped from memory when dropped.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, DistinguishedName, DnType, PublicKeyData as _};
use rustls::sign::SigningKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::sync::Arc;
use zeroize::{Zeroize as _, Zeroizing};

/// A P-256 private key. `Debug` shows nothing of it.
pub(crate) struct DeviceKey {
    pkcs8: Zeroizing<Vec<u8>>,
    pair: EcdsaKeyPair,
}

/// Why a key could not be made, read or used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The machine's random source or the crypto library failed.
    #[error("a new key could not be made")]
    NotMade,
    /// The key file is not a P-256 key in PKCS#8 PEM.
    #[error("the key file does not hold a P-256 key in PKCS#8 PEM")]
    Unreadable,
    /// The certificate request could not be signed.
    #[error("the certificate request could not be signed")]
    NotSigned,
}

impl DeviceKey {
    /// A new key from the machine's random source.
    pub(crate) fn generate() -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)
            .map_err(|_| KeyError::NotMade)?;
        let document = pair.to_pkcs8v1().map_err(|_| KeyError::NotMade)?;
        Ok(Self {
            pkcs8: Zeroizing::new(document.as_ref().to_vec()),
            pair,
        })
    }

    /// Reads a key file.
    pub(crate) fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let mut der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| KeyError::Unreadable)?;
        let pkcs8 = Zeroizing::new(der.secret_pkcs8_der().to_vec());
        der.zeroize();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8)
            .map_err(|_| KeyError::Unreadable)?;
        Ok(Self { pkcs8, pair })
    }

    /// The key file's text.
    pub(crate) fn to_pem(&self) -> Zeroizing<String> {
        let body = Zeroizing::new(STANDARD.encode(self.pkcs8.as_slice()));
        let mut pem = Zeroizing::new(String::with_capacity(body.len() + 128));
        pem.push_str("-----BEGIN PRIVATE KEY-----\n");
        let mut rest = body.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(64));
            pem.push_str(line);
            pem.push('\n');
            rest = after;
        }
        pem.push_str("-----END PRIVATE KEY-----\n");
        pem
    }

    /// A PEM certificate request for a device id, signed by this key.
    pub(crate) fn request(&self, device: &str) -> Result<String, KeyError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, device);
        params
            .serialize_request(self)
            .and_then(|request| request.pem())
            .map_err(|_| KeyError::NotSigned)
    }

    /// The public half as SubjectPublicKeyInfo, in DER.
    pub(crate) fn public_key_der(&self) -> Vec<u8> {
        self.subject_public_key_info()
    }

    /// The key in the form that a TLS handshake signs with.
    pub(crate) fn for_tls(&self) -> Result<Arc<dyn SigningKey>, KeyError> {
        let mut der =
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pkcs8.as_slice().to_vec()));
        let signing =
            rustls::crypto::aws_lc_rs::sign::any_ecdsa_type(&der).map_err(|_| KeyError::Unreadable);
        der.zeroize();
        signing
    }
}

impl rcgen::PublicKeyData for DeviceKey {
    fn der_bytes(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for DeviceKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.pair
            .sign(&SystemRandom::new(), message)
            .map(|signature| signature.as_ref().to_vec())
            .map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceKey([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_file() {
        let key = DeviceKey::generate().unwrap();
        let again = DeviceKey::from_pem(key.to_pem().as_bytes()).unwrap();
        assert_eq!(again.public_key_der(), key.public_key_der());
        assert_eq!(again.to_pem(), key.to_pem());
    }

    #[test]
    fn a_request_names_the_device_and_carries_the_key() {
        let key = DeviceKey::generate().unwrap();
        let pem = key.request("lamp-1").unwrap();
        let request = rcgen::CertificateSigningRequestParams::from_pem(&pem).unwrap();
        assert_eq!(
            request.public_key.subject_public_key_info(),
            key.public_key_der()
        );
        let name = request
            .params
            .distinguished_name
            .get(&DnType::CommonName)
            .unwrap();
        assert_eq!(*name, rcgen::DnValue::Utf8String("lamp-1".to_owned()));
    }

    #[test]
    fn a_key_shows_nothing_of_itself() {
        let key = DeviceKey::generate().unwrap();
        assert_eq!(format!("{key:?}"), "DeviceKey([redacted])");
    }

    #[test]
    fn what_is_not_a_p256_key_is_refused() {
        assert_eq!(
            DeviceKey::from_pem(b"nonsense").err(),
            Some(KeyError::Unreadable)
        );
    }
}
