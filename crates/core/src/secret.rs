//! Secret values: opaque, bounded, wiped from memory when they are dropped.

use std::fmt;

use zeroize::Zeroizing;

/// The longest value, in bytes. Keys, tokens and certificates are far shorter; files belong elsewhere.
pub const VALUE_MAX_BYTES: usize = 64 * 1024;

/// Why some bytes are no secret value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidValue {
    /// There is nothing.
    #[error("the value is empty")]
    Empty,
    /// There is too much.
    #[error("the value has {0} bytes; {VALUE_MAX_BYTES} are allowed at most")]
    TooLong(usize),
}

/// The protected value of a credential: any bytes, 1 to [`VALUE_MAX_BYTES`] of them.
///
/// It has neither `Display` nor `Serialize`, its `Debug` shows nothing, and it is compared through
/// keyed fingerprints only.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// The value made of these bytes.
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Result<Self, InvalidValue> {
        match bytes.len() {
            0 => Err(InvalidValue::Empty),
            n if n > VALUE_MAX_BYTES => Err(InvalidValue::TooLong(n)),
            _ => Ok(Self(bytes)),
        }
    }

    /// The value of a text.
    pub fn text(text: &str) -> Result<Self, InvalidValue> {
        Self::new(Zeroizing::new(text.as_bytes().to_vec()))
    }

    /// The bytes, for the one who seals, gives out or presents them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The text, if it is one.
    pub fn expose_text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_at_least_one_byte_and_an_upper_bound() {
        assert_eq!(Secret::text("").err(), Some(InvalidValue::Empty));
        let largest = Zeroizing::new(vec![0; VALUE_MAX_BYTES]);
        assert!(Secret::new(largest).is_ok());
        let larger = Zeroizing::new(vec![0; VALUE_MAX_BYTES + 1]);
        assert_eq!(
            Secret::new(larger).err(),
            Some(InvalidValue::TooLong(VALUE_MAX_BYTES + 1))
        );
    }

    #[test]
    fn a_value_does_not_show_itself() {
        let secret = Secret::text("hunter2").unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }
}
