use hearthkey_api::code;
use hearthkey_core::audit::Outcome;
use hearthkey_core::role::Role;
use hearthkey_core::time::Span;

use super::*;
use crate::auth::caller::tests::{role_token, service};

#[tokio::test(flavor = "multi_thread")]
async fn each_value_that_is_given_is_recorded_with_who_got_which_version_for_what() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let mut request = use_of("hue/key");
    request.r#use = "reveal".into();
    request.reason = Some("the lights are out".into());
    home.vault.reveal(&HERE, "lab", request).await.unwrap();
    let record = home.records("credential.read").pop().unwrap();
    assert_eq!(record.object, "credential:lab/hue/key");
    assert_eq!(record.actor.name, "uid:0");
    assert_eq!(
        (&record.details["use"], &record.details["version"]),
        (&"reveal".into(), &1.into())
    );
    assert_eq!(record.reason.as_deref(), Some("the lights are out"));
    assert!(!home.log_text().contains(&value_of("hue/key")));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_values_all_are_given_or_none() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let mut request = use_of("hue/key");
    request.names.push("ha/key".into());
    let refused = home.vault.reveal(&HERE, "lab", request.clone()).await;
    assert_eq!(refusal(refused), code::NOT_FOUND);
    assert!(home.records("credential.read").is_empty());
    assert_eq!(home.shown("hue/key").credential.uses, 0);
    home.add(asked("ha/key")).await;
    let given = home.vault.reveal(&HERE, "lab", request).await.unwrap();
    assert_eq!(texts(given), [value_of("hue/key"), value_of("ha/key")]);
    assert_eq!(home.records("credential.read").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_to_a_hundred_values_are_asked_for_at_a_time() {
    let home = TestHome::new().await;
    for count in [0, 101] {
        let mut request = use_of("hue/key");
        request.names = vec!["hue/key".into(); count];
        let refused = home.vault.reveal(&HERE, "lab", request).await;
        assert_eq!(refusal(refused), code::INVALID);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_is_asked_for_by_a_known_use_and_a_version_of_one_name() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let mut other = use_of("hue/key");
    other.r#use = "look".into();
    let mut two = use_of("hue/key");
    two.version = Some(1);
    two.names.push("hue/key".into());
    for request in [other, two] {
        let refused = home.vault.reveal(&HERE, "lab", request).await;
        assert_eq!(refusal(refused), code::INVALID);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_a_grant_does_not_learn_whether_there_is_a_credential() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let reader = service(&["ha/*:read"]);
    let there = problem(home.vault.reveal(&reader, "lab", use_of("hue/key")).await);
    let not_there = problem(home.vault.reveal(&reader, "lab", use_of("hue/not")).await);
    assert_eq!(there.code, code::FORBIDDEN);
    assert_eq!(there.detail.replace("hue/key", "hue/not"), not_there.detail);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_to_list_or_lease_or_write_is_none_to_read() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let others = [
        "hue/key:list",
        "hue/key:lease",
        "hue/key:rotate",
        "hue/key:write",
    ];
    let refused = home
        .vault
        .reveal(&service(&others), "lab", use_of("hue/key"))
        .await;
    assert_eq!(refusal(refused), code::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_one_environment_reads_nothing_of_another() {
    let home = TestHome::new().await;
    let mut request = asked("hue/key");
    request.environment = "home".into();
    home.add(request).await;
    let refused = home
        .vault
        .reveal(&service(&["*:read"]), "home", use_of("hue/key"))
        .await;
    assert_eq!(refusal(refused), code::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_with_a_role_reads_no_value_whatever_the_role() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    for role in [Role::Operator, Role::Developer, Role::Auditor] {
        let caller = role_token(role, &["lab"]);
        let refused = home.vault.reveal(&caller, "lab", use_of("hue/key")).await;
        assert_eq!(refusal(refused), code::FORBIDDEN, "{role}");
    }
    assert!(home.records("credential.read").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_a_token_is_recorded_once_a_minute_and_the_others_are_counted() {
    let home = TestHome::new().await;
    let reader = service(&["ha/*:read"]);
    let refused = async || {
        let given = home.vault.reveal(&reader, "lab", use_of("hue/key")).await;
        assert_eq!(refusal(given), code::FORBIDDEN);
        home.records("credential.refuse")
    };
    assert_eq!(refused().await.len(), 1);
    assert_eq!(refused().await.len(), 1);
    assert_eq!(refused().await.len(), 1);
    home.wait(Span::minutes(2));
    let records = refused().await;
    assert_eq!(records.len(), 2);
    assert_eq!(records[0].outcome, Outcome::Refused);
    assert_eq!(records[0].reason.as_deref(), Some("not_granted"));
    assert_eq!(records[1].details["omitted_before"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_critical_value_is_shown_for_a_reason_and_run_without_one() {
    let home = TestHome::new().await;
    home.add(critical("hue/key")).await;
    let mut request = use_of("hue/key");
    request.r#use = "reveal".into();
    let refused = home.vault.reveal(&HERE, "lab", request.clone()).await;
    assert_eq!(refusal(refused), code::REFUSED);
    let record = home.records("credential.refuse").pop().unwrap();
    assert_eq!(record.reason.as_deref(), Some("no_reason"));
    request.reason = Some(" ".into());
    let refused = home.vault.reveal(&HERE, "lab", request.clone()).await;
    assert_eq!(refusal(refused), code::INVALID);
    request.reason = Some("a new bridge".into());
    assert!(home.vault.reveal(&HERE, "lab", request).await.is_ok());
    assert!(home.value("hue/key").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_is_given_until_the_end_of_its_credential() {
    let home = TestHome::new().await;
    let mut request = asked("hue/key");
    request.expires_at = Some(home.now().after(Span::hours(1)).to_string());
    home.add(request).await;
    home.wait(Span::minutes(59));
    assert!(home.value("hue/key").await.is_ok());
    home.wait(Span::minutes(1));
    assert_eq!(refusal(home.value("hue/key").await), code::REFUSED);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_is_counted_with_when_and_to_whom() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    home.value("hue/key").await.unwrap();
    home.wait(Span::hours(1));
    let reader = service(&["hue/key:read"]);
    let given = home.vault.reveal(&reader, "lab", use_of("hue/key")).await;
    assert!(given.is_ok());
    let home = home.reopened().await;
    let credential = home.shown("hue/key").credential;
    assert_eq!(credential.uses, 2);
    assert_eq!(credential.last_used_by.as_deref(), Some("token:ci"));
    assert_eq!(credential.last_used_at, Some(home.now().to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_there_is_not_is_not_found() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    assert!(home.version("hue/key", 1).await.is_ok());
    assert_eq!(refusal(home.version("hue/key", 2).await), code::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_value_before_is_given_until_the_overlap_is_over() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    home.renew("hue/key", "a new value").await;
    assert_eq!(home.value("hue/key").await.unwrap(), "a new value");
    assert_eq!(
        home.version("hue/key", 1).await.unwrap(),
        value_of("hue/key")
    );
    home.wait(Span::hours(24));
    home.drive("hue/key").await;
    assert_eq!(refusal(home.version("hue/key", 1).await), code::REFUSED);
    assert_eq!(home.value("hue/key").await.unwrap(), "a new value");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_whose_bridge_has_made_no_value_yet_has_none_to_give() {
    let home = TestHome::new().await;
    home.connect("cloud", &["mint"]).await;
    home.add(generated("cloud/key")).await;
    assert_eq!(refusal(home.value("cloud/key").await), code::REFUSED);
    home.drive("cloud/key").await;
    assert!(
        home.value("cloud/key")
            .await
            .unwrap()
            .starts_with("minted value")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_values_within_a_minute_are_recorded_as_unusual() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let mut request = use_of("hue/key");
    home.vault
        .reveal(&HERE, "lab", request.clone())
        .await
        .unwrap();
    request.names = vec!["hue/key".into(); 20];
    home.vault.reveal(&HERE, "lab", request).await.unwrap();
    let records = home.records("credential.read");
    assert!(!records[0].details.contains_key("unusual"));
    assert_eq!(records[20].details["unusual"][0], "bulk");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_at_an_address_that_was_never_seen_is_recorded_as_unusual() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let Caller::Service(mut reader) = service(&["hue/key:read"]) else {
        unreachable!("a service")
    };
    for last in [1, 2] {
        reader.address = ([192, 0, 2, last], 50_000).into();
        let caller = Caller::Service(reader.clone());
        let given = home.vault.reveal(&caller, "lab", use_of("hue/key")).await;
        assert!(given.is_ok());
    }
    let records = home.records("credential.read");
    assert!(!records[0].details.contains_key("unusual"));
    assert_eq!(records[1].details["unusual"][0], "new_address");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_read_of_an_environment_that_there_is_not() {
    let home = TestHome::new().await;
    let refused = home.vault.reveal(&HERE, "cellar", use_of("hue/key")).await;
    assert_eq!(refusal(refused), code::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_homes_own_keys_are_given_to_nobody() {
    let home = TestHome::new().await;
    for name in ["ca/root", "log/key", "token/ci", "device/lamp"] {
        let refused = home.vault.reveal(&HERE, "lab", use_of(name)).await;
        assert_eq!(refusal(refused), code::REFUSED, "{name}");
        let refused = home.vault.reveal(&HERE, "-", use_of(name)).await;
        assert_eq!(refusal(refused), code::REFUSED, "{name}");
    }
}
