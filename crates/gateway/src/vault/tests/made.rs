use hearthkey_api::code;
use hearthkey_core::time::Span;

use super::*;

fn to(value: &str) -> RotateRequest {
    RotateRequest {
        value: Some(secret(value)),
        ..RotateRequest::default()
    }
}

fn asking() -> RotateRequest {
    RotateRequest::default()
}

/// A Wi-Fi network: a new passphrase costs every device its connection.
async fn wifi(home: &TestHome) {
    let mut request = home.program("wifi", &[]);
    request.kind = "wifi".into();
    request.settings = serde_json::json!({ "ssid": "home", "devices": 12 });
    home.vault.connect_bridge(&HERE, request).await.unwrap();
    let mut request = generated("wifi/home");
    request.kind = "wifi-key".into();
    request.rotation.every = Some("30d".into());
    request.rotation.automatic = true;
    home.add(request).await;
    home.drive("wifi/home").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_costs_something_begins_when_the_cost_is_accepted() {
    let home = TestHome::new().await;
    wifi(&home).await;
    let refused = problem(home.rotate("wifi/home", asking()).await);
    assert_eq!(refused.code, code::REFUSED);
    assert!(refused.detail.contains("12 devices"));
    let mut request = asking();
    request.accept_cost = true;
    home.rotate("wifi/home", request).await.unwrap();
    home.drive("wifi/home").await;
    assert_eq!(home.versions("wifi/home").last().unwrap(), "current");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_costs_something_is_not_replaced_by_itself() {
    let home = TestHome::new().await;
    wifi(&home).await;
    let before = home.records("rotation.begin").len();
    home.wait(Span::days(31));
    home.vault.begin_due(home.now()).await;
    assert_eq!(home.records("rotation.begin").len(), before);
}

/// A bridge that makes, tests and ends values, and a credential that it made.
async fn made(can: &[&str]) -> TestHome {
    let home = TestHome::new().await;
    home.connect("cloud", can).await;
    home.add(generated("cloud/key")).await;
    home.drive("cloud/key").await;
    home
}

const ALL: [&str; 4] = ["mint", "verify", "revoke", "two-live"];

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_makes_tests_and_ends_values_in_this_order() {
    let home = made(&ALL).await;
    let before = home.value("cloud/key").await.unwrap();
    home.rotate("cloud/key", asking()).await.unwrap();
    home.drive("cloud/key").await;
    assert_ne!(home.value("cloud/key").await.unwrap(), before);
    assert_eq!(home.times("cloud", "revoke"), 0);
    home.wait(Span::hours(24));
    home.drive("cloud/key").await;
    assert_eq!(home.times("cloud", "revoke"), 1);
    assert_eq!(home.versions("cloud/key"), ["retired", "current"]);
    assert!(!home.log_text().contains("minted value"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_value_that_does_not_work_is_never_current() {
    let home = made(&ALL).await;
    let before = home.value("cloud/key").await.unwrap();
    home.set("cloud", "fails");
    home.rotate("cloud/key", to("a wrong value")).await.unwrap();
    home.vault.take_next(&id("cloud/key")).await;
    home.unset("cloud", "fails");
    home.drive("cloud/key").await;
    assert_eq!(home.value("cloud/key").await.unwrap(), before);
    assert_eq!(home.versions("cloud/key"), ["current", "failed"]);
    assert_eq!(home.shown("cloud/key").rotations[0].step, "undone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_value_that_stopped_working_is_undone_and_the_old_one_lives_on() {
    let home = made(&ALL).await;
    let before = home.value("cloud/key").await.unwrap();
    home.rotate("cloud/key", asking()).await.unwrap();
    home.drive("cloud/key").await;
    let new = home.value("cloud/key").await.unwrap();
    home.end_at_bridge("cloud", &new);
    home.wait(Span::hours(24));
    home.drive("cloud/key").await;
    assert_eq!(home.value("cloud/key").await.unwrap(), before);
    assert_eq!(home.versions("cloud/key"), ["current", "failed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_that_says_that_a_value_is_gone_which_works_is_not_believed() {
    let home = made(&ALL).await;
    home.rotate("cloud/key", asking()).await.unwrap();
    home.drive("cloud/key").await;
    home.set("cloud", "lies");
    home.wait(Span::hours(24));
    home.drive("cloud/key").await;
    assert_eq!(home.versions("cloud/key"), ["previous", "current"]);
    home.unset("cloud", "lies");
    home.wait(Span::minutes(5));
    home.drive("cloud/key").await;
    assert_eq!(home.versions("cloud/key"), ["retired", "current"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_neither_value_works_nothing_is_ended_and_a_person_is_asked() {
    let home = made(&ALL).await;
    home.rotate("cloud/key", asking()).await.unwrap();
    home.drive("cloud/key").await;
    home.wait(Span::hours(24));
    home.set("cloud", "fails");
    home.drive("cloud/key").await;
    // Neither works: nothing is ended, and a person is asked.
    assert_eq!(home.times("cloud", "revoke"), 0);
    assert_eq!(home.versions("cloud/key"), ["previous", "current"]);
    assert_eq!(home.found("cloud/key"), ["rotation-held"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_that_gives_no_answer_is_asked_eight_times_and_then_a_person() {
    let home = made(&ALL).await;
    let before = home.value("cloud/key").await.unwrap();
    home.set("cloud", "silent");
    home.rotate("cloud/key", asking()).await.unwrap();
    for _ in 0..10 {
        home.drive("cloud/key").await;
        home.wait(Span::minutes(5));
    }
    // One of them was the first value.
    assert_eq!(home.times("cloud", "mint"), 9);
    assert!(home.shown("cloud/key").rotations[0].held);
    assert_eq!(home.found("cloud/key"), ["rotation-held"]);
    assert_eq!(home.value("cloud/key").await.unwrap(), before);
    home.unset("cloud", "silent");
    home.rotate("cloud/key", asking()).await.unwrap();
    assert_eq!(home.records("rotation.resume").len(), 1);
    home.drive("cloud/key").await;
    assert_ne!(home.value("cloud/key").await.unwrap(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_waits_for_a_person_is_given_up_for_another_value() {
    let home = made(&["mint"]).await;
    home.set("cloud", "silent");
    home.rotate("cloud/key", asking()).await.unwrap();
    for _ in 0..8 {
        home.drive("cloud/key").await;
        home.wait(Span::minutes(5));
    }
    home.rotate("cloud/key", to("entered by hand"))
        .await
        .unwrap();
    home.drive("cloud/key").await;
    assert_eq!(home.value("cloud/key").await.unwrap(), "entered by hand");
    assert_eq!(home.records("rotation.give_up").len(), 1);
    // What the bridge may have made is said.
    assert_eq!(home.found("cloud/key"), ["leftover"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_try_is_recorded_before_the_bridge_is_asked() {
    let home = made(&ALL).await;
    let before = home.records("rotation.try").len();
    home.set("cloud", "silent");
    home.rotate("cloud/key", asking()).await.unwrap();
    home.drive("cloud/key").await;
    assert_eq!(home.records("rotation.try").len(), before + 1);
    let waits = home.records("rotation.wait").pop().unwrap();
    assert_eq!(waits.details["tries"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_is_a_bridge_is_told_of_the_new_version_and_not_of_its_value() {
    let home = TestHome::new().await;
    home.connect("builds", &["notify"]).await;
    let mut request = asked("hue/key");
    request.used_by = vec!["builds".into()];
    home.add(request).await;
    home.renew("hue/key", "a new value").await;
    let store = home.ctx.store();
    let due = store
        .read(|registry| registry.due_errands(home.now(), 10))
        .unwrap();
    assert_eq!(due.len(), 1);
    home.vault.tell(&due[0]).await;
    assert_eq!(home.times("builds", "notify"), 1);
    let said = fs::read_to_string(home.bridge_dir("builds").join("said")).unwrap();
    assert!(said.contains("\"version\":2") && !said.contains("a new value"));
    assert_eq!(home.records("rotation.tell").len(), 1);
    let later = home.now().after(Span::days(1));
    assert!(
        store
            .read(|registry| registry.due_errands(later, 10))
            .unwrap()
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_cannot_be_told_is_a_finding_until_it_is_told() {
    let home = TestHome::new().await;
    home.connect("builds", &["notify"]).await;
    let mut request = asked("hue/key");
    request.used_by = vec!["builds".into()];
    home.add(request).await;
    home.renew("hue/key", "a new value").await;
    home.set("builds", "silent");
    let store = home.ctx.store();
    let due = || {
        store
            .read(|registry| registry.due_errands(home.now(), 10))
            .unwrap()
    };
    home.vault.tell(&due()[0]).await;
    assert_eq!(home.found("hue/key"), ["not-told"]);
    // Not over and over.
    assert!(due().is_empty());
    home.wait(Span::minutes(5));
    home.unset("builds", "silent");
    home.vault.tell(&due()[0]).await;
    assert!(home.found("hue/key").is_empty());
}
