//! Asking again makes nothing twice, and a change that rests on an old look is refused.

use serde_json::json;

use crate::people::{Browser, setup_link};
use crate::service::home;

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_is_asked_for_twice_with_one_key_is_opened_once() {
    let (rig, front) = home().await;
    let mut anna = Browser::new(&front);
    anna.join(&setup_link(&rig).await, "anna").await;
    let claim = |device: &str| {
        json!({"device": device, "profile": "generic", "environment": "home",
               "owner": "anna", "purpose": "test", "lifetime": "15m"})
    };
    let path = "/api/v1/claims";
    let named = ["idempotency-key: 0f0e0d"];

    let first = anna.post_with(path, &named, &claim("lamp")).await;
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(first.raw_header("idempotency-replayed"), None);
    let again = anna.post_with(path, &named, &claim("lamp")).await;
    assert_eq!(again.json(), first.json(), "the secret, too");
    assert_eq!(again.raw_header("idempotency-replayed"), Some("true"));

    let other = anna.post_with(path, &named, &claim("plug")).await;
    assert_eq!(other.status, 422);
    assert_eq!(other.json()["code"], "idempotency_key_reused");
    let local = rig.claim("lamp").await.unwrap();
    assert_ne!(
        Some(local.claim.as_str()),
        first.json()["claim"].as_str(),
        "without the key it is another claim"
    );
    let strange = ["idempotency-key: with space"];
    let refused = anna.post_with(path, &strange, &claim("lamp")).await;
    assert_eq!(refused.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_saw_the_same_device_one_changes_it() {
    let (rig, front) = home().await;
    let mut anna = Browser::new(&front);
    anna.join(&setup_link(&rig).await, "anna").await;
    rig.enroll("lamp").await;
    let path = "/api/v1/devices/lamp";
    let shown = anna.get(path).await;
    let seen = shown.raw_header("etag").unwrap();
    let expecting = format!("if-match: {seen}");
    let suspend = format!("{path}/suspend");

    let first = anna.post_with(&suspend, &[&expecting], &json!({})).await;
    assert_eq!(first.status, 200, "{first:?}");
    let resume = format!("{path}/resume");
    let second = anna.post_with(&resume, &[&expecting], &json!({})).await;
    assert_eq!(second.status, 412);
    assert_eq!(second.json()["code"], "changed_meanwhile");
    assert_eq!(rig.device("lamp").await.state, "suspended");

    let shown = anna.get(path).await;
    let newer = shown.raw_header("etag").unwrap();
    assert_ne!(newer, seen);
    let expecting = format!("if-match: {newer}");
    let third = anna.post_with(&resume, &[&expecting], &json!({})).await;
    assert_eq!(third.status, 200, "{third:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_somebody_else_has_changed_is_not_written_over() {
    let (rig, front) = home().await;
    let mut anna = Browser::new(&front);
    anna.join(&setup_link(&rig).await, "anna").await;
    let generic = anna.get("/api/v1/profiles/generic").await.json();
    let generic = generic["toml"].as_str().unwrap();
    let own = generic.replace("name = \"generic\"", "name = \"own\"");
    let put = |comment: &str| json!({"toml": format!("# {comment}\n{own}"), "built_in": false});
    let path = "/api/v1/profiles";
    assert_eq!(anna.post(path, &put("one")).await.status, 200);

    let shown = anna.get("/api/v1/profiles/own").await;
    let expecting = format!("if-match: {}", shown.raw_header("etag").unwrap());
    assert_eq!(anna.post(path, &put("two")).await.status, 200);
    let refused = anna.post_with(path, &[&expecting], &put("three")).await;
    assert_eq!(refused.status, 412, "{refused:?}");
    let kept = anna.get("/api/v1/profiles/own").await.json();
    assert!(kept["toml"].as_str().unwrap().starts_with("# two"));
}
