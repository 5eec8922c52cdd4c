//! The setup link, invitations, joining.

use hearthkey_api as api;
use hearthkey_core::time::Span;

use crate::auth::tests::{
    answer, code_of, join_by, joining, member, owner, reasons, request, totp, visitor,
};
use crate::process::testing::{HERE, TestHome};
use crate::state::failure::Failure;

fn token(url: &str) -> &str {
    url.split_once('#').unwrap().1
}

async fn invited(home: &TestHome, by: &crate::auth::tests::Someone) -> String {
    let asked = request("ben", "operator", &["lab"]);
    home.people.invite(&by.caller(), asked).await.unwrap().url
}

async fn look(home: &TestHome, url: &str) -> Result<api::InvitationView, Failure> {
    home.people.look_at_invitation(&visitor(), token(url)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_the_setup_link_owns_the_home_and_has_ten_recovery_codes() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    assert_eq!(anna.visit.person.mandate.to_string(), "owner");
    assert_eq!(anna.codes.len(), 10);
    let joined = home.records("person.join");
    assert_eq!(joined[0].object, "person:anna");
    assert_eq!(joined[0].details["way"], "password");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_setup_link_ends_the_one_before() {
    let home = TestHome::new().await;
    let first = home.people.new_setup_link(&HERE).unwrap().url;
    let second = home.people.new_setup_link(&HERE).unwrap().url;
    assert_eq!(code_of(look(&home, &first).await), "refused");
    assert!(look(&home, &second).await.unwrap().first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setup_link_is_good_for_three_days() {
    let home = TestHome::new().await;
    let url = home.people.new_setup_link(&HERE).unwrap().url;
    home.wait(Span::s(72 * 3600 - 1));
    assert!(look(&home, &url).await.is_ok());
    home.wait(Span::s(1));
    assert_eq!(code_of(join_by(&home, &url, "anna").await), "refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_with_an_owner_gives_no_setup_link_and_takes_none() {
    let home = TestHome::new().await;
    let url = home.people.new_setup_link(&HERE).unwrap().url;
    join_by(&home, &url, "anna").await.unwrap();
    assert_eq!(code_of(home.people.new_setup_link(&HERE)), "refused");
    assert_eq!(code_of(join_by(&home, &url, "eve").await), "refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_join_by_one_link_at_a_time_the_first_one_does() {
    let home = TestHome::new().await;
    let url = home.people.new_setup_link(&HERE).unwrap().url;
    let (late, secret) = joining(&home, &url, "eve");
    join_by(&home, &url, "anna").await.unwrap();
    let shown = answer(&late, totp(&secret, home.now()));
    let refused = home.people.join_by_password(&visitor(), &shown).await;
    assert_eq!(code_of(refused), "refused");
    assert_eq!(home.people.people_list().unwrap().people.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_tells_its_role_and_is_used_once() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    let url = invited(&home, &anna).await;
    let seen = look(&home, &url).await.unwrap();
    assert_eq!((seen.role.as_str(), seen.first), ("operator", false));
    assert_eq!(seen.environments, ["lab"]);
    join_by(&home, &url, "ben").await.unwrap();
    assert_eq!(code_of(look(&home, &url).await), "refused");
    assert_eq!(reasons(&home.records("session.refuse")), ["no_invitation"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_is_good_for_three_days_and_after_the_home_was_opened_again() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    let url = invited(&home, &anna).await;
    let home = home.reopened().await;
    assert!(look(&home, &url).await.is_ok());
    home.wait(Span::hours(72));
    assert_eq!(code_of(look(&home, &url).await), "refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_invitation_of_an_owner_who_has_left_lets_nobody_in() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    let olga = member(&home, &anna, "olga", ("owner", &[])).await;
    let url = invited(&home, &olga).await;
    assert!(look(&home, &url).await.is_ok());
    home.people
        .end_person(&anna.caller(), "olga")
        .await
        .unwrap();
    assert_eq!(code_of(join_by(&home, &url, "ben").await), "refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_invitation_of_somebody_who_is_an_owner_no_more_lets_nobody_in() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    let olga = member(&home, &anna, "olga", ("owner", &[])).await;
    let url = invited(&home, &olga).await;
    let less = api::PersonChange {
        role: "auditor".into(),
        environments: Vec::new(),
        second_factor: None,
    };
    home.people
        .change_person(&anna.caller(), "olga", less)
        .await
        .unwrap();
    assert_eq!(code_of(look(&home, &url).await), "refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_invited_again_joins_by_the_new_link_alone_and_loses_every_session() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    let ben = member(&home, &anna, "ben", ("operator", &[])).await;
    let [first, second] = [
        home.people
            .invite_again(&anna.caller(), "ben")
            .await
            .unwrap()
            .url,
        home.people
            .invite_again(&anna.caller(), "ben")
            .await
            .unwrap()
            .url,
    ];
    assert_eq!(code_of(look(&home, &first).await), "refused");
    assert!(home.auth.still_here(&ben.visit).is_ok());
    join_by(&home, &second, "ben").await.unwrap();
    assert_eq!(code_of(home.auth.still_here(&ben.visit)), "not_logged_in");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_joins_with_a_code_that_the_authenticator_does_not_show_and_there_is_one_try() {
    let home = TestHome::new().await;
    let url = home.people.new_setup_link(&HERE).unwrap().url;
    let (ceremony, secret) = joining(&home, &url, "anna");
    let wrong = answer(&ceremony, "wrong!".into());
    assert_eq!(
        code_of(home.people.join_by_password(&visitor(), &wrong).await),
        "refused"
    );
    let right = answer(&ceremony, totp(&secret, home.now()));
    assert_eq!(
        code_of(home.people.join_by_password(&visitor(), &right).await),
        "refused"
    );
    assert!(!home.people.people_list().unwrap().has_owner);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_short_or_is_a_name_is_refused_before_anything_is_made() {
    let home = TestHome::new().await;
    let url = home.people.new_setup_link(&HERE).unwrap().url;
    let asked = api::InvitationToken {
        token: token(&url).into(),
        name: Some("anna".into()),
        password: Some("short".into()),
    };
    let refused = home
        .people
        .begin_joining_by_password(&visitor(), asked)
        .await;
    assert_eq!(code_of(refused), "refused");
}
