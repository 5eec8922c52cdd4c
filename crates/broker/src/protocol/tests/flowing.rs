//! The rules of what follows CONNECT.

use super::build::{
    V5, V311, assert_refused, broken, connect, packet, properties, string_property, text,
    user_property, varint,
};
use crate::protocol::ReasonCode::{
    MalformedPacket as Malformed, PacketTooLarge, ProtocolError as Protocol, TopicAliasInvalid,
    TopicFilterInvalid as BadFilter, TopicNameInvalid as BadTopic,
};

/// A PUBLISH of MQTT 5 with QoS 0.
fn publish(topic: &[u8], props: &[&[u8]]) -> Vec<u8> {
    packet(0x30, &[&text(topic), &properties(props), b"x"])
}

#[test]
fn a_length_has_at_most_four_bytes_and_no_more_than_it_needs() {
    assert_refused(
        vec![
            broken(
                "§1.5.5",
                V5,
                vec![0xc0, 0x80, 0x80, 0x80, 0x80, 0],
                Malformed,
            ),
            broken(
                "§1.5.5",
                V311,
                vec![0x30, 0xff, 0xff, 0xff, 0xff, 1],
                Malformed,
            ),
            broken("[MQTT-1.5.5-1]", V5, vec![0xc0, 0x80, 0], Malformed),
            broken(
                "[MQTT-1.5.5-1]",
                V5,
                vec![0xc0, 0x80, 0x80, 0x80, 0],
                Malformed,
            ),
            broken(
                "[MQTT-3.2.2-15]",
                V5,
                [vec![0x30], varint(100_001)].concat(),
                PacketTooLarge,
            ),
            broken(
                "[MQTT-3.2.2-15]",
                V311,
                vec![0x30, 0xff, 0xff, 0xff, 0x7f],
                PacketTooLarge,
            ),
        ],
        true,
    );
}

#[test]
fn each_type_of_packet_has_its_flags_and_its_direction() {
    let mut rows = vec![
        broken("[MQTT-3.1.0-2]", V5, connect(V5), Protocol),
        broken("[MQTT-3.1.0-2]", V311, connect(V311), Protocol),
        broken("§2.1.2", V5, vec![0x00, 0], Malformed),
        broken("§2.1.2", V311, vec![0xf0, 0], Malformed),
        broken("[MQTT-4.12.0-7]", V5, vec![0xf0, 0], Protocol),
        broken(
            "[MQTT-3.3.1-4]",
            V5,
            packet(0x36, &[&text("a"), &[0, 1, 0]]),
            Malformed,
        ),
        broken(
            "[MQTT-3.3.1-2]",
            V5,
            packet(0x38, &[&text("a"), &[0]]),
            Malformed,
        ),
        broken(
            "[MQTT-3.3.1-2]",
            V311,
            packet(0x38, &[&text("a")]),
            Malformed,
        ),
        broken("§2.1.4", V5, packet(0xc0, &[b"x"]), Malformed),
        broken("§2.1.4", V311, packet(0xe0, &[b"x"]), Malformed),
        broken("§2.1.4", V311, packet(0x40, &[&[0, 1, 0]]), Malformed),
    ];
    for version in [V311, V5] {
        for first in [0x20, 0x90, 0xb0, 0xd0] {
            rows.push(broken("§2.1.2", version, vec![first, 0], Protocol));
        }
        for (kind, right) in [
            (4, 0),
            (5, 0),
            (6, 2),
            (7, 0),
            (8, 2),
            (10, 2),
            (12, 0),
            (14, 0),
        ] {
            for flags in (0..16).filter(|flags| *flags != right) {
                let bytes = packet(kind << 4 | flags, &[&[0, 1]]);
                rows.push(broken("[MQTT-2.1.3-1]", version, bytes, Malformed));
            }
        }
    }
    assert_refused(rows, true);
}

#[test]
fn a_topic_is_text_that_every_subscriber_takes() {
    let mut rows = Vec::new();
    for version in [V311, V5] {
        let topic = |bytes: &[u8]| match version {
            V5 => publish(bytes, &[]),
            V311 => packet(0x30, &[&text(bytes), b"x"]),
        };
        for bytes in [
            &b"\xff"[..],
            b"a\xed\xbf\xbf",
            b"\xc3",
            b"\xf8\x88\x80\x80\x80",
        ] {
            rows.push(broken("[MQTT-1.5.4-1]", version, topic(bytes), Malformed));
        }
        rows.push(broken("[MQTT-1.5.4-2]", version, topic(b"a/\0"), Malformed));
        let refused = (1..0x20).chain(0x7f..0xa0).chain(0xfdd0..0xfdf0);
        let last_of_planes =
            (0..=16u32).flat_map(|plane| [plane << 16 | 0xfffe, plane << 16 | 0xffff]);
        for code in refused.chain(last_of_planes) {
            let topic = topic(format!("a/{}", char::from_u32(code).unwrap()).as_bytes());
            rows.push(broken("§1.5.4", version, topic, BadTopic));
        }
        for bytes in [&b"#"[..], b"+", b"a/+/b", b"a+", b"a/#"] {
            rows.push(broken("[MQTT-3.3.2-2]", version, topic(bytes), BadTopic));
        }
        rows.push(broken("[MQTT-4.7.3-1]", version, topic(b""), Protocol));
    }
    assert_refused(rows, true);
}

