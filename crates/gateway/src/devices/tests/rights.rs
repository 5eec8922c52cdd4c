use hearthkey_api::{NarrowRequest, RightName};

use super::*;

fn kept(rights: &[(&str, &str)]) -> NarrowRequest {
    let keep = rights.iter().map(|(verb, filter)| RightName {
        verb: (*verb).into(),
        filter: (*filter).into(),
    });
    NarrowRequest {
        keep: keep.collect(),
    }
}

/// Whether the lamp may publish on a topic.
fn may_publish(home: &TestHome, topic: &str) -> bool {
    let access = home.ctx.access();
    let lamp = access.device(&id("lamp")).unwrap();
    lamp.rights(&id("lamp")).may_publish(topic)
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_that_are_taken_are_gone_at_once_and_come_back_when_they_are_given_back() {
    let home = TestHome::new().await;
    home.enroll("lamp", "home").await;
    let view = home.devices.rights_view(&id("lamp")).await.unwrap();
    let publishes = view
        .rights
        .iter()
        .find(|right| right.verb == "publish" && right.narrowable);
    let publishes = publishes.unwrap().filter.clone();
    assert!(view.rights.iter().all(|right| right.kept));
    let permit = here(Act::DeviceChange);
    let narrowed = home
        .devices
        .narrow(&permit, &id("lamp"), &kept(&[("publish", &publishes)]))
        .await;
    assert!(narrowed.unwrap().durable);
    let view = home.devices.rights_view(&id("lamp")).await.unwrap();
    let left: Vec<_> = view
        .rights
        .iter()
        .filter(|right| right.narrowable && right.kept)
        .collect();
    assert_eq!(left.len(), 1);
    home.devices
        .widen(&here(Act::DeviceApprove), &id("lamp"))
        .await
        .unwrap();
    let view = home.devices.rights_view(&id("lamp")).await.unwrap();
    assert!(view.rights.iter().all(|right| right.kept));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_not_left_rights_that_it_never_had() {
    let home = TestHome::new().await;
    home.enroll("lamp", "home").await;
    let permit = here(Act::DeviceChange);
    let refused = home
        .devices
        .narrow(&permit, &id("lamp"), &kept(&[("publish", "somebody/else")]))
        .await;
    assert_eq!(refused.err().unwrap().0.code, "refused");
    assert!(!may_publish(&home, "somebody/else"));
}

#[tokio::test(flavor = "multi_thread")]
async fn leave_for_one_environment_narrows_no_device_of_another() {
    let home = TestHome::new().await;
    home.enroll("lamp", "home").await;
    let permit = operator_in("lab", Act::DeviceChange);
    let refused = home.devices.narrow(&permit, &id("lamp"), &kept(&[])).await;
    assert_eq!(refused.err().unwrap().0.code, "not_found");
    assert!(may_publish(&home, "devices/lamp/state"));
}
