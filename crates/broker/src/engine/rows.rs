//! What is written down of sessions, messages and wills: the forms of the rows.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::engine::outbox::Entry;
use crate::engine::parcel::{Meter, Parcel, Terms};
use crate::engine::session::{Held, Key, Owner, Session};
use crate::engine::subscriptions::Options;
use crate::protocol::{Filter, Message, PacketId, Properties, QoS, SubscriptionId, Text, Will};
use std::sync::Arc;

/// The engine's time beside the home's: what is written down outlives the former.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) now_ms: u64,
    pub(crate) home_s: i64,
}

impl Moment {
    /// A time of the engine in seconds of the home.
    pub(crate) fn home_s_of(&self, at_ms: u64) -> i64 {
        let seconds = |ms: u64| i64::try_from(ms / 1000).unwrap_or(i64::MAX);
        match at_ms >= self.now_ms {
            true => self.home_s.saturating_add(seconds(at_ms - self.now_ms)),
            false => self.home_s.saturating_sub(seconds(self.now_ms - at_ms)),
        }
    }

    /// The engine's time at a second of the home: now, if that is over.
    pub(crate) fn ms_of(&self, at_s: i64) -> u64 {
        let left_s = u64::try_from(at_s.saturating_sub(self.home_s)).unwrap_or(0);
        self.now_ms.saturating_add(left_s.saturating_mul(1000))
    }
}

/// A message: the head of a row of retained or queued messages. Its properties and its payload follow raw.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct MessageRow {
    topic: String,
    properties_bytes: usize,
    qos: u8,
    retain: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at_s: Option<i64>,
    /// Who published a retained message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) owner: Option<String>,
    /// How a queued message is delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<DeliveryRow>,
}

#[derive(Debug, Serialize, Deserialize)]
struct DeliveryRow {
    qos: u8,
    retain: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ids: Vec<u32>,
}

/// A session.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SessionRow {
    pub(super) expiry_s: u32,
    /// When it is over, if it was away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ends_at_s: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) certificate: Option<String>,
    pub(super) subscriptions: Vec<SubscriptionRow>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SubscriptionRow {
    filter: String,
    qos: u8,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    no_local: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    retain_as_published: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<u32>,
}

/// A message that was sent and is not acknowledged: its identifier.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct FlightRow {
    pub(super) id: PacketId,
    pub(super) is_released: bool,
}

/// A will. Its properties and its payload follow raw.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WillRow {
    message: MessageRow,
    pub(super) delay_s: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiry_s: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) certificate: Option<String>,
}

fn message_row(message: &Message, qos: QoS, retain: bool) -> MessageRow {
    MessageRow {
        topic: message.topic.to_string(),
        properties_bytes: message.properties.as_bytes().len(),
        qos: qos as u8,
        retain,
        expires_at_s: None,
        owner: None,
        delivery: None,
    }
}

fn raw(message: &Message) -> Vec<u8> {
    [&message.properties.as_bytes()[..], &message.payload[..]].concat()
}

/// The row of a retained message, and what follows it raw.
pub(super) fn retained(
    parcel: &Parcel,
    owner: Option<String>,
    at: Moment,
) -> (MessageRow, Vec<u8>) {
    let row = MessageRow {
        expires_at_s: parcel.expires_ms.map(|end| at.home_s_of(end)),
        owner,
        ..message_row(&parcel.message, parcel.qos, parcel.retain)
    };
    (row, raw(&parcel.message))
}

/// The row of a queued message, and what follows it raw.
pub(super) fn queued(entry: &Entry, at: Moment) -> (MessageRow, Vec<u8>) {
    let (mut row, raw) = retained(&entry.parcel, None, at);
    let ids = entry.ids.iter().flat_map(|ids| ids.iter());
    row.delivery = Some(DeliveryRow {
        qos: entry.qos as u8,
        retain: entry.retain,
        ids: ids.map(|id| id.get()).collect(),
    });
    (row, raw)
}

/// The row of a will, and what follows it raw.
pub(super) fn will(will: &Will, certificate: Option<String>) -> (WillRow, Vec<u8>) {
    let row = WillRow {
        message: message_row(&will.message, will.qos, will.retain),
        delay_s: will.delay_s,
        expiry_s: will.expiry_s,
        certificate,
    };
    (row, raw(&will.message))
}

/// The row of a session.
pub(super) fn session(session: &Session, at: Moment) -> SessionRow {
    let subscriptions = session.subscriptions.values().map(|held| SubscriptionRow {
        filter: held.filter.as_str().to_owned(),
        qos: held.options.qos as u8,
        no_local: held.options.no_local,
        retain_as_published: held.options.retain_as_published,
        id: held.options.id.map(SubscriptionId::get),
    });
    let is_away = session.link.is_none();
    SessionRow {
        expiry_s: session.expiry_s,
        ends_at_s: session
            .ends_ms
            .filter(|_| is_away)
            .map(|end| at.home_s_of(end)),
        certificate: session.identity.certificate.map(|its| its.to_string()),
        subscriptions: subscriptions.collect(),
    }
}

