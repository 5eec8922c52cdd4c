//! Devices with room for short TLS records only: OpenSSL speaks for them, because it sends `max_fragment_length`.

use std::process::Stdio;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::client::{Hello, connect_packet, string};
use crate::home::{CLAIM, Home, within};

/// Hands bytes on and keeps them.
async fn relay(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> Vec<u8> {
    let (mut all, mut chunk) = (Vec::new(), [0; 4096]);
    while let Ok(n @ 1..) = from.read(&mut chunk).await {
        all.extend_from_slice(&chunk[..n]);
        if to.write_all(&chunk[..n]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
    all
}

/// The lengths of the TLS records in these bytes.
fn records(bytes: &[u8]) -> Vec<usize> {
    let (mut found, mut rest) = (Vec::new(), bytes);
    while let [_, _, _, high, low, tail @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        found.push(length);
        rest = tail.get(length..).unwrap_or_default();
    }
    found
}

/// SUBSCRIBE and PUBLISH of a request with so many bytes, in MQTT 5.
fn request(length: usize) -> Vec<u8> {
    let topic = format!("hearthkey/v1/claims/{CLAIM}/enroll");
    let mut filter = vec![0, 1, 0];
    string(&mut filter, &format!("{topic}/+"));
    filter.push(0);
    let mut body = Vec::new();
    string(&mut body, &topic);
    body.push(0);
    body.extend_from_slice(&vec![b'x'; length]);
    let mut out = vec![0x82, filter.len() as u8];
    out.extend_from_slice(&filter);
    out.extend_from_slice(&[
        0x30,
        (body.len() & 0x7f) as u8 | 0x80,
        (body.len() >> 7) as u8,
    ]);
    out.extend_from_slice(&body);
    out
}

#[tokio::test]
async fn a_device_that_asks_for_short_records_gets_no_other_while_it_enrolls() {
    for version in ["-tls1_2", "-tls1_3"] {
        let home = Home::new().await;
        home.open_claim();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut device = Command::new("openssl")
            .args([
                "s_client",
                "-quiet",
                version,
                "-maxfraglen",
                "512",
                "-connect",
                &address,
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (outside, _) = listener.accept().await.unwrap();
        let inside = TcpStream::connect(home.broker.local_addr()).await.unwrap();
        let (from_device, to_device) = outside.into_split();
        let (from_broker, to_broker) = inside.into_split();
        let forth = tokio::spawn(relay(from_device, to_broker));
        let back = tokio::spawn(relay(from_broker, to_device));

        let mut say = device.stdin.take().unwrap();
        let mut heard = device.stdout.take().unwrap();
        let hello = connect_packet(&Hello::claim(CLAIM, b"right"));
        say.write_all(&[hello, request(4_000)].concat())
            .await
            .unwrap();
        let mut answer = Vec::new();
        within("the answer", async {
            while answer.iter().filter(|byte| **byte == b'x').count() < 4_000 {
                assert_ne!(
                    heard.read_buf(&mut answer).await.unwrap(),
                    0,
                    "the end: {answer:?}"
                );
            }
        })
        .await;
        device.kill().await.unwrap();
        within("the end", forth).await.unwrap();
        let lengths = records(&within("the end", back).await.unwrap());
        // 24 more bytes are encryption's: a nonce of 8 and a tag of 16.
        assert!(
            lengths.iter().all(|length| *length <= 512 + 24),
            "{version}: {lengths:?}"
        );
        assert!(
            lengths.iter().sum::<usize>() > 4_500,
            "{version}: {lengths:?}"
        );
        home.stop().await;
    }
}