#[test]
fn a_property_of_publish_stands_once_in_its_range_and_in_its_place() {
    let with = |property: &[u8]| publish(b"a", &[property]);
    let response = |topic: &[u8]| with(&string_property(8, topic));
    let mut rows = vec![
        broken("[MQTT-3.3.2-8]", V5, with(&[0x23, 0, 0]), TopicAliasInvalid),
        broken(
            "[MQTT-3.3.2-9]",
            V5,
            with(&[0x23, 0, 11]),
            TopicAliasInvalid,
        ),
        broken("§3.3.2.3.4", V5, publish(b"", &[&[0x23, 0, 1]]), Protocol),
        broken("[MQTT-3.3.4-6]", V5, with(&[0x0b, 1]), Protocol),
        broken("§3.3.2.3.2", V5, with(&[0x01, 2]), Protocol),
        broken("[MQTT-3.3.2-14]", V5, response(b"a/+"), Protocol),
        broken("[MQTT-4.7.3-1]", V5, response(b""), Protocol),
        broken("§1.5.4", V5, response(b"a\x02"), BadTopic),
        broken("[MQTT-1.5.4-1]", V5, response(b"\xff"), Malformed),
        broken(
            "[MQTT-1.5.4-2]",
            V5,
            with(&string_property(3, "a\0")),
            Malformed,
        ),
        broken("§1.5.4", V5, with(&user_property("a", "\u{9d}")), Malformed),
        broken(
            "§1.5",
            V5,
            packet(0x30, &[&text("a"), &[5, 0x01, 1]]),
            Malformed,
        ),
        broken("§1.5", V5, packet(0x30, &[&[0, 9], b"a"]), Malformed),
        broken("§1.5", V5, packet(0x30, &[&text("a")]), Malformed),
        broken(
            "[MQTT-1.5.5-1]",
            V5,
            packet(0x30, &[&text("a"), &[0x80, 0]]),
            Malformed,
        ),
        broken(
            "[MQTT-2.2.1-3]",
            V5,
            packet(0x32, &[&text("a"), &[0, 0, 0]]),
            Protocol,
        ),
        broken(
            "[MQTT-2.2.1-3]",
            V311,
            packet(0x34, &[&text("a"), &[0, 0]]),
            Protocol,
        ),
    ];
    let twice: &[&[u8]] = &[
        &[0x01, 1],
        &[0x02, 0, 0, 0, 1],
        &[0x03, 0, 1, b'a'],
        &[0x08, 0, 1, b'a'],
        &[0x09, 0, 1, b'a'],
        &[0x23, 0, 1],
    ];
    rows.extend(
        twice
            .iter()
            .map(|p| broken("§2.2.2.2", V5, publish(b"a", &[p, p]), Protocol)),
    );
    let elsewhere: &[&[u8]] = &[
        &[0x11, 0, 0, 0, 1],
        &[0x12, 0, 1, b'a'],
        &[0x13, 0, 1],
        &[0x15, 0, 1, b'a'],
        &[0x16, 0, 1, b'a'],
        &[0x17, 1],
        &[0x18, 0, 0, 0, 1],
        &[0x19, 1],
        &[0x1a, 0, 1, b'a'],
        &[0x1c, 0, 1, b'a'],
        &[0x1f, 0, 1, b'a'],
        &[0x21, 0, 1],
        &[0x22, 0, 1],
        &[0x24, 1],
        &[0x25, 1],
        &[0x27, 0, 0, 0, 1],
        &[0x28, 1],
        &[0x29, 1],
        &[0x2a, 1],
        &[0x3f, 1],
        &[0x40, 1],
        &[0xa6, 0],
    ];
    rows.extend(
        elsewhere
            .iter()
            .map(|p| broken("§2.2.2.2", V5, with(p), Malformed)),
    );
    assert_refused(rows, true);
}

