//! Values are replaced: two live side by side, dependents switch, the old one ends, and whatever goes
//! wrong leaves one that works.

use serde_json::Value;

use crate::rig::{Rig, json, until};
use crate::system::{ALL, System};
use crate::vault::{added, home, records, refused, told, with_input};

/// The version that is given out, and its value.
pub async fn current(rig: &Rig, name: &str) -> (u64, String) {
    let shown = told(rig, &["credential", "reveal", name]).await;
    let text = shown["text"].as_str().unwrap().to_owned();
    (shown["version"].as_u64().unwrap(), text)
}

/// Gives a credential a new value.
pub async fn rotate(rig: &Rig, name: &str, value: &[u8], more: &[&str]) -> Value {
    let mut args = vec!["credential", "rotate", name, "-", "--json"];
    args.extend(more);
    let output = with_input(rig, &args, value).await;
    assert!(output.status.success(), "{}", json(&output));
    json(&output)
}

/// The newest rotation of a credential, once it is at a step.
pub async fn at_step(rig: &Rig, name: &str, step: &str) -> Value {
    until(&format!("{name} is at {step}"), async || {
        let shown = told(rig, &["credential", "show", name]).await;
        let newest = shown["rotations"][0].clone();
        (newest["step"] == step).then_some(newest)
    })
    .await
}

