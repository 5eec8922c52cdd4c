//! Rights held against rights used, and what is left of them.

use hearthkey_api::{CallError, NarrowRequest, RightName, RightsView};
use serde_json::json;

use crate::guest::{enroll, home};
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
