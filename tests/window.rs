//! The desktop window asks for a code as the socket does, and one that was shown is good there for five minutes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hearthkey_gateway::{Announce, Desktop, RunConfig};
use hyper::{Method, Request};
use serde_json::{Value, json};

use crate::here::owned;
use crate::people::code;
use crate::rig::Rig;
use crate::vault::{records, told};

/// The window of a home whose gateway has been stopped.
fn window(rig: &Rig) -> Desktop {
    let config = RunConfig {
        data_dir: rig.data_dir.clone(),
        mqtt: format!("{}:18883", rig.host).parse().unwrap(),
        http: Some(format!("{}:18443", rig.host).parse().unwrap()),
        hosts: vec![rig.host.clone()],
        announce: Announce::Off,
        passphrase: None,
        connections_max: None,
    };
    Desktop::new(config, |_| {})
}

async fn ask(window: &Desktop, method: Method, path: &str, body: &Value) -> (u16, Value) {
    let request = Request::builder()
        .method(method)
        .uri(format!("hearthkey://localhost{path}"))
        .header("content-type", "application/json")
        .body(body.to_string().into_bytes());
    let answer = window.answer(request.unwrap()).await;
    let said = serde_json::from_slice(answer.body()).unwrap_or_default();
    (answer.status().as_u16(), said)
}

async fn post(window: &Desktop, path: &str, body: Value) -> (u16, Value) {
    ask(window, Method::POST, path, &body).await
}

const STEP_UP: &str = "/api/v1/session/step-up/code";

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_a_code_on_the_socket_takes_one_in_the_window() {
    let (mut rig, _front, kept) = owned().await;
    rig.stop().await;
    let window = window(&rig);
    let critical = json!({"names": ["crit/key"], "use": "reveal", "reason": "test"});
    let reveal = "/api/v1/environments/lab/reveal";
    let people = "/api/v1/people";
    for (path, body) in [
        (reveal, critical.clone()),
        ("/api/v1/environments", json!({"name": "staging"})),
        (people, json!({"name": "eve", "role": "owner"})),
        ("/api/v1/people/anna/invite", json!({})),
    ] {
        let (status, said) = post(&window, path, body).await;
        let refused = (status, said["code"].as_str());
        assert_eq!(refused, (403, Some("second_factor_needed")), "{said}");
        let remedy = said["remedy"].as_str().unwrap();
        assert!(!remedy.contains("--person"), "{remedy}");
    }
    // What takes none on the socket takes none here.
    let standard = json!({"names": ["std/key"], "use": "reveal"});
    assert_eq!(post(&window, reveal, standard).await.0, 200);
    let operator = json!({"name": "otto", "role": "operator"});
    assert_eq!(post(&window, people, operator).await.0, 200);
    for shown in [
        json!({"person": "anna", "code": "000000"}),
        json!({"person": "nobody", "code": code(&kept.totp, 1)}),
        json!({"code": code(&kept.totp, 1)}),
    ] {
        let (status, said) = post(&window, STEP_UP, shown).await;
        let refused = (status, said["code"].as_str());
        assert_eq!(refused, (403, Some("second_factor_needed")), "{said}");
    }
    let shown = json!({"person": "anna", "code": code(&kept.totp, 1)});
    let (status, session) = post(&window, STEP_UP, shown.clone()).await;
    assert_eq!(status, 200, "{session}");
    assert!(session["fresh_until"].is_string(), "{session}");
    assert_eq!(post(&window, STEP_UP, shown).await.0, 403, "it is used up");
    // Now it may, more than once; on the socket another code is needed all the same.
    for _ in 0..2 {
        let (status, given) = post(&window, reveal, critical.clone()).await;
        let value = given["values"][0]["value"].as_str().unwrap_or_default();
        let value = STANDARD.decode(value).unwrap();
        assert_eq!((status, value.as_slice()), (200, &b"critical-value"[..]));
    }
    let eve = json!({"name": "eve", "role": "owner"});
    assert_eq!(post(&window, people, eve).await.0, 200);
    let on_the_socket = "credential reveal crit/key --env lab --reason test --json";
    let args: Vec<&str> = on_the_socket.split(' ').collect();
    let refused = rig.cli(&args).await;
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(said.contains("second_factor_needed"), "{said}");
    window.close().await;
    rig.start().await;
    let log = rig.verified_log().await;
    for action in ["session.step-up", "credential.read", "person.invite"] {
        let last = records(&log, action).pop().unwrap();
        assert_eq!(last["details"]["second_factor"], "anna", "{last}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_in_the_window_is_worth_nothing_once_its_person_may_do_less() {
    let (mut rig, _front, kept) = owned().await;
    rig.stop().await;
    let window = window(&rig);
    let shown = json!({"person": "anna", "code": code(&kept.totp, 1)});
    assert_eq!(post(&window, STEP_UP, shown).await.0, 200);
    let eve = json!({"name": "eve", "role": "owner"});
    let (status, invited) = post(&window, "/api/v1/people", eve).await;
    assert_eq!(status, 200, "{invited}");
    let front = crate::service::Front::new(&rig).await;
    let link = invited["url"].as_str().unwrap();
    crate::people::Browser::new(&front).join(link, "eve").await;
    told(&rig, &["person", "change", "anna", "--role", "auditor"]).await;
    let add = json!({"name": "staging"});
    let (status, said) = post(&window, "/api/v1/environments", add).await;
    assert_eq!(status, 403, "{said}");
    window.close().await;
}
