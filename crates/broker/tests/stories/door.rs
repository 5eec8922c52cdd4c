//! Who is turned away, and what they are told.

use std::sync::Arc;

use hearthkey_broker::Limits;
use hearthkey_core::access::Access;
use std::sync::RwLock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{Client, Hello, connect_packet, dial, string};
use crate::home::{Authority, Home, until, within};

#[tokio::test]
async fn an_unknown_certificate_is_refused_and_a_username_changes_nothing() {
    let home = Home::new().await;
    let stranger = home.ca.device("lamp");
    let hello = Hello {
        username: Some("admin"),
        password: Some(b"admin"),
        ..Hello::v5("lamp")
    };
    let refused = Client::connect(&home, Some(&stranger), &hello)
        .await
        .err()
        .unwrap();
    assert_eq!(refused.code, 0x87);
    let lamp = home.enroll("lamp", 1);
    assert!(Client::connect(&home, Some(&lamp), &hello).await.is_ok());
}

#[tokio::test]
async fn a_device_has_as_many_sessions_as_its_profile_allows() {
    let home = Home::new().await;
    let hub = home.enroll("hub", 2);
    let _one = Client::device(&home, &hub, Hello::v5("hub.1")).await;
    let mut two = Client::device(&home, &hub, Hello::v5("hub.2")).await;
    let refused = Client::connect(&home, Some(&hub), &Hello::v5("hub.3"))
        .await
        .err()
        .unwrap();
    assert_eq!(refused.code, 0x97);
    let _again = Client::device(&home, &hub, Hello::v5("hub.2")).await;
    two.ends().await;
    home.hears(&["SessionClosed", "TakenOver"]).await;
}

#[tokio::test]
async fn a_will_on_a_topic_of_another_or_on_a_request_is_refused_at_connect() {
    let home = Home::new().await;
    let lamp = home.enroll("lamp", 1);
    for topic in ["home/hall/alive", "hearthkey/v1/devices/lamp/renew"] {
        let hello = Hello {
            will: Some((topic, b"x")),
            ..Hello::v5("lamp")
        };
        let refused = Client::connect(&home, Some(&lamp), &hello)
            .await
            .err()
            .unwrap();
        assert_eq!(refused.code, 0x87, "{topic}");
    }
}

#[tokio::test]
async fn malformed_first_packets_end_the_connection_and_nothing_else() {
    let home = Home::new().await;
    let lamp = home.enroll("lamp", 1);
    let good = connect_packet(&Hello::v5("lamp"));
    let mut cases: Vec<Vec<u8>> = vec![
        b"\xc0\0".to_vec(),
        b"\x10\0".to_vec(),
        b"\x10\xff\xff\xff\xff\xff".to_vec(),
        b"\x10\xff\xff\x7f".to_vec(),
        b"\x00\x00\x00\x00".to_vec(),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"\x30\x05\0\x01ahi".to_vec(),
        b"\x82\x06\0\x01\0\0\x01#".to_vec(),
    ];
    for at in 2..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0xff;
        cases.push(bad);
    }
    for bytes in cases {
        let mut tls = dial(&home, Some(&lamp)).await.unwrap();
        let _ = tls.write_all(&bytes).await;
        let _ = tls.shutdown().await;
        within("the end", async { while tls.read_u8().await.is_ok() {} }).await;
    }
    until("every connection to end", || {
        home.broker.counters().connections == 0
    })
    .await;
    Client::device(&home, &lamp, Hello::v5("lamp")).await;
}

#[tokio::test]
async fn a_version_that_is_not_spoken_is_said_so() {
    let home = Home::new().await;
    let lamp = home.enroll("lamp", 1);
    let mut tls = dial(&home, Some(&lamp)).await.unwrap();
    tls.write_all(b"\x10\x0e\0\x06MQIsdp\x03\x02\0\x1e\0\0")
        .await
        .unwrap();
    let mut answer = [0; 4];
    tls.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, [0x20, 2, 0, 1]);
}

#[tokio::test]
async fn silence_and_crowds_are_bounded() {
    let limits = Limits {
        connections_per_address_max: 2,
        connect_timeout_ms: 200,
        handshake_timeout_ms: 200,
        ..Limits::default()
    };
    let access = Arc::new(RwLock::new(Access::default()));
    let home = Home::with(limits, Vec::new(), Arc::new(Authority::new()), access).await;
    let lamp = home.enroll("lamp", 1);
    let silent = tokio::net::TcpStream::connect(home.broker.local_addr())
        .await
        .unwrap();
    let _mute = dial(&home, Some(&lamp)).await.unwrap();
    let _third = dial(&home, Some(&lamp)).await.unwrap();
    // The first from there has given way.
    home.hears(&["Refused", "TooManyConnections"]).await;
    home.hears(&["Refused", "Timeout"]).await;
    home.hears(&["Refused", "Timeout"]).await;
    until("their places to come back", || {
        home.broker.counters().connections == 0
    })
    .await;
    drop(silent);
    Client::device(&home, &lamp, Hello::v5("lamp")).await;
}

