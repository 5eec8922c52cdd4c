//! The gate of a pipeline: what a repository's features use is held against the inventory.

use std::path::PathBuf;

use serde_json::Value;

use crate::rig::{Rig, json};
use crate::vault::{added, home, told};

fn manifest(rig: &Rig, text: &str) -> PathBuf {
    let path = rig.work.path().join("hearthkey.toml");
    std::fs::write(&path, text).unwrap();
    path
}

/// Checks a manifest; gives the exit code and the answer.
async fn check(rig: &Rig, text: &str) -> (Option<i32>, Value) {
    let path = manifest(rig, text);
    let output = rig
        .cli(&["check", "--manifest", path.to_str().unwrap(), "--json"])
        .await;
    (output.status.code(), json(&output))
}

/// A home with a credential for each thing that a manifest may find.
async fn stocked() -> Rig {
    let rig = home().await;
    added(
        &rig,
        "hue/api-key",
        "lab",
        b"fit-value",
        &["--scope", "lights"],
    )
    .await;
    added(
        &rig,
        "hue/expired",
        "lab",
        b"expired-value",
        &["--expires", "2020-01-01T00:00:00Z"],
    )
    .await;
    added(
        &rig,
        "hue/due",
        "lab",
        b"due-value",
        &["--rotate-after-uses", "1"],
    )
    .await;
    added(
        &rig,
        "hue/broad",
        "lab",
        b"broad-value",
        &["--scope", "lights", "--scope", "locks"],
    )
    .await;
    added(&rig, "hue/elsewhere", "home", b"elsewhere-value", &[]).await;
    added(&rig, "hue/retired", "lab", b"retired-value", &[]).await;
    added(&rig, "hue/unknown", "lab", b"unknown-value", &[]).await;
    told(&rig, &["credential", "reveal", "hue/due"]).await;
    told(&rig, &["credential", "retire", "hue/retired"]).await;
    rig
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_passes_with_what_may_be_used_and_fails_with_a_reason_otherwise() {
    let rig = stocked().await;
    let fit = "environment = \"lab\"\n[[credential]]\nname = \"hue/api-key\"\nfeature = \"lights\"\nscopes = [\"lights\"]\n";
    let (code, checked) = check(&rig, fit).await;
    assert_eq!(
        (code, &checked["ok"]),
        (Some(0), &Value::Bool(true)),
        "{checked}"
    );
    for (name, more, why, remedy) in [
        (
            "hue/none",
            "",
            "no such credential",
            "credential add hue/none",
        ),
        (
            "hue/expired",
            "",
            "has expired",
            "credential rotate hue/expired",
        ),
        ("hue/due", "", "is due", "credential rotate hue/due"),
        (
            "hue/broad",
            "scopes = [\"lights\"]",
            "more scopes than declared: locks",
            "fewer rights",
        ),
        (
            "hue/elsewhere",
            "",
            "it is in home and not in lab",
            "environments share no keys",
        ),
        (
            "hue/unknown",
            "scopes = [\"lights\"]",
            "its rights are unknown",
            "bridge test",
        ),
        ("hue/retired", "", "it is retired", "add it again"),
        ("../x", "", "is not valid", "Correct the manifest"),
    ] {
        let text = format!("environment = \"lab\"\n[[credential]]\nname = \"{name}\"\n{more}\n");
        let (code, checked) = check(&rig, &text).await;
        assert_eq!(code, Some(1), "{name}");
        let verdict = &checked["credentials"][0];
        assert!(
            verdict["problems"][0].as_str().unwrap().contains(why),
            "{verdict}"
        );
        assert!(
            verdict["remedies"][0].as_str().unwrap().contains(remedy),
            "{verdict}"
        );
    }
    for (bad, why) in [
        (
            "environment = \"attic\"\n[[credential]]\nname = \"a/b\"",
            "no environment attic",
        ),
        ("environment = \"lab\"", "1 to 500"),
        ("environment = \"lab\"\nsurprise = 1", "docs/CI.md"),
        ("[[credential", "docs/CI.md"),
    ] {
        let (code, told) = check(&rig, bad).await;
        assert!(code == Some(1) || code == Some(2), "{bad}");
        assert!(told["error"].to_string().contains(why), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_during_a_running_build_does_not_break_it() {
    use crate::rig::hearthkey;
    use crate::rotation::{at_step, rotate};
    use std::process::Stdio;
    use tokio::io::AsyncWriteExt;

    let rig = home().await;
    added(
        &rig,
        "hue/api-key",
        "lab",
        b"before-value",
        &["--used-by", "ci"],
    )
    .await;
    // The build reads its value at its beginning and uses it at its end.
    let mut build = hearthkey()
        .arg("--data-dir")
        .arg(&rig.data_dir)
        .args([
            "credential",
            "run",
            "--env",
            "lab",
            "hue/api-key",
            "--",
            "sh",
            "-c",
            "echo begun; read go; echo $HUE_API_KEY",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = tokio::io::BufReader::new(build.stdout.take().unwrap());
    let mut line = String::new();
    tokio::io::AsyncBufReadExt::read_line(&mut out, &mut line)
        .await
        .unwrap();
    assert_eq!(line, "begun\n");
    rotate(&rig, "hue/api-key", b"after-value", &[]).await;
    at_step(&rig, "hue/api-key", "switch").await;
    // While the build runs, the value that it holds is one of two that live.
    let old = told(
        &rig,
        &["credential", "reveal", "hue/api-key", "--version", "1"],
    )
    .await;
    build
        .stdin
        .take()
        .unwrap()
        .write_all(b"go\n")
        .await
        .unwrap();
    let mut used = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut out, &mut used)
        .await
        .unwrap();
    assert!(build.wait().await.unwrap().success());
    assert_eq!(used.trim(), old["text"].as_str().unwrap());
    let next = rig
        .cli(&[
            "credential",
            "run",
            "--env",
            "lab",
            "hue/api-key",
            "--",
            "sh",
            "-c",
            "echo $HUE_API_KEY",
        ])
        .await;
    assert_eq!(next.stdout, b"after-value\n");
    let (code, _) = check(
        &rig,
        "environment = \"lab\"\n[[credential]]\nname = \"hue/api-key\"\n",
    )
    .await;
    assert_eq!(
        code,
        Some(0),
        "a rotation that is on its way is no reason to fail"
    );
}
