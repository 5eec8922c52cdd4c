//! Whose keys open a backup: X25519 as in age, each derived from a secret that is there anyway.
//!
//! | recipient | its identity is derived from | who opens with it |
//! | --- | --- | --- |
//! | the kit's | the recovery code, by HKDF-SHA-256 | a person on an empty machine |
//! | the home's own | the root key, by HKDF-SHA-256 | the running gateway, to verify |
//! | others | elsewhere | a person who added their `age1…` |

use std::fmt;
use std::str::FromStr;

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use crate::keys::DerivedKey;

/// The label of the kit's identity.
const KIT: &[u8] = b"hearthkey/backup/kit/v1";

/// A key that opens backups.
pub struct Identity(pub(super) age::x25519::Identity);

/// A key that backups are encrypted for: `age1…`. No secret.
#[derive(Clone)]
pub struct Recipient(pub(super) age::x25519::Recipient);

/// A text that is no recipient.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no recipient: name a public key of age, which begins with age1 and has 62 characters"
)]
pub struct InvalidRecipient(String);

impl Identity {
    /// The identity with these bytes as its X25519 scalar.
    pub(crate) fn of_key(key: &DerivedKey) -> Self {
        Self::of_bytes(key.bytes())
    }

    /// The identity of a recovery code, given its digits.
    pub(crate) fn of_code(digits: &[u8]) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        // 32 bytes are far below the limit of HKDF, the only way in which this could fail.
        let expanded = Hkdf::<Sha256>::new(None, digits).expand(KIT, bytes.as_mut_slice());
        debug_assert!(expanded.is_ok());
        Self::of_bytes(&bytes)
    }

    fn of_bytes(bytes: &[u8; 32]) -> Self {
        let prefix = bech32::Hrp::parse_unchecked("age-secret-key-");
        // age reads its keys as text alone.
        let mut text = bech32::encode::<bech32::Bech32>(prefix, bytes)
            .unwrap_or_else(|_| unreachable!("32 bytes are short enough"));
        let identity = text.parse();
        text.zeroize();
        Self(identity.unwrap_or_else(|_| unreachable!("every 32 bytes are a scalar")))
    }

    /// What is encrypted for it.
    pub fn recipient(&self) -> Recipient {
        Recipient(self.0.to_public())
    }
}

impl FromStr for Recipient {
    type Err = InvalidRecipient;
    fn from_str(text: &str) -> Result<Self, InvalidRecipient> {
        let refused = |_| InvalidRecipient(text.chars().take(80).collect());
        text.parse().map(Self).map_err(refused)
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_one_identity_and_another_code_another() {
        let of = |digits: &[u8]| Identity::of_code(digits).recipient().to_string();
        assert_eq!(of(b"0123"), of(b"0123"));
        assert_ne!(of(b"0123"), of(b"0124"));
        assert!(of(b"0123").starts_with("age1"));
        assert_eq!(of(b"0123").len(), 62);
    }

    #[test]
    fn a_recipient_is_read_as_age_writes_it_and_nothing_else_is() {
        let text = Identity::of_code(b"0123").recipient().to_string();
        assert_eq!(text.parse::<Recipient>().unwrap().to_string(), text);
        for wrong in ["", "age1", "AGE-SECRET-KEY-1", &text[..61]] {
            let refused = wrong.parse::<Recipient>().map(drop).unwrap_err();
            assert!(
                refused.to_string().contains("begins with age1"),
                "{refused}"
            );
        }
    }
}
