//! CONNECT (MQTT 5 §3.1, MQTT 3.1.1 §3.1).

use std::num::{NonZeroU16, NonZeroU32};

use bytes::{BufMut, Bytes, BytesMut};

use super::message::{MESSAGE_EXPIRY, Message, Properties, check_forwarded};
use super::packet::{Connect, Password, Will};
use super::publish::read_will_topic;
use super::reader::{MISPLACED_PROPERTY, PropertyReader, Reader};
use super::reason::{ReasonCode, Violation};
use super::scalar::{QoS, Version};
use super::text::Text;

const SESSION_EXPIRY: u8 = 0x11;
const AUTHENTICATION_METHOD: u8 = 0x15;
const AUTHENTICATION_DATA: u8 = 0x16;
const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
const WILL_DELAY: u8 = 0x18;
const REQUEST_RESPONSE_INFORMATION: u8 = 0x19;
const RECEIVE_MAXIMUM: u8 = 0x21;
const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
const USER_PROPERTY: u8 = 0x26;
const MAXIMUM_PACKET_SIZE: u8 = 0x27;

const RESERVED: u8 = 0x01;
const CLEAN_START: u8 = 0x02;
const WILL: u8 = 0x04;
const WILL_RETAIN: u8 = 0x20;
const PASSWORD: u8 = 0x40;
const USER_NAME: u8 = 0x80;

/// Protocol name and level.
struct Protocol {
    version: Version,
    bridge: bool,
    /// MQTT 3.1, as mosquitto's old bridges have it: no empty client id.
    before_311: bool,
}

/// Reads what follows the fixed header. `version` is set as soon as it is known how to answer.
pub(super) fn read(
    reader: &mut Reader<'_>,
    version: &mut Option<Version>,
) -> Result<Connect, Violation> {
    let protocol = read_protocol(reader, version)?;
    *version = Some(protocol.version);
    let flags = reader.byte()?;
    check_flags(protocol.version, flags)?;
    let keep_alive_s = reader.u16()?;
    let clean_start = flags & CLEAN_START != 0;
    let mut connect = Connect {
        version: protocol.version,
        bridge: protocol.bridge,
        clean_start,
        keep_alive_s,
        client_id: Text::default(),
        will: None,
        user_name: None,
        password: None,
        session_expiry_s: match (protocol.version, clean_start) {
            (Version::V311, false) => u32::MAX,
            _ => 0,
        },
        receive_max: NonZeroU16::MAX,
        packet_max_bytes: None,
        topic_alias_max: 0,
        wants_response_information: false,
        wants_problem_information: true,
        authentication_method: None,
    };
    if protocol.version == Version::V5 {
        read_properties(reader, &mut connect)?;
    }
    connect.client_id = text(reader, ReasonCode::ClientIdentifierNotValid)?;
    let nameless = connect.client_id.is_empty();
    if nameless && protocol.version == Version::V311 && (!clean_start || protocol.before_311) {
        return Err(Violation::because(
            ReasonCode::ClientIdentifierNotValid,
            "MQTT 3.1.1 [MQTT-3.1.3-7] [MQTT-3.1.3-8]",
            "an empty client id without Clean Session",
        ));
    }
    if flags & WILL != 0 {
        connect.will = Some(read_will(protocol.version, flags, reader)?);
    }
    if flags & USER_NAME != 0 {
        connect.user_name = Some(text(reader, ReasonCode::MalformedPacket)?);
    }
    if flags & PASSWORD != 0 {
        connect.password = Some(Password::new(reader.binary()?));
    }
    reader.end()?;
    Ok(connect)
}

fn text(reader: &mut Reader<'_>, refusal: ReasonCode) -> Result<Text, Violation> {
    let bytes = reader.string(refusal)?;
    Ok(Text::from_checked(Bytes::copy_from_slice(bytes)))
}

/// Protocol name and level (§3.1.2.1, §3.1.2.2). The high bit of the level is how mosquitto's bridges name themselves.
fn read_protocol(
    reader: &mut Reader<'_>,
    version: &mut Option<Version>,
) -> Result<Protocol, Violation> {
    let name = reader.binary()?;
    if !matches!(name, b"MQTT" | b"MQIsdp") {
        return Err(Violation::because(
            ReasonCode::UnsupportedProtocolVersion,
            "[MQTT-3.1.2-1]",
            "the protocol is not MQTT",
        ));
    }
    let level = reader.byte()?;
    let (spoken, bridge) = match (name, level) {
        (b"MQTT", 5) => (Version::V5, false),
        (b"MQTT", 4) => (Version::V311, false),
        (b"MQTT", 0x84) | (b"MQIsdp", 0x83) => (Version::V311, true),
        _ => {
            // A client that is newer than MQTT 5 reads its answer as MQTT 5, an older one as MQTT 3.
            let newer = name == b"MQTT" && (6..0x80).contains(&level);
            *version = Some(if newer { Version::V5 } else { Version::V311 });
            return Err(Violation::because(
                ReasonCode::UnsupportedProtocolVersion,
                "[MQTT-3.1.2-2]",
                "neither MQTT 3.1.1 nor MQTT 5",
            ));
        }
    };
    Ok(Protocol {
        version: spoken,
        bridge,
        before_311: name == b"MQIsdp",
    })
}

