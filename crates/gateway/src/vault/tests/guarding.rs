use hearthkey_api::{CredentialChange, code};
use hearthkey_core::time::Span;

use super::*;
use crate::auth::caller::tests::service;

fn tier(tier: &str) -> CredentialChange {
    CredentialChange {
        tier: Some(tier.into()),
        ..CredentialChange::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn before_anybody_joins_a_critical_value_takes_no_code_on_the_machine() {
    let home = TestHome::new().await;
    home.add(critical("hue/key")).await;
    assert!(home.value("hue/key").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn once_somebody_joined_a_critical_value_takes_a_code() {
    let home = TestHome::new().await;
    home.add(critical("hue/key")).await;
    home.joined().await;
    let refused = home.value("hue/key").await;
    assert_eq!(refusal(refused), code::SECOND_FACTOR_NEEDED);
    assert!(home.records("credential.read").is_empty());
    let mut request = use_of("hue/key");
    request.second_factor = home.code();
    assert!(home.vault.reveal(&HERE, "lab", request).await.is_ok());
    let record = home.records("credential.read").pop().unwrap();
    assert_eq!(record.details["second_factor"], "anna");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_good_once() {
    let home = TestHome::new().await;
    home.add(critical("hue/key")).await;
    home.joined().await;
    let mut request = use_of("hue/key");
    request.second_factor = home.code();
    assert!(
        home.vault
            .reveal(&HERE, "lab", request.clone())
            .await
            .is_ok()
    );
    let again = home.vault.reveal(&HERE, "lab", request).await;
    assert_eq!(refusal(again), code::SECOND_FACTOR_NEEDED);
    assert_eq!(home.records("credential.read").len(), 1);
    home.wait(Span::minutes(1));
    let mut request = use_of("hue/key");
    request.second_factor = home.code();
    assert!(home.vault.reveal(&HERE, "lab", request).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_code_stays_used_when_the_home_is_opened_again() {
    let home = TestHome::new().await;
    home.add(critical("hue/key")).await;
    home.joined().await;
    let mut request = use_of("hue/key");
    request.second_factor = home.code();
    assert!(
        home.vault
            .reveal(&HERE, "lab", request.clone())
            .await
            .is_ok()
    );
    let home = home.reopened().await;
    let again = home.vault.reveal(&HERE, "lab", request).await;
    assert_eq!(refusal(again), code::SECOND_FACTOR_NEEDED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_code_gives_nothing_and_is_written_down() {
    let home = TestHome::new().await;
    home.add(critical("hue/key")).await;
    home.joined().await;
    let mut request = use_of("hue/key");
    request.second_factor = home.code().map(|mut shown| {
        shown.person = "eve".into();
        shown
    });
    let refused = home.vault.reveal(&HERE, "lab", request).await;
    assert_eq!(refusal(refused), code::SECOND_FACTOR_NEEDED);
    assert_eq!(home.records("person.refuse").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_critical_value_among_others_takes_a_code_for_all_of_them() {
    let home = TestHome::new().await;
    home.add(critical("hue/key")).await;
    home.add(asked("ha/key")).await;
    home.joined().await;
    assert!(home.value("ha/key").await.is_ok());
    let mut request = use_of("ha/key");
    request.names.push("hue/key".into());
    let refused = home.vault.reveal(&HERE, "lab", request).await;
    assert_eq!(refusal(refused), code::SECOND_FACTOR_NEEDED);
    assert_eq!(home.records("credential.read").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tier_is_raised_by_word_and_lowered_with_a_code() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    home.joined().await;
    let (vault, key) = (&home.vault, id("hue/key"));
    let raised = vault
        .describe_credential(&HERE, &key, tier("critical"))
        .await;
    assert_eq!(raised.unwrap().credential.tier, "critical");
    let refused = vault
        .describe_credential(&HERE, &key, tier("standard"))
        .await;
    assert_eq!(refusal(refused), code::SECOND_FACTOR_NEEDED);
    let mut request = tier("standard");
    request.second_factor = home.code();
    let lowered = vault.describe_credential(&HERE, &key, request).await;
    assert_eq!(lowered.unwrap().credential.tier, "standard");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_guards_a_critical_value_changes_without_a_code() {
    let home = TestHome::new().await;
    home.add(critical("hue/key")).await;
    home.joined().await;
    let change = CredentialChange {
        owner: Some("eve".into()),
        ..CredentialChange::default()
    };
    let refused = home
        .vault
        .describe_credential(&HERE, &id("hue/key"), change)
        .await;
    assert_eq!(refusal(refused), code::SECOND_FACTOR_NEEDED);
    assert!(home.records("credential.describe").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_lowers_a_tier_while_their_second_factor_is_fresh() {
    let home = TestHome::new().await;
    home.add(critical("hue/key")).await;
    home.add(critical("ha/key")).await;
    let anna = home.joined().await;
    let anna = home.session(anna);
    let lowered = home
        .vault
        .describe_credential(&anna, &id("hue/key"), tier("standard"))
        .await;
    assert!(lowered.is_ok());
    home.wait(Span::minutes(6));
    let refused = home
        .vault
        .describe_credential(&anna, &id("ha/key"), tier("standard"))
        .await;
    assert_eq!(refusal(refused), code::SECOND_FACTOR_NEEDED);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_lower_tier_takes_over_a_critical_name_whose_values_are_kept() {
    let home = TestHome::new().await;
    home.add(critical("hue/key")).await;
    home.joined().await;
    home.retire("hue/key").await;
    let refused = home.vault.add_credential(&HERE, asked("hue/key")).await;
    assert_eq!(refusal(refused), code::REFUSED);
    home.wait(Span::days(8));
    home.vault.shred(home.now()).await.unwrap();
    assert!(
        home.vault
            .add_credential(&HERE, asked("hue/key"))
            .await
            .is_ok()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_critical_name_is_taken_over_by_a_critical_credential_at_once() {
    let home = TestHome::new().await;
    home.add(critical("hue/key")).await;
    home.joined().await;
    home.retire("hue/key").await;
    assert!(
        home.vault
            .add_credential(&HERE, critical("hue/key"))
            .await
            .is_ok()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_reaches_no_critical_value_and_a_name_does() {
    let home = TestHome::new().await;
    home.add(critical("hue/key")).await;
    let by_pattern = service(&["*:read", "hue/*:read"]);
    let refused = home
        .vault
        .reveal(&by_pattern, "lab", use_of("hue/key"))
        .await;
    assert_eq!(refusal(refused), code::FORBIDDEN);
    let record = home.records("credential.refuse").pop().unwrap();
    assert_eq!(record.reason.as_deref(), Some("critical"));
    let by_name = service(&["hue/key:read"]);
    let given = home.vault.reveal(&by_name, "lab", use_of("hue/key")).await;
    assert_eq!(texts(given.unwrap()), [value_of("hue/key")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_gets_no_lease_of_a_critical_value() {
    let home = TestHome::new().await;
    home.add(critical("hue/key")).await;
    let by_pattern = home.token("ci", &["hue/*:lease"]).await;
    assert_eq!(
        refusal(home.lent(&by_pattern, "hue/key").await),
        code::FORBIDDEN
    );
    assert!(home.records("credential.lease").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_critical_ends_the_tokens_that_name_it_without_a_second_factor() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    home.token("named", &["hue/key:read"]).await;
    home.token("pattern", &["hue/*:read"]).await;
    home.token("lists", &["hue/key:list"]).await;
    home.joined().await;
    let raised = home
        .vault
        .describe_credential(&HERE, &id("hue/key"), tier("critical"))
        .await;
    let warnings = raised.unwrap().warnings;
    assert!(warnings.iter().any(|text| text.contains("token:named")));
    let revoked = |name: &str| home.auth.token_named(name).unwrap().revoked_at.is_some();
    assert!(revoked("named"));
    assert!(!revoked("pattern") && !revoked("lists"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_critical_before_anybody_joins_ends_no_token() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    home.token("named", &["hue/key:read"]).await;
    let raised = home
        .vault
        .describe_credential(&HERE, &id("hue/key"), tier("critical"))
        .await;
    assert!(raised.unwrap().warnings.is_empty());
    assert!(home.auth.token_named("named").unwrap().revoked_at.is_none());
}

/// A bridge whose authority is critical, and a credential of the tier standard that it has made.
async fn made_by_a_critical_authority() -> TestHome {
    let home = TestHome::new().await;
    home.add(critical("cloud/admin")).await;
    let mut request = home.program("cloud", &["mint", "verify", "revoke"]);
    request.authority = Some("cloud/admin".into());
    home.vault.connect_bridge(&HERE, request).await.unwrap();
    home.add(generated("cloud/key")).await;
    home.drive("cloud/key").await;
    assert_eq!(home.versions("cloud/key"), ["current"]);
    home
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_critical_authority_made_is_given_as_critical_values_are() {
    let home = made_by_a_critical_authority().await;
    let by_pattern = service(&["cloud/*:read"]);
    let refused = home
        .vault
        .reveal(&by_pattern, "lab", use_of("cloud/key"))
        .await;
    assert_eq!(refusal(refused), code::FORBIDDEN);
    home.joined().await;
    let refused = home.value("cloud/key").await;
    assert_eq!(refusal(refused), code::SECOND_FACTOR_NEEDED);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_critical_authority_made_stays_critical_without_its_bridge() {
    let home = made_by_a_critical_authority().await;
    let permit = here(Act::BridgeChange);
    let out = home
        .vault
        .disconnect_bridge(&permit, "lab", "cloud", false)
        .await;
    assert!(out.unwrap().durable);
    assert_eq!(home.shown("cloud/key").credential.tier, "critical");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_critical_authority_made_stays_critical_when_another_takes_its_name() {
    let home = made_by_a_critical_authority().await;
    home.joined().await;
    home.retire_after("cloud/admin", "0s").await.unwrap();
    home.vault.shred(home.now()).await.unwrap();
    home.add(asked("cloud/admin")).await;
    assert_eq!(home.shown("cloud/key").credential.tier, "critical");
    let refused = home.value("cloud/key").await;
    assert_eq!(refusal(refused), code::SECOND_FACTOR_NEEDED);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_authority_made_stays_as_critical_as_the_one_behind_it_was() {
    let home = made_by_a_critical_authority().await;
    let mut request = home.program("sys", &["mint"]);
    request.authority = Some("cloud/key".into());
    home.vault.connect_bridge(&HERE, request).await.unwrap();
    home.add(generated("sys/key")).await;
    home.drive("sys/key").await;
    home.renew("cloud/key", "entered by hand").await;
    home.wait(Span::days(2));
    home.drive("cloud/key").await;
    home.wait(Span::days(8));
    home.vault.shred(home.now()).await.unwrap();
    assert_eq!(home.versions("cloud/key"), ["destroyed", "current"]);
    assert_eq!(home.shown("sys/key").credential.tier, "critical");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_enters_keeps_its_own_tier_beside_a_critical_authority() {
    let home = made_by_a_critical_authority().await;
    home.add(asked("cloud/note")).await;
    home.joined().await;
    assert!(home.value("cloud/note").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_critical_authority_makes_nothing_for_a_pattern() {
    let home = made_by_a_critical_authority().await;
    let by_pattern = service(&["cloud/*:write"]);
    let refused = home
        .vault
        .add_credential(&by_pattern, generated("cloud/more"))
        .await;
    assert_eq!(refusal(refused), code::FORBIDDEN);
    assert_eq!(home.times("cloud", "mint"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_critical_authority_makes_no_value_of_a_lower_tier_without_a_code() {
    let home = made_by_a_critical_authority().await;
    home.joined().await;
    let refused = home
        .vault
        .add_credential(&HERE, generated("cloud/more"))
        .await;
    assert_eq!(refusal(refused), code::SECOND_FACTOR_NEEDED);
    let mut request = generated("cloud/more");
    request.second_factor = home.code();
    assert!(home.vault.add_credential(&HERE, request).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_guards_a_value_of_a_critical_authority_changes_with_a_code() {
    let home = made_by_a_critical_authority().await;
    home.joined().await;
    let (vault, key) = (&home.vault, id("cloud/key"));
    let wider = |second_factor| CredentialChange {
        scopes: Some(vec!["admin".into()]),
        second_factor,
        ..CredentialChange::default()
    };
    let refused = vault.describe_credential(&HERE, &key, wider(None)).await;
    assert_eq!(refusal(refused), code::SECOND_FACTOR_NEEDED);
    let changed = vault.describe_credential(&HERE, &key, wider(home.code()));
    assert!(changed.await.is_ok());
    // To say that it is as critical as it is judged takes none.
    let raised = vault.describe_credential(&HERE, &key, tier("critical"));
    assert!(raised.await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_a_critical_authority_is_asked_for_is_judged_as_critical() {
    let home = made_by_a_critical_authority().await;
    home.set("cloud", "silent");
    home.add(generated("cloud/more")).await;
    home.joined().await;
    let change = CredentialChange {
        scopes: Some(vec!["admin".into()]),
        ..CredentialChange::default()
    };
    let refused = home
        .vault
        .describe_credential(&HERE, &id("cloud/more"), change)
        .await;
    assert_eq!(refusal(refused), code::SECOND_FACTOR_NEEDED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_critical_authority_makes_no_value_of_a_lower_tier_by_itself() {
    let home = made_by_a_critical_authority().await;
    home.joined().await;
    let mut request = asked("cloud/more");
    request.rotation.every = Some("30d".into());
    request.rotation.automatic = true;
    home.add(request).await;
    home.wait(Span::days(31));
    home.vault.begin_due(home.now()).await;
    assert!(home.shown("cloud/more").credential.rotating.is_none());
    let raised = home
        .vault
        .describe_credential(&HERE, &id("cloud/more"), tier("critical"))
        .await;
    assert!(raised.is_ok());
    home.vault.begin_due(home.now()).await;
    let rotating = home.shown("cloud/more").credential.rotating;
    assert_eq!(rotating.as_deref(), Some("mint"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_critical_authority_is_asked_for_ends_the_tokens_that_name_it() {
    let home = made_by_a_critical_authority().await;
    home.add(asked("cloud/more")).await;
    home.token("named", &["cloud/more:read"]).await;
    home.token("other", &["cloud/key:read"]).await;
    let anna = home.joined().await;
    let anna = home.session(anna);
    let begun = home
        .vault
        .rotate_credential(&anna, &id("cloud/more"), RotateRequest::default())
        .await;
    assert!(begun.is_ok());
    let revoked = |name: &str| home.auth.token_named(name).unwrap().revoked_at.is_some();
    assert!(revoked("named") && !revoked("other"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_becomes_critical_ends_the_tokens_that_name_what_it_made() {
    let home = TestHome::new().await;
    home.add(asked("cloud/admin")).await;
    let mut request = home.program("cloud", &["mint", "verify", "revoke"]);
    request.authority = Some("cloud/admin".into());
    home.vault.connect_bridge(&HERE, request).await.unwrap();
    home.add(generated("cloud/key")).await;
    home.drive("cloud/key").await;
    home.add(asked("cloud/note")).await;
    home.token("named", &["cloud/key:read"]).await;
    home.token("other", &["cloud/note:read"]).await;
    home.joined().await;
    let raised = home
        .vault
        .describe_credential(&HERE, &id("cloud/admin"), tier("critical"))
        .await;
    let warnings = raised.unwrap().warnings;
    assert!(warnings.iter().any(|text| text.contains("token:named")));
    let revoked = |name: &str| home.auth.token_named(name).unwrap().revoked_at.is_some();
    assert!(revoked("named") && !revoked("other"));
}
