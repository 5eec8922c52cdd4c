//! Values are given out: to a person, a command, a file, for a time; each with its record first.

use serde_json::Value;

use crate::rig::{json, until};
use crate::vault::{added, home, records, refused, told};

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
    assert!(ended["note"].as_str().unwrap().contains("still works"));
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
                .contains("1 second to 24 hours")
        );
    }
    // A lifetime that no claim can have is an argument at fault, too.
    let long = [
        "device",
        "claim",
        "lamp",
        "--profile",
        "generic",
        "--ttl",
        "99d",
    ];
    let more = ["--env", "home", "--owner", "a", "--purpose", "b"];
    let why = refused(&rig, &[&long[..], &more].concat()).await;
    assert_eq!(why["code"], "invalid", "{why}");
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
