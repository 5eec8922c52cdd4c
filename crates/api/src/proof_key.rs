//! The key that a token is bound to, and the proofs that it signs (RFC 9449).

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::clock::machine_time_s;

/// The private key is not one that can sign proofs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key is not a P-256 private key in PKCS#8 PEM. Create the token again with --out")]
pub struct InvalidKey;

/// A P-256 private key. It is made by the service that uses the token, and never leaves it.
pub struct ProofKey {
    pair: EcdsaKeyPair,
    pkcs8: Zeroizing<Vec<u8>>,
}

/// DER before the point of an uncompressed P-256 key in SubjectPublicKeyInfo (RFC 5480).
const SPKI_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

#[derive(Serialize)]
struct Header<'a> {
    typ: &'a str,
    alg: &'a str,
    jwk: Jwk<'a>,
}

#[derive(Serialize)]
struct Jwk<'a> {
    kty: &'a str,
    crv: &'a str,
    x: String,
    y: String,
}

#[derive(Serialize)]
struct Claims<'a> {
    jti: String,
    htm: &'a str,
    htu: &'a str,
    iat: u64,
    ath: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
}

fn pem(label: &str, der: &[u8]) -> String {
    let base64 = Zeroizing::new(STANDARD.encode(der));
    let mut text = format!("-----BEGIN {label}-----\n");
    for (n, character) in base64.chars().enumerate() {
        if n > 0 && n % 64 == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text.push_str(&format!("\n-----END {label}-----\n"));
    text
}

fn part(value: &impl Serialize) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(value).unwrap_or_default())
}

impl ProofKey {
    /// Makes a new key.
    pub fn generate() -> Result<Self, InvalidKey> {
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
                .map_err(|_| InvalidKey)?;
        Self::from_pkcs8(document.as_ref())
    }

    fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, InvalidKey> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8)
            .map_err(|_| InvalidKey)?;
        let pkcs8 = Zeroizing::new(pkcs8.to_vec());
        Ok(Self { pair, pkcs8 })
    }

    /// Reads a key in PKCS#8 PEM.
    pub fn from_pem(text: &str) -> Result<Self, InvalidKey> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).map_err(|_| InvalidKey)?;
        Self::from_pkcs8(der.secret_pkcs8_der())
    }

    /// The private key, in PKCS#8 PEM.
    pub fn to_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(pem("PRIVATE KEY", &self.pkcs8))
    }

    /// The public key, in PEM.
    pub fn public_pem(&self) -> String {
        let point = self.pair.public_key().as_ref();
        pem("PUBLIC KEY", &[&SPKI_HEAD, point].concat())
    }

    /// A proof for one request with a token.
    pub fn prove(
        &self,
        method: &str,
        url: &str,
        token: &str,
        nonce: Option<&str>,
    ) -> Result<String, InvalidKey> {
        let random = SystemRandom::new();
        let mut id = [0; 16];
        random.fill(&mut id).map_err(|_| InvalidKey)?;
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        // Behind the byte that says "uncompressed", both coordinates have 32 bytes.
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        let header = Header {
            typ: "dpop+jwt",
            alg: "ES256",
            jwk: Jwk {
                kty: "EC",
                crv: "P-256",
                x: encode(x),
                y: encode(y),
            },
        };
        let claims = Claims {
            jti: encode(&id),
            htm: method,
            htu: url.split(['?', '#']).next().unwrap_or_default(),
            iat: machine_time_s(),
            ath: encode(digest(&SHA256, token.as_bytes()).as_ref()),
            nonce,
        };
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = self.pair.sign(&random, signed.as_bytes());
        let signature = signature.map_err(|_| InvalidKey)?;
        Ok(format!("{signed}.{}", encode(signature.as_ref())))
    }
}

impl fmt::Debug for ProofKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProofKey(…)")
    }
}
