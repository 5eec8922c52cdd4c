//! Clients that break the protocol, hold back, or come in crowds: each loses its own connection,
//! and nobody else loses anything.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::guest::{claim, done, enroll, home_with_a_lamp, log_in};
use crate::mqtt::{Client, Hello, packet, string};
use crate::rig::Rig;
use crate::wire::{Door, REVOKED, Refused, within};

fn no_panic(rig: &Rig) {
    assert!(!rig.stderr().contains("panicked"), "{}", rig.stderr());
}

/// A PUBLISH with this first byte, topic bytes and rest.
fn publish(first: u8, topic: &[u8], rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(topic.len()).unwrap().to_be_bytes();
    packet(first, &[&length[..], topic, rest].concat())
}

/// What no client may send first.
fn before_connect() -> Vec<(&'static str, Vec<u8>)> {
    let twisted = |at: usize, byte: u8| {
        let mut hello = Hello::v5("lamp").packet();
        hello[at] = byte;
        hello
    };
    let mut surrogate = Hello::v5("lamp").packet();
    surrogate.splice(15.., [0xed, 0xa0, 0x80, b'x']);
    vec![
        ("PUBLISH", publish(0x32, b"devices/lamp/x", &[0, 1, 0])),
        ("SUBSCRIBE", packet(0x82, &[0, 1, 0, 0, 1, b'#', 0])),
        ("PINGREQ", packet(0xc0, &[])),
        ("DISCONNECT", packet(0xe0, &[])),
        ("AUTH", packet(0xf0, &[0x18, 0])),
        ("CONNACK", packet(0x20, &[0, 0, 0])),
        ("packet type 0", packet(0x00, &[0; 8])),
        (
            "a length without an end",
            b"\x10\xff\xff\xff\xff\xff\xff".to_vec(),
        ),
        ("a CONNECT of 256 MiB", b"\x10\xff\xff\xff\x7f".to_vec()),
        ("a CONNECT of nothing", b"\x10\x00".to_vec()),
        (
            "CONNECT with reserved flags in its first byte",
            twisted(0, 0x11),
        ),
        ("another protocol name", twisted(4, b'X')),
        ("a reserved connect flag", twisted(9, 0x03)),
        ("a will QoS without a will", twisted(9, 0x0a)),
        ("a client id that runs past the end", twisted(14, 200)),
        ("properties that run past the end", twisted(12, 200)),
        ("a client id that is no text", surrogate),
        (
            "another protocol",
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        ),
    ]
}

