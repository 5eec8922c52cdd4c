//! What the gateway sends (MQTT 5 §3.2 to §3.15, MQTT 3.1.1 §3.2 to §3.13).
//!
//! All functions append, so that many packets share one buffer, one TLS record and one write. None of them can express
//! a packet that a server must not send: no property is missing a type here, and none has two places.

use bytes::{BufMut, BytesMut};

use super::connack::Connack;
use super::packet::Connect;
use super::reason::ReasonCode;
use super::scalar::{PacketId, VARINT_MAX, Version};
use super::writer::{packet_length, put_binary, put_varint, varint_length};

/// What is said to one client, in its version and within its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoder {
    version: Version,
    packet_max_bytes: usize,
    problem_information: bool,
}

/// A packet is longer than the client takes (§3.1.2.11.4). Nothing was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the packet would have {length_bytes} bytes, the client takes {max_bytes}")]
pub struct TooLarge {
    /// All of the packet, its fixed header included.
    pub length_bytes: usize,
    /// What the client takes, or MQTT allows.
    pub max_bytes: usize,
}

const REASON_STRING: u8 = 0x1f;

impl Encoder {
    /// The encoder for a client whose CONNECT has been read.
    pub fn for_client(connect: &Connect) -> Self {
        Self {
            version: connect.version,
            packet_max_bytes: connect
                .packet_max_bytes
                .map_or(usize::MAX, |max| max.get() as usize),
            problem_information: connect.wants_problem_information,
        }
    }

    /// The encoder for a client that has said nothing about itself.
    pub fn new(version: Version) -> Self {
        Self {
            version,
            packet_max_bytes: usize::MAX,
            problem_information: true,
        }
    }

    /// The version it writes.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The longest packet that the client takes, in bytes.
    pub fn packet_max_bytes(&self) -> usize {
        self.packet_max_bytes.min(PACKET_MAX_BYTES)
    }

    /// Appends CONNACK. A refusal says nothing but why.
    ///
    /// Fails if even the shortest form is longer than the client takes.
    pub fn connack(&self, connack: &Connack<'_>, out: &mut BytesMut) -> Result<(), TooLarge> {
        let accepted = !connack.reason.is_failure();
        let session_present = u8::from(connack.session_present && accepted);
        match self.version {
            Version::V311 => {
                out.put_slice(&[0x20, 2, session_present, connack.reason.connack_v311()]);
                Ok(())
            }
            Version::V5 => {
                let head = [session_present, connack.reason as u8];
                let mut properties = BytesMut::new();
                if accepted {
                    connack.put_bounds(&mut properties);
                }
                // Reason strings in CONNACK are allowed whatever Request Problem Information says (§3.1.2.11.7).
                self.packet(0x20, &head, &properties, connack.reason_string, 0, out)
            }
        }
    }

    /// Appends PUBACK for QoS 1.
    pub fn puback(&self, id: PacketId, reason: ReasonCode, why: Option<&str>, out: &mut BytesMut) {
        self.ack(0x40, id, reason, why, out);
    }

    /// Appends PUBREC, the first answer for QoS 2.
    pub fn pubrec(&self, id: PacketId, reason: ReasonCode, why: Option<&str>, out: &mut BytesMut) {
        self.ack(0x50, id, reason, why, out);
    }

    /// Appends PUBREL. `reason` is `Success` or `PacketIdentifierNotFound`.
    pub fn pubrel(&self, id: PacketId, reason: ReasonCode, out: &mut BytesMut) {
        self.ack(0x62, id, reason, None, out);
    }

    /// Appends PUBCOMP. `reason` is `Success` or `PacketIdentifierNotFound`.
    pub fn pubcomp(&self, id: PacketId, reason: ReasonCode, out: &mut BytesMut) {
        self.ack(0x70, id, reason, None, out);
    }

    /// Appends SUBACK with one code for each filter, in their order. In MQTT 3.1.1 every failure is 0x80
    /// [MQTT-3.9.3-2].
    ///
    /// Fails if it is longer than the client takes: then there is no way to answer, and the connection ends.
    pub fn suback(
        &self,
        id: PacketId,
        codes: impl ExactSizeIterator<Item = ReasonCode>,
        why: Option<&str>,
        out: &mut BytesMut,
    ) -> Result<(), TooLarge> {
        self.codes(0x90, id, codes, why, out)
    }