/// The states of a credential's versions, newest first.
pub async fn states(rig: &Rig, name: &str) -> Vec<String> {
    let shown = told(rig, &["credential", "show", name]).await;
    let versions = shown["versions"].as_array().unwrap();
    versions
        .iter()
        .map(|version| version["state"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_values_live_until_every_place_of_use_has_switched() {
    let rig = home().await;
    added(
        &rig,
        "hue/api-key",
        "home",
        b"old-value",
        &["--used-by", "node-red", "--used-by", "dashboard"],
    )
    .await;
    rotate(&rig, "hue/api-key", b"new-value", &["--reason", "test"]).await;
    let switching = at_step(&rig, "hue/api-key", "switch").await;
    assert_eq!(
        switching["unconfirmed"],
        serde_json::json!(["node-red", "dashboard"])
    );
    assert!(
        switching["notes"][0]
            .as_str()
            .unwrap()
            .contains("not tested")
    );
    assert_eq!(states(&rig, "hue/api-key").await, ["current", "previous"]);
    assert_eq!(current(&rig, "hue/api-key").await, (2, "new-value".into()));
    // A build that began before goes on with the value it has.
    let old = told(
        &rig,
        &["credential", "reveal", "hue/api-key", "--version", "1"],
    )
    .await;
    assert_eq!(old["text"], "old-value");

    let stranger = refused(
        &rig,
        &[
            "credential",
            "confirm",
            "hue/api-key",
            "--dependent",
            "stranger",
        ],
    )
    .await;
    assert!(
        stranger["remedy"]
            .as_str()
            .unwrap()
            .contains("node-red, dashboard")
    );
    told(
        &rig,
        &[
            "credential",
            "confirm",
            "hue/api-key",
            "--dependent",
            "node-red",
        ],
    )
    .await;
    assert_eq!(states(&rig, "hue/api-key").await, ["current", "previous"]);
    told(
        &rig,
        &[
            "credential",
            "confirm",
            "hue/api-key",
            "--dependent",
            "dashboard",
        ],
    )
    .await;
    let done = at_step(&rig, "hue/api-key", "done").await;
    assert!(
        done["notes"].to_string().contains("end it there by hand"),
        "{done}"
    );
    assert_eq!(states(&rig, "hue/api-key").await, ["current", "retired"]);
    let gone = refused(
        &rig,
        &["credential", "reveal", "hue/api-key", "--version", "1"],
    )
    .await;
    assert!(gone["remedy"].as_str().unwrap().contains("rollback"));
    let log = rig.verified_log().await;
    for action in [
        "rotation.begin",
        "rotation.verify",
        "rotation.confirm",
        "rotation.switched",
        "rotation.done",
    ] {
        assert!(!records(&log, action).is_empty(), "{action}");
    }
    assert!(!log.contains("new-value"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_the_old_value_and_names_who_was_late() {
    let rig = home().await;
    added(
        &rig,
        "hue/api-key",
        "home",
        b"old-value",
        &["--used-by", "node-red"],
    )
    .await;
    rotate(&rig, "hue/api-key", b"new-value", &["--overlap", "1s"]).await;
    let done = at_step(&rig, "hue/api-key", "done").await;
    assert!(
        done["notes"]
            .to_string()
            .contains("not confirmed at the deadline: node-red"),
        "{done}"
    );
    assert_eq!(states(&rig, "hue/api-key").await, ["current", "retired"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_goes_on_after_the_gateway_was_killed() {
    let mut rig = home().await;
    added(
        &rig,
        "hue/api-key",
        "home",
        b"old-value",
        &["--used-by", "node-red"],
    )
    .await;
    rotate(&rig, "hue/api-key", b"new-value", &[]).await;
    at_step(&rig, "hue/api-key", "switch").await;
    rig.kill9().await;
    rig.start().await;
    assert_eq!(current(&rig, "hue/api-key").await.0, 2);
    assert_eq!(states(&rig, "hue/api-key").await, ["current", "previous"]);
    told(
        &rig,
        &[
            "credential",
            "confirm",
            "hue/api-key",
            "--dependent",
            "node-red",
        ],
    )
    .await;
    at_step(&rig, "hue/api-key", "done").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_can_be_undone_and_a_replaced_value_brought_back() {
    let rig = home().await;
    added(
        &rig,
        "hue/api-key",
        "home",
        b"first-value",
        &["--used-by", "node-red"],
    )
    .await;
    rotate(&rig, "hue/api-key", b"second-value", &[]).await;
    at_step(&rig, "hue/api-key", "switch").await;
    told(&rig, &["credential", "rollback", "hue/api-key"]).await;
    at_step(&rig, "hue/api-key", "undone").await;
    assert_eq!(states(&rig, "hue/api-key").await, ["failed", "current"]);
    assert_eq!(
        current(&rig, "hue/api-key").await,
        (1, "first-value".into())
    );

    rotate(&rig, "hue/api-key", b"third-value", &["--overlap", "0s"]).await;
    at_step(&rig, "hue/api-key", "done").await;
    let back = told(&rig, &["credential", "rollback", "hue/api-key"]).await;
    assert_eq!(back["reason"], "rolled back to version 1");
    at_step(&rig, "hue/api-key", "switch").await;
    assert_eq!(
        current(&rig, "hue/api-key").await,
        (4, "first-value".into())
    );
    let twice = refused(&rig, &["credential", "rotate", "hue/api-key", "--generate"]).await;
    assert!(
        twice["detail"].as_str().unwrap().contains("in progress"),
        "{twice}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_makes_values_in_the_shape_of_their_kind() {
    let rig = home().await;
    for (name, kind, length) in [
        ("db/password", "password", 32),
        ("esp/api", "encryption-key", 44),
        ("wifi/guests", "wifi-key", 20),
    ] {
        let add = [
            "credential",
            "add",
            name,
            "--env",
            "home",
            "--kind",
            kind,
            "--owner",
            "anna",
            "--purpose",
            "x",
            "--generate",
        ];
        let made = told(&rig, &add).await;
        assert_eq!(made["credential"]["provenance"]["origin"], "generated");
        let (_, value) = current(&rig, name).await;
        assert!(value.len() >= length, "{kind}: {} characters", value.len());
        // What was generated once is generated again, without anybody giving a value.
        told(&rig, &["credential", "rotate", name, "--overlap", "0s"]).await;
        at_step(&rig, name, "done").await;
        assert_ne!(current(&rig, name).await.1, value);
    }
    added(&rig, "cloud/token", "home", b"given-value", &[]).await;
    let nobody = refused(&rig, &["credential", "rotate", "cloud/token"]).await;
    assert!(
        nobody["remedy"].as_str().unwrap().contains("--from-file"),
        "{nobody}"
    );
    let same = json(
        &with_input(
            &rig,
            &["credential", "rotate", "cloud/token", "-", "--json"],
            b"given-value",
        )
        .await,
    );
    assert!(
        same["error"]["detail"]
            .as_str()
            .unwrap()
            .contains("as version 1"),
        "{same}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_is_a_finding_and_is_rotated_by_itself_where_that_was_allowed() {
    let rig = home().await;
    added(
        &rig,
        "hue/api-key",
        "home",
        b"old-value",
        &["--rotate-after-uses", "1"],
    )
    .await;
    current(&rig, "hue/api-key").await;
    let findings = crate::posture::of_inventory(&rig).await;
    assert_eq!(findings[0]["kind"], "due");
    assert!(
        findings[0]["what"]
            .as_str()
            .unwrap()
            .contains("given out 1 times"),
        "{findings}"
    );
    let due = told(&rig, &["credential", "list", "--search", "hue"]).await;
    assert!(due[0]["due"].is_string());

    let add = [
        "credential",
        "add",
        "db/password",
        "--env",
        "home",
        "--kind",
        "password",
        "--owner",
        "anna",
        "--purpose",
        "x",
        "--generate",
        "--rotate-after-uses",
        "1",
        "--rotate-automatically",
        "--overlap",
        "0s",
    ];
    told(&rig, &add).await;
    let (_, first) = current(&rig, "db/password").await;
    // What is due is looked for every ten seconds.
    at_step(&rig, "db/password", "done").await;
    let (version, second) = current(&rig, "db/password").await;
    assert_eq!(version, 2);
    assert_ne!(first, second);
    let begun = records(&rig.verified_log().await, "rotation.begin");
    assert_eq!(begun[0]["actor"]["name"], "gateway");
    assert!(begun[0]["reason"].as_str().unwrap().starts_with("due: "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_was_given_and_never_worked_ends_nothing_at_its_bridge() {
    let rig = home().await;
    let system = System::connected(&rig, "first-value", &ALL).await;
    added(
        &rig,
        "sys/token",
        "home",
        b"first-value",
        &["--remote-id", "user"],
    )
    .await;
    rotate(&rig, "sys/token", b"mistyped", &["--remote-id", "user"]).await;
    at_step(&rig, "sys/token", "undone").await;
    assert!(!system.path("at-revoke-before").exists());
    assert_eq!(current(&rig, "sys/token").await, (1, "first-value".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_bridge_knows_by_the_name_of_the_value_in_use_is_not_ended() {
    let rig = home().await;
    let system = System::connected(&rig, "first-value", &ALL).await;
    added(
        &rig,
        "sys/token",
        "home",
        b"first-value",
        &["--remote-id", "user"],
    )
    .await;
    // A person has set another password at the bridge itself.
    system.takes(&["second-value"]);
    let more = ["--remote-id", "user", "--overlap", "0s"];
    rotate(&rig, "sys/token", b"second-value", &more).await;
    let done = at_step(&rig, "sys/token", "done").await;
    assert!(!system.path("at-revoke-before").exists(), "{done}");
    assert_eq!(states(&rig, "sys/token").await, ["current", "retired"]);
    assert_eq!(system.live(), ["second-value"]);
}
