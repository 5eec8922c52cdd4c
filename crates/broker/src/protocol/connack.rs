//! CONNACK (MQTT 5 §3.2).

use std::num::{NonZeroU16, NonZeroU32};

use bytes::{BufMut, BytesMut};

use super::reason::ReasonCode;
use super::writer::put_binary;

const SESSION_EXPIRY: u8 = 0x11;
const ASSIGNED_CLIENT_ID: u8 = 0x12;
const SERVER_KEEP_ALIVE: u8 = 0x13;
const RESPONSE_INFORMATION: u8 = 0x1a;
const RECEIVE_MAXIMUM: u8 = 0x21;
const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
const MAXIMUM_PACKET_SIZE: u8 = 0x27;

/// CONNACK (§3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connack<'a> {
    /// A session was there. Sent as `false` with a refusal [MQTT-3.2.2-6].
    pub session_present: bool,
    /// `Success`, or why not. Any session expiry and bound below is left out with a refusal.
    pub reason: ReasonCode,
    /// The life of the session, if it is not what the client asked for.
    pub session_expiry_s: Option<u32>,
    /// QoS 1 and 2 messages that the client may have under way. `None`: 65,535.
    pub receive_max: Option<NonZeroU16>,
    /// The longest packet that is read here.
    pub packet_max_bytes: Option<NonZeroU32>,
    /// The client id that was made up for an empty one.
    pub assigned_client_id: Option<&'a str>,
    /// The highest topic alias that is read here.
    pub topic_alias_max: u16,
    /// For a person. Left out if the packet would be too long for the client.
    pub reason_string: Option<&'a str>,
    /// The keep alive to use in place of the client's, in seconds.
    pub server_keep_alive_s: Option<u16>,
    /// Where responses may be wanted, if the client asked (§3.2.2.3.15).
    pub response_information: Option<&'a str>,
}

impl Connack<'_> {
    /// An answer with a reason and nothing else.
    pub fn because(reason: ReasonCode) -> Connack<'static> {
        Connack {
            session_present: false,
            reason,
            session_expiry_s: None,
            receive_max: None,
            packet_max_bytes: None,
            assigned_client_id: None,
            topic_alias_max: 0,
            reason_string: None,
            server_keep_alive_s: None,
            response_information: None,
        }
    }

    /// Appends what is said about the session and its bounds.
    pub(super) fn put_bounds(&self, out: &mut BytesMut) {
        if let Some(seconds) = self.session_expiry_s {
            out.put_u8(SESSION_EXPIRY);
            out.put_u32(seconds);
        }
        if let Some(max) = self.receive_max {
            out.put_u8(RECEIVE_MAXIMUM);
            out.put_u16(max.get());
        }
        if let Some(max) = self.packet_max_bytes {
            out.put_u8(MAXIMUM_PACKET_SIZE);
            out.put_u32(max.get());
        }
        if self.topic_alias_max > 0 {
            out.put_u8(TOPIC_ALIAS_MAXIMUM);
            out.put_u16(self.topic_alias_max);
        }
        if let Some(seconds) = self.server_keep_alive_s {
            out.put_u8(SERVER_KEEP_ALIVE);
            out.put_u16(seconds);
        }
        let texts = [
            (ASSIGNED_CLIENT_ID, self.assigned_client_id),
            (RESPONSE_INFORMATION, self.response_information),
        ];
        for (id, text) in texts {
            if let Some(text) = text {
                out.put_u8(id);
                put_binary(out, text.as_bytes());
            }
        }
    }
}
