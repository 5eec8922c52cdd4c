//! Use cases of findings, on a home that nobody can reach.

use hearthkey_api as api;
use hearthkey_core::role::{Act, Role};
use hearthkey_core::time::Span;

use crate::auth::caller::tests::role_token;
use crate::auth::tests::{code_of, member, owner};
use crate::process::testing::{HERE, TestHome, here};
use crate::state::failure::Failure;

fn found(home: &TestHome, kind: &str) -> Option<api::FindingView> {
    let posture = home.posture.posture(&HERE).unwrap();
    let mut all = posture.findings.into_iter().map(|one| one.finding);
    all.find(|finding| finding.kind == kind)
}

fn is_accepted(home: &TestHome, kind: &str) -> bool {
    let posture = home.posture.posture(&HERE).unwrap();
    posture.accepted.iter().any(|one| one.finding.kind == kind)
}

fn because(reason: &str, until: Option<String>) -> api::AcceptanceRequest {
    api::AcceptanceRequest {
        owner: "anna".into(),
        reason: reason.into(),
        until,
    }
}

async fn accept(home: &TestHome, until: Option<String>) -> Result<api::Posture, Failure> {
    let finding = found(home, "key-file").unwrap();
    let because = because("it is a test", until);
    home.posture
        .accept_finding(&HERE, &finding.id, &because)
        .await
}

async fn token(home: &TestHome, name: &str) {
    let asked = api::TokenRequest {
        name: name.into(),
        environments: vec!["lab".into()],
        allow: vec!["*:list".into()],
        role: None,
        owner: None,
        purpose: None,
        ttl: "1h".into(),
        ceiling: "7d".into(),
        public_key: Some(rcgen::KeyPair::generate().unwrap().public_key_pem()),
        bind: None,
        second_factor: None,
    };
    home.tokens.create_token(&HERE, asked).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_finding_is_separate_and_recorded_with_its_reason() {
    let home = TestHome::new().await;
    accept(&home, None).await.unwrap();
    assert!(found(&home, "key-file").is_none());
    assert!(is_accepted(&home, "key-file"));
    let record = &home.records("finding.accept")[0];
    assert_eq!(record.reason.as_deref(), Some("it is a test"));
    assert_eq!(record.details["owner"], "anna");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finding_that_nobody_accepted_is_not_reopened_and_that_is_said() {
    let home = TestHome::new().await;
    let id = found(&home, "key-file").unwrap().id;
    let refused = home.posture.reopen_finding(&HERE, &id).await.unwrap_err();
    assert_eq!(refused.0.title, "This finding is not accepted.");
    accept(&home, None).await.unwrap();
    assert!(home.posture.reopen_finding(&HERE, &id).await.is_ok());
    assert!(found(&home, "key-file").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acceptance_ends_at_its_moment() {
    let home = TestHome::new().await;
    let until = home.now().after(Span::days(1)).to_string();
    accept(&home, Some(until)).await.unwrap();
    home.wait(Span::s(86_399));
    assert!(is_accepted(&home, "key-file"));
    home.wait(Span::s(1));
    assert!(found(&home, "key-file").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acceptance_holds_when_the_home_is_opened_again() {
    let home = TestHome::new().await;
    accept(&home, None).await.unwrap();
    let home = home.reopened().await;
    assert!(is_accepted(&home, "key-file"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acceptance_that_is_taken_back_holds_no_more() {
    let home = TestHome::new().await;
    let id = found(&home, "key-file").unwrap().id;
    accept(&home, None).await.unwrap();
    home.posture.reopen_finding(&HERE, &id).await.unwrap();
    assert!(found(&home, "key-file").is_some());
    assert_eq!(home.records("finding.reopen").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finding_is_accepted_until_a_moment_within_two_years() {
    let home = TestHome::new().await;
    let now = home.now();
    for until in [now, now.before(Span::days(1)), now.after(Span::days(733))] {
        assert_eq!(
            code_of(accept(&home, Some(until.to_string())).await),
            "refused"
        );
    }
    assert_eq!(
        code_of(accept(&home, Some("tomorrow".into())).await),
        "invalid"
    );
    assert!(found(&home, "key-file").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finding_is_accepted_for_a_reason_and_only_while_it_is_there() {
    let home = TestHome::new().await;
    let id = found(&home, "key-file").unwrap().id;
    let (empty, reason) = (because("", None), because("why", None));
    let empty = home.posture.accept_finding(&HERE, &id, &empty);
    assert!(empty.await.is_err());
    let unknown = home.posture.accept_finding(&HERE, "none", &reason);
    assert_eq!(code_of(unknown.await), "not_found");
    assert!(home.records("finding.accept").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_limited_to_environments_sees_nothing_of_the_home_as_a_whole() {
    let home = TestHome::new().await;
    let limited = role_token(Role::Operator, &["lab"]);
    let seen = home.posture.posture(&limited).unwrap().findings;
    assert!(seen.is_empty());
    let everywhere = role_token(Role::Operator, &[]);
    assert!(
        !home
            .posture
            .posture(&everywhere)
            .unwrap()
            .findings
            .is_empty()
    );
    let id = found(&home, "key-file").unwrap().id;
    let reason = because("why", None);
    let outcome = home.posture.accept_finding(&limited, &id, &reason);
    assert_eq!(code_of(outcome.await), "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_of_somebody_who_has_left_is_orphaned_until_they_come_back() {
    let home = TestHome::new().await;
    let first = owner(&home).await;
    member(&home, &first, "olga", ("owner", &[])).await;
    home.enroll("lamp", "home").await;
    assert!(found(&home, "orphaned").is_none());
    // Devices of tests belong to anna.
    home.people
        .end_person(&first.caller(), "anna")
        .await
        .unwrap();
    assert!(found(&home, "orphaned").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_nobody_has_shown_for_a_month_is_found_until_it_is_revoked() {
    let home = TestHome::new().await;
    token(&home, "ci").await;
    home.wait(Span::days(30));
    let is_found = || {
        let finding = found(&home, "never-used");
        finding.is_some_and(|finding| format!("{finding:?}").contains("ci"))
    };
    assert!(!is_found());
    home.wait(Span::s(1));
    assert!(is_found());
    home.vault
        .revoke_token(&here(Act::TokenEnd), "ci")
        .await
        .unwrap();
    assert!(!is_found());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_can_soon_be_renewed_no_more_is_found_until_it_is_authorized() {
    let home = TestHome::new().await;
    token(&home, "ci").await;
    assert!(found(&home, "ending").is_none());
    home.wait(Span::days(6));
    assert!(found(&home, "ending").is_some());
    home.tokens.reauthorize_token(&HERE, "ci").await.unwrap();
    assert!(found(&home, "ending").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_two_years_old_are_found() {
    let home = TestHome::new().await;
    home.enroll("lamp", "home").await;
    assert!(found(&home, "over-age").is_none());
    home.wait(Span::days(731));
    assert!(found(&home, "over-age").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_new_home_issues_is_neither_weak_nor_unencrypted_nor_altered() {
    let home = TestHome::new().await;
    home.enroll("lamp", "home").await;
    for kind in [
        "weak-algorithm",
        "unencrypted",
        "log-altered",
        "clock-not-trusted",
    ] {
        assert!(found(&home, kind).is_none(), "{kind}");
    }
}
