//! Why a client certificate is refused, and the TLS alert that says so.

use std::sync::Arc;

use hearthkey_core::access::DoorRefusal;
use rustls::{CertificateError, OtherError};

/// Why a client certificate was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientRefusal {
    /// More than 4 KiB.
    #[error("the client certificate is larger than 4 KiB")]
    TooLarge,
    /// Not one certificate in DER.
    #[error("the client certificate is not a certificate in DER")]
    Malformed,
    /// Not signed by a CA of this home.
    #[error("the client certificate was not issued by a CA of this home")]
    UnknownIssuer,
    /// Signed here, but not of the shape of a device certificate.
    #[error("the client certificate has not the shape of a device certificate: {0}")]
    Shape(&'static str),
    /// Its extended key usage is not exactly `clientAuth` (RFC 5280 §4.2.1.12).
    #[error("the client certificate is not for client authentication and nothing else")]
    Purpose,
    /// It has a critical extension that is not known here (RFC 5280 §4.2).
    #[error("the client certificate has an unknown critical extension")]
    CriticalExtension,
    /// It begins in the future.
    #[error("the client certificate is not valid yet")]
    NotYetValid,
    /// It is in order, and not to be let in.
    #[error(transparent)]
    Door(#[from] DoorRefusal),
}

impl From<ClientRefusal> for rustls::Error {
    /// Chooses the error whose alert tells the client the reason (RFC 8446 §6.2).
    fn from(refusal: ClientRefusal) -> Self {
        use ClientRefusal as R;
        Self::InvalidCertificate(match refusal {
            R::TooLarge | R::Malformed | R::Shape(_) => CertificateError::BadEncoding,
            R::UnknownIssuer => CertificateError::UnknownIssuer,
            R::Purpose => CertificateError::InvalidPurpose,
            R::CriticalExtension => CertificateError::UnhandledCriticalExtension,
            R::NotYetValid => CertificateError::NotValidYet,
            R::Door(DoorRefusal::Revoked | DoorRefusal::Superseded) => CertificateError::Revoked,
            R::Door(DoorRefusal::Suspended) => CertificateError::ApplicationVerificationFailure,
            R::Door(DoorRefusal::Expired) => CertificateError::Expired,
            R::Door(DoorRefusal::UnknownCertificate | DoorRefusal::Waiting) => {
                CertificateError::Other(OtherError(Arc::new(refusal)))
            }
        })
    }
}
