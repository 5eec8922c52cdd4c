//! A device that is away: what was said to it waits, through every kind of restart.

use crate::guest::{add_profile, claim_for, done, enroll, enroll_with};
use crate::mqtt::{Hello, Message};
use crate::rig::Rig;
use crate::wire::{Door, Identity};

const HUB: &str = "certificate_lifetime_days = 30\ngrace_days = 30\nkeys = [\"p256\"]\n\
    [[publish]]\ntopic = \"devices/#\"\nreason = \"commands\"\n";

async fn home() -> (Rig, Door, Identity, Identity) {
    let mut rig = Rig::new().await;
    rig.start().await;
    let door = Door::of(&rig).await;
    let lamp = enroll(&rig, &door, "lamp").await;
    add_profile(&rig, "hub", HUB).await;
    let hub = enroll_with(&door, &claim_for(&rig, "hub", "hub", "15m").await).await;
    (rig, door, lamp, hub)
}

fn lasting() -> Hello<'static> {
    Hello {
        lasting: true,
        ..Hello::v5("lamp")
    }
}

fn said(topic: &str, payload: &[u8], retained: bool) -> Message {
    Message {
        topic: topic.into(),
        payload: payload.to_vec(),
        retained,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_queued_and_kept_for_a_device_survives_a_restart() {
    let (mut rig, door, lamp, hub) = home().await;
    let mut first = door.connect(Some(&lamp), &lasting()).await.unwrap();
    assert!(!first.session_present);
    assert_eq!(first.subscribe("devices/lamp/set").await, Ok(1));
    first.leave().await;
    let mut speaker = door.device(&hub).await.unwrap();
    for n in 0..5 {
        let payload = format!("{n}");
        assert_eq!(
            speaker
                .publish("devices/lamp/set", payload.as_bytes())
                .await,
            Ok(0)
        );
    }
    assert_eq!(speaker.retain("devices/lamp/config", b"warm").await, Ok(0));
    speaker.leave().await;
    rig.restart().await;

    let mut again = door.connect(Some(&lamp), &lasting()).await.unwrap();
    assert!(again.session_present, "the session is still there");
    for n in 0..5 {
        let expected = said("devices/lamp/set", format!("{n}").as_bytes(), false);
        assert_eq!(again.message().await.unwrap(), expected);
    }
    assert_eq!(again.subscribe("devices/lamp/config").await, Ok(1));
    assert_eq!(
        again.message().await.unwrap(),
        said("devices/lamp/config", b"warm", true)
    );
    // The subscription itself came back too.
    let mut speaker = door.device(&hub).await.unwrap();
    assert_eq!(speaker.publish("devices/lamp/set", b"now").await, Ok(0));
    assert_eq!(
        again.message().await.unwrap(),
        said("devices/lamp/set", b"now", false)
    );
    again.leave().await;
    let clean = door.device(&lamp).await.unwrap();
    assert!(!clean.session_present, "a clean start forgets");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_device_is_not_for_its_successor_after_a_revocation() {
    let (mut rig, door, lamp, hub) = home().await;
    let mut first = door.connect(Some(&lamp), &lasting()).await.unwrap();
    assert_eq!(first.subscribe("devices/lamp/#").await, Ok(1));
    first.leave().await;
    let mut speaker = door.device(&hub).await.unwrap();
    assert_eq!(speaker.publish("devices/lamp/set", b"secret").await, Ok(0));
    done(
        &rig,
        &["device", "revoke", "lamp", "--reason", "key-compromise"],
    )
    .await;
    rig.restart().await;
    let new = enroll(&rig, &door, "lamp").await;
    let mut again = door.connect(Some(&new), &lasting()).await.unwrap();
    assert!(!again.session_present, "a session of the revoked device");
    assert_eq!(again.subscribe("devices/lamp/#").await, Ok(1));
    assert_eq!(again.publish("devices/lamp/end", b"").await, Ok(0));
    assert_eq!(
        again.message().await.unwrap(),
        said("devices/lamp/end", b"", false)
    );
}
