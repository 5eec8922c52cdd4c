//! The token file: all that a service needs to speak to its gateway.

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A token with what belongs to it. A program with this file acts as the service: it is readable by its
/// owner alone.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct TokenFile {
    /// Where the gateway is: `https://host:port`.
    #[serde(default)]
    pub gateway: Option<String>,
    /// The home's root certificate, in PEM. Nothing else is trusted.
    pub root: String,
    /// What the token is called.
    pub name: String,
    /// When it has to be renewed.
    pub expires_at: String,
    /// Until when it may be renewed without a person.
    pub renewable_until: String,
    /// The thumbprint (RFC 7638) of its key.
    #[serde(default)]
    pub key_id: Option<String>,
    /// The token.
    pub token: String,
    /// The private key that it is bound to, in PKCS#8 PEM; none if it is bound to a certificate.
    #[serde(default)]
    pub key: Option<String>,
}

impl std::fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenFile({}, …)", self.name)
    }
}
