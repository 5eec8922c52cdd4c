//! A home gets new keys: everything opens as before, nothing by the old ones, and a crash leaves one home or the other.

use std::fs;
use std::time::Duration;

use tokio::time::sleep;

use crate::guest::{enroll, home};
use crate::rig::{Rig, hearthkey, json};
use crate::soak::rounds;
use crate::vault::added;

fn rekey(rig: &Rig) -> tokio::process::Command {
    let mut command = hearthkey();
    command.arg("--data-dir").arg(&rig.data_dir);
    command.args(["home", "rekey", "--json"]);
    command
}

fn key_file(rig: &Rig) -> Vec<u8> {
    fs::read(rig.data_dir.join("unseal.key")).unwrap()
}

/// Whether a value that was stored before is given out.
async fn is_there(rig: &Rig, key: &str) -> bool {
    let args = [
        "credential",
        "reveal",
        key,
        "--env",
        "lab",
        "--reason",
        "test",
    ];
    let output = rig.cli(&args).await;
    String::from_utf8_lossy(&output.stdout).contains("the-first-value")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_with_new_keys_has_its_devices_values_and_log_and_the_old_key_opens_nothing() {
    let (mut rig, door) = home().await;
    let lamp = enroll(&rig, &door, "lamp").await;
    let hall = enroll(&rig, &door, "hall").await;
    rig.revoke("hall").await.unwrap();
    added(&rig, "key/one", "lab", b"the-first-value", &[]).await;
    added(&rig, "key/two", "lab", b"the-first-value", &[]).await;
    let running = json(&rig.cli(&["home", "rekey", "--json"]).await);
    assert_eq!(running["error"]["code"], "rekey_failed", "{running}");
    let detail = running["error"]["detail"].as_str().unwrap();
    assert!(detail.contains("gateway runs"), "{detail}");
    rig.stop().await;
    let (old, slots) = (
        key_file(&rig),
        fs::read(rig.data_dir.join("slots.json")).unwrap(),
    );
    let output = rekey(&rig).output().await.unwrap();
    let done = json(&output);
    assert!(output.status.success(), "{done}");
    assert!(done["resealed"].as_u64().unwrap() > 5, "{done}");
    assert_eq!(done["recovery_code"].as_str().unwrap().len(), 47, "{done}");
    assert_ne!(key_file(&rig), old);
    assert!(!rig.data_dir.join("rekey").exists());
    rig.start().await;
    let status = rig.status().await;
    assert_eq!((status.incident, status.sealed), (None, false));
    let mut session = door.device(&lamp).await.unwrap();
    assert_eq!(session.publish("devices/lamp/state", b"on").await, Ok(0));
    assert!(door.device(&hall).await.is_err(), "it is revoked");
    for key in ["key/one", "key/two"] {
        assert!(is_there(&rig, key).await, "{key}");
    }
    let log = rig.verified_log().await;
    assert!(log.lines().any(|record| record.contains("\"home.rekey\"")));
    rig.stop().await;
    // What opened the home before: of no use, alone or together.
    let new = (
        key_file(&rig),
        fs::read(rig.data_dir.join("slots.json")).unwrap(),
    );
    fs::write(rig.data_dir.join("unseal.key"), &old).unwrap();
    rig.launch().await;
    assert!(rig.status().await.sealed);
    rig.stop().await;
    fs::write(rig.data_dir.join("slots.json"), &slots).unwrap();
    rig.fails_to_start().await;
    fs::write(rig.data_dir.join("unseal.key"), new.0).unwrap();
    fs::write(rig.data_dir.join("slots.json"), new.1).unwrap();
    rig.start().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rekey_that_is_killed_leaves_the_home_before_or_after_it() {
    let rounds = rounds(6, 50);
    let (mut rig, door) = home().await;
    let lamp = enroll(&rig, &door, "lamp").await;
    added(&rig, "key/one", "lab", b"the-first-value", &[]).await;
    rig.stop().await;
    let (mut finished, mut changed) = (0, 0);
    for round in 0..rounds {
        let before = key_file(&rig);
        let mut child = rekey(&rig)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // From nothing done to all of it: it takes about a fifth of a second.
        let life = Duration::from_millis(round * 180 / rounds);
        let ended = tokio::select! {
            status = child.wait() => Some(status.unwrap()),
            () = sleep(life) => None,
        };
        if ended.is_none() {
            child.kill().await.unwrap();
        }
        rig.start().await;
        assert_eq!(rig.status().await.incident, None, "{round}");
        assert!(is_there(&rig, "key/one").await, "{round}");
        let is_new = key_file(&rig) != before;
        if ended.is_some_and(|status| status.success()) {
            assert!(is_new, "what was said to be done is done");
            finished += 1;
        }
        changed += u64::from(is_new);
        rig.stop().await;
        assert!(!rig.data_dir.join("rekey").exists());
    }
    rig.start().await;
    assert!(door.device(&lamp).await.is_ok());
    println!("{rounds} rounds, {finished} to their end, {changed} with new keys");
}
