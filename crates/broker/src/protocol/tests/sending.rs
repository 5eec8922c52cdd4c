//! What goes out, byte by byte.

use std::num::{NonZeroU16, NonZeroU32};

use bytes::{Bytes, BytesMut};

use super::build::{V5, V311, packet, properties, string_property, text, user_property};
use crate::protocol::{
    Alias, Connack, Connect, Delivery, Encoder, Message, MessageProperties, Packet, PacketId,
    Properties, QoS, ReasonCode, SubscriptionId, Text, Version,
};

fn id(value: u16) -> PacketId {
    PacketId::new(value).unwrap()
}

/// What an encoder appends.
fn sent(append: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut out = BytesMut::new();
    append(&mut out);
    out.to_vec()
}

fn connect_with(props: &[&[u8]]) -> Connect {
    let bytes = packet(
        0x10,
        &[
            &super::build::protocol(V5),
            &[2, 0, 0],
            &properties(props),
            &text("lamp"),
        ],
    );
    match super::build::decode(&bytes).0.remove(0) {
        Packet::Connect(connect) => *connect,
        other => panic!("{other:?}"),
    }
}

/// An encoder for a client that takes packets of so many bytes.
fn narrow(max_bytes: u32) -> Encoder {
    let max = max_bytes.to_be_bytes();
    Encoder::for_client(&connect_with(&[&[0x27], &max]))
}

fn message(properties: &MessageProperties<'_>) -> Message {
    Message {
        topic: Text::try_from("a/b").unwrap(),
        payload: Bytes::from_static(b"payload"),
        properties: Properties::new(properties).unwrap(),
    }
}

#[test]
fn connack_says_everything_in_mqtt_5_and_two_bytes_in_mqtt_311() {
    let mut connack = Connack::because(ReasonCode::Success);
    connack.session_present = true;
    connack.session_expiry_s = Some(256);
    connack.receive_max = NonZeroU16::new(64);
    connack.packet_max_bytes = NonZeroU32::new(65_536);
    connack.assigned_client_id = Some("made-up");
    connack.topic_alias_max = 16;
    connack.server_keep_alive_s = Some(60);
    connack.response_information = Some("r");
    connack.reason_string = Some("welcome");
    let five = sent(|out| Encoder::new(V5).connack(&connack, out).unwrap());
    let props = properties(&[
        &[0x11, 0, 0, 1, 0],
        &[0x21, 0, 64],
        &[0x27, 0, 1, 0, 0],
        &[0x22, 0, 16],
        &[0x13, 0, 60],
        &string_property(0x12, "made-up"),
        &string_property(0x1a, "r"),
        &string_property(0x1f, "welcome"),
    ]);
    assert_eq!(five, packet(0x20, &[&[1, 0], &props]));
    let three = sent(|out| Encoder::new(V311).connack(&connack, out).unwrap());
    assert_eq!(three, [0x20, 2, 1, 0]);
}

#[test]
fn a_refusal_has_no_session_and_no_bounds() {
    let mut connack = Connack::because(ReasonCode::NotAuthorized);
    connack.session_present = true;
    connack.receive_max = NonZeroU16::new(64);
    let five = sent(|out| Encoder::new(V5).connack(&connack, out).unwrap());
    assert_eq!(five, [0x20, 3, 0, 0x87, 0]);
    for (reason, code) in [
        (ReasonCode::UnsupportedProtocolVersion, 1),
        (ReasonCode::ClientIdentifierNotValid, 2),
        (ReasonCode::ServerBusy, 3),
        (ReasonCode::BadUserNameOrPassword, 4),
        (ReasonCode::QuotaExceeded, 5),
    ] {
        connack.reason = reason;
        let three = sent(|out| Encoder::new(V311).connack(&connack, out).unwrap());
        assert_eq!(three, [0x20, 2, 0, code]);
    }
}

#[test]
fn an_acknowledgement_is_as_short_as_it_can_be() {
    let five = Encoder::new(V5);
    let success = ReasonCode::Success;
    assert_eq!(
        sent(|out| five.puback(id(258), success, None, out)),
        [0x40, 2, 1, 2]
    );
    assert_eq!(
        sent(|out| five.pubrec(id(258), success, None, out)),
        [0x50, 2, 1, 2]
    );
    assert_eq!(
        sent(|out| five.pubrel(id(258), success, out)),
        [0x62, 2, 1, 2]
    );
    assert_eq!(
        sent(|out| five.pubcomp(id(258), success, out)),
        [0x70, 2, 1, 2]
    );
    let refused = ReasonCode::NotAuthorized;
    let why = sent(|out| five.puback(id(1), refused, Some("no"), out));
    assert_eq!(why, [0x40, 9, 0, 1, 0x87, 5, 0x1f, 0, 2, b'n', b'o']);
    let three = Encoder::new(V311);
    assert_eq!(
        sent(|out| three.puback(id(1), refused, Some("no"), out)),
        [0x40, 2, 0, 1]
    );
}

