//! Names in URLs: a name can never become another path, a query or a second request.

use std::str::FromStr;

/// The longest name that is sent, in bytes. The gateway's own bound is tighter.
const NAME_MAX_BYTES: usize = 256;

/// A name from the command line that will be one segment of a URL's path. Whether it is a valid id
/// is for the gateway to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// The name as one segment of a path: everything but letters, digits, `-` and `_` is
    /// percent-encoded, dots included, so that `..` stays a name.
    pub fn segment(&self) -> String {
        encode(&self.0)
    }
}

/// Why a text is not a name.
#[derive(Debug, PartialEq, Eq)]
pub enum InvalidName {
    /// There is nothing.
    Empty,
    /// There is too much.
    TooLong,
}

impl std::fmt::Display for InvalidName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("a name cannot be empty"),
            Self::TooLong => write!(f, "a name has at most {NAME_MAX_BYTES} bytes"),
        }
    }
}

impl std::error::Error for InvalidName {}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        match text.len() {
            0 => Err(InvalidName::Empty),
            1..=NAME_MAX_BYTES => Ok(Self(text.to_owned())),
            _ => Err(InvalidName::TooLong),
        }
    }
}

/// A text as part of a URL (RFC 3986 §2.1), with even the dot and the tilde encoded.
pub fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_id_is_sent_as_it_is() {
        let name: Name = "front-door_2".parse().unwrap();
        assert_eq!(name.segment(), "front-door_2");
    }

    #[test]
    fn a_name_cannot_leave_its_segment() {
        for (text, segment) in [
            ("..", "%2E%2E"),
            ("../seal", "%2E%2E%2Fseal"),
            ("lamp?limit=1", "lamp%3Flimit%3D1"),
            ("lamp#x", "lamp%23x"),
            ("lamp%2fx", "lamp%252fx"),
            ("a b\r\nHost: x", "a%20b%0D%0AHost%3A%20x"),
            ("ü", "%C3%BC"),
        ] {
            assert_eq!(text.parse::<Name>().unwrap().segment(), segment);
        }
    }

    #[test]
    fn an_empty_or_endless_name_is_refused() {
        assert_eq!("".parse::<Name>(), Err(InvalidName::Empty));
        assert_eq!("a".repeat(257).parse::<Name>(), Err(InvalidName::TooLong));
    }
}
