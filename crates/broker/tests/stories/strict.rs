//! What a client may not do, where it takes a session to tell: acknowledgements, repeats, quotas; and bytes that mean
//! harm, over real connections.

use std::sync::Arc;

use hearthkey_broker::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{Client, Hello, connect_packet, dial, string};
use crate::home::{Authority, Home, within};

const PROTOCOL_ERROR: u8 = 0x82;

/// Reads to the end of the connection; the reason of DISCONNECT if one came.
async fn last_reason(client: &mut Client) -> Option<u8> {
    let mut reason = None;
    while let Some((first, body)) = client.read().await {
        if first == 0xe0 {
            reason = body.first().copied();
        }
    }
    reason
}

/// Whether the connection goes on: a ping is answered.
async fn goes_on(client: &mut Client) -> bool {
    client.send(&[0xc0, 0]).await;
    loop {
        match client.read().await {
            Some((0xd0, _)) => return true,
            Some((0xe0, _)) | None => return false,
            Some(_) => {}
        }
    }
}

/// A client that has got one message with this QoS and has not acknowledged it; and the message's packet identifier.
async fn holding(home: &Home, hello: Hello<'_>, qos: u8) -> (Client, [u8; 2]) {
    let name = hello.client_id.to_owned();
    let identity = home.enroll(&name, 1);
    let mut client = Client::device(home, &identity, hello).await;
    let topic = format!("home/{name}/x");
    assert_eq!(client.subscribe(&topic, qos).await, qos);
    client.offer(&topic, b"x", qos << 1, &[]).await;
    loop {
        let (first, body) = client.read().await.unwrap();
        match first >> 4 {
            3 => {
                let at = 2 + topic.len();
                return (client, [body[at], body[at + 1]]);
            }
            // Its own message is released, so that what follows is about the other direction.
            5 => client.send(&[0x62, 2, body[0], body[1]]).await,
            _ => {}
        }
    }
}

#[tokio::test]
async fn an_acknowledgement_of_the_wrong_kind_ends_the_connection() {
    let home = Home::new().await;
    // PUBACK 0x40, PUBREC 0x50, PUBREL 0x62, PUBCOMP 0x70: what is sent for a message of this QoS, one after the other.
    let cases: [(&str, u8, &[u8]); 5] = [
        ("received-qos1", 1, &[0x50]),
        ("completed-qos1", 1, &[0x70]),
        ("acked-qos2", 2, &[0x40]),
        ("completed-early", 2, &[0x70]),
        ("acked-after", 2, &[0x50, 0x40]),
    ];
    for (name, qos, acks) in cases {
        for v5 in [true, false] {
            let name = format!("{name}-{}", if v5 { 5 } else { 3 });
            let hello = Hello {
                v5,
                ..Hello::v5(&name)
            };
            let (mut client, [high, low]) = holding(&home, hello, qos).await;
            for first in acks {
                client.send(&[*first, 2, high, low]).await;
            }
            let expected = v5.then_some(PROTOCOL_ERROR);
            assert_eq!(last_reason(&mut client).await, expected, "{name}");
            home.hears(&["Refused", &name, "Protocol"]).await;
        }
    }
}

#[tokio::test]
async fn an_acknowledgement_for_nothing_harms_nobody() {
    let home = Home::new().await;
    let lamp = home.enroll("lamp", 1);
    let mut client = Client::device(&home, &lamp, Hello::v5("lamp")).await;
    client.send(&[0x40, 2, 0, 9, 0x70, 2, 0, 9]).await;
    client.send(&[0x50, 2, 0, 9]).await;
    assert_eq!(client.read().await, Some((0x62, vec![0, 9, 0x92, 0])));
    client.send(&[0x62, 2, 0, 9]).await;
    assert_eq!(client.read().await, Some((0x70, vec![0, 9, 0x92, 0])));
    assert!(goes_on(&mut client).await);
}

