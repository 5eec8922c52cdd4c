//! Renewal: windows, two slots, clones, and who may ask.

use hearthkey_agent::{Device, RenewError};

use crate::rig::{Rig, until};
use crate::stock::{Bench, said};

async fn home() -> Rig {
    let mut rig = Rig::new().await;
    rig.start().await;
    rig
}

fn code(error: &RenewError) -> String {
    match error {
        RenewError::Rejected(rejection) => rejection.code.clone(),
        other => other.to_string(),
    }
}

fn copy_of(rig: &Rig, device: &str, name: &str) -> Device {
    let (from, to) = (rig.device_dir(device), rig.device_dir(name));
    std::fs::create_dir_all(&to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
    Device::open(&to).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn before_its_window_a_renewal_is_too_early_and_an_operator_can_open_the_window() {
    let rig = home().await;
    let mut lamp = rig.enroll("lamp").await;
    let session = lamp.connect().await.unwrap();
    assert_eq!(
        code(&lamp.renew(&session).await.unwrap_err()),
        "renewal_too_early"
    );
    rig.act("lamp", "rotate").await.unwrap();
    lamp.renew(&session).await.unwrap();
    let log = rig.verified_log().await;
    assert!(log.contains("\"reason\":\"renewal_too_early\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_certificate_works_until_the_new_one_has_been_seen() {
    let rig = home().await;
    let mut lamp = rig.enroll("lamp").await;
    let mut old = copy_of(&rig, "lamp", "old-lamp");
    let session = lamp.connect().await.unwrap();
    rig.act("lamp", "rotate").await.unwrap();
    lamp.renew(&session).await.unwrap();
    session.close().await;
    old.connect().await.unwrap().close().await;
    lamp.connect()
        .await
        .unwrap()
        .publish("devices/lamp/state", "on")
        .await
        .unwrap();
    until("the old certificate's end", async || {
        old.connect().await.err()
    })
    .await;
    let shown = rig.device("lamp").await;
    let states: Vec<&str> = shown
        .certificates
        .iter()
        .map(|c| c.state.as_str())
        .collect();
    assert_eq!(states, ["active", "superseded"]);
}

/// The first notice that a device is told on a new session.
async fn first_notice(device: &mut Device) -> serde_json::Value {
    let mut session = device.connect().await.unwrap();
    let topic = format!("hearthkey/v1/devices/{}/notice", device.id());
    session.subscribe(&[&topic]).await.unwrap();
    let notice = session.receive().await.unwrap().payload;
    session.close().await;
    serde_json::from_slice(&notice).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_reconnects_is_told_the_notice_of_its_present_certificate() {
    let rig = home().await;
    let mut lamp = rig.enroll("lamp").await;
    assert_eq!(first_notice(&mut lamp).await["reason"], "scheduled");
    for _ in 0..5 {
        rig.act("lamp", "rotate").await.unwrap();
        assert_eq!(first_notice(&mut lamp).await["reason"], "operator");
        let session = lamp.connect().await.unwrap();
        lamp.renew(&session).await.unwrap();
        session.close().await;
        // The very first message, at once: not the request that it has just answered.
        let notice = first_notice(&mut lamp).await;
        let newest = rig.device("lamp").await.certificates[0].renew_after.clone();
        assert_eq!(
            (&notice["reason"], &notice["renew_after"]),
            (&"scheduled".into(), &newest.into())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_whose_answer_was_lost_stays_asked_for_in_the_notice() {
    let rig = home().await;
    let mut lamp = rig.enroll("lamp").await;
    assert_eq!(first_notice(&mut lamp).await["reason"], "scheduled");
    let mut without_answer = copy_of(&rig, "lamp", "without-answer");
    rig.act("lamp", "rotate").await.unwrap();
    let session = lamp.connect().await.unwrap();
    lamp.renew(&session).await.unwrap();
    session.close().await;
    assert_eq!(
        first_notice(&mut without_answer).await["reason"],
        "operator"
    );
    assert_eq!(first_notice(&mut lamp).await["reason"], "scheduled");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_keys_renewing_from_one_generation_suspend_the_device() {
    let rig = home().await;
    let mut lamp = rig.enroll("lamp").await;
    let mut thief = copy_of(&rig, "lamp", "thief");
    rig.act("lamp", "rotate").await.unwrap();
    let session = lamp.connect().await.unwrap();
    lamp.renew(&session).await.unwrap();
    let stolen = thief.connect().await.unwrap();
    assert!(thief.renew(&stolen).await.is_err());
    until("the suspension", async || {
        (rig.device("lamp").await.state == "suspended").then_some(())
    })
    .await;
    assert!(lamp.connect().await.is_err() && thief.connect().await.is_err());
    let log = rig.verified_log().await;
    assert!(
        log.contains("\"outcome\":\"alert\",\"reason\":\"clone_detected\""),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_cannot_ask_for_another_devices_certificate() {
    let rig = home().await;
    let bench = Bench::new(&rig, "bench").await;
    bench.enroll(&rig, "lamp").await;
    bench.enroll(&rig, "door").await;
    let csr = bench.csr("mine", &[]).await;
    let ask = [
        "-q",
        "1",
        "-t",
        "hearthkey/v1/devices/door/renew",
        "-m",
        &csr,
    ];
    let refused = said(&bench.mosquitto_as("lamp", "mosquitto_pub", &ask).await);
    assert!(
        refused.to_lowercase().contains("not authorized"),
        "{refused}"
    );
    assert_eq!(rig.device("door").await.certificates.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn queued_and_retained_messages_survive_a_restart() {
    let mut rig = home().await;
    let bench = Bench::new(&rig, "bench").await;
    let claim = "device claim hub --profile zigbee2mqtt --environment home --owner anna --purpose test --json";
    let opened = rig.cli(&claim.split(' ').collect::<Vec<_>>()).await;
    let hub: hearthkey_api::ClaimOpened = serde_json::from_slice(&opened.stdout).unwrap();
    let csr = bench.csr("hub", &[]).await;
    let mut answer = bench.ask(&hub, &csr).await;
    if answer.contains("approval_required") {
        let key = rig.device("hub").await.claims[0]
            .presented_key
            .clone()
            .unwrap();
        rig.cli(&["device", "approve", "hub", "--key", &key]).await;
        answer = bench.ask(&hub, &csr).await;
    }
    std::fs::write(bench.dir.join("hub.crt"), answer).unwrap();
    bench.enroll(&rig, "lamp").await;
    let subscribe = ["-c", "-x", "3600", "-q", "1", "-t", "devices/lamp/#", "-E"];
    let subscribed = bench
        .mosquitto_as("lamp", "mosquitto_sub", &subscribe)
        .await;
    assert!(subscribed.status.success(), "{}", said(&subscribed));
    let retained = [
        "-q",
        "1",
        "-r",
        "-t",
        "zigbee2mqtt/bridge/state",
        "-m",
        "online",
    ];
    assert!(
        bench
            .mosquitto_as("hub", "mosquitto_pub", &retained)
            .await
            .status
            .success()
    );
    rig.restart().await;
    let listen = ["-t", "zigbee2mqtt/#", "-C", "1", "-W", "20"];
    assert_eq!(
        said(&bench.mosquitto_as("hub", "mosquitto_sub", &listen).await),
        "online\n"
    );
    let resume = [
        "-c",
        "-x",
        "3600",
        "-q",
        "1",
        "-t",
        "devices/lamp/none",
        "-d",
        "-E",
    ];
    let resumed = said(&bench.mosquitto_as("lamp", "mosquitto_sub", &resume).await);
    assert!(resumed.contains("CONNACK (0)"), "{resumed}");
}