#[tokio::test]
async fn who_is_silent_gives_way_to_a_device_of_the_same_network() {
    let limits = Limits {
        connections_max: 4,
        connections_per_network_max: 2,
        ..Limits::default()
    };
    let access = Arc::new(RwLock::new(Access::default()));
    let home = Home::with(limits, Vec::new(), Arc::new(Authority::new()), access).await;
    let (lamp, hall) = (home.enroll("lamp", 1), home.enroll("hall", 1));
    let mut silent = Vec::new();
    for _ in 0..2 {
        let tcp = tokio::net::TcpStream::connect(home.broker.local_addr()).await;
        silent.push(tcp.unwrap());
    }
    let mut first = Client::device(&home, &lamp, Hello::v5("lamp")).await;
    home.hears(&["Refused", "TooManyConnections"]).await;
    let _second = Client::device(&home, &hall, Hello::v5("hall")).await;
    home.hears(&["Refused", "TooManyConnections"]).await;
    // A connection with a certificate stays open: a third is closed, and the first goes on.
    assert!(dial(&home, Some(&lamp)).await.is_err());
    assert_eq!(
        first.publish("home/lamp/state", b"on", false).await.len(),
        2
    );
    drop(silent);
}

#[tokio::test]
async fn a_new_server_certificate_serves_the_next_connection_and_spares_the_last() {
    let home = Home::new().await;
    let lamp = home.enroll("lamp", 1);
    let hall = home.enroll("hall", 1);
    let mut before = Client::device(&home, &lamp, Hello::v5("lamp")).await;
    let first = served(&home).await;
    home.tls.send_replace(home.ca.server_config());
    assert_ne!(served(&home).await, first);
    Client::device(&home, &hall, Hello::v5("hall")).await;
    assert_eq!(
        before.publish("home/lamp/state", b"on", false).await.len(),
        2
    );
}

async fn served(home: &Home) -> Vec<u8> {
    let tls = dial(home, None).await.unwrap();
    tls.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test]
async fn before_it_is_known_a_client_says_little_and_long_words_count_with_all_that_is_on_its_way_in()
 {
    let limits = Limits {
        incoming_total_max_bytes: 100 * 1024,
        ..Limits::default()
    };
    let ca = Arc::new(Authority::new());
    let home = Home::with(limits, Vec::new(), ca, Arc::default()).await;
    let lamp = home.enroll("lamp", 1);
    let gone = vec![b'x'; 60 * 1024];
    let long = Hello {
        will: Some(("home/lamp/alive", &gone)),
        ..Hello::v5("lamp")
    };
    assert!(Client::connect(&home, Some(&lamp), &long).await.is_ok());
    home.open_claim();
    let secret = vec![b's'; 5 * 1024];
    let stranger = Hello::claim(crate::home::CLAIM, &secret);
    assert!(Client::connect(&home, None, &stranger).await.is_err());
    home.hears(&["Refused", "longer than"]).await;

    // Two of them together have no room, and the third has it as soon as they are gone.
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut tls = dial(&home, Some(&lamp)).await.unwrap();
        let packet = connect_packet(&long);
        tls.write_all(&packet[..packet.len() - 1]).await.unwrap();
        tls.flush().await.unwrap();
        held.push(tls);
    }
    home.hears(&["Refused", "too many long packets"]).await;
    drop(held);
    home.hears(&["Refused", "connection was lost"]).await;
    assert!(Client::connect(&home, Some(&lamp), &long).await.is_ok());
}

#[tokio::test]
async fn one_device_does_not_take_all_the_room_for_packets_that_are_not_complete() {
    let limits = Limits {
        incoming_device_max_bytes: 300 * 1024,
        ..Limits::default()
    };
    let ca = Arc::new(Authority::new());
    let home = Home::with(limits, Vec::new(), ca, Arc::default()).await;
    let (lamp, hall) = (home.enroll("lamp", 8), home.enroll("hall", 1));
    let mut body = Vec::new();
    string(&mut body, "home/lamp/state");
    body.extend(vec![b'x'; 250_000]);
    // Remaining Length: 250,017 (MQTT 5 §1.5.5).
    let packet = [&[0x30, 0xa1, 0xa1, 0x0f][..], &body].concat();
    let mut held = Vec::new();
    for client_id in ["one", "other"] {
        let mut client = Client::device(&home, &lamp, Hello::v311(client_id)).await;
        client.send(&packet[..packet.len() - 1]).await;
        held.push(client);
    }
    home.hears(&["Refused", "lamp", "too many long packets"])
        .await;
    let mut other = Client::device(&home, &hall, Hello::v311("hall")).await;
    let payload = vec![b'x'; 250_000];
    let acknowledged = other.publish("home/hall/state", &payload, false).await;
    assert_eq!(acknowledged.len(), 2, "a packet identifier");
}
