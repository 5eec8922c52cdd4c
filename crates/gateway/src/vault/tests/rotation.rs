use hearthkey_api::code;
use hearthkey_core::role::Act;
use hearthkey_core::time::Span;

use super::*;
use crate::auth::caller::tests::service;

fn to(value: &str) -> RotateRequest {
    RotateRequest {
        value: Some(secret(value)),
        ..RotateRequest::default()
    }
}

fn asking() -> RotateRequest {
    RotateRequest::default()
}

/// A credential that is used in these places.
async fn used_by(home: &TestHome, places: &[&str]) {
    let mut request = asked("hue/key");
    request.used_by = places.iter().map(|place| (*place).to_owned()).collect();
    home.add(request).await;
}

async fn confirm(home: &TestHome, place: &str) -> Result<RotationView, Failure> {
    let permit = here(Act::CredentialRotate);
    home.vault
        .confirm_rotation(&permit, &id("hue/key"), place)
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_value_is_current_and_the_old_one_lives_beside_it() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    home.rotate("hue/key", to("a new value")).await.unwrap();
    assert_eq!(home.versions("hue/key"), ["current", "pending"]);
    home.drive("hue/key").await;
    assert_eq!(home.versions("hue/key"), ["previous", "current"]);
    assert_eq!(home.shown("hue/key").rotations[0].step, "switch");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_value_is_out_of_use_a_day_later_and_no_sooner() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    home.renew("hue/key", "a new value").await;
    home.wait(Span::hours(23));
    home.drive("hue/key").await;
    assert_eq!(home.versions("hue/key"), ["previous", "current"]);
    home.wait(Span::hours(1));
    home.drive("hue/key").await;
    assert_eq!(home.versions("hue/key"), ["retired", "current"]);
    assert_eq!(home.records("rotation.done").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_overlap_the_old_value_is_out_of_use_at_once() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let mut request = to("a new value");
    request.overlap = Some("0s".into());
    home.rotate("hue/key", request).await.unwrap();
    home.drive("hue/key").await;
    assert_eq!(home.versions("hue/key"), ["retired", "current"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_ends_when_every_place_of_use_has_confirmed() {
    let home = TestHome::new().await;
    used_by(&home, &["ha", "builds"]).await;
    home.renew("hue/key", "a new value").await;
    confirm(&home, "ha").await.unwrap();
    home.drive("hue/key").await;
    assert_eq!(home.versions("hue/key"), ["previous", "current"]);
    let rotation = confirm(&home, "builds").await.unwrap();
    assert!(rotation.unconfirmed.is_empty());
    home.drive("hue/key").await;
    assert_eq!(home.versions("hue/key"), ["retired", "current"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_did_not_confirm_in_time_is_noted() {
    let home = TestHome::new().await;
    used_by(&home, &["ha", "builds"]).await;
    home.renew("hue/key", "a new value").await;
    confirm(&home, "ha").await.unwrap();
    home.wait(Span::hours(24));
    home.drive("hue/key").await;
    let record = home.records("rotation.switched").pop().unwrap();
    assert_eq!(record.details["unconfirmed"], serde_json::json!(["builds"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_confirms_once_and_only_where_it_is_one() {
    let home = TestHome::new().await;
    used_by(&home, &["ha", "builds"]).await;
    assert_eq!(refusal(confirm(&home, "ha").await), code::REFUSED);
    home.renew("hue/key", "a new value").await;
    let refused = problem(confirm(&home, "eve").await);
    assert_eq!(refused.code, code::REFUSED);
    assert!(refused.remedy.contains("ha, builds"));
    confirm(&home, "ha").await.unwrap();
    confirm(&home, "ha").await.unwrap();
    assert_eq!(home.records("rotation.confirm").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn leave_for_another_environment_confirms_nothing() {
    let home = TestHome::new().await;
    used_by(&home, &["ha"]).await;
    home.renew("hue/key", "a new value").await;
    let permit = crate::process::testing::operator_in("home", Act::CredentialRotate);
    let refused = home
        .vault
        .confirm_rotation(&permit, &id("hue/key"), "ha")
        .await;
    assert_eq!(refusal(refused), code::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_rotation_runs_at_a_time_and_its_end_can_be_brought_forward() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    home.renew("hue/key", "a new value").await;
    assert_eq!(
        refusal(home.rotate("hue/key", to("another")).await),
        code::REFUSED
    );
    let mut sooner = asking();
    sooner.overlap = Some("1h".into());
    home.rotate("hue/key", sooner).await.unwrap();
    assert_eq!(home.records("rotation.hasten").len(), 1);
    home.wait(Span::hours(1));
    home.drive("hue/key").await;
    assert_eq!(home.versions("hue/key"), ["retired", "current"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_an_overlap_is_not_put_off_by_asking_again() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    home.renew("hue/key", "a new value").await;
    let mut later = asking();
    later.overlap = Some("80d".into());
    home.rotate("hue/key", later).await.unwrap();
    home.wait(Span::hours(24));
    home.drive("hue/key").await;
    assert_eq!(home.versions("hue/key"), ["retired", "current"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_values_live_ninety_days_at_most_and_for_a_token_as_the_schedule_says() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let mut request = to("a new value");
    request.overlap = Some("91d".into());
    assert_eq!(
        refusal(home.rotate("hue/key", request.clone()).await),
        code::INVALID
    );
    request.overlap = Some("25h".into());
    let writer = service(&["hue/key:rotate", "hue/key:write"]);
    let refused = home
        .vault
        .rotate_credential(&writer, &id("hue/key"), request.clone())
        .await;
    assert_eq!(refusal(refused), code::REFUSED);
    assert!(home.rotate("hue/key", request).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_critical_value_does_not_live_on_longer_without_a_second_factor() {
    let home = TestHome::new().await;
    home.add(critical("hue/key")).await;
    home.joined().await;
    let mut request = to("a new value");
    request.overlap = Some("25h".into());
    assert_eq!(
        refusal(home.rotate("hue/key", request.clone()).await),
        code::REFUSED
    );
    request.overlap = Some("1h".into());
    assert!(home.rotate("hue/key", request).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_the_credential_has_is_no_new_one() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let refused = home.rotate("hue/key", to(&value_of("hue/key"))).await;
    assert_eq!(refusal(refused), code::REFUSED);
    assert!(home.records("rotation.begin").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_is_given_or_generated() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let mut request = to("a new value");
    request.generate = true;
    assert_eq!(
        refusal(home.rotate("hue/key", request).await),
        code::INVALID
    );
    let mut request = asking();
    request.generate = true;
    home.rotate("hue/key", request).await.unwrap();
    home.drive("hue/key").await;
    assert_eq!(home.value("hue/key").await.unwrap().len(), 32);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_entered_is_not_made_here_and_what_was_made_here_is() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    home.add(generated("ha/key")).await;
    assert_eq!(
        refusal(home.rotate("hue/key", asking()).await),
        code::REFUSED
    );
    let before = home.value("ha/key").await.unwrap();
    home.rotate("ha/key", asking()).await.unwrap();
    home.drive("ha/key").await;
    assert_ne!(home.value("ha/key").await.unwrap(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_elsewhere_or_retired_is_not_rotated() {
    let home = TestHome::new().await;
    let mut request = asked("hue/key");
    request.value = None;
    request.location = Some("a safe".into());
    home.add(request).await;
    home.add(asked("ha/key")).await;
    home.retire("ha/key").await;
    for name in ["hue/key", "ha/key"] {
        assert_eq!(
            refusal(home.rotate(name, to("a new value")).await),
            code::REFUSED
        );
    }
    assert!(home.records("rotation.begin").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn going_back_makes_the_old_value_the_current_one() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    home.renew("hue/key", "a new value").await;
    home.vault.roll_back(&HERE, &id("hue/key")).await.unwrap();
    home.drive("hue/key").await;
    assert_eq!(home.versions("hue/key"), ["current", "failed"]);
    assert_eq!(home.value("hue/key").await.unwrap(), value_of("hue/key"));
    assert_eq!(refusal(home.version("hue/key", 2).await), code::REFUSED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_value_comes_back_as_a_new_version_within_seven_days() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    home.renew("hue/key", "a new value").await;
    home.wait(Span::hours(24));
    home.drive("hue/key").await;
    home.wait(Span::days(6));
    home.vault.shred(home.now()).await.unwrap();
    home.vault.roll_back(&HERE, &id("hue/key")).await.unwrap();
    home.drive("hue/key").await;
    assert_eq!(home.versions("hue/key"), ["retired", "previous", "current"]);
    assert_eq!(home.value("hue/key").await.unwrap(), value_of("hue/key"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_value_does_not_come_back_after_seven_days() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    home.renew("hue/key", "a new value").await;
    home.wait(Span::hours(24));
    home.drive("hue/key").await;
    home.wait(Span::days(8));
    home.vault.shred(home.now()).await.unwrap();
    assert_eq!(home.versions("hue/key"), ["destroyed", "current"]);
    let refused = home.vault.roll_back(&HERE, &id("hue/key")).await;
    assert_eq!(refusal(refused), code::REFUSED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_value_has_nothing_to_go_back_to() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let refused = home.vault.roll_back(&HERE, &id("hue/key")).await;
    assert_eq!(refusal(refused), code::REFUSED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_may_only_rotate_does_not_say_which_value_comes_back() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    home.renew("hue/key", "a new value").await;
    home.wait(Span::hours(24));
    home.drive("hue/key").await;
    let rotator = service(&["hue/key:rotate"]);
    let refused = home.vault.roll_back(&rotator, &id("hue/key")).await;
    assert_eq!(refusal(refused), code::FORBIDDEN);
}

/// A credential that the gateway made, and replaces by itself every thirty days.
async fn automatic(home: &TestHome, automatic: bool) {
    let mut request = generated("hue/key");
    request.rotation = RotationPolicyView {
        every: Some("30d".into()),
        automatic,
        ..RotationPolicyView::default()
    };
    home.add(request).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_is_replaced_by_itself_and_not_before() {
    let home = TestHome::new().await;
    automatic(&home, true).await;
    home.wait(Span::days(29));
    home.vault.begin_due(home.now()).await;
    assert!(home.records("rotation.begin").is_empty());
    home.wait(Span::days(1));
    home.vault.begin_due(home.now()).await;
    home.vault.begin_due(home.now()).await;
    let records = home.records("rotation.begin");
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].actor.name, "gateway");
    assert!(records[0].reason.as_deref().unwrap().starts_with("due:"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_is_to_replace_stays_a_finding() {
    let home = TestHome::new().await;
    automatic(&home, false).await;
    home.wait(Span::days(31));
    home.vault.begin_due(home.now()).await;
    assert!(home.records("rotation.begin").is_empty());
    assert_eq!(home.found("hue/key"), ["due"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_back_is_not_replaced_by_itself_for_a_day() {
    let home = TestHome::new().await;
    automatic(&home, true).await;
    home.wait(Span::days(30));
    home.vault.begin_due(home.now()).await;
    home.drive("hue/key").await;
    home.vault.roll_back(&HERE, &id("hue/key")).await.unwrap();
    home.drive("hue/key").await;
    home.wait(Span::hours(23));
    home.vault.begin_due(home.now()).await;
    assert_eq!(home.records("rotation.begin").len(), 1);
    home.wait(Span::hours(2));
    home.vault.begin_due(home.now()).await;
    assert_eq!(home.records("rotation.begin").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_was_used_as_often_as_its_policy_says_is_due() {
    let home = TestHome::new().await;
    let mut request = asked("hue/key");
    request.rotation.after_uses = Some(2);
    home.add(request).await;
    home.value("hue/key").await.unwrap();
    assert!(home.found("hue/key").is_empty());
    home.value("hue/key").await.unwrap();
    assert_eq!(home.found("hue/key"), ["due"]);
    home.renew("hue/key", "a new value").await;
    assert!(home.found("hue/key").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_goes_on_when_the_home_is_opened_again() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    home.rotate("hue/key", to("a new value")).await.unwrap();
    let home = home.reopened().await;
    home.drive("hue/key").await;
    assert_eq!(home.value("hue/key").await.unwrap(), "a new value");
    let home = home.reopened().await;
    home.wait(Span::hours(24));
    home.drive("hue/key").await;
    assert_eq!(home.versions("hue/key"), ["retired", "current"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_in_no_record_of_their_rotation() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    home.renew("hue/key", "a new value").await;
    home.vault.roll_back(&HERE, &id("hue/key")).await.unwrap();
    home.drive("hue/key").await;
    let log = home.log_text();
    assert!(!log.contains("a new value") && !log.contains(&value_of("hue/key")));
    for action in [
        "rotation.begin",
        "rotation.verify",
        "rotation.undo",
        "rotation.undone",
    ] {
        assert_eq!(home.records(action).len(), 1, "{action}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_does_not_free_a_value_of_its_end_by_replacing_it() {
    let home = TestHome::new().await;
    let mut request = asked("hue/key");
    let ends = home.now().after(Span::days(3)).to_string();
    request.expires_at = Some(ends.clone());
    home.add(request).await;
    let writer = service(&["hue/key:rotate", "hue/key:write"]);
    let begun = home
        .vault
        .rotate_credential(&writer, &id("hue/key"), to("a new value"))
        .await;
    begun.unwrap();
    home.drive("hue/key").await;
    assert_eq!(home.value("hue/key").await.unwrap(), "a new value");
    home.wait(Span::days(4));
    assert_eq!(refusal(home.value("hue/key").await), code::REFUSED);
}