#[test]
fn an_acknowledgement_names_a_packet_and_a_reason_of_its_own() {
    let mut rows = Vec::new();
    for first in [0x40, 0x50, 0x62, 0x70] {
        let rule = [
            "[MQTT-3.4.2-1]",
            "[MQTT-3.5.2-1]",
            "[MQTT-3.6.2-1]",
            "[MQTT-3.7.2-1]",
        ][usize::from(first >> 4) - 4];
        for version in [V311, V5] {
            rows.push(broken(
                "[MQTT-2.2.1-3]",
                version,
                packet(first, &[&[0, 0]]),
                Protocol,
            ));
            rows.push(broken("§1.5", version, packet(first, &[&[1]]), Malformed));
            rows.push(broken("§1.5", version, packet(first, &[]), Malformed));
        }
        for code in [0x01, 0x04, 0x11, 0x18, 0x82, 0x8e, 0x96, 0xff] {
            rows.push(broken(rule, V5, packet(first, &[&[0, 1, code]]), Protocol));
        }
        let property = |p: &[u8]| packet(first, &[&[0, 1, 0], &properties(&[p])]);
        rows.push(broken("§2.2.2.2", V5, property(&[0x0b, 1]), Malformed));
        rows.push(broken("§2.2.2.2", V5, property(&[0x01, 1]), Malformed));
        rows.push(broken(
            "§2.2.2.2",
            V5,
            property(&[0x1f, 0, 0, 0x1f, 0, 0]),
            Protocol,
        ));
        rows.push(broken(
            "§1.5.4",
            V5,
            property(&string_property(0x1f, "\u{1}")),
            Malformed,
        ));
        rows.push(broken(
            "§2.1.4",
            V5,
            packet(first, &[&[0, 1, 0, 0, 9]]),
            Malformed,
        ));
    }
    for first in [0x40, 0x50] {
        rows.push(broken(
            "[MQTT-3.4.2-1]",
            V5,
            packet(first, &[&[0, 1, 0x92]]),
            Protocol,
        ));
    }
    for first in [0x62, 0x70] {
        for code in [0x10, 0x80, 0x91, 0x97] {
            rows.push(broken(
                "[MQTT-3.6.2-1]",
                V5,
                packet(first, &[&[0, 1, code]]),
                Protocol,
            ));
        }
    }
    assert_refused(rows, true);
}

#[test]
fn a_subscription_has_a_filter_and_options_that_exist() {
    let subscribe =
        |filter: &[u8], options: u8| packet(0x82, &[&[0, 1, 0], &text(filter), &[options]]);
    let with = |props: &[&[u8]]| packet(0x82, &[&[0, 1], &properties(props), &text("a"), &[0]]);
    let mut rows = vec![
        broken("[MQTT-3.8.3-2]", V5, packet(0x82, &[&[0, 1, 0]]), Protocol),
        broken("[MQTT-3.8.3-2]", V311, packet(0x82, &[&[0, 1]]), Protocol),
        broken(
            "[MQTT-2.2.1-3]",
            V5,
            packet(0x82, &[&[0, 0, 0], &text("a"), &[0]]),
            Protocol,
        ),
        broken(
            "§1.5",
            V5,
            packet(0x82, &[&[0, 1, 0], &text("a")]),
            Malformed,
        ),
        broken(
            "§1.5",
            V311,
            packet(0x82, &[&[0, 1], &[0, 4], b"a"]),
            Malformed,
        ),
        broken("§3.8.3.1", V5, subscribe(b"a", 3), Protocol),
        broken("§3.8.3.1", V5, subscribe(b"a", 0x30), Protocol),
        broken("[MQTT-3.8.3-5]", V5, subscribe(b"a", 0x40), Malformed),
        broken("[MQTT-3.8.3-5]", V5, subscribe(b"a", 0x80), Malformed),
        broken("[MQTT-3.8.3-4]", V5, subscribe(b"$share/g/a", 4), Protocol),
        broken("§3.8.2.1.2", V5, with(&[&[0x0b, 0]]), Protocol),
        broken("§3.8.2.1.2", V5, with(&[&[0x0b, 1], &[0x0b, 2]]), Protocol),
        broken(
            "§1.5.5",
            V5,
            with(&[&[0x0b, 0x80, 0x80, 0x80, 0x80, 1]]),
            Malformed,
        ),
        broken("[MQTT-1.5.5-1]", V5, with(&[&[0x0b, 0x81, 0]]), Malformed),
        broken("§2.2.2.2", V5, with(&[&[0x01, 1]]), Malformed),
        broken("§2.2.2.2", V5, with(&[&[0x23, 0, 1]]), Malformed),
    ];
    for bit in 2..8 {
        let bytes = packet(0x82, &[&[0, 1], &text("a"), &[1 << bit]]);
        rows.push(broken("[MQTT-3.8.3-", V311, bytes, Malformed));
    }
    rows.push(broken(
        "§3.8.3.1",
        V311,
        packet(0x82, &[&[0, 1], &text("a"), &[3]]),
        Protocol,
    ));
    assert_refused(rows, true);
}

