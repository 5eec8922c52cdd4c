//! An application message: what is the same for everybody who receives it (MQTT 5 §3.3).

use bytes::{BufMut, Bytes, BytesMut};

use super::reader::{MISPLACED_PROPERTY, PropertyReader, Reader};
use super::reason::{ReasonCode, Violation};
use super::text::{Text, is_topic};

pub(super) const PAYLOAD_FORMAT: u8 = 0x01;
pub(super) const MESSAGE_EXPIRY: u8 = 0x02;
pub(super) const CONTENT_TYPE: u8 = 0x03;
pub(super) const RESPONSE_TOPIC: u8 = 0x08;
pub(super) const CORRELATION_DATA: u8 = 0x09;
pub(super) const USER_PROPERTY: u8 = 0x26;

/// Topic, payload and the properties that travel with them.
///
/// Cloning shares the bytes. Those of a message that was just read are a part of the connection's read buffer and keep
/// all of it in memory: call [`Message::compact`] before keeping a message for longer than its delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it was published: not empty, without wildcards.
    pub topic: Text,
    /// The application's bytes.
    pub payload: Bytes,
    /// What is forwarded unchanged to MQTT 5 subscribers.
    pub properties: Properties,
}

impl Message {
    /// The same message in one allocation of its own, exactly as long as it needs.
    pub fn compact(&self) -> Self {
        let mut all = BytesMut::with_capacity(
            self.topic.len() + self.payload.len() + self.properties.0.len(),
        );
        all.put_slice(self.topic.as_bytes());
        all.put_slice(&self.properties.0);
        all.put_slice(&self.payload);
        let mut all = all.freeze();
        let topic = all.split_to(self.topic.len());
        let properties = all.split_to(self.properties.0.len());
        Self {
            topic: Text::from_checked(topic),
            payload: all,
            properties: Properties(properties),
        }
    }

    /// The bytes it holds: topic, payload and properties.
    pub fn len_bytes(&self) -> usize {
        self.topic.len() + self.payload.len() + self.properties.0.len()
    }
}

/// The properties that a server forwards unaltered (§3.3.2.3), encoded and checked: payload format indicator, content
/// type, response topic, correlation data, user properties in their order. None of them twice, nothing else.
///
/// Message expiry, topic alias and subscription identifiers are not among them: they differ for each receiver.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Properties(pub(super) Bytes);

/// The same properties, one by one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MessageProperties<'a> {
    /// The payload is UTF-8 (§3.3.2.3.2). What a publisher says; the gateway does not look.
    pub payload_is_text: bool,
    /// §3.3.2.3.9.
    pub content_type: Option<&'a str>,
    /// §3.3.2.3.5. Not empty, without wildcards.
    pub response_topic: Option<&'a str>,
    /// §3.3.2.3.6.
    pub correlation_data: Option<&'a [u8]>,
    /// Names and values in their order (§3.3.2.3.7).
    pub user: Vec<(&'a str, &'a str)>,
}

impl Properties {
    /// Encodes properties for a message of the gateway's own.
    ///
    /// Refuses text that a client could not have sent either, and more than 65,535 bytes in one value.
    pub fn new(properties: &MessageProperties<'_>) -> Result<Self, Violation> {
        let mut out = BytesMut::new();
        if properties.payload_is_text {
            out.put_slice(&[PAYLOAD_FORMAT, 1]);
        }
        let strings = [
            (CONTENT_TYPE, properties.content_type.map(str::as_bytes)),
            (RESPONSE_TOPIC, properties.response_topic.map(str::as_bytes)),
            (CORRELATION_DATA, properties.correlation_data),
        ];
        for (id, value) in strings {
            if let Some(value) = value {
                out.put_u8(id);
                put_checked_length(&mut out, value)?;
            }
        }
        for (name, value) in &properties.user {
            out.put_u8(USER_PROPERTY);
            put_checked_length(&mut out, name.as_bytes())?;
            put_checked_length(&mut out, value.as_bytes())?;
        }
        Self::parse(out.freeze())
    }

    /// Reads properties that were kept with [`Properties::as_bytes`]. Checks them as if a client had sent them.
    pub fn parse(bytes: Bytes) -> Result<Self, Violation> {
        let mut block = PropertyReader::over(&bytes);
        while let Some(id) = block.next()? {
            if !check_forwarded(&mut block, id)? {
                return Err(MISPLACED_PROPERTY);
            }
        }
        Ok(Self(bytes))
    }

    /// The properties as they stand on the wire, without their length.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The properties, one by one.
    pub fn get(&self) -> MessageProperties<'_> {
        // They were checked when they were made, so nothing fails here.
        let mut found = MessageProperties::default();
        let _: Result<(), Violation> = read_into(&mut found, &self.0);
        found
    }
}

fn put_checked_length(out: &mut BytesMut, value: &[u8]) -> Result<(), Violation> {
    let length = u16::try_from(value.len())
        .map_err(|_| Violation::malformed("§1.5", "a value has more than 65,535 bytes"))?;
    out.put_u16(length);
    out.put_slice(value);
    Ok(())
}

fn read_into<'a>(found: &mut MessageProperties<'a>, bytes: &'a [u8]) -> Result<(), Violation> {
    let mut reader = Reader::new(bytes);
    while !reader.is_at_end() {
        match reader.byte()? {
            PAYLOAD_FORMAT => found.payload_is_text = reader.byte()? == 1,
            CONTENT_TYPE => found.content_type = Some(string(&mut reader)?),
            RESPONSE_TOPIC => found.response_topic = Some(string(&mut reader)?),
            CORRELATION_DATA => found.correlation_data = Some(reader.binary()?),
            _ => found
                .user
                .push((string(&mut reader)?, string(&mut reader)?)),
        }
    }
    Ok(())
}

fn string<'a>(reader: &mut Reader<'a>) -> Result<&'a str, Violation> {
    std::str::from_utf8(reader.binary()?)
        .map_err(|_| Violation::malformed("[MQTT-1.5.4-1]", "a string is not UTF-8"))
}

/// Checks the value of a property if it is one that travels with a message. `false` if it is another.
pub(super) fn check_forwarded(block: &mut PropertyReader<'_>, id: u8) -> Result<bool, Violation> {
    match id {
        // A receiver may check that the payload is UTF-8 when this is 1 (§3.3.2.3.2). The gateway does not: it costs
        // a pass over each payload, and protects nobody, since a subscriber that minds has to look in any case.
        PAYLOAD_FORMAT => {
            block.flag("§3.3.2.3.2")?;
        }
        CONTENT_TYPE => {
            block.value.string(ReasonCode::MalformedPacket)?;
        }
        RESPONSE_TOPIC => {
            let topic = block.value.string(ReasonCode::TopicNameInvalid)?;
            if !is_topic(topic) {
                return Err(Violation::protocol(
                    "[MQTT-3.3.2-14] [MQTT-4.7.3-1]",
                    "the response topic is empty or contains a wildcard",
                ));
            }
        }
        CORRELATION_DATA => {
            block.value.binary()?;
        }
        USER_PROPERTY => block.skip_user_property()?,
        _ => return Ok(false),
    }
    Ok(true)
}
