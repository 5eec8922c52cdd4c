//! What a certificate is made with, as far as its strength depends on it: of any certificate, not only of ours.

use hearthkey_core::posture::strength::{Algorithms, Digest, PublicKey};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::{
    OID_MD5_WITH_RSA, OID_PKCS1_MD5WITHRSAENC, OID_PKCS1_SHA1WITHRSA, OID_PKCS1_SHA256WITHRSA,
    OID_PKCS1_SHA384WITHRSA, OID_PKCS1_SHA512WITHRSA, OID_SHA1_WITH_RSA, OID_SIG_ECDSA_WITH_SHA256,
    OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ECDSA_WITH_SHA512, Oid,
};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey as Parsed;

/// The curves whose field sizes are known: 256, 384 and 521 bits.
const CURVES: [(u32, usize); 3] = [(256, 65), (384, 97), (521, 133)];

/// What the certificate in this DER is made with; nothing if it is none.
pub fn algorithms(der: &[u8]) -> Option<Algorithms> {
    let (_, x509) = X509Certificate::from_der(der).ok()?;
    let key = match x509.public_key().parsed().ok()? {
        Parsed::RSA(rsa) => PublicKey::Rsa(modulus_bits(rsa.modulus)),
        Parsed::EC(point) => PublicKey::Ec(curve_bits(point.data())),
        _ => PublicKey::Other,
    };
    let digest = digest(&x509.signature_algorithm.algorithm);
    Some(Algorithms { key, digest })
}

/// The keys of all certificates in this PEM.
pub fn keys_in_pem(pem: &str) -> Vec<PublicKey> {
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes()).flatten();
    certificates
        .filter_map(|der| algorithms(&der))
        .map(|algorithms| algorithms.key)
        .collect()
}

fn modulus_bits(modulus: &[u8]) -> u32 {
    let significant = modulus.iter().position(|byte| *byte != 0);
    let bytes = &modulus[significant.unwrap_or(modulus.len())..];
    let leading = bytes.first().map_or(0, |byte| byte.leading_zeros());
    u32::try_from(bytes.len() * 8).unwrap_or(u32::MAX) - leading
}

fn curve_bits(point: &[u8]) -> u32 {
    let known = CURVES.iter().find(|(_, bytes)| *bytes == point.len());
    // Two coordinates after a leading byte.
    let coordinate = point.len().saturating_sub(1) / 2 * 8;
    known.map_or(
        u32::try_from(coordinate).unwrap_or(u32::MAX),
        |(bits, _)| *bits,
    )
}

fn digest(signature: &Oid<'_>) -> Digest {
    let sound = [
        OID_SIG_ECDSA_WITH_SHA256,
        OID_SIG_ECDSA_WITH_SHA384,
        OID_SIG_ECDSA_WITH_SHA512,
        OID_PKCS1_SHA256WITHRSA,
        OID_PKCS1_SHA384WITHRSA,
        OID_PKCS1_SHA512WITHRSA,
    ];
    let broken = [
        OID_PKCS1_SHA1WITHRSA,
        OID_SHA1_WITH_RSA,
        OID_PKCS1_MD5WITHRSAENC,
        OID_MD5_WITH_RSA,
    ];
    match signature {
        known if sound.contains(known) => Digest::Sound,
        known if broken.contains(known) => Digest::Broken,
        _ => Digest::Other,
    }
}
