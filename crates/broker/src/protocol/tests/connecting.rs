//! The rules of CONNECT and of what comes before it.

use bytes::BytesMut;

use super::build::{
    Broken, LIMITS, V5, V311, assert_refused, broken, connect, packet, properties, protocol,
    string_property, text, user_property,
};
use crate::protocol::ReasonCode::{
    ClientIdentifierNotValid as BadId, MalformedPacket as Malformed, PacketTooLarge,
    ProtocolError as Protocol, TopicNameInvalid, UnsupportedProtocolVersion as BadVersion,
};
use crate::protocol::{Decoder, ReasonCode};

/// A CONNECT of MQTT 5: flags, properties, what follows the client id.
fn v5(flags: u8, props: &[&[u8]], rest: &[&[u8]]) -> Vec<u8> {
    packet(
        0x10,
        &[
            &protocol(V5),
            &[flags, 0, 0],
            &properties(props),
            &text("lamp"),
            &rest.concat(),
        ],
    )
}

/// A CONNECT of MQTT 3.1.1.
fn v311(flags: u8, client_id: &[u8], rest: &[&[u8]]) -> Vec<u8> {
    packet(
        0x10,
        &[
            &protocol(V311),
            &[flags, 0, 0],
            &text(client_id),
            &rest.concat(),
        ],
    )
}

fn named(name: &[u8], level: u8) -> Vec<u8> {
    packet(0x10, &[&text(name), &[level, 2, 0, 0], &text("lamp")])
}

#[test]
fn a_connection_begins_with_connect_in_a_version_that_is_spoken() {
    assert_refused(
        vec![
            broken("[MQTT-3.1.0-1]", V5, packet(0xc0, &[]), Protocol),
            broken(
                "[MQTT-3.1.0-1]",
                V5,
                packet(0x30, &[&text("a"), b"x"]),
                Protocol,
            ),
            broken(
                "[MQTT-3.1.0-1]",
                V5,
                b"GET / HTTP/1.1\r\n\r\n".to_vec(),
                Protocol,
            ),
            broken(
                "[MQTT-2.1.3-1]",
                V5,
                packet(0x11, &[&protocol(V5)]),
                Malformed,
            ),
            broken(
                "[MQTT-2.1.3-1]",
                V5,
                packet(0x18, &[&protocol(V5)]),
                Malformed,
            ),
            broken("[MQTT-3.1.2-1]", V5, named(b"MQXX", 5), BadVersion),
            broken("[MQTT-3.1.2-1]", V5, named(b"mqtt", 5), BadVersion),
            broken("[MQTT-3.1.2-1]", V5, named(b"", 5), BadVersion),
            broken("[MQTT-3.1.2-2]", V5, named(b"MQTT", 3), BadVersion),
            broken("[MQTT-3.1.2-2]", V5, named(b"MQTT", 6), BadVersion),
            broken("[MQTT-3.1.2-2]", V5, named(b"MQTT", 0x85), BadVersion),
            broken("[MQTT-3.1.2-2]", V5, named(b"MQIsdp", 3), BadVersion),
            broken("[MQTT-3.1.2-2]", V5, named(b"MQIsdp", 4), BadVersion),
        ],
        false,
    );
}

