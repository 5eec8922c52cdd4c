//! The vault: what is added, listed and described; and what is refused.

use std::process::{Output, Stdio};

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::rig::{PATIENCE, Rig, hearthkey, json};

/// A home that runs. It has the environments `home` and `lab`.
pub async fn home() -> Rig {
    let mut rig = Rig::new().await;
    rig.start().await;
    rig
}

/// Runs a command with something on its standard input.
pub async fn with_input(rig: &Rig, args: &[&str], input: &[u8]) -> Output {
    let mut child = hearthkey()
        .arg("--data-dir")
        .arg(&rig.data_dir)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeding = tokio::spawn(async move {
        // A program that refuses may stop reading.
        let _ = stdin.write_all(&input).await;
    });
    let output = timeout(PATIENCE, child.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    feeding.await.unwrap();
    output
}

/// Adds a credential whose value comes by standard input.
pub async fn add(rig: &Rig, name: &str, env: &str, value: &[u8], more: &[&str]) -> Output {
    let mut args = vec![
        "credential",
        "add",
        name,
        "-",
        "--env",
        env,
        "--kind",
        "api-key",
        "--owner",
        "anna",
        "--purpose",
        "the lights",
        "--json",
    ];
    args.extend(more);
    with_input(rig, &args, value).await
}

pub async fn added(rig: &Rig, name: &str, env: &str, value: &[u8], more: &[&str]) -> Value {
    let output = add(rig, name, env, value, more).await;
    assert!(output.status.success(), "{}", json(&output));
    json(&output)
}

/// Runs a command that must succeed, and gives its answer.
pub async fn told(rig: &Rig, args: &[&str]) -> Value {
    let output = rig.cli(&[args, &["--json"]].concat()).await;
    assert!(output.status.success(), "{args:?}: {}", json(&output));
    json(&output)
}

/// Runs a command that must be refused, and gives the problem.
pub async fn refused(rig: &Rig, args: &[&str]) -> Value {
    let output = rig.cli(&[args, &["--json"]].concat()).await;
    let told = json(&output);
    assert!(!output.status.success(), "{args:?}: {told}");
    assert!(
        !told["error"]["remedy"].as_str().unwrap().is_empty(),
        "{told}"
    );
    told["error"].clone()
}

pub fn records(log: &str, action: &str) -> Vec<Value> {
    let records = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    records
        .filter(|record| record["action"] == action)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_is_added_shown_and_revealed_and_each_of_it_is_on_record() {
    let rig = home().await;
    let made = added(
        &rig,
        "hue/api-key",
        "home",
        b"hue-value-1\n",
        &["--tier", "high", "--used-by", "node-red"],
    )
    .await;
    let credential = &made["credential"];
    assert_eq!(credential["version"], 1);
    assert_eq!(credential["custody"], "vault");
    assert_eq!(credential["provenance"]["origin"], "entered");
    assert_eq!(credential["last_used_at"], Value::Null);
    assert!(!made.to_string().contains("hue-value-1"));

    let revealed = rig.cli(&["credential", "reveal", "hue/api-key"]).await;
    assert!(revealed.status.success());
    assert_eq!(revealed.stdout, b"hue-value-1");

    let shown = told(&rig, &["credential", "show", "hue/api-key"]).await;
    assert_eq!(shown["uses"], 1);
    assert!(shown["last_used_by"].as_str().unwrap().starts_with("uid:"));
    assert_eq!(shown["versions"][0]["bytes"], 11);
    assert!(!shown.to_string().contains("hue-value-1"));

    let log = rig.verified_log().await;
    assert_eq!(
        records(&log, "credential.add")[0]["details"]["owner"],
        "anna"
    );
    let reads = records(&log, "credential.read");
    assert_eq!(reads.len(), 1);
    assert_eq!(reads[0]["object"], "credential:home/hue/api-key");
    assert_eq!(reads[0]["details"]["use"], "reveal");
    assert!(!log.contains("hue-value-1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_value_or_name_is_refused_clearly_and_leaves_nothing_half_made() {
    let rig = home().await;
    let before = told(&rig, &["credential", "list"]).await;
    let size = rig.status().await.log_size;
    let large = vec![b'x'; 1024 * 1024];
    for (value, word) in [
        (&b""[..], "empty"),
        (b"\n", "empty"),
        (&large, "65536 bytes"),
    ] {
        let output = add(&rig, "hue/api-key", "home", value, &[]).await;
        let told = json(&output);
        let usage = told["error"]["code"] == "invalid";
        assert_eq!(
            output.status.code(),
            Some(if usage { 2 } else { 1 }),
            "{told}"
        );
        assert!(
            told["error"]["detail"].as_str().unwrap().contains(word),
            "{told}"
        );
    }
    for name in [
        "hue",
        "../../etc/passwd",
        "hue/../key",
        "hue/a/b",
        "Hue/Key",
        "hue/key\n",
        "%2e%2e/key",
        "hue/",
    ] {
        let output = add(&rig, name, "home", b"value", &[]).await;
        assert_eq!(output.status.code(), Some(2), "{name}");
        assert_eq!(json(&output)["error"]["code"], "invalid", "{name}");
    }
    for own in [
        "ca/root",
        "device/lamp",
        "token/ci",
        "log/key",
        "server/tls",
    ] {
        let told = json(&add(&rig, own, "home", b"value", &[]).await);
        assert!(
            told["error"]["detail"]
                .as_str()
                .unwrap()
                .contains("gateway's own"),
            "{told}"
        );
    }
    assert_eq!(told(&rig, &["credential", "list"]).await, before);
    assert_eq!(rig.status().await.log_size, size);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_without_an_owner_or_with_a_fact_that_cannot_be_is_not_added() {
    let rig = home().await;
    let before = told(&rig, &["credential", "list"]).await;
    let size = rig.status().await.log_size;
    let nowhere = json(&add(&rig, "hue/api-key", "attic", b"value", &[]).await);
    assert_eq!(nowhere["error"]["code"], "not_found");
    assert!(
        nowhere["error"]["remedy"]
            .as_str()
            .unwrap()
            .contains("hearthkey environment list")
    );
    for (flag, value) in [
        ("--tier", "huge"),
        ("--rotate-on", "daily"),
        ("--rotate-every", "never"),
        ("--expires", "soon"),
    ] {
        let output = add(&rig, "hue/api-key", "home", b"value", &[flag, value]).await;
        assert_eq!(json(&output)["error"]["code"], "invalid", "{flag}");
    }
    let nobody = [
        "credential",
        "add",
        "hue/api-key",
        "-",
        "--env",
        "home",
        "--kind",
        "api-key",
        "--owner",
        " ",
        "--purpose",
        "x",
        "--json",
    ];
    let told_nobody = json(&with_input(&rig, &nobody, b"value").await);
    assert!(
        told_nobody["error"]["detail"]
            .as_str()
            .unwrap()
            .contains("owner is required"),
        "{told_nobody}"
    );
    let mut typed = nobody;
    (typed[3], typed[9]) = ("typed-by-mistake", "anna");
    let output = rig.cli(&typed).await;
    assert_eq!(output.status.code(), Some(2));
    let told_typed = json(&output).to_string();
    assert!(
        told_typed.contains("never read from the command line") && !told_typed.contains("mistake"),
        "{told_typed}"
    );
    assert_eq!(told(&rig, &["credential", "list"]).await, before);
    assert_eq!(rig.status().await.log_size, size);

    added(&rig, "hue/api-key", "home", b"value", &[]).await;
    let twice = json(&add(&rig, "hue/api-key", "home", b"value", &[]).await);
    assert_eq!(twice["error"]["code"], "refused");
    let unknown = refused(
        &rig,
        &["credential", "reveal", "hue/other", "--env", "home"],
    )
    .await;
    assert_eq!(unknown["code"], "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_value_in_two_environments_is_noticed_without_comparing_plaintext() {
    let rig = home().await;
    added(&rig, "hue/api-key", "home", b"the-same-value", &[]).await;
    let second = added(&rig, "hue/api-key", "lab", b"the-same-value", &[]).await;
    let warning = second["warnings"][0].as_str().unwrap();
    assert!(
        warning.contains("home/hue/api-key") && warning.contains("rotate"),
        "{warning}"
    );
    let other = added(&rig, "hue/other", "lab", b"another-value", &[]).await;
    assert_eq!(other["warnings"], Value::Array(Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_of_a_credential_can_be_changed_and_its_history_is_on_record() {
    let rig = home().await;
    added(&rig, "hue/api-key", "home", b"value", &[]).await;
    let change = [
        "credential",
        "change",
        "hue/api-key",
        "--owner",
        "bo",
        "--rotate-every",
        "30d",
        "--expires",
        "2020-01-01T00:00:00Z",
    ];
    let changed = told(&rig, &change).await;
    assert_eq!(changed["credential"]["owner"], "bo");
    assert_eq!(changed["credential"]["rotation"]["every"], "30d");
    // What is not named stays as it was.
    let rest = ["--overlap", "2h", "--rotate-automatically"];
    let change = [&["credential", "change", "hue/api-key"][..], &rest].concat();
    let kept = told(&rig, &change).await["credential"]["rotation"].clone();
    assert_eq!(kept["every"], "30d", "{kept}");
    assert_eq!(
        (&kept["overlap"], &kept["automatic"]),
        (&"2h".into(), &true.into())
    );
    let back = [
        "credential",
        "change",
        "hue/api-key",
        "--rotate-by-tier",
        "--rotate-by-hand",
    ];
    let plain = told(&rig, &back).await["credential"]["rotation"].clone();
    assert!(
        plain["every"].is_null() && plain["automatic"] == false,
        "{plain}"
    );
    let never = [
        "credential",
        "change",
        "hue/api-key",
        "--rotate-after-uses",
        "0",
    ];
    assert_eq!(refused(&rig, &never).await["code"], "invalid");
    let expired = refused(&rig, &["credential", "reveal", "hue/api-key"]).await;
    assert!(expired["detail"].as_str().unwrap().contains("has expired"));
    assert!(expired["remedy"].as_str().unwrap().contains("rotate"));
    told(
        &rig,
        &["credential", "change", "hue/api-key", "--expires", ""],
    )
    .await;
    told(&rig, &["credential", "reveal", "hue/api-key"]).await;
    let log = rig.verified_log().await;
    assert_eq!(
        records(&log, "credential.describe")[0]["details"]["owner"],
        "bo"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_elsewhere_is_due_by_its_age_until_somebody_says_that_it_was_replaced() {
    let rig = home().await;
    let mut record = vec![
        "credential",
        "add",
        "key/signer",
        "--env",
        "home",
        "--kind",
        "signing-key",
    ];
    record.extend([
        "--owner",
        "anna",
        "--purpose",
        "x",
        "--recorded-at",
        "the safe",
    ]);
    record.extend(["--rotate-every", "1s"]);
    told(&rig, &record).await;
    crate::rig::until("it is due", async || {
        let shown = told(&rig, &["credential", "show", "key/signer"]).await;
        shown["due"].is_string().then_some(())
    })
    .await;
    let elsewhere = refused(&rig, &["credential", "rotate", "key/signer"]).await;
    assert!(
        elsewhere["remedy"].as_str().unwrap().contains("--replaced"),
        "{elsewhere}"
    );
    let replaced = [
        "credential",
        "change",
        "key/signer",
        "--replaced",
        "--rotate-every",
        "90d",
    ];
    let replaced = told(&rig, &replaced).await;
    assert!(replaced["credential"]["due"].is_null(), "{replaced}");
}
