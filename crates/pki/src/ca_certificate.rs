//! The public part of a CA: what it is called, until when, and what it may sign.

use std::fmt;

use hearthkey_core::id::{EnvironmentName, Fingerprint};
use hearthkey_core::time::Timestamp;
use rustls_pki_types::{CertificateDer, TrustAnchor};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;

use crate::public_key::PublicKey;

/// Common names begin so; the root's continues with the home.
pub(crate) const ROOT_NAME: &str = "Hearthkey Root ";
pub(crate) const ISSUING_NAME: &str = "Hearthkey Issuing CA";
pub(crate) const SERVER_NAME: &str = "Hearthkey Server CA";

/// What a CA signs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CaRole {
    /// Issuing and server CAs, and nothing else.
    Root,
    /// The certificates of the devices of one environment.
    Issuing(EnvironmentName),
    /// The gateway's own server certificates.
    Server,
}

/// A CA certificate of this product, read and found to be one.
#[derive(Clone)]
pub struct CaCertificate {
    /// The certificate in DER.
    pub der: Vec<u8>,
    /// Its subject, for people: `O=…, OU=…, CN=…`.
    pub name: String,
    /// What it signs.
    pub role: CaRole,
    /// The first moment it is valid.
    pub not_before: Timestamp,
    /// The last moment it is valid.
    pub not_after: Timestamp,
    /// SHA-256 of its SubjectPublicKeyInfo: the pin in a claim code.
    pub spki_sha256: Fingerprint,
    /// Its SubjectKeyIdentifier (RFC 5280 §4.2.1.2), which leaves name as their authority.
    pub ski: Vec<u8>,
    pub(crate) home: String,
    pub(crate) public_key: Vec<u8>,
    pub(crate) anchor: TrustAnchor<'static>,
}

/// Why bytes are not a CA certificate of this product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CaRefusal {
    /// Not one certificate in DER.
    #[error("the CA certificate is not a certificate in DER")]
    Malformed,
    /// A certificate, but not a CA's.
    #[error("the certificate is not a CA's: it lacks the CA bit, a key identifier or a use")]
    NotACa,
    /// A CA's, but not one that this product made.
    #[error("the CA certificate was not made by Hearthkey: its name or key type is another")]
    Foreign,
}

impl CaCertificate {
    /// Reads a CA certificate. Its signature is not verified here: what is loaded is trusted
    /// because of where it was kept.
    pub fn from_der(der: &[u8]) -> Result<Self, CaRefusal> {
        let (rest, x509) = X509Certificate::from_der(der).map_err(|_| CaRefusal::Malformed)?;
        if !rest.is_empty() {
            return Err(CaRefusal::Malformed);
        }
        let anchor = webpki::anchor_from_trusted_cert(&CertificateDer::from(der))
            .map_err(|_| CaRefusal::Malformed)?
            .to_owned();
        let ski = ca_key_identifier(&x509).ok_or(CaRefusal::NotACa)?;
        let (role, home) = role_and_home(&x509).ok_or(CaRefusal::Foreign)?;
        let spki = x509.public_key().raw;
        let key = PublicKey::read(spki).map_err(|_| CaRefusal::Foreign)?;
        if key.key_type != hearthkey_core::key::KeyType::P256 {
            return Err(CaRefusal::Foreign);
        }
        Ok(Self {
            name: x509.subject().to_string(),
            role,
            not_before: Timestamp::from_s(x509.validity().not_before.timestamp()),
            not_after: Timestamp::from_s(x509.validity().not_after.timestamp()),
            spki_sha256: Fingerprint::of(spki),
            ski,
            home,
            public_key: key.bits.to_vec(),
            anchor,
            der: der.to_vec(),
        })
    }

    /// Whether this CA has signed a certificate: ECDSA over P-256 with SHA-256, as all its signatures, under its name
    /// (RFC 5280 §6.1.3). Neither the times nor the extensions of the certificate are judged.
    pub fn has_signed(&self, der: &[u8]) -> bool {
        let Ok((_, x509)) = X509Certificate::from_der(der) else {
            return false;
        };
        let algorithm = &aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1;
        let key = aws_lc_rs::signature::UnparsedPublicKey::new(algorithm, &self.public_key);
        let signed = x509.tbs_certificate.as_ref();
        let signature = &x509.signature_value.data;
        x509.issuer().to_string() == self.name && key.verify(signed, signature).is_ok()
    }

    /// The certificate in PEM.
    pub fn pem(&self) -> String {
        crate::pem_block::pem(&self.der)
    }

    /// SHA-256 of the DER.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.der)
    }
}

impl fmt::Debug for CaCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaCertificate")
            .field("name", &self.name)
            .field("not_after", &self.not_after)
            .field("spki_sha256", &self.spki_sha256)
            .finish_non_exhaustive()
    }
}

/// The key identifier of a certificate that is allowed to sign certificates and CRLs.
fn ca_key_identifier(x509: &X509Certificate<'_>) -> Option<Vec<u8>> {
    let constraints = x509.basic_constraints().ok()??.value;
    let usage = x509.key_usage().ok()??.value;
    if !constraints.ca || !usage.key_cert_sign() || !usage.crl_sign() {
        return None;
    }
    x509.extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        })
}

fn role_and_home(x509: &X509Certificate<'_>) -> Option<(CaRole, String)> {
    let subject = x509.subject();
    let common_name = subject.iter_common_name().next()?.as_str().ok()?;
    let home = subject.iter_organization().next()?.as_str().ok()?;
    let unit = subject.iter_organizational_unit().next();
    let role = match (common_name, unit) {
        (ISSUING_NAME, Some(unit)) => CaRole::Issuing(unit.as_str().ok()?.parse().ok()?),
        (SERVER_NAME, None) => CaRole::Server,
        (name, None) if name.strip_prefix(ROOT_NAME) == Some(home) => CaRole::Root,
        _ => return None,
    };
    Some((role, home.to_owned()))
}