#[test]
fn the_flags_of_connect_agree_with_each_other() {
    assert_refused(
        vec![
            broken("[MQTT-3.1.2-3]", V5, v5(0x03, &[], &[]), Malformed),
            broken("[MQTT-3.1.2-3]", V311, v311(0x03, b"a", &[]), Malformed),
            broken("[MQTT-3.1.2-11]", V5, v5(0x0a, &[], &[]), Malformed),
            broken("[MQTT-3.1.2-13]", V5, v5(0x22, &[], &[]), Malformed),
            broken("[MQTT-3.1.2-12]", V5, v5(0x1e, &[], &[]), Malformed),
            broken(
                "[MQTT-3.1.2-22]",
                V311,
                v311(0x42, b"a", &[&text("pw")]),
                Malformed,
            ),
            broken("§1.5", V5, v5(0x82, &[], &[]), Malformed),
            broken("§1.5", V5, v5(0x42, &[], &[]), Malformed),
            broken("§1.5", V5, v5(0x06, &[], &[]), Malformed),
            broken("§2.1.4", V5, v5(0x02, &[], &[b"x"]), Malformed),
            broken("§2.1.4", V311, v311(0x02, b"a", &[b"x"]), Malformed),
            broken("[MQTT-3.1.3-8]", V311, v311(0x00, b"", &[]), BadId),
            broken(
                "[MQTT-3.1.3-8]",
                V311,
                packet(0x10, &[&text("MQIsdp"), &[0x83, 2, 0, 0], &text("")]),
                BadId,
            ),
        ],
        false,
    );
}

#[test]
fn text_in_connect_is_what_every_client_takes() {
    let named = |id: &[u8]| v311(0x02, id, &[]);
    let user = |name: &[u8]| v5(0x82, &[], &[&text(name)]);
    assert_refused(
        vec![
            broken("[MQTT-1.5.4-1]", V311, named(b"\xff"), Malformed),
            broken("[MQTT-1.5.4-1]", V311, named(b"\xed\xa0\x80"), Malformed),
            broken("[MQTT-1.5.4-1]", V311, named(b"\xc0\xaf"), Malformed),
            broken(
                "[MQTT-1.5.4-1]",
                V311,
                named(b"\xf4\x90\x80\x80"),
                Malformed,
            ),
            broken("[MQTT-1.5.4-2]", V311, named(b"a\0"), Malformed),
            broken("§1.5.4", V311, named(b"\x01"), BadId),
            broken("§1.5.4", V311, named(b"a\x7f"), BadId),
            broken("§1.5.4", V311, named("\u{9f}".as_bytes()), BadId),
            broken("§1.5.4", V311, named("\u{fdd0}".as_bytes()), BadId),
            broken("§1.5.4", V311, named("\u{1ffff}".as_bytes()), BadId),
            broken("[MQTT-1.5.4-1]", V5, user(b"\xff"), Malformed),
            broken("[MQTT-1.5.4-2]", V5, user(b"\0"), Malformed),
            broken("§1.5.4", V5, user(b"a\nb"), Malformed),
        ],
        false,
    );
}

#[test]
fn a_property_of_connect_stands_once_in_its_range_and_in_its_place() {
    let with = |property: &[u8]| v5(0x02, &[property], &[]);
    let mut rows = vec![
        broken(
            "§2.2.2.2",
            V5,
            v5(0x02, &[&[0x21, 0, 1], &[0x21, 0, 1]], &[]),
            Protocol,
        ),
        broken(
            "§2.2.2.2",
            V5,
            v5(0x02, &[&[0x11, 0, 0, 0, 1, 0x11, 0, 0, 0, 1]], &[]),
            Protocol,
        ),
        broken("§3.1.2.11.3", V5, with(&[0x21, 0, 0]), Protocol),
        broken("§3.1.2.11.4", V5, with(&[0x27, 0, 0, 0, 0]), Protocol),
        broken("§3.1.2.11.6", V5, with(&[0x19, 2]), Protocol),
        broken("§3.1.2.11.7", V5, with(&[0x17, 2]), Protocol),
        broken(
            "§3.1.2.11.10",
            V5,
            with(&string_property(0x16, "data")),
            Protocol,
        ),
        broken("§1.5", V5, with(&[0x21, 0]), Malformed),
        broken("§1.5", V5, with(&[0x1f, 0]), Malformed).misplaced(),
        broken("§2.2.2.2", V5, with(&[0x7f, 0]), Malformed),
        broken("§2.2.2.2", V5, with(&[0x80, 0x01]), Malformed),
        broken("§2.2.2.2", V5, with(&[0x00]), Malformed),
        broken(
            "[MQTT-1.5.4-2]",
            V5,
            with(&user_property("a\0", "b")),
            Malformed,
        ),
        broken(
            "§1.5.4",
            V5,
            with(&user_property("a", "b\u{85}")),
            Malformed,
        ),
        broken(
            "§1.5",
            V5,
            packet(0x10, &[&protocol(V5), &[2, 0, 0, 9], &text("a")]),
            Malformed,
        ),
        broken(
            "[MQTT-1.5.5-1]",
            V5,
            packet(0x10, &[&protocol(V5), &[2, 0, 0, 0x80, 0], &text("a")]),
            Malformed,
        ),
    ];
    let server_only: &[&[u8]] = &[
        &[0x01, 1],
        &[0x02, 0, 0, 0, 1],
        &[0x0b, 1],
        &[0x12, 0, 1, b'a'],
        &[0x13, 0, 1],
        &[0x18, 0, 0, 0, 1],
        &[0x1a, 0, 1, b'a'],
        &[0x1c, 0, 1, b'a'],
        &[0x1f, 0, 1, b'a'],
        &[0x23, 0, 1],
        &[0x24, 1],
        &[0x25, 1],
        &[0x28, 1],
        &[0x29, 1],
        &[0x2a, 1],
    ];
    rows.extend(
        server_only
            .iter()
            .map(|p| broken("§2.2.2.2", V5, with(p), Malformed)),
    );
    assert_refused(rows, false);
}

