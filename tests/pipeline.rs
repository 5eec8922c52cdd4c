//! A pipeline: it has a token file and HTTPS, and gets what its token grants, no more and no longer.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::rig::{Rig, json};
use crate::service::{Front, home};
use crate::vault::{added, records, refused, told};

/// Makes a token for `lab` in a file.
pub async fn token(rig: &Rig, front: &Front, name: &str, allow: &[&str]) -> PathBuf {
    let file = front.bench.dir.join(format!("{name}.token"));
    let mut args = vec![
        "token",
        "create",
        name,
        "--env",
        "lab",
        "--owner",
        "anna",
        "--purpose",
        "test",
        "--ttl",
        "1h",
    ];
    for grant in allow {
        args.extend(["--allow", grant]);
    }
    args.extend(["--out", file.to_str().unwrap()]);
    told(rig, &args).await;
    file
}

/// Runs a command as the pipeline; gives its exit code and its answer.
pub async fn ask(rig: &Rig, token: &Path, args: &[&str]) -> (Option<i32>, Value) {
    let args = [&["--json"], args].concat();
    let output = rig
        .cli_with(&args, &[("HEARTHKEY_TOKEN_FILE", token.to_str().unwrap())])
        .await;
    (output.status.code(), json(&output))
}

/// What a token for one credential of `lab` does not do, and what the refusal names.
const REFUSED: [(&[&str], &str); 11] = [
    (
        &["credential", "reveal", "ha/token", "--env", "lab"],
        "--allow ha/token:read",
    ),
    (
        &["credential", "reveal", "hue/api-key", "--env", "home"],
        "token",
    ),
    (
        &["credential", "show", "ha/token", "--env", "lab"],
        "--allow ha/token:list",
    ),
    (
        &["credential", "lease", "hue/api-key", "--env", "lab"],
        ":lease",
    ),
    (
        &[
            "credential",
            "rotate",
            "hue/api-key",
            "--env",
            "lab",
            "--generate",
        ],
        ":rotate",
    ),
    (
        &[
            "credential",
            "change",
            "hue/api-key",
            "--env",
            "lab",
            "--owner",
            "bo",
        ],
        ":write",
    ),
    (
        &["credential", "retire", "hue/api-key", "--env", "lab"],
        "operator",
    ),
    (&["bridge", "list"], "operator"),
    (&["environment", "rewrap", "lab"], "operator"),
    (&["token", "list"], "operator"),
    (&["device", "list"], "operator"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_reads_what_its_token_grants_over_https_and_nothing_else() {
    let (rig, front) = home().await;
    added(&rig, "hue/api-key", "lab", b"lab-value", &[]).await;
    added(&rig, "ha/token", "lab", b"token-value", &[]).await;
    added(&rig, "hue/api-key", "home", b"home-value", &[]).await;
    let ci = token(&rig, &front, "ci", &["hue/api-key:read", "hue/*:list"]).await;
    let environment = [("HEARTHKEY_TOKEN_FILE", ci.to_str().unwrap())];
    let run = [
        "credential",
        "run",
        "--env",
        "lab",
        "hue/api-key",
        "--",
        "sh",
        "-c",
        "printf %s $HUE_API_KEY",
    ];
    let output = rig.cli_with(&run, &environment).await;
    assert_eq!(
        output.stdout,
        b"lab-value",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    for (command, hint) in REFUSED {
        let (exit, answer) = ask(&rig, &ci, command).await;
        assert_eq!(
            (exit, &answer["error"]["code"]),
            (Some(1), &Value::from("forbidden")),
            "{command:?} {answer}"
        );
        assert!(
            answer["error"].to_string().contains(hint),
            "{command:?} {answer}"
        );
    }
    let (_, list) = ask(&rig, &ci, &["credential", "list"]).await;
    let names: Vec<&str> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["hue/api-key"], "{list}");
    assert_eq!(list[0]["environment"], "lab");

    let shown = told(&rig, &["credential", "show", "hue/api-key", "--env", "lab"]).await;
    assert_eq!(shown["last_used_by"], "token:ci");
    let inventory = told(&rig, &["credential", "list", "--kind", "service-token"]).await;
    assert_eq!(inventory[0]["name"], "token/ci");
    assert_eq!(inventory[0]["owner"], "anna");
    let log = rig.verified_log().await;
    let read = &records(&log, "credential.read")[0];
    assert_eq!(read["actor"]["name"], "token:ci");
    assert!(
        read["actor"]["address"]
            .as_str()
            .unwrap()
            .starts_with("127.")
    );
    assert!(!records(&log, "credential.refuse").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_token_has_borrowed_ends_with_it_and_a_token_ends_with_what_it_was_for() {
    let (rig, front) = home().await;
    added(&rig, "hue/api-key", "lab", b"lab-value", &[]).await;
    let ci = token(&rig, &front, "ci", &["hue/api-key:lease", "*:list"]).await;
    let only = token(
        &rig,
        &front,
        "only",
        &["hue/api-key:read", "hue/api-key:list"],
    )
    .await;
    let (exit, lease) = ask(
        &rig,
        &ci,
        &["credential", "lease", "hue/api-key", "--env", "lab"],
    )
    .await;
    assert_eq!(
        (exit, &lease["holder"]),
        (Some(0), &Value::from("token:ci")),
        "{lease}"
    );
    // Leases of others are nobody's business.
    let (_, others) = ask(&rig, &only, &["credential", "leases"]).await;
    assert_eq!(others, Value::Array(Vec::new()));
    let id = lease["lease"].as_str().unwrap();
    let (_, unknown) = ask(&rig, &only, &["credential", "end-lease", id]).await;
    assert_eq!(unknown["error"]["code"], "not_found");
    told(&rig, &["token", "revoke", "ci"]).await;
    assert_eq!(
        told(&rig, &["credential", "leases"]).await,
        Value::Array(Vec::new())
    );

    let retired = told(
        &rig,
        &["credential", "retire", "hue/api-key", "--env", "lab"],
    )
    .await;
    assert_eq!(retired[0]["tokens_revoked"], serde_json::json!(["only"]));
    let (_, answer) = ask(&rig, &only, &["credential", "list"]).await;
    assert_eq!(answer["error"]["code"], "token_revoked", "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipelines_token_is_held_against_what_its_manifest_declares() {
    let (rig, front) = home().await;
    added(&rig, "hue/api-key", "lab", b"lab-value", &[]).await;
    let manifest = rig.work.path().join("hearthkey.toml");
    let path = manifest.to_str().unwrap();
    std::fs::write(
        &manifest,
        "environment = \"lab\"\n[[credential]]\nname = \"hue/api-key\"\nactions = [\"read\"]\n",
    )
    .unwrap();
    let narrow = token(
        &rig,
        &front,
        "narrow",
        &["hue/api-key:read", "hue/api-key:list"],
    )
    .await;
    let (exit, fit) = ask(&rig, &narrow, &["check", "--manifest", path]).await;
    assert_eq!((exit, &fit["ok"]), (Some(0), &Value::Bool(true)), "{fit}");
    let broad = token(&rig, &front, "broad", &["*:read", "*:list", "*:rotate"]).await;
    let (exit, checked) = ask(&rig, &broad, &["check", "--manifest", path]).await;
    assert_eq!(exit, Some(1));
    assert!(
        checked["credentials"][0]["problems"]
            .to_string()
            .contains("may rotate it"),
        "{checked}"
    );
    let blind = token(&rig, &front, "blind", &["hue/api-key:read"]).await;
    let (exit, checked) = ask(&rig, &blind, &["check", "--manifest", path]).await;
    assert_eq!(exit, Some(1));
    assert!(
        checked["credentials"][0]["remedies"]
            .to_string()
            .contains("hue/api-key:list"),
        "{checked}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_from_a_new_address_is_on_record_as_unusual() {
    let (rig, front) = home().await;
    added(&rig, "hue/api-key", "home", b"home-value", &[]).await;
    let key = front.key("ci").await;
    let token = front.token(&rig, "ci", &key).await.token;
    let body = r#"{"names":["hue/api-key"],"use":"run"}"#;
    for source in ["127.0.0.41", "127.0.0.41", "127.0.0.42"] {
        let more = [
            "--interface",
            source,
            "-H",
            "content-type: application/json",
            "-d",
            body,
        ];
        let answer = front
            .post("/api/v1/environments/home/reveal", &token, &key, &more)
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let reads = records(&rig.verified_log().await, "credential.read");
    let unusual: Vec<&Value> = reads
        .iter()
        .map(|read| &read["details"]["unusual"])
        .collect();
    assert_eq!(
        unusual,
        [
            &Value::Null,
            &Value::Null,
            &serde_json::json!(["new_address"])
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_scans_for_what_it_may_read_and_says_what_leaked() {
    let (rig, front) = home().await;
    added(&rig, "hue/api-key", "lab", b"a-leaked-lab-value", &[]).await;
    added(&rig, "ha/token", "lab", b"an-unseen-lab-value", &[]).await;
    let ci = token(&rig, &front, "ci", &["hue/*:list", "hue/*:read"]).await;
    let tree = rig.work.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("a"), "a-leaked-lab-value an-unseen-lab-value").unwrap();
    let (exit, found) = ask(
        &rig,
        &ci,
        &["credential", "scan", "--own-only", tree.to_str().unwrap()],
    )
    .await;
    assert_eq!(
        (exit, found["scan"]["leaks"].as_array().unwrap().len()),
        (Some(3), 1),
        "{found}"
    );
    let findings = crate::posture::of_inventory(&rig).await;
    assert_eq!(findings[0]["kind"], "leaked");
    let reported = records(&rig.verified_log().await, "finding.report");
    assert_eq!(reported[0]["actor"]["name"], "token:ci");
    let why = refused(
        &rig,
        &["check", "--resolve", "0000000000000000", "--reason", "none"],
    )
    .await;
    assert_eq!(why["code"], "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_reads_with_a_token_file_and_its_own_certificate_and_with_no_other() {
    let (rig, front) = home().await;
    let bench = &front.bench;
    for device in ["panel", "door"] {
        bench.enroll(&rig, device).await;
    }
    added(&rig, "hue/api-key", "home", b"home-value", &[]).await;
    let file = bench.dir.join("panel.token");
    let mut create = vec!["token", "create", "panel", "--env", "home"];
    create.extend(["--allow", "hue/api-key:read", "--bind", "device:panel"]);
    create.extend(["--out", file.to_str().unwrap()]);
    told(&rig, &create).await;
    let reveal = ["credential", "reveal", "hue/api-key", "--env", "home"];
    let as_device = async |device: &str, args: &[&str]| {
        let path = |end: &str| {
            bench
                .dir
                .join(format!("{device}.{end}"))
                .display()
                .to_string()
        };
        let (certificate, key) = (path("crt"), path("key"));
        let identity = ["--client-cert", &certificate, "--client-key", &key];
        ask(&rig, &file, &[&identity[..], args].concat()).await
    };
    let (_, given) = as_device("panel", &reveal).await;
    assert_eq!(given["text"], "home-value", "{given}");
    let (renewed, _) = as_device("panel", &["token", "renew"]).await;
    assert_eq!(renewed, Some(0));
    let (_, wrong) = as_device("door", &reveal).await;
    assert_eq!(wrong["error"]["code"], "certificate_wrong", "{wrong}");
    let (code, none) = ask(&rig, &file, &reveal).await;
    assert_eq!(code, Some(2), "{none}");
    let why = none["error"]["remedy"].as_str().unwrap();
    assert!(why.contains("--client-cert"), "{none}");
    let half = ["--client-cert", "panel.crt", "token", "renew"];
    assert_eq!(ask(&rig, &file, &half).await.0, Some(2));
}
