//! Certificates and revocation lists as text (RFC 7468).

use ::pem::{EncodeConfig, LineEnding, Pem};

/// A certificate as one PEM block (RFC 7468 §5).
pub fn pem(der: &[u8]) -> String {
    block("CERTIFICATE", der)
}

/// A CRL as one PEM block (RFC 7468 §6).
pub fn crl_pem(der: &[u8]) -> String {
    block("X509 CRL", der)
}

fn block(label: &str, der: &[u8]) -> String {
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    ::pem::encode_config(&Pem::new(label, der), config)
}