#[test]
fn a_client_that_wants_no_problem_information_gets_none_in_acknowledgements() {
    let quiet = Encoder::for_client(&connect_with(&[&[0x17, 0]]));
    let bytes = sent(|out| quiet.puback(id(1), ReasonCode::NotAuthorized, Some("no"), out));
    assert_eq!(bytes, [0x40, 4, 0, 1, 0x87, 0]);
    // CONNACK and DISCONNECT may say why all the same.
    let bye = sent(|out| quiet.disconnect(ReasonCode::ServerBusy, Some("no"), out));
    assert_eq!(bye, [0xe0, 7, 0x89, 5, 0x1f, 0, 2, b'n', b'o']);
}

#[test]
fn suback_and_unsuback_have_a_code_for_each_filter() {
    let codes = [
        ReasonCode::GrantedQos2,
        ReasonCode::NotAuthorized,
        ReasonCode::Success,
    ];
    let suback = |encoder: Encoder, why: Option<&str>| {
        sent(|out| encoder.suback(id(7), codes.into_iter(), why, out).unwrap())
    };
    assert_eq!(
        suback(Encoder::new(V5), None),
        [0x90, 6, 0, 7, 0, 2, 0x87, 0]
    );
    assert_eq!(
        suback(Encoder::new(V5), Some("no")),
        [0x90, 11, 0, 7, 5, 0x1f, 0, 2, b'n', b'o', 2, 0x87, 0]
    );
    assert_eq!(
        suback(Encoder::new(V311), Some("no")),
        [0x90, 5, 0, 7, 2, 0x80, 0]
    );
    let unsuback = |version| {
        let codes = [ReasonCode::Success, ReasonCode::NoSubscriptionExisted];
        sent(|out| {
            Encoder::new(version)
                .unsuback(id(7), codes.into_iter(), out)
                .unwrap()
        })
    };
    assert_eq!(unsuback(V5), [0xb0, 5, 0, 7, 0, 0, 0x11]);
    assert_eq!(unsuback(V311), [0xb0, 2, 0, 7]);
}

#[test]
fn the_server_of_mqtt_311_has_no_disconnect() {
    let bye = |version| {
        sent(|out| Encoder::new(version).disconnect(ReasonCode::SessionTakenOver, None, out))
    };
    assert_eq!(bye(V5), [0xe0, 2, 0x8e, 0]);
    assert_eq!(bye(V311), b"");
    assert_eq!(sent(|out| Encoder::new(V311).pingresp(out)), [0xd0, 0]);
}

#[test]
fn a_message_reaches_each_receiver_in_its_own_form() {
    let message = message(&MessageProperties {
        payload_is_text: true,
        content_type: Some("t"),
        user: vec![("k", "v")],
        ..MessageProperties::default()
    });
    let ids = [
        SubscriptionId::new(1).unwrap(),
        SubscriptionId::new(300).unwrap(),
    ];
    let delivery = Delivery {
        qos: QoS::AtLeastOnce,
        packet_id: Some(id(5)),
        dup: true,
        retain: true,
        expiry_s: Some(9),
        subscription_ids: &ids,
        alias: Alias::Set(NonZeroU16::MIN),
    };
    let publish = |version, delivery: &Delivery<'_>| {
        sent(|out| {
            Encoder::new(version)
                .publish(&message, delivery, out)
                .unwrap()
        })
    };
    let forwarded = [
        &[1, 1][..],
        &string_property(3, "t"),
        &user_property("k", "v"),
    ]
    .concat();
    let own: &[u8] = &[0x02, 0, 0, 0, 9, 0x23, 0, 1, 0x0b, 1, 0x0b, 0xac, 2];
    assert_eq!(
        publish(V5, &delivery),
        packet(
            0x3b,
            &[
                &text("a/b"),
                &[0, 5],
                &properties(&[own, &forwarded]),
                b"payload"
            ]
        )
    );
    assert_eq!(
        publish(V311, &delivery),
        packet(0x3b, &[&text("a/b"), &[0, 5], b"payload"])
    );
    let again = Delivery {
        alias: Alias::Use(NonZeroU16::MIN),
        qos: QoS::AtMostOnce,
        retain: false,
        expiry_s: None,
        subscription_ids: &[],
        ..delivery
    };
    // DUP and packet identifier are not for QoS 0, and MQTT 3.1.1 has no alias.
    assert_eq!(
        publish(V5, &again),
        packet(
            0x30,
            &[
                &text(""),
                &properties(&[&[0x23, 0, 1], &forwarded]),
                b"payload"
            ]
        )
    );
    assert_eq!(
        publish(V311, &again),
        packet(0x30, &[&text("a/b"), b"payload"])
    );
}

