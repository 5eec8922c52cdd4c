//! What is written is what is read, for packets that nobody thought of.

use std::num::NonZeroU16;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::build::{
    V5, V311, decode, decode_after_connect, packet, properties, protocol, string_property, text,
};
use crate::protocol::{
    Alias, Delivery, Encoder, Message, MessageProperties, Packet, PacketId, Properties, QoS,
    RetainHandling, Subscription, Text, Version, is_topic_name,
};

/// Text that every client takes.
fn any_text() -> impl Strategy<Value = String> {
    "[ -~\u{a0}-\u{2ff}\u{4e00}-\u{4eff}\u{1f300}-\u{1f5ff}]{0,40}"
}

fn any_topic() -> impl Strategy<Value = Text> {
    any_text()
        .prop_map(|text| text.replace(['+', '#'], "/"))
        .prop_filter("a topic", |text| is_topic_name(text))
        .prop_map(|text| Text::try_from(text.as_str()).unwrap())
}

fn any_bytes(max: usize) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..max).prop_map(Bytes::from)
}

fn any_properties() -> impl Strategy<Value = Properties> {
    (
        any::<bool>(),
        prop::option::of(any_text()),
        prop::option::of(any_topic()),
        prop::option::of(any_bytes(50)),
        prop::collection::vec((any_text(), any_text()), 0..5),
    )
        .prop_map(
            |(payload_is_text, content_type, response_topic, correlation, user)| {
                Properties::new(&MessageProperties {
                    payload_is_text,
                    content_type: content_type.as_deref(),
                    response_topic: response_topic.as_ref().map(Text::as_str),
                    correlation_data: correlation.as_deref(),
                    user: user
                        .iter()
                        .map(|(name, value)| (name.as_str(), value.as_str()))
                        .collect(),
                })
                .unwrap()
            },
        )
}

fn any_message() -> impl Strategy<Value = Message> {
    (any_topic(), any_bytes(400), any_properties()).prop_map(|(topic, payload, properties)| {
        Message {
            topic,
            payload,
            properties,
        }
    })
}

