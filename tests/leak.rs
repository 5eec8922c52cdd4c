//! Leaked values are found in trees and histories, told to the gateway, and refused before they are committed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::process::Command;

use crate::rig::{Rig, json};
use crate::rotation::{at_step, rotate};
use crate::vault::{added, home, records, told};

const LEAKED: &str = "leaked-hue-value-4711-abcdef";

async fn git(directory: &Path, args: &[&str]) -> Output {
    Command::new("git")
        .args([
            "-c",
            "user.name=anna",
            "-c",
            "user.email=anna@home.arpa",
            "-c",
            "init.defaultBranch=main",
        ])
        .args(args)
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .await
        .unwrap()
}

/// A repository in which one file was committed.
async fn repository(rig: &Rig, content: &str) -> PathBuf {
    let directory = rig.work.path().join("repository");
    fs::create_dir(&directory).unwrap();
    git(&directory, &["init", "-q"]).await;
    fs::write(directory.join("config.yaml"), content).unwrap();
    git(&directory, &["add", "."]).await;
    let committed = git(&directory, &["commit", "-q", "-m", "first"]).await;
    assert!(
        committed.status.success(),
        "{}",
        String::from_utf8_lossy(&committed.stderr)
    );
    directory
}

/// Scans; gives the exit code and the answer.
async fn scan(rig: &Rig, path: &Path, more: &[&str]) -> (Option<i32>, Value) {
    let path = path.to_str().unwrap();
    let output = rig
        .cli(&[&["credential", "scan", path, "--json"], more].concat())
        .await;
    (output.status.code(), json(&output))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_was_committed_and_removed_again_is_found_and_is_to_be_rotated() {
    let rig = home().await;
    added(&rig, "hue/api-key", "home", LEAKED.as_bytes(), &[]).await;
    let repository = repository(&rig, &format!("key: {}\n", STANDARD.encode(LEAKED))).await;
    fs::write(repository.join("config.yaml"), "key: none\n").unwrap();
    git(&repository, &["commit", "-q", "-am", "removed"]).await;
    let sarif = rig.work.path().join("out.sarif");
    let (code, found) = scan(&rig, &repository, &["--sarif", sarif.to_str().unwrap()]).await;
    assert_eq!(code, Some(3), "{found}");
    let leak = &found["scan"]["leaks"][0];
    assert_eq!(leak["what"]["label"], "home/hue/api-key v1");
    assert_eq!(leak["what"]["encodings"][0], "base64");
    assert_eq!(leak["place"]["path"], "config.yaml");
    assert!(
        !found.to_string().contains(LEAKED)
            && !found.to_string().contains(&STANDARD.encode(LEAKED))
    );
    let written: Value = serde_json::from_str(&fs::read_to_string(&sarif).unwrap()).unwrap();
    assert_eq!(written["version"], "2.1.0");
    assert_eq!(written["runs"][0]["results"].as_array().unwrap().len(), 1);
    let findings = crate::posture::of_inventory(&rig).await;
    assert_eq!(findings[0]["kind"], "leaked");
    assert_eq!(findings[0]["severity"], "critical");
    assert!(
        findings[0]["remedy"]
            .as_str()
            .unwrap()
            .contains("credential rotate hue/api-key --env home")
    );
    let log = rig.verified_log().await;
    assert_eq!(records(&log, "finding.report")[0]["outcome"], "alert");
    assert_eq!(records(&log, "credential.marks")[0]["details"]["marked"], 1);

    // Rotated, the old value is looked for as long as it is kept.
    rotate(
        &rig,
        "hue/api-key",
        b"another-value-entirely",
        &["--overlap", "0s"],
    )
    .await;
    at_step(&rig, "hue/api-key", "done").await;
    let (code, found) = scan(&rig, &repository, &[]).await;
    assert_eq!(
        (code, &found["scan"]["leaks"][0]["what"]["label"]),
        (Some(3), &Value::from("home/hue/api-key v1"))
    );

    // Brought back, it is two versions of one value, and one leak.
    told(&rig, &["credential", "rollback", "hue/api-key"]).await;
    at_step(&rig, "hue/api-key", "switch").await;
    let (_, found) = scan(&rig, &repository, &[]).await;
    let leaks = found["scan"]["leaks"].as_array().unwrap();
    assert_eq!(leaks.len(), 1, "{found}");
    assert_eq!(leaks[0]["what"]["label"], "home/hue/api-key v3");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_found_where_nothing_is_and_every_exception_has_a_reason() {
    let rig = home().await;
    added(&rig, "hue/api-key", "home", LEAKED.as_bytes(), &[]).await;
    added(&rig, "short/pin", "home", b"1234", &[]).await;
    let tree = rig.work.path().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("notes.txt"), format!("{} 1234", &LEAKED[1..])).unwrap();
    let (code, clean) = scan(&rig, &tree, &["--own-only"]).await;
    assert_eq!(code, Some(0), "{clean}");
    assert!(
        clean["not_looked_for"][0]
            .as_str()
            .unwrap()
            .contains("short/pin"),
        "what cannot be looked for is said"
    );

    fs::write(tree.join("notes.txt"), LEAKED).unwrap();
    let (code, found) = scan(&rig, &tree, &["--no-report"]).await;
    assert_eq!(code, Some(3));
    assert_eq!(
        crate::posture::of_inventory(&rig).await,
        Value::Array(Vec::new())
    );
    let fingerprint = found["scan"]["leaks"][0]["fingerprint"].as_str().unwrap();
    let ignore = tree.join(".hearthkeyignore.toml");
    fs::write(
        &ignore,
        format!("[[ignore]]\nfinding = \"{fingerprint}\"\n"),
    )
    .unwrap();
    let (code, why) = scan(&rig, &tree, &[]).await;
    assert_eq!(code, Some(2));
    assert!(
        why["error"]["detail"].as_str().unwrap().contains("reason"),
        "{why}"
    );
    fs::write(
        &ignore,
        format!("[[ignore]]\nfinding = \"{fingerprint}\"\nreason = \"a test of ours\"\n"),
    )
    .unwrap();
    let (code, ignored) = scan(&rig, &tree, &[]).await;
    assert_eq!(
        (code, ignored["suppressed"].as_array().unwrap().len()),
        (Some(0), 1),
        "{ignored}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_would_carry_a_value_is_refused_by_the_hook() {
    let rig = home().await;
    added(&rig, "hue/api-key", "home", LEAKED.as_bytes(), &[]).await;
    let repository = repository(&rig, "key: none\n").await;
    let install = [
        "credential",
        "scan",
        "--install-hook",
        repository.to_str().unwrap(),
    ];
    assert_eq!(told(&rig, &install).await["already"], false);
    assert_eq!(told(&rig, &install).await["already"], true);
    let program = Path::new(env!("CARGO_BIN_EXE_hearthkey")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let commit = async |content: &str| {
        fs::write(repository.join("config.yaml"), content).unwrap();
        git(&repository, &["add", "."]).await;
        Command::new("git")
            .args([
                "-c",
                "user.name=anna",
                "-c",
                "user.email=anna@home.arpa",
                "commit",
                "-q",
                "-m",
                "next",
            ])
            .current_dir(&repository)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("PATH", &path)
            .env("HEARTHKEY_DATA_DIR", &rig.data_dir)
            .output()
            .await
            .unwrap()
    };
    let refused = commit(&format!("key: {LEAKED}\n")).await;
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&refused.stdout),
        String::from_utf8_lossy(&refused.stderr)
    );
    assert!(!refused.status.success(), "{said}");
    assert!(
        said.contains("hue/api-key") && !said.contains(LEAKED),
        "{said}"
    );
    let allowed = commit("key: !secret hue\n").await;
    assert!(
        allowed.status.success(),
        "{}",
        String::from_utf8_lossy(&allowed.stderr)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_that_could_not_look_everywhere_ends_with_a_code_of_its_own() {
    let rig = home().await;
    added(&rig, "hue/api-key", "home", LEAKED.as_bytes(), &[]).await;
    let repository = repository(&rig, LEAKED).await;
    fs::write(repository.join("config.yaml"), "key: none\n").unwrap();
    git(&repository, &["commit", "-q", "-am", "removed"]).await;
    let folder = rig.work.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let from = format!("file://{}", repository.display());
    git(&folder, &["clone", "-q", "--depth=1", &from, "shallow"]).await;
    let sarif = rig.work.path().join("out.sarif");
    let (code, found) = scan(&rig, &folder, &["--sarif", sarif.to_str().unwrap()]).await;
    assert_eq!(code, Some(4), "{found}");
    let skipped = &found["scan"]["skipped"][0];
    assert_eq!(
        (&skipped["gap"], &skipped["path"]),
        (&"shallow".into(), &"shallow".into())
    );
    let written: Value = serde_json::from_str(&fs::read_to_string(&sarif).unwrap()).unwrap();
    let invocation = &written["runs"][0]["invocations"][0];
    assert_eq!(invocation["executionSuccessful"], false);
    let shown = rig
        .cli(&["credential", "scan", folder.to_str().unwrap(), "--offline"])
        .await;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        shown.contains("not read: shallow: it is a shallow clone")
            && shown.contains("not looked at: 1 thing"),
        "{shown}"
    );

    // Accepted with a reason, it is clean; with the whole history beside it, the leak is found.
    fs::write(
        folder.join(".hearthkeyignore.toml"),
        "[[ignore]]\ngap = \"shallow\"\nreason = \"the whole one is scanned at night\"\n",
    )
    .unwrap();
    let (code, found) = scan(&rig, &folder, &[]).await;
    assert_eq!(code, Some(0), "{found}");
    git(&folder, &["clone", "-q", &from, "whole"]).await;
    let (code, found) = scan(&rig, &folder, &[]).await;
    let place = &found["scan"]["leaks"][0]["place"];
    assert_eq!(
        (code, &place["path"]),
        (Some(3), &"whole/config.yaml".into()),
        "{found}"
    );
    assert_eq!(place["repository"], "whole");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_is_found_in_every_form_in_which_a_template_writes_it() {
    let rig = home().await;
    let value = "Tr0ub4dor&3'x\"y\\n €";
    added(&rig, "app/pw", "home", value.as_bytes(), &[]).await;
    let tree = rig.work.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let forms = ["text", "yaml", "json", "env", "base64"];
    for form in forms {
        let template = rig.work.path().join("template");
        fs::write(
            &template,
            format!("P={{{{ hearthkey:app/pw | {form} }}}}\n"),
        )
        .unwrap();
        let out = tree.join(form);
        let (template, out) = (template.to_str().unwrap(), out.to_str().unwrap());
        told(
            &rig,
            &[
                "credential",
                "render",
                template,
                "--env",
                "home",
                "--out",
                out,
            ],
        )
        .await;
    }
    let (code, found) = scan(&rig, &tree, &["--own-only", "--no-report"]).await;
    let leaks = found["scan"]["leaks"].as_array().unwrap();
    assert_eq!((code, leaks.len()), (Some(3), forms.len()), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hook_lets_templates_code_and_archives_pass() {
    let rig = home().await;
    let repository = repository(&rig, "key: none\n").await;
    let texts = [
        (
            "url.py",
            "url = f\"postgres://{user}:{password}@db.lan/ha\"\n",
        ),
        ("run.sh", "curl https://lamp:$password@nas.lan/\n"),
        ("run.bat", "set U=https://user:%PASSWORD%@nas.lan/\n"),
        ("app.js", "  password: process.env.MQTT_PASSWORD1,\n"),
        ("a.zip", "PK\u{3}\u{4}rest"),
    ];
    for (file, text) in texts {
        fs::write(repository.join(file), text).unwrap();
    }
    git(&repository, &["add", "."]).await;
    let staged = repository.to_str().unwrap();
    let output = rig
        .cli(&["credential", "scan", "--staged", staged, "--json"])
        .await;
    let answer = json(&output);
    assert_eq!(output.status.code(), Some(0), "{answer}");
    assert_eq!(answer["scan"]["skipped"][0]["gap"], "archive");
    fs::write(
        repository.join("app.py"),
        "login('ha', password='$ecret123!')\n",
    )
    .unwrap();
    git(&repository, &["add", "."]).await;
    let output = rig
        .cli(&["credential", "scan", "--staged", staged, "--json"])
        .await;
    assert_eq!(output.status.code(), Some(3), "{}", json(&output));
}

/// A file with two secrets.
fn written_secrets(rig: &Rig) -> PathBuf {
    let file = rig.work.path().join("secrets.yaml");
    fs::write(&file, "wifi_password: \"imported-wifi-pass\"\nhue_api_key: imported-hue-key-31415\nlatitude: 52.5\n").unwrap();
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_move_from_files_into_the_vault_after_a_dry_run() {
    let rig = home().await;
    let file = written_secrets(&rig);
    let path = file.to_str().unwrap();
    let size = rig.status().await.log_size;
    let dry = told(&rig, &["credential", "import", path, "--env", "home"]).await;
    assert_eq!(dry["dry_run"], true);
    assert_eq!(dry["source"], "secrets-yaml");
    let entries = dry["entries"].as_array().unwrap();
    let taken: Vec<&Value> = entries
        .iter()
        .filter(|entry| entry["outcome"] == "would_take")
        .collect();
    assert_eq!(taken.len(), 2, "{dry}");
    assert!(
        taken[0]["why"]
            .as_str()
            .unwrap()
            .contains("--owner WHO --purpose WHY")
    );
    assert_eq!(
        rig.status().await.log_size,
        size,
        "a dry run changes nothing"
    );
    assert!(!dry.to_string().contains("imported-"));

    let only = taken[1]["name"].as_str().unwrap();
    let take = [
        "credential",
        "import",
        path,
        "--env",
        "home",
        "--take",
        "--owner",
        "anna",
        "--purpose",
        "the lights",
        "--only",
        only,
        "--rename",
        &format!("{only}=hue/imported"),
    ];
    let imported = told(&rig, &take).await;
    assert!(
        imported["entries"].to_string().contains("\"taken\""),
        "{imported}"
    );
    let shown = told(&rig, &["credential", "show", "hue/imported"]).await;
    assert_eq!(shown["provenance"]["origin"], "imported");
    assert!(
        shown["provenance"]["source"]
            .as_str()
            .unwrap()
            .ends_with("secrets.yaml:2")
    );
    let value = told(&rig, &["credential", "reveal", "hue/imported"]).await;
    assert_eq!(value["text"], "imported-hue-key-31415");
    // What was seen and not taken stays known.
    let findings = crate::posture::of_inventory(&rig).await;
    assert_eq!(findings.as_array().unwrap().len(), 1, "{findings}");
    assert_eq!(findings[0]["kind"], "unmanaged");
    assert!(
        findings[0]["object"]
            .as_str()
            .unwrap()
            .ends_with("secrets.yaml:1")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_not_complete_takes_nothing_by_half() {
    let rig = home().await;
    let file = written_secrets(&rig);
    let path = file.to_str().unwrap();
    let size = rig.status().await.log_size;
    let nobody = rig
        .cli(&[
            "credential",
            "import",
            path,
            "--env",
            "home",
            "--take",
            "--json",
        ])
        .await;
    assert_eq!(
        nobody.status.code(),
        Some(2),
        "owner and purpose are asked for"
    );
    let mut unknown = vec![
        "credential",
        "import",
        path,
        "--env",
        "home",
        "--take",
        "--json",
    ];
    unknown.extend(["--owner", "a", "--purpose", "b", "--only", "no/such"]);
    assert_eq!(rig.cli(&unknown).await.status.code(), Some(2));
    assert_eq!(
        rig.status().await.log_size,
        size,
        "nothing is taken by half"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_holds_no_value_is_left_where_it_is() {
    let rig = home().await;
    let hashes = rig.work.path().join("passwd");
    fs::write(&hashes, "lamp:$7$101$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGE=\n").unwrap();
    let import = [
        "credential",
        "import",
        hashes.to_str().unwrap(),
        "--env",
        "home",
        "--from",
        "mosquitto",
        "--take",
    ];
    let left = told(&rig, &import).await;
    assert_eq!(left["entries"][0]["outcome"], "left", "{left}");
    assert_eq!(
        crate::posture::of_inventory(&rig)
            .await
            .as_array()
            .unwrap()
            .len(),
        1
    );
}
