//! What a service's token does not reach, however it asks.

use serde_json::{Value, json};

use crate::pipeline::{ask, token};
use crate::rig::Rig;
use crate::service::{Front, Key, home};
use crate::vault::{added, records, told};

const LIST: &str = "/api/v1/credentials";

/// A page of the inventory, as a token's bearer gets it.
async fn page(front: &Front, token: &str, key: &Key, query: &str) -> Value {
    let claims = front.claims("GET", LIST, token);
    let path = format!("{LIST}?{query}");
    let (answer, _) = front.ask_with(&path, token, key, claims, &[]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

async fn bound(rig: &Rig, front: &Front, key: &Key, allow: &[&str]) -> String {
    let public = front.bench.dir.join(format!("{}.pub", key.name));
    let mut create = vec!["token", "create", "narrow", "--env", "lab"];
    for grant in allow {
        create.extend(["--allow", grant]);
    }
    create.extend(["--key", public.to_str().unwrap()]);
    let made = told(rig, &create).await;
    made["token"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_the_inventory_tells_nothing_of_what_its_reader_may_not_see() {
    let (rig, front) = home().await;
    for (name, environment) in [
        ("a/key", "lab"),
        ("b/key", "lab"),
        ("a/key", "home"),
        ("z/key", "lab"),
    ] {
        let value = format!("{environment} {name}");
        added(&rig, name, environment, value.as_bytes(), &[]).await;
    }
    let key = front.key("narrow").await;
    let token = bound(&rig, &front, &key, &["a/key:list", "z/key:list"]).await;
    let first = page(&front, &token, &key, "limit=1").await;
    assert_eq!(first["credentials"][0]["name"], "a/key");
    assert_eq!(first["next"], "a/key lab", "{first}");
    let last = page(&front, &token, &key, "limit=1&after=a%2Fkey%20lab").await;
    assert_eq!(last["credentials"][0]["name"], "z/key", "{last}");
    assert_eq!(last["next"], Value::Null, "{last}");
    for query in ["limit=1&q=b%2Fkey", "limit=1&environment=home"] {
        let none = page(&front, &token, &key, query).await;
        assert_eq!(none, json!({"credentials": [], "next": null}), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_rotate_may_not_say_to_what_nor_learns_who_else_has_it() {
    let (rig, front) = home().await;
    added(&rig, "a/key", "lab", b"lab-value", &[]).await;
    added(&rig, "b/key", "home", b"home-value", &[]).await;
    let rotating = token(&rig, &front, "rotating", &["a/key:list", "a/key:rotate"]).await;
    let poison = front.bench.dir.join("poison");
    std::fs::write(&poison, "home-value").unwrap();
    let rotate = [
        "credential",
        "rotate",
        "a/key",
        "--env",
        "lab",
        "--from-file",
    ];
    let rotate = [&rotate[..], &[poison.to_str().unwrap()]].concat();
    let (code, told_it) = ask(&rig, &rotating, &rotate).await;
    assert_eq!(code, Some(1));
    let why = told_it["error"]["detail"].as_str().unwrap();
    assert!(why.contains("no grant a/key:write"), "{told_it}");
    let allow = ["a/key:list", "a/key:rotate", "a/key:write"];
    let writing = token(&rig, &front, "writing", &allow).await;
    let (code, begun) = ask(&rig, &writing, &rotate).await;
    assert_eq!(code, Some(0), "{begun}");
    assert!(!begun.to_string().contains("same value"), "{begun}");
    let (_, findings) = ask(&rig, &writing, &["check"]).await;
    assert_eq!(findings, json!([]), "it shares with what it may not see");
    let log = rig.verified_log().await;
    let begun = records(&log, "rotation.begin");
    assert_eq!(begun[0]["details"]["shared_with"], json!(["home/b/key"]));
    let findings = crate::posture::of_inventory(&rig).await;
    assert_eq!(findings[0]["kind"], "shared-across-environments");
    assert_eq!(findings[0]["severity"], "critical", "{findings}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_does_not_reach_a_critical_value() {
    let (rig, front) = home().await;
    added(&rig, "a/key", "lab", b"lab-value", &["--tier", "critical"]).await;
    let reveal = [
        "credential",
        "reveal",
        "a/key",
        "--env",
        "lab",
        "--reason",
        "x",
    ];
    let wide = token(&rig, &front, "wide", &["a/*:read", "*:read", "*:lease"]).await;
    for args in [
        &reveal[..],
        &["credential", "lease", "a/key", "--env", "lab"],
    ] {
        let (code, refusal) = ask(&rig, &wide, args).await;
        assert_eq!(code, Some(1));
        let why = refusal["error"]["detail"].as_str().unwrap();
        assert!(why.contains("a pattern does not include it"), "{refusal}");
    }
    let named = token(&rig, &front, "named", &["a/key:read"]).await;
    assert_eq!(ask(&rig, &named, &reveal).await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_reports_stands_beside_what_others_found() {
    let (rig, front) = home().await;
    added(&rig, "a/key", "home", b"home-value", &[]).await;
    let key = front.key("narrow").await;
    let token = bound(&rig, &front, &key, &["a/key:list"]).await;
    let forged = json!({
        "kind": "leaked", "place": "credential:home/a/key", "what": "forged", "credential": null
    });
    let path = "/api/v1/findings";
    let body = [
        "-H",
        "content-type: application/json",
        "-d",
        &forged.to_string(),
    ];
    let answer = front.post(path, &token, &key, &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let findings = crate::posture::of_inventory(&rig).await;
    assert_eq!(
        findings[0]["object"], "token:narrow: credential:home/a/key",
        "{findings}"
    );
    let shown = told(&rig, &["credential", "show", "a/key", "--env", "home"]).await;
    assert_eq!(shown["findings"], json!([]), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_are_for_whoever_may_have_the_values() {
    let (rig, front) = home().await;
    added(&rig, "a/key", "lab", b"value-of-the-lab-4711", &[]).await;
    let tree = front.bench.dir.join("tree");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("file"), "x = value-of-the-lab-4711\n").unwrap();
    let scan = ["credential", "scan", tree.to_str().unwrap(), "--own-only"];
    let listing = token(&rig, &front, "listing", &["*:list"]).await;
    assert_eq!(ask(&rig, &listing, &scan).await.0, Some(0));
    let reading = token(&rig, &front, "reading", &["*:list", "*:read"]).await;
    assert_eq!(ask(&rig, &reading, &scan).await.0, Some(3));
    let log = rig.verified_log().await;
    let marks = records(&log, "credential.marks");
    assert_eq!(marks[0]["object"], "environment:lab");
    assert_eq!(marks[0]["details"]["marked"], 0);
}
