//! A certificate past its life: it renews while grace lasts, does nothing else, and is refused
//! afterwards.
//!
//! The gateway runs under libfaketime with a clock that was set while it was off, as after a long
//! power cut; a person confirms it.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::guest::{enroll, new_key, recorded, renew_topic, request};
use crate::mqtt::Hello;
use crate::rig::{Rig, agent, json, libfaketime, until};
use crate::wire::{Door, EXPIRED, Identity, REVOKED, within};

/// Switches the gateway off and on again so many days later.
pub async fn days_later(rig: &mut Rig, library: &std::path::Path, days: u32) {
    rig.stop().await;
    rig.env = vec![
        ("LD_PRELOAD".into(), library.display().to_string()),
        ("FAKETIME".into(), format!("+{days}d")),
        ("DONT_FAKE_MONOTONIC".into(), "1".into()),
    ];
    rig.start().await;
    // A clock that has leapt is believed when a person says so.
    let _ = rig.cli(&["clock", "confirm", "--json"]).await;
    until("a trusted clock", async || {
        rig.status().await.clock.trusted.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_renews_within_grace_and_is_refused_after_it() {
    let Some(library) = libfaketime() else {
        println!("skipped: libfaketime is missing (Debian package faketime)");
        return;
    };
    let mut rig = Rig::new().await;
    rig.start().await;
    let door = Door::of(&rig).await;
    let lamp = enroll(&rig, &door, "lamp").await;
    let lost = enroll(&rig, &door, "lost").await;

    // 30 days of life, 30 of grace.
    days_later(&mut rig, &library, 35).await;
    // The client's own clock is right, so the gateway's new certificate is of its future.
    let door = door.careless();
    let mut session = door.device(&lamp).await.unwrap();
    for filter in ["devices/lamp/#", "hearthkey/v1/trust/#", "#"] {
        assert_eq!(session.subscribe(filter).await, Ok(0x87), "{filter}");
    }
    for topic in ["devices/lamp/state", "hearthkey/v1/devices/lamp/trust/ack"] {
        assert_eq!(session.publish(topic, b"on").await, Ok(0x87), "{topic}");
    }
    recorded(
        &rig,
        "topic.publish",
        "refused",
        "device:lamp",
        "devices/lamp",
    )
    .await;
    // A product whose will cannot be switched off renews, too: nothing is said for it.
    let will = Hello {
        will: Some("devices/lamp/online"),
        ..Hello::v311("lamp")
    };
    let mut session = door.connect(Some(&lamp), &will).await.unwrap();
    let notice = "hearthkey/v1/devices/lamp/notice";
    assert_eq!(session.subscribe(notice).await, Ok(1));
    let told = session.message().await.unwrap().payload;
    let told: serde_json::Value = serde_json::from_slice(&told).unwrap();
    assert_eq!(told["reason"], "scheduled");
    let key = new_key();
    let csr = request(&key, "lamp");
    let renewed = session.ask(&renew_topic("lamp"), csr.as_bytes()).await;
    let renewed = renewed.unwrap().accepted();
    // As if that answer had been lost.
    let mut session = door.device(&lamp).await.unwrap();
    let again = session.ask(&renew_topic("lamp"), csr.as_bytes()).await;
    assert_eq!(again.unwrap().accepted(), renewed);
    let renewed = Identity::from_pem("lamp", &renewed, &key.serialize_pem());
    let mut session = door.device(&renewed).await.unwrap();
    assert_eq!(session.publish("devices/lamp/state", b"on").await, Ok(0));
    until("the old certificate's end", async || {
        (door.device(&lamp).await.err()? == REVOKED).then_some(())
    })
    .await;

    days_later(&mut rig, &library, 62).await;
    assert_eq!(door.device(&lost).await.unwrap_err(), EXPIRED);
    assert!(door.device(&renewed).await.is_ok());
}

/// The agent, by the clock of the gateway's machine.
fn agent_of(rig: &Rig, verb: &str, device: &str) -> Command {
    let mut agent = agent();
    agent.args([verb, "--json", "--dir"]);
    agent.arg(rig.device_dir(device)).envs(rig.env.clone());
    agent
}

/// What a running agent tells until these events have come, in this order.
async fn told(rig: &Rig, device: &str, names: &[&str]) -> Vec<Value> {
    let mut agent = agent_of(rig, "run", device);
    let mut running = agent.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(running.stdout.take().unwrap()).lines();
    let (mut events, mut due) = (Vec::<Value>::new(), names.iter().peekable());
    while let Some(name) = due.peek() {
        let line = within("an event", lines.next_line()).await;
        let event: Value = serde_json::from_str(&line.unwrap().unwrap()).unwrap();
        if event["event"] == **name {
            due.next();
        }
        events.push(event);
    }
    running.kill().await.unwrap();
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_renews_within_grace_and_past_it_waits_and_says_what_a_person_does() {
    let Some(library) = libfaketime() else {
        println!("skipped: libfaketime is missing (Debian package faketime)");
        return;
    };
    let mut rig = Rig::new().await;
    rig.start().await;
    for device in ["lamp", "cam", "lost"] {
        drop(rig.enroll(device).await);
    }
    days_later(&mut rig, &library, 35).await;
    let events = told(&rig, "lamp", &["renewed", "connected"]).await;
    let newest = rig.device("lamp").await.certificates[0].serial.clone();
    assert_eq!(events.last().unwrap()["serial"], newest);
    let denied = |event: &Value| event["event"] == "subscription_denied";
    assert!(!events.iter().any(denied), "{events:?}");
    let output = agent_of(&rig, "renew", "cam").output().await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(json(&output)["outcome"], "renewed");

    days_later(&mut rig, &library, 62).await;
    let events = told(&rig, "lost", &["disconnected"]).await;
    let [refused] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(refused["reason"]["alert"], "certificate_expired");
    let pause_ms = refused["retry_in_ms"].as_u64().unwrap();
    assert!((600_000..=1_200_000).contains(&pause_ms), "{pause_ms}");
    let output = agent_of(&rig, "renew", "lost").output().await.unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    for remedy in [&refused["remedy"], &json(&output)["error"]["remedy"]] {
        let remedy = remedy.as_str().unwrap();
        let dir = rig.device_dir("lost").display().to_string();
        for part in [
            "hearthkey device claim lost",
            "at the gateway",
            "on this machine",
            &dir,
            "--replace",
        ] {
            assert!(remedy.contains(part), "{part}: {remedy}");
        }
    }
}
