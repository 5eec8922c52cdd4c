//! New values, from the system's randomness.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hearthkey_core::secret::Secret;
use zeroize::Zeroizing;

use crate::error::BridgeError;

/// Random bytes.
pub(crate) fn bytes<const N: usize>() -> Result<Zeroizing<[u8; N]>, BridgeError> {
    let mut bytes = Zeroizing::new([0; N]);
    SystemRandom::new()
        .fill(bytes.as_mut())
        .map_err(|_| BridgeError::Here {
            why: "the system gave no randomness".into(),
        })?;
    Ok(bytes)
}

/// A password of 256 bits: 43 letters, digits, `-` and `_`.
pub(crate) fn password() -> Result<Secret, BridgeError> {
    let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes::<32>()?.as_ref()));
    secret(&text)
}

/// A text of ours as a secret.
pub(crate) fn secret(text: &str) -> Result<Secret, BridgeError> {
    Secret::text(text).map_err(|error| BridgeError::Here {
        why: error.to_string(),
    })
}
