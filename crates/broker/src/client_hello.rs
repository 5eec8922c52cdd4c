//! What a client says about itself in the first message of TLS, and rustls does not pass on: how long a record it takes,
//! and what kind of program it is.
//!
//! Devices with a few kilobytes of memory ask for short records by `max_fragment_length` (RFC 6066 §4) or
//! `record_size_limit` (RFC 8449). A record that is longer than their buffer ends their connection. Not all of them can
//! ask: a client that speaks TLS 1.2 at most is taken for one of them.

use hearthkey_core::ja4::{Ja4, TlsOffer, pairs};

/// The most of a ClientHello that is looked at, in bytes. One that is longer asks for nothing and has no fingerprint.
pub const CLIENT_HELLO_MAX_BYTES: usize = 16 * 1024;

const HANDSHAKE_RECORD: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const MAX_FRAGMENT_LENGTH: u16 = 1;
const RECORD_SIZE_LIMIT: u16 = 28;
const TLS_1_3: u16 = 0x0304;
/// The longest record for a client that speaks TLS 1.2 at most and asks for nothing, in bytes.
const OLD_CLIENT_BYTES: usize = 1_024;

/// What a client says about itself, as far as anything here depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientHello {
    record_limit: Option<usize>,
    offer: TlsOffer,
}

impl ClientHello {
    /// Reads a ClientHello from its records as they came. `None`: it is not complete, or something else.
    ///
    /// Judges nothing: whether the ClientHello is in order is for TLS to see.
    pub fn read(records: &[u8]) -> Option<Self> {
        let message = first_message(records)?;
        let mut rest = Bytes(&message);
        let legacy_version = rest.u16()?;
        // The random, and the session id.
        rest.take(32)?;
        let session_id = rest.byte()?;
        rest.take(session_id.into())?;
        let suites = rest.u16()?;
        let mut offer = TlsOffer {
            legacy_version,
            cipher_suites: pairs(rest.take(suites.into())?),
            ..TlsOffer::default()
        };
        let compressions = rest.byte()?;
        rest.take(compressions.into())?;
        let length = rest.u16()?;
        let mut extensions = Bytes(rest.take(length.into())?);
        let (mut fragment, mut record) = (None, None);
        while let Some(kind) = extensions.u16() {
            let length = extensions.u16()?;
            let value = extensions.take(length.into())?;
            offer.add_extension(kind, value);
            match (kind, value) {
                (MAX_FRAGMENT_LENGTH, &[code @ 1..=4]) => fragment = Some(1 << (8 + code)),
                // In TLS 1.3 the type of the content counts, too (RFC 8449 §4), so one byte less is always right.
                (RECORD_SIZE_LIMIT, &[high, low]) => {
                    let limit = usize::from(u16::from_be_bytes([high, low]));
                    record = (65..=16_384).contains(&limit).then(|| limit - 1);
                }
                _ => {}
            }
        }
        // A client that names both means the second (RFC 8449 §5).
        let asked = record.or(fragment);
        let is_old = !offer.versions.contains(&TLS_1_3);
        Some(Self {
            record_limit: asked.or(is_old.then_some(OLD_CLIENT_BYTES)),
            offer,
        })
    }

    /// The longest plaintext of a record that this client takes, in bytes: 64 to 16,383. `None`: it speaks TLS 1.3 and asks
    /// for nothing, or for nothing that exists.
    pub fn record_limit(&self) -> Option<usize> {
        self.record_limit
    }

    /// What kind of TLS client it is.
    pub fn ja4(&self) -> Ja4 {
        self.offer.ja4()
    }
}

