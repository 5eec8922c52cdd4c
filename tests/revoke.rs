//! Revoked means gone, now: across restarts, power failures and restored databases.

use hearthkey_agent::ClosedReason;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use crate::rig::{Rig, json, until};
use crate::stock::{home_with_a_lamp, said};
use crate::wire::within;

const CERTIFICATE_REVOKED: Option<u8> = Some(44);
const ACCESS_DENIED: Option<u8> = Some(49);
const LAMP: [&str; 4] = ["-cert", "lamp.crt", "-key", "lamp.key"];

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_device_is_cut_at_once_and_stays_out_after_a_power_failure() {
    let mut rig = Rig::new().await;
    rig.start().await;
    let mut device = rig.enroll("plug").await;
    let session = device.connect().await.unwrap();
    session.subscribe(&["devices/plug/#"]).await.unwrap();
    let closed = tokio::spawn(session.closed());
    let revoked = rig
        .cli(&[
            "device",
            "revoke",
            "plug",
            "--reason",
            "key-compromise",
            "--json",
        ])
        .await;
    let revoked = json(&revoked);
    assert_eq!(revoked["device"], "plug");
    assert_eq!(revoked["certificates_revoked"], 1);
    assert_eq!(revoked["sessions_dropped"], 1);
    assert_eq!(revoked["durable"], true);
    assert!(revoked["latency_us"].is_u64());
    closed.await.unwrap();
    for again in 0..3 {
        match device.connect().await {
            Err(hearthkey_agent::DeviceConnectError::Connect(error)) => {
                assert!(
                    matches!(error.reason, ClosedReason::Revoked),
                    "{again}: {error}"
                );
            }
            other => panic!("{again}: {:?}", other.err()),
        }
        if again == 0 {
            rig.kill9().await;
            rig.start().await;
        } else {
            rig.restart().await;
        }
    }
    assert_eq!(rig.device("plug").await.state, "revoked");
    until("the record of its knocking", async || {
        let log = rig.verified_log().await;
        log.contains(r#""certificate_device":"plug""#).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_that_was_begun_is_done_also_if_whoever_asked_for_it_hangs_up() {
    let mut rig = Rig::new().await;
    rig.start().await;
    let mut device = rig.enroll("plug").await;
    let session = device.connect().await.unwrap();
    let closed = tokio::spawn(session.closed());
    let body = r#"{"reason":"key-compromise"}"#;
    let request = format!(
        "POST /api/v1/devices/plug/revoke HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let socket = rig.data_dir.join("hearthkey.sock");
    let mut hasty = UnixStream::connect(socket).await.unwrap();
    hasty.write_all(request.as_bytes()).await.unwrap();
    let journal = rig.data_dir.join("revocations.journal");
    until("the revocation's first step", async || {
        let lines = std::fs::read_to_string(&journal).ok()?;
        lines.contains(r#"{"revoked":"#).then_some(())
    })
    .await;
    drop(hasty);
    within("the end of the session", closed).await.unwrap();
    assert_eq!(rig.device("plug").await.state, "revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_from_before_the_revocation_does_not_bring_a_device_back() {
    let (mut rig, bench) = home_with_a_lamp().await;
    rig.stop().await;
    let files = ["hearthkey.db", "hearthkey.db-wal", "hearthkey.db-shm"];
    let backup = rig.work.path().join("backup");
    std::fs::create_dir(&backup).unwrap();
    for file in files.iter().filter(|file| rig.data_dir.join(file).exists()) {
        std::fs::copy(rig.data_dir.join(file), backup.join(file)).unwrap();
    }
    rig.start().await;
    rig.revoke("lamp").await.unwrap();
    rig.stop().await;
    for file in files {
        let _ = std::fs::remove_file(rig.data_dir.join(file));
        if backup.join(file).exists() {
            std::fs::copy(backup.join(file), rig.data_dir.join(file)).unwrap();
        }
    }
    rig.start().await;
    assert!(
        rig.status()
            .await
            .incident
            .is_some_and(|why| why.contains("rolled back"))
    );
    assert_eq!(bench.knock(&LAMP).await, CERTIFICATE_REVOKED);
    let refused = rig.claim("other").await.map(drop).unwrap_err();
    assert!(refused.to_string().contains("read-only"), "{refused}");

    let accepted = rig
        .cli(&["log", "accept", "--reason", "restored a backup"])
        .await;
    assert!(accepted.status.success(), "{}", said(&accepted));
    assert_eq!(rig.device("lamp").await.state, "revoked");
    assert_eq!(bench.knock(&LAMP).await, CERTIFICATE_REVOKED);
    rig.verified_log().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_device_is_let_in_again_and_a_retired_one_is_not() {
    let (rig, bench) = home_with_a_lamp().await;
    let publish = ["-q", "1", "-t", "devices/lamp/state", "-m", "on"];
    rig.act("lamp", "suspend").await.unwrap();
    assert_eq!(bench.knock(&LAMP).await, ACCESS_DENIED);
    rig.act("lamp", "resume").await.unwrap();
    assert!(
        bench
            .mosquitto_as("lamp", "mosquitto_pub", &publish)
            .await
            .status
            .success()
    );
    rig.act("lamp", "retire").await.unwrap();
    assert_eq!(bench.knock(&LAMP).await, CERTIFICATE_REVOKED);
    let refused = rig.act("lamp", "resume").await.unwrap_err();
    assert!(refused.to_string().contains("retired"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_claim_makes_a_new_lineage_and_the_old_certificate_stays_out() {
    let (rig, bench) = home_with_a_lamp().await;
    rig.revoke("lamp").await.unwrap();
    for file in ["lamp.crt", "lamp.key"] {
        std::fs::rename(bench.dir.join(file), bench.dir.join(format!("old-{file}"))).unwrap();
    }
    bench.enroll(&rig, "lamp").await;
    let publish = ["-q", "1", "-t", "devices/lamp/state", "-m", "on"];
    assert!(
        bench
            .mosquitto_as("lamp", "mosquitto_pub", &publish)
            .await
            .status
            .success()
    );
    let old = ["-cert", "old-lamp.crt", "-key", "old-lamp.key"];
    assert_eq!(bench.knock(&old).await, CERTIFICATE_REVOKED);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_crl_lists_what_was_revoked_and_is_signed_by_the_issuing_ca() {
    let (rig, bench) = home_with_a_lamp().await;
    let serial = rig
        .device("lamp")
        .await
        .certificate
        .unwrap()
        .serial
        .to_uppercase();
    rig.revoke("lamp").await.unwrap();
    until("the CRL", async || {
        let crl = rig.cli(&["trust", "crl", "--environment", "home"]).await;
        std::fs::write(bench.dir.join("home.crl"), &crl.stdout).unwrap();
        let text = said(&bench.openssl("crl -in home.crl -noout -text").await);
        (text.contains(&serial) && text.contains("Key Compromise")).then_some(())
    })
    .await;
}