#[test]
fn a_filter_puts_its_wildcards_in_their_places() {
    let mut rows = Vec::new();
    for version in [V311, V5] {
        let none: &[u8] = if version == V5 { &[0] } else { &[] };
        let both = |filter: &[u8]| {
            [
                packet(
                    0x82,
                    &[&[0, 1], none, &text("a/b"), &[0], &text(filter), &[0]],
                ),
                packet(0xa2, &[&[0, 1], none, &text("a/b"), &text(filter)]),
            ]
        };
        for (rule, filter, reason) in [
            ("[MQTT-4.7.3-1]", &b""[..], BadFilter),
            ("[MQTT-4.7.1-1]", b"a/#/b", BadFilter),
            ("[MQTT-4.7.1-1]", b"#/", BadFilter),
            ("[MQTT-4.7.1-1]", b"a#", BadFilter),
            ("[MQTT-4.7.1-1]", b"##", BadFilter),
            ("[MQTT-4.7.1-2]", b"a+/b", BadFilter),
            ("[MQTT-4.7.1-2]", b"++", BadFilter),
            ("[MQTT-4.7.1-2]", b"a/+b", BadFilter),
            ("[MQTT-4.8.2-2]", b"$share/g", BadFilter),
            ("[MQTT-4.8.2-2]", b"$share/g/", BadFilter),
            ("[MQTT-4.8.2-1]", b"$share//a", BadFilter),
            ("[MQTT-4.8.2-2]", b"$share/+/a", BadFilter),
            ("[MQTT-4.8.2-2]", b"$share/g#/a", BadFilter),
            ("[MQTT-4.7.1-1]", b"$share/g/#/a", BadFilter),
            ("§4.8.2", b"$share", BadFilter),
            ("[MQTT-1.5.4-1]", b"a\xff", Malformed),
            ("[MQTT-1.5.4-2]", b"a\0", Malformed),
            ("§1.5.4", b"a\x01", BadFilter),
            ("§1.5.4", b"\xef\xbf\xbe", BadFilter),
        ] {
            rows.extend(both(filter).map(|bytes| broken(rule, version, bytes, reason)));
        }
    }
    rows.push(broken(
        "[MQTT-3.10.3-2]",
        V5,
        packet(0xa2, &[&[0, 1, 0]]),
        Protocol,
    ));
    rows.push(broken(
        "[MQTT-3.10.3-2]",
        V311,
        packet(0xa2, &[&[0, 1]]),
        Protocol,
    ));
    rows.push(broken(
        "[MQTT-2.2.1-3]",
        V311,
        packet(0xa2, &[&[0, 0], &text("a")]),
        Protocol,
    ));
    let subscription_id = packet(0xa2, &[&[0, 1], &properties(&[&[0x0b, 1]]), &text("a")]);
    rows.push(broken("§2.2.2.2", V5, subscription_id, Malformed));
    assert_refused(rows, true);
}

#[test]
fn a_disconnect_says_what_a_client_can_say() {
    let mut rows: Vec<_> = [
        0x01, 0x10, 0x18, 0x84, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x9a, 0x9c, 0x9f, 0xa2, 0xff,
    ]
    .iter()
    .map(|code| broken("[MQTT-3.14.2-1]", V5, packet(0xe0, &[&[*code]]), Protocol))
    .collect();
    let with = |props: &[&[u8]]| packet(0xe0, &[&[0], &properties(props)]);
    rows.push(broken(
        "§3.14.2.2.2",
        V5,
        with(&[&[0x11, 0, 0, 0, 1]]),
        Protocol,
    ));
    rows.push(broken(
        "§3.14.2.2.5",
        V5,
        with(&[&string_property(0x1c, "x")]),
        Protocol,
    ));
    rows.push(broken("§2.2.2.2", V5, with(&[&[0x21, 0, 1]]), Malformed));
    rows.push(broken(
        "§2.2.2.2",
        V5,
        with(&[&[0x1f, 0, 0, 0x1f, 0, 0]]),
        Protocol,
    ));
    rows.push(broken(
        "§1.5.4",
        V5,
        with(&[&string_property(0x1f, "a\tb")]),
        Malformed,
    ));
    rows.push(broken("§2.1.4", V5, packet(0xe0, &[&[0, 0, 0]]), Malformed));
    assert_refused(rows, true);
}
