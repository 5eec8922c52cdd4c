//! Proofs of possession as they are sent (RFC 9449 §4): bytes in, a proven key and what it says out.
//!
//! A proof is a JWT of one fixed kind, so it is read by hand and strictly, not by a library that
//! knows many: one algorithm, one key type, the members that the RFC asks for, each once.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hearthkey_core::id::Fingerprint;
use hearthkey_core::proof::{JTI_MAX_BYTES, KeyId, Proof};
use hearthkey_core::time::Timestamp;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

/// The longest proof that is read, in bytes.
pub const PROOF_MAX_BYTES: usize = 4096;

/// Why some bytes prove nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// More than 4 KiB.
    #[error("the proof is longer than 4 KiB")]
    TooLong,
    /// Not three parts in base64url, or not the JSON they must hold.
    #[error("the proof is not a JWT: its {0} cannot be read")]
    Malformed(&'static str),
    /// Another kind of JWT, another algorithm or another kind of key.
    #[error("the proof's {0} is not the one that is asked for")]
    Kind(&'static str),
    /// The signature is not that of the key in the header.
    #[error("the proof's signature is wrong")]
    Signature,
}

/// The header. An unknown member could be one that must be understood, so there may be none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    typ: String,
    alg: String,
    jwk: Jwk,
}

/// A public P-256 key (RFC 7518 §6.2.1). With `d` it would be a private one, and is refused like
/// every other member that is not here.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Jwk {
    kty: String,
    crv: String,
    x: String,
    y: String,
    #[serde(default, rename = "kid")]
    _id: Option<String>,
    #[serde(default, rename = "use")]
    _usage: Option<String>,
    #[serde(default, rename = "alg")]
    _algorithm: Option<String>,
    #[serde(default, rename = "key_ops")]
    _operations: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Claims {
    jti: String,
    htm: String,
    htu: String,
    iat: i64,
    ath: Option<String>,
    nonce: Option<String>,
}

fn json<T: DeserializeOwned>(part: &str, what: &'static str) -> Result<T, ProofError> {
    let bytes = URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| ProofError::Malformed(what))?;
    serde_json::from_slice(&bytes).map_err(|_| ProofError::Malformed(what))
}

fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

/// Reads a proof and verifies its signature with the key that it names.
pub fn read_proof(text: &str) -> Result<Proof, ProofError> {
    if text.len() > PROOF_MAX_BYTES {
        return Err(ProofError::TooLong);
    }
    let mut parts = text.split('.');
    let (Some(header), Some(claims), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(ProofError::Malformed("form"));
    };
    let signed = &text[..header.len() + 1 + claims.len()];
    let header: Header = json(header, "header")?;
    let claims: Claims = json(claims, "payload")?;
    let signature: [u8; 64] = bytes(signature).ok_or(ProofError::Malformed("signature"))?;
    if header.typ != "dpop+jwt" {
        return Err(ProofError::Kind("typ"));
    }
    if header.alg != "ES256" {
        return Err(ProofError::Kind("alg"));
    }
    if header.jwk.kty != "EC" || header.jwk.crv != "P-256" {
        return Err(ProofError::Kind("jwk"));
    }
    let coordinate = |text: &str| bytes::<32>(text).ok_or(ProofError::Malformed("jwk"));
    let (x, y) = (coordinate(&header.jwk.x)?, coordinate(&header.jwk.y)?);
    let point = [&[4][..], &x, &y].concat();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point)
        .verify(signed.as_bytes(), &signature)
        .map_err(|_| ProofError::Signature)?;
    if !(1..=JTI_MAX_BYTES).contains(&claims.jti.len()) {
        return Err(ProofError::Malformed("jti"));
    }
    let token = match claims.ath {
        None => None,
        Some(ath) => Some(Fingerprint(
            bytes(&ath).ok_or(ProofError::Malformed("ath"))?,
        )),
    };
    Ok(Proof {
        key: KeyId::of_p256(&x, &y),
        id: claims.jti,
        method: claims.htm,
        url: claims.htu,
        issued_at: Timestamp::from_s(claims.iat),
        token,
        nonce: claims.nonce,
    })
}

/// DER before the point of an uncompressed P-256 key in SubjectPublicKeyInfo (RFC 5480).
const P256_SPKI_HEAD: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];

/// The id of a P-256 public key in PEM, as openssl writes it; none for anything else.
pub fn key_id_of_pem(pem: &str) -> Option<KeyId> {
    let body = pem
        .trim()
        .strip_prefix("-----BEGIN PUBLIC KEY-----")?
        .strip_suffix("-----END PUBLIC KEY-----")?;
    let base64: String = body.split_ascii_whitespace().collect();
    let der = STANDARD.decode(base64).ok()?;
    let point = der.strip_prefix(&P256_SPKI_HEAD)?;
    let (x, y) = point.split_at_checked(32)?;
    let (x, y): (&[u8; 32], &[u8; 32]) = (x.try_into().ok()?, y.try_into().ok()?);
    // A caller that cannot sign with it gets the error now.
    let uncompressed = [&[4][..], x, y].concat();
    aws_lc_rs::signature::ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &uncompressed).ok()?;
    Some(KeyId::of_p256(x, y))
}
