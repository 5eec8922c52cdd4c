//! Bridges: asked, lied to by, waited for.

use serde_json::Value;

use crate::minted::generated;
use crate::rig::{json, until};
use crate::rotation::{at_step, current, states};
use crate::system::{ALL, System};
use crate::vault::{added, home, refused, told, with_input};

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_makes_tries_and_ends_values() {
    let rig = home().await;
    let system = System::connected(&rig, "first-value", &ALL).await;
    added(&rig, "sys/token", "home", b"first-value", &[]).await;
    let tested = told(&rig, &["bridge", "test", "sys"]).await;
    assert_eq!(tested["credentials"][0]["verdict"], "works");
    assert_eq!(tested["credentials"][0]["scopes"][0], "lights");
    told(
        &rig,
        &["credential", "rotate", "sys/token", "--overlap", "0s"],
    )
    .await;
    at_step(&rig, "sys/token", "done").await;
    let (version, value) = current(&rig, "sys/token").await;
    assert_eq!(version, 2);
    assert_eq!(system.live(), [value]);
    let shown = told(&rig, &["credential", "show", "sys/token"]).await;
    assert_eq!(shown["versions"][0]["origin"], "minted");
    assert!(shown["verified_at"].is_string());
    let add = [
        "credential",
        "add",
        "sys/second",
        "--env",
        "home",
        "--kind",
        "api-token",
        "--owner",
        "anna",
        "--purpose",
        "x",
        "--generate",
    ];
    told(&rig, &add).await;
    at_step(&rig, "sys/second", "done").await;
    let (_, second) = current(&rig, "sys/second").await;
    assert!(system.live().contains(&second));
    let bridges = told(&rig, &["bridge", "list"]).await;
    assert_eq!(bridges[0]["abilities"]["two_live"], true);
    let gone = told(&rig, &["bridge", "disconnect", "sys", "--retire"]).await;
    assert_eq!(gone["retired"].as_array().unwrap().len(), 2);
    assert_eq!(gone["retired"][0]["revoked_at_bridge"], 1);
    assert!(system.live().is_empty(), "what the bridge can end is ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_its_bridge_a_credential_and_the_authority_are_out_of_use_before_the_bridge_answers() {
    let rig = home().await;
    let system = System::connected(&rig, "admin-value", &ALL).await;
    added(&rig, "sys/admin", "home", b"admin-value", &[]).await;
    let settings = [
        format!("program={}", system.path("connector").display()),
        format!("can={}", serde_json::to_string(&ALL).unwrap()),
    ];
    let connect = [
        "bridge",
        "connect",
        "command",
        "sys",
        "--env",
        "home",
        "--owner",
        "anna",
        "--purpose",
        "test",
        "--authority",
        "sys/admin",
        "--set",
        &settings[0],
        "--set",
        &settings[1],
    ];
    told(&rig, &connect).await;
    generated(&rig, "sys/token").await;
    system.hold("revoke-before");
    let (gone, ()) = tokio::join!(
        told(&rig, &["bridge", "disconnect", "sys", "--retire"]),
        async {
            system.is_at("revoke-before").await;
            for name in ["sys/token", "sys/admin"] {
                let why = refused(&rig, &["credential", "reveal", name]).await;
                let why = why["detail"].as_str().unwrap().to_owned();
                assert!(why.contains("is retired"), "{why}");
            }
            system.release("revoke-before");
        }
    );
    assert_eq!(gone["retired"].as_array().unwrap().len(), 2, "{gone}");
    assert_eq!(gone["retired"][0]["revoked_at_bridge"], 1, "{gone}");
    assert_eq!(system.live(), ["admin-value"]);
    let bridges = told(&rig, &["bridge", "list"]).await;
    assert!(bridges.as_array().unwrap().is_empty(), "{bridges}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_that_lies_prints_garbage_or_a_megabyte_changes_nothing() {
    let rig = home().await;
    let system = System::connected(&rig, "good-value", &ALL).await;
    added(&rig, "sys/token", "home", b"good-value", &[]).await;
    let megabyte = format!("{{\"value\":\"{}\"}}", "x".repeat(1024 * 1024));
    for said in [
        r#"{"value":"a-lie-that-does-not-work"}"#,
        "garbage",
        "",
        r#"{"value":""}"#,
        &megabyte,
    ] {
        system.lies("mint", said);
        told(&rig, &["credential", "rotate", "sys/token"]).await;
        until("the first try has failed", async || {
            let shown = told(&rig, &["credential", "show", "sys/token"]).await;
            let notes = shown["rotations"][0]["notes"].as_array().unwrap().clone();
            assert!(!shown.to_string().contains("a-lie-that"), "{shown}");
            (!notes.is_empty()).then_some(())
        })
        .await;
        assert_eq!(current(&rig, "sys/token").await, (1, "good-value".into()));
        told(&rig, &["credential", "rollback", "sys/token"]).await;
        at_step(&rig, "sys/token", "undone").await;
        assert_eq!(
            states(&rig, "sys/token").await,
            ["current"],
            "nothing is half made"
        );
    }
    system.lies("verify", r#"{"works":"perhaps"}"#);
    let tested = rig.cli(&["bridge", "test", "sys", "--json"]).await;
    assert_eq!(tested.status.code(), Some(1));
    assert_eq!(json(&tested)["credentials"][0]["verdict"], "unknown");
    let broken = [
        "bridge",
        "connect",
        "command",
        "other",
        "--env",
        "home",
        "--owner",
        "anna",
        "--purpose",
        "x",
        "--set",
        "program=relative",
    ];
    let why = refused(&rig, &broken).await;
    assert_eq!(why["code"], "invalid");
    let bridges = told(&rig, &["bridge", "list"]).await;
    assert_eq!(bridges.as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_that_hangs_is_given_up_and_tried_again() {
    let rig = home().await;
    let system = System::connected(&rig, "good-value", &ALL).await;
    let quick = [
        "bridge",
        "connect",
        "command",
        "sys",
        "--env",
        "home",
        "--owner",
        "anna",
        "--purpose",
        "test",
        "--set",
        &format!("program={}", system.path("connector").display()),
        "--set",
        r#"can=["verify","mint","revoke"]"#,
        "--set",
        "timeout_s=1",
    ];
    told(&rig, &quick).await;
    added(&rig, "sys/token", "home", b"good-value", &[]).await;
    system.hold("mint-before");
    told(
        &rig,
        &["credential", "rotate", "sys/token", "--overlap", "0s"],
    )
    .await;
    until("the first try was given up", async || {
        let shown = told(&rig, &["credential", "show", "sys/token"]).await;
        shown["rotations"][0]["notes"]
            .to_string()
            .contains("did not finish within")
            .then_some(())
    })
    .await;
    assert_eq!(current(&rig, "sys/token").await, (1, "good-value".into()));
    system.release("mint-before");
    at_step(&rig, "sys/token", "done").await;
    assert_eq!(system.live(), [current(&rig, "sys/token").await.1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_that_cannot_end_a_value_says_what_is_left_to_do() {
    let rig = home().await;
    System::connected(&rig, "old-value", &["verify", "mint", "two-live"]).await;
    added(&rig, "sys/token", "home", b"old-value", &[]).await;
    told(
        &rig,
        &["credential", "rotate", "sys/token", "--overlap", "0s"],
    )
    .await;
    let done = at_step(&rig, "sys/token", "done").await;
    assert!(
        done["notes"]
            .to_string()
            .contains("could not be ended by the bridge"),
        "{done}"
    );
    let findings = crate::posture::of_inventory(&rig).await;
    let leftover = findings
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["kind"] == "leftover")
        .unwrap();
    assert!(
        leftover["what"]
            .as_str()
            .unwrap()
            .contains("Version 1 is retired, but may still work")
    );
    let id = leftover["id"].as_str().unwrap();
    told(
        &rig,
        &["check", "--resolve", id, "--reason", "deleted by hand"],
    )
    .await;
    let left = crate::posture::of_inventory(&rig).await;
    assert!(
        left.as_array()
            .unwrap()
            .iter()
            .all(|finding| finding["id"] != id)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn more_rights_than_declared_are_a_finding() {
    let rig = home().await;
    let system = System::connected(&rig, "the-value", &ALL).await;
    added(
        &rig,
        "sys/token",
        "home",
        b"the-value",
        &["--scope", "lights"],
    )
    .await;
    told(&rig, &["bridge", "test", "sys"]).await;
    assert_eq!(
        crate::posture::of_inventory(&rig).await,
        Value::Array(Vec::new())
    );
    system.lies("scopes", r#"{"rights":["lights","locks"]}"#);
    told(&rig, &["bridge", "test", "sys"]).await;
    let findings = crate::posture::of_inventory(&rig).await;
    assert_eq!(findings[0]["kind"], "drift");
    assert!(
        findings[0]["what"].as_str().unwrap().contains("locks"),
        "{findings}"
    );
    system.lies(
        "scopes",
        r#"{"rights":["admin"],"privileged":"it is an administrator's"}"#,
    );
    told(&rig, &["bridge", "test", "sys"]).await;
    assert!(
        told(&rig, &["check"])
            .await
            .to_string()
            .contains("has every permission")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_costs_something_says_so_before_it_starts() {
    let rig = home().await;
    let connect = [
        "bridge",
        "connect",
        "zigbee2mqtt",
        "zigbee",
        "--env",
        "home",
        "--owner",
        "anna",
        "--purpose",
        "x",
        "--set",
        "devices=14",
        "--set",
        "pan_ids=true",
    ];
    told(&rig, &connect).await;
    let add = [
        "credential",
        "add",
        "zigbee/network",
        "--env",
        "home",
        "--kind",
        "zigbee-key",
        "--owner",
        "anna",
        "--purpose",
        "x",
        "--tier",
        "critical",
        "--generate",
    ];
    told(&rig, &add).await;
    at_step(&rig, "zigbee/network", "done").await;
    let cost = refused(&rig, &["credential", "rotate", "zigbee/network"]).await;
    assert!(cost["detail"].as_str().unwrap().contains("14"), "{cost}");
    assert!(cost["remedy"].as_str().unwrap().contains("--accept-cost"));
    told(
        &rig,
        &["credential", "rotate", "zigbee/network", "--accept-cost"],
    )
    .await;
    at_step(&rig, "zigbee/network", "switch").await;
    // Zigbee2MQTT reads its key from a file of secrets: that is how the new one gets there.
    let template = rig.work.path().join("secret.tmpl");
    let out = rig.work.path().join("secret.yaml");
    let place = "network_key: {{ hearthkey:zigbee/network | .network_key }}\n";
    std::fs::write(&template, place).unwrap();
    let mut render = vec!["credential", "render", template.to_str().unwrap()];
    render.extend(["--env", "home", "--out", out.to_str().unwrap()]);
    told(&rig, &render).await;
    let line = std::fs::read_to_string(&out).unwrap();
    let key: Value = serde_json::from_str(line.strip_prefix("network_key: ").unwrap()).unwrap();
    assert_eq!(key.as_array().unwrap().len(), 16, "{key}");
    let unfit = with_input(
        &rig,
        &[
            "credential",
            "add",
            "zigbee/other",
            "-",
            "--env",
            "home",
            "--kind",
            "zigbee-key",
            "--owner",
            "anna",
            "--purpose",
            "x",
            "--json",
        ],
        b"too short",
    )
    .await;
    assert!(
        unfit.status.success(),
        "a recorded key is not judged until the bridge is asked"
    );
    let tested = rig.cli(&["bridge", "test", "zigbee", "--json"]).await;
    let verdicts = json(&tested)["credentials"].clone();
    let other = verdicts
        .as_array()
        .unwrap()
        .iter()
        .find(|verdict| verdict["name"] == "zigbee/other")
        .unwrap();
    assert_eq!(other["verdict"], "fails", "{other}");
}
