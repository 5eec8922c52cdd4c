//! SUBSCRIBE and UNSUBSCRIBE from a client (MQTT 5 §3.8, §3.10).

use bytes::{Buf, Bytes};

use super::reader::{MISPLACED_PROPERTY, PropertyReader, Reader};
use super::reason::{ReasonCode, Violation};
use super::scalar::{PacketId, QoS, SubscriptionId, Version};
use super::text::{Filter, Text};

const SUBSCRIPTION_IDENTIFIER: u8 = 0x0b;
const USER_PROPERTY: u8 = 0x26;

/// What to do with retained messages when a subscription is made (MQTT 5 §3.8.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RetainHandling {
    /// Send them.
    Send = 0,
    /// Send them if the subscription did not exist.
    SendIfNew = 1,
    /// Do not send them.
    DoNotSend = 2,
}

/// One topic filter of SUBSCRIBE with its options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Which topics.
    pub filter: Filter,
    /// The highest QoS of delivery.
    pub qos: QoS,
    /// Not what this client published itself. Never with a shared filter [MQTT-3.8.3-4].
    pub no_local: bool,
    /// With the retain flag as it was published.
    pub retain_as_published: bool,
    /// What to do with retained messages now.
    pub retain_handling: RetainHandling,
}

/// SUBSCRIBE (MQTT 5 §3.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// For SUBACK.
    pub packet_id: PacketId,
    /// Comes back with every message that these subscriptions bring.
    pub subscription_id: Option<SubscriptionId>,
    /// At least one filter, in their order.
    pub filters: Filters,
}

/// The topic filters of SUBSCRIBE, checked, in the bytes of the packet: as many as a client likes to send take no
/// more memory than their packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filters {
    version: Version,
    body: Bytes,
    count: usize,
}

impl Filters {
    /// How many there are: SUBACK needs a code for each.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none: never in a packet that was read [MQTT-3.8.3-2].
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The filters in their order.
    pub fn iter(&self) -> impl Iterator<Item = Subscription> + use<> {
        let (version, mut rest) = (self.version, self.body.clone());
        std::iter::from_fn(move || next_subscription(version, &mut rest).ok().flatten())
    }
}

/// UNSUBSCRIBE (MQTT 5 §3.10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    /// For UNSUBACK.
    pub packet_id: PacketId,
    body: Bytes,
    count: usize,
}

impl Unsubscribe {
    /// How many filters there are: UNSUBACK needs a code for each in MQTT 5.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none: never in a packet that was read [MQTT-3.10.3-2].
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The filters in their order.
    pub fn iter(&self) -> impl Iterator<Item = Filter> + use<> {
        let mut rest = self.body.clone();
        std::iter::from_fn(move || next_filter(&mut rest).ok().flatten())
    }
}

/// Reads SUBSCRIBE; `body` is what follows the fixed header.
pub(super) fn read_subscribe(version: Version, mut body: Bytes) -> Result<Subscribe, Violation> {
    let mut reader = Reader::new(&body);
    let packet_id = reader.packet_id()?;
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
    let packet_id = reader.packet_id()?;
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