fn any_qos() -> impl Strategy<Value = QoS> {
    prop::sample::select(vec![QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
}

fn any_version() -> impl Strategy<Value = Version> {
    prop::sample::select(vec![V311, V5])
}

proptest! {
    /// A message that goes out comes in again as it was, through the encoder of the server and the decoder for clients.
    #[test]
    fn a_published_message_survives(
        message in any_message(),
        version in any_version(),
        qos in any_qos(),
        id in 1..=u16::MAX,
        flags in any::<(bool, bool)>(),
        expiry_s in prop::option::of(any::<u32>()),
        alias in 0..=10u16,
    ) {
        let acknowledged = qos != QoS::AtMostOnce;
        let delivery = Delivery {
            qos,
            packet_id: PacketId::new(id).filter(|_| acknowledged),
            dup: flags.0,
            retain: flags.1,
            expiry_s,
            subscription_ids: &[],
            alias: NonZeroU16::new(alias).map_or(Alias::None, Alias::Set),
        };
        let mut out = BytesMut::new();
        let encoder = Encoder::new(version);
        encoder.publish(&message, &delivery, &mut out).unwrap();
        prop_assert_eq!(out.len(), encoder.publish_length_bytes(&message, &delivery));
        let Ok(Packet::Publish(read)) = decode_after_connect(version, &out) else {
            panic!("refused: {out:02x?}");
        };
        prop_assert_eq!(read.dup, flags.0 && acknowledged);
        prop_assert_eq!((read.qos, read.retain, read.packet_id), (qos, flags.1, delivery.packet_id));
        let mut expected = message.clone();
        if version == V311 {
            expected.properties = Properties::default();
        } else {
            prop_assert_eq!(read.expiry_s, expiry_s);
        }
        prop_assert_eq!(&read.message, &expected);
        prop_assert_eq!(read.message.compact(), expected);
    }

    /// Properties that were kept are the same when they are read again.
    #[test]
    fn kept_properties_survive(properties in any_properties()) {
        prop_assert_eq!(&Properties::parse(properties.as_bytes().clone()).unwrap(), &properties);
        prop_assert_eq!(&Properties::new(&properties.get()).unwrap(), &properties);
    }

    /// The filters of a SUBSCRIBE and of an UNSUBSCRIBE arrive in their order.
    #[test]
    fn subscriptions_survive(
        version in any_version(),
        filters in prop::collection::vec((any_topic(), any_qos(), any::<(bool, bool)>(), 0..3u8), 1..20),
        id in 1..=u16::MAX,
    ) {
        let none: &[u8] = if version == V5 { &[0] } else { &[] };
        let (mut subscribe, mut unsubscribe, mut expected) = (Vec::new(), Vec::new(), Vec::new());
        for (topic, qos, (no_local, retain_as_published), handling) in filters {
            let Ok(filter) = crate::protocol::Filter::parse(topic) else { continue };
            let five = version == V5;
            let subscription = Subscription {
                qos,
                no_local: five && no_local && filter.share_group().is_none(),
                retain_as_published: five && retain_as_published,
                retain_handling: match handling {
                    1 if five => RetainHandling::SendIfNew,
                    2 if five => RetainHandling::DoNotSend,
                    _ => RetainHandling::Send,
                },
                filter,
            };
            subscribe.extend(text(subscription.filter.as_str()));
            unsubscribe.extend(text(subscription.filter.as_str()));
            subscribe.push(
                subscription.qos as u8
                    | u8::from(subscription.no_local) << 2
                    | u8::from(subscription.retain_as_published) << 3
                    | (subscription.retain_handling as u8) << 4,
            );
            expected.push(subscription);
        }
        prop_assume!(!expected.is_empty());
        let head = [&id.to_be_bytes()[..], none].concat();
        let read = decode_after_connect(version, &packet(0x82, &[&head, &subscribe]));
        let Ok(Packet::Subscribe(read)) = read else { panic!("{read:?}") };
        prop_assert_eq!((read.packet_id.get(), read.filters.len()), (id, expected.len()));
        prop_assert_eq!(read.filters.iter().collect::<Vec<_>>(), expected.clone());
        let read = decode_after_connect(version, &packet(0xa2, &[&head, &unsubscribe]));
        let Ok(Packet::Unsubscribe(read)) = read else { panic!("{read:?}") };
        let filters: Vec<_> = expected.into_iter().map(|subscription| subscription.filter).collect();
        prop_assert_eq!(read.iter().collect::<Vec<_>>(), filters);
    }

    /// Everything that a CONNECT says arrives.
    #[test]
    fn a_connect_survives(
        version in any_version(),
        clean in any::<bool>(),
        keep_alive_s in any::<u16>(),
        client_id in "[a-zA-Z0-9_.:-]{1,40}",
        will in prop::option::of((any_message(), any_qos(), any::<bool>(), any::<u32>())),
        user_name in prop::option::of(any_text()),
        password in prop::option::of(any_bytes(60)),
        session_expiry_s in any::<u32>(),
    ) {
        let five = version == V5;
        let password = password.filter(|_| five || user_name.is_some());
        let mut flags = u8::from(clean) << 1;
        let mut rest = text(&client_id);
        if let Some((message, qos, retain, delay_s)) = &will {
            flags |= 4 | (*qos as u8) << 3 | u8::from(*retain) << 5;
            if five {
                let delay = [&[0x18][..], &delay_s.to_be_bytes()].concat();
                rest.extend(properties(&[message.properties.as_bytes(), &delay]));
            }
            rest.extend(text(message.topic.as_bytes()));
            rest.extend(text(&message.payload));
        }
        if let Some(name) = &user_name {
            flags |= 0x80;
            rest.extend(text(name));
        }
        if let Some(password) = &password {
            flags |= 0x40;
            rest.extend(text(password));
        }
        let expiry = [&[0x11][..], &session_expiry_s.to_be_bytes()].concat();
        let props = if five { properties(&[&expiry, &string_property(0x26, ""), &[0, 0]]) } else { Vec::new() };
        let keep_alive = keep_alive_s.to_be_bytes();
        let bytes = packet(0x10, &[&protocol(version), &[flags], &keep_alive, &props, &rest]);
        let (mut packets, violation) = decode(&bytes);
        prop_assert_eq!(violation, None);
        let Packet::Connect(read) = packets.remove(0) else { panic!("no CONNECT") };
        prop_assert_eq!((read.version, read.clean_start, read.keep_alive_s), (version, clean, keep_alive_s));
        prop_assert_eq!(read.client_id.as_str(), client_id);
        prop_assert_eq!(read.user_name.as_ref().map(|name| name.as_str().to_owned()), user_name);
        prop_assert_eq!(read.password.as_ref().map(|p| p.expose().to_vec()), password.map(|p| p.to_vec()));
        let lasting = if clean { 0 } else { u32::MAX };
        prop_assert_eq!(read.session_expiry_s, if five { session_expiry_s } else { lasting });
        prop_assert_eq!(read.will.is_some(), will.is_some());
        if let (Some(read), Some((mut message, qos, retain, delay_s))) = (read.will, will) {
            if !five {
                message.properties = Properties::default();
            }
            prop_assert_eq!((read.qos, read.retain), (qos, retain));
            prop_assert_eq!(read.delay_s, if five { delay_s } else { 0 });
            prop_assert_eq!(read.message, message);
        }
    }
}