/// Connect flags (§3.1.2.3).
fn check_flags(version: Version, flags: u8) -> Result<(), Violation> {
    if flags & RESERVED != 0 {
        return Err(Violation::malformed(
            "[MQTT-3.1.2-3]",
            "the reserved flag of CONNECT is set",
        ));
    }
    let will_qos = flags >> 3 & 3;
    if flags & WILL == 0 && (will_qos != 0 || flags & WILL_RETAIN != 0) {
        return Err(Violation::malformed(
            "[MQTT-3.1.2-11] [MQTT-3.1.2-13]",
            "flags of a will without a will",
        ));
    }
    if will_qos == 3 {
        return Err(Violation::malformed(
            "[MQTT-3.1.2-12]",
            "the will has QoS 3",
        ));
    }
    if version == Version::V311 && flags & PASSWORD != 0 && flags & USER_NAME == 0 {
        return Err(Violation::malformed(
            "MQTT 3.1.1 [MQTT-3.1.2-22]",
            "a password without a user name",
        ));
    }
    Ok(())
}

/// The properties of CONNECT (§3.1.2.11).
fn read_properties(reader: &mut Reader<'_>, connect: &mut Connect) -> Result<(), Violation> {
    let mut properties = PropertyReader::open(reader)?;
    let mut authentication_data = false;
    while let Some(id) = properties.next()? {
        let value = &mut properties.value;
        match id {
            SESSION_EXPIRY => connect.session_expiry_s = value.u32()?,
            RECEIVE_MAXIMUM => {
                connect.receive_max = NonZeroU16::new(value.u16()?)
                    .ok_or(Violation::protocol("§3.1.2.11.3", "Receive Maximum is 0"))?;
            }
            MAXIMUM_PACKET_SIZE => {
                let max = NonZeroU32::new(value.u32()?).ok_or(Violation::protocol(
                    "§3.1.2.11.4",
                    "Maximum Packet Size is 0",
                ))?;
                connect.packet_max_bytes = Some(max);
            }
            TOPIC_ALIAS_MAXIMUM => connect.topic_alias_max = value.u16()?,
            REQUEST_RESPONSE_INFORMATION => {
                connect.wants_response_information = properties.flag("§3.1.2.11.6")?;
            }
            REQUEST_PROBLEM_INFORMATION => {
                connect.wants_problem_information = properties.flag("§3.1.2.11.7")?;
            }
            AUTHENTICATION_METHOD => {
                connect.authentication_method = Some(text(value, ReasonCode::MalformedPacket)?);
            }
            AUTHENTICATION_DATA => {
                value.binary()?;
                authentication_data = true;
            }
            USER_PROPERTY => properties.skip_user_property()?,
            _ => return Err(MISPLACED_PROPERTY),
        }
    }
    if authentication_data && connect.authentication_method.is_none() {
        return Err(Violation::protocol(
            "§3.1.2.11.10",
            "authentication data without an authentication method",
        ));
    }
    Ok(())
}

/// The will in the payload (§3.1.3.2 to §3.1.3.4).
fn read_will(version: Version, flags: u8, reader: &mut Reader<'_>) -> Result<Will, Violation> {
    let (mut delay_s, mut expiry_s) = (0, None);
    let mut forwarded = BytesMut::new();
    if version == Version::V5 {
        let mut properties = PropertyReader::open(reader)?;
        loop {
            let at = properties.value.position();
            let Some(id) = properties.next()? else {
                break;
            };
            match id {
                WILL_DELAY => delay_s = properties.value.u32()?,
                MESSAGE_EXPIRY => expiry_s = Some(properties.value.u32()?),
                id if check_forwarded(&mut properties, id)? => {
                    forwarded.put_slice(properties.value.since(at));
                }
                _ => return Err(MISPLACED_PROPERTY),
            }
        }
    }
    let topic = read_will_topic(reader)?;
    let payload = Bytes::copy_from_slice(reader.binary()?);
    Ok(Will {
        message: Message {
            topic: Text::from_checked(topic),
            payload,
            properties: Properties(forwarded.freeze()),
        },
        qos: QoS::from_byte(flags >> 3 & 3).unwrap_or(QoS::AtMostOnce),
        retain: flags & WILL_RETAIN != 0,
        delay_s,
        expiry_s,
    })
}