#[test]
fn the_size_that_is_judged_is_the_size_that_is_sent() {
    let message = message(&MessageProperties::default());
    let whole = sent(|out| {
        Encoder::new(V5)
            .publish(&message, &Delivery::QOS_0, out)
            .unwrap()
    });
    let length = whole.len();
    assert_eq!(
        Encoder::new(V5).publish_length_bytes(&message, &Delivery::QOS_0),
        length
    );
    let mut out = BytesMut::new();
    assert_eq!(
        narrow(length as u32).publish(&message, &Delivery::QOS_0, &mut out),
        Ok(())
    );
    assert_eq!(out.len(), length);
    let refused = narrow(length as u32 - 1).publish(&message, &Delivery::QOS_0, &mut out);
    assert_eq!(refused.unwrap_err().length_bytes, length);
    assert_eq!(
        out.len(),
        length,
        "nothing is appended of what is too large"
    );
}

#[test]
fn a_reason_string_that_does_not_fit_is_left_out() {
    let why = Some("a long explanation");
    let answer =
        |encoder: Encoder| sent(|out| encoder.puback(id(1), ReasonCode::QuotaExceeded, why, out));
    assert_eq!(answer(narrow(27)).len(), 27);
    assert_eq!(answer(narrow(26)), [0x40, 4, 0, 1, 0x97, 0]);
    let mut connack = Connack::because(ReasonCode::QuotaExceeded);
    connack.reason_string = why;
    let told = |encoder: Encoder| sent(|out| encoder.connack(&connack, out).unwrap());
    assert_eq!(told(narrow(10)), [0x20, 3, 0, 0x97, 0]);
    let mut out = BytesMut::new();
    assert!(narrow(4).connack(&connack, &mut out).is_err());
    assert!(
        narrow(5)
            .suback(id(1), [ReasonCode::Success].into_iter(), None, &mut out)
            .is_err()
    );
    narrow(3).disconnect(ReasonCode::QuotaExceeded, why, &mut out);
    assert!(out.is_empty());
}

#[test]
fn a_payload_may_follow_its_head_in_pieces() {
    let message = message(&MessageProperties::default());
    for version in [Version::V311, Version::V5] {
        let encoder = Encoder::new(version);
        let mut pieces = sent(|out| {
            encoder
                .publish_head(&message, &Delivery::QOS_0, out)
                .unwrap()
        });
        pieces.extend_from_slice(&message.payload);
        let whole = sent(|out| encoder.publish(&message, &Delivery::QOS_0, out).unwrap());
        assert_eq!(pieces, whole);
    }
}

#[test]
fn the_gateways_own_messages_follow_the_same_rules() {
    let refused = |properties: MessageProperties<'_>| Properties::new(&properties).is_err();
    assert!(refused(MessageProperties {
        response_topic: Some("a/#"),
        ..Default::default()
    }));
    assert!(refused(MessageProperties {
        content_type: Some("a\0"),
        ..Default::default()
    }));
    assert!(refused(MessageProperties {
        user: vec![("a", "b\n")],
        ..Default::default()
    }));
    let long = "x".repeat(65_536);
    assert!(refused(MessageProperties {
        content_type: Some(&long),
        ..Default::default()
    }));
    assert!(Text::try_from(long.as_str()).is_err());
    for stored in [
        &[0x02, 0, 0, 0, 1][..],
        &[0x23, 0, 1],
        &[0x0b, 1],
        &[1, 1, 1, 1],
        &[1],
    ] {
        assert!(
            Properties::parse(Bytes::copy_from_slice(stored)).is_err(),
            "{stored:02x?}"
        );
    }
}

#[test]
fn a_compact_message_is_equal_and_holds_no_more_than_it_needs() {
    let buffer = Bytes::from(vec![b'x'; 65_536]);
    let mut message = message(&MessageProperties {
        payload_is_text: true,
        ..Default::default()
    });
    message.payload = buffer.slice(100..107);
    let compact = message.compact();
    assert_eq!(compact, message);
    assert_eq!(compact.len_bytes(), 3 + 2 + 7);
    drop(message);
    assert!(buffer.is_unique(), "nothing of the read buffer is held");
}