    /// Appends UNSUBACK, in MQTT 5 with one code for each filter.
    ///
    /// Fails if it is longer than the client takes.
    pub fn unsuback(
        &self,
        id: PacketId,
        codes: impl ExactSizeIterator<Item = ReasonCode>,
        out: &mut BytesMut,
    ) -> Result<(), TooLarge> {
        match self.version {
            Version::V5 => self.codes(0xb0, id, codes, None, out),
            Version::V311 => {
                out.put_slice(&[0xb0, 2]);
                out.put_u16(id.get());
                Ok(())
            }
        }
    }

    /// Appends PINGRESP.
    pub fn pingresp(&self, out: &mut BytesMut) {
        out.put_slice(&[0xd0, 0]);
    }

    /// Appends DISCONNECT in MQTT 5. A server of MQTT 3.1.1 has none: it closes.
    pub fn disconnect(&self, reason: ReasonCode, why: Option<&str>, out: &mut BytesMut) {
        if self.version == Version::V5 {
            // Longer than the client takes: then it is not told. The connection ends in any case.
            let _: Result<(), TooLarge> = self.packet(0xe0, &[reason as u8], &[], why, 0, out);
        }
    }

    pub(super) fn fits(&self, body: usize) -> Result<(), TooLarge> {
        let length_bytes = packet_length(body);
        let max_bytes = self.packet_max_bytes();
        match length_bytes <= max_bytes {
            true => Ok(()),
            false => Err(TooLarge {
                length_bytes,
                max_bytes,
            }),
        }
    }

    fn ack(
        &self,
        first: u8,
        id: PacketId,
        reason: ReasonCode,
        why: Option<&str>,
        out: &mut BytesMut,
    ) {
        let id = id.get().to_be_bytes();
        if self.version == Version::V311 || reason == ReasonCode::Success {
            // Without a reason code: Success (§3.4.2.1).
            out.put_slice(&[first, 2, id[0], id[1]]);
            return;
        }
        let why = why.filter(|_| self.problem_information);
        let head = [id[0], id[1], reason as u8];
        // Two bytes longer than any client can forbid: such a client gets nothing.
        let _: Result<(), TooLarge> = self.packet(first, &head, &[], why, 0, out);
    }

    fn codes(
        &self,
        first: u8,
        id: PacketId,
        codes: impl ExactSizeIterator<Item = ReasonCode>,
        why: Option<&str>,
        out: &mut BytesMut,
    ) -> Result<(), TooLarge> {
        let head = id.get().to_be_bytes();
        let why = why.filter(|_| self.problem_information);
        self.packet(first, &head, &[], why, codes.len(), out)?;
        for code in codes {
            out.put_u8(match self.version {
                Version::V311 if code.is_failure() => 0x80,
                _ => code as u8,
            });
        }
        Ok(())
    }

    /// Appends a packet up to its last `rest` bytes: fixed bytes, in MQTT 5 properties, and among them a reason string,
    /// which is left out if it makes the packet too long for the client [MQTT-3.2.2-19].
    pub(super) fn packet(
        &self,
        first: u8,
        head: &[u8],
        properties: &[u8],
        why: Option<&str>,
        rest: usize,
        out: &mut BytesMut,
    ) -> Result<(), TooLarge> {
        let lengths = |why: Option<&str>| match self.version {
            Version::V311 => (0, head.len() + rest),
            Version::V5 => {
                let properties = properties.len() + why.map_or(0, |why| 3 + why.len());
                let block = varint_length(properties) + properties;
                (properties, head.len() + block + rest)
            }
        };
        let why = why.filter(|why| {
            why.len() <= usize::from(u16::MAX) && self.fits(lengths(Some(why)).1).is_ok()
        });
        let (properties_length, body) = lengths(why);
        self.fits(body)?;
        out.put_u8(first);
        put_varint(out, body);
        out.put_slice(head);
        if self.version == Version::V5 {
            put_varint(out, properties_length);
            out.put_slice(properties);
            if let Some(why) = why {
                out.put_u8(REASON_STRING);
                put_binary(out, why.as_bytes());
            }
        }
        Ok(())
    }
}

/// The longest packet that MQTT defines, in bytes.
const PACKET_MAX_BYTES: usize = VARINT_MAX as usize + 5;
