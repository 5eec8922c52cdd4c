//! Logging in.

use hearthkey_api as api;
use hearthkey_core::audit::Outcome;
use hearthkey_core::time::Span;

use super::{PASSWORD, Someone, code_of, member, owner, reasons, request, visitor, visitor_at};
use crate::auth::sessions::{Opened, Visitor};
use crate::auth::throttle::By;
use crate::process::testing::TestHome;
use crate::state::failure::Failure;
use crate::state::locked;

async fn log_in(
    home: &TestHome,
    from: &Visitor,
    [name, password, code]: [&str; 3],
) -> Result<Opened, Failure> {
    let login = api::PasswordLogin {
        name: name.into(),
        password: password.into(),
        code: code.into(),
    };
    home.auth.login_by_password(from, login).await
}

async fn recover(home: &TestHome, name: &str, code: &str) -> Result<Opened, Failure> {
    let login = api::RecoveryLogin {
        name: name.into(),
        code: code.into(),
    };
    home.auth.login_by_recovery(&visitor(), login).await
}

/// Uses up the guesses of a name from a network where it never logged in.
fn guess_ten_times(home: &TestHome, name: &str) {
    let from = "203.0.113.9".parse().unwrap();
    let mut throttle = locked(&home.auth.people.throttle);
    for _ in 0..10 {
        assert!(
            throttle
                .attempt(By::Stranger(from, name), home.now())
                .is_some()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_with_the_next_code_opens_a_session_and_is_recorded() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    home.wait(Span::s(30));
    let code = anna.code(&home);
    let opened = log_in(&home, &visitor(), ["anna", PASSWORD, &code]).await;
    assert_ne!(opened.unwrap().visit.session.id, anna.visit.session.id);
    let begun = home.records("session.begin");
    assert_eq!(begun[0].details["way"], "password");
    assert_eq!(begun.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_by_which_somebody_joined_logs_nobody_in() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    let code = anna.code(&home);
    let again = log_in(&home, &visitor(), ["anna", PASSWORD, &code]).await;
    assert_eq!(code_of(again), "login_failed");
    assert_eq!(reasons(&home.records("session.refuse")), ["used_code"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_name_gets_the_answer_and_the_records_of_a_wrong_password() {
    let home = TestHome::new().await;
    owner(&home).await;
    let wrong = log_in(&home, &visitor(), ["anna", "something else", "000000"]).await;
    let unknown = log_in(&home, &visitor(), ["nobody", "something else", "000000"]).await;
    let [wrong, unknown] = [wrong, unknown].map(|outcome| outcome.err().unwrap().0);
    assert_eq!(format!("{wrong:?}"), format!("{unknown:?}"));
    let refused = home.records("session.refuse");
    assert_eq!(reasons(&refused), ["wrong_password", "unknown_name"]);
    assert_eq!(refused[0].object, "person:anna");
    // People type passwords into the wrong field.
    assert_eq!(refused[1].object, "session");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_has_ten_guesses_whether_anybody_has_it_or_not() {
    let home = TestHome::new().await;
    owner(&home).await;
    for name in ["anna", "nobody"] {
        guess_ten_times(&home, name);
        let elsewhere = visitor_at("192.0.2.200");
        let refused = log_in(&home, &elsewhere, [name, PASSWORD, "000000"]).await;
        assert_eq!(code_of(refused), "rate_limited", "{name}");
    }
    assert!(home.records("session.refuse").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_judged_again_after_five_minutes() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    guess_ten_times(&home, "anna");
    home.wait(Span::minutes(5));
    let code = anna.code(&home);
    let elsewhere = visitor_at("192.0.2.200");
    assert!(
        log_in(&home, &elsewhere, ["anna", PASSWORD, &code])
            .await
            .is_ok()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_elsewhere_keep_nobody_out_where_they_have_logged_in_before() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    guess_ten_times(&home, "anna");
    home.wait(Span::s(30));
    let code = anna.code(&home);
    assert!(
        log_in(&home, &visitor(), ["anna", PASSWORD, &code])
            .await
            .is_ok()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn where_somebody_logged_in_is_known_after_the_home_was_opened_again() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    let home = home.reopened().await;
    guess_ten_times(&home, "anna");
    home.wait(Span::s(30));
    let code = anna.code(&home);
    assert!(
        log_in(&home, &visitor(), ["anna", PASSWORD, &code])
            .await
            .is_ok()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_judged_where_others_wait_fails_as_they_do() {
    let home = TestHome::new().await;
    owner(&home).await;
    guess_ten_times(&home, "anna");
    let refused = log_in(&home, &visitor(), ["anna", "something else", "000000"]).await;
    assert_eq!(code_of(refused), "rate_limited");
    assert_eq!(reasons(&home.records("session.refuse")), ["wrong_password"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_code_opens_a_session_and_is_an_alert() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    assert!(recover(&home, "anna", &anna.codes[0]).await.is_ok());
    let begun = home.records("session.begin");
    assert_eq!(begun[0].outcome, Outcome::Alert);
    assert_eq!(begun[0].details["way"], "recovery-code");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_code_is_used_once_and_one_less_is_left() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    assert!(recover(&home, "anna", &anna.codes[0]).await.is_ok());
    let again = recover(&home, "anna", &anna.codes[0]).await;
    assert_eq!(code_of(again), "login_failed");
    let ways = home.people.own_ways(&anna.visit).unwrap();
    assert_eq!(ways.recovery_codes_left, 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_recovery_code_is_so_when_the_home_is_opened_again() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    assert!(recover(&home, "anna", &anna.codes[0]).await.is_ok());
    let home = home.reopened().await;
    assert!(recover(&home, "anna", &anna.codes[0]).await.is_err());
    assert!(recover(&home, "anna", &anna.codes[1]).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_code_is_of_one_person_and_unknown_names_are_answered_alike() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    let ben = member(&home, &anna, "ben", ("operator", &[])).await;
    let other = recover(&home, "anna", &ben.codes[0]).await;
    let unknown = recover(&home, "nobody", &ben.codes[0]).await;
    let [other, unknown] = [other, unknown].map(|outcome| outcome.err().unwrap().0);
    assert_eq!(format!("{other:?}"), format!("{unknown:?}"));
    let why = ["wrong_recovery_code", "unknown_name"];
    assert_eq!(reasons(&home.records("session.refuse")), why);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_of_a_minute_are_one_record_and_the_next_one_counts_them() {
    let home = TestHome::new().await;
    owner(&home).await;
    for _ in 0..3 {
        assert!(recover(&home, "anna", "wrong").await.is_err());
    }
    assert_eq!(home.records("session.refuse").len(), 1);
    home.wait(Span::minutes(1));
    assert!(recover(&home, "anna", "wrong").await.is_err());
    let refused = home.records("session.refuse");
    assert_eq!(refused.len(), 2);
    assert_eq!(refused[1].details["omitted_before"], 2);
}

async fn ended(home: &TestHome) -> Someone {
    let anna = owner(home).await;
    let ben = member(home, &anna, "ben", ("operator", &[])).await;
    home.people.end_person(&anna.caller(), "ben").await.unwrap();
    ben
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_left_is_an_unknown_name() {
    let home = TestHome::new().await;
    let ben = ended(&home).await;
    let refused = recover(&home, "ben", &ben.codes[0]).await;
    assert_eq!(code_of(refused), "login_failed");
    assert_eq!(reasons(&home.records("session.refuse")), ["unknown_name"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_invited_and_has_not_joined_is_an_unknown_name() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    let asked = request("ben", "operator", &[]);
    home.people.invite(&anna.caller(), asked).await.unwrap();
    assert!(recover(&home, "ben", "wrong").await.is_err());
    assert_eq!(reasons(&home.records("session.refuse")), ["unknown_name"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_was_asked_by_an_address_begins_no_login_by_a_passkey() {
    let home = TestHome::new().await;
    let mut by_address = visitor();
    by_address.authority = "192.0.2.1:8443".into();
    assert_eq!(code_of(home.auth.begin_login(&by_address)), "refused");
    assert!(home.auth.begin_login(&visitor()).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_a_login_that_was_not_begun_fails_as_every_login_does() {
    let home = TestHome::new().await;
    let answer = serde_json::json!({});
    let visitor = visitor();
    let outcome = home.auth.login_by_passkey(&visitor, "none", &answer);
    assert_eq!(code_of(outcome.await), "login_failed");
    assert_eq!(reasons(&home.records("session.refuse")), ["no_ceremony"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_by_a_passkey_waits_five_minutes_for_its_answer_and_takes_one() {
    let home = TestHome::new().await;
    let answer = serde_json::json!({});
    let begun = home.auth.begin_login(&visitor()).unwrap().ceremony;
    let _ = home
        .auth
        .login_by_passkey(&visitor(), &begun, &answer)
        .await;
    home.wait(Span::minutes(2));
    let _ = home
        .auth
        .login_by_passkey(&visitor(), &begun, &answer)
        .await;
    let late = home.auth.begin_login(&visitor()).unwrap().ceremony;
    home.wait(Span::minutes(5));
    let _ = home.auth.login_by_passkey(&visitor(), &late, &answer).await;
    let why = ["malformed", "no_ceremony", "no_ceremony"];
    assert_eq!(reasons(&home.records("session.refuse")), why);
}
