use hearthkey_api::code;
use hearthkey_core::role::Act;

use super::*;
use crate::process::testing::operator_in;

/// Waits until every value of lab lies under the newest key.
async fn rewrapped(home: &TestHome) {
    loop {
        let progress = home.vault.rewrap_progress("lab").unwrap();
        if progress.done == progress.total {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_sealed_under_a_new_key_and_stay_the_same() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    home.lent(&HERE, "hue/key").await.unwrap();
    let before = home.vault.rewrap_progress("lab").unwrap().epoch;
    let begun = home.vault.rewrap(&here(Act::CredentialRetire), "lab").await;
    assert_eq!(begun.unwrap().epoch, before + 1);
    rewrapped(&home).await;
    assert_eq!(home.value("hue/key").await.unwrap(), value_of("hue/key"));
    let home = home.reopened().await;
    assert_eq!(home.value("hue/key").await.unwrap(), value_of("hue/key"));
    assert_eq!(home.records("environment.rewrap").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_environment_has_a_new_key_and_the_others_keep_theirs() {
    let home = TestHome::new().await;
    home.vault
        .rewrap(&here(Act::CredentialRetire), "lab")
        .await
        .unwrap();
    assert_eq!(home.vault.rewrap_progress("lab").unwrap().epoch, 2);
    assert_eq!(home.vault.rewrap_progress("home").unwrap().epoch, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn leave_for_another_environment_gives_none_a_new_key() {
    let home = TestHome::new().await;
    let permit = operator_in("home", Act::CredentialRetire);
    let refused = home.vault.rewrap(&permit, "lab").await;
    assert_eq!(refusal(refused), code::FORBIDDEN);
    let refused = home
        .vault
        .rewrap(&here(Act::CredentialRetire), "cellar")
        .await;
    assert_eq!(refusal(refused), code::NOT_FOUND);
    assert!(home.records("environment.rewrap").is_empty());
}
