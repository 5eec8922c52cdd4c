//! PUBACK, PUBREC, PUBREL, PUBCOMP (MQTT 5 §3.4 to §3.7) and DISCONNECT (§3.14) from a client.

use super::packet::{Ack, Disconnect};
use super::reader::{MISPLACED_PROPERTY, PropertyReader, Reader};
use super::reason::{ReasonCode, Violation};
use super::scalar::Version;

const SESSION_EXPIRY: u8 = 0x11;
const SERVER_REFERENCE: u8 = 0x1c;
const REASON_STRING: u8 = 0x1f;
const USER_PROPERTY: u8 = 0x26;

/// Reads an acknowledgement of packet type `kind`, 4 to 7.
pub(super) fn read_ack(
    version: Version,
    kind: u8,
    body: &mut Reader<'_>,
) -> Result<Ack, Violation> {
    let packet_id = body.packet_id()?;
    let mut reason = ReasonCode::Success;
    if version == Version::V5 && !body.is_at_end() {
        reason = ReasonCode::from_byte(body.byte()?)
            .filter(|&code| is_ack_reason(kind, code))
            .ok_or(Violation::protocol(
                "[MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1]",
                "an acknowledgement has a reason code that it cannot have",
            ))?;
        if !body.is_at_end() {
            read_ack_properties(body)?;
        }
    }
    Ok(Ack { packet_id, reason })
}

/// The reason codes of an acknowledgement (tables 3-4 to 3-7).
pub(super) fn is_ack_reason(kind: u8, code: ReasonCode) -> bool {
    match kind {
        4 | 5 => matches!(
            code,
            ReasonCode::Success
                | ReasonCode::NoMatchingSubscribers
                | ReasonCode::UnspecifiedError
                | ReasonCode::ImplementationSpecificError
                | ReasonCode::NotAuthorized
                | ReasonCode::TopicNameInvalid
                | ReasonCode::PacketIdentifierInUse
                | ReasonCode::QuotaExceeded
                | ReasonCode::PayloadFormatInvalid
        ),
        _ => matches!(
            code,
            ReasonCode::Success | ReasonCode::PacketIdentifierNotFound
        ),
    }
}

fn read_ack_properties(body: &mut Reader<'_>) -> Result<(), Violation> {
    let mut properties = PropertyReader::open(body)?;
    while let Some(id) = properties.next()? {
        match id {
            REASON_STRING => {
                properties.value.string(ReasonCode::MalformedPacket)?;
            }
            USER_PROPERTY => properties.skip_user_property()?,
            _ => return Err(MISPLACED_PROPERTY),
        }
    }
    Ok(())
}

/// Reads DISCONNECT. `session_ends` says that CONNECT asked for a session expiry of 0.
pub(super) fn read_disconnect(
    version: Version,
    session_ends: bool,
    body: &mut Reader<'_>,
) -> Result<Disconnect, Violation> {
    let mut disconnect = Disconnect {
        reason: ReasonCode::Success,
        session_expiry_s: None,
    };
    if version == Version::V311 || body.is_at_end() {
        return Ok(disconnect);
    }
    disconnect.reason = ReasonCode::from_byte(body.byte()?)
        .filter(|&code| is_client_disconnect_reason(code))
        .ok_or(Violation::protocol(
            "[MQTT-3.14.2-1]",
            "DISCONNECT has a reason code that a client cannot give",
        ))?;
    if body.is_at_end() {
        return Ok(disconnect);
    }
    let mut properties = PropertyReader::open(body)?;
    while let Some(id) = properties.next()? {
        match id {
            SESSION_EXPIRY => {
                let seconds = properties.value.u32()?;
                if session_ends && seconds != 0 {
                    return Err(Violation::protocol(
                        "§3.14.2.2.2",
                        "DISCONNECT prolongs a session that CONNECT ended with the connection",
                    ));
                }
                disconnect.session_expiry_s = Some(seconds);
            }
            REASON_STRING => {
                properties.value.string(ReasonCode::MalformedPacket)?;
            }
            USER_PROPERTY => properties.skip_user_property()?,
            SERVER_REFERENCE => {
                return Err(Violation::protocol(
                    "§3.14.2.2.5",
                    "DISCONNECT from a client has a server reference",
                ));
            }
            _ => return Err(MISPLACED_PROPERTY),
        }
    }
    Ok(disconnect)
}

/// The reason codes of DISCONNECT that a client may give (table 3-10).
fn is_client_disconnect_reason(code: ReasonCode) -> bool {
    matches!(
        code,
        ReasonCode::Success
            | ReasonCode::DisconnectWithWill
            | ReasonCode::UnspecifiedError
            | ReasonCode::MalformedPacket
            | ReasonCode::ProtocolError
            | ReasonCode::ImplementationSpecificError
            | ReasonCode::TopicNameInvalid
            | ReasonCode::ReceiveMaximumExceeded
            | ReasonCode::TopicAliasInvalid
            | ReasonCode::PacketTooLarge
            | ReasonCode::MessageRateTooHigh
            | ReasonCode::QuotaExceeded
            | ReasonCode::AdministrativeAction
            | ReasonCode::PayloadFormatInvalid
    )
}