#[tokio::test]
async fn a_qos_2_message_sent_again_arrives_once_and_not_for_ever() {
    let home = Home::new().await;
    let (lamp, hall) = (home.enroll("lamp", 1), home.enroll("hall", 1));
    let mut hears = Client::device(&home, &hall, Hello::v311("hall")).await;
    hears.subscribe("home/lamp/#", 0).await;
    let mut client = Client::device(&home, &lamp, Hello::v5("lamp")).await;
    let mut body = Vec::new();
    string(&mut body, "home/lamp/x");
    body.extend_from_slice(&[0, 7, 0, b'!']);
    let publish = [&[0x34, body.len() as u8][..], &body].concat();
    for _ in 0..2 {
        client.send(&publish).await;
        let (first, answer) = client.read().await.unwrap();
        assert_eq!((first, &answer[..2]), (0x50, &[0, 7][..]));
    }
    assert_eq!(hears.message().await.text(), "!");
    client.send(&publish).await;
    assert_eq!(last_reason(&mut client).await, Some(PROTOCOL_ERROR));
    // Nothing more had arrived.
    hears.offer("home/hall/x", b"", 0, &[]).await;
    assert!(goes_on(&mut hears).await);
}

#[tokio::test]
async fn a_client_that_exceeds_receive_maximum_is_told_so() {
    let limits = Limits {
        receive_max: 4,
        ..Limits::default()
    };
    let ca = Arc::new(Authority::new());
    let home = Home::with(limits, Vec::new(), ca, Arc::default()).await;
    let lamp = home.enroll("lamp", 1);
    let mut client = Client::device(&home, &lamp, Hello::v5("lamp")).await;
    for _ in 0..5 {
        client.offer("home/lamp/x", b"", 4, &[]).await;
    }
    assert_eq!(last_reason(&mut client).await, Some(0x93));
}

#[tokio::test]
async fn what_the_gateway_cannot_do_for_a_client_ends_before_it_begins() {
    let home = Home::new().await;
    let lamp = home.enroll("lamp", 1);
    let connect = |properties: &[u8]| {
        let mut body = b"\0\x04MQTT\x05\x02\0\0".to_vec();
        body.push(properties.len() as u8);
        body.extend_from_slice(properties);
        string(&mut body, "lamp");
        [&[0x10, body.len() as u8][..], &body].concat()
    };
    // An authentication method is answered, a client that takes packets of two bytes cannot be.
    let method = connect(b"\x15\0\x05SCRAM\x16\0\x01x");
    let narrow = connect(&[0x27, 0, 0, 0, 2]);
    for (bytes, code) in [(method, Some(0x8c)), (narrow, None)] {
        let mut tls = dial(&home, Some(&lamp)).await.unwrap();
        tls.write_all(&bytes).await.unwrap();
        let mut answer = Vec::new();
        within("the end", tls.read_to_end(&mut answer)).await.ok();
        assert_eq!(answer.get(3).copied(), code, "{answer:02x?}");
    }
}

#[tokio::test]
async fn a_topic_that_subscribers_choke_on_ends_its_publisher_and_reaches_nobody() {
    let home = Home::new().await;
    let (lamp, hall) = (home.enroll("lamp", 1), home.enroll("hall", 1));
    let mut hears = Client::device(&home, &hall, Hello::v311("hall")).await;
    hears.subscribe("home/#", 0).await;
    for (name, v5, reason) in [("old", false, None), ("new", true, Some(0x90))] {
        let identity = home.enroll(name, 1);
        let hello = Hello {
            v5,
            ..Hello::v5(name)
        };
        let mut client = Client::device(&home, &identity, hello).await;
        let topic = format!("home/{name}/\u{7}");
        client.offer(&topic, b"x", 1, &[]).await;
        assert_eq!(last_reason(&mut client).await, reason);
        home.hears(&[name, "control character", "§1.5.4"]).await;
    }
    assert!(goes_on(&mut hears).await);
    let mut later = Client::device(&home, &lamp, Hello::v311("lamp")).await;
    later.subscribe("home/#", 0).await;
    later.offer("home/lamp/y", b"good", 0, &[]).await;
    assert_eq!(later.message().await.text(), "good");
}

