//! What a bridge makes for one lease alone: it ends with the lease, whatever else happens.

use serde_json::Value;

use crate::rig::until;
use crate::system::{ALL, System};
use crate::vault::{added, home, records, told};

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_of_a_bridge_that_can_is_a_child_that_ends_with_it() {
    let rig = home().await;
    let mut can = ALL.to_vec();
    can.push("children");
    let system = System::connected(&rig, "parent-value", &can).await;
    added(&rig, "sys/token", "home", b"parent-value", &[]).await;
    let lease = told(
        &rig,
        &["credential", "lease", "sys/token", "--lifetime", "1h"],
    )
    .await;
    assert_eq!(lease["child"], true);
    let child = lease["text"].as_str().unwrap();
    assert_ne!(child, "parent-value");
    assert!(system.live().contains(&child.to_owned()));
    told(
        &rig,
        &["credential", "end-lease", lease["lease"].as_str().unwrap()],
    )
    .await;
    assert_eq!(
        system.live(),
        ["parent-value"],
        "the child is ended, the parent lives"
    );
    let short = told(
        &rig,
        &["credential", "lease", "sys/token", "--lifetime", "1s"],
    )
    .await;
    assert_eq!(short["child"], true);
    until("the child has ended by itself", async || {
        (system.live() == ["parent-value"]).then_some(())
    })
    .await;
    let third = told(&rig, &["credential", "lease", "sys/token"]).await;
    assert_eq!(third["child"], true);
    let retired = told(
        &rig,
        &["credential", "retire", "sys/token", "--grace", "0s"],
    )
    .await;
    assert_eq!(retired[0]["leases_ended"], 1);
    assert_eq!(retired[0]["revoked_at_bridge"], 1);
    assert!(system.live().is_empty());
    let log = rig.verified_log().await;
    assert_eq!(records(&log, "credential.lease").len(), 3);
    assert!(!log.contains(child));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_child_is_taken_back_once_although_two_end_its_lease() {
    let mut rig = home().await;
    let mut can = ALL.to_vec();
    can.push("children");
    let system = System::connected(&rig, "parent-value", &can).await;
    added(&rig, "sys/token", "home", b"parent-value", &[]).await;
    system.hold("mint-after");
    let client = rig.client();
    let asking = tokio::spawn(async move {
        let request = hearthkey_api::LeaseRequest::default();
        let path = "/api/v1/environments/home/credentials/sys/token/lease";
        client.post::<hearthkey_api::Leased>(path, &request).await
    });
    system.is_at("mint-after").await;
    rig.kill9().await;
    system.kill();
    assert!(asking.await.unwrap().is_err());
    rig.start().await;
    let leases = told(&rig, &["credential", "leases"]).await;
    let end = [
        "credential",
        "end-lease",
        leases[0]["lease"].as_str().unwrap(),
    ];
    system.hold("mint-after");
    tokio::join!(told(&rig, &end), async {
        system.is_at("mint-after").await;
        // It would be there again if the bridge were asked for another one.
        std::fs::remove_file(system.path("at-mint-before")).unwrap();
        tokio::join!(told(&rig, &end), async {
            told(&rig, &["credential", "leases"]).await;
            system.release("mint-after");
        });
    });
    assert!(!system.path("at-mint-before").exists());
    assert_eq!(system.live(), ["parent-value"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_was_made_while_the_power_went_is_ended_with_its_lease() {
    let mut rig = home().await;
    let mut can = ALL.to_vec();
    can.push("children");
    let system = System::connected(&rig, "parent-value", &can).await;
    added(&rig, "sys/token", "home", b"parent-value", &[]).await;
    system.hold("mint-after");
    let client = rig.client();
    let asking = tokio::spawn(async move {
        let request = hearthkey_api::LeaseRequest {
            lifetime: Some("2s".into()),
            ..Default::default()
        };
        let path = "/api/v1/environments/home/credentials/sys/token/lease";
        client.post::<hearthkey_api::Leased>(path, &request).await
    });
    system.is_at("mint-after").await;
    assert_eq!(system.live().len(), 2, "the child works already");
    rig.kill9().await;
    system.kill();
    system.release("mint-after");
    assert!(asking.await.unwrap().is_err());
    rig.start().await;
    until("the child that nobody knew has ended", async || {
        (system.live() == ["parent-value"]).then_some(())
    })
    .await;
    until("no lease is left", async || {
        (told(&rig, &["credential", "leases"]).await == Value::from(Vec::<Value>::new()))
            .then_some(())
    })
    .await;
    let log = rig.verified_log().await;
    assert_eq!(records(&log, "credential.lease").len(), 1);
}
