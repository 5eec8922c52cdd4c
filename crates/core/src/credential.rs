//! Credentials: what the inventory keeps about every secret and key, apart from its value.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::EnvironmentName;

/// Why a text is not a credential's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "credential name {0:?} is not valid: write bridge/key, each 1 to 63 of the characters a-z, \
     0-9, - and _, beginning and ending with a letter or digit"
)]
pub struct InvalidCredentialName(String);

/// A credential's name within its environment: `bridge/key`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CredentialName(Box<str>);

fn is_part(text: &str) -> bool {
    let bytes = text.as_bytes();
    let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|b| inner(b) || matches!(b, b'-' | b'_'))
        && inner(&bytes[0])
        && inner(&bytes[bytes.len() - 1])
}

impl CredentialName {
    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The bridge that it belongs to.
    pub fn bridge(&self) -> &str {
        self.0.split_once('/').map_or("", |(bridge, _)| bridge)
    }

    /// Its name within the bridge.
    pub fn key(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, key)| key)
    }
}

impl FromStr for CredentialName {
    type Err = InvalidCredentialName;
    fn from_str(text: &str) -> Result<Self, InvalidCredentialName> {
        match text.split_once('/') {
            Some((bridge, key)) if is_part(bridge) && is_part(key) => Ok(Self(text.into())),
            _ => Err(InvalidCredentialName(text.chars().take(80).collect())),
        }
    }
}

impl TryFrom<String> for CredentialName {
    type Error = InvalidCredentialName;
    fn try_from(text: String) -> Result<Self, InvalidCredentialName> {
        text.parse()
    }
}

impl From<CredentialName> for String {
    fn from(name: CredentialName) -> String {
        name.0.into()
    }
}

impl fmt::Display for CredentialName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A credential in its environment: names are never shared between two of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CredentialId {
    /// The environment.
    pub environment: EnvironmentName,
    /// The name within it.
    pub name: CredentialName,
}

impl fmt::Display for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.environment, self.name)
    }
}

/// A word as the command line, the API and the database have it: an enum with its words and what
/// they are for.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal, $invalid:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $name {
            /// Every one there is.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The word used in the API and the database.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        #[doc = concat!("Why a text is no ", $what, ".")]
        #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
        #[error("{text:?} is no {}: use one of {}", $what, [$($word,)+].join(", "))]
        pub struct $invalid { text: String }

        impl FromStr for $name {
            type Err = $invalid;
            fn from_str(text: &str) -> Result<Self, $invalid> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($invalid { text: text.chars().take(80).collect() }),
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = $invalid;
            fn try_from(text: String) -> Result<Self, $invalid> { text.parse() }
        }

        impl From<$name> for String {
            fn from(word: $name) -> String { word.as_str().to_owned() }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(self.as_str()) }
        }
    };
}

words! {
    /// What may be done with a credential; what a token's grants name.
    Action, "action", InvalidAction {
        /// See that it exists and what is known about it, never its value.
        List = "list",
        /// Obtain its value: `reveal`, `run` and `render`.
        Read = "read",
        /// Obtain a short-lived hand-out of it, and end one's own.
        Lease = "lease",
        /// Begin, confirm or undo a rotation.
        Rotate = "rotate",
        /// Add it, or give it a new value.
        Write = "write",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_bridge_and_a_key_and_never_a_path() {
        for good in ["hue/api-key", "ha/token_1", "a/b", "wifi/0"] {
            let name: CredentialName = good.parse().unwrap();
            assert_eq!(format!("{}/{}", name.bridge(), name.key()), good);
        }
        for bad in [
            "",
            "hue",
            "hue/",
            "/key",
            "../key",
            "hue/..",
            "hue/./key",
            "hue/a/b",
            "hue//key",
            "Hue/key",
            "hue/key\0",
            "hue/ key",
            "hue/-key",
            "hue/key_",
            "hue\\key",
            "hue/%2e",
            "hü/key",
            &format!("hue/{}", "x".repeat(64)),
        ] {
            assert!(bad.parse::<CredentialName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_word_that_is_none_is_answered_with_those_there_are() {
        let error = "own".parse::<Action>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"own\" is no action: use one of list, read, lease, rotate, write"
        );
    }
}
