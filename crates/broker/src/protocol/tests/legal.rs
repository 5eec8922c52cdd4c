//! What is beside a rule and is allowed: the decoder is strict, not narrow.

use super::build::{
    V5, V311, connect, decode, decode_after_connect, packet, properties, protocol, string_property,
    text, user_property,
};
use crate::protocol::{
    Connect, Filter, Packet, QoS, ReasonCode, RetainHandling, Text, Version, is_topic_name,
};

fn connected(bytes: &[u8]) -> Connect {
    match decode(bytes) {
        (mut packets, None) if packets.len() == 1 => match packets.remove(0) {
            Packet::Connect(connect) => *connect,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn mosquittos_bridges_speak_mqtt_311_under_their_own_level() {
    for (name, level) in [("MQTT", 0x84), ("MQIsdp", 0x83)] {
        let bytes = packet(0x10, &[&text(name), &[level, 2, 0, 9], &text("bridge")]);
        let connect = connected(&bytes);
        assert_eq!(connect.version, V311);
        assert!(connect.bridge);
        assert_eq!(connect.keep_alive_s, 9);
    }
    assert!(!connected(&connect(V311)).bridge);
}

#[test]
fn what_a_client_does_not_say_has_the_value_of_the_specification() {
    let five = connected(&connect(V5));
    assert_eq!(five.session_expiry_s, 0);
    assert_eq!(five.receive_max.get(), 65_535);
    assert_eq!(five.packet_max_bytes, None);
    assert_eq!(five.topic_alias_max, 0);
    assert!(five.wants_problem_information && !five.wants_response_information);
    // MQTT 3.1.1 has no expiry: a session lives with its connection, or for ever.
    assert_eq!(connected(&connect(V311)).session_expiry_s, 0);
    let kept = packet(0x10, &[&protocol(V311), &[0, 0, 0], &text("lamp")]);
    assert_eq!(connected(&kept).session_expiry_s, u32::MAX);
}

#[test]
fn a_client_may_leave_its_name_to_the_server() {
    let clean = packet(0x10, &[&protocol(V311), &[2, 0, 0], &text("")]);
    assert!(connected(&clean).client_id.is_empty());
    let kept = packet(0x10, &[&protocol(V5), &[0, 0, 0, 0], &text("")]);
    assert!(connected(&kept).client_id.is_empty());
}

#[test]
fn mqtt_5_allows_a_password_without_a_user_name() {
    let bytes = packet(
        0x10,
        &[&protocol(V5), &[0x42, 0, 0, 0], &text("lamp"), &text("pw")],
    );
    let connect = connected(&bytes);
    assert_eq!(connect.user_name, None);
    assert_eq!(connect.password.unwrap().expose(), b"pw");
}

#[test]
fn every_property_of_connect_arrives() {
    let props = properties(&[
        &[0x11, 0, 0, 1, 0],
        &[0x21, 0, 7],
        &[0x27, 0, 1, 0, 0],
        &[0x22, 0, 3],
        &[0x19, 1],
        &[0x17, 0],
        &string_property(0x15, "SCRAM"),
        &string_property(0x16, [0, 0xff]),
        &user_property("a", "b"),
        &user_property("a", "b"),
    ]);
    let will_props = properties(&[
        &[0x18, 0, 0, 0, 9],
        &[0x01, 1],
        &[0x02, 0, 0, 0, 60],
        &string_property(3, "text"),
        &string_property(8, "answers"),
        &string_property(9, [0]),
        &user_property("k", "v"),
    ]);
    let connect = connected(&packet(
        0x10,
        &[
            &protocol(V5),
            &[0x2e, 0, 0],
            &props,
            &text("lamp"),
            &will_props,
            &text("w"),
            &text("gone"),
        ],
    ));
    assert_eq!(connect.session_expiry_s, 256);
    assert_eq!(connect.receive_max.get(), 7);
    assert_eq!(connect.packet_max_bytes.unwrap().get(), 65_536);
    assert_eq!(connect.topic_alias_max, 3);
    assert!(connect.wants_response_information && !connect.wants_problem_information);
    assert_eq!(connect.authentication_method.unwrap().as_str(), "SCRAM");
    let will = connect.will.unwrap();
    assert_eq!((will.qos, will.retain), (QoS::AtLeastOnce, true));
    assert_eq!((will.delay_s, will.expiry_s), (9, Some(60)));
    assert_eq!(will.message.topic.as_str(), "w");
    assert_eq!(&will.message.payload[..], b"gone");
    let forwarded = will.message.properties.get();
    assert!(forwarded.payload_is_text);
    assert_eq!(forwarded.content_type, Some("text"));
    assert_eq!(forwarded.response_topic, Some("answers"));
    assert_eq!(forwarded.correlation_data, Some(&[0][..]));
    assert_eq!(forwarded.user, [("k", "v")]);
}

#[test]
fn a_longer_form_of_a_length_is_no_fault_in_mqtt_311() {
    assert_eq!(
        decode_after_connect(V311, &[0xc0, 0x80, 0]),
        Ok(Packet::Pingreq)
    );
}

#[test]
fn text_beyond_ascii_is_welcome() {
    // The code points around those that are refused, and a byte order mark, which stays [MQTT-1.5.4-3].
    for good in [
        "küche/灯",
        "a b",
        "\u{a0}",
        "\u{fdcf}\u{fdf0}",
        "\u{fffd}",
        "\u{feff}x",
        "\u{10fffd}",
        "\u{d7ff}\u{e000}",
    ] {
        assert_eq!(Text::try_from(good).unwrap().as_str(), good);
        let bytes = packet(0x30, &[&text(good), &[0]]);
        match decode_after_connect(V5, &bytes) {
            Ok(Packet::Publish(publish)) => assert_eq!(publish.message.topic.as_str(), good),
            other => panic!("{good:?}: {other:?}"),
        }
    }
}

#[test]
fn a_payload_is_any_bytes_and_may_be_empty() {
    for payload in [&b""[..], b"\0\xff", &[7; 50_000]] {
        for (version, props) in [(V311, &b""[..]), (V5, &[2, 1, 1])] {
            let bytes = packet(0x3d, &[&text("a"), &[1, 0], props, payload]);
            match decode_after_connect(version, &bytes) {
                Ok(Packet::Publish(publish)) => {
                    assert_eq!(&publish.message.payload[..], payload);
                    assert_eq!(
                        (publish.qos, publish.dup, publish.retain),
                        (QoS::ExactlyOnce, true, true)
                    );
                    assert_eq!(publish.packet_id.unwrap().get(), 256);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn a_topic_alias_stands_for_the_topic_that_it_was_given_last() {
    let publish =
        |topic: &str, alias: u8| packet(0x30, &[&text(topic), &properties(&[&[0x23, 0, alias]])]);
    let bytes = [
        connect(V5),
        publish("one", 10),
        publish("two", 1),
        publish("", 10),
        publish("three", 10),
        publish("", 10),
        publish("", 1),
    ]
    .concat();
    let (packets, violation) = decode(&bytes);
    assert_eq!(violation, None);
    let topics: Vec<_> = packets
        .iter()
        .filter_map(|packet| match packet {
            Packet::Publish(publish) => Some(publish.message.topic.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(topics, ["one", "two", "one", "three", "three", "two"]);
}

#[test]
fn what_is_forwarded_is_all_but_alias_and_expiry_in_its_order() {
    let first = user_property("b", "1");
    let second = user_property("a", "2");
    let bytes = packet(
        0x30,
        &[
            &text("a"),
            &properties(&[
                &first,
                &[0x02, 0, 0, 0, 5],
                &[0x01, 1],
                &[0x23, 0, 1],
                &second,
                &first,
            ]),
            b"x",
        ],
    );
    let Ok(Packet::Publish(publish)) = decode_after_connect(V5, &bytes) else {
        panic!("refused");
    };
    assert_eq!(publish.expiry_s, Some(5));
    let kept = [&first[..], &[1, 1], &second, &first].concat();
    assert_eq!(&publish.message.properties.as_bytes()[..], kept);
    assert_eq!(
        publish.message.properties.get().user,
        [("b", "1"), ("a", "2"), ("b", "1")]
    );
}

#[test]
fn an_acknowledgement_may_leave_out_what_is_zero() {
    type Wrap = fn(crate::protocol::Ack) -> Packet;
    let kinds: [(u8, Wrap); 4] = [
        (0x40, Packet::Puback),
        (0x50, Packet::Pubrec),
        (0x62, Packet::Pubrel),
        (0x70, Packet::Pubcomp),
    ];
    for (first, kind) in kinds {
        for rest in [
            &b""[..],
            &[0],
            &[0, 0],
            &[0, 7, 0x1f, 0, 4, b'f', b'i', b'n', b'e'],
        ] {
            let whole = packet(first, &[&[0, 9], rest]);
            let ack = crate::protocol::Ack {
                packet_id: 9.try_into().unwrap(),
                reason: ReasonCode::Success,
            };
            assert_eq!(
                decode_after_connect(V5, &whole),
                Ok(kind(ack)),
                "{rest:02x?}"
            );
        }
    }
}

#[test]
fn every_subscription_option_arrives() {
    let bytes = packet(
        0x82,
        &[
            &[0, 1],
            &properties(&[&[0x0b, 0xff, 0xff, 0xff, 0x7f], &user_property("a", "b")]),
            &text("a/+/#"),
            &[0x2e],
            &text("$share/g/+"),
            &[0x19],
        ],
    );
    let Ok(Packet::Subscribe(subscribe)) = decode_after_connect(V5, &bytes) else {
        panic!("refused");
    };
    assert_eq!(subscribe.subscription_id.unwrap().get(), 268_435_455);
    assert_eq!(
        (subscribe.filters.len(), subscribe.filters.is_empty()),
        (2, false)
    );
    let all: Vec<_> = subscribe.filters.iter().collect();
    assert_eq!(all[0].filter.as_str(), "a/+/#");
    assert_eq!(all[0].qos, QoS::ExactlyOnce);
    assert!(all[0].no_local && all[0].retain_as_published);
    assert_eq!(all[0].retain_handling, RetainHandling::DoNotSend);
    assert_eq!(all[1].filter.share_group(), Some("g"));
    assert_eq!(all[1].filter.inner(), "+");
    assert_eq!(all[1].retain_handling, RetainHandling::SendIfNew);
}

#[test]
fn filters_that_are_right_are_taken() {
    for (filter, group, inner) in [
        ("#", None, "#"),
        ("+", None, "+"),
        ("/", None, "/"),
        ("//", None, "//"),
        ("+/+/#", None, "+/+/#"),
        ("a/", None, "a/"),
        ("$SYS/#", None, "$SYS/#"),
        ("$shared/a", None, "$shared/a"),
        ("a/$share/b", None, "a/$share/b"),
        ("$share/group/a/b", Some("group"), "a/b"),
        ("$share/g/#", Some("g"), "#"),
        ("$share/g//", Some("g"), "/"),
    ] {
        let parsed = Filter::parse(Text::try_from(filter).unwrap()).unwrap();
        assert_eq!(
            (parsed.as_str(), parsed.share_group(), parsed.inner()),
            (filter, group, inner)
        );
    }
    assert!(is_topic_name("a/b") && !is_topic_name("") && !is_topic_name("a/+"));
}

#[test]
fn a_client_that_keeps_its_session_may_change_how_long_in_disconnect() {
    let kept = packet(
        0x10,
        &[
            &protocol(V5),
            &[0, 0, 0],
            &properties(&[&[0x11, 0, 0, 0, 9]]),
            &text("lamp"),
        ],
    );
    let bye = packet(0xe0, &[&[4], &properties(&[&[0x11, 0, 0, 1, 0]])]);
    let (packets, violation) = decode(&[kept, bye, packet(0xc0, &[])].concat());
    assert_eq!(violation, None);
    // Nothing is read after DISCONNECT.
    assert_eq!(packets.len(), 2);
    let Some(Packet::Disconnect(disconnect)) = packets.last() else {
        panic!("{packets:?}");
    };
    assert_eq!(disconnect.session_expiry_s, Some(256));
    assert!(!disconnect.discards_will());
}

#[test]
fn both_versions_say_goodbye_without_a_word() {
    for version in [Version::V311, Version::V5] {
        match decode_after_connect(version, &[0xe0, 0]) {
            Ok(Packet::Disconnect(disconnect)) => assert!(disconnect.discards_will()),
            other => panic!("{other:?}"),
        }
    }
}
