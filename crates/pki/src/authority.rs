//! The authorities: a root, one issuing CA for each environment, one for server certificates.

use std::fmt;

use hearthkey_core::certificate::{BACKDATE, Certificate, IssuanceOrder};
use hearthkey_core::id::{EnvironmentName, Fingerprint, SerialNumber};
use hearthkey_core::time::{Span, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::ca_certificate::{
    CaCertificate, CaRefusal, CaRole, ISSUING_NAME, ROOT_NAME, SERVER_NAME,
};
use crate::key::{KeyError, SigningKey};
use crate::public_key::PublicKey;

/// How long a root lives: 20 years.
pub const ROOT_LIFETIME: Span = Span::days(7305);
/// How long every other CA lives: 5 years.
pub const CA_LIFETIME: Span = Span::days(1826);
/// The longest name of a home, in bytes, so that the root's common name fits the 64 characters
/// that X.520 allows and the largest leaf its 800 bytes.
pub const HOME_BYTES_MAX: usize = 49;
/// The most names of one server certificate; it has to fit small devices.
pub const NAMES_MAX: usize = 16;

/// A CA and its key.
pub struct CertificateAuthority {
    certificate: CaCertificate,
    issuer: Issuer<'static, SigningKey>,
}

/// A leaf that was just signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate in DER.
    pub der: Vec<u8>,
    /// The registry's entry for it.
    pub certificate: Certificate,
}

