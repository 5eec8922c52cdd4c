//! Rows that the library before this engine wrote: retained messages and sessions with their subscriptions are taken over, so
//! that a home loses nothing that it cannot have again by itself. What was queued in the moment of the change is not.

use bytes::BytesMut;
use serde::Deserialize;
use std::collections::HashMap;

use crate::engine::rows::{MessageRow, SessionRow, SubscriptionRow};
use crate::protocol::{MessageProperties, Properties};

#[derive(Debug, Clone, Copy, Deserialize)]
enum Level {
    #[serde(rename = "AtMostOnce")]
    Zero,
    #[serde(rename = "AtLeastOnce")]
    One,
    #[serde(rename = "ExactlyOnce")]
    Two,
}

/// A retained message.
#[derive(Debug, Deserialize)]
pub(super) struct EarlierMessage {
    topic: String,
    qos: Level,
    stored_at_secs: u64,
    message_expiry_interval: Option<u32>,
    #[serde(default)]
    user_properties: Vec<(String, String)>,
    content_type: Option<String>,
    response_topic: Option<String>,
    correlation_data: Option<Vec<u8>>,
    payload_format_indicator: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct EarlierSubscription {
    qos: Level,
    no_local: bool,
    retain_as_published: bool,
    subscription_id: Option<u32>,
}

/// A session.
#[derive(Debug, Deserialize)]
pub(super) struct EarlierSession {
    expiry_interval: Option<u32>,
    subscriptions: HashMap<String, EarlierSubscription>,
}

impl EarlierMessage {
    /// The same as a row of today, and what follows it raw.
    pub(super) fn into_row(self, payload: &[u8]) -> Option<(MessageRow, Vec<u8>)> {
        let users = self.user_properties.iter();
        let properties = Properties::new(&MessageProperties {
            payload_is_text: self.payload_format_indicator == Some(true),
            content_type: self.content_type.as_deref(),
            response_topic: self.response_topic.as_deref(),
            correlation_data: self.correlation_data.as_deref(),
            user: users.map(|(name, value)| (&**name, &**value)).collect(),
        });
        let properties = properties.ok()?;
        let mut raw = BytesMut::from(&properties.as_bytes()[..]);
        raw.extend_from_slice(payload);
        let ends = self
            .message_expiry_interval
            .and_then(|life| i64::try_from(self.stored_at_secs.saturating_add(life.into())).ok());
        let length = properties.as_bytes().len();
        let row = MessageRow::retained_as(self.topic, length, self.qos as u8, ends);
        Some((row, raw.to_vec()))
    }
}

impl EarlierSession {
    /// The same as a row of today.
    pub(super) fn into_row(self, away_until_s: i64) -> SessionRow {
        let subscriptions = self.subscriptions.into_iter().map(|(filter, its)| {
            let flags = (its.no_local, its.retain_as_published);
            SubscriptionRow::new(filter, its.qos as u8, flags, its.subscription_id)
        });
        SessionRow {
            expiry_s: self.expiry_interval.unwrap_or(u32::MAX),
            ends_at_s: Some(away_until_s),
            certificate: None,
            subscriptions: subscriptions.collect(),
        }
    }
}

/// The name that a session has today: the library's client ids were the device id, or that with a dot and a suffix.
pub(super) fn name_of(client_id: &str) -> Option<String> {
    let (device, _) = client_id.split_once('.')?;
    Some(format!("{device}/{client_id}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::parcel::Meter;
    use crate::engine::rows::Moment;

    #[test]
    fn a_retained_message_of_the_library_is_read_with_its_properties() {
        let json = r#"{"topic":"a/b","payload":[],"qos":"AtLeastOnce","retain":true,"stored_at_secs":100,
            "message_expiry_interval":50,"user_properties":[["k","v"]],"content_type":"t"}"#;
        let earlier: EarlierMessage = serde_json::from_str(json).unwrap();
        let (row, raw) = earlier.into_row(b"payload").unwrap();
        let at = Moment {
            now_ms: 0,
            home_s: 120,
        };
        let parcel = row.parcel(raw, at, &Meter::default()).unwrap();
        assert_eq!(parcel.message.payload, "payload");
        assert_eq!(parcel.message.properties.get().user, [("k", "v")]);
        assert_eq!(parcel.left_s(0), Ok(Some(30)));
        assert_eq!(name_of("lamp.a").as_deref(), Some("lamp/lamp.a"));
    }

    #[test]
    fn a_session_of_the_library_keeps_its_subscriptions() {
        let json = r#"{"client_id":"lamp","persistent":true,"expiry_interval":3600,"subscriptions":{"a/#":{"qos":"ExactlyOnce",
            "no_local":true,"retain_as_published":false,"subscription_id":7}},"will_message":null,"will_delay_interval":null}"#;
        let earlier: EarlierSession = serde_json::from_str(json).unwrap();
        let row = earlier.into_row(5);
        assert_eq!((row.expiry_s, row.subscriptions.len()), (3600, 1));
        let held = row.subscriptions[0].held().unwrap();
        assert!(held.options.no_local && held.options.id.is_some_and(|id| id.get() == 7));
    }
}
