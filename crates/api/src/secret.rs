//! A secret value on its way: base64 in JSON, nowhere else to be seen, wiped when dropped.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;
use zeroize::Zeroizing;

/// Any bytes, written as base64 (RFC 4648 §4).
#[derive(Clone, ToSchema)]
#[schema(value_type = String, format = Byte)]
pub struct SecretValue(Zeroizing<Vec<u8>>);

impl SecretValue {
    /// The value made of these bytes.
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, given away.
    pub fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        self.0
    }
}

impl std::fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

impl Serialize for SecretValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = Zeroizing::new(STANDARD.encode(self.0.as_slice()));
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for SecretValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        // The library's own message would quote what it could not read.
        let bytes = STANDARD
            .decode(text.as_bytes())
            .map_err(|_| serde::de::Error::custom("a value is not base64"))?;
        Ok(Self(Zeroizing::new(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_base64_in_json_and_nothing_in_debug() {
        let value = SecretValue::new(Zeroizing::new(b"hunter2\0\xff".to_vec()));
        let json = serde_json::to_string(&value).unwrap();
        assert_eq!(json, "\"aHVudGVyMgD/\"");
        let back: SecretValue = serde_json::from_str(&json).unwrap();
        assert_eq!(back.expose(), value.expose());
        assert_eq!(format!("{value:?}"), "SecretValue(…)");
    }

    #[test]
    fn what_is_not_base64_is_not_quoted() {
        let error = serde_json::from_str::<SecretValue>("\"hunter2!\"").unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
    }
}
