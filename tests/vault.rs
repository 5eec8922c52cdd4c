//! The vault: what is added, listed, given out, lent; and what is refused.

use std::process::{Output, Stdio};

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::rig::{PATIENCE, Rig, hearthkey, json, until};

/// A home that runs. It has the environments `home` and `lab`.
pub async fn home() -> Rig {
    let mut rig = Rig::new().await;
    rig.start().await;
    rig
}

/// Runs a command with something on its standard input.
pub async fn with_input(rig: &Rig, args: &[&str], input: &[u8]) -> Output {
    let mut child = hearthkey()
        .args(args)
        .arg("--data-dir")
        .arg(&rig.data_dir)
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
async fn every_key_of_the_home_is_in_one_inventory() {
    let rig = home().await;
    rig.enroll("lamp").await;
    added(&rig, "hue/api-key", "home", b"one-value", &[]).await;
    added(&rig, "hue/api-key", "lab", b"other-value", &[]).await;
    let record = [
        "credential",
        "add",
        "cloud/root-key",
        "--env",
        "home",
        "--kind",
        "other",
        "--owner",
        "anna",
        "--purpose",
        "backup",
        "--recorded-at",
        "a sealed envelope in the bank",
    ];
    told(&rig, &record).await;
    let list = told(&rig, &["credential", "list"]).await;
    let names: Vec<String> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|c| {
            format!(
                "{} {} {}",
                c["name"].as_str().unwrap(),
                c["environment"].as_str().unwrap(),
                c["kind"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        names,
        [
            "ca/issuing home ca-key",
            "ca/issuing lab ca-key",
            "ca/root  ca-key",
            "ca/server  ca-key",
            "cloud/root-key home other",
            "device/lamp home certificate",
            "hue/api-key home api-key",
            "hue/api-key lab api-key",
            "log/checkpoint  log-key",
            "server/tls  server-key",
        ]
    );
    for c in list.as_array().unwrap() {
        for required in ["owner", "purpose", "tier", "state"] {
            assert!(
                !c[required].as_str().unwrap().is_empty(),
                "{required} of {c}"
            );
        }
    }
    let found = told(&rig, &["credential", "list", "--search", "BANK"]).await;
    assert_eq!(
        found.as_array().unwrap().len(),
        0,
        "a place is not searched"
    );
    let found = told(
        &rig,
        &["credential", "list", "--search", "LIGHTS", "--env", "lab"],
    )
    .await;
    assert_eq!(found.as_array().unwrap().len(), 1);
    let found = told(&rig, &["credential", "list", "--kind", "certificate"]).await;
    assert_eq!(found[0]["name"], "device/lamp");
    let nowhere = refused(&rig, &["credential", "reveal", "cloud/root-key"]).await;
    assert!(
        nowhere["remedy"]
            .as_str()
            .unwrap()
            .contains("a sealed envelope in the bank")
    );

    for (file, begin) in [
        ("register.csv", "name,environment,kind,"),
        ("register.json", "[\n"),
    ] {
        let path = rig.work.path().join(file);
        let written = told(
            &rig,
            &["credential", "register", "--out", path.to_str().unwrap()],
        )
        .await;
        assert_eq!(written["credentials"], 10);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(begin) && text.contains("a sealed envelope in the bank"));
        assert!(!text.contains("one-value"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_clearly_and_leaves_nothing_half_made() {
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
        assert_eq!(output.status.code(), Some(1), "{told}");
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
        assert_eq!(output.status.code(), Some(1), "{name}");
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
async fn a_binary_value_comes_out_as_it_went_in() {
    let rig = home().await;
    let value: Vec<u8> = (0..=255).collect();
    added(&rig, "raw/key", "home", &value, &[]).await;
    let revealed = rig.cli(&["credential", "reveal", "raw/key"]).await;
    assert_eq!(revealed.stdout, value);
    let run = [
        "credential",
        "run",
        "--env",
        "home",
        "raw/key",
        "--json",
        "--",
        "true",
    ];
    let as_variable = json(&rig.cli(&run).await);
    assert!(
        as_variable["error"]["remedy"]
            .as_str()
            .unwrap()
            .contains("--as-files"),
        "{as_variable}"
    );
    let as_file = rig
        .cli(&[
            "credential",
            "run",
            "--env",
            "home",
            "--as-files",
            "raw/key",
            "--",
            "sh",
            "-c",
            "cat $RAW_KEY_FILE",
        ])
        .await;
    assert_eq!(
        as_file.stdout,
        value,
        "{}",
        String::from_utf8_lossy(&as_file.stderr)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_gets_the_values_it_was_promised_and_keeps_its_own_exit_code() {
    let rig = home().await;
    added(&rig, "hue/api-key", "lab", b"lab-value", &[]).await;
    added(&rig, "ha/token", "lab", b"it's a token", &[]).await;
    let run = rig
        .cli(&[
            "credential",
            "run",
            "--env",
            "lab",
            "hue/api-key",
            "TOKEN=ha/token",
            "--",
            "sh",
            "-c",
            "printf '%s|%s' \"$HUE_API_KEY\" \"$TOKEN\"; exit 7",
        ])
        .await;
    assert_eq!(run.status.code(), Some(7));
    assert_eq!(run.stdout, b"lab-value|it's a token");
    // A file in memory has no place in any directory, cannot be written, and can be read twice.
    let script = "readlink $KEY_FILE; cat $KEY_FILE $KEY_FILE; (echo x > $KEY_FILE) 2>/dev/null || echo kept";
    let run = rig
        .cli(&[
            "credential",
            "run",
            "--env",
            "lab",
            "--as-files",
            "KEY=hue/api-key",
            "--",
            "sh",
            "-c",
            script,
        ])
        .await;
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(
        text.starts_with("/memfd:KEY") && text.ends_with("lab-valuelab-valuekept\n"),
        "{text}"
    );
    let run = [
        "credential",
        "run",
        "--json",
        "--env",
        "home",
        "hue/api-key",
        "--",
        "true",
    ];
    let missing = json(&rig.cli(&run).await);
    assert_eq!(missing["error"]["code"], "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_becomes_a_file_that_one_reader_can_read() {
    use std::os::unix::fs::PermissionsExt;
    let rig = home().await;
    added(&rig, "wifi/key", "home", b"pass \"quoted\" \\ word", &[]).await;
    added(&rig, "multi/key", "home", b"two\nlines", &["--exact"]).await;
    let template = rig.work.path().join("secrets.tmpl");
    let out = rig.work.path().join("secrets.yaml");
    std::fs::write(&out, "old").unwrap();
    std::fs::set_permissions(&out, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(
        &template,
        "wifi: {{ hearthkey:wifi/key | yaml }}\nkeep: {{ states('x') }}\n",
    )
    .unwrap();
    let paths = [template.to_str().unwrap(), out.to_str().unwrap()];
    let render = [
        "credential",
        "render",
        paths[0],
        "--env",
        "home",
        "--out",
        paths[1],
    ];
    told(&rig, &render).await;
    let expected = "wifi: \"pass \\\"quoted\\\" \\\\ word\"\nkeep: {{ states('x') }}\n";
    assert_eq!(std::fs::read_to_string(&out).unwrap(), expected);
    assert_eq!(
        std::fs::metadata(&out).unwrap().permissions().mode() & 0o777,
        0o600
    );
    std::fs::write(&template, "{{ hearthkey:multi/key }}").unwrap();
    let unfit = refused(&rig, &render).await;
    assert_eq!(unfit["code"], "value_unfit");
    std::fs::write(&template, "{{ hearthkey:none/key }}").unwrap();
    assert_eq!(refused(&rig, &render).await["code"], "not_found");
    assert_eq!(
        std::fs::read_to_string(&out).unwrap(),
        expected,
        "what was there stays"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_listed_ends_by_itself_and_can_be_ended_before() {
    let rig = home().await;
    added(&rig, "hue/api-key", "home", b"lent-value", &[]).await;
    let lease = told(
        &rig,
        &[
            "credential",
            "lease",
            "hue/api-key",
            "--lifetime",
            "1h",
            "--reason",
            "test",
        ],
    )
    .await;
    assert_eq!(lease["text"], "lent-value");
    assert_eq!(lease["child"], false);
    let id = lease["lease"].as_str().unwrap();
    let listed = told(&rig, &["credential", "leases"]).await;
    assert_eq!(listed[0]["lease"], id);
    assert!(!listed.to_string().contains("lent-value"));
    let ended = told(&rig, &["credential", "end-lease", id]).await;
    assert!(ended["ended_at"].is_string());
    assert!(ended["note"].as_str().unwrap().contains("works on"));
    let short = told(
        &rig,
        &["credential", "lease", "hue/api-key", "--lifetime", "1s"],
    )
    .await;
    until("the lease has ended", async || {
        let left = told(&rig, &["credential", "leases"]).await;
        left.as_array().unwrap().is_empty().then_some(())
    })
    .await;
    for bad in ["0s", "25h"] {
        let why = refused(
            &rig,
            &["credential", "lease", "hue/api-key", "--lifetime", bad],
        )
        .await;
        assert!(
            why["detail"]
                .as_str()
                .unwrap()
                .contains("between 1 second and 24 hours")
        );
    }
    let log = rig.verified_log().await;
    let ends = records(&log, "lease.end");
    assert_eq!(ends.len(), 2);
    assert_eq!(ends[1]["details"]["lease"], short["lease"]);
    assert_eq!(ends[1]["actor"]["name"], "gateway");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_critical_value_is_revealed_only_to_whoever_says_why() {
    let rig = home().await;
    added(
        &rig,
        "zigbee/network",
        "home",
        b"0123456789abcdef",
        &["--tier", "critical"],
    )
    .await;
    let why = refused(&rig, &["credential", "reveal", "zigbee/network"]).await;
    assert!(why["remedy"].as_str().unwrap().contains("--reason"));
    told(
        &rig,
        &[
            "credential",
            "reveal",
            "zigbee/network",
            "--reason",
            "moving the coordinator",
        ],
    )
    .await;
    let reads = records(&rig.verified_log().await, "credential.read");
    assert_eq!(reads.len(), 1);
    assert_eq!(reads[0]["reason"], "moving the coordinator");
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
async fn bulk_reads_are_on_record_as_unusual() {
    let rig = home().await;
    let names: Vec<String> = (0..20).map(|n| format!("bulk/key-{n}")).collect();
    for name in &names {
        added(
            &rig,
            name,
            "lab",
            format!("value of {name}").as_bytes(),
            &[],
        )
        .await;
    }
    told(&rig, &["credential", "reveal", "bulk/key-0"]).await;
    let mut run = vec!["credential", "run", "--env", "lab"];
    run.extend(names.iter().map(String::as_str));
    run.extend(["--", "true"]);
    assert!(rig.cli(&run).await.status.success());
    let reads = records(&rig.verified_log().await, "credential.read");
    assert_eq!(reads[0]["details"]["unusual"], Value::Null);
    assert_eq!(reads.len(), 21);
    assert!(
        reads[1..]
            .iter()
            .all(|read| read["details"]["unusual"][0] == "bulk")
    );
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