/// The body of the ClientHello, which may be spread over several records.
fn first_message(records: &[u8]) -> Option<Vec<u8>> {
    let mut rest = Bytes(records.get(..CLIENT_HELLO_MAX_BYTES).unwrap_or(records));
    let mut message = Vec::new();
    loop {
        if rest.byte()? != HANDSHAKE_RECORD {
            return None;
        }
        rest.take(2)?;
        let length = rest.u16()?;
        message.extend_from_slice(rest.take(length.into())?);
        let mut whole = Bytes(&message);
        match whole.byte() {
            Some(CLIENT_HELLO) => {}
            Some(_) => return None,
            None => continue,
        }
        if let Some(length) = whole.u24()
            && let Some(body) = whole.take(length)
        {
            return Some(body.to_vec());
        }
    }
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u24(&mut self) -> Option<usize> {
        let bytes = self.take(3)?;
        Some(
            bytes
                .iter()
                .fold(0, |value, byte| value << 8 | usize::from(*byte)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record_limit(records: &[u8]) -> Option<usize> {
        ClientHello::read(records)?.record_limit()
    }

    /// A ClientHello of TLS 1.3 with these extensions, in records of at most so many bytes.
    fn hello(extensions: &[(u16, &[u8])], record_max: usize) -> Vec<u8> {
        let versions: (u16, &[u8]) = (43, &[4, 3, 4, 3, 3]);
        bare_hello(&[&[versions], extensions].concat(), record_max)
    }

    fn bare_hello(extensions: &[(u16, &[u8])], record_max: usize) -> Vec<u8> {
        let mut block = Vec::new();
        for (kind, value) in extensions {
            block.extend_from_slice(&kind.to_be_bytes());
            block.extend_from_slice(&(value.len() as u16).to_be_bytes());
            block.extend_from_slice(value);
        }
        let mut body = vec![3, 3];
        body.extend_from_slice(&[7; 32]);
        body.extend_from_slice(&[0, 0, 2, 0xc0, 0x2b, 1, 0]);
        body.extend_from_slice(&(block.len() as u16).to_be_bytes());
        body.extend_from_slice(&block);
        let length = (body.len() as u32).to_be_bytes();
        let message = [&[CLIENT_HELLO][..], &length[1..], &body].concat();
        message
            .chunks(record_max)
            .flat_map(|chunk| {
                let length = (chunk.len() as u16).to_be_bytes();
                [&[HANDSHAKE_RECORD, 3, 1][..], &length, chunk].concat()
            })
            .collect()
    }

    #[test]
    fn a_client_asks_for_short_records_in_two_ways() {
        for (code, length) in [(1, 512), (2, 1_024), (3, 2_048), (4, 4_096)] {
            assert_eq!(
                record_limit(&hello(&[(0, b"x"), (1, &[code])], 9_999)),
                Some(length)
            );
        }
        assert_eq!(record_limit(&hello(&[(28, &[4, 0])], 9_999)), Some(1_023));
        assert_eq!(
            record_limit(&hello(&[(1, &[1]), (28, &[0x40, 0])], 9_999)),
            Some(16_383)
        );
    }

    #[test]
    fn what_does_not_exist_asks_for_nothing() {
        for (kind, value) in [
            (1, &[0][..]),
            (1, &[5]),
            (1, &[1, 1]),
            (1, &[]),
            (28, &[0, 64]),
            (28, &[0x40, 1]),
            (28, &[9]),
            (0xff01, &[0]),
        ] {
            assert_eq!(
                record_limit(&hello(&[(kind, value)], 9_999)),
                None,
                "{kind} {value:?}"
            );
        }
        assert_eq!(record_limit(&hello(&[], 9_999)), None);
        assert_eq!(record_limit(b"GET / HTTP/1.1\r\n\r\n"), None);
    }

    #[test]
    fn who_speaks_tls_1_2_at_most_has_little_room_or_says_how_much() {
        for versions in [&[][..], &[(43, &[2, 3, 3][..])]] {
            assert_eq!(record_limit(&bare_hello(versions, 9_999)), Some(1_024));
        }
        let asks: (u16, &[u8]) = (1, &[4]);
        assert_eq!(record_limit(&bare_hello(&[asks], 9_999)), Some(4_096));
    }

    #[test]
    fn a_client_is_told_by_what_it_offers_and_not_by_how_that_was_sent() {
        let ja4 = |bytes: &[u8]| ClientHello::read(bytes).unwrap().ja4().to_string();
        let signatures: (u16, &[u8]) = (13, &[0, 2, 4, 3]);
        let plain = hello(&[(0, b"x"), signatures], 9_999);
        assert!(ja4(&plain).starts_with("t13d010300_"), "{}", ja4(&plain));
        assert_eq!(ja4(&hello(&[(0, b"y"), signatures], 7)), ja4(&plain));
        assert_eq!(ja4(&hello(&[signatures, (0, b"x")], 9_999)), ja4(&plain));
        let made_up: (u16, &[u8]) = (0x5a5a, b"");
        assert_eq!(
            ja4(&hello(&[made_up, (0, b"x"), signatures], 9_999)),
            ja4(&plain)
        );
        assert_ne!(ja4(&hello(&[signatures], 9_999)), ja4(&plain));
    }

    #[test]
    fn a_hello_may_be_spread_over_records_and_is_nothing_until_it_is_complete() {
        let bytes = hello(&[(10, &[0; 900]), (1, &[2])], 50);
        assert_eq!(record_limit(&bytes), Some(1_024));
        for end in 0..bytes.len() {
            assert_eq!(record_limit(bytes.get(..end).unwrap()), None, "{end}");
        }
        let long = hello(&[(10, &[0; CLIENT_HELLO_MAX_BYTES]), (1, &[2])], 16_000);
        assert_eq!(record_limit(&long), None);
    }
}
