//! Who is not let in, and what those who are may not do.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::rig::{PATIENCE, Rig, until};
use crate::stock::{Bench, home_with_a_lamp, said};

const UNKNOWN_CA: Option<u8> = Some(48);
const CERTIFICATE_REQUIRED: Option<u8> = Some(116);
const LAMP: [&str; 4] = ["-cert", "lamp.crt", "-key", "lamp.key"];

#[tokio::test(flavor = "multi_thread")]
async fn without_an_open_claim_nobody_gets_in_without_a_certificate() {
    let mut rig = Rig::new().await;
    rig.start().await;
    let bench = Bench::new(&rig, "bench").await;
    assert_eq!(bench.knock(&["-tls1_3"]).await, CERTIFICATE_REQUIRED);
    assert!(bench.knock(&["-tls1_2"]).await.is_some());
    rig.claim("lamp").await.unwrap();
    assert_eq!(
        bench.knock(&["-tls1_3"]).await,
        None,
        "the bell rings while a guest is expected"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_ca_does_not_open_the_door() {
    let (_rig, bench) = home_with_a_lamp().await;
    for usage in ["clientAuth", "serverAuth"] {
        let ca = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout f.key -out f.crt -subj /CN=lamp -days 9";
        let ca = format!("{ca} -addext extendedKeyUsage={usage}");
        bench.openssl(&ca).await;
        let alert = bench.knock(&["-cert", "f.crt", "-key", "f.key"]).await;
        assert!(alert.is_some(), "{usage}");
        if usage == "clientAuth" {
            assert!(alert == UNKNOWN_CA || alert == Some(42), "{alert:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_session_is_ever_resumed() {
    let (_rig, bench) = home_with_a_lamp().await;
    let tls12 = bench
        .s_client(&[&LAMP[..], &["-tls1_2", "-reconnect"]].concat())
        .await;
    assert!(
        tls12.contains("New, TLSv1.2") && !tls12.contains("Reused, "),
        "{tls12}"
    );
    let tls13 = bench.s_client(&[&LAMP[..], &["-tls1_3"]].concat()).await;
    assert!(tls13.contains("New, TLSv1.3"), "{tls13}");
    assert!(!tls13.contains("New Session Ticket arrived"), "{tls13}");
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_its_profile_a_device_neither_subscribes_nor_publishes_nor_leaves_a_will() {
    let (rig, bench) = home_with_a_lamp().await;
    for filter in [
        "#",
        "+/+/state",
        "devices/#",
        "devices/+/state",
        "$SYS/#",
        "$share/g/devices/#",
        "hearthkey/v1/devices/door/notice",
    ] {
        let args = ["-t", filter, "-W", "5", "-d", "-E"];
        let denied = said(&bench.mosquitto_as("lamp", "mosquitto_sub", &args).await);
        assert!(
            denied.contains("Subscribed (mid: 1): 135"),
            "{filter}: {denied}"
        );
    }
    for topic in [
        "devices/door/state",
        "hearthkey/v1/trust/bundle",
        "hearthkey/v1/devices/lamp/notice",
        "$SYS/x",
    ] {
        let args = ["-q", "1", "-t", topic, "-m", "1"];
        let denied = said(&bench.mosquitto_as("lamp", "mosquitto_pub", &args).await).to_lowercase();
        assert!(denied.contains("not authorized"), "{topic}: {denied}");
    }
    let will = [
        "-t",
        "devices/lamp/x",
        "-m",
        "1",
        "--will-topic",
        "devices/door/state",
        "--will-payload",
        "x",
    ];
    assert!(
        !bench
            .mosquitto_as("lamp", "mosquitto_pub", &will)
            .await
            .status
            .success()
    );
    // Refusals are written down beside the session, not before its answer.
    for action in ["topic.publish", "topic.subscribe", "door.enter"] {
        until(action, async || {
            rig.verified_log().await.contains(action).then_some(())
        })
        .await;
    }
}

/// What openssl's client gets for raw bytes sent as a device, and that the gateway lives on.
async fn sent(bench: &Bench, bytes: &[u8]) -> Vec<u8> {
    let to = format!("{}:{}", bench.host, bench.port);
    let mut child = tokio::process::Command::new("openssl")
        .args(["s_client", "-quiet", "-connect", &to, "-CAfile", "ca.pem"])
        .args(LAMP)
        .current_dir(&bench.dir)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let bytes = bytes.to_vec();
    // The gateway may close before all is written.
    let writing = tokio::spawn(async move {
        let _ = stdin.write_all(&bytes).await;
        stdin
    });
    let mut answer = Vec::new();
    timeout(PATIENCE, stdout.read_to_end(&mut answer))
        .await
        .unwrap()
        .unwrap();
    drop(writing);
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_packets_close_their_own_connection_and_nothing_else() {
    let (rig, bench) = home_with_a_lamp().await;
    // MQTT 5, clean start, keep alive 60, client id "lamp".
    let connect = b"\x10\x11\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x04lamp";
    let after = |packet: &[u8]| [&connect[..], packet].concat();
    let oversized = after(&[&b"\x30\x80\x80\xc0\x00"[..], &[0; 70_000]].concat());
    let hostile: [(&str, Vec<u8>); 8] = [
        ("PUBLISH before CONNECT", b"\x30\x05\x00\x01a\x00x".to_vec()),
        (
            "SUBSCRIBE before CONNECT",
            b"\x82\x07\x00\x01\x00\x00\x01#\x00".to_vec(),
        ),
        (
            "a length without an end",
            b"\x10\xff\xff\xff\xff\xff".to_vec(),
        ),
        (
            "a CONNECT longer than any",
            b"\x10\xff\xff\xff\x7f".to_vec(),
        ),
        (
            "another protocol",
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        ),
        (
            "a length without an end after CONNECT",
            after(b"\x30\xff\xff\xff\xff\xff"),
        ),
        ("a topic of no length", after(b"\x30\x04\x00\x00\x00x")),
        ("a packet of over 1 MiB", oversized),
    ];
    for (what, bytes) in &hostile {
        sent(&bench, bytes).await;
        let publish = ["-q", "1", "-t", "devices/lamp/state", "-m", "on"];
        let alive = bench.mosquitto_as("lamp", "mosquitto_pub", &publish).await;
        assert!(alive.status.success(), "after {what}: {}", said(&alive));
    }
    assert!(!rig.stderr().contains("panicked"), "{}", rig.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_from_one_address_is_held_back_and_a_device_there_still_comes_in() {
    let (mut rig, bench) = home_with_a_lamp().await;
    let to = format!("{}:{}", bench.host, bench.port);
    let mut flood = Vec::new();
    for _ in 0..400 {
        flood.push(TcpStream::connect(&to).await.unwrap());
    }
    // Of those that say nothing, the first give way to the later ones.
    for stream in &mut flood[..144] {
        let ended = timeout(PATIENCE, stream.read(&mut [0])).await.unwrap();
        assert!(matches!(ended, Ok(0) | Err(_)), "the gateway spoke first");
    }
    let publish = ["-q", "1", "-t", "devices/lamp/state", "-m", "on"];
    for more in [&[][..], &["-A", "127.0.0.77"]] {
        let publish = [&publish[..], more].concat();
        let alive = bench.mosquitto_as("lamp", "mosquitto_pub", &publish).await;
        assert!(alive.status.success(), "{more:?}: {}", said(&alive));
    }
    drop(flood);
    rig.stop().await;
}
