//! Devices that may do more than they do, and keys that are weaker than the home's: found, and put right by the act
//! that the finding names.

use hearthkey_api::{NarrowRequest, RightsView};
use rcgen::{KeyPair, PKCS_RSA_SHA256};
use serde_json::Value;

use crate::clock::{confirm, set, settable};
use crate::guest::{add_profile, ask, claim_for, enroll, home, new_key, request};
use crate::rig::{Rig, json, until};
use crate::wire::{Door, Identity};

/// A profile whose certificates outlive what a story takes.
const LASTING: &str = "certificate_lifetime_days = 398\ngrace_days = 30\n";
const RIGHTS: &str = "[[publish]]\ntopic = \"devices/{device}/#\"\nreason = \"r\"\n\
    [[subscribe]]\ntopic = \"devices/{device}/#\"\nreason = \"r\"\n";

/// The findings of a kind.
async fn found(rig: &Rig, kind: &str) -> Vec<Value> {
    let all = json(&rig.cli(&["check", "--json"]).await);
    let of_kind = all.as_array().unwrap().iter().filter(|f| f["kind"] == kind);
    of_kind.cloned().collect()
}

async fn enroll_as(rig: &Rig, door: &Door, device: &str, profile: &str, key: &KeyPair) -> Identity {
    let claim = claim_for(rig, device, profile, "15m").await;
    let answer = ask(door, &claim, request(key, device).as_bytes()).await;
    Identity::from_pem(device, &answer.accepted(), &key.serialize_pem())
}

/// Publishes, and waits until that is counted.
async fn used(rig: &Rig, door: &Door, lamp: &Identity) {
    let uses = async || -> u64 {
        let view: RightsView = rig
            .client()
            .get("/api/v1/devices/lamp/rights")
            .await
            .unwrap();
        let narrowable = view.rights.iter().filter(|right| right.narrowable);
        narrowable.map(|right| right.uses).sum()
    };
    let before = uses().await;
    let mut client = door.device(lamp).await.unwrap();
    assert_eq!(client.publish("devices/lamp/state", b"on").await, Ok(0));
    until("the use is counted", async || {
        (uses().await > before).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_was_not_used_for_a_month_is_found_and_taken_by_the_act_that_the_finding_names()
 {
    let mut rig = Rig::new().await;
    if !settable(&mut rig) {
        return;
    }
    rig.start().await;
    let door = Door::of(&rig).await;
    let keys = "keys = [\"p256\"]\n";
    add_profile(&rig, "lasting", &format!("{LASTING}{keys}{RIGHTS}")).await;
    let lamp = enroll_as(&rig, &door, "lamp", "lasting", &new_key()).await;
    used(&rig, &door, &lamp).await;
    for (days, expected) in [("+29d", 0), ("+31d", 1)] {
        rig.stop().await;
        set(&rig, days);
        rig.start().await;
        confirm(&rig).await;
        used(&rig, &Door::of(&rig).await, &lamp).await;
        let found = found(&rig, "over-privileged").await;
        assert_eq!(found.len(), expected, "{days}: {found:?}");
    }
    let finding = found(&rig, "over-privileged").await.remove(0);
    assert_eq!(
        finding["what"],
        "lamp has not used 1 of its 2 rights for 30 days: subscribe devices/lamp/#."
    );
    let action = &finding["remedy_action"];
    assert_eq!(action["kind"], "narrow");
    assert_eq!(action["object"], "device:lamp");
    let keep = serde_json::from_value(action["keep"].clone()).unwrap();
    let narrow = "/api/v1/devices/lamp/narrow";
    let left: RightsView = rig
        .client()
        .post(narrow, &NarrowRequest { keep })
        .await
        .unwrap();
    assert_eq!(left.unused, 0);
    assert_eq!(found(&rig, "over-privileged").await, [Value::Null; 0]);
    used(&rig, &Door::of(&rig).await, &lamp).await;
    // What stays away for a month is to be suspended: what it will use is unknown.
    rig.stop().await;
    set(&rig, "+62d");
    rig.start().await;
    confirm(&rig).await;
    let away = found(&rig, "over-privileged").await.remove(0);
    assert_eq!(away["remedy_action"]["kind"], "suspend", "{away}");
    rig.act("lamp", "suspend").await.unwrap();
    assert_eq!(found(&rig, "over-privileged").await, [Value::Null; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_comes_for_the_first_time_is_there_before_that_is_written_down() {
    let mut rig = Rig::new().await;
    if !settable(&mut rig) {
        return;
    }
    rig.start().await;
    let door = Door::of(&rig).await;
    let keys = "keys = [\"p256\"]\n";
    add_profile(&rig, "lasting", &format!("{LASTING}{keys}{RIGHTS}")).await;
    let lamp = enroll_as(&rig, &door, "lamp", "lasting", &new_key()).await;
    rig.stop().await;
    set(&rig, "+31d");
    rig.start().await;
    confirm(&rig).await;
    assert_eq!(found(&rig, "over-privileged").await, [Value::Null; 0]);
    let _here = Door::of(&rig).await.device(&lamp).await.unwrap();
    let found = found(&rig, "over-privileged").await;
    assert_eq!(found[0]["remedy_action"]["kind"], "narrow", "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_rsa_key_of_2048_bits_is_found_with_whose_rule_it_is_and_a_p256_key_is_not() {
    let (rig, door) = home().await;
    enroll(&rig, &door, "hall").await;
    assert_eq!(found(&rig, "weak-algorithm").await, [Value::Null; 0]);
    let keys = "keys = [\"p256\", \"rsa2048\"]\n";
    add_profile(&rig, "old", &format!("{LASTING}{keys}{RIGHTS}")).await;
    let rsa = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
    enroll_as(&rig, &door, "lamp", "old", &rsa).await;
    enroll_as(&rig, &door, "door", "old", &new_key()).await;
    let found = found(&rig, "weak-algorithm").await;
    let objects: Vec<&str> = found
        .iter()
        .map(|f| f["object"].as_str().unwrap())
        .collect();
    assert_eq!(objects, ["device:lamp", "profile:old"]);
    let what = found[0]["what"].as_str().unwrap();
    assert!(
        what.starts_with("lamp has an RSA key of 2048 bits: 112 bits"),
        "{what}"
    );
    assert!(what.contains("NIST SP 800-57"), "{what}");
    assert_eq!(found[0]["remedy_action"]["kind"], "rotate");
    assert_eq!(found[0]["remedy_action"]["object"], "device:lamp");
    assert_eq!(found[1]["remedy_action"], Value::Null);
    rig.act("lamp", "rotate").await.unwrap();
}
