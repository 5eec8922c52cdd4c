//! What a client that is in may not do, in the words of both versions of MQTT, and that nothing
//! gets through.

use crate::guest::{
    claim, enroll, enroll_topic, home, log_in, new_key, recorded, renew_topic, request,
};
use crate::mqtt::{Client, Hello};
use crate::rig::Rig;
use crate::wire::{Door, Identity, Refused};

async fn two_devices() -> (Rig, Door, Identity, Identity) {
    let (rig, door) = home().await;
    let lamp = enroll(&rig, &door, "lamp").await;
    let hall = enroll(&rig, &door, "hall").await;
    (rig, door, lamp, hall)
}

#[tokio::test(flavor = "multi_thread")]
async fn any_client_id_is_the_devices_own_and_takes_nothing_of_another() {
    let (_rig, door, lamp, hall) = two_devices().await;
    let mut own = door.device(&hall).await.unwrap();
    for id in ["hall", "", "LAMP", "lamp.1", "lamp ", "lamp/", "#"] {
        for v5 in [true, false] {
            let hello = Hello {
                v5,
                ..Hello::v5(id)
            };
            let mut client = door.connect(Some(&lamp), &hello).await.unwrap();
            let own = client.publish("devices/lamp/state", b"on").await;
            assert_eq!(own, Ok(0), "{id:?}");
            if v5 {
                let other = client.publish("devices/hall/state", b"on").await;
                assert_ne!(other, Ok(0), "{id:?}");
            }
        }
    }
    let still_there = own.publish("devices/hall/state", b"on").await;
    assert_eq!(still_there, Ok(0), "not taken over");
    // A login beside the certificate changes nothing.
    let login = Hello {
        login: Some(("hall", "x")),
        ..Hello::v5("lamp")
    };
    assert!(door.connect(Some(&lamp), &login).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_will_that_the_profile_does_not_allow_refuses_the_connection() {
    let (rig, door, lamp, _) = two_devices().await;
    let renewal = renew_topic("lamp");
    for topic in [
        "devices/hall/state",
        "$SYS/broker",
        "hearthkey/v1/trust/bundle",
        "hearthkey/v1/devices/lamp/notice",
        &renewal,
        "devices/lamp/#",
    ] {
        if topic.contains('#') {
            // No topic name at all: a broken packet.
            continue;
        }
        let v5 = Hello {
            will: Some(topic),
            ..Hello::v5("lamp")
        };
        let v311 = Hello {
            v5: false,
            ..v5.clone()
        };
        let refused = door.connect(Some(&lamp), &v5).await.unwrap_err();
        assert!(
            matches!(refused, Refused::Connack(0x87, _)),
            "{topic}: {refused:?}"
        );
        let refused = door.connect(Some(&lamp), &v311).await.unwrap_err();
        assert_eq!(refused, Refused::Connack(5, String::new()), "{topic}");
    }
    recorded(
        &rig,
        "door.enter",
        "refused",
        "device:lamp",
        "devices/hall/state",
    )
    .await;
    let allowed = Hello {
        will: Some("devices/lamp/online"),
        ..Hello::v5("lamp")
    };
    assert!(door.connect(Some(&lamp), &allowed).await.is_ok());
}

const BEYOND: [&str; 17] = [
    "#",
    "+",
    "+/#",
    "/#",
    "devices/#",
    "devices/+",
    "devices/+/state",
    "devices/hall/#",
    "+/lamp/#",
    "$SYS/#",
    "$share/g/#",
    "$share/g/devices/hall/#",
    "$share/devices/lamp/devices/hall/state",
    "hearthkey/#",
    "hearthkey/v1/devices/+/notice",
    "hearthkey/v1/devices/hall/#",
    "hearthkey/v1/claims/#",
];

async fn subscribes_to_nothing(mut client: Client, refusal: u8) {
    for filter in BEYOND {
        let code = client.subscribe(filter).await.unwrap();
        assert_eq!(code, refusal, "{filter}");
    }
    client.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_beyond_the_profile_is_refused_in_both_versions_and_hears_nothing() {
    let (rig, door, lamp, hall) = two_devices().await;
    let lamp_says = Hello::v311("lamp");
    subscribes_to_nothing(door.connect(Some(&lamp), &lamp_says).await.unwrap(), 0x80).await;
    subscribes_to_nothing(door.device(&lamp).await.unwrap(), 0x87).await;
    recorded(
        &rig,
        "topic.subscribe",
        "refused",
        "device:lamp",
        "devices/hall/#",
    )
    .await;

    let mut spy = door.device(&lamp).await.unwrap();
    for filter in BEYOND {
        spy.subscribe(filter).await.unwrap();
    }
    assert_eq!(spy.subscribe("devices/lamp/#").await, Ok(1));
    let mut victim = door.device(&hall).await.unwrap();
    assert_eq!(victim.retain("devices/hall/state", b"secret").await, Ok(0));
    assert_eq!(spy.publish("devices/lamp/end", b"").await, Ok(0));
    let heard = spy.message().await.unwrap();
    assert_eq!(heard.topic, "devices/lamp/end", "{heard:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_published_reaches_nobody_and_is_not_kept() {
    let (rig, door, lamp, hall) = two_devices().await;
    let mut victim = door.device(&hall).await.unwrap();
    for own in [
        "devices/hall/#",
        "hearthkey/v1/devices/hall/#",
        "hearthkey/v1/trust/#",
    ] {
        assert_eq!(victim.subscribe(own).await, Ok(1), "{own}");
    }
    let renewal = renew_topic("hall");
    let forbidden = [
        "devices/hall/state",
        "devices/lamp",
        "devices",
        "$SYS/broker/uptime",
        "$share/g/devices/lamp/x",
        "hearthkey/v1/trust/bundle",
        "hearthkey/v1/trust/crl/home",
        "hearthkey/v1/devices/hall/notice",
        "hearthkey/v1/devices/lamp/notice",
        "hearthkey/v1/devices/lamp/renew/accepted",
        &renewal,
    ];
    let mut attacker = door.device(&lamp).await.unwrap();
    for topic in forbidden.iter().filter(|topic| **topic != "devices/lamp") {
        assert_eq!(attacker.retain(topic, b"forged").await, Ok(0x87), "{topic}");
    }
    attacker.leave().await;
    let old = Hello::v311("lamp");
    let mut attacker = door.connect(Some(&lamp), &old).await.unwrap();
    for topic in &forbidden {
        // MQTT 3.1.1 has no word for it: acknowledged and discarded, or cut off.
        if attacker.retain(topic, b"forged").await.is_err() {
            attacker = door.connect(Some(&lamp), &old).await.unwrap();
        }
    }
    recorded(
        &rig,
        "topic.publish",
        "refused",
        "device:lamp",
        "devices/hall/state",
    )
    .await;
    assert_eq!(victim.publish("devices/hall/end", b"").await, Ok(0));
    let mut late = None;
    loop {
        let heard = match &mut late {
            None => victim.message().await.unwrap(),
            Some(late) => Client::message(late).await.unwrap(),
        };
        assert_ne!(heard.payload, b"forged", "{heard:?}");
        if heard.topic != "devices/hall/end" {
            continue;
        }
        if late.is_some() {
            break;
        }
        // A later subscriber is sent what was kept.
        let mut again = door.device(&hall).await.unwrap();
        for own in ["devices/hall/#", "hearthkey/v1/trust/#"] {
            assert_eq!(again.subscribe(own).await, Ok(1));
        }
        assert_eq!(again.publish("devices/hall/end", b"").await, Ok(0));
        late = Some(again);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_may_speak_of_its_own_enrollment_and_of_nothing_else() {
    let (rig, door, _, hall) = two_devices().await;
    let mut victim = door.device(&hall).await.unwrap();
    assert_eq!(victim.subscribe("devices/hall/#").await, Ok(1));
    let mine = claim(&rig, "mine").await;
    let theirs = claim(&rig, "theirs").await;
    let their_topic = enroll_topic(&theirs.claim);
    let mut guest = log_in(&door, &mine).await.unwrap();
    let their_answers = format!("{their_topic}/+");
    let filters = ["#", "+", "$SYS/#", "$share/g/#", "devices/hall/#"];
    let more = ["hearthkey/v1/trust/#", "hearthkey/v1/claims/+/enroll/+"];
    for filter in filters.iter().chain(&more).chain([&their_answers.as_str()]) {
        assert_eq!(guest.subscribe(filter).await, Ok(0x87), "{filter}");
    }
    let csr = request(&new_key(), "theirs");
    for topic in [
        "devices/hall/state",
        "hearthkey/v1/devices/hall/renew",
        "hearthkey/v1/trust/bundle",
        &their_topic,
    ] {
        assert_eq!(
            guest.publish(topic, csr.as_bytes()).await,
            Ok(0x87),
            "{topic}"
        );
    }
    let object = format!("claim:{}", mine.claim);
    recorded(&rig, "topic.publish", "refused", &object, &theirs.claim).await;
    recorded(&rig, "topic.subscribe", "refused", &object, "devices/hall").await;
    assert!(rig.device("theirs").await.certificate.is_none());
    assert_eq!(victim.publish("devices/hall/end", b"").await, Ok(0));
    assert_eq!(victim.message().await.unwrap().topic, "devices/hall/end");
    // It still may do what it came for.
    let answer = guest.ask(&enroll_topic(&mine.claim), csr.as_bytes()).await;
    assert_eq!(answer.unwrap().code(), "accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_logs_in_under_its_own_name_alone_and_without_a_will() {
    let (rig, door) = home().await;
    let mine = claim(&rig, "mine").await;
    let (id, secret) = (mine.claim.as_str(), mine.secret.as_str());
    for other in ["mine", "", "c-0000000000000000", "lamp"] {
        let hello = Hello {
            login: Some((id, secret)),
            ..Hello::v5(other)
        };
        let refused = door.connect(None, &hello).await.unwrap_err();
        assert!(
            matches!(refused, Refused::Connack(0x85, _)),
            "{other:?}: {refused:?}"
        );
    }
    let own = enroll_topic(id);
    for topic in ["devices/mine/x", &own] {
        let hello = Hello {
            will: Some(topic),
            ..Hello::claim(id, secret)
        };
        let refused = door.connect(None, &hello).await.unwrap_err();
        assert!(
            matches!(refused, Refused::Connack(0x87, _)),
            "{topic}: {refused:?}"
        );
    }
    let appended = format!("{id}?SDK=Python&Version=1.4");
    let hello = Hello {
        login: Some((&appended, secret)),
        ..Hello::v5(id)
    };
    assert!(
        door.connect(None, &hello).await.is_ok(),
        "a name is cut at its ?"
    );
}
