use hearthkey_api::code;
use hearthkey_core::role::Act;

use super::*;

async fn revoke(home: &TestHome, name: &str) -> Result<hearthkey_api::TokenRevoked, Failure> {
    home.vault.revoke_token(&here(Act::TokenEnd), name).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_out_at_once_and_stays_out() {
    let home = TestHome::new().await;
    let ci = home.token("ci", &["hue/key:read"]).await;
    assert!(home.auth.is_still_in(&ci).is_ok());
    assert!(revoke(&home, "ci").await.unwrap().durable);
    assert!(home.auth.is_still_in(&ci).is_err());
    let home = home.reopened().await;
    assert!(home.auth.is_still_in(&ci).is_err());
    let record = home.records("token.revoke").pop().unwrap();
    assert_eq!(record.object, "token:ci");
    assert_eq!(record.details["token"], holder(&ci).id.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_revoked_token_holds_ends_with_it() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let ci = home.token("ci", &["hue/key:lease"]).await;
    home.lent(&ci, "hue/key").await.unwrap();
    home.lent(&HERE, "hue/key").await.unwrap();
    assert_eq!(revoke(&home, "ci").await.unwrap().leases_left, 0);
    let left = home.vault.leases(&HERE).unwrap().leases;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].holder, "uid:0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_its_bridge_does_not_end_is_counted_and_the_token_is_out() {
    let home = TestHome::new().await;
    home.connect("cloud", &["mint", "revoke", "two-live", "children"])
        .await;
    home.add(asked("cloud/key")).await;
    let ci = home.token("ci", &["cloud/key:lease"]).await;
    home.lent(&ci, "cloud/key").await.unwrap();
    home.set("cloud", "silent");
    assert_eq!(revoke(&home, "ci").await.unwrap().leases_left, 1);
    assert!(home.auth.is_still_in(&ci).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_revoked_once_and_one_that_there_is_not_never() {
    let home = TestHome::new().await;
    home.token("ci", &["hue/key:read"]).await;
    revoke(&home, "ci").await.unwrap();
    assert_eq!(refusal(revoke(&home, "ci").await), code::REFUSED);
    assert_eq!(refusal(revoke(&home, "other").await), code::NOT_FOUND);
    assert_eq!(home.records("token.revoke").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn leave_for_something_else_revokes_no_token() {
    let home = TestHome::new().await;
    let ci = home.token("ci", &["hue/key:read"]).await;
    let refused = home.vault.revoke_token(&here(Act::TokenCreate), "ci").await;
    assert_eq!(refusal(refused), code::FORBIDDEN);
    assert!(home.auth.is_still_in(&ci).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_of_a_revoked_token_is_given_again_and_the_old_one_stays_out() {
    let home = TestHome::new().await;
    let old = home.token("ci", &["hue/key:read"]).await;
    revoke(&home, "ci").await.unwrap();
    let new = home.token("ci", &["hue/key:read"]).await;
    assert!(home.auth.is_still_in(&new).is_ok());
    assert!(home.auth.is_still_in(&old).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_names_a_critical_credential_takes_a_code_and_a_pattern_none() {
    let home = TestHome::new().await;
    home.add(critical("hue/key")).await;
    home.joined().await;
    home.token("pattern", &["hue/*:read"]).await;
    home.token("lists", &["hue/key:list"]).await;
    let ci = holder(&cut_off(&["hue/key:read"]));
    let mut request = TokenRequest {
        name: ci.name.to_string(),
        environments: vec!["lab".into()],
        allow: vec!["hue/key:read".into()],
        role: None,
        owner: None,
        purpose: None,
        ttl: "1h".into(),
        ceiling: "1d".into(),
        public_key: Some(rcgen::KeyPair::generate().unwrap().public_key_pem()),
        bind: None,
        second_factor: None,
    };
    let refused = home.tokens.create_token(&HERE, request.clone()).await;
    assert_eq!(refusal(refused), code::SECOND_FACTOR_NEEDED);
    request.second_factor = home.code();
    assert!(home.tokens.create_token(&HERE, request).await.is_ok());
}
