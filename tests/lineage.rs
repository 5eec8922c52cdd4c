//! Renewal on the wire: two slots, lost answers, copied keys, and certificates that are over.

use rcgen::KeyPair;

use crate::guest::{
    ask, certificates, claim, done, home_with_a_lamp, new_key, recorded, renew_topic, request,
};
use crate::mqtt::Answer;
use crate::rig::until;
use crate::wire::{Door, Identity, REVOKED, SUSPENDED};

/// Renews over a session of its own.
async fn renew(door: &Door, old: &Identity, key: &KeyPair) -> Answer {
    let mut session = door.device(old).await.unwrap();
    let csr = request(key, "x");
    session
        .ask(&renew_topic(&old.device), csr.as_bytes())
        .await
        .unwrap()
}

fn identity(answer: Answer, key: &KeyPair) -> Identity {
    Identity::from_pem("lamp", &answer.accepted(), &key.serialize_pem())
}

async fn is_refused(door: &Door, who: &Identity, how: &crate::wire::Refused) {
    until("the refusal", async || {
        let refused = door.device(who).await.err()?;
        (refused == *how).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_is_refused_early_answered_again_when_lost_and_ends_the_old_certificate() {
    let (mut rig, door, old) = home_with_a_lamp().await;
    let key = new_key();
    let Answer::Rejected(early) = renew(&door, &old, &key).await else {
        panic!("renewed before its time");
    };
    assert_eq!(early["code"], "renewal_too_early");
    let wait_s = early["retry_after_s"].as_i64().unwrap();
    assert!((86_400 * 19..86_400 * 26).contains(&wait_s), "{wait_s}");
    recorded(
        &rig,
        "device.renew",
        "refused",
        "device:lamp",
        "renewal_too_early",
    )
    .await;

    done(&rig, &["device", "rotate", "lamp"]).await;
    let mut listener = door.device(&old).await.unwrap();
    let topic = "hearthkey/v1/devices/lamp/notice";
    assert_eq!(listener.subscribe(topic).await, Ok(1));
    loop {
        let notice = listener.message().await.unwrap().payload;
        let notice: serde_json::Value = serde_json::from_slice(&notice).unwrap();
        if notice["reason"] == "operator" {
            break;
        }
    }

    let first = renew(&door, &old, &key).await.accepted();
    rig.kill9().await;
    rig.start().await;
    assert_eq!(
        renew(&door, &old, &key).await.accepted(),
        first,
        "the same again"
    );
    assert_eq!(certificates(&rig, "lamp").await, 2);
    let new = Identity::from_pem("lamp", &first, &key.serialize_pem());
    let mut on_old = door.device(&old).await.unwrap();
    assert_eq!(on_old.publish("devices/lamp/state", b"on").await, Ok(0));
    let mut on_new = door.device(&new).await.unwrap();
    assert_eq!(on_new.publish("devices/lamp/state", b"on").await, Ok(0));
    on_old.end().await;
    is_refused(&door, &old, &REVOKED).await;
    rig.kill9().await;
    rig.start().await;
    assert_eq!(door.device(&old).await.unwrap_err(), REVOKED);
    assert!(door.device(&new).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_with_a_certificate_that_is_over_renews_nothing() {
    for (verb, alert) in [
        ("suspend", SUSPENDED),
        ("retire", REVOKED),
        ("revoke", REVOKED),
    ] {
        let (rig, door, lamp) = home_with_a_lamp().await;
        done(&rig, &["device", "rotate", "lamp"]).await;
        let mut session = door.device(&lamp).await.unwrap();
        let topic = renew_topic("lamp");
        session.subscribe(&format!("{topic}/+")).await.unwrap();
        let csr = request(&new_key(), "lamp");
        // On its way when the verb is said: either before or after, never in between.
        let publication = session.publication(&topic, csr.as_bytes(), false);
        let mut args = vec!["device", verb, "lamp"];
        if verb == "revoke" {
            args.extend(["--reason", "key-compromise"]);
        }
        let (_, ()) = tokio::join!(done(&rig, &args), session.send(&publication));
        session.send(&publication).await;
        while session.read().await.is_ok() {}
        assert_eq!(door.device(&lamp).await.unwrap_err(), alert, "{verb}");
        let states = rig.device("lamp").await.certificates;
        let live = |state: &str| state == "active" || state == "issued";
        let live = states.iter().filter(|c| live(&c.state)).count();
        let expected = if verb == "suspend" { states.len() } else { 0 };
        assert_eq!(live, expected, "{verb}: {states:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_keys_renewing_from_one_certificate_at_once_shut_both_out() {
    let (rig, door, lamp) = home_with_a_lamp().await;
    done(&rig, &["device", "rotate", "lamp"]).await;
    let owner = new_key();
    let next = identity(renew(&door, &lamp, &owner).await, &owner);
    let mut thief = door.device(&lamp).await.unwrap();
    let csr = request(&new_key(), "lamp");
    // Told, or cut off before it could be told.
    if let Ok(answer) = thief.ask(&renew_topic("lamp"), csr.as_bytes()).await {
        assert_eq!(answer.code(), "device_suspended");
    }
    recorded(
        &rig,
        "device.renew",
        "alert",
        "device:lamp",
        "clone_detected",
    )
    .await;
    assert_eq!(rig.device("lamp").await.state, "suspended");
    thief.end().await;
    for who in [&lamp, &next] {
        assert_eq!(door.device(who).await.unwrap_err(), SUSPENDED);
    }
    assert_eq!(certificates(&rig, "lamp").await, 2, "the thief has none");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_taken_back_never_gets_a_certificate_again() {
    let (mut rig, door, _) = home_with_a_lamp().await;
    let key = new_key();
    let first = claim(&rig, "hall").await;
    let hall = ask(&door, &first, request(&key, "hall").as_bytes()).await;
    let hall = Identity::from_pem("hall", &hall.accepted(), &key.serialize_pem());
    // That the key has leaked is learned when the device has been revoked already.
    for reason in ["unspecified", "key-compromise"] {
        done(&rig, &["device", "revoke", "hall", "--reason", reason]).await;
    }
    rig.restart().await;
    let door = Door::of(&rig).await;
    let again = claim(&rig, "hall").await;
    let answer = ask(&door, &again, request(&key, "hall").as_bytes()).await;
    assert_eq!(answer.code(), "csr_key_unsupported", "the same device");
    let other = claim(&rig, "attic").await;
    let answer = ask(&door, &other, request(&key, "attic").as_bytes()).await;
    assert_eq!(answer.code(), "csr_key_unsupported", "another device");
    assert_eq!(door.device(&hall).await.unwrap_err(), REVOKED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_with_a_key_of_an_earlier_generation_is_refused() {
    let (rig, door, _) = home_with_a_lamp().await;
    let (first, second) = (new_key(), new_key());
    let opened = claim(&rig, "hall").await;
    let hall = ask(&door, &opened, request(&first, "hall").as_bytes()).await;
    let hall = Identity::from_pem("hall", &hall.accepted(), &first.serialize_pem());
    done(&rig, &["device", "rotate", "hall"]).await;
    let same = renew(&door, &hall, &first).await;
    assert_eq!(same.code(), "csr_key_unsupported");
    let next = renew(&door, &hall, &second).await.accepted();
    let next = Identity::from_pem("hall", &next, &second.serialize_pem());
    door.device(&next).await.unwrap();
    // A request is asked for after the certificate was issued, in whole seconds.
    until("the rotation to be asked for", async || {
        done(&rig, &["device", "rotate", "hall"]).await;
        let answer = renew(&door, &next, &first).await;
        (answer.code() != "renewal_too_early").then_some(answer.code().to_owned())
    })
    .await;
    let answer = renew(&door, &next, &first).await;
    assert_eq!(answer.code(), "csr_key_unsupported");
}
