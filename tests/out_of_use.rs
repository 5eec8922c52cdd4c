//! Credentials and bridges go out of use although the disk hangs.

use std::time::Duration;

use hearthkey_api::{LeaseRequest, Leased, Revealed};
use serde_json::json;
use tokio::time::Instant;

use crate::rig::until;
use crate::rotation::{at_step, states};
use crate::storage_failure::FailingDisk;
use crate::system::{ALL, System};
use crate::vault::{added, home, refused, told};

/// The disk hangs for so long; an answer waits for it for 2 s.
const HANGS_S: u32 = 9;
/// By then it is answered. A busy machine is slow, and the disk is slower.
const ANSWERED: Duration = Duration::from_secs(HANGS_S as u64 - 2);
const FILES: [&str; 2] = ["hearthkey.db-wal", "hearthkey.db"];

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_is_out_of_use_although_the_disk_hangs() {
    let mut rig = home().await;
    let system = System::connected(&rig, "first-value", &ALL).await;
    added(&rig, "sys/token", "home", b"first-value", &[]).await;
    told(
        &rig,
        &["credential", "rotate", "sys/token", "--overlap", "0s"],
    )
    .await;
    at_step(&rig, "sys/token", "done").await;
    added(&rig, "hue/key", "home", b"another-value", &[]).await;
    let Some(hanging) = FailingDisk::hanging(&rig, &FILES, HANGS_S).await else {
        return;
    };
    let begun = Instant::now();
    let (one, other) = tokio::join!(
        told(&rig, &["credential", "retire", "sys/token"]),
        told(&rig, &["credential", "retire", "hue/key", "--grace", "0s"]),
    );
    assert!(begun.elapsed() < ANSWERED, "{:?}", begun.elapsed());
    for retired in [&one, &other] {
        assert_eq!(retired[0]["durable"], false, "{retired}");
    }
    for name in ["sys/token", "hue/key"] {
        let read = [
            "credential",
            "reveal",
            name,
            "--reason",
            "test",
            "--env",
            "home",
        ];
        let why = refused(&rig, &read).await;
        assert!(
            why["detail"].as_str().unwrap().contains("is retired"),
            "{why}"
        );
        let shown = told(&rig, &["credential", "show", name]).await;
        assert_eq!(shown["state"], "retired", "{shown}");
    }
    // Its bridge alone can end the value.
    let why = refused(&rig, &["bridge", "disconnect", "sys"]).await;
    assert_eq!(why["code"], "storage_unavailable", "{why}");
    assert!(begun.elapsed() < ANSWERED, "{:?}", begun.elapsed());
    drop(hanging);
    until("the value to be ended at its bridge", async || {
        system.live().is_empty().then_some(())
    })
    .await;
    rig.kill9().await;
    rig.start().await;
    assert_eq!(states(&rig, "sys/token").await, ["retired", "retired"]);
    assert_eq!(states(&rig, "hue/key").await, ["destroyed"]);
    added(&rig, "hue/key", "home", b"a-new-value", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_the_disk_is_not_given_once_its_credential_is_out_of_use() {
    let rig = home().await;
    added(&rig, "hue/key", "home", b"a-value-4711", &[]).await;
    let Some(hanging) = FailingDisk::hanging(&rig, &FILES, 3).await else {
        return;
    };
    let client = rig.client();
    let here = "/api/v1/environments/home";
    let (reveal, lease) = (
        format!("{here}/reveal"),
        format!("{here}/credentials/hue/key/lease"),
    );
    let (wanted, body) = (
        json!({"names": ["hue/key"], "use": "run"}),
        LeaseRequest::default(),
    );
    // Whether they are asked before or after the end: neither gives the value.
    let (revealed, lent, retired) = tokio::join!(
        client.post::<Revealed>(&reveal, &wanted),
        client.post::<Leased>(&lease, &body),
        told(&rig, &["credential", "retire", "hue/key"]),
    );
    drop(hanging);
    assert_eq!(retired[0]["durable"], false, "{retired}");
    assert!(revealed.is_err() && lent.is_err());
    until("no lease is left", async || {
        let leases = told(&rig, &["credential", "leases"]).await;
        leases.as_array().is_some_and(Vec::is_empty).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_is_asked_no_more_although_the_disk_hangs() {
    let rig = home().await;
    let _system = System::connected(&rig, "first-value", &ALL).await;
    let Some(hanging) = FailingDisk::hanging(&rig, &FILES, HANGS_S).await else {
        return;
    };
    let begun = Instant::now();
    let gone = told(&rig, &["bridge", "disconnect", "sys"]).await;
    assert_eq!(gone["durable"], false, "{gone}");
    let bridges = told(&rig, &["bridge", "list"]).await;
    assert!(bridges.as_array().unwrap().is_empty(), "{bridges}");
    refused(&rig, &["bridge", "test", "sys"]).await;
    assert!(begun.elapsed() < ANSWERED, "{:?}", begun.elapsed());
    drop(hanging);
    until("its end to be on the disk", async || {
        (rig.status().await.revocations_pending == 0).then_some(())
    })
    .await;
    let bridges = told(&rig, &["bridge", "list"]).await;
    assert!(bridges.as_array().unwrap().is_empty(), "{bridges}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_lease_is_answered_although_the_disk_hangs() {
    let rig = home().await;
    added(&rig, "hue/key", "home", b"a-value-of-hue", &[]).await;
    let lease = told(&rig, &["credential", "lease", "hue/key"]).await;
    let lease = lease["lease"].as_str().unwrap();
    let Some(hanging) = FailingDisk::hanging(&rig, &FILES, HANGS_S).await else {
        return;
    };
    let begun = Instant::now();
    let why = refused(&rig, &["credential", "end-lease", lease]).await;
    assert_eq!(why["code"], "storage_unavailable", "{why}");
    assert!(begun.elapsed() < ANSWERED, "{:?}", begun.elapsed());
    drop(hanging);
    until("the lease to have ended", async || {
        let leases = told(&rig, &["credential", "leases"]).await;
        leases.as_array().unwrap().is_empty().then_some(())
    })
    .await;
}
