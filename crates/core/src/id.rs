//! One newtype per identifier, each with a fallible constructor: an id that exists is valid.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Why a text is not a valid identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// Not a DNS label.
    #[error(
        "{kind} {text:?} is not valid: use 1 to 63 of the characters a-z, 0-9 and -, \
         neither beginning nor ending with -"
    )]
    Label {
        /// The kind of identifier, for the person who reads the message.
        kind: &'static str,
        /// The refused text, cut to a readable length.
        text: String,
    },
    /// Not hexadecimal digits of the right number.
    #[error("{kind} is not valid: it is written as {digits} hexadecimal digits")]
    Hex {
        /// The kind of identifier.
        kind: &'static str,
        /// How many digits it has.
        digits: usize,
    },
}

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
        && bytes[0] != b'-'
        && bytes[bytes.len() - 1] != b'-'
}

macro_rules! label_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// The identifier as text: a DNS label (RFC 1035 §2.3.1, with leading digits).
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                if is_label(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidId::Label { kind: $kind, text: text.chars().take(80).collect() })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

label_id!(
    /// A device: one identity, enrolled in one environment, under one profile.
    DeviceId,
    "device id"
);
label_id!(
    /// An environment: a trust zone with its own issuing CA.
    EnvironmentName,
    "environment name"
);
label_id!(
    /// A profile: what a kind of device may do.
    ProfileName,
    "profile name"
);
label_id!(
    /// A home: one installation. Also the salt of its key hierarchy and the origin of its log.
    HomeId,
    "home id"
);
label_id!(
    /// A claim: a one-time, expiring permission to enroll one named device.
    ClaimId,
    "claim id"
);

label_id!(
    /// A person's name: what people and the log call them.
    PersonName,
    "person's name"
);
label_id!(
    /// An unlock method's name: what people and the log call it.
    UnlockName,
    "name of an unlock method"
);
label_id!(
    /// A service token's name: what people and the log call it.
    TokenName,
    "token name"
);
label_id!(
    /// A service token: one creation, whatever its name is used for later.
    TokenId,
    "token id"
);

impl TokenId {
    /// The token id for 8 random bytes: `t-` and 16 hexadecimal digits.
    pub fn from_random(random: [u8; 8]) -> Self {
        Self(format!("t-{}", hex(&random)).into())
    }
}

impl ClaimId {
    /// The claim id for 8 random bytes: `c-` and 16 hexadecimal digits.
    pub fn from_random(random: [u8; 8]) -> Self {
        Self(format!("c-{}", hex(&random)).into())
    }
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// The bytes behind exactly `N` pairs of hexadecimal digits, or nothing.
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != N * 2 || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub [u8; $bytes]);

        impl $name {
            /// The raw bytes.
            pub fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                unhex(text)
                    .map(Self)
                    .ok_or(InvalidId::Hex { kind: $kind, digits: $bytes * 2 })
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

hex_id!(
    /// A SHA-256 fingerprint: of a certificate's DER, or of a key's SubjectPublicKeyInfo DER.
    Fingerprint,
    32,
    "SHA-256 fingerprint"
);
hex_id!(
    /// A certificate's serial number: 16 bytes, positive and non-zero (RFC 5280 §4.1.2.2).
    SerialNumber,
    16,
    "serial number"
);

impl Fingerprint {
    /// The fingerprint of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl SerialNumber {
    /// The serial number for 16 random bytes: 126 of the bits are kept, the first two are fixed
    /// so that the DER integer is always 16 bytes long and positive.
    pub fn from_random(mut random: [u8; 16]) -> Self {
        random[0] = (random[0] & 0x3f) | 0x40;
        Self(random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_dns_label_and_nothing_else() {
        for good in ["a", "lamp", "lamp-1", "0", &"x".repeat(63)] {
            assert!(good.parse::<DeviceId>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            "Lamp",
            "a.b",
            "a/b",
            "a+",
            "#",
            "ä",
            "a b",
            "a\0",
            &"x".repeat(64),
        ] {
            assert!(bad.parse::<DeviceId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_serial_number_is_positive_and_always_sixteen_bytes() {
        for first in 0..=255u8 {
            let mut random = [0; 16];
            random[0] = first;
            let serial = SerialNumber::from_random(random);
            assert!(serial.0[0] & 0x80 == 0 && serial.0[0] != 0);
        }
    }

    #[test]
    fn a_fingerprint_survives_being_written_and_read() {
        let fingerprint = Fingerprint::of(b"leaf");
        assert_eq!(
            fingerprint.to_string().parse::<Fingerprint>(),
            Ok(fingerprint)
        );
        assert!("zz".repeat(32).parse::<Fingerprint>().is_err());
        assert!("é".repeat(32).parse::<Fingerprint>().is_err());
    }
}
