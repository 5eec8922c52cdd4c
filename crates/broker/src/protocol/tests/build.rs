//! Packets as a client writes them, right or wrong: the bytes of the tables.

use bytes::BytesMut;

use crate::protocol::{Decoder, DecoderLimits, Packet, ReasonCode, Version, Violation};

pub(super) const V311: Version = Version::V311;
pub(super) const V5: Version = Version::V5;

pub(super) const LIMITS: DecoderLimits = DecoderLimits {
    connect_max_bytes: 64 * 1024,
    packet_max_bytes: 100_000,
    topic_alias_max: 10,
};

/// A fixed header with the right length, and what follows.
pub(super) fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [vec![first], varint(body.len()), body].concat()
}

pub(super) fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// Two bytes of length and the bytes.
pub(super) fn text(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

/// Properties with their length before them.
pub(super) fn properties(parts: &[&[u8]]) -> Vec<u8> {
    let block = parts.concat();
    [varint(block.len()), block].concat()
}

/// A property whose value is a string or binary data.
pub(super) fn string_property(id: u8, value: impl AsRef<[u8]>) -> Vec<u8> {
    [vec![id], text(value)].concat()
}

pub(super) fn user_property(name: &str, value: &str) -> Vec<u8> {
    [vec![0x26], text(name), text(value)].concat()
}

/// Protocol name and level.
pub(super) fn protocol(version: Version) -> Vec<u8> {
    let level = match version {
        V311 => 4,
        V5 => 5,
    };
    [text("MQTT"), vec![level]].concat()
}

/// A CONNECT that is in order: clean, no keep alive.
pub(super) fn connect(version: Version) -> Vec<u8> {
    let none: &[u8] = if version == V5 { &[0] } else { &[] };
    packet(0x10, &[&protocol(version), &[2, 0, 0], none, &text("lamp")])
}

/// All that a decoder makes of these bytes.
pub(super) fn decode(bytes: &[u8]) -> (Vec<Packet>, Option<Violation>) {
    let mut decoder = Decoder::new(LIMITS);
    let mut buffer = BytesMut::from(bytes);
    let mut packets = Vec::new();
    loop {
        match decoder.next(&mut buffer) {
            Ok(Some(packet)) => packets.push(packet),
            Ok(None) => return (packets, None),
            Err(violation) => return (packets, Some(violation)),
        }
    }
}

/// The packet that follows a CONNECT.
pub(super) fn decode_after_connect(version: Version, bytes: &[u8]) -> Result<Packet, Violation> {
    let (mut packets, violation) = decode(&[&connect(version), bytes].concat());
    match violation {
        Some(violation) => Err(violation),
        None => {
            assert_eq!(packets.len(), 2, "not one whole packet: {bytes:02x?}");
            Ok(packets.remove(1))
        }
    }
}

/// Bytes that break a rule.
pub(super) struct Broken {
    /// The section, or a part of it.
    pub(super) rule: &'static str,
    pub(super) version: Version,
    pub(super) bytes: Vec<u8>,
    pub(super) reason: ReasonCode,
}

pub(super) fn broken(
    rule: &'static str,
    version: Version,
    bytes: Vec<u8>,
    reason: ReasonCode,
) -> Broken {
    Broken {
        rule,
        version,
        bytes,
        reason,
    }
}

/// Each row is refused for its rule and with its reason, in one piece and byte by byte.
pub(super) fn assert_refused(rows: Vec<Broken>, after_connect: bool) {
    for row in rows {
        let before = match after_connect {
            true => connect(row.version),
            false => Vec::new(),
        };
        let (packets, violation) = decode(&[&before[..], &row.bytes].concat());
        let violation =
            violation.unwrap_or_else(|| panic!("{} let pass: {:02x?}", row.rule, row.bytes));
        assert_eq!(packets.len(), usize::from(after_connect), "{}", row.rule);
        assert!(
            violation.section.contains(row.rule),
            "{} was refused for {violation}: {:02x?}",
            row.rule,
            row.bytes
        );
        assert_eq!(violation.reason, row.reason, "{}: {violation}", row.rule);
    }
}
