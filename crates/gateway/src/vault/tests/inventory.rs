use hearthkey_api::code;
use hearthkey_core::role::Role;
use hearthkey_store::inventory::Filter;

use super::*;
use crate::auth::caller::tests::{role_token, service};

/// What a caller sees of the vault's own credentials.
fn names(home: &TestHome, caller: &Caller, filter: &Filter) -> Vec<String> {
    let page = home.vault.inventory(caller, filter, "", 1000).unwrap();
    let kept = page
        .credentials
        .into_iter()
        .filter(|view| view.custody != "own");
    kept.map(|view| format!("{}/{}", view.environment, view.name))
        .collect()
}

async fn three(home: &TestHome) {
    home.add(asked("hue/key")).await;
    home.add(critical("ha/key")).await;
    let mut elsewhere = asked("hue/key");
    elsewhere.environment = "home".into();
    home.add(elsewhere).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_lists_what_its_grants_let_it_see_critical_or_not() {
    let home = TestHome::new().await;
    three(&home).await;
    let all = Filter::default();
    assert_eq!(
        names(&home, &service(&["*:list"]), &all),
        ["lab/ha/key", "lab/hue/key"]
    );
    assert_eq!(
        names(&home, &service(&["hue/*:list"]), &all),
        ["lab/hue/key"]
    );
    assert!(names(&home, &service(&["*:read"]), &all).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_in_one_environment_lists_what_is_in_that_one() {
    let home = TestHome::new().await;
    three(&home).await;
    let auditor = role_token(Role::Auditor, &["home"]);
    assert_eq!(names(&home, &auditor, &Filter::default()), ["home/hue/key"]);
    let asked = Filter {
        environment: Some("lab".parse().unwrap()),
        ..Filter::default()
    };
    assert!(names(&home, &auditor, &asked).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_of_one_environment_sees_none_of_the_homes_own_keys() {
    let home = TestHome::new().await;
    let own = |caller: &Caller| {
        let page = home
            .vault
            .inventory(caller, &Filter::default(), "", 1000)
            .unwrap();
        page.credentials.len()
    };
    assert!(own(&HERE) > 0);
    assert_eq!(own(&service(&["hue/*:list"])), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_follow_one_another_without_gaps_or_repeats() {
    let home = TestHome::new().await;
    three(&home).await;
    let all = home
        .vault
        .inventory(&HERE, &Filter::default(), "", 1000)
        .unwrap();
    let (mut after, mut seen) = (String::new(), Vec::new());
    loop {
        let page = home
            .vault
            .inventory(&HERE, &Filter::default(), &after, 2)
            .unwrap();
        seen.extend(
            page.credentials
                .into_iter()
                .map(|view| (view.name, view.environment)),
        );
        match page.next {
            Some(next) => after = next,
            None => break,
        }
    }
    let whole = all
        .credentials
        .into_iter()
        .map(|view| (view.name, view.environment));
    assert_eq!(seen, whole.collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_home_lists_its_tokens_and_devices_beside_its_credentials() {
    let home = TestHome::new().await;
    home.enroll("lamp", "home").await;
    home.token("ci", &["*:list"]).await;
    let page = home
        .vault
        .inventory(&HERE, &Filter::default(), "", 1000)
        .unwrap();
    let has = |name: &str| page.credentials.iter().any(|view| view.name == name);
    assert!(has("device/lamp") && has("token/ci"));
    let shown = |caller: &Caller| home.vault.own_in_full(caller, "home", "device", "lamp");
    assert!(shown(&HERE).is_ok());
    assert_eq!(refusal(shown(&service(&["*:list"]))), code::NOT_FOUND);
}