/// Why a certificate was not issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The order belongs to another environment's CA.
    #[error(
        "the certificate is ordered for environment {ordered}, and this CA issues for {own} only"
    )]
    OtherEnvironment {
        /// The order's environment.
        ordered: EnvironmentName,
        /// The CA's.
        own: EnvironmentName,
    },
    /// This CA does not sign that kind of certificate.
    #[error("{name} does not sign {what}")]
    NotItsRole {
        /// The CA.
        name: String,
        /// What it was asked to sign.
        what: &'static str,
    },
    /// The certificate would be valid when the CA is not.
    #[error(
        "the certificate would end at {ends}, after {name}, which ends at {ca_ends}: renew the CA first"
    )]
    OutlivesItsCa {
        /// The CA.
        name: String,
        /// The certificate's end.
        ends: Timestamp,
        /// The CA's end.
        ca_ends: Timestamp,
    },
    /// Not a name that certificates can carry.
    #[error(
        "the home's name must be 1 to {HOME_BYTES_MAX} bytes of text without control characters"
    )]
    HomeName,
    /// A server certificate for nobody, or for too many.
    #[error("a server certificate needs 1 to {NAMES_MAX} names")]
    ServerNames,
    /// The public key is not one that a CSR could have proven.
    #[error("the public key to certify is not P-256, P-384 or RSA in its canonical form")]
    PublicKey,
    /// No key for a new CA.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The certificate could not be encoded or signed.
    #[error("the certificate could not be encoded or signed")]
    Encoding(#[from] rcgen::Error),
    /// A time that no certificate can hold.
    #[error("a certificate cannot hold the time {0}")]
    Time(Timestamp),
    /// The CA certificate just made is not one. A defect in this program.
    #[error("the new CA certificate was refused")]
    Ca(#[from] CaRefusal),
}

/// Why an authority could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Not a certificate of a CA of this product.
    #[error(transparent)]
    Certificate(#[from] CaRefusal),
    /// Not a private key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// They do not belong together.
    #[error("the private key does not belong to the CA certificate")]
    OtherKey,
    /// The CA certificate cannot be used to issue.
    #[error("the CA certificate cannot be used to issue")]
    Issuer(#[from] rcgen::Error),
}

impl CertificateAuthority {
    /// Makes a home's root: P-256, 20 years, path length 1.
    pub fn new_root(home: &str, serial: SerialNumber, now: Timestamp) -> Result<Self, IssueError> {
        if home.is_empty() || home.len() > HOME_BYTES_MAX || home.chars().any(char::is_control) {
            return Err(IssueError::HomeName);
        }
        let name = subject(home, None, &format!("{ROOT_NAME}{home}"));
        let params = ca_params(name, 1, serial, now, now.after(ROOT_LIFETIME))?;
        let key = SigningKey::generate()?;
        let der = params.self_signed(&key)?.der().to_vec();
        Self::assemble(CaCertificate::from_der(&der)?, key).map_err(IssueError::Encoding)
    }

    /// Makes the issuing CA of an environment, under this root: 5 years or until the root ends, path length 0.
    pub fn new_issuing(
        &self,
        environment: &EnvironmentName,
        serial: SerialNumber,
        now: Timestamp,
    ) -> Result<Self, IssueError> {
        let unit = Some(environment.as_str());
        self.new_ca(
            subject(&self.certificate.home, unit, ISSUING_NAME),
            serial,
            now,
        )
    }

    /// Makes the CA of the gateway's server certificates, under this root: 5 years or until the root ends, path
    /// length 0.
    pub fn new_server_ca(&self, serial: SerialNumber, now: Timestamp) -> Result<Self, IssueError> {
        self.new_ca(
            subject(&self.certificate.home, None, SERVER_NAME),
            serial,
            now,
        )
    }

    fn new_ca(
        &self,
        name: DistinguishedName,
        serial: SerialNumber,
        now: Timestamp,
    ) -> Result<Self, IssueError> {
        if self.certificate.role != CaRole::Root {
            return Err(self.not_its_role("CA certificates"));
        }
        let not_after = match self.certificate.not_after {
            own if own > now => now.after(CA_LIFETIME).min(own),
            _ => now.after(CA_LIFETIME),
        };
        let mut params = ca_params(name, 0, serial, now, not_after)?;
        params.use_authority_key_identifier_extension = true;
        let key = SigningKey::generate()?;
        let der = self.sign_params(&params, &key, not_after)?;
        Self::assemble(CaCertificate::from_der(&der)?, key).map_err(IssueError::Encoding)
    }

    /// Takes an authority back from where it was kept. The key must be the certificate's.
    pub fn load(certificate_der: &[u8], pkcs8: Zeroizing<Vec<u8>>) -> Result<Self, LoadError> {
        let certificate = CaCertificate::from_der(certificate_der)?;
        let key = SigningKey::from_pkcs8(&pkcs8)?;
        if key.fingerprint() != certificate.spki_sha256 {
            return Err(LoadError::OtherKey);
        }
        Ok(Self::assemble(certificate, key)?)
    }

    fn assemble(certificate: CaCertificate, key: SigningKey) -> Result<Self, rcgen::Error> {
        let der = CertificateDer::from(certificate.der.as_slice());
        let issuer = Issuer::from_ca_cert_der(&der, key)?;
        Ok(Self {
            certificate,
            issuer,
        })
    }

    /// The public part.
    pub fn certificate(&self) -> &CaCertificate {
        &self.certificate
    }

    /// The private part, for the vault.
    pub fn key(&self) -> &SigningKey {
        self.issuer.key()
    }

    pub(crate) fn issuer(&self) -> &Issuer<'static, SigningKey> {
        &self.issuer
    }

    /// Carries out one decision: signs the leaf that the order describes, and consumes it.
    ///
    /// The leaf is v3 (RFC 5280 §4.1): CN the device, one DNS name
    /// `{device}.{environment}.home.arpa`, `digitalSignature`, `clientAuth`, both key
    /// identifiers and an explicit `CA:FALSE`. It has at most 800 bytes with a P-256 key.
    pub fn sign(&self, order: IssuanceOrder) -> Result<Issued, IssueError> {
        match &self.certificate.role {
            CaRole::Issuing(own) if own == order.environment() => {}
            CaRole::Issuing(own) => {
                return Err(IssueError::OtherEnvironment {
                    ordered: order.environment().clone(),
                    own: own.clone(),
                });
            }
            _ => return Err(self.not_its_role("device certificates")),
        }
        let key = PublicKey::read(&order.key().spki).map_err(|_| IssueError::PublicKey)?;
        let params = device_params(&order)?;
        let der = self.sign_params(&params, &key, order.not_after())?;
        let certificate = order.into_certificate(Fingerprint::of(&der));
        Ok(Issued { der, certificate })
    }

    pub(crate) fn sign_params(
        &self,
        params: &CertificateParams,
        key: &impl PublicKeyData,
        not_after: Timestamp,
    ) -> Result<Vec<u8>, IssueError> {
        if not_after > self.certificate.not_after {
            return Err(IssueError::OutlivesItsCa {
                name: self.certificate.name.clone(),
                ends: not_after,
                ca_ends: self.certificate.not_after,
            });
        }
        Ok(params.signed_by(key, &self.issuer)?.der().to_vec())
    }

    pub(crate) fn not_its_role(&self, what: &'static str) -> IssueError {
        IssueError::NotItsRole {
            name: self.certificate.name.clone(),
            what,
        }
    }
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthority")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

fn subject(home: &str, unit: Option<&str>, common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, home);
    if let Some(unit) = unit {
        name.push(DnType::OrganizationalUnitName, unit);
    }
    name.push(DnType::CommonName, common_name);
    name
}

/// What every certificate of this crate says: name, serial number and validity.
pub(crate) fn basic_params(
    name: DistinguishedName,
    serial: SerialNumber,
    not_before: Timestamp,
    not_after: Timestamp,
) -> Result<CertificateParams, IssueError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.serial_number = Some(serial.as_bytes().to_vec().into());
    params.not_before = x509_time(not_before)?;
    params.not_after = x509_time(not_after)?;
    Ok(params)
}

fn ca_params(
    name: DistinguishedName,
    path_length: u8,
    serial: SerialNumber,
    now: Timestamp,
    not_after: Timestamp,
) -> Result<CertificateParams, IssueError> {
    let mut params = basic_params(name, serial, now.before(BACKDATE), not_after)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn device_params(order: &IssuanceOrder) -> Result<CertificateParams, IssueError> {
    let device = order.device().as_str();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, device);
    let mut params = basic_params(name, order.serial(), order.not_before(), order.not_after())?;
    let host = format!("{device}.{}.home.arpa", order.environment());
    params.subject_alt_names = vec![SanType::DnsName(host.try_into()?)];
    end_entity(&mut params, ExtendedKeyUsagePurpose::ClientAuth);
    Ok(params)
}

/// The extensions of a certificate that signs no other (RFC 5280 §4.2.1).
pub(crate) fn end_entity(params: &mut CertificateParams, purpose: ExtendedKeyUsagePurpose) {
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose];
    params.use_authority_key_identifier_extension = true;
}

pub(crate) fn x509_time(time: Timestamp) -> Result<OffsetDateTime, IssueError> {
    OffsetDateTime::from_unix_timestamp(time.as_s()).map_err(|_| IssueError::Time(time))
}
