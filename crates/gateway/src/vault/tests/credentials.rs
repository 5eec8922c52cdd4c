use hearthkey_api::{CredentialChange, RotationPolicyView, code};
use hearthkey_core::role::Role;
use hearthkey_core::time::Span;

use super::*;
use crate::auth::caller::tests::{role_token, service};

#[tokio::test(flavor = "multi_thread")]
async fn a_value_is_in_the_vault_and_in_no_record() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    assert_eq!(home.value("hue/key").await.unwrap(), value_of("hue/key"));
    assert!(!home.log_text().contains(&value_of("hue/key")));
}

#[tokio::test(flavor = "multi_thread")]
async fn that_a_credential_was_added_is_recorded_with_who_owns_it_and_what_for() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let records = home.records("credential.add");
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].object, "credential:lab/hue/key");
    assert_eq!(records[0].actor.name, "uid:0");
    assert_eq!(records[0].details["owner"], "anna");
    assert_eq!(records[0].details["purpose"], "a test");
    assert_eq!(records[0].details["version"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_taken_until_its_credential_is_retired() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let again = home.vault.add_credential(&HERE, asked("hue/key")).await;
    assert_eq!(refusal(again), code::REFUSED);
    home.retire("hue/key").await;
    let again = home.add(asked("hue/key")).await;
    // The numbers of versions are never used twice.
    assert_eq!(again.credential.version, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_has_one_source_of_its_value_and_no_two() {
    let home = TestHome::new().await;
    let mut both = asked("hue/key");
    both.location = Some("a safe".into());
    let mut made = asked("hue/key");
    made.generate = true;
    let mut none = asked("hue/key");
    none.value = None;
    for request in [both, made, none] {
        let refused = home.vault.add_credential(&HERE, request).await;
        assert_eq!(refusal(refused), code::INVALID);
    }
    assert!(home.records("credential.add").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_kept_elsewhere_is_not_given_and_its_place_is_said() {
    let home = TestHome::new().await;
    let mut request = asked("hue/key");
    request.value = None;
    request.location = Some("the safe in the cellar".into());
    home.add(request).await;
    let refused = problem(home.value("hue/key").await);
    assert_eq!(refused.code, code::REFUSED);
    assert!(refused.remedy.contains("the safe in the cellar"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_is_added_to_no_environment_that_there_is_not() {
    let home = TestHome::new().await;
    let mut request = asked("hue/key");
    request.environment = "cellar".into();
    let refused = home.vault.add_credential(&HERE, request).await;
    assert_eq!(refusal(refused), code::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_kinds_of_the_gateways_own_are_given_to_nobody() {
    let home = TestHome::new().await;
    let mut kind = asked("hue/key");
    kind.kind = "ca-key".into();
    for request in [asked("token/ci"), asked("device/lamp"), kind] {
        let refused = home.vault.add_credential(&HERE, request).await;
        assert_eq!(refusal(refused), code::INVALID);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_sees_the_whole_home_is_warned_of_a_value_used_twice() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let mut same = asked("ha/key");
    same.value = Some(secret(&value_of("hue/key")));
    let added = home.add(same).await;
    assert!(
        added
            .warnings
            .iter()
            .any(|text| text.contains("lab/hue/key"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_does_not_learn_that_it_guessed_a_value_and_the_record_has_it() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let mut same = asked("ha/key");
    same.value = Some(secret(&value_of("hue/key")));
    let writer = home.token("ci", &["ha/*:write"]).await;
    let added = home.vault.add_credential(&writer, same).await.unwrap();
    assert!(added.warnings.is_empty());
    let last = home.records("credential.add").pop().unwrap();
    assert_eq!(last.details["shared_with"][0], "lab/hue/key");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_says_neither_scopes_nor_what_a_value_is_called_at_its_bridge() {
    let home = TestHome::new().await;
    let writer = service(&["hue/key:write"]);
    let mut scopes = asked("hue/key");
    scopes.scopes = vec!["admin".into()];
    let mut remote = asked("hue/key");
    remote.remote_id = Some("key-7".into());
    for request in [scopes, remote] {
        let refused = home.vault.add_credential(&writer, request).await;
        assert_eq!(refusal(refused), code::REFUSED);
    }
    assert!(home.records("credential.add").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_does_not_let_a_token_have_values_replaced_by_themselves() {
    let home = TestHome::new().await;
    let mut request = asked("hue/key");
    request.rotation.automatic = true;
    let by_pattern = service(&["hue/*:write"]);
    let refused = home
        .vault
        .add_credential(&by_pattern, request.clone())
        .await;
    assert_eq!(refusal(refused), code::FORBIDDEN);
    let by_name = service(&["hue/key:write"]);
    assert!(home.vault.add_credential(&by_name, request).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_the_gateway_makes_is_long_and_never_the_same() {
    let home = TestHome::new().await;
    for name in ["hue/key", "ha/key"] {
        let added = home.add(generated(name)).await;
        assert_eq!(added.credential.provenance.origin, "generated");
    }
    let one = home.value("hue/key").await.unwrap();
    assert_eq!(one.len(), 32);
    assert_ne!(one, home.value("ha/key").await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_only_its_issuer_makes_is_not_made_here() {
    let home = TestHome::new().await;
    let mut request = generated("hue/key");
    request.kind = "api-token".into();
    let refused = home.vault.add_credential(&HERE, request).await;
    assert_eq!(refusal(refused), code::REFUSED);
    assert!(home.records("credential.add").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_whose_end_has_passed_is_added_with_a_warning_and_not_given() {
    let home = TestHome::new().await;
    let mut request = asked("hue/key");
    request.expires_at = Some(home.now().before(Span::hours(1)).to_string());
    let added = home.add(request).await;
    assert_eq!(added.warnings.len(), 1);
    assert_eq!(refusal(home.value("hue/key").await), code::REFUSED);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_is_needed_and_a_text_has_two_hundred_characters_at_most() {
    let home = TestHome::new().await;
    for (owner, fits) in [
        ("", false),
        (" \t", false),
        (&"a".repeat(201), false),
        (&"ä".repeat(200), true),
    ] {
        let mut request = asked("hue/key");
        request.owner = owner.into();
        let added = home.vault.add_credential(&HERE, request).await;
        assert_eq!(added.is_ok(), fits, "{owner:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_has_sixty_four_places_of_use_at_most_each_once() {
    let home = TestHome::new().await;
    let place = |n: usize| format!("place {n}");
    let mut request = asked("hue/key");
    request.used_by = (0..65).map(place).collect();
    let refused = home.vault.add_credential(&HERE, request.clone()).await;
    assert_eq!(refusal(refused), code::INVALID);
    request.used_by = vec!["ha".into(), " ha ".into(), "builds".into()];
    let added = home.add(request).await;
    assert_eq!(added.credential.used_by, ["ha", "builds"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_added_is_there_when_the_home_is_opened_again() {
    let home = TestHome::new().await;
    let mut request = asked("hue/key");
    request.used_by = vec!["ha".into()];
    home.add(request).await;
    let home = home.reopened().await;
    assert_eq!(home.value("hue/key").await.unwrap(), value_of("hue/key"));
    assert_eq!(home.shown("hue/key").credential.used_by, ["ha"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_name_in_two_environments_is_two_credentials() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let mut other = asked("hue/key");
    other.environment = "home".into();
    other.value = Some(secret("another value"));
    home.add(other).await;
    assert_eq!(home.value("hue/key").await.unwrap(), value_of("hue/key"));
    let given = home.vault.reveal(&HERE, "home", use_of("hue/key")).await;
    assert_eq!(texts(given.unwrap()), ["another value"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_changes_a_purpose_and_nothing_that_guards_the_value() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let writer = service(&["hue/key:write"]);
    let none = CredentialChange::default;
    let guarding = [
        CredentialChange {
            owner: Some("eve".into()),
            ..none()
        },
        CredentialChange {
            tier: Some("critical".into()),
            ..none()
        },
        CredentialChange {
            used_by: Some(vec!["eve".into()]),
            ..none()
        },
        CredentialChange {
            scopes: Some(vec!["admin".into()]),
            ..none()
        },
        CredentialChange {
            expires_at: Some("2030-01-01T00:00:00Z".into()),
            ..none()
        },
        CredentialChange {
            rotation: Some(RotationPolicyView {
                every: Some("1d".into()),
                ..RotationPolicyView::default()
            }),
            ..none()
        },
    ];
    for change in guarding {
        let refused = home
            .vault
            .describe_credential(&writer, &id("hue/key"), change)
            .await;
        assert_eq!(refusal(refused), code::SECOND_FACTOR_NEEDED);
    }
    let purpose = CredentialChange {
        purpose: Some("lights".into()),
        ..none()
    };
    let changed = home
        .vault
        .describe_credential(&writer, &id("hue/key"), purpose)
        .await;
    assert_eq!(changed.unwrap().credential.purpose, "lights");
    assert_eq!(home.shown("hue/key").credential.owner, "anna");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_here_is_not_marked_as_replaced_elsewhere() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let change = CredentialChange {
        replaced: true,
        ..CredentialChange::default()
    };
    let refused = home
        .vault
        .describe_credential(&HERE, &id("hue/key"), change)
        .await;
    assert_eq!(refusal(refused), code::REFUSED);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_elsewhere_is_due_a_year_after_somebody_replaced_it_there() {
    let home = TestHome::new().await;
    let mut request = asked("hue/key");
    request.value = None;
    request.location = Some("a safe".into());
    home.add(request).await;
    home.wait(Span::days(366));
    assert!(home.shown("hue/key").credential.due.is_some());
    let change = CredentialChange {
        replaced: true,
        ..CredentialChange::default()
    };
    let changed = home
        .vault
        .describe_credential(&HERE, &id("hue/key"), change)
        .await;
    assert!(changed.unwrap().credential.due.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_credential_is_described_anew_by_nobody() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    home.retire("hue/key").await;
    let change = CredentialChange {
        owner: Some("eve".into()),
        ..CredentialChange::default()
    };
    let refused = home
        .vault
        .describe_credential(&HERE, &id("hue/key"), change)
        .await;
    assert_eq!(refusal(refused), code::REFUSED);
    assert!(home.records("credential.describe").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_is_taken_away_with_an_empty_text() {
    let home = TestHome::new().await;
    let mut request = asked("hue/key");
    request.expires_at = Some(home.now().after(Span::hours(1)).to_string());
    home.add(request).await;
    let change = CredentialChange {
        expires_at: Some(String::new()),
        ..CredentialChange::default()
    };
    let changed = home
        .vault
        .describe_credential(&HERE, &id("hue/key"), change)
        .await;
    assert!(changed.unwrap().credential.expires_at.is_none());
    home.wait(Span::hours(2));
    assert!(home.value("hue/key").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_id_of_another_credentials_value_is_not_taken_over() {
    let home = TestHome::new().await;
    let mut request = asked("hue/key");
    request.remote_id = Some("key-7".into());
    home.add(request).await;
    let mut other = asked("hue/other");
    other.remote_id = Some("key-7".into());
    let refused = home.vault.add_credential(&HERE, other.clone()).await;
    assert_eq!(refusal(refused), code::REFUSED);
    // At another bridge it is another value.
    other.name = "ha/other".into();
    assert!(home.vault.add_credential(&HERE, other).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_keeps_its_bounds() {
    let home = TestHome::new().await;
    let none = RotationPolicyView::default;
    let beyond = [
        RotationPolicyView {
            overlap: Some("91d".into()),
            ..none()
        },
        RotationPolicyView {
            after_uses: Some(0),
            ..none()
        },
        RotationPolicyView {
            every: Some("0s".into()),
            ..none()
        },
        RotationPolicyView {
            on: Some("now and then".into()),
            ..none()
        },
    ];
    for rotation in beyond {
        let mut request = asked("hue/key");
        request.rotation = rotation;
        let refused = home.vault.add_credential(&HERE, request).await;
        assert_eq!(refusal(refused), code::INVALID);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_of_one_environment_may_is_asked_of_that_one() {
    let lab = role_token(Role::Operator, &["lab"]);
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let rotate = hearthkey_core::credential::Action::Rotate;
    let here = home.vault.permitted(&lab, rotate, &id("hue/key")).await;
    assert!(here.is_ok());
    let there = home
        .vault
        .permitted(&lab, rotate, &id_in("home", "hue/key"))
        .await;
    assert_eq!(refusal(there), code::FORBIDDEN);
}
