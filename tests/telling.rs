//! Places of use are told of a rotation: a pipeline starts, an application fetches the new value.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::rig::{Rig, until};
use crate::rotation::{at_step, rotate};
use crate::server::{Asked, Reply, Server};
use crate::vault::{added, home, records, refused, told};

/// A build server that is up or down.
async fn build_server(up: &Arc<AtomicBool>) -> Server {
    let up = Arc::clone(up);
    Server::plain(move |_| match up.load(Ordering::SeqCst) {
        true => Reply::json(204, ""),
        false => Reply::json(503, json!({"message": "down for maintenance"})),
    })
    .await
}

async fn connected(rig: &Rig, server: &Server) -> Value {
    added(rig, "ci/trigger", "home", b"trigger-secret", &[]).await;
    let request = json!({
        "method": "POST", "path": "/pipelines",
        "headers": {"Authorization": "Bearer {{authority}}"},
        "json": {
            "event_type": "credential-{{event}}", "credential": "{{environment}}/{{credential}}",
            "version": "{{version}}", "until": "{{deadline}}"
        }
    });
    let mut connect = vec!["bridge", "connect", "http", "ci", "--env", "home"];
    connect.extend(["--owner", "anna", "--purpose", "builds"]);
    connect.extend(["--authority", "ci/trigger"]);
    let settings = [
        format!("base_url={}", server.url()),
        format!("notify={request}"),
    ];
    connect.extend(["--set", &settings[0], "--set", &settings[1]]);
    told(rig, &connect).await
}

/// What was asked, once there is so much of it.
async fn asked(server: &Server, count: usize) -> Vec<Asked> {
    until("the place was told", async || {
        let asked = server.asked();
        (asked.len() >= count).then_some(asked)
    })
    .await
}

async fn not_told(rig: &Rig) -> Vec<Value> {
    let findings = crate::posture::of_inventory(rig).await;
    let mut findings = findings.as_array().unwrap().clone();
    findings.retain(|finding| finding["kind"] == "not-told");
    findings
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_can_be_told_hears_of_a_switch_and_its_end_and_never_a_value() {
    let rig = home().await;
    let server = build_server(&Arc::new(AtomicBool::new(true))).await;
    let bridge = connected(&rig, &server).await;
    assert_eq!(bridge["abilities"]["notify"], true);
    let places = ["--used-by", "ci", "--used-by", "a-notebook"];
    added(&rig, "hue/api-key", "home", b"old-value", &places).await;

    rotate(&rig, "hue/api-key", b"new-value", &[]).await;
    let switch = &asked(&server, 1).await[0];
    let deadline = at_step(&rig, "hue/api-key", "switch").await["deadline"].clone();
    assert_eq!(
        (switch.method.as_str(), switch.target.as_str()),
        ("POST", "/pipelines")
    );
    assert_eq!(switch.header("authorization"), "Bearer trigger-secret");
    let said = json!({
        "event_type": "credential-switch", "credential": "home/hue/api-key", "version": 2, "until": deadline
    });
    assert_eq!(switch.json(), said);

    // Being told is not having switched.
    let waiting = at_step(&rig, "hue/api-key", "switch").await;
    assert_eq!(waiting["unconfirmed"], json!(["ci", "a-notebook"]));
    for place in ["ci", "a-notebook"] {
        told(
            &rig,
            &["credential", "confirm", "hue/api-key", "--dependent", place],
        )
        .await;
    }
    at_step(&rig, "hue/api-key", "done").await;
    let done = &asked(&server, 2).await[1];
    let said = json!({
        "event_type": "credential-done", "credential": "home/hue/api-key", "version": 2, "until": ""
    });
    assert_eq!(done.json(), said);
    for request in server.asked() {
        assert!(!format!("{request:?}").contains("-value"), "{request:?}");
    }
    let events = until("both are on record", async || {
        let log = rig.verified_log().await;
        let records = records(&log, "rotation.tell");
        let event = |record: &Value| record["details"]["event"].clone();
        let events: Vec<Value> = records.iter().map(event).collect();
        (events.len() == 2).then_some(events)
    })
    .await;
    assert_eq!(events, ["switch", "done"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_is_down_is_told_when_it_is_up_again_also_by_a_gateway_that_was_killed() {
    let mut rig = home().await;
    let up = Arc::new(AtomicBool::new(false));
    let server = build_server(&up).await;
    connected(&rig, &server).await;
    added(
        &rig,
        "hue/api-key",
        "home",
        b"old-value",
        &["--used-by", "ci"],
    )
    .await;
    rotate(&rig, "hue/api-key", b"new-value", &[]).await;
    at_step(&rig, "hue/api-key", "switch").await;
    let finding = until("it is a finding", async || not_told(&rig).await.pop()).await;
    let what = finding["what"].as_str().unwrap();
    assert!(what.contains("version 2") && what.contains("503"), "{what}");
    assert!(!what.contains("trigger-secret"), "{what}");

    // What comes later is not told before it.
    told(&rig, &["credential", "rollback", "hue/api-key"]).await;
    at_step(&rig, "hue/api-key", "undone").await;
    rig.kill9().await;
    rig.start().await;
    let before = server.asked().len();
    up.store(true, Ordering::SeqCst);
    let told_now = asked(&server, before + 2).await;
    let events: Vec<Value> = told_now[told_now.len() - 2..]
        .iter()
        .map(|request| request.json()["event_type"].clone())
        .collect();
    assert_eq!(events, ["credential-switch", "credential-undone"]);
    assert_eq!(told_now.last().unwrap().json()["version"], 1);
    until("nothing is left to find", async || {
        not_told(&rig).await.is_empty().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn news_cannot_be_made_to_carry_a_value() {
    let rig = home().await;
    for (template, hint) in [("{{value}}", "fetched"), ("{{lable}}", "{{label}}")] {
        let request = json!({"method": "POST", "path": "/x", "json": {"token": template}});
        let mut connect = vec!["bridge", "connect", "http", "ci", "--env", "home"];
        connect.extend(["--owner", "anna", "--purpose", "builds"]);
        let notify = format!("notify={request}");
        connect.extend(["--set", "base_url=https://localhost", "--set", &notify]);
        let why = refused(&rig, &connect).await;
        assert_eq!(why["code"], "invalid");
        assert!(why["detail"].as_str().unwrap().contains(hint), "{why}");
    }
}
