//! A certificate as text (RFC 7468 §5).

use ::pem::{EncodeConfig, LineEnding, Pem};

/// A certificate as one PEM block.
pub fn pem(der: &[u8]) -> String {
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    ::pem::encode_config(&Pem::new("CERTIFICATE", der), config)
}
