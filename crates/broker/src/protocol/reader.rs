//! A place in the body of a packet. Reading beyond its end is a malformed packet, never a panic.

use super::reason::{ReasonCode, Violation};
use super::scalar::PacketId;
use super::text;

#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

const SHORT: Violation = Violation::malformed("§1.5", "the packet ends inside a field");

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes have been read.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// How many bytes there are in all.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes that have been read since a position.
    pub(super) fn since(&self, position: usize) -> &'a [u8] {
        self.bytes.get(position..self.at).unwrap_or_default()
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8], Violation> {
        let end = self.at.checked_add(n).ok_or(SHORT)?;
        let taken = self.bytes.get(self.at..end).ok_or(SHORT)?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Violation> {
        self.take(N)?.try_into().map_err(|_| SHORT)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Violation> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub(super) fn u16(&mut self) -> Result<u16, Violation> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Violation> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// Two bytes of length, then that many bytes (§1.5.6).
    pub(super) fn binary(&mut self) -> Result<&'a [u8], Violation> {
        let length = self.u16()?;
        self.take(length.into())
    }

    /// A string that every client takes (§1.5.4).
    pub(super) fn string(&mut self, refusal: ReasonCode) -> Result<&'a [u8], Violation> {
        let bytes = self.binary()?;
        text::check(bytes, refusal)?;
        Ok(bytes)
    }

    /// A variable byte integer in as few bytes as it needs (§1.5.5).
    pub(super) fn varint(&mut self) -> Result<u32, Violation> {
        let rest = self.bytes.get(self.at..).ok_or(SHORT)?;
        match varint(rest)? {
            None => Err(SHORT),
            Some((_, n)) if n > 1 && rest.get(n - 1) == Some(&0) => Err(NOT_MINIMAL),
            Some((value, n)) => {
                self.at += n;
                Ok(value)
            }
        }
    }

    /// A packet identifier: not 0.
    pub(super) fn packet_id(&mut self) -> Result<PacketId, Violation> {
        PacketId::new(self.u16()?).ok_or(Violation::protocol(
            "[MQTT-2.2.1-3]",
            "a packet identifier is 0",
        ))
    }

    /// The packet must end here.
    pub(super) fn end(&self) -> Result<(), Violation> {
        match self.is_at_end() {
            true => Ok(()),
            false => Err(Violation::malformed(
                "§2.1.4",
                "bytes follow the end of the packet",
            )),
        }
    }
}

pub(super) const NOT_MINIMAL: Violation = Violation::malformed(
    "[MQTT-1.5.5-1]",
    "a variable byte integer has more bytes than it needs",
);

/// The variable byte integer at the beginning of `bytes`, and how many bytes it has. `None` if it is not complete.
pub(super) fn varint(bytes: &[u8]) -> Result<Option<(u32, usize)>, Violation> {
    let mut value = 0;
    for (n, byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            return Ok(Some((value, n + 1)));
        }
    }
    match bytes.len() {
        0..4 => Ok(None),
        _ => Err(Violation::malformed(
            "§1.5.5",
            "a variable byte integer has more than four bytes",
        )),
    }
}

/// The properties of a packet, one after the other (§2.2.2).
pub(super) struct PropertyReader<'a> {
    pub(super) value: Reader<'a>,
    /// A bit for each identifier below 64 that has been seen.
    seen: u64,
}

/// Identifiers that may occur more than once: Subscription Identifier and User Property.
const REPEATABLE: [u8; 2] = [0x0b, 0x26];

impl<'a> PropertyReader<'a> {
    /// Reads the length of the properties; `value` then is at the first, and ends where they end.
    pub(super) fn open(packet: &mut Reader<'a>) -> Result<Self, Violation> {
        let length = packet.varint()? as usize;
        let value = Reader::new(packet.take(length)?);
        Ok(Self { value, seen: 0 })
    }

    /// Reads properties whose length is not on the wire.
    pub(super) fn over(block: &'a [u8]) -> Self {
        Self {
            value: Reader::new(block),
            seen: 0,
        }
    }

    /// The identifier of the next property. Its value is to be read from `value`.
    pub(super) fn next(&mut self) -> Result<Option<u8>, Violation> {
        if self.value.is_at_end() {
            return Ok(None);
        }
        // Identifiers are variable byte integers; all that exist have one byte.
        let id = self.value.byte()?;
        if id >= 64 {
            return Err(UNKNOWN_PROPERTY);
        }
        if self.seen & (1 << id) != 0 && !REPEATABLE.contains(&id) {
            return Err(Violation::protocol(
                "§2.2.2.2",
                "a property that may occur once occurs twice",
            ));
        }
        self.seen |= 1 << id;
        Ok(Some(id))
    }

    /// A byte that is 0 or 1.
    pub(super) fn flag(&mut self, section: &'static str) -> Result<bool, Violation> {
        match self.value.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Violation::protocol(
                section,
                "a property that is 0 or 1 has another value",
            )),
        }
    }

    /// Skips a user property (§3.1.2.11.8), after checking both of its strings.
    pub(super) fn skip_user_property(&mut self) -> Result<(), Violation> {
        self.value.string(ReasonCode::MalformedPacket)?;
        self.value.string(ReasonCode::MalformedPacket)?;
        Ok(())
    }
}

const UNKNOWN_PROPERTY: Violation =
    Violation::malformed("§2.2.2.2", "MQTT has no property with this identifier");

/// A property that this packet must not have (§2.2.2.2).
pub(super) const MISPLACED_PROPERTY: Violation = Violation::malformed(
    "§2.2.2.2",
    "a property is not allowed in a packet of this type from a client",
);
