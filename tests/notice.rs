//! The notice is that of the certificate in use and of what is asked now, at the first read after every connect: whatever
//! happened in between, to the gateway or to the session.

use serde_json::Value;

use crate::guest::{enroll, home, new_key, renew_topic, request};
use crate::mqtt::{Client, Hello};
use crate::rig::Rig;
use crate::wire::{Door, Identity};

const NOTICE: &str = "hearthkey/v1/devices/lamp/notice";

/// The first message that a session is sent: reason, and start of the window.
async fn first(client: &mut Client) -> (String, String) {
    let message = client.message().await.unwrap();
    assert_eq!(message.topic, NOTICE);
    let notice: Value = serde_json::from_slice(&message.payload).unwrap();
    let text = |name: &str| notice[name].as_str().unwrap().to_owned();
    (text("reason"), text("renew_after"))
}

/// Takes up the session that lasts.
async fn back(door: &Door, lamp: &Identity) -> Client {
    let hello = Hello {
        lasting: true,
        ..Hello::v5("lamp")
    };
    door.connect(Some(lamp), &hello).await.unwrap()
}

/// Connects without a session, and subscribes at once.
async fn fresh(door: &Door, lamp: &Identity) -> (String, String) {
    let mut client = door.connect(Some(lamp), &Hello::v5("fresh")).await.unwrap();
    assert_eq!(client.subscribe(NOTICE).await, Ok(1));
    let told = first(&mut client).await;
    client.leave().await;
    told
}

/// Renews beside the session, and is told the notice there first.
async fn renew_beside(door: &Door, lamp: &Identity) -> Identity {
    let hello = Hello::v5("hearthkey-renew");
    let mut beside = door.connect(Some(lamp), &hello).await.unwrap();
    assert_eq!(beside.subscribe(NOTICE).await, Ok(1));
    assert_eq!(first(&mut beside).await.0, "operator");
    let (key, topic) = (new_key(), renew_topic("lamp"));
    let csr = request(&key, "lamp");
    let answer = beside.ask(&topic, csr.as_bytes()).await.unwrap();
    beside.leave().await;
    Identity::from_pem("lamp", &answer.accepted(), &key.serialize_pem())
}

/// What the newest certificate's notice says, if nobody asks for more.
async fn scheduled(rig: &Rig) -> (String, String) {
    let newest = rig.device("lamp").await.certificates[0].clone();
    ("scheduled".into(), newest.renew_after)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_lasts_is_told_the_present_notice_first_whatever_was_said_while_it_was_away()
{
    let (mut rig, door) = home().await;
    let mut lamp = enroll(&rig, &door, "lamp").await;
    let mut client = back(&door, &lamp).await;
    assert_eq!(client.subscribe("hearthkey/v1/devices/lamp/#").await, Ok(1));
    assert_eq!(first(&mut client).await, scheduled(&rig).await);
    client.leave().await;
    for stops_between in [false, true] {
        // What the operator asked for is waiting for the session when it is answered elsewhere.
        rig.act("lamp", "rotate").await.unwrap();
        lamp = renew_beside(&door, &lamp).await;
        if stops_between {
            rig.restart().await;
        }
        for _ in 0..2 {
            let mut client = back(&door, &lamp).await;
            assert!(client.session_present);
            assert_eq!(first(&mut client).await, scheduled(&rig).await);
            client.leave().await;
        }
        rig.act("lamp", "rotate").await.unwrap();
        if stops_between {
            rig.kill9().await;
            rig.start().await;
        }
        let mut client = back(&door, &lamp).await;
        assert!(client.session_present);
        assert_eq!(first(&mut client).await.0, "operator");
        client.leave().await;
        lamp = renew_beside(&door, &lamp).await;
        let mut client = back(&door, &lamp).await;
        assert_eq!(first(&mut client).await, scheduled(&rig).await);
        client.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_subscription_with_a_new_certificate_hears_of_that_one_also_from_a_gateway_that_has_just_started()
 {
    let (mut rig, door) = home().await;
    let mut lamp = enroll(&rig, &door, "lamp").await;
    for _ in 0..3 {
        rig.act("lamp", "rotate").await.unwrap();
        let new = renew_beside(&door, &lamp).await;
        // Its answer may have been lost: the old one is still to be renewed.
        rig.restart().await;
        assert_eq!(fresh(&door, &lamp).await.0, "operator");
        rig.restart().await;
        assert_eq!(fresh(&door, &new).await, scheduled(&rig).await);
        lamp = new;
    }
}
