//! A second factor on the gateway's own machine.

use hearthkey_api as api;
use hearthkey_core::time::Span;

use super::{Someone, code_of, member, owner, reasons, request};
use crate::auth::caller::Caller;
use crate::process::testing::{HERE, TestHome};
use crate::state::failure::Failure;

async fn invite(
    home: &TestHome,
    name: &str,
    second_factor: Option<api::SecondFactor>,
) -> Result<api::Invited, Failure> {
    let asked = api::PersonRequest {
        second_factor,
        ..request(name, "developer", &["lab"])
    };
    home.people.invite(&HERE, asked).await
}

async fn at_window(home: &TestHome, who: &Someone) -> Result<api::SessionInfo, Failure> {
    let answer = api::CodeAnswer {
        ceremony: None,
        person: Some(who.visit.person.name.to_string()),
        code: who.code(home),
    };
    home.auth.step_up_at_window(&Caller::Desktop, answer).await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_code_is_asked_for_until_somebody_has_joined_and_always_from_then_on() {
    let home = TestHome::new().await;
    assert!(invite(&home, "dora", None).await.is_ok());
    let anna = owner(&home).await;
    assert_eq!(
        code_of(invite(&home, "eve", None).await),
        "second_factor_needed"
    );
    drop(anna);
    let home = home.reopened().await;
    assert_eq!(
        code_of(invite(&home, "eve", None).await),
        "second_factor_needed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_on_the_machine_is_used_once_and_the_record_says_whose_it_was() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    home.wait(Span::s(30));
    assert!(
        invite(&home, "dora", anna.second_factor(&home))
            .await
            .is_ok()
    );
    let invited = home.records("person.invite");
    assert_eq!(invited[0].details["second_factor"], "anna");
    let again = invite(&home, "eve", anna.second_factor(&home)).await;
    assert_eq!(code_of(again), "second_factor_needed");
    assert_eq!(reasons(&home.records("person.refuse")), ["used_code"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_needs_no_second_factor_is_given_without_a_code() {
    let home = TestHome::new().await;
    owner(&home).await;
    let asked = request("otto", "operator", &[]);
    assert!(home.people.invite(&HERE, asked).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_code_of_somebody_who_may_not_do_it_proves_nothing() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    let ben = member(&home, &anna, "ben", ("operator", &[])).await;
    home.wait(Span::s(30));
    let refused = invite(&home, "eve", ben.second_factor(&home)).await;
    assert_eq!(code_of(refused), "second_factor_needed");
    assert_eq!(reasons(&home.records("person.refuse")), ["not_permitted"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_code_of_somebody_who_has_left_is_of_an_unknown_name() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    let ben = member(&home, &anna, "ben", ("owner", &[])).await;
    home.people.end_person(&anna.caller(), "ben").await.unwrap();
    home.wait(Span::s(30));
    let refused = invite(&home, "eve", ben.second_factor(&home)).await;
    assert_eq!(code_of(refused), "second_factor_needed");
    assert_eq!(home.records("person.refuse").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_nobody_has_share_one_budget_and_take_none_of_a_persons() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    home.wait(Span::s(30));
    for n in 0..11 {
        let guess = api::SecondFactor {
            person: format!("nobody{n}"),
            code: "000000".into(),
        };
        let refused = code_of(invite(&home, "eve", Some(guess)).await);
        let expected = if n < 10 {
            "second_factor_needed"
        } else {
            "rate_limited"
        };
        assert_eq!(refused, expected, "{n}");
    }
    assert!(
        invite(&home, "eve", anna.second_factor(&home))
            .await
            .is_ok()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_at_the_window_is_good_for_five_minutes() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    home.wait(Span::s(30));
    let info = at_window(&home, &anna).await.unwrap();
    assert!(info.fresh_until.is_some());
    let invite = async |name: &str| {
        let asked = request(name, "developer", &["lab"]);
        home.people.invite(&Caller::Desktop, asked).await
    };
    assert!(invite("dora").await.is_ok());
    assert!(invite("eve").await.is_ok());
    home.wait(Span::minutes(5));
    assert_eq!(code_of(invite("finn").await), "second_factor_needed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_at_the_window_opens_nothing_on_the_socket() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    home.wait(Span::s(30));
    at_window(&home, &anna).await.unwrap();
    assert_eq!(
        code_of(invite(&home, "eve", None).await),
        "second_factor_needed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_left_is_at_the_window_no_more() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    let ben = member(&home, &anna, "ben", ("owner", &[])).await;
    home.wait(Span::s(30));
    at_window(&home, &ben).await.unwrap();
    home.people.end_person(&anna.caller(), "ben").await.unwrap();
    assert!(home.auth.person_at_window().unwrap().is_none());
}
