//! A fresh second factor in a session.

use hearthkey_core::time::Span;

use super::{code_of, member, owner, reasons, visitor};
use crate::auth::throttle::By;
use crate::process::testing::TestHome;
use crate::state::locked;

#[tokio::test(flavor = "multi_thread")]
async fn who_has_just_joined_is_fresh_for_five_minutes_and_again_after_a_code() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    assert!(anna.visit.session.is_fresh(home.now()));
    home.wait(Span::minutes(5));
    assert!(!anna.visit.session.is_fresh(home.now()));
    home.auth
        .step_up_by_code(&anna.visit, &anna.code(&home))
        .await
        .unwrap();
    let visit = home.auth.visit(&visitor(), &anna.cookie).unwrap().unwrap();
    assert!(visit.session.is_fresh(home.now()));
    assert_eq!(home.records("session.step-up").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_makes_a_session_fresh_once() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    home.wait(Span::minutes(5));
    let code = anna.code(&home);
    assert!(home.auth.step_up_by_code(&anna.visit, &code).await.is_ok());
    let again = home.auth.step_up_by_code(&anna.visit, &code).await;
    assert_eq!(code_of(again), "second_factor_needed");
    assert_eq!(reasons(&home.records("session.step-up")), ["", "used_code"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_code_of_somebody_else_makes_no_session_fresh() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    let ben = member(&home, &anna, "ben", ("operator", &[])).await;
    home.wait(Span::minutes(5));
    let code = ben.code(&home);
    let refused = home.auth.step_up_by_code(&anna.visit, &code).await;
    assert_eq!(code_of(refused), "second_factor_needed");
    assert_eq!(reasons(&home.records("session.step-up")), ["wrong_code"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_has_ten_guesses_which_no_stranger_can_use_up() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    home.wait(Span::minutes(5));
    let from = "203.0.113.9".parse().unwrap();
    for _ in 0..20 {
        let by = By::Stranger(from, "anna");
        let _ = locked(&home.auth.people.throttle).attempt(by, home.now());
    }
    for _ in 0..10 {
        let refused = home.auth.step_up_by_code(&anna.visit, "wrong!").await;
        assert_eq!(code_of(refused), "second_factor_needed");
    }
    let code = anna.code(&home);
    let refused = home.auth.step_up_by_code(&anna.visit, &code).await;
    assert_eq!(code_of(refused), "rate_limited");
    home.wait(Span::minutes(5));
    let code = anna.code(&home);
    assert!(home.auth.step_up_by_code(&anna.visit, &code).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_passkey_is_told_to_use_a_code() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    let failure = home.auth.begin_step_up(&anna.visit).err().unwrap().0;
    assert_eq!(
        (failure.code.as_str(), failure.remedy.as_str()),
        ("refused", "Use a code.")
    );
}
