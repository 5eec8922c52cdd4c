//! `hearthkey-agent renew --once` beside a product that holds its device's session: any MQTT client that reads a key and a
//! certificate from files and cannot renew by itself.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Output;

use serde_json::Value;

use crate::guest::home;
use crate::mqtt::{Client, Hello};
use crate::rig::{Rig, agent, json, until};
use crate::wire::{Door, Identity, REVOKED};

/// What the product is given: the files of the device's directory, as they are now.
fn files(rig: &Rig) -> Identity {
    let read = |name: &str| std::fs::read_to_string(rig.device_dir("lamp").join(name)).unwrap();
    Identity::from_pem("lamp", &read("device.crt"), &read("device.key"))
}

async fn connect(door: &Door, who: &Identity) -> Client {
    let hello = Hello {
        lasting: true,
        ..Hello::v311("zigbee2mqtt")
    };
    door.connect(Some(who), &hello).await.unwrap()
}

async fn renew(rig: &Rig, args: &[&str]) -> Output {
    let mut command = agent();
    command.args(["renew", "--once", "--json", "--dir"]);
    command.arg(rig.device_dir("lamp")).args(args);
    command.output().await.unwrap()
}

/// The client id of the device's only session, where it comes from, and since when.
async fn only_session(rig: &Rig) -> [String; 3] {
    until("one session", async || {
        let mut sessions = rig.device("lamp").await.sessions;
        let only = sessions.pop().filter(|_| sessions.is_empty())?;
        Some([only.client_id, only.address, only.since])
    })
    .await
}

/// What a look came to, with exit code 0.
async fn outcome(rig: &Rig, args: &[&str]) -> Value {
    let output = renew(rig, args).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    json(&output)
}

/// Sends numbers around until the work is done; none may be missing.
async fn talk_during<T: Send + 'static>(
    client: &mut Client,
    work: impl Future<Output = T> + Send + 'static,
) -> T {
    let work = tokio::spawn(work);
    let mut n = 0_u32;
    while !work.is_finished() || n < 20 {
        let text = n.to_string();
        let packet = client.publication("devices/lamp/state", text.as_bytes(), false);
        client.send(&packet).await;
        assert_eq!(client.message().await.unwrap().payload, text.as_bytes());
        n += 1;
    }
    work.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_beside_a_product_whose_session_notices_nothing() {
    let (rig, door) = home().await;
    drop(rig.enroll("lamp").await);
    let old = files(&rig);
    let mut product = connect(&door, &old).await;
    assert_eq!(product.subscribe("devices/lamp/#").await, Ok(1));
    let before = only_session(&rig).await;

    let early = outcome(&rig, &[]).await;
    assert_eq!(early["outcome"], "not_due");
    assert_eq!(
        early["renew_after"],
        rig.device("lamp").await.certificates[0].renew_after
    );
    let refused = renew(&rig, &["--now"]).await;
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    let told = json(&refused)["error"].to_string();
    assert!(
        told.contains("renewal_too_early") && told.contains("rotate"),
        "{told}"
    );

    rig.act("lamp", "rotate").await.unwrap();
    let mut command = agent();
    command.args(["renew", "--once", "--json", "--dir"]);
    command.arg(rig.device_dir("lamp"));
    let renewed = talk_during(&mut product, async move { command.output().await.unwrap() }).await;
    assert_eq!(renewed.status.code(), Some(0), "{renewed:?}");
    let renewed = json(&renewed);
    assert_eq!(renewed["outcome"], "renewed");
    let new = files(&rig);
    assert_ne!(new.chain, old.chain);
    let shown = rig.device("lamp").await;
    assert_eq!(renewed["serial"], shown.certificates[0].serial);
    assert_eq!(shown.certificates[0].state, "issued");
    // Looking again asks nobody: a connection with the new certificate would end the product's.
    assert_eq!(outcome(&rig, &[]).await["outcome"], "just_renewed");
    // Asking all the same does no harm: who only renews does not put the new certificate in force.
    let asked = renew(&rig, &["--now"]).await;
    assert_eq!(asked.status.code(), Some(3), "{asked:?}");
    assert_eq!(rig.device("lamp").await.certificates[0].state, "issued");
    assert_eq!(only_session(&rig).await, before);
    talk_during(&mut product, async {}).await;

    product.leave().await;
    let mut product = connect(&door, &new).await;
    assert!(product.session_present);
    talk_during(&mut product, async {}).await;
    until("the old certificate's end", async || {
        (door.device(&old).await.err()? == REVOKED).then_some(())
    })
    .await;
    let log = rig.verified_log().await;
    assert!(
        !log.contains("session.take_over") && !log.contains("clone_detected"),
        "{log}"
    );
}

/// A hook that notes how often it ran, and fails the first time.
fn hook(rig: &Rig) -> (PathBuf, PathBuf) {
    let (hook, ran) = (rig.work.path().join("hook"), rig.work.path().join("ran"));
    let script = format!(
        "#!/bin/sh\necho \"$HEARTHKEY_DEVICE $HEARTHKEY_NOT_AFTER\" >> {0}\ntest $(wc -l < {0}) -gt 1\n",
        ran.display()
    );
    std::fs::write(&hook, script).unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o700)).unwrap();
    (hook, ran)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_failed_runs_again_with_the_next_look_and_then_no_more() {
    let (rig, _) = home().await;
    drop(rig.enroll("lamp").await);
    rig.act("lamp", "rotate").await.unwrap();
    let missing = renew(&rig, &["--hook", "/nowhere/hook"]).await;
    assert_eq!(missing.status.code(), Some(1), "{missing:?}");
    assert_eq!(
        rig.device("lamp").await.certificates.len(),
        1,
        "nothing was asked for"
    );

    let (hook, ran) = hook(&rig);
    let with_hook = ["--hook", hook.to_str().unwrap()];
    let failed = renew(&rig, &with_hook).await;
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    let newest = rig.device("lamp").await.certificates[0].clone();
    let told = json(&failed)["error"].to_string();
    assert!(
        told.contains(&newest.serial) && told.contains("status 1"),
        "{told}"
    );
    for _ in 0..2 {
        assert_eq!(outcome(&rig, &with_hook).await["outcome"], "just_renewed");
    }
    let line = format!("lamp {}\n", newest.not_after);
    assert_eq!(std::fs::read_to_string(ran).unwrap(), line.repeat(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_that_comes_to_nothing_says_whether_time_or_a_person_is_needed() {
    let (mut rig, _) = home().await;
    drop(rig.enroll("lamp").await);
    rig.stop().await;
    let away = renew(&rig, &[]).await;
    assert_eq!(away.status.code(), Some(3), "{away:?}");
    rig.start().await;
    rig.act("lamp", "suspend").await.unwrap();
    let suspended = renew(&rig, &[]).await;
    assert_eq!(suspended.status.code(), Some(1), "{suspended:?}");
    let remedy = json(&suspended)["error"]["remedy"].to_string();
    assert!(remedy.contains("hearthkey device resume lamp"), "{remedy}");
    rig.revoke("lamp").await.unwrap();
    let revoked = renew(&rig, &[]).await;
    assert_eq!(revoked.status.code(), Some(1), "{revoked:?}");
    let remedy = json(&revoked)["error"]["remedy"].to_string();
    assert!(remedy.contains("hearthkey device claim lamp"), "{remedy}");
}
