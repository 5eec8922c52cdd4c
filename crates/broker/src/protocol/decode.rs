//! From bytes to packets: the fixed header (MQTT 5 §2.1), and which packet may come when.

use bytes::{Buf, BytesMut};
use zeroize::Zeroize;

use super::connack::Connack;
use super::encode::{Encoder, TooLarge};
use super::packet::{Connect, Packet};
use super::publish::Aliases;
use super::reader::{self, NOT_MINIMAL, Reader};
use super::reason::{ReasonCode, Violation};
use super::scalar::Version;
use super::{connect, control, publish, subscribe};

/// How much a client may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecoderLimits {
    /// The longest CONNECT, all of it, in bytes.
    pub connect_max_bytes: usize,
    /// The longest packet after it, all of it, in bytes: the Maximum Packet Size of CONNACK.
    pub packet_max_bytes: usize,
    /// The highest topic alias: the Topic Alias Maximum of CONNACK.
    pub topic_alias_max: u16,
}

/// Reads the packets of one connection, from its first byte to its last.
///
/// The caller owns the buffer, reads from the socket into its end and calls [`Decoder::next`] until it says `None`.
#[derive(Debug)]
pub struct Decoder {
    limits: DecoderLimits,
    stage: Stage,
    /// A client that said 0 in CONNECT may not raise it in DISCONNECT (§3.14.2.2.2).
    session_ends_with_connection: bool,
    aliases: Aliases,
    wanted_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing has been read. The version is set as soon as CONNECT has named it, right or wrong.
    Unconnected(Option<Version>),
    /// CONNECT has been read.
    Connected(Version),
    /// After DISCONNECT or a violation nothing is read any more [MQTT-3.14.4-1].
    Ended(Option<Version>),
}

impl Decoder {
    /// A decoder for a new connection.
    pub fn new(limits: DecoderLimits) -> Self {
        Self {
            limits,
            stage: Stage::Unconnected(None),
            session_ends_with_connection: false,
            aliases: Aliases::new(limits.topic_alias_max),
            wanted_bytes: 2,
        }
    }

    /// Sets the bounds of the packets after CONNECT, as CONNACK will announce them.
    pub fn set_limits(&mut self, packet_max_bytes: usize, topic_alias_max: u16) {
        self.limits.packet_max_bytes = packet_max_bytes;
        self.limits.topic_alias_max = topic_alias_max;
        self.aliases = Aliases::new(topic_alias_max);
    }

