//! Sessions.

use axum::http::HeaderMap;
use hearthkey_api as api;
use hearthkey_core::role::Act;
use hearthkey_core::time::Span;

use super::{Someone, code_of, member, owner, visitor};
use crate::auth::caller::tests::service;
use crate::auth::sessions::csrf_fits;
use crate::process::testing::{HERE, TestHome};

fn is_in(home: &TestHome, who: &Someone) -> bool {
    home.auth.visit(&visitor(), &who.cookie).is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_tells_who_asks_and_no_cookie_is_nobody() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    let visit = home.auth.visit(&visitor(), &anna.cookie).unwrap().unwrap();
    assert_eq!(visit.person.name.as_str(), "anna");
    assert!(
        home.auth
            .visit(&visitor(), &HeaderMap::new())
            .unwrap()
            .is_none()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_that_nobody_was_given_is_a_session_that_has_ended() {
    let home = TestHome::new().await;
    let mut headers = HeaderMap::new();
    headers.insert("cookie", "__Host-hearthkey=guessed".parse().unwrap());
    assert_eq!(
        code_of(home.auth.visit(&visitor(), &headers)),
        "not_logged_in"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_nobody_uses_ends_after_twelve_hours() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    home.wait(Span::s(12 * 3600 - 1));
    assert!(is_in(&home, &anna));
    home.wait(Span::s(1));
    assert!(!is_in(&home, &anna));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_used_ends_after_seven_days() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    for _ in 0..15 {
        home.wait(Span::hours(11));
        let visit = home.auth.visit(&visitor(), &anna.cookie).unwrap().unwrap();
        home.auth.note_session_use(&visit);
        home.auth.note_session_uses().await;
    }
    home.wait(Span::hours(3));
    assert!(!is_in(&home, &anna));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_logs_out_is_out_and_it_is_recorded() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    let id = &anna.visit.session.id;
    assert!(home.auth.end_session(&anna.caller(), id).await.unwrap());
    assert!(!is_in(&home, &anna));
    let ended = home.records("session.end");
    assert_eq!(ended[0].details["session"], id.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_lives_and_an_ended_one_stays_ended_when_the_home_is_opened_again() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    let ben = member(&home, &anna, "ben", ("operator", &[])).await;
    let id = &ben.visit.session.id;
    assert!(home.auth.end_session(&ben.caller(), id).await.unwrap());
    let home = home.reopened().await;
    assert!(is_in(&home, &anna));
    assert!(!is_in(&home, &ben));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_sees_and_ends_every_session_and_others_only_their_own() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    let ben = member(&home, &anna, "ben", ("operator", &[])).await;
    let seen = home.auth.web_sessions(&ben.caller()).unwrap().sessions;
    assert_eq!(seen.len(), 1);
    assert!(seen[0].this);
    let of_anna = &anna.visit.session.id;
    let refused = home.auth.end_session(&ben.caller(), of_anna).await;
    assert_eq!(code_of(refused), "not_found");
    assert_eq!(
        home.auth
            .web_sessions(&anna.caller())
            .unwrap()
            .sessions
            .len(),
        2
    );
    let of_ben = &ben.visit.session.id;
    assert!(home.auth.end_session(&anna.caller(), of_ben).await.unwrap());
    assert!(is_in(&home, &anna) && !is_in(&home, &ben));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_do_less_than_when_a_request_began_is_told_so() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    let ben = member(&home, &anna, "ben", ("operator", &[])).await;
    assert!(home.auth.still_here(&ben.visit).is_ok());
    let less = api::PersonChange {
        role: "auditor".into(),
        environments: Vec::new(),
        second_factor: None,
    };
    home.people
        .change_person(&anna.caller(), "ben", less)
        .await
        .unwrap();
    assert_eq!(code_of(home.auth.still_here(&ben.visit)), "forbidden");
    let visit = home.auth.visit(&visitor(), &ben.cookie).unwrap().unwrap();
    assert!(visit.person.mandate.scope(Act::DeviceChange).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_access_ends_is_out_of_every_session_at_once_and_for_good() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    let ben = member(&home, &anna, "ben", ("operator", &[])).await;
    home.people.end_person(&anna.caller(), "ben").await.unwrap();
    assert!(!is_in(&home, &ben));
    assert_eq!(code_of(home.auth.still_here(&ben.visit)), "not_logged_in");
    let home = home.reopened().await;
    assert!(!is_in(&home, &ben));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_carries_what_its_own_session_was_told() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    let ben = member(&home, &anna, "ben", ("operator", &[])).await;
    let mut headers = HeaderMap::new();
    assert!(!csrf_fits(&anna.visit, &headers));
    headers.insert("x-hearthkey-csrf", anna.visit.csrf.parse().unwrap());
    assert!(csrf_fits(&anna.visit, &headers));
    assert!(!csrf_fits(&ben.visit, &headers));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_has_no_session_and_the_gateways_machine_needs_none() {
    let home = TestHome::new().await;
    assert_eq!(
        code_of(home.auth.session_info(&service(&["*:list"]))),
        "not_logged_in"
    );
    let here = home.auth.session_info(&HERE).unwrap();
    assert_eq!((here.caller.as_str(), here.csrf), ("local", None));
}
