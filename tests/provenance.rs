//! Where a device comes from: the sealed record of its enrollment, and what has happened to it since.

use hearthkey_api::{DeviceProvenance, LogKeyView};
use serde_json::Value;

use crate::guest::done;
use crate::here::invited_by;
use crate::people::{Browser, setup_link};
use crate::rfc6962::{Proof, VerifierKey};
use crate::rig::Rig;
use crate::service::home;

async fn provenance(rig: &Rig, device: &str) -> DeviceProvenance {
    let path = format!("/api/v1/devices/{device}/provenance");
    rig.client().get(&path).await.unwrap()
}

fn actions(provenance: &DeviceProvenance) -> Vec<&str> {
    let history = provenance.history.iter();
    history.map(|event| event.action.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_of_an_enrollment_is_the_leaf_that_the_log_proves() {
    let mut rig = Rig::new().await;
    rig.start().await;
    let claim = rig.claim("lamp").await.unwrap();
    let before = provenance(&rig, "lamp").await;
    assert!(before.enrolled.is_none(), "a claim is no enrollment");
    assert_eq!(actions(&before), ["claim.open"]);
    rig.enroll_with(&claim).await.unwrap();
    rig.enroll("plug").await;

    let enrolled = provenance(&rig, "lamp").await.enrolled.unwrap();
    let record: Value = serde_json::from_str(&enrolled.record).unwrap();
    assert_eq!(record["action"], "device.enroll");
    assert_eq!(record["details"]["device"], "lamp");
    let certificate = rig.device("lamp").await.certificate.unwrap();
    assert_eq!(record["details"]["certificate_sha256"], certificate.sha256);
    assert_eq!(enrolled.actor, format!("claim:{}", claim.claim));
    assert_eq!(
        (&record["seq"], &record["time"]),
        (&enrolled.seq.into(), &enrolled.time.clone().into())
    );
    let key: LogKeyView = rig.client().get("/api/v1/log/key").await.unwrap();
    let key = VerifierKey::parse(&key.vkey);
    let proof = rig.cli(&["log", "prove", &enrolled.seq.to_string()]).await;
    let proof = Proof::parse(std::str::from_utf8(&proof.stdout).unwrap());
    assert_eq!(proof.index, enrolled.seq);
    assert!(proof.proves(enrolled.record.as_bytes(), &key));
    let forged = enrolled.record.replace("lamp", "plug");
    assert!(
        !proof.proves(forged.as_bytes(), &key),
        "and of no other record"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_came_anew_comes_from_its_new_enrollment_and_keeps_its_history() {
    let mut rig = Rig::new().await;
    rig.start().await;
    rig.enroll("lamp").await;
    rig.enroll("plug").await;
    let first = provenance(&rig, "lamp").await.enrolled.unwrap();
    rig.revoke("lamp").await.unwrap();
    std::fs::remove_dir_all(rig.device_dir("lamp")).unwrap();
    rig.enroll("lamp").await;
    let again = provenance(&rig, "lamp").await;
    let second = again.enrolled.as_ref().unwrap();
    assert!(second.seq > first.seq);
    let told: Vec<_> = actions(&again)
        .into_iter()
        .filter(|action| ["claim.open", "device.enroll", "device.revoke"].contains(action))
        .collect();
    assert_eq!(
        told,
        [
            "device.enroll",
            "claim.open",
            "device.revoke",
            "device.enroll",
            "claim.open"
        ],
        "the newest first"
    );
    let sorted = again.history.windows(2).all(|two| two[0].seq > two[1].seq);
    assert!(sorted);
    let others = provenance(&rig, "plug").await;
    let plug: Vec<_> = others.history.iter().map(|event| event.seq).collect();
    assert!(again.history.iter().all(|event| !plug.contains(&event.seq)));
    let path = "/api/v1/devices/ghost/provenance";
    let missing = rig.client().get::<DeviceProvenance>(path).await;
    assert!(missing.unwrap_err().to_string().contains("no device ghost"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_hundred_records_are_told_and_the_enrollment_however_long_ago_it_was() {
    let mut rig = Rig::new().await;
    rig.start().await;
    rig.enroll("lamp").await;
    for _ in 0..55 {
        rig.act("lamp", "suspend").await.unwrap();
        rig.act("lamp", "resume").await.unwrap();
    }
    let long = provenance(&rig, "lamp").await;
    assert_eq!(long.history.len(), 100);
    assert_eq!(long.history[0].action, "device.resume");
    assert!(!actions(&long).contains(&"device.enroll"));
    assert!(long.enrolled.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_see_a_device_may_see_where_it_comes_from_and_nobody_else() {
    let (rig, front) = home().await;
    rig.enroll("door").await;
    let claim = [
        "device",
        "claim",
        "probe",
        "--profile",
        "generic",
        "--environment",
        "lab",
        "--owner",
        "dora",
        "--purpose",
        "test",
    ];
    done(&rig, &claim).await;
    let mut anna = Browser::new(&front);
    anna.join(&setup_link(&rig).await, "anna").await;
    let mut dora = Browser::new(&front);
    let link = invited_by(&anna, "dora", "developer", &["lab"]).await;
    dora.join(&link, "dora").await;
    let own = dora.get("/api/v1/devices/probe/provenance").await;
    assert_eq!(own.json()["history"][0]["action"], "claim.open");
    let others = dora.get("/api/v1/devices/door/provenance").await;
    assert_eq!((others.status, others.code().as_str()), (404, "not_found"));
    let stranger = Browser::new(&front)
        .get("/api/v1/devices/door/provenance")
        .await;
    assert_eq!(stranger.status, 401);
}
