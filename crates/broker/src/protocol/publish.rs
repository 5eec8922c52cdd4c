//! PUBLISH from a client (MQTT 5 §3.3).

use std::ops::Range;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::message::{MESSAGE_EXPIRY, Message, Properties, check_forwarded};
use super::packet::Publish;
use super::reader::{MISPLACED_PROPERTY, PropertyReader, Reader};
use super::reason::{ReasonCode, Violation};
use super::scalar::{QoS, Version};
use super::text::{self, Text};

const SUBSCRIPTION_IDENTIFIER: u8 = 0x0b;
const TOPIC_ALIAS: u8 = 0x23;

/// The topics that a client has given an alias (§3.3.2.3.4), with bytes of their own.
#[derive(Debug)]
pub(super) struct Aliases {
    max: u16,
    /// Alias 1 comes first.
    topics: Vec<Option<Text>>,
}

impl Aliases {
    pub(super) fn new(max: u16) -> Self {
        Self {
            max,
            topics: Vec::new(),
        }
    }

    /// The topic of a message: its own, which from now on has this alias, or the alias's.
    fn resolve(&mut self, alias: u16, topic: Text) -> Result<Text, Violation> {
        if alias == 0 || alias > self.max {
            return Err(Violation::because(
                ReasonCode::TopicAliasInvalid,
                "[MQTT-3.3.2-8] [MQTT-3.3.2-9]",
                "a topic alias is 0 or above the maximum",
            ));
        }
        let at = usize::from(alias) - 1;
        if topic.is_empty() {
            return self
                .topics
                .get(at)
                .cloned()
                .flatten()
                .ok_or(Violation::protocol(
                    "§3.3.2.3.4",
                    "a topic alias has no topic",
                ));
        }
        if self.topics.len() <= at {
            self.topics.resize(at + 1, None);
        }
        if let Some(slot) = self.topics.get_mut(at) {
            *slot = Some(topic.compact());
        }
        Ok(topic)
    }
}

/// The flags of the first byte (§3.3.1).
pub(super) fn check_flags(first: u8) -> Result<(), Violation> {
    match (first >> 1 & 3, first & 8 != 0) {
        (3, _) => Err(Violation::malformed("[MQTT-3.3.1-4]", "PUBLISH has QoS 3")),
        (0, true) => Err(Violation::malformed(
            "[MQTT-3.3.1-2]",
            "PUBLISH with QoS 0 has the DUP flag",
        )),
        _ => Ok(()),
    }
}

/// Reads a PUBLISH whose flags are right. `body` is what follows the fixed header.
pub(super) fn read(
    version: Version,
    first: u8,
    mut body: Bytes,
    aliases: &mut Aliases,
) -> Result<Publish, Violation> {
    let qos = QoS::from_byte(first >> 1 & 3).unwrap_or(QoS::AtMostOnce);
    let mut reader = Reader::new(&body);
    let topic_length = reader.binary()?.len();
    let packet_id = match qos {
        QoS::AtMostOnce => None,
        _ => Some(reader.packet_id()?),
    };
    let found = match version {
        Version::V311 => Found::default(),
        Version::V5 => read_properties(&mut reader)?,
    };
    let payload_at = reader.position();
    let topic = read_topic(body.slice(2..2 + topic_length))?;
    let topic = match found.alias {
        Some(alias) => aliases.resolve(alias, topic)?,
        None if topic.is_empty() => {
            return Err(Violation::protocol(
                "[MQTT-4.7.3-1]",
                "PUBLISH has neither a topic nor a topic alias",
            ));
        }
        None => topic,
    };
    let properties = found.forwarded(&body);
    body.advance(payload_at);
    Ok(Publish {
        dup: first & 8 != 0,
        qos,
        retain: first & 1 != 0,
        packet_id,
        expiry_s: found.expiry_s,
        message: Message {
            topic,
            payload: body,
            properties,
        },
    })
}

/// A topic that may be empty, without wildcards [MQTT-3.3.2-2].
fn read_topic(bytes: Bytes) -> Result<Text, Violation> {
    let topic = Text::checked(bytes, ReasonCode::TopicNameInvalid)?;
    match topic.is_empty() || text::is_topic(topic.as_bytes()) {
        true => Ok(topic),
        false => Err(Violation::because(
            ReasonCode::TopicNameInvalid,
            "[MQTT-3.3.2-2]",
            "a topic contains a wildcard",
        )),
    }
}

/// The topic of a will: not empty, without wildcards (§3.1.3.3).
pub(super) fn read_will_topic(reader: &mut Reader<'_>) -> Result<Bytes, Violation> {
    let bytes = reader.binary()?;
    text::check(bytes, ReasonCode::TopicNameInvalid)?;
    match text::is_topic(bytes) {
        true => Ok(Bytes::copy_from_slice(bytes)),
        false => Err(Violation::because(
            ReasonCode::TopicNameInvalid,
            "[MQTT-4.7.0-1] [MQTT-4.7.3-1]",
            "the topic of the will is empty or contains a wildcard",
        )),
    }
}

/// The properties of a PUBLISH, before they are cut out.
#[derive(Default)]
struct Found {
    alias: Option<u16>,
    expiry_s: Option<u32>,
    /// Where the properties lie in the body.
    block: Range<usize>,
    /// What in the body is not forwarded.
    cut: Vec<Range<usize>>,
}

fn read_properties(reader: &mut Reader<'_>) -> Result<Found, Violation> {
    let mut properties = PropertyReader::open(reader)?;
    let end = reader.position();
    let start = end - properties.value.len();
    let mut found = Found {
        block: start..end,
        ..Found::default()
    };
    loop {
        let at = start + properties.value.position();
        let Some(id) = properties.next()? else {
            return Ok(found);
        };
        match id {
            MESSAGE_EXPIRY => found.expiry_s = Some(properties.value.u32()?),
            TOPIC_ALIAS => found.alias = Some(properties.value.u16()?),
            SUBSCRIPTION_IDENTIFIER => {
                return Err(Violation::protocol(
                    "[MQTT-3.3.4-6]",
                    "PUBLISH from a client has a subscription identifier",
                ));
            }
            id if check_forwarded(&mut properties, id)? => continue,
            _ => return Err(MISPLACED_PROPERTY),
        }
        found.cut.push(at..start + properties.value.position());
    }
}

impl Found {
    /// What is forwarded, shared with the packet unless something is in the middle of it.
    fn forwarded(&self, body: &Bytes) -> Properties {
        let mut kept: Vec<Range<usize>> = Vec::new();
        let mut at = self.block.start;
        for cut in &self.cut {
            kept.push(at..cut.start);
            at = cut.end;
        }
        kept.push(at..self.block.end);
        kept.retain(|range| !range.is_empty());
        Properties(match kept.as_slice() {
            [] => Bytes::new(),
            [one] => body.slice(one.clone()),
            several => {
                let mut all = BytesMut::new();
                several
                    .iter()
                    .for_each(|range| all.put_slice(body.get(range.clone()).unwrap_or_default()));
                all.freeze()
            }
        })
    }
}
