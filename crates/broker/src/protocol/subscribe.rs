//! SUBSCRIBE and UNSUBSCRIBE from a client (MQTT 5 §3.8, §3.10).

use bytes::{Buf, Bytes};

use super::control::packet_id;
use super::packet::{
    Filters, QoS, RetainHandling, Subscribe, Subscription, SubscriptionId, Unsubscribe, Version,
};
use super::reader::{MISPLACED_PROPERTY, PropertyReader, Reader};
use super::reason::{ReasonCode, Violation};
use super::text::{Filter, Text};

const SUBSCRIPTION_IDENTIFIER: u8 = 0x0b;
const USER_PROPERTY: u8 = 0x26;

/// Reads SUBSCRIBE; `body` is what follows the fixed header.
pub(super) fn read_subscribe(version: Version, mut body: Bytes) -> Result<Subscribe, Violation> {
    let mut reader = Reader::new(&body);
    let packet_id = packet_id(&mut reader)?;
    let subscription_id = match version {
        Version::V311 => None,
        Version::V5 => read_subscribe_properties(&mut reader)?,
    };
    body.advance(reader.position());
    let (mut rest, mut count) = (body.clone(), 0);
    while next_subscription(version, &mut rest)?.is_some() {
        count += 1;
    }
    if count == 0 {
        return Err(Violation::protocol(
            "[MQTT-3.8.3-2]",
            "SUBSCRIBE without a topic filter",
        ));
    }
    Ok(Subscribe {
        packet_id,
        subscription_id,
        filters: Filters {
            version,
            body,
            count,
        },
    })
}

fn read_subscribe_properties(reader: &mut Reader<'_>) -> Result<Option<SubscriptionId>, Violation> {
    let mut properties = PropertyReader::open(reader)?;
    let mut found = None;
    while let Some(id) = properties.next()? {
        match id {
            SUBSCRIPTION_IDENTIFIER => {
                if found.is_some() {
                    return Err(Violation::protocol(
                        "§3.8.2.1.2",
                        "SUBSCRIBE has two subscription identifiers",
                    ));
                }
                let value = properties.value.varint()?;
                found = Some(SubscriptionId::new(value).ok_or(Violation::protocol(
                    "§3.8.2.1.2",
                    "a subscription identifier is 0",
                ))?);
            }
            USER_PROPERTY => properties.skip_user_property()?,
            _ => return Err(MISPLACED_PROPERTY),
        }
    }
    Ok(found)
}

/// Reads UNSUBSCRIBE; `body` is what follows the fixed header.
pub(super) fn read_unsubscribe(
    version: Version,
    mut body: Bytes,
) -> Result<Unsubscribe, Violation> {
    let mut reader = Reader::new(&body);
    let packet_id = packet_id(&mut reader)?;
    if version == Version::V5 {
        let mut properties = PropertyReader::open(&mut reader)?;
        while let Some(id) = properties.next()? {
            match id {
                USER_PROPERTY => properties.skip_user_property()?,
                _ => return Err(MISPLACED_PROPERTY),
            }
        }
    }
    body.advance(reader.position());
    let (mut rest, mut count) = (body.clone(), 0);
    while next_filter(&mut rest)?.is_some() {
        count += 1;
    }
    if count == 0 {
        return Err(Violation::protocol(
            "[MQTT-3.10.3-2]",
            "UNSUBSCRIBE without a topic filter",
        ));
    }
    Ok(Unsubscribe {
        packet_id,
        body,
        count,
    })
}

/// Takes a topic filter from the front of `rest`. `None` at its end.
pub(super) fn next_filter(rest: &mut Bytes) -> Result<Option<Filter>, Violation> {
    if rest.is_empty() {
        return Ok(None);
    }
    let length = Reader::new(rest).binary()?.len();
    rest.advance(2);
    let text = Text::checked(rest.split_to(length), ReasonCode::TopicFilterInvalid)?;
    Filter::parse(text).map(Some)
}

/// Takes a topic filter and its options from the front of `rest`. `None` at its end.
pub(super) fn next_subscription(
    version: Version,
    rest: &mut Bytes,
) -> Result<Option<Subscription>, Violation> {
    let Some(filter) = next_filter(rest)? else {
        return Ok(None);
    };
    let options = Reader::new(rest).byte()?;
    rest.advance(1);
    if options & reserved_options(version) != 0 {
        return Err(Violation::malformed(
            "[MQTT-3.8.3-5]",
            "reserved bits of the subscription options are set",
        ));
    }
    let qos = QoS::from_byte(options & 3).ok_or(Violation::protocol(
        "§3.8.3.1",
        "a subscription asks for QoS 3",
    ))?;
    let no_local = options & 4 != 0;
    if no_local && filter.share_group().is_some() {
        return Err(Violation::protocol(
            "[MQTT-3.8.3-4]",
            "No Local with a shared subscription",
        ));
    }
    let retain_handling = match options >> 4 & 3 {
        0 => RetainHandling::Send,
        1 => RetainHandling::SendIfNew,
        2 => RetainHandling::DoNotSend,
        _ => return Err(Violation::protocol("§3.8.3.1", "Retain Handling is 3")),
    };
    Ok(Some(Subscription {
        filter,
        qos,
        no_local,
        retain_as_published: options & 8 != 0,
        retain_handling,
    }))
}

/// In MQTT 3.1.1 all but the QoS is reserved [MQTT-3.8.3-4].
fn reserved_options(version: Version) -> u8 {
    match version {
        Version::V311 => 0xfc,
        Version::V5 => 0xc0,
    }
}