#[tokio::test]
async fn a_violation_ends_with_a_word_in_mqtt_5_and_with_the_end_of_tls_in_both() {
    let home = Home::new().await;
    let lamp = home.enroll("lamp", 1);
    let reserved = &[0x00, 0][..];
    for (v5, connected, told) in [
        (true, false, Some(0x20)),
        (false, false, None),
        (true, true, Some(0xe0)),
        (false, true, None),
    ] {
        let hello = Hello {
            v5,
            ..Hello::v5("lamp")
        };
        let mut bytes = connect_packet(&hello);
        let mut tls = dial(&home, Some(&lamp)).await.unwrap();
        if connected {
            tls.write_all(&bytes).await.unwrap();
            let mut head = [0; 2];
            tls.read_exact(&mut head).await.unwrap();
            tls.read_exact(&mut vec![0; head[1].into()]).await.unwrap();
            bytes = reserved.to_vec();
        } else {
            // The reserved flag of CONNECT.
            bytes[9] |= 1;
        }
        tls.write_all(&bytes).await.unwrap();
        let mut answer = Vec::new();
        // Without close_notify this would be an error.
        within("the end", tls.read_to_end(&mut answer))
            .await
            .unwrap();
        assert_eq!(answer.first().copied(), told, "{v5} {connected}");
    }
}

/// The numbers of xorshift64*: the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end.max(1)
    }
}

/// A conversation with a few bytes changed.
fn spoilt(dice: &mut Dice) -> Vec<u8> {
    let v5 = dice.below(2) == 0;
    let hello = Hello {
        v5,
        ..Hello::v5("hostile")
    };
    let none: &[u8] = if v5 { &[0] } else { &[] };
    let mut bytes = connect_packet(&hello);
    let spared = if dice.below(4) == 0 { 0 } else { bytes.len() };
    for _ in 0..=dice.below(4) {
        let topic = b"\0\x0ehome/hostile/x";
        let (first, body) = match dice.below(6) {
            0 => (0x82, [&[0, 1], none, b"\0\x06home/#", &[1]].concat()),
            1 => (0xa2, [&[0, 2], none, b"\0\x06home/#"].concat()),
            2 => (0x35, [&topic[..], &[0, 3], none, b"payload"].concat()),
            3 => (0x62, vec![0, 3]),
            4 => (0x33, [&topic[..], &[0, 4], none, b""].concat()),
            _ => (0xc0, Vec::new()),
        };
        bytes.extend_from_slice(&[first, body.len() as u8]);
        bytes.extend_from_slice(&body);
    }
    for _ in 0..=dice.below(3) {
        let at = spared + dice.below(bytes.len() - spared);
        match dice.below(3) {
            0 => bytes.insert(at, dice.below(256) as u8),
            1 if at < bytes.len() => drop(bytes.remove(at)),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = dice.below(256) as u8;
                }
            }
        }
    }
    bytes
}

#[tokio::test]
async fn hostile_bytes_harm_nobody_else() {
    let rounds = match std::env::var_os("HEARTHKEY_SOAK") {
        Some(_) => 20_000,
        None => 200,
    };
    let home = Home::new().await;
    let (hostile, lamp) = (home.enroll("hostile", 1), home.enroll("lamp", 1));
    let mut other = Client::device(&home, &lamp, Hello::v5("lamp")).await;
    other.subscribe("home/lamp/#", 1).await;
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for round in 0..rounds {
        let mut tls = dial(&home, Some(&hostile)).await.unwrap();
        let bytes = spoilt(&mut dice);
        // Either side may be the first to hang up.
        let _ = tls.write_all(&bytes).await;
        let _ = tls.shutdown().await;
        let mut answer = Vec::new();
        let _ = within("the end", tls.read_to_end(&mut answer)).await;
        if round % 50 == 0 {
            other.publish("home/lamp/x", b"still here", false).await;
            assert_eq!(other.message().await.text(), "still here");
        }
    }
    assert!(goes_on(&mut other).await);
    other.leave().await;
}