impl Broken {
    /// A property that does not belong here is refused before its value is looked at.
    fn misplaced(self) -> Self {
        Broken {
            rule: "§2.2.2.2",
            ..self
        }
    }
}

#[test]
fn a_will_is_a_message_that_could_have_been_published() {
    let will = |props: &[&[u8]], topic: &[u8]| {
        v5(
            0x06,
            &[],
            &[&properties(props), &text(topic), &text("gone")],
        )
    };
    assert_refused(
        vec![
            broken("[MQTT-4.7.3-1]", V5, will(&[], b""), TopicNameInvalid),
            broken("[MQTT-4.7.0-1]", V5, will(&[], b"a/+"), TopicNameInvalid),
            broken("[MQTT-4.7.0-1]", V5, will(&[], b"#"), TopicNameInvalid),
            broken("[MQTT-1.5.4-2]", V5, will(&[], b"a\0"), Malformed),
            broken("§1.5.4", V5, will(&[], b"a\x1f"), TopicNameInvalid),
            broken(
                "§1.5.4",
                V5,
                will(&[], "\u{ffff}".as_bytes()),
                TopicNameInvalid,
            ),
            broken("§3.3.2.3.2", V5, will(&[&[0x01, 2]], b"a"), Protocol),
            broken(
                "[MQTT-3.3.2-14]",
                V5,
                will(&[&string_property(8, "a/#")], b"a"),
                Protocol,
            ),
            broken(
                "§2.2.2.2",
                V5,
                will(&[&[0x18, 0, 0, 0, 1, 0x18, 0, 0, 0, 1]], b"a"),
                Protocol,
            ),
            broken("§2.2.2.2", V5, will(&[&[0x23, 0, 1]], b"a"), Malformed),
            broken("§2.2.2.2", V5, will(&[&[0x0b, 1]], b"a"), Malformed),
            broken(
                "§2.2.2.2",
                V5,
                will(&[&[0x11, 0, 0, 0, 1]], b"a"),
                Malformed,
            ),
            broken(
                "[MQTT-4.7.0-1]",
                V311,
                v311(0x06, b"lamp", &[&text("+"), &text("gone")]),
                TopicNameInvalid,
            ),
        ],
        false,
    );
}

#[test]
fn a_connect_is_bounded_before_it_is_read() {
    let mut limits = LIMITS;
    limits.connect_max_bytes = 50;
    for (length, refused) in [(48, false), (49, true), (268_435_455, true)] {
        let mut decoder = Decoder::new(limits);
        let mut bytes = BytesMut::from(&[&[0x10][..], &super::build::varint(length)].concat()[..]);
        let reason = decoder
            .next(&mut bytes)
            .err()
            .map(|violation| violation.reason);
        assert_eq!(reason, refused.then_some(PacketTooLarge), "{length}");
    }
}

