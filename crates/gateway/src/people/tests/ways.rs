//! A person's own ways in.

use hearthkey_core::time::Span;
use zeroize::Zeroizing;

use crate::auth::ceremonies::{Ceremony, NewPassword};
use crate::auth::tests::{Someone, answer, code_of, member, owner, totp};
use crate::process::testing::TestHome;
use crate::state::locked;

const SECRET: [u8; 20] = [7; 20];

/// A password that somebody sets in their session.
fn begin(home: &TestHome, who: &Someone) -> String {
    let new = NewPassword {
        phc: "$argon2id$another".into(),
        totp: Zeroizing::new(SECRET.to_vec()),
    };
    let ceremony = Ceremony::SetPassword(new, who.visit.session.hash);
    locked(&home.auth.people.ceremonies).begin(ceremony, home.now())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sets_a_password_ends_every_other_session_of_theirs() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    let ben = member(&home, &anna, "ben", ("operator", &[])).await;
    let login = hearthkey_api::RecoveryLogin {
        name: "ben".into(),
        code: ben.codes[0].clone(),
    };
    let visitor = crate::auth::tests::visitor();
    let other = home.auth.login_by_recovery(&visitor, login).await.unwrap();
    let shown = answer(&begin(&home, &ben), totp(&SECRET, home.now()));
    home.people.set_password(&ben.visit, &shown).await.unwrap();
    assert!(home.auth.still_here(&ben.visit).is_ok());
    assert_eq!(code_of(home.auth.still_here(&other.visit)), "not_logged_in");
    assert!(home.auth.still_here(&anna.visit).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_new_password_the_authenticator_before_shows_nothing() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    let shown = answer(&begin(&home, &anna), totp(&SECRET, home.now()));
    home.people.set_password(&anna.visit, &shown).await.unwrap();
    home.wait(Span::minutes(5));
    let old = home
        .auth
        .step_up_by_code(&anna.visit, &anna.code(&home))
        .await;
    assert_eq!(code_of(old), "second_factor_needed");
    let new = totp(&SECRET, home.now());
    assert!(home.auth.step_up_by_code(&anna.visit, &new).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_set_by_the_session_that_began_it_alone() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    let ben = member(&home, &anna, "ben", ("operator", &[])).await;
    let shown = answer(&begin(&home, &ben), totp(&SECRET, home.now()));
    assert_eq!(
        code_of(home.people.set_password(&anna.visit, &shown).await),
        "refused"
    );
    assert!(home.records("person.password").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_not_confirmed_in_five_minutes_is_not_set() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    let begun = begin(&home, &anna);
    home.wait(Span::minutes(5));
    let shown = answer(&begun, totp(&SECRET, home.now()));
    assert_eq!(
        code_of(home.people.set_password(&anna.visit, &shown).await),
        "refused"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn new_recovery_codes_end_those_before() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    let new = home.people.new_recovery_codes(&anna.visit).await.unwrap();
    let visitor = crate::auth::tests::visitor();
    for (code, works) in [(&anna.codes[0], false), (&new.recovery_codes[0], true)] {
        let login = hearthkey_api::RecoveryLogin {
            name: "anna".into(),
            code: code.clone(),
        };
        let outcome = home.auth.login_by_recovery(&visitor, login).await;
        assert_eq!(outcome.is_ok(), works);
    }
    let record = &home.records("person.recovery-codes")[0];
    assert!(!format!("{record:?}").contains(&new.recovery_codes[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passkey_that_nobody_has_is_not_taken_away() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    let outcome = home.people.end_passkey(&anna.visit, "AAAA").await;
    assert_eq!(code_of(outcome), "not_found");
}