impl SubscriptionRow {
    pub(super) fn new(
        filter: String,
        qos: u8,
        (no_local, retain_as_published): (bool, bool),
        id: Option<u32>,
    ) -> Self {
        Self {
            filter,
            qos,
            no_local,
            retain_as_published,
            id,
        }
    }

    pub(super) fn held(&self) -> Option<Held> {
        let filter = Filter::parse(Text::try_from(self.filter.as_str()).ok()?).ok()?;
        let id = match self.id {
            None => None,
            Some(id) => Some(SubscriptionId::new(id)?),
        };
        let options = Options {
            qos: QoS::from_byte(self.qos)?,
            no_local: self.no_local,
            retain_as_published: self.retain_as_published,
            id,
        };
        Some(Held { filter, options })
    }
}

impl MessageRow {
    /// A retained message of nobody's.
    pub(super) fn retained_as(
        topic: String,
        properties_bytes: usize,
        qos: u8,
        expires_at_s: Option<i64>,
    ) -> Self {
        Self {
            topic,
            properties_bytes,
            qos,
            retain: true,
            expires_at_s,
            owner: None,
            delivery: None,
        }
    }

    fn message(&self, raw: Vec<u8>) -> Option<Message> {
        let mut raw = Bytes::from(raw);
        if self.properties_bytes > raw.len() {
            return None;
        }
        let properties = raw.split_to(self.properties_bytes);
        let message = Message {
            topic: Text::try_from(self.topic.as_str()).ok()?,
            properties: Properties::parse(properties).ok()?,
            payload: raw,
        };
        (!message.topic.is_empty()).then(|| message.compact())
    }

    /// Whether the message has expired.
    pub(super) fn is_over(&self, at: Moment) -> bool {
        self.expires_at_s.is_some_and(|end| end <= at.home_s)
    }

    /// The message. Nothing if it cannot be read.
    pub(super) fn parcel(&self, raw: Vec<u8>, at: Moment, meter: &Meter) -> Option<Arc<Parcel>> {
        let terms = Terms {
            qos: QoS::from_byte(self.qos)?,
            retain: self.retain,
            expires_ms: self.expires_at_s.map(|end| at.ms_of(end)),
        };
        Some(Parcel::new(self.message(raw)?, terms, meter))
    }

    /// The queued message with this number.
    pub(super) fn entry(
        &self,
        raw: Vec<u8>,
        number: u64,
        at: Moment,
        meter: &Meter,
    ) -> Option<Entry> {
        let delivery = self.delivery.as_ref()?;
        let ids = delivery.ids.iter().map(|id| SubscriptionId::new(*id));
        let ids: Vec<SubscriptionId> = ids.collect::<Option<_>>()?;
        Some(Entry {
            parcel: self.parcel(raw, at, meter)?,
            qos: QoS::from_byte(delivery.qos)?,
            retain: delivery.retain,
            ids: (!ids.is_empty()).then(|| ids.into()),
            number,
        })
    }
}

impl WillRow {
    pub(super) fn will(&self, raw: Vec<u8>) -> Option<Will> {
        Some(Will {
            message: self.message.message(raw)?,
            qos: QoS::from_byte(self.message.qos)?,
            retain: self.message.retain,
            delay_s: self.delay_s,
            expiry_s: self.expiry_s,
        })
    }
}

/// A session's name in the keys of rows: the device, and its client id where that is another. A device id has no slash.
pub(super) fn key_text(key: &Key) -> Option<String> {
    let device = key.owner.device()?;
    Some(match device.as_str() == &*key.client_id {
        true => device.to_string(),
        false => format!("{device}/{}", key.client_id),
    })
}

/// The session that a name is of.
pub(super) fn read_key(text: &str) -> Option<Key> {
    let (device, client_id) = text.split_once('/').unwrap_or((text, text));
    Some(Key {
        owner: Owner::Device(device.parse().ok()?),
        client_id: client_id.into(),
    })
}

pub(super) fn queue_key(session: &str, number: u64) -> String {
    format!("{session}/{number:020}")
}

pub(super) fn flight_key(session: &str, number: u64) -> String {
    format!("{session}/out/{number:020}")
}

pub(super) fn received_key(session: &str, id: PacketId) -> String {
    format!("{session}/in/{:05}", id.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back_as_it_was_whatever_the_client_id() {
        for client_id in ["lamp", "lamp.a", "x", "a/b/c", "/", "out", "Ünïcode 7"] {
            let key = Key {
                owner: Owner::Device("lamp".parse().unwrap()),
                client_id: client_id.into(),
            };
            assert_eq!(read_key(&key_text(&key).unwrap()), Some(key));
        }
        assert!(read_key("not a device").is_none());
    }

    #[test]
    fn times_are_kept_by_the_clock_of_the_home() {
        let at = Moment {
            now_ms: 10_000,
            home_s: 1_000,
        };
        assert_eq!(at.home_s_of(15_000), 1_005);
        assert_eq!(at.home_s_of(5_000), 995);
        assert_eq!((at.ms_of(1_005), at.ms_of(1)), (15_000, 10_000));
    }
}
