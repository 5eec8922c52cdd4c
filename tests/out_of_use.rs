//! Credentials and bridges go out of use although the disk hangs.

use std::time::Duration;

use hearthkey_api::{LeaseRequest, Leased, Revealed};
use serde_json::json;
use tokio::time::Instant;

use crate::issuer::Issuer;
use crate::minted::generated;
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
async fn a_place_of_use_is_retired_although_a_bridge_hangs() {
    let rig = home().await;
    let system = System::connected(&rig, "first-value", &ALL).await;
    generated(&rig, "sys/token").await;
    at_step(&rig, "sys/token", "done").await;
    let place = ["--used-by", "dashboard"];
    let change = ["credential", "change", "sys/token"];
    told(&rig, &[&change[..], &place].concat()).await;
    added(&rig, "hue/key", "home", b"a-value-of-hue", &place).await;
    let places = [&place[..], &["--used-by", "node-red"]].concat();
    added(&rig, "shared/key", "home", b"another-value", &places).await;
    system.hold("revoke-before");
    let (retired, ()) = tokio::join!(
        told(&rig, &["credential", "retire", "--project", "dashboard"]),
        async {
            system.is_at("revoke-before").await;
            for name in ["sys/token", "hue/key"] {
                let why = refused(&rig, &["credential", "reveal", name]).await;
                let why = why["detail"].as_str().unwrap().to_owned();
                assert!(why.contains("is retired"), "{why}");
            }
            // What is used elsewhere, too, waits for no bridge of another.
            until("the place to be taken off the list", async || {
                let shared = told(&rig, &["credential", "show", "shared/key"]).await;
                (shared["used_by"] == json!(["node-red"])).then_some(())
            })
            .await;
            system.release("revoke-before");
        }
    );
    let ended = retired.as_array().unwrap().iter();
    let ended: Vec<_> = ended
        .map(|one| (one["name"].as_str(), one["revoked_at_bridge"].as_u64()))
        .collect();
    assert!(ended.contains(&(Some("sys/token"), Some(1))), "{retired}");
    assert!(ended.contains(&(Some("hue/key"), Some(0))), "{retired}");
    assert_eq!(system.live(), ["first-value"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_ends_in_its_time_although_another_waits_for_a_bridge_that_hangs() {
    let rig = home().await;
    let mut can = ALL.to_vec();
    can.push("children");
    let system = System::connected(&rig, "parent-value", &can).await;
    let issuer = Issuer::connected(&rig, "api").await;
    added(&rig, "sys/token", "home", b"parent-value", &[]).await;
    generated(&rig, "api/token").await;
    at_step(&rig, "api/token", "done").await;
    system.hold("revoke-before");
    let short = ["--lifetime", "1s"];
    for name in ["sys/token", "api/token"] {
        let lent = told(&rig, &[&["credential", "lease", name][..], &short].concat()).await;
        assert_eq!(lent["child"], true, "{lent}");
    }
    system.is_at("revoke-before").await;
    until("the other child to be ended", async || {
        (issuer.live() == ["issued-value-1"]).then_some(())
    })
    .await;
    assert_eq!(system.live().len(), 2, "this one is still to be ended");
    system.release("revoke-before");
    until("the first child to be ended", async || {
        (system.live() == ["parent-value"]).then_some(())
    })
    .await;
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
