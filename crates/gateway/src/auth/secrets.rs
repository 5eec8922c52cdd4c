//! Secrets that the gateway makes for cookies and invitations.

use hearthkey_core::id::Fingerprint;
use zeroize::Zeroizing;

/// 32 random bytes as base64url: what a cookie or an invitation holds.
pub(crate) fn new_secret() -> Zeroizing<String> {
    use base64::Engine;
    let bytes = hearthkey_store::keys::random::<32>();
    Zeroizing::new(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes.as_slice()))
}

/// What is kept of such a secret: 256 random bits need no slow hash.
pub(crate) fn hash_of(secret: &str) -> Fingerprint {
    Fingerprint::of(secret.as_bytes())
}
