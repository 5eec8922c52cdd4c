//! The first signs that something is wrong with a device: two machines with one key, and more than it may take.

use serde_json::Value;

use crate::guest::{add_profile, claim_for, done, enroll, enroll_with, home, recorded};
use crate::mqtt::Hello;
use crate::rig::{Rig, json, until};
use crate::wire::{Refused, VERSIONS};

/// The findings of a kind.
async fn found(rig: &Rig, kind: &str) -> Vec<Value> {
    let all = json(&rig.cli(&["check", "--json"]).await);
    let all = all.as_array().unwrap().iter();
    all.filter(|finding| finding["kind"] == kind)
        .cloned()
        .collect()
}

async fn found_about(rig: &Rig, kind: &str, device: &str) -> Value {
    let object = format!("device:{device}");
    until(&format!("{kind} about {device}"), async || {
        let all = found(rig, kind).await;
        all.into_iter()
            .find(|finding| finding["object"] == object.as_str())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_machines_with_one_key_are_found_and_one_that_moves_is_not() {
    let (mut rig, door) = home().await;
    let lamp = enroll(&rig, &door, "lamp").await;
    let moved = enroll(&rig, &door, "moved").await;
    let elsewhere = door.seen_from([127, 0, 0, 9].into());
    let mut held = Vec::new();
    for from in [&door, &elsewhere, &elsewhere] {
        held.push(from.device(&moved).await.unwrap());
    }
    let updated = door.config(Some(&moved), &VERSIONS[..1]);
    let hello = Hello::v5("moved");
    for _ in 0..2 {
        let client = elsewhere.connect_with(updated.clone(), &hello).await;
        held.push(client.unwrap());
    }
    for from in [&door, &elsewhere, &door, &elsewhere] {
        held.push(from.device(&lamp).await.unwrap());
    }
    let finding = found_about(&rig, "shared-identity", "lamp").await;
    let what = finding["what"].as_str().unwrap();
    assert!(what.contains("127.0.0.9"), "{what}");
    assert!(!what.contains("TLS programs"), "{what}");
    let remedy = finding["remedy"].as_str().unwrap();
    assert!(
        remedy.contains("`hearthkey device suspend lamp`"),
        "{remedy}"
    );
    assert_eq!(finding["severity"], "high");
    assert_eq!(finding["remedy_action"]["kind"], "suspend");
    assert_eq!(finding["remedy_action"]["object"], "device:lamp");
    recorded(
        &rig,
        "session.take_over",
        "done",
        "device:lamp",
        "two machines",
    )
    .await;
    assert_eq!(
        found(&rig, "shared-identity").await.len(),
        1,
        "and no other"
    );
    drop(held);
    rig.restart().await;
    let again = found_about(&rig, "shared-identity", "lamp").await;
    assert_eq!(again["what"], finding["what"], "it outlives a restart");
    done(&rig, &["device", "suspend", "lamp"]).await;
    assert_eq!(found(&rig, "shared-identity").await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_programs_behind_one_address_are_told_apart_by_their_tls() {
    let (rig, door) = home().await;
    let lamp = enroll(&rig, &door, "lamp").await;
    let programs = VERSIONS.map(|version| door.config(Some(&lamp), &[version]));
    let mut held = Vec::new();
    let hello = Hello::v5("lamp");
    for config in programs.iter().chain(&programs) {
        let client = door.connect_with(config.clone(), &hello).await;
        held.push(client.unwrap());
    }
    let finding = found_about(&rig, "shared-identity", "lamp").await;
    let what = finding["what"].as_str().unwrap();
    for part in ["different TLS programs", "t12i", "t13i"] {
        assert!(what.contains(part), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_never_meet_are_found_by_address_and_program_and_one_that_moves_is_not() {
    let (rig, door) = home().await;
    let lamp = enroll(&rig, &door, "lamp").await;
    let moved = enroll(&rig, &door, "moved").await;
    let elsewhere = door.seen_from([127, 0, 0, 9].into());
    for _ in 0..2 {
        for (from, version) in [(&door, VERSIONS[0]), (&elsewhere, VERSIONS[1])] {
            let config = door.config(Some(&lamp), &[version]);
            let client = from.connect_with(config, &Hello::v5("lamp")).await;
            client.unwrap().leave().await;
            // The same program wherever it is.
            from.device(&moved).await.unwrap().leave().await;
        }
    }
    let finding = found_about(&rig, "shared-identity", "lamp").await;
    let what = finding["what"].as_str().unwrap();
    for part in ["may be used by two machines", "127.0.0.9", "t12i", "t13i"] {
        assert!(what.contains(part), "{what}");
    }
    assert_eq!(finding["severity"], "medium");
    let about = "device:lamp";
    recorded(&rig, "session.elsewhere", "done", about, "two machines").await;
    assert_eq!(found(&rig, "shared-identity").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_at_a_bound_is_found_with_the_value_to_raise() {
    let (rig, door) = home().await;
    let rest = "certificate_lifetime_days = 30\ngrace_days = 30\nkeys = [\"p256\"]\n\
                [[publish]]\ntopic = \"devices/{device}/#\"\nreason = \"its own\"\n[room]\n";
    add_profile(&rig, "small", &format!("{rest}packet_max_bytes = 1024\n")).await;
    let claim = claim_for(&rig, "sensor", "small", "1h").await;
    let sensor = enroll_with(&door, &claim).await;
    let mut client = door.device(&sensor).await.unwrap();
    let too_long = client.publish("devices/sensor/x", &[b'x'; 2_000]).await;
    assert_eq!(too_long, Err(Refused::Disconnect(0x95)));
    let finding = found_about(&rig, "bound-reached", "sensor").await;
    let what = finding["what"].as_str().unwrap();
    assert!(
        what.starts_with("sensor: sent a packet that is too long"),
        "{what}"
    );
    let remedy = finding["remedy"].as_str().unwrap();
    assert!(remedy.contains("[room] packet_max_bytes"), "{remedy}");
    let about = "device:sensor";
    recorded(
        &rig,
        "session.bound",
        "refused",
        about,
        "a packet that is too long",
    )
    .await;

    let _here = door.device(&sensor).await.unwrap();
    let elsewhere = door.seen_from([127, 0, 0, 9].into());
    let other = Hello::v5("another");
    let refused = elsewhere.connect(Some(&sensor), &other).await.err();
    assert!(
        matches!(refused, Some(Refused::Connack(0x97, _))),
        "{refused:?}"
    );
    until("both bounds", async || {
        let all = found(&rig, "bound-reached").await;
        let sessions = |one: &Value| {
            one["remedy"]
                .as_str()
                .is_some_and(|text| text.contains("sessions_max"))
        };
        (all.len() == 2 && all.iter().any(sessions)).then_some(())
    })
    .await;

    let file = rig.work.path().join("large.toml");
    let large =
        format!("name = \"large\"\ndescription = \"d\"\n{rest}packet_max_bytes = 268435456\n");
    std::fs::write(&file, large).unwrap();
    let refused = rig.cli(&["profile", "add", file.to_str().unwrap()]).await;
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success());
    assert!(
        why.contains("packet_max_bytes is 268435456: it must be 1 KiB to 32 MiB, half of what a home takes in at a time"),
        "{why}"
    );
}
