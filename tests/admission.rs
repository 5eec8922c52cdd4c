//! What a request and a connection must have shown before anything is done for them.

use std::fs;
use std::net::SocketAddr;

use hearthkey_api::Events;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::issuer::{Issuer, Mood};
use crate::minted::generated;
use crate::people::{Browser, invite, setup_link};
use crate::rig::{PATIENCE, json as said_in_json};
use crate::service::{Front, home, read_answer};

const HEALTH: &str = "/api/v1/health";

/// An HTTP/2 frame (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

const SETTINGS: u8 = 4;
const PING: u8 = 6;
const HEADERS: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// A field of a head as HPACK has it without any table (RFC 7541 §6.2.2), for short texts.
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![0];
    for text in [name, value] {
        field.push(u8::try_from(text.len()).unwrap());
        field.extend(text.as_bytes());
    }
    field
}

fn head(front: &Front, method: &str, path: &str) -> Vec<u8> {
    [
        (":method", method),
        (":scheme", "https"),
        (":authority", &front.host),
        (":path", path),
    ]
    .map(|(name, value)| field(name, value))
    .concat()
}

/// Keeps an HTTP/2 connection up as a client does, with PING once a second, until the gateway closes it.
async fn stay(mut tls: TlsStream<TcpStream>, first: Vec<u8>) {
    let mut begin = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    begin.extend(frame(SETTINGS, 0, 0, &[]));
    begin.extend(first);
    tls.write_all(&begin).await.unwrap();
    let mut held = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let second = std::time::Duration::from_secs(1);
        match timeout(second, tls.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => return,
            Ok(Ok(n)) => held.extend_from_slice(&buffer[..n]),
            Err(_) => {
                let ping = frame(PING, 0, 0, b"12345678");
                if tls.write_all(&ping).await.is_err() {
                    return;
                }
            }
        }
        while held.len() >= 9 {
            let length = usize::from(held[0]) << 16 | usize::from(held[1]) << 8;
            let end = 9 + length + usize::from(held[2]);
            if held.len() < end {
                break;
            }
            let (kind, flags) = (held[3], held[4]);
            let payload: Vec<u8> = held[9..end].to_vec();
            held.drain(..end);
            let answer = match kind {
                PING if flags & ACK == 0 => frame(PING, ACK, 0, &payload),
                SETTINGS if flags & ACK == 0 => frame(SETTINGS, ACK, 0, &[]),
                _ => continue,
            };
            if tls.write_all(&answer).await.is_err() {
                return;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_connection_on_which_nothing_goes_on_is_closed() {
    let (_rig, front) = home().await;
    let whole = head(&front, "GET", HEALTH);
    let begun = head(&front, "POST", "/api/v1/tokens/self/renew");
    // A window of nothing: the answer stays with the gateway.
    let no_window = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let page = head(&front, "GET", "/");
    let mut connections = JoinSet::new();
    for (what, first) in [
        ("nothing but PING", Vec::new()),
        ("half a head", frame(HEADERS, 1, 1, &whole[..8])),
        (
            "a stream that is not finished",
            frame(HEADERS, END_HEADERS, 1, &begun),
        ),
        (
            "an answer that is not taken",
            [no_window, frame(HEADERS, END_HEADERS | 1, 1, &page)].concat(),
        ),
        ("one request", frame(HEADERS, END_HEADERS | 1, 1, &whole)),
    ] {
        let tls = front.connect(&[b"h2"]).await.unwrap();
        connections.spawn(async move {
            let closed = timeout(PATIENCE, stay(tls, first)).await;
            assert!(closed.is_ok(), "{what} keeps a connection open");
        });
    }
    while let Some(ended) = connections.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_else_is_answered_while_one_network_takes_every_place() {
    let (_rig, front) = home().await;
    let gateway: SocketAddr = front.host.parse().unwrap();
    let mut held = Vec::new();
    for host in 1..=8 {
        for _ in 0..64 {
            let socket = TcpSocket::new_v4().unwrap();
            let from: SocketAddr = format!("127.0.3.{host}:0").parse().unwrap();
            socket.bind(from).unwrap();
            held.push(socket.connect(gateway).await.unwrap());
        }
    }
    // From another network, and from the same one: a home's own devices are in it.
    for address in ["127.0.9.9", "127.0.3.99"] {
        let answer = front.curl(HEALTH, &["--interface", address]).await;
        assert_eq!(answer.status, 200, "{address}");
    }
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_arrives_however_large_the_request_is() {
    let (_rig, front) = home().await;
    let host = format!("Host: {}", front.host);
    let (origin, json) = (
        format!("Origin: {}", front.url),
        "Content-Type: application/json",
    );
    for size in [60_000, 250_000, 3_000_000] {
        fs::write(front.bench.dir.join("body"), vec![b'a'; size]).unwrap();
        for (path, header, status) in [
            ("/api/v1/tokens", host.as_str(), 401),
            ("/api/v1/tokens", "Host: evil.example", 421),
            (
                "/api/v1/session/password",
                "Origin: https://evil.example",
                403,
            ),
            (
                "/api/v1/session/password",
                origin.as_str(),
                if size > 32_768 { 413 } else { 400 },
            ),
        ] {
            for version in ["--http1.1", "--http2"] {
                for _ in 0..4 {
                    let args = [version, "-H", header, "-H", json, "--data-binary", "@body"];
                    let answer = front.curl(path, &args).await;
                    assert_eq!(answer.status, status, "{size} {path} {header} {version}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_arrives_where_a_client_asks_whether_its_body_is_wanted() {
    let (_rig, front) = home().await;
    fs::write(front.bench.dir.join("body"), vec![b'a'; 3_000_000]).unwrap();
    let (expect, origin) = ("Expect: 100-continue", format!("Origin: {}", front.url));
    for (path, status) in [("/api/v1/tokens", 403), ("/api/v1/session/password", 413)] {
        for version in ["--http1.1", "--http2"] {
            for _ in 0..4 {
                let args = [
                    version,
                    "-H",
                    &origin,
                    "-H",
                    expect,
                    "--data-binary",
                    "@body",
                ];
                let answer = front.curl(path, &args).await;
                assert_eq!(answer.status, status, "{path} {version}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_caller_does_not_take_every_place_of_those_who_wait() {
    let (rig, front) = home().await;
    let mut anna = Browser::new(&front);
    anna.join(&setup_link(&rig).await, "anna").await;
    let now: Events = rig.client().get("/api/v1/events").await.unwrap();
    let mut waiting = JoinSet::new();
    for _ in 0..17 {
        let (client, path) = (
            rig.client(),
            format!("/api/v1/events?wait_s=30&after={}", now.next),
        );
        waiting.spawn(async move { client.get::<Events>(&path).await });
    }
    // A client that gets an answer while nothing happens was given no place.
    let first = waiting.join_next().await.unwrap().unwrap();
    let refused = first.unwrap_err().to_string();
    assert!(refused.contains("16 of one caller"), "{refused}");
    let path = format!("/api/v1/events?wait_s=0&after={}", now.next);
    assert_eq!(anna.get(&path).await.status, 200, "somebody else may wait");
    rig.claim("lamp").await.unwrap();
    while let Some(told) = waiting.join_next().await {
        assert_eq!(told.unwrap().unwrap().records[0].action, "claim.open");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_do_not_come_hold_places_of_their_sender_alone() {
    let (rig, front) = home().await;
    let (mut anna, mut bo) = (Browser::new(&front), Browser::new(&front));
    anna.join(&setup_link(&rig).await, "anna").await;
    bo.join(&invite(&rig, "bo", "operator", &[]).await, "bo")
        .await;
    let head = format!(
        "POST /api/v1/environments HTTP/1.1\r\nHost: {}\r\nOrigin: {}\r\nCookie: __Host-hearthkey={}\r\n\
         x-hearthkey-csrf: {}\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n{{",
        front.host, front.url, anna.cookie, anna.csrf
    );
    let mut sending = JoinSet::new();
    for _ in 0..33 {
        let mut tls = front.connect(&[]).await.unwrap();
        tls.write_all(head.as_bytes()).await.unwrap();
        sending.spawn(async move {
            let answer = read_answer(&mut tls).await;
            (answer.status, answer.body)
        });
    }
    // The others are still listened to.
    let (status, body) = sending.join_next().await.unwrap().unwrap();
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("32 requests of one caller"), "{body}");
    assert_eq!(bo.get("/api/v1/devices").await.status, 200);
    let ended = anna.post("/api/v1/session/end", &json!({})).await;
    assert_eq!(ended.status, 200, "what ends access has places of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_bridge_that_hangs_leaves_room_for_others() {
    let (rig, front) = home().await;
    let front: &Front = Box::leak(Box::new(front));
    let issuer = Issuer::connected(&rig, "sys").await;
    generated(&rig, "sys/token").await;
    let mut anna = Browser::new(front);
    anna.join(&setup_link(&rig).await, "anna").await;
    let anna: &Browser = Box::leak(Box::new(anna));
    issuer.is_in(Mood::Holds);
    let mut lending = JoinSet::new();
    for _ in 0..5 {
        lending.spawn(async move {
            let path = "/api/v1/environments/home/credentials/sys/token/lease";
            let answer = anna.post(path, &json!({"lifetime": "1h"})).await;
            (answer.status, answer.body)
        });
    }
    let (status, body) = lending.join_next().await.unwrap().unwrap();
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("4 of one caller"), "{body}");
    assert_eq!(front.curl("/", &[]).await.status, 200);
    issuer.is_in(Mood::Answers);
    while let Some(lent) = lending.join_next().await {
        assert_eq!(lent.unwrap().0, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_learns_nothing_of_a_credential_that_it_was_not_granted() {
    let (rig, front) = home().await;
    let key = front.key("ci").await;
    let token = front.token(&rig, "ci", &key).await.token;
    let add = "credential add hue/api-key --env home --kind api-key --generate --owner anna --purpose test --json";
    let added = rig.cli(&add.split(' ').collect::<Vec<_>>()).await;
    assert!(added.status.success(), "{}", said_in_json(&added));
    let body = json!({}).to_string();
    for verb in ["change", "lease", "rotate", "confirm", "rollback"] {
        for precondition in [
            "If-Match: \"0\"",
            "If-Match: \"1\"",
            "If-Match: *",
            "X-None: 1",
        ] {
            let mut said = Vec::new();
            for name in ["hue/api-key", "hue/no-such-key"] {
                let path = format!("/api/v1/environments/home/credentials/{name}/{verb}");
                let json = "Content-Type: application/json";
                let args = ["-H", precondition, "-H", json, "-d", &body];
                let answer = front.post(&path, &token, &key, &args).await;
                said.push((answer.status, answer.code()));
            }
            let forbidden = (403, "forbidden".to_owned());
            assert_eq!(
                said,
                [forbidden.clone(), forbidden],
                "{verb} {precondition}"
            );
        }
    }
}