/// What a client gets when its first bytes are wrong.
fn answer(bytes: &[u8], connack_sent: bool) -> Vec<u8> {
    let mut decoder = Decoder::new(LIMITS);
    let mut buffer = BytesMut::from(bytes);
    let violation = loop {
        match decoder.next(&mut buffer) {
            Ok(Some(_)) => {}
            Ok(None) => panic!("nothing is wrong with {bytes:02x?}"),
            Err(violation) => break violation,
        }
    };
    assert!(buffer.is_empty());
    assert_eq!(
        decoder.next(&mut BytesMut::from(&connect(V5)[..])),
        Ok(None)
    );
    let mut out = BytesMut::new();
    decoder.refuse(&violation, connack_sent, &mut out);
    out.to_vec()
}

#[test]
fn a_refused_client_is_told_in_its_own_version() {
    // No CONNECT, no answer; an unknown name may be no MQTT at all.
    assert_eq!(answer(&packet(0xc0, &[]), false), b"");
    assert_eq!(answer(&named(b"AMQP", 5), false), b"");
    // MQTT 3.1.1: return codes 1 and 2, silence for everything else.
    assert_eq!(answer(&named(b"MQIsdp", 3), false), [0x20, 2, 0, 1]);
    assert_eq!(answer(&named(b"MQTT", 3), false), [0x20, 2, 0, 1]);
    assert_eq!(answer(&v311(0x00, b"", &[]), false), [0x20, 2, 0, 2]);
    assert_eq!(answer(&v311(0x03, b"a", &[]), false), b"");
    let twice = |version| [connect(version), connect(version)].concat();
    assert_eq!(answer(&twice(V311), true), b"");
    // MQTT 5: CONNACK before CONNACK, DISCONNECT after it, with the reason in words.
    let told = |bytes: Vec<u8>, code: ReasonCode| {
        let at = if bytes[0] == 0x20 { 3 } else { 2 };
        assert_eq!(bytes[at], code as u8);
        assert!(bytes.len() > 10, "{bytes:02x?}");
        bytes[0]
    };
    assert_eq!(told(answer(&named(b"MQTT", 6), false), BadVersion), 0x20);
    assert_eq!(told(answer(&v5(0x03, &[], &[]), false), Malformed), 0x20);
    assert_eq!(told(answer(&twice(V5), false), Protocol), 0x20);
    assert_eq!(told(answer(&twice(V5), true), Protocol), 0xe0);
    // CONNACK has no code for a topic filter.
    let filter = packet(0x82, &[&[0, 1, 0], &text("a/#/b"), &[0]]);
    let early = [connect(V5), filter].concat();
    assert_eq!(told(answer(&early, false), Protocol), 0x20);
    assert_eq!(
        told(answer(&early, true), ReasonCode::TopicFilterInvalid),
        0xe0
    );
}

#[test]
fn a_password_is_wiped_from_the_buffer_and_shown_to_nobody() {
    let bytes = v5(0xc2, &[], &[&text("user"), &text("hunter2")]);
    let mut buffer = BytesMut::with_capacity(4096);
    buffer.extend_from_slice(&bytes);
    let mut decoder = Decoder::new(LIMITS);
    let connect = match decoder.next(&mut buffer) {
        Ok(Some(crate::protocol::Packet::Connect(connect))) => connect,
        other => panic!("{other:?}"),
    };
    assert_eq!(connect.password.as_ref().unwrap().expose(), b"hunter2");
    assert!(!format!("{connect:?}").contains("hunter2"));
    // The buffer starts again at the same place once it is empty: what stood there is gone.
    buffer.reserve(4000);
    let spare = buffer.spare_capacity_mut().len();
    buffer.resize(spare, 0);
    assert!(!buffer.windows(7).any(|window| window == b"hunter2"));
}
