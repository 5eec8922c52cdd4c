//! The examples of `docs/CONNECTORS.md`, run as they stand there.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use hearthkey_bridges::{
    BridgeKind, Connector, Progress, Revoked, Verified, connect, connect_with,
};
use hearthkey_core::time::Span;
use serde_json::{Value, json};

use crate::command::Program;
use crate::http::Cloud;
use crate::server::{Reply, Server};
use crate::values::{AUTHORITY, BRIEF, held, news, order, secret};

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/CONNECTORS.md");
    fs::read_to_string(path).unwrap()
}

/// The fenced block that follows a marker.
fn block(marker: &str) -> String {
    let page = page();
    let marker = format!("<!-- {marker} -->");
    let after = page
        .split(&marker)
        .nth(1)
        .unwrap_or_else(|| unreachable!("{marker}"));
    let fenced = after.split("```").nth(1).unwrap();
    fenced.split_once('\n').unwrap().1.to_owned()
}

/// One credential's whole life.
async fn lives(bridge: &dyn Connector) {
    let ignored = Progress::ignored();
    let mut wanted = order("attic cloud/key v1");
    wanted.lifetime = Some(Span::hours(1));
    let minted = bridge.mint(&wanted, &ignored).await.unwrap();
    assert_eq!(minted.lifetime, Some(Span::hours(1)));
    let first = held(
        minted.value.expose_text().unwrap(),
        minted.remote_id.as_deref(),
    );
    let mut next = order("attic cloud/key v2");
    next.replaces = Some(first.clone());
    let minted = bridge.mint(&next, &ignored).await.unwrap();
    let second = held(
        minted.value.expose_text().unwrap(),
        minted.remote_id.as_deref(),
    );
    for live in [&first, &second] {
        assert_eq!(bridge.verify(live).await, Ok(Verified::Works));
    }
    assert!(!bridge.scopes(&second).await.unwrap().rights.is_empty());
    assert_eq!(bridge.revoke(&first).await, Ok(Revoked::Gone));
    assert!(matches!(
        bridge.verify(&first).await,
        Ok(Verified::Fails(_))
    ));
    assert_eq!(bridge.verify(&second).await, Ok(Verified::Works));
    if bridge.abilities().notify {
        assert_eq!(bridge.notify(&news()).await, Ok(()));
    }
}

#[tokio::test]
async fn the_examples_that_tell_a_pipeline_say_what_the_page_says() {
    let works = [("GitHub", 204), ("GitLab", 201)];
    for (host, status) in works {
        let server = Server::plain(move |_| Reply::json(status, "")).await;
        let mut settings: Value = serde_json::from_str(&block(&format!("notify: {host}"))).unwrap();
        settings["base_url"] = server.url().into();
        let authority = Some(secret(AUTHORITY));
        let bridge = connect_with(BridgeKind::Http, &settings.to_string(), authority, BRIEF);
        let bridge = bridge.unwrap();
        assert!(bridge.abilities().notify && !bridge.abilities().mint);
        assert_eq!(bridge.notify(&news()).await, Ok(()));
        let asked = &server.asked()[0];
        match host {
            "GitHub" => {
                assert_eq!(asked.target, "/repos/anna/lights/dispatches");
                assert_eq!(asked.header("authorization"), format!("Bearer {AUTHORITY}"));
                let payload = json!({"credential": "hue/api-key", "environment": "lab", "until": "2026-11-24T10:00:00Z"});
                let said = json!({"event_type": "credential-switch", "client_payload": payload});
                assert_eq!(asked.json(), said);
            }
            _ => {
                assert_eq!(asked.target, "/projects/42/trigger/pipeline");
                assert!(asked.body.contains("variables%5BHEARTHKEY_EVENT%5D=switch"));
                assert!(
                    asked
                        .body
                        .contains("variables%5BHEARTHKEY_CREDENTIAL%5D=hue%2Fapi-key")
                );
            }
        }
    }
}

#[tokio::test]
async fn the_http_example_works_as_it_is_printed() {
    let cloud = Arc::new(Cloud::default());
    let behind = cloud.clone();
    let server = Server::tls(move |asked| behind.answer(&asked)).await;
    let mut settings: Value = serde_json::from_str(&block("example: http")).unwrap();
    // The host and its certificate are the server's; everything else is the page's.
    settings["base_url"] = format!("{}/api", server.url()).into();
    settings["pin_sha256"] = server.identity.as_ref().unwrap().pin.to_string().into();
    let authority = Some(secret(AUTHORITY));
    let bridge = connect_with(BridgeKind::Http, &settings.to_string(), authority, BRIEF).unwrap();
    lives(bridge.as_ref()).await;
    assert_eq!(cloud.live(), 1);
}

#[tokio::test]
async fn the_command_example_works_as_it_is_printed() {
    if !Path::new("/usr/bin/python3").exists() {
        println!("skipped: the example is written in Python, and /usr/bin/python3 is not here");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("keys.json").display().to_string();
    let text = block("example: command").replace("/var/lib/example/keys.json", &database);
    let program = Program::written(&text);
    let patience = hearthkey_bridges::Patience::default();
    lives(program.bridge(patience).as_ref()).await;
    let mut settings: Value = serde_json::from_str(&block("example: command settings")).unwrap();
    settings["program"] = program.path().display().to_string().into();
    assert!(connect(BridgeKind::Command, &settings.to_string(), None).is_ok());
}

#[test]
fn the_settings_of_every_kind_are_those_that_it_takes() {
    for kind in BridgeKind::ALL {
        let name = match kind {
            BridgeKind::Http => "example: http".to_owned(),
            // Its program must exist: see the example above.
            BridgeKind::Command => continue,
            other => format!("settings: {other}"),
        };
        let made = connect(kind, &block(&name), Some(secret(AUTHORITY)));
        assert!(made.is_ok(), "{kind}: {:?}", made.err());
    }
}
