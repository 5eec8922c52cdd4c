use hearthkey_api::{RetireRequest, code};
use hearthkey_core::role::{Act, Role};
use hearthkey_core::time::Span;
use hearthkey_store::anchor::Incident;

use super::*;
use crate::auth::caller::tests::{role_token, service};
use crate::process::testing::operator_in;

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_credential_is_out_at_once_and_recorded_with_the_reason() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let request = RetireRequest {
        reason: Some("the bridge was sold".into()),
        ..RetireRequest::default()
    };
    let permit = here(Act::CredentialRetire);
    let out = home
        .vault
        .retire_credential(&permit, &id("hue/key"), &request)
        .await;
    assert!(out.unwrap().durable);
    assert_eq!(refusal(home.value("hue/key").await), code::REFUSED);
    let record = home.records("credential.retire").pop().unwrap();
    assert_eq!(record.reason.as_deref(), Some("the bridge was sold"));
    assert!(!home.log_text().contains(&value_of("hue/key")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_retired_is_so_when_the_home_is_opened_again() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    home.retire("hue/key").await;
    let home = home.reopened().await;
    assert_eq!(refusal(home.value("hue/key").await), code::REFUSED);
    assert_eq!(home.versions("hue/key"), ["retired"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_value_is_destroyed_after_its_grace_and_no_sooner() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    home.retire("hue/key").await;
    home.wait(Span::days(6));
    home.vault.shred(home.now()).await.unwrap();
    assert_eq!(home.versions("hue/key"), ["retired"]);
    home.wait(Span::days(2));
    home.vault.shred(home.now()).await.unwrap();
    assert_eq!(home.versions("hue/key"), ["destroyed"]);
    assert_eq!(home.shown("hue/key").credential.state, "destroyed");
    assert_eq!(home.records("credential.shred").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_terms_of_a_retirement_that_is_being_saved_hold_whatever_is_asked_for_meanwhile() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    home.ctx.store().make_read_only(Incident::AnchorAltered);
    let first = home.retire_after("hue/key", "7d").await.unwrap();
    let again = home.retire_after("hue/key", "0s").await.unwrap();
    assert!(!first.durable && !again.durable);
    assert_eq!(again.shred_at, first.shred_at);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_grace_a_value_is_destroyed_at_once() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    home.retire_after("hue/key", "0s").await.unwrap();
    assert_eq!(home.versions("hue/key"), ["destroyed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grace_is_a_year_at_most() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let refused = home.retire_after("hue/key", "366d").await;
    assert_eq!(refusal(refused), code::INVALID);
    assert!(home.value("hue/key").await.is_ok());
    assert!(home.retire_after("hue/key", "365d").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_is_retired_once() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    home.retire("hue/key").await;
    assert_eq!(
        refusal(home.retire_after("hue/key", "0s").await),
        code::REFUSED
    );
    assert_eq!(home.records("credential.retire").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn leave_for_another_environment_or_act_retires_nothing() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let request = RetireRequest::default();
    for permit in [
        operator_in("home", Act::CredentialRetire),
        here(Act::CredentialRotate),
    ] {
        let refused = home
            .vault
            .retire_credential(&permit, &id("hue/key"), &request)
            .await;
        assert_eq!(refusal(refused), code::FORBIDDEN);
    }
    assert!(home.value("hue/key").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_for_a_retired_credential_alone_end_with_it() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    home.token("alone", &["hue/key:read", "hue/key:list"]).await;
    home.token("both", &["hue/key:read", "ha/key:read"]).await;
    home.token("pattern", &["hue/*:read"]).await;
    let out = home.retire("hue/key").await;
    assert_eq!(out.tokens_revoked, ["alone"]);
    let revoked = |name: &str| home.auth.token_named(name).unwrap().revoked_at.is_some();
    assert!(revoked("alone") && !revoked("both") && !revoked("pattern"));
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_of_a_retired_credential_end_with_it() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    home.lent(&HERE, "hue/key").await.unwrap();
    home.lent(&HERE, "hue/key").await.unwrap();
    assert_eq!(home.retire("hue/key").await.leases_ended, 2);
    assert!(home.vault.leases(&HERE).unwrap().leases.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_to_do_by_hand_is_said() {
    let home = TestHome::new().await;
    let mut request = asked("hue/key");
    request.used_by = vec!["builds".into()];
    home.add(request).await;
    let by_hand = home.retire("hue/key").await.by_hand;
    assert!(by_hand.contains(&"Remove it from builds.".to_owned()));
    assert!(by_hand[0].starts_with("End version 1 where it was issued"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_ends_when_its_credential_is_retired() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    home.renew("hue/key", "a new value").await;
    home.retire("hue/key").await;
    assert_eq!(home.versions("hue/key"), ["retired", "retired"]);
    assert_eq!(home.shown("hue/key").rotations[0].step, "undone");
    home.wait(Span::days(2));
    home.drive("hue/key").await;
    assert_eq!(home.versions("hue/key"), ["retired", "retired"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_ends_the_values_of_a_retired_credential() {
    let home = TestHome::new().await;
    home.connect("cloud", &["mint", "revoke"]).await;
    home.add(generated("cloud/key")).await;
    home.drive("cloud/key").await;
    let out = home.retire("cloud/key").await;
    assert_eq!(out.revoked_at_bridge, 1);
    assert!(home.found("cloud/key").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_its_bridge_did_not_end_is_a_finding_and_ends_when_retired_again() {
    let home = TestHome::new().await;
    home.connect("cloud", &["mint", "revoke"]).await;
    home.add(generated("cloud/key")).await;
    home.drive("cloud/key").await;
    home.set("cloud", "silent");
    let out = home.retire("cloud/key").await;
    assert_eq!((out.revoked_at_bridge, out.durable), (0, true));
    assert_eq!(home.found("cloud/key"), ["leftover"]);
    home.unset("cloud", "silent");
    assert_eq!(home.retire("cloud/key").await.revoked_at_bridge, 1);
    assert!(home.found("cloud/key").is_empty());
}

async fn project(home: &TestHome) {
    for (name, places) in [
        ("hue/key", vec!["builds"]),
        ("ha/key", vec!["builds", "ha"]),
        ("db/key", vec!["ha"]),
    ] {
        let mut request = asked(name);
        request.used_by = places.into_iter().map(str::to_owned).collect();
        home.add(request).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_takes_with_it_what_is_used_nowhere_else() {
    let home = TestHome::new().await;
    project(&home).await;
    let request = RetireRequest::default();
    let retired = home
        .vault
        .retire_project(&HERE, "builds", request)
        .await
        .unwrap();
    let names: Vec<&str> = retired.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["hue/key"]);
    assert_eq!(home.shown("ha/key").credential.used_by, ["ha"]);
    assert_eq!(home.shown("db/key").credential.used_by, ["ha"]);
    let again = home
        .vault
        .retire_project(&HERE, "builds", RetireRequest::default())
        .await;
    assert_eq!(refusal(again), code::REFUSED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_is_retired_whole_or_not_at_all() {
    let home = TestHome::new().await;
    project(&home).await;
    for caller in [
        service(&["hue/*:write"]),
        role_token(Role::Developer, &["home-lab"]),
    ] {
        let refused = home
            .vault
            .retire_project(&caller, "builds", RetireRequest::default())
            .await;
        assert_eq!(refusal(refused), code::FORBIDDEN);
    }
    assert!(home.value("hue/key").await.is_ok());
    assert_eq!(home.shown("ha/key").credential.used_by, ["builds", "ha"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_leaves_a_critical_credential_with_a_code_that_is_used_once() {
    let home = TestHome::new().await;
    for name in ["hue/key", "ha/key"] {
        let mut request = critical(name);
        request.used_by = vec!["builds".into(), "ha".into()];
        home.add(request).await;
    }
    home.joined().await;
    let refused = home
        .vault
        .retire_project(&HERE, "builds", RetireRequest::default())
        .await;
    assert_eq!(refusal(refused), code::SECOND_FACTOR_NEEDED);
    let request = RetireRequest {
        second_factor: home.code(),
        ..RetireRequest::default()
    };
    home.vault
        .retire_project(&HERE, "builds", request)
        .await
        .unwrap();
    for name in ["hue/key", "ha/key"] {
        assert_eq!(home.shown(name).credential.used_by, ["ha"]);
    }
}
