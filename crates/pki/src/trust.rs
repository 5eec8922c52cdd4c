//! Certificates as text (RFC 7468).

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::ca_certificate::CaCertificate;
pub use crate::pem_block::{crl_pem, pem};

/// The most text that is read as a bundle, in bytes.
pub const BUNDLE_BYTES_MAX: usize = 256 * 1024;

/// CA certificates as one text, in the order given: what devices are to trust.
pub fn pem_bundle(certificates: &[CaCertificate]) -> String {
    certificates.iter().map(CaCertificate::pem).collect()
}

/// Why a text holds no certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// More than 256 KiB.
    #[error("the text is larger than 256 KiB")]
    TooLarge,
    /// A block is broken.
    #[error("a PEM block in the text is not complete and valid")]
    Malformed,
    /// There is none.
    #[error("the text holds no certificate in PEM")]
    None,
}

/// DER of every certificate in a PEM text, in its order; at least one. Blocks of other kinds
/// and text between blocks are passed over.
pub fn der_from_pem(text: &str) -> Result<Vec<Vec<u8>>, PemError> {
    if text.len() > BUNDLE_BYTES_MAX {
        return Err(PemError::TooLarge);
    }
    let certificates: Vec<Vec<u8>> = CertificateDer::pem_slice_iter(text.as_bytes())
        .map(|block| block.map(|der| der.to_vec()))
        .collect::<Result<_, _>>()
        .map_err(|_| PemError::Malformed)?;
    if certificates.is_empty() {
        return Err(PemError::None);
    }
    Ok(certificates)
}
