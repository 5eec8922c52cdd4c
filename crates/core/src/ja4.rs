//! What kind of program opened a TLS connection, identified by its ClientHello: a JA4 fingerprint
//! (FoxIO, "JA4: TLS Client Fingerprinting", the variant with hashes).
//!
//! It says which TLS library, with which settings, not which machine: a thousand lamps of one firmware have one. It changes
//! with the firmware. It is no secret and no proof, because anybody can send another's ClientHello; it only tells
//! apart two programs that take no trouble to look alike.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::{Fingerprint, hex};

/// Letters of a fingerprint.
pub const JA4_BYTES: usize = 36;
/// Hexadecimal digits that are kept of each hash.
const HASH_DIGITS: usize = 12;
/// What replaces the hash of an empty list.
const NOTHING: &str = "000000000000";

const SERVER_NAME: u16 = 0;
const SIGNATURE_ALGORITHMS: u16 = 13;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;

/// A JA4 fingerprint, such as `t13d1516h2_8daaf6152771_e5627efa2ab1`:
///
/// - over TCP (`t`), the newest version of TLS that is offered, whether a host is named (`d`) or not (`i`), how many cipher
///   suites and extensions, the first and the last letter of the first ALPN name;
/// - the first 12 digits of the SHA-256 of the cipher suites, sorted;
/// - the same of the extensions, sorted, without the host's name and ALPN, and of the signature algorithms as they stand.
///
/// GREASE values (RFC 8701) are left out and lists are sorted, so a client that makes up the former or shuffles its
/// extensions has one fingerprint.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ja4([u8; JA4_BYTES]);

/// What a ClientHello says that goes into a fingerprint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsOffer {
    /// The version in its head, which since TLS 1.3 says nothing.
    pub legacy_version: u16,
    /// Cipher suites, in order.
    pub cipher_suites: Vec<u16>,
    /// Types of the extensions, in order.
    pub extensions: Vec<u16>,
    /// The extension `supported_versions`.
    pub versions: Vec<u16>,
    /// The extension `signature_algorithms`.
    pub signature_algorithms: Vec<u16>,
    /// The first name that ALPN offers.
    pub alpn: Vec<u8>,
}

/// Not a JA4 fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a JA4 fingerprint of TLS over TCP")]
pub struct InvalidJa4;

/// Whether a value was made up by its client to keep servers tolerant (RFC 8701).
fn is_grease(value: u16) -> bool {
    let [high, low] = value.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

fn without_grease(values: &[u16]) -> impl Iterator<Item = u16> {
    values.iter().copied().filter(|value| !is_grease(*value))
}

fn joined(values: impl Iterator<Item = u16>) -> String {
    let texts: Vec<String> = values.map(|value| format!("{value:04x}")).collect();
    texts.join(",")
}

fn sorted(values: impl Iterator<Item = u16>) -> String {
    let mut values: Vec<u16> = values.collect();
    values.sort_unstable();
    joined(values.into_iter())
}

fn hashed(text: &str) -> String {
    let mut digits = hex(&Fingerprint::of(text.as_bytes()).0);
    digits.truncate(HASH_DIGITS);
    digits
}

impl TlsOffer {
    fn version(&self) -> &'static str {
        let newest = without_grease(&self.versions).max();
        match newest.unwrap_or(self.legacy_version) {
            0x0304 => "13",
            0x0303 => "12",
            0x0302 => "11",
            0x0301 => "10",
            0x0300 => "s3",
            0x0002 => "s2",
            _ => "00",
        }
    }

    fn alpn(&self) -> String {
        let (Some(first), Some(last)) = (self.alpn.first(), self.alpn.last()) else {
            return "00".into();
        };
        if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
            return [char::from(*first), char::from(*last)].iter().collect();
        }
        format!("{:x}{:x}", first >> 4, last & 0x0f)
    }

    /// Its fingerprint.
    pub fn ja4(&self) -> Ja4 {
        let count = |values: &[u16]| without_grease(values).count().min(99);
        let named = match self.extensions.contains(&SERVER_NAME) {
            true => 'd',
            false => 'i',
        };
        let suites = match count(&self.cipher_suites) {
            0 => NOTHING.into(),
            _ => hashed(&sorted(without_grease(&self.cipher_suites))),
        };
        let others =
            without_grease(&self.extensions).filter(|kind| !matches!(*kind, SERVER_NAME | ALPN));
        let mut extensions = sorted(others);
        let signatures = joined(without_grease(&self.signature_algorithms));
        if !signatures.is_empty() {
            extensions = format!("{extensions}_{signatures}");
        }
        let extensions = match extensions.is_empty() {
            true => NOTHING.into(),
            false => hashed(&extensions),
        };
        let text = format!(
            "t{}{named}{:02}{:02}{}_{suites}_{extensions}",
            self.version(),
            count(&self.cipher_suites),
            count(&self.extensions),
            self.alpn(),
        );
        let mut letters = [b'0'; JA4_BYTES];
        for (letter, byte) in letters.iter_mut().zip(text.bytes()) {
            *letter = byte;
        }
        Ja4(letters)
    }

    /// Takes note of an extension. The value is looked at only where it goes into the fingerprint.
    pub fn add_extension(&mut self, kind: u16, value: &[u8]) {
        self.extensions.push(kind);
        match (kind, value) {
            // Lists with their length before them, of one byte and of two (RFC 8446 §4.2.1, §4.2.3).
            (SUPPORTED_VERSIONS, &[_, ref list @ ..]) => self.versions = pairs(list),
            (SIGNATURE_ALGORITHMS, &[_, _, ref list @ ..]) => {
                self.signature_algorithms = pairs(list);
            }
            // The length of the list, that of the first name, the name (RFC 7301 §3.1).
            (ALPN, &[_, _, length, ref names @ ..]) => {
                let first = names.get(..usize::from(length));
                self.alpn = first.unwrap_or_default().to_vec();
            }
            _ => {}
        }
    }
}

