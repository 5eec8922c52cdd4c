//! Bytes by the hundred thousand that mean harm, before and after CONNECT: nothing panics, nothing passes that breaks a
//! rule, and nothing is read after the end. Coverage-guided fuzzing of the same is `fuzz/fuzz_targets/mqtt_packets.rs`.

use bytes::BytesMut;

use super::build::{LIMITS, V5, V311, connect, packet, properties, protocol, text, user_property};
use crate::protocol::{Decoder, Packet, QoS, Text, is_topic_name};

/// A sample in `cargo test`, a million with `HEARTHKEY_SOAK=1`.
fn rounds() -> u32 {
    match std::env::var_os("HEARTHKEY_SOAK") {
        Some(_) => 1_000_000,
        None => 30_000,
    }
}

/// The numbers of xorshift64*: the same in every run.
struct Dice(u64);

impl Dice {
    fn throw(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.throw() >> 33) as usize % end.max(1)
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let props = properties(&[
        &[0x01, 1],
        &[0x02, 0, 0, 0, 9],
        &[0x08, 0, 1, b'r'],
        &[0x09, 0, 1, 0],
        &[0x23, 0, 1],
        &user_property("name", "value"),
    ]);
    vec![
        connect(V5),
        connect(V311),
        packet(
            0x10,
            &[
                &protocol(V5),
                &[0xf6, 0, 9, 5, 0x11, 0, 0, 0, 9],
                &text("id"),
                &[0],
                &text("will"),
                &text("x"),
                &text("user"),
                &text("pw"),
            ],
        ),
        packet(0x34, &[&text("a/b"), &[0, 1], &props, b"payload"]),
        packet(0x30, &[&text("a/b"), b"payload"]),
        packet(0x30, &[&text(""), &[3, 0x23, 0, 1]]),
        packet(
            0x82,
            &[
                &[0, 1, 2, 0x0b, 1],
                &text("a/+/#"),
                &[0x2d],
                &text("$share/g/b"),
                &[1],
            ],
        ),
        packet(0x82, &[&[0, 1], &text("a/+/#"), &[1]]),
        packet(0xa2, &[&[0, 1, 0], &text("a/+/#")]),
        packet(0x40, &[&[0, 1, 0x87, 5, 0x1f, 0, 2, b'n', b'o']]),
        packet(0x50, &[&[0, 1]]),
        packet(0x62, &[&[0, 1, 0x92]]),
        packet(0x70, &[&[0, 1]]),
        packet(0xc0, &[]),
        packet(0xe0, &[&[4, 5, 0x11, 0, 0, 0, 0]]),
        packet(0xf0, &[&[0x18, 0]]),
    ]
}

/// A few seeds, one after the other, with a few bytes changed, cut out or put in.
fn spoilt(dice: &mut Dice, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..=dice.below(3))
        .flat_map(|_| seeds[dice.below(seeds.len())].clone())
        .collect();
    for _ in 0..dice.below(5) {
        let at = dice.below(bytes.len());
        match dice.below(6) {
            0 if !bytes.is_empty() => drop(bytes.remove(at)),
            1 => bytes.insert(at, dice.throw() as u8),
            2 => bytes.truncate(at),
            3 if !bytes.is_empty() => bytes[at] ^= 1 << dice.below(8),
            4 if !bytes.is_empty() => {
                bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'#', b'+', b'$'][dice.below(8)]
            }
            _ if !bytes.is_empty() => bytes[at] = dice.throw() as u8,
            _ => {}
        }
    }
    bytes
}

/// What every packet promises, whatever it was made of.
fn assert_kept(packet: &Packet) {
    let readable = |text: &Text| assert!(Text::try_from(text.as_str()).is_ok(), "{text:?}");
    match packet {
        Packet::Connect(connect) => {
            readable(&connect.client_id);
            assert!(
                connect
                    .will
                    .iter()
                    .all(|will| is_topic_name(will.message.topic.as_str()))
            );
        }
        Packet::Publish(publish) => {
            readable(&publish.message.topic);
            assert!(is_topic_name(publish.message.topic.as_str()));
            assert_eq!(publish.packet_id.is_some(), publish.qos != QoS::AtMostOnce);
            let kept = publish.message.properties.as_bytes().clone();
            assert!(crate::protocol::Properties::parse(kept).is_ok());
        }
        Packet::Subscribe(subscribe) => {
            assert!(!subscribe.filters.is_empty());
            assert_eq!(subscribe.filters.iter().count(), subscribe.filters.len());
        }
        Packet::Unsubscribe(unsubscribe) => {
            assert_eq!(unsubscribe.iter().count(), unsubscribe.len());
        }
        _ => {}
    }
}

/// Feeds the bytes in pieces; answers how many packets came out.
fn feed(dice: &mut Dice, before: &[u8], bytes: &[u8]) -> usize {
    let mut decoder = Decoder::new(LIMITS);
    let mut buffer = BytesMut::from(before);
    let (mut rest, mut count) = (bytes, 0);
    loop {
        match decoder.next(&mut buffer) {
            Ok(Some(packet)) => {
                assert_kept(&packet);
                count += 1;
            }
            Ok(None) if rest.is_empty() => return count,
            Ok(None) => {
                let (now, later) = rest.split_at(1 + dice.below(rest.len()));
                buffer.extend_from_slice(now);
                rest = later;
            }
            Err(violation) => {
                assert!(buffer.is_empty(), "{violation}");
                let mut out = BytesMut::new();
                decoder.refuse(&violation, !before.is_empty(), &mut out);
                buffer.extend_from_slice(&connect(V5));
                assert_eq!(decoder.next(&mut buffer), Ok(None), "{violation}");
                return count;
            }
        }
    }
}

#[test]
fn hostile_bytes_end_in_a_violation_or_in_a_packet_that_keeps_the_rules() {
    let (mut dice, seeds) = (Dice(0x9e37_79b9_7f4a_7c15), seeds());
    let mut passed = 0;
    for round in 0..rounds() {
        let before = match round % 3 {
            0 => Vec::new(),
            1 => connect(V311),
            _ => connect(V5),
        };
        let bytes = spoilt(&mut dice, &seeds);
        passed += feed(&mut dice, &before, &bytes);
    }
    // Bytes that were all refused at once would have tried nothing.
    assert!(passed > rounds() as usize / 2, "{passed} packets");
}
