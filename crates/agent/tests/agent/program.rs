//! The real program: exit codes, JSON, and where the secret does not appear.

use std::process::{Output, Stdio};

use tokio::process::Command;

use crate::gateway::{Gateway, SECRET};

fn agent() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hearthkey-agent"));
    command.env_remove("HEARTHKEY_CLAIM").stdin(Stdio::null());
    command
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn enroll_and_status_say_the_same_in_json() {
    let (gateway, temp) = (Gateway::start().await, tempfile::tempdir().unwrap());
    let dir = temp.path().to_str().unwrap();
    let enrolled = agent()
        .env("HEARTHKEY_CLAIM", gateway.claim("c1", "lamp-1"))
        .args(["enroll", "--json", "--model", "L1", "--dir", dir])
        .output()
        .await
        .unwrap();
    assert_eq!(enrolled.status.code(), Some(0), "{enrolled:?}");
    let status = agent()
        .args(["status", "--json", "--dir", dir])
        .output()
        .await
        .unwrap();
    assert_eq!(json(&status), json(&enrolled));
    assert_eq!(json(&status)["device"], "lamp-1");
    let request: serde_json::Value = serde_json::from_str(&gateway.seen().publishes[0].1).unwrap();
    assert_eq!(request["device"], serde_json::json!({"model": "L1"}));
}

#[tokio::test]
async fn a_refusal_exits_with_1_and_tells_what_why_and_what_to_do() {
    let (gateway, temp) = (Gateway::start().await, tempfile::tempdir().unwrap());
    gateway.refuse_next(
        r#"{"code":"claim_expired","message":"The claim has ended","remedy":"Open a new claim"}"#,
    );
    let refused = agent()
        .args(["enroll", "--claim", &gateway.claim("c1", "lamp-1"), "--dir"])
        .arg(temp.path())
        .output()
        .await
        .unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let told = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(
        told,
        "The device was not enrolled.\nThe claim has ended (claim_expired).\nOpen a new claim.\n"
    );
}

#[tokio::test]
async fn an_unreadable_claim_is_a_usage_error_that_does_not_repeat_it() {
    let temp = tempfile::tempdir().unwrap();
    let refused = agent()
        .args([
            "enroll",
            "--json",
            "--claim",
            &format!("hearthkey://claim?secret={SECRET}"),
            "--dir",
        ])
        .arg(temp.path())
        .output()
        .await
        .unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert_eq!(
        json(&refused)["error"]["why"],
        "the field \"host\" is missing"
    );
    assert!(!format!("{refused:?}").contains(SECRET));
}

#[tokio::test]
async fn a_revoked_device_exits_with_1_and_an_asked_one_with_0() {
    let (gateway, temp) = (Gateway::start().await, tempfile::tempdir().unwrap());
    let dir = temp.path().to_str().unwrap();
    let claim = gateway.claim("c1", "lamp-1");
    let enrolled = agent()
        .args(["enroll", "--claim", &claim, "--dir", dir])
        .status()
        .await;
    assert!(enrolled.unwrap().success());

    let mut running = agent()
        .args(["run", "--json", "--dir", dir])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(
        running.stdout.take().unwrap(),
    ));
    let first: serde_json::Value =
        serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
    assert_eq!(
        (&first["event"], &first["device"]),
        (&"connected".into(), &"lamp-1".into())
    );
    let pid = running.id().unwrap().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .await
            .unwrap()
            .success()
    );
    assert_eq!(running.wait().await.unwrap().code(), Some(0));

    gateway.revoke_all();
    let revoked = agent().args(["run", "--dir", dir]).output().await.unwrap();
    assert_eq!(revoked.status.code(), Some(1));
    let told = String::from_utf8(revoked.stderr).unwrap();
    assert!(
        told.starts_with("The gateway refuses this device's certificate.\n"),
        "{told}"
    );
    assert!(told.contains("open a new claim"), "{told}");
}