/// A list of two-byte values.
pub fn pairs(list: &[u8]) -> Vec<u16> {
    let pairs = list.chunks_exact(2);
    pairs
        .filter_map(|pair| Some(u16::from_be_bytes(pair.try_into().ok()?)))
        .collect()
}

impl fmt::Display for Ja4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.0).unwrap_or_default())
    }
}

impl fmt::Debug for Ja4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ja4({self})")
    }
}

impl FromStr for Ja4 {
    type Err = InvalidJa4;

    fn from_str(text: &str) -> Result<Self, InvalidJa4> {
        let letters: [u8; JA4_BYTES] = text.as_bytes().try_into().map_err(|_| InvalidJa4)?;
        let fits = |(at, byte): (usize, &u8)| match at {
            10 | 23 => *byte == b'_',
            _ => byte.is_ascii_alphanumeric(),
        };
        match letters.iter().enumerate().all(fits) {
            true => Ok(Self(letters)),
            false => Err(InvalidJa4),
        }
    }
}

impl TryFrom<String> for Ja4 {
    type Error = InvalidJa4;

    fn try_from(text: String) -> Result<Self, InvalidJa4> {
        text.parse()
    }
}

impl From<Ja4> for String {
    fn from(ja4: Ja4) -> Self {
        ja4.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification: Chrome 112, with GREASE where Chrome has it.
    fn chrome() -> TlsOffer {
        let mut offer = TlsOffer {
            legacy_version: 0x0303,
            cipher_suites: vec![
                0x9a9a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8,
                0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035,
            ],
            ..TlsOffer::default()
        };
        offer.add_extension(0x3a3a, &[]);
        for kind in [
            0x001b, 0x0000, 0x0033, 0x4469, 0x0017, 0x002d, 0x0005, 0x0023, 0x0012, 0xff01, 0x000b,
            0x000a, 0x0015,
        ] {
            offer.add_extension(kind, b"whatever");
        }
        offer.add_extension(43, &[6, 0x2a, 0x2a, 3, 4, 3, 3]);
        offer.add_extension(13, &[0, 16, 4, 3, 8, 4, 4, 1, 5, 3, 8, 5, 5, 1, 8, 6, 6, 1]);
        offer.add_extension(16, b"\x00\x0c\x02h2\x08http/1.1");
        offer
    }

    #[test]
    fn a_fingerprint_is_that_of_the_specification() {
        let ja4 = chrome().ja4();
        assert_eq!(ja4.to_string(), "t13d1516h2_8daaf6152771_e5627efa2ab1");
        assert_eq!(ja4.to_string().parse(), Ok(ja4));
    }

    #[test]
    fn what_a_client_shuffles_or_makes_up_changes_nothing() {
        let plain = chrome();
        let mut other = chrome();
        other.extensions.reverse();
        other.cipher_suites.rotate_left(5);
        other.cipher_suites.push(0xfafa);
        other.extensions.push(0x0a0a);
        assert_eq!(other.ja4(), plain.ja4());
        other.signature_algorithms.reverse();
        assert_ne!(
            other.ja4(),
            plain.ja4(),
            "an order that does not change by itself"
        );
    }

    #[test]
    fn little_and_odd_offers_have_a_fingerprint_too() {
        let nothing = TlsOffer::default().ja4();
        assert_eq!(nothing.to_string(), "t00i000000_000000000000_000000000000");
        let odd = TlsOffer {
            legacy_version: 0x0301,
            alpn: vec![0xab, 0x00, 0xcd],
            extensions: vec![7; 200],
            ..TlsOffer::default()
        };
        let text = odd.ja4().to_string();
        assert!(text.starts_with("t10i0099ad_000000000000_"), "{text}");
        for wrong in [
            "",
            "t13d1516h2",
            "t13d1516h2-8daaf6152771_e5627efa2ab1",
            "ü",
        ] {
            assert_eq!(wrong.parse::<Ja4>(), Err(InvalidJa4));
        }
    }
}
