//! MQTT from a client (MQTT 3.1.1 and 5): whatever arrives, in whatever pieces, is a packet that keeps the rules or a
//! violation, and a message that was read can be sent and read again.
#![no_main]

use bytes::BytesMut;
use hearthkey_broker::protocol::{
    Alias, Decoder, DecoderLimits, Delivery, Encoder, Packet, Properties, QoS, ReasonCode, Version,
    Violation, is_topic_name,
};
use libfuzzer_sys::fuzz_target;

const LIMITS: DecoderLimits = DecoderLimits {
    connect_max_bytes: 16 * 1024,
    packet_max_bytes: 64 * 1024,
    topic_alias_max: 4,
};
const CONNECT_V311: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01c";
const CONNECT_V5: &[u8] = b"\x10\x0e\0\x04MQTT\x05\x02\0\0\0\0\x01c";

fuzz_target!(|input: &[u8]| {
    let Some((&first, bytes)) = input.split_first() else {
        return;
    };
    let before = match first & 3 {
        0 => CONNECT_V311,
        1 => CONNECT_V5,
        _ => b"",
    };
    let whole = read(before, bytes, bytes.len());
    let pieces = read(before, bytes, usize::from(first >> 2) + 1);
    assert_eq!(whole, pieces, "the network's cuts change what was said");
    for packet in &whole.0 {
        check(packet);
    }
});

/// All packets, and how it ended.
fn read(before: &[u8], bytes: &[u8], piece: usize) -> (Vec<Packet>, Option<Violation>) {
    let mut decoder = Decoder::new(LIMITS);
    let mut buffer = BytesMut::from(before);
    let mut packets = Vec::new();
    for piece in std::iter::once(&b""[..]).chain(bytes.chunks(piece.max(1))) {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.next(&mut buffer) {
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => break,
                Err(violation) => {
                    let mut out = BytesMut::new();
                    decoder.refuse(&violation, !before.is_empty(), &mut out);
                    assert!(violation.reason.is_failure());
                    return (packets, Some(violation));
                }
            }
        }
        assert!(decoder.wanted_bytes() <= LIMITS.packet_max_bytes);
    }
    (packets, None)
}

fn check(packet: &Packet) {
    match packet {
        Packet::Publish(publish) => {
            assert!(is_topic_name(publish.message.topic.as_str()));
            assert_eq!(publish.packet_id.is_some(), publish.qos != QoS::AtMostOnce);
            send_and_read_again(publish);
        }
        Packet::Connect(connect) => {
            if let Some(will) = &connect.will {
                assert!(is_topic_name(will.message.topic.as_str()));
                assert!(Properties::parse(will.message.properties.as_bytes().clone()).is_ok());
            }
        }
        Packet::Subscribe(subscribe) => {
            assert_eq!(subscribe.filters.iter().count(), subscribe.filters.len());
            assert!(
                subscribe
                    .filters
                    .iter()
                    .all(|one| !one.filter.inner().is_empty())
            );
        }
        Packet::Unsubscribe(unsubscribe) => {
            assert_eq!(unsubscribe.iter().count(), unsubscribe.len());
        }
        Packet::Puback(ack) | Packet::Pubrec(ack) | Packet::Pubrel(ack) | Packet::Pubcomp(ack) => {
            assert_ne!(ack.reason, ReasonCode::GrantedQos1);
        }
        Packet::Pingreq | Packet::Disconnect(_) => {}
    }
}

fn send_and_read_again(publish: &hearthkey_broker::protocol::Publish) {
    let delivery = Delivery {
        qos: publish.qos,
        packet_id: publish.packet_id,
        dup: publish.dup,
        retain: publish.retain,
        expiry_s: publish.expiry_s,
        subscription_ids: &[],
        alias: Alias::None,
    };
    let encoder = Encoder::new(Version::V5);
    let mut out = BytesMut::from(CONNECT_V5);
    encoder
        .publish(&publish.message.compact(), &delivery, &mut out)
        .expect("no bound was set");
    let mut decoder = Decoder::new(DecoderLimits {
        packet_max_bytes: 2 * LIMITS.packet_max_bytes,
        ..LIMITS
    });
    assert!(matches!(
        decoder.next(&mut out),
        Ok(Some(Packet::Connect(_)))
    ));
    assert_eq!(
        decoder.next(&mut out).as_ref(),
        Ok(&Some(Packet::Publish(publish.clone())))
    );
}