    /// Takes the next packet out of the buffer. `None`: it is not complete.
    ///
    /// After a violation and after DISCONNECT the rest of the buffer is not looked at, and `None` is all that comes.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Packet>, Violation> {
        match self.read(buffer) {
            Ok(Some(packet)) => {
                if let Packet::Disconnect(_) = packet {
                    self.stage = Stage::Ended(self.version());
                }
                Ok(Some(packet))
            }
            Ok(None) => Ok(None),
            Err(violation) => {
                self.stage = Stage::Ended(self.version());
                // A password may be in it.
                buffer.as_mut().zeroize();
                buffer.clear();
                Err(violation)
            }
        }
    }

    /// How many bytes the packet has that [`Decoder::next`] is waiting for, as far as is known: what the buffer should
    /// have room for. Never above the bounds; a caller that minds memory lets the buffer grow as bytes arrive.
    pub fn wanted_bytes(&self) -> usize {
        self.wanted_bytes
    }

    /// The version, as soon as CONNECT has said it.
    pub fn version(&self) -> Option<Version> {
        match self.stage {
            Stage::Unconnected(version) | Stage::Ended(version) => version,
            Stage::Connected(version) => Some(version),
        }
    }

    /// Appends what a client gets about a violation before the connection ends.
    ///
    /// MQTT 5: CONNACK as long as none was sent, DISCONNECT from then on. MQTT 3.1.1: a return code if CONNECT can be
    /// answered at all (§3.1.4), later nothing. A connection that did not begin with CONNECT gets nothing.
    pub fn refuse(&self, violation: &Violation, connack_sent: bool, out: &mut BytesMut) {
        let Some(version) = self.version() else {
            return;
        };
        let encoder = Encoder::new(version);
        let (reason, what) = (violation.reason, violation.what);
        if connack_sent {
            return encoder.disconnect(reason, Some(what), out);
        }
        let told = version == Version::V5
            || matches!(
                violation.reason,
                ReasonCode::UnsupportedProtocolVersion | ReasonCode::ClientIdentifierNotValid
            );
        if told {
            // What only DISCONNECT can say (table 3-1) is a protocol error in CONNACK.
            let mut connack = Connack::because(match reason {
                ReasonCode::TopicFilterInvalid | ReasonCode::TopicAliasInvalid => {
                    ReasonCode::ProtocolError
                }
                other => other,
            });
            connack.reason_string = Some(what);
            let _: Result<(), TooLarge> = encoder.connack(&connack, out);
        }
    }

    fn read(&mut self, buffer: &mut BytesMut) -> Result<Option<Packet>, Violation> {
        self.wanted_bytes = 2;
        let Some(&first) = buffer.first() else {
            return Ok(None);
        };
        match self.stage {
            Stage::Ended(_) => Ok(None),
            Stage::Unconnected(_) => self.read_connect(first, buffer),
            Stage::Connected(version) => self.read_packet(version, first, buffer),
        }
    }

    /// The length of the fixed header and of the whole packet, as soon as all of it is here.
    fn frame(
        &mut self,
        buffer: &BytesMut,
        version: Option<Version>,
        max_bytes: usize,
    ) -> Result<Option<(usize, usize)>, Violation> {
        let length = buffer.get(1..).unwrap_or_default();
        let Some((body, n)) = reader::varint(length)? else {
            self.wanted_bytes = buffer.len() + 1;
            return Ok(None);
        };
        // MQTT 3.1.1 does not ask for the shortest form.
        if version == Some(Version::V5) && n > 1 && length.get(n - 1) == Some(&0) {
            return Err(NOT_MINIMAL);
        }
        let header = 1 + n;
        let whole = header + body as usize;
        if whole > max_bytes {
            return Err(TOO_LARGE);
        }
        self.wanted_bytes = whole;
        Ok((buffer.len() >= whole).then_some((header, whole)))
    }

    fn read_connect(
        &mut self,
        first: u8,
        buffer: &mut BytesMut,
    ) -> Result<Option<Packet>, Violation> {
        if first >> 4 != 1 {
            return Err(Violation::protocol(
                "[MQTT-3.1.0-1]",
                "the first packet is not CONNECT",
            ));
        }
        check_flags(first, 0)?;
        let Some((header, whole)) = self.frame(buffer, None, self.limits.connect_max_bytes)? else {
            return Ok(None);
        };
        let mut packet = buffer.split_to(whole);
        let length = packet.get(1..header).unwrap_or_default();
        let longer_than_needed = length.len() > 1 && length.last() == Some(&0);
        let mut version = None;
        let read = connect::read(
            &mut Reader::new(packet.get(header..).unwrap_or_default()),
            &mut version,
        );
        self.stage = Stage::Unconnected(version);
        // A password may be in it; what is kept has bytes of its own.
        packet.as_mut().zeroize();
        let connect = read?;
        if connect.version == Version::V5 && longer_than_needed {
            return Err(NOT_MINIMAL);
        }
        self.begin(&connect);
        Ok(Some(Packet::Connect(Box::new(connect))))
    }

    fn begin(&mut self, connect: &Connect) {
        self.stage = Stage::Connected(connect.version);
        self.session_ends_with_connection = connect.session_expiry_s == 0;
    }

    fn read_packet(
        &mut self,
        version: Version,
        first: u8,
        buffer: &mut BytesMut,
    ) -> Result<Option<Packet>, Violation> {
        check_type(version, first)?;
        let max_bytes = self.limits.packet_max_bytes;
        let Some((header, whole)) = self.frame(buffer, Some(version), max_bytes)? else {
            return Ok(None);
        };
        let kind = first >> 4;
        if let 3 | 8 | 10 = kind {
            let mut body = buffer.split_to(whole).freeze();
            body.advance(header);
            return Ok(Some(match kind {
                3 => Packet::Publish(publish::read(version, first, body, &mut self.aliases)?),
                8 => Packet::Subscribe(subscribe::read_subscribe(version, body)?),
                _ => Packet::Unsubscribe(subscribe::read_unsubscribe(version, body)?),
            }));
        }
        let mut body = Reader::new(buffer.get(header..whole).unwrap_or_default());
        let packet = match kind {
            4 => Packet::Puback(control::read_ack(version, kind, &mut body)?),
            5 => Packet::Pubrec(control::read_ack(version, kind, &mut body)?),
            6 => Packet::Pubrel(control::read_ack(version, kind, &mut body)?),
            7 => Packet::Pubcomp(control::read_ack(version, kind, &mut body)?),
            12 => Packet::Pingreq,
            _ => Packet::Disconnect(control::read_disconnect(
                version,
                self.session_ends_with_connection,
                &mut body,
            )?),
        };
        body.end()?;
        buffer.advance(whole);
        Ok(Some(packet))
    }
}

const TOO_LARGE: Violation = Violation::because(
    ReasonCode::PacketTooLarge,
    "[MQTT-3.2.2-15]",
    "the packet is longer than the gateway reads",
);

/// The reserved bits of the first byte (§2.1.3) [MQTT-2.1.3-1].
fn check_flags(first: u8, wanted: u8) -> Result<(), Violation> {
    match first & 0x0f == wanted {
        true => Ok(()),
        false => Err(Violation::malformed(
            "[MQTT-2.1.3-1]",
            "reserved flags of the fixed header have the wrong value",
        )),
    }
}

/// Which packets a client may send after CONNECT (§2.1.2), seen from the first byte, before their length is believed.
fn check_type(version: Version, first: u8) -> Result<(), Violation> {
    match first >> 4 {
        3 => publish::check_flags(first),
        4 | 5 | 7 | 12 | 14 => check_flags(first, 0),
        6 | 8 | 10 => check_flags(first, 2),
        1 => Err(Violation::protocol("[MQTT-3.1.0-2]", "a second CONNECT")),
        2 | 9 | 11 | 13 => Err(Violation::protocol(
            "§2.1.2",
            "a packet that only a server sends",
        )),
        15 if version == Version::V5 => Err(Violation::protocol(
            "[MQTT-4.12.0-7]",
            "AUTH without an authentication method in CONNECT",
        )),
        _ => Err(Violation::malformed("§2.1.2", "a reserved packet type")),
    }
}
