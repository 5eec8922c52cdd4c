//! Bytes arrive as the network likes: one at a time, or many packets at once.

use bytes::BytesMut;

use super::build::{LIMITS, V5, V311, connect, packet, properties, protocol, text, user_property};
use crate::protocol::{Decoder, Packet};

/// A conversation of every packet that a client can send.
fn conversation() -> [Vec<u8>; 2] {
    let five = [
        packet(
            0x10,
            &[
                &protocol(V5),
                &[0xee, 0, 9],
                &properties(&[&[0x11, 0, 0, 0, 9], &user_property("a", "b")]),
                &text("lamp"),
                &properties(&[&[0x18, 0, 0, 0, 1]]),
                &text("will"),
                &text("gone"),
                &text("user"),
                &text("password"),
            ],
        ),
        packet(
            0x82,
            &[
                &[0, 1, 2, 0x0b, 3],
                &text("a/#"),
                &[1],
                &text("$share/g/b"),
                &[0],
            ],
        ),
        packet(
            0x35,
            &[
                &text("a/b"),
                &[0, 2],
                &properties(&[&[0x23, 0, 1]]),
                &[7; 300],
            ],
        ),
        packet(0x30, &[&text(""), &properties(&[&[0x23, 0, 1]])]),
        packet(0x62, &[&[0, 2]]),
        packet(0x40, &[&[0, 3, 0x10, 0]]),
        packet(0x50, &[&[0, 4]]),
        packet(0x70, &[&[0, 4, 0x92]]),
        packet(0xc0, &[]),
        packet(0xa2, &[&[0, 5, 0], &text("a/#"), &text("b")]),
        packet(0xe0, &[&[4, 0]]),
    ];
    let three = [
        connect(V311),
        packet(0x82, &[&[0, 1], &text("a/#"), &[1]]),
        packet(0x33, &[&text("a/b"), &[0, 2], &[7; 300]]),
        packet(0xa2, &[&[0, 5], &text("a/#")]),
        packet(0xc0, &[]),
        packet(0xe0, &[]),
    ];
    [five.concat(), three.concat()]
}

fn read(pieces: &[&[u8]]) -> Vec<Packet> {
    let mut decoder = Decoder::new(LIMITS);
    let mut buffer = BytesMut::new();
    let mut packets = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        while let Some(packet) = decoder.next(&mut buffer).unwrap() {
            packets.push(packet);
        }
        assert!(decoder.wanted_bytes() > buffer.len() || buffer.is_empty());
    }
    packets
}

#[test]
fn packets_are_the_same_wherever_the_network_cuts_them() {
    for bytes in conversation() {
        let whole = read(&[&bytes]);
        for at in 0..bytes.len() {
            let (head, tail) = bytes.split_at(at);
            assert_eq!(read(&[head, tail]), whole, "cut at {at}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(read(&single), whole);
    }
}

#[test]
fn a_decoder_says_how_much_it_waits_for_and_never_more_than_the_bound() {
    let mut decoder = Decoder::new(LIMITS);
    let mut buffer = BytesMut::from(&connect(V5)[..]);
    decoder.next(&mut buffer).unwrap();
    buffer.extend_from_slice(&[0x30, 0xe8, 0x07]);
    assert_eq!(decoder.next(&mut buffer), Ok(None));
    assert_eq!(decoder.wanted_bytes(), 1_003);
    decoder.set_limits(500, 0);
    assert!(decoder.next(&mut buffer).is_err());
}