/// What no client may send after CONNECT.
fn after_connect() -> Vec<(&'static str, Vec<u8>)> {
    let topic = b"devices/lamp/x";
    let most = 16 * 1024 * 1024;
    let mut huge = publish(0x32, topic, &[0, 1, 0]);
    huge = packet(0x32, &[&huge[2..], &vec![b'x'; most + 1]].concat());
    let mut alias = Vec::new();
    string(&mut alias, "");
    alias.extend_from_slice(&[3, 0x23, 0, 9]);
    let mut far = Vec::new();
    string(&mut far, "devices/lamp/x");
    far.extend_from_slice(&[3, 0x23, 0xff, 0xff]);
    vec![
        ("a second CONNECT", Hello::v5("lamp").packet()),
        ("a packet that is too long", huge),
        (
            "a length without an end",
            b"\x30\xff\xff\xff\xff\xff".to_vec(),
        ),
        ("a topic of no length", publish(0x32, b"", &[0, 1, 0, b'x'])),
        ("a topic alias that was never set", packet(0x30, &alias)),
        ("a topic alias beyond the bound", packet(0x30, &far)),
        (
            "a topic with a wildcard",
            publish(0x32, b"devices/lamp/#", &[0, 1, 0]),
        ),
        (
            "a topic that is no text",
            publish(0x32, b"devices/lamp/\xff", &[0, 1, 0]),
        ),
        (
            "a topic that runs past the end",
            b"\x30\x04\xff\xff\x61\x62".to_vec(),
        ),
        ("QoS 3", publish(0x36, topic, &[0, 1, 0])),
        ("SUBSCRIBE without a filter", packet(0x82, &[0, 1, 0])),
        (
            "SUBSCRIBE with wrong flags",
            packet(0x80, &[0, 1, 0, 0, 1, b'x', 0]),
        ),
        (
            "SUBSCRIBE with an empty filter",
            packet(0x82, &[0, 1, 0, 0, 0, 0]),
        ),
        (
            "a property that does not exist",
            publish(0x32, topic, &[0, 1, 2, 0x55, 0]),
        ),
        ("packet type 0", packet(0x00, &[])),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_comes_before_connect_but_connect_closes_the_connection() {
    let (rig, door, lamp) = home_with_a_lamp().await;
    for (what, bytes) in before_connect() {
        let tls = door.dial(Some(&lamp)).await.unwrap();
        let mut client = Client::new(tls, true);
        client.send(&bytes).await;
        let mut answers = 0;
        let end = loop {
            match client.read().await {
                // A CONNACK that refuses, at most.
                Ok((0x20, body)) => {
                    assert_ne!(body[1], 0, "{what} is let in");
                    answers += 1;
                }
                Ok(other) => panic!("{what}: {other:?}"),
                Err(end) => break end,
            }
        };
        assert!(answers <= 1, "{what}: {end:?}");
        assert!(door.device(&lamp).await.is_ok(), "after {what}");
    }
    no_panic(&rig);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_packet_closes_its_own_session_and_reaches_no_subscriber() {
    let (rig, door, lamp) = home_with_a_lamp().await;
    let hall = enroll(&rig, &door, "hall").await;
    let mut bystander = door.device(&hall).await.unwrap();
    let mut borne = Vec::new();
    for v5 in [true, false] {
        for (what, bytes) in after_connect() {
            if !v5 && (what.contains("alias") || what.contains("property")) {
                continue;
            }
            let hello = Hello {
                v5,
                ..Hello::v5("lamp")
            };
            let mut client = door.connect(Some(&lamp), &hello).await.unwrap();
            assert!(client.subscribe("devices/lamp/#").await.unwrap() < 0x80);
            let bytes = if v5 {
                bytes
            } else {
                without_properties(what, bytes)
            };
            client.send(&bytes).await;
            // This is answered only if the session has borne the other.
            client.send(&packet(0xc0, &[])).await;
            loop {
                match client.read().await {
                    Ok((first, body)) if first >> 4 == 3 => panic!("{what}: {body:?}"),
                    Ok((0xd0, _)) => break borne.push((what, v5)),
                    Ok((0x90, body)) if what.contains("empty filter") => {
                        assert!(body.last() >= Some(&0x80), "{what}: {body:?}");
                        break;
                    }
                    Ok(_) => {}
                    Err(Refused::Disconnect(code)) => assert!(code >= 0x80, "{what}: {code:#x}"),
                    Err(_) => break,
                }
            }
        }
    }
    assert_eq!(borne, [], "answered instead of closed");
    assert_eq!(bystander.publish("devices/hall/x", b"1").await, Ok(0));
    assert!(door.device(&lamp).await.is_ok());
    no_panic(&rig);
}

/// The same in MQTT 3.1.1, where it differs.
fn without_properties(what: &str, bytes: Vec<u8>) -> Vec<u8> {
    match what {
        "SUBSCRIBE without a filter" => packet(0x82, &[0, 1]),
        "SUBSCRIBE with an empty filter" => packet(0x82, &[0, 1, 0, 0, 0]),
        "SUBSCRIBE with wrong flags" => packet(0x80, &[0, 1, 0, 1, b'x', 0]),
        _ => bytes,
    }
}

/// SplitMix64: the same bytes each time.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_with_flipped_bytes_harm_nobody() {
    let (rig, door, lamp) = home_with_a_lamp().await;
    let mut noise = Noise(7);
    let mut good = Vec::new();
    for first in [0x30, 0x32, 0x34, 0x33] {
        let rest: &[u8] = if first == 0x30 {
            b"\0on"
        } else {
            b"\0\x01\0on"
        };
        good.push(publish(first, b"devices/lamp/x", rest));
    }
    good.push(packet(0x82, b"\0\x01\0\0\x0edevices/lamp/#\x01"));
    good.push(packet(0xa2, b"\0\x01\0\0\x0edevices/lamp/#"));
    good.push(packet(0x62, &[0, 1]));
    good.push(packet(0x40, &[0, 1]));
    good.push(packet(0xf0, &[0x18, 0]));
    for _ in 0..120 {
        let mut client = door.device(&lamp).await.unwrap();
        for _ in 0..6 {
            let mut bytes = good[noise.next() as usize % good.len()].clone();
            let at = noise.next() as usize % bytes.len();
            bytes[at] = noise.next() as u8;
            client.send(&bytes).await;
        }
    }
    let mut after = door.device(&lamp).await.unwrap();
    assert_eq!(after.publish("devices/lamp/x", b"on").await, Ok(0));
    no_panic(&rig);
}

/// How long the gateway keeps a client that does nothing more, whatever it says.
async fn kept(mut stream: impl tokio::io::AsyncRead + Unpin) -> Duration {
    let start = Instant::now();
    let mut bytes = [0; 1024];
    while let Ok(1..) = within("the end", stream.read(&mut bytes)).await {}
    start.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_dawdles_in_the_handshake_or_before_connect_is_dropped_after_ten_seconds() {
    let (_rig, door, lamp) = home_with_a_lamp().await;
    let silent = door.tcp().await.unwrap();
    let mut half = door.tcp().await.unwrap();
    half.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
    let mut dripping = door.tcp().await.unwrap();
    let (dripped, mut drip) = dripping.split();
    let mut drop_by_drop = async || {
        // A ClientHello of 512 bytes, one byte at a time.
        for byte in [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc]
            .into_iter()
            .chain([3; 500])
        {
            if drip.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let no_connect = door.dial(Some(&lamp)).await.unwrap();
    let mut half_connect = door.dial(Some(&lamp)).await.unwrap();
    half_connect
        .write_all(&Hello::v5("lamp").packet()[..9])
        .await
        .unwrap();
    let work = async {
        tokio::join!(
            kept(silent),
            kept(half),
            kept(dripped),
            kept(no_connect),
            kept(half_connect)
        )
    };
    let (a, b, c, d, e) = tokio::select! {
        kept = work => kept,
        () = async { drop_by_drop().await; std::future::pending().await } => unreachable!(),
    };
    for (what, kept) in [
        ("silent", a),
        ("half a hello", b),
        ("dripping", c),
        ("no CONNECT", d),
        ("half a CONNECT", e),
    ] {
        let kept_s = kept.as_secs_f32();
        assert!((8.0..14.0).contains(&kept_s), "{what}: {kept_s} s");
    }
}

/// Keeps as many idle connections open as it can, until it is dropped, and says when there are no more to be had.
async fn besiege(door: Door, first: &[u8], complete: Arc<Notify>) {
    let mut held: Vec<TcpStream> = Vec::new();
    loop {
        let mut byte = [0];
        held.retain(|tcp| {
            let open = tcp.try_read(&mut byte);
            matches!(open, Err(e) if e.kind() == std::io::ErrorKind::WouldBlock)
        });
        for _ in held.len()..256 {
            let Ok(mut tcp) = door.tcp().await else { break };
            let _ = tcp.write_all(first).await;
            held.push(tcp);
        }
        complete.notify_one();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_from_one_address_that_says_nothing_does_not_keep_a_device_out() {
    let (_rig, door, lamp) = home_with_a_lamp().await;
    // In a home, an attacker and a device may be behind one address, or in one IPv6 /64.
    let devices = [door.clone(), door.seen_from(IpAddr::from([127, 0, 0, 78]))];
    for (what, first) in [
        ("silent", &b""[..]),
        ("half a hello", b"\x16\x03\x01\x02\x00\x01"),
    ] {
        let complete = Arc::new(Notify::new());
        let siege = tokio::spawn(besiege(door.clone(), first, Arc::clone(&complete)));
        within("the crowd", complete.notified()).await;
        for n in 0..4 {
            let start = Instant::now();
            let mut session = devices[n % 2].device(&lamp).await.unwrap();
            assert_eq!(session.publish("devices/lamp/x", b"on").await, Ok(0));
            let took = start.elapsed();
            assert!(took < Duration::from_secs(3), "{what} {n}: {took:?}");
        }
        siege.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_client_that_has_sent_more_reads_its_alert_and_a_clean_end() {
    let (rig, door, lamp) = home_with_a_lamp().await;
    done(
        &rig,
        &["device", "revoke", "lamp", "--reason", "key-compromise"],
    )
    .await;
    let config = door.config(Some(&lamp), &[&rustls::version::TLS13]);
    let mut tls = door.dial_with(config).await.unwrap();
    // CONNECT and more are under way before the refusal can arrive.
    let sent = [Hello::v5("lamp").packet(), vec![0; 20_000]].concat();
    let _ = tls.write_all(&sent).await;
    let alert = Refused::from(tls.read_u8().await.unwrap_err());
    assert_eq!(alert, REVOKED);
    let (mut tcp, _) = tls.into_inner();
    let end = within("the end", tcp.read(&mut [0; 64])).await;
    assert!(matches!(end, Ok(0)), "{end:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_end_on_one_claim_are_held_back() {
    let (rig, door, _) = home_with_a_lamp().await;
    let claim = claim(&rig, "hall").await;
    let mut guest = log_in(&door, &claim).await.unwrap();
    let topic = crate::guest::enroll_topic(&claim.claim);
    let mut codes = Vec::new();
    for _ in 0..20 {
        let answer = guest.ask(&topic, b"no request").await.unwrap();
        codes.push(answer.code().to_owned());
    }
    assert!(
        codes[..12].iter().all(|code| code == "csr_malformed"),
        "{codes:?}"
    );
    assert!(
        codes[12..].iter().all(|code| code == "rate_limited"),
        "{codes:?}"
    );
}
