//! Rights held against rights used, and what is left of them.

use hearthkey_api::{CallError, NarrowRequest, RightName, RightsView};
use serde_json::json;

use crate::guest::{add_profile, claim_for, enroll, enroll_with, home};
use crate::rig::{Rig, until};
use crate::wire::{Door, Identity};

async fn rights(rig: &Rig) -> RightsView {
    let path = "/api/v1/devices/lamp/rights";
    rig.client().get(path).await.unwrap()
}

/// Whether a message is taken, from a connection of its own.
async fn publishes(door: &Door, lamp: &Identity, topic: &str) -> bool {
    let mut client = door.device(lamp).await.unwrap();
    client.publish(topic, b"on").await == Ok(0)
}

fn narrowed(view: &RightsView) -> NarrowRequest {
    let used = view.rights.iter().filter(|r| r.narrowable && r.uses > 0);
    NarrowRequest {
        keep: used
            .map(|right| RightName {
                verb: right.verb.clone(),
                filter: right.filter.clone(),
            })
            .collect(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_device_never_does_is_taken_in_one_step_and_given_back_in_one() {
    let (mut rig, door) = home().await;
    let lamp = enroll(&rig, &door, "lamp").await;
    let before = rights(&rig).await;
    assert!(before.rights.iter().all(|right| right.kept));
    assert!(publishes(&door, &lamp, "devices/lamp/state").await);
    let used = until("the use is counted", async || {
        let view = rights(&rig).await;
        let published = view
            .rights
            .iter()
            .any(|r| r.verb == "publish" && r.uses > 0 && r.narrowable);
        published.then_some(view)
    })
    .await;
    assert!(used.unused >= 1, "{used:?}");
    let narrow = "/api/v1/devices/lamp/narrow";
    let left: RightsView = rig.client().post(narrow, &narrowed(&used)).await.unwrap();
    assert!(left.narrowed_at.is_some());
    assert_eq!(left.unused, 0);
    let gone = left.rights.iter().filter(|right| !right.kept);
    assert!(
        gone.clone()
            .all(|right| right.narrowable && right.uses == 0)
    );
    assert_eq!(gone.count(), used.unused);
    assert!(
        publishes(&door, &lamp, "devices/lamp/state").await,
        "what it does, it may"
    );
    // It holds across a restart, and a device keeps the topics by which it renews.
    rig.restart().await;
    let after = rights(&rig).await;
    assert_eq!(after.unused, 0);
    let ours = after.rights.iter().filter(|right| !right.narrowable);
    assert!(ours.clone().count() >= 3 && ours.clone().all(|right| right.kept));
    // Nothing that the profile does not grant can be kept.
    let more = json!({"keep": [{"verb": "publish", "filter": "#"}]});
    let refused = rig.client().post::<RightsView>(narrow, &more).await;
    assert!(matches!(refused, Err(CallError::Problem(problem)) if problem.code == "refused"));
    let none = json!({"keep": []});
    let none: RightsView = rig.client().post(narrow, &none).await.unwrap();
    assert!(
        none.rights
            .iter()
            .all(|right| right.kept != right.narrowable)
    );
    assert!(
        !publishes(&door, &lamp, "devices/lamp/state").await,
        "nothing is left"
    );
    let wide: RightsView = rig
        .client()
        .post("/api/v1/devices/lamp/widen", &json!({}))
        .await
        .unwrap();
    assert!(wide.narrowed_at.is_none() && wide.rights.iter().all(|right| right.kept));
    assert!(publishes(&door, &lamp, "devices/lamp/state").await);
    let log = rig.cli(&["log", "tail", "-n", "50"]).await;
    let log = String::from_utf8_lossy(&log.stdout).into_owned();
    assert!(
        log.contains("device.narrow") && log.contains("device.widen"),
        "{log}"
    );
}

const HUB: &str = "certificate_lifetime_days = 30\ngrace_days = 30\nkeys = [\"p256\"]\n\
    [[publish]]\ntopic = \"devices/{device}/state\"\nreason = \"r\"\n\
    [[subscribe]]\ntopic = \"devices/{device}/set\"\nreason = \"r\"\n";
const WIDER: &str = "[[publish]]\ntopic = \"devices/{device}/log\"\nreason = \"r\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn what_a_profile_grants_later_is_not_given_to_a_device_that_was_narrowed() {
    let (rig, door) = home().await;
    add_profile(&rig, "hub", HUB).await;
    let lamp = enroll_with(&door, &claim_for(&rig, "lamp", "hub", "15m").await).await;
    let keep = NarrowRequest {
        keep: vec![RightName {
            verb: "publish".into(),
            filter: "devices/lamp/state".into(),
        }],
    };
    let narrow = "/api/v1/devices/lamp/narrow";
    rig.client()
        .post::<RightsView>(narrow, &keep)
        .await
        .unwrap();
    add_profile(&rig, "hub", &format!("{HUB}{WIDER}")).await;
    let later = rights(&rig).await;
    let kept = |filter: &str| later.rights.iter().any(|r| r.filter == filter && r.kept);
    assert!(
        kept("devices/lamp/state") && !kept("devices/lamp/log"),
        "{later:?}"
    );
    assert!(publishes(&door, &lamp, "devices/lamp/state").await);
    assert!(!publishes(&door, &lamp, "devices/lamp/log").await);
    // Nor is what a profile takes kept by a narrowing that names it.
    add_profile(&rig, "hub", &HUB.replace("/state", "/other")).await;
    assert!(!publishes(&door, &lamp, "devices/lamp/state").await);
    assert!(!publishes(&door, &lamp, "devices/lamp/other").await);
}
