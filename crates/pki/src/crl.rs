//! Certificate revocation lists: an export of the registry for others.

use hearthkey_core::certificate::RevocationReason;
use hearthkey_core::id::SerialNumber;
use hearthkey_core::time::Timestamp;
use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams};
use rustls_pki_types::alg_id;
use webpki::aws_lc_rs::ECDSA_P256_SHA256;
use webpki::{BorrowedCertRevocationList, CertRevocationList};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::time::ASN1Time;

use crate::authority::{CertificateAuthority, IssueError, x509_time};
use crate::ca_certificate::CaCertificate;
use crate::der::{Element, SEQUENCE};

/// One revoked certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RevokedEntry {
    /// Its serial number.
    pub serial: SerialNumber,
    /// When it was revoked.
    pub at: Timestamp,
    /// Why.
    pub reason: RevocationReason,
}

/// Why there is no CRL, or why one is not to be used.
#[derive(Debug, thiserror::Error)]
pub enum CrlError {
    /// The next update would not come after this one.
    #[error("the CRL's next update must come after this one")]
    NextUpdate,
    /// A time that no CRL can hold.
    #[error("a CRL cannot hold the time {0}")]
    Time(Timestamp),
    /// The CRL could not be encoded or signed.
    #[error("the CRL could not be encoded or signed")]
    Encoding(#[from] rcgen::Error),
    /// Not a CRL that this product writes.
    #[error("the CRL is not a version 2 CRL in DER, signed with P-256 and SHA-256")]
    Malformed,
    /// Another CA's.
    #[error("the CRL names another issuer")]
    OtherIssuer,
    /// Not signed with the CA's key.
    #[error("the CRL's signature does not verify with the CA's key")]
    Signature,
}

impl CertificateAuthority {
    /// Makes a version 2 CRL (RFC 5280 §5) and checks it against this CA's own certificate: a
    /// CRL signed with another key is easily built, and would fail every handshake.
    pub fn crl(
        &self,
        number: u64,
        revoked: impl IntoIterator<Item = RevokedEntry>,
        now: Timestamp,
        next_update: Timestamp,
    ) -> Result<Vec<u8>, CrlError> {
        if next_update.as_s() <= now.as_s() {
            return Err(CrlError::NextUpdate);
        }
        let revoked_certs = revoked
            .into_iter()
            .map(revoked_params)
            .collect::<Result<_, _>>()?;
        let params = CertificateRevocationListParams {
            this_update: crl_time(now)?,
            next_update: crl_time(next_update)?,
            crl_number: number.into(),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::PreSpecified(self.certificate().ski.clone()),
        };
        let der = params.signed_by(self.issuer())?.der().to_vec();
        check_crl(&der, self.certificate())?;
        Ok(der)
    }
}

fn revoked_params(entry: RevokedEntry) -> Result<RevokedCertParams, CrlError> {
    Ok(RevokedCertParams {
        serial_number: entry.serial.as_bytes().to_vec().into(),
        revocation_time: crl_time(entry.at)?,
        reason_code: Some(match entry.reason {
            RevocationReason::Unspecified => rcgen::RevocationReason::Unspecified,
            RevocationReason::KeyCompromise => rcgen::RevocationReason::KeyCompromise,
            RevocationReason::AffiliationChanged => rcgen::RevocationReason::AffiliationChanged,
            RevocationReason::Superseded => rcgen::RevocationReason::Superseded,
            RevocationReason::CessationOfOperation => rcgen::RevocationReason::CessationOfOperation,
            RevocationReason::PrivilegeWithdrawn => rcgen::RevocationReason::PrivilegeWithdrawn,
        }),
        invalidity_date: None,
    })
}

/// Whether a CRL is well formed, names this CA and is signed by it. Check before swapping one in.
pub fn check_crl(der: &[u8], issuer: &CaCertificate) -> Result<(), CrlError> {
    let list = BorrowedCertRevocationList::from_der(der).map_err(|_| CrlError::Malformed)?;
    if CertRevocationList::from(list).issuer() != issuer.anchor.subject.as_ref() {
        return Err(CrlError::OtherIssuer);
    }
    let (signed, signature) = signed_parts(der).ok_or(CrlError::Malformed)?;
    ECDSA_P256_SHA256
        .verify_signature(&issuer.public_key, signed, signature)
        .map_err(|_| CrlError::Signature)
}

/// When a CRL was made and when the next one is due (RFC 5280 §5.1.2.4, §5.1.2.5); nothing if it is none, or says
/// neither.
pub fn crl_life(der: &[u8]) -> Option<(Timestamp, Timestamp)> {
    let (_, list) = CertificateRevocationList::from_der(der).ok()?;
    let at = |time: ASN1Time| Timestamp::from_s(time.timestamp());
    Some((at(list.last_update()), at(list.next_update()?)))
}

/// The signed bytes and the signature of a CertificateList (RFC 5280 §5.1).
fn signed_parts(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let [list, algorithm, signature] = Element::only(der, SEQUENCE)?.sequence_of()?;
    if algorithm.content != alg_id::ECDSA_SHA256.as_ref() {
        return None;
    }
    Some((list.raw, signature.bits()?))
}

fn crl_time(time: Timestamp) -> Result<time::OffsetDateTime, CrlError> {
    x509_time(time).map_err(|_: IssueError| CrlError::Time(time))
}
