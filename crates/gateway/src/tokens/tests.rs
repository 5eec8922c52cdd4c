//! Use cases of service tokens, on a home that nobody can reach.

use hearthkey_api as api;
use hearthkey_core::role::{Act, Role};
use hearthkey_core::time::Span;
use hearthkey_store::change::{Change, Write};
use hearthkey_store::registry::{ReadError, Registry};

use crate::auth::caller::Caller;
use crate::auth::caller::tests::role_token;
use crate::auth::tests::{code_of, member, owner};
use crate::process::testing::{HERE, TestHome, here};
use crate::state::endings::End;
use crate::state::failure::Failure;

fn public_key() -> String {
    rcgen::KeyPair::generate().unwrap().public_key_pem()
}

fn with_grants(name: &str, environments: &[&str], allow: &[&str]) -> api::TokenRequest {
    api::TokenRequest {
        name: name.into(),
        environments: environments.iter().map(|name| (*name).into()).collect(),
        allow: allow.iter().map(|grant| (*grant).into()).collect(),
        role: None,
        owner: None,
        purpose: None,
        ttl: "1h".into(),
        ceiling: "7d".into(),
        public_key: Some(public_key()),
        bind: None,
        second_factor: None,
    }
}

fn asked(name: &str) -> api::TokenRequest {
    with_grants(name, &["lab"], &["*:list"])
}

fn with_role(name: &str, role: &str, environments: &[&str]) -> api::TokenRequest {
    api::TokenRequest {
        role: Some(role.into()),
        ..with_grants(name, environments, &[])
    }
}

async fn create(
    home: &TestHome,
    caller: &Caller,
    asked: api::TokenRequest,
) -> Result<api::TokenCreated, Failure> {
    home.tokens.create_token(caller, asked).await
}

fn state(home: &TestHome, name: &str) -> String {
    home.tokens.show_token(name).unwrap().state
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_in_the_answer_and_neither_in_the_record_nor_shown_again() {
    let home = TestHome::new().await;
    let made = create(&home, &HERE, asked("ci")).await.unwrap();
    let record = &home.records("token.create")[0];
    assert_eq!(record.object, "token:ci");
    assert!(!format!("{record:?}").contains(&made.token));
    let shown = home.tokens.show_token("ci").unwrap();
    assert!(!format!("{shown:?}").contains(&made.token));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_asked_for_with_one_power_one_place_and_one_binding() {
    let home = TestHome::new().await;
    let unbound = api::TokenRequest {
        public_key: None,
        ..asked("ci")
    };
    let twice_bound = api::TokenRequest {
        bind: Some("device:lamp".into()),
        ..asked("ci")
    };
    let both = api::TokenRequest {
        role: Some("auditor".into()),
        ..asked("ci")
    };
    let two_places = with_grants("ci", &["lab", "home"], &["*:list"]);
    let no_grants = with_grants("ci", &["lab"], &[]);
    for asked in [unbound, twice_bound, both, two_places, no_grants] {
        assert_eq!(code_of(create(&home, &HERE, asked).await), "invalid");
    }
    assert!(home.records("token.create").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_owns_the_home() {
    let home = TestHome::new().await;
    let refused = create(&home, &HERE, with_role("ci", "owner", &[])).await;
    assert_eq!(code_of(refused), "refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_holds_in_an_environment_that_is_there() {
    let home = TestHome::new().await;
    let refused = create(&home, &HERE, with_grants("ci", &["attic"], &["*:list"])).await;
    assert_eq!(code_of(refused), "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_lives_a_day_and_is_renewed_for_thirty_at_most() {
    let home = TestHome::new().await;
    for (ttl, ceiling) in [("25h", "7d"), ("1h", "31d")] {
        let long = api::TokenRequest {
            ttl: ttl.into(),
            ceiling: ceiling.into(),
            ..asked("ci")
        };
        assert_eq!(code_of(create(&home, &HERE, long).await), "refused");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_of_one_token_until_that_is_revoked() {
    let home = TestHome::new().await;
    create(&home, &HERE, asked("ci")).await.unwrap();
    assert_eq!(code_of(create(&home, &HERE, asked("ci")).await), "refused");
    home.vault
        .revoke_token(&here(Act::TokenEnd), "ci")
        .await
        .unwrap();
    assert!(create(&home, &HERE, asked("ci")).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gives_a_token_what_they_do_not_have() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    let dora = member(&home, &anna, "dora", ("developer", &["lab"]))
        .await
        .caller();
    for (asked, allowed) in [
        (with_role("a", "operator", &["lab"]), false),
        (with_role("b", "developer", &["lab"]), true),
        (with_grants("c", &["home"], &["*:list"]), false),
        (with_grants("d", &["lab"], &["*:list"]), true),
    ] {
        let outcome = create(&home, &dora, asked).await;
        assert_eq!(
            outcome
                .as_ref()
                .err()
                .map(|refused| refused.0.code.as_str()),
            (!allowed).then_some("forbidden")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_makes_or_renews_a_token_whatever_its_role() {
    let home = TestHome::new().await;
    create(&home, &HERE, asked("ci")).await.unwrap();
    let token = role_token(Role::Developer, &["lab"]);
    assert_eq!(
        code_of(create(&home, &token, asked("other")).await),
        "forbidden"
    );
    assert_eq!(
        code_of(home.tokens.renew_token(&token, "ci").await),
        "forbidden"
    );
    assert_eq!(
        code_of(home.tokens.reauthorize_token(&token, "ci").await),
        "forbidden"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_expires_in_its_time_and_lives_again_when_it_is_renewed() {
    let home = TestHome::new().await;
    create(&home, &HERE, asked("ci")).await.unwrap();
    assert_eq!(state(&home, "ci"), "live");
    home.wait(Span::hours(1));
    assert_eq!(state(&home, "ci"), "expired");
    home.tokens.renew_token(&HERE, "ci").await.unwrap();
    assert_eq!(state(&home, "ci"), "live");
    assert_eq!(home.records("token.renew").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_its_ceiling_a_token_is_authorized_by_a_person_or_not_at_all() {
    let home = TestHome::new().await;
    create(&home, &HERE, asked("ci")).await.unwrap();
    home.wait(Span::days(7));
    assert_eq!(state(&home, "ci"), "held");
    assert_eq!(
        code_of(home.tokens.renew_token(&HERE, "ci").await),
        "refused"
    );
    home.tokens.reauthorize_token(&HERE, "ci").await.unwrap();
    assert_eq!(state(&home, "ci"), "live");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_token_does_not_outlive_its_ceiling() {
    let home = TestHome::new().await;
    let made = create(&home, &HERE, asked("ci")).await.unwrap();
    home.wait(Span::s(7 * 86_400 - 60));
    let renewed = home.tokens.renew_token(&HERE, "ci").await.unwrap();
    assert_eq!(renewed.expires_at, made.renewable_until);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_comes_back_in_no_way_also_when_the_home_is_opened_again() {
    let home = TestHome::new().await;
    create(&home, &HERE, asked("ci")).await.unwrap();
    home.vault
        .revoke_token(&here(Act::TokenEnd), "ci")
        .await
        .unwrap();
    assert_eq!(
        code_of(home.tokens.renew_token(&HERE, "ci").await),
        "refused"
    );
    assert_eq!(
        code_of(home.tokens.reauthorize_token(&HERE, "ci").await),
        "refused"
    );
    let home = home.reopened().await;
    assert_eq!(state(&home, "ci"), "revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_bound_to_a_device_holds_where_that_is() {
    let home = TestHome::new().await;
    home.enroll("lamp", "home").await;
    let bound = |environment: &str, device: &str| api::TokenRequest {
        public_key: None,
        bind: Some(format!("device:{device}")),
        ..with_grants("ci", &[environment], &["*:list"])
    };
    assert_eq!(
        code_of(create(&home, &HERE, bound("lab", "lamp")).await),
        "refused"
    );
    assert_eq!(
        code_of(create(&home, &HERE, bound("home", "other")).await),
        "not_found"
    );
    assert!(create(&home, &HERE, bound("home", "lamp")).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_access_ends_leaves_no_token_with_a_role() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    let dora = member(&home, &anna, "dora", ("developer", &["lab"])).await;
    create(
        &home,
        &dora.caller(),
        with_role("ci", "developer", &["lab"]),
    )
    .await
    .unwrap();
    create(
        &home,
        &anna.caller(),
        with_role("other", "developer", &["lab"]),
    )
    .await
    .unwrap();
    home.people
        .end_person(&anna.caller(), "dora")
        .await
        .unwrap();
    assert_eq!(state(&home, "ci"), "revoked");
    assert_eq!(state(&home, "other"), "live");
}

/// The end of a token that the disk never takes.
struct Stuck {
    object: String,
    kind: String,
}

impl End for Stuck {
    fn object(&self) -> String {
        self.object.clone()
    }

    fn kind(&self) -> String {
        self.kind.clone()
    }

    fn change(&self) -> Change {
        Change::default().write(Write::StillActive("nobody".parse().unwrap()))
    }

    fn holds(&self, _: &Registry<'_>) -> Result<bool, ReadError> {
        Ok(false)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_person_is_not_durable_before_those_of_their_tokens_are() {
    let home = TestHome::new().await;
    let anna = owner(&home).await;
    for name in ["dora", "olga"] {
        let role = match name {
            "dora" => ("developer", &["lab"][..]),
            _ => ("owner", &[][..]),
        };
        let maker = member(&home, &anna, name, role).await;
        let asked = with_role(name, "developer", &["lab"]);
        let made = create(&home, &maker.caller(), asked).await.unwrap();
        // It is the same end as the one that follows.
        home.ctx.endings().begin(Stuck {
            object: format!("token:{name}"),
            kind: format!("revoke {}", made.details.id),
        });
        let ended = home.people.end_person(&anna.caller(), name).await.unwrap();
        assert!(!ended.durable, "{name}");
        assert_eq!(state(&home, name), "revoked");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_limited_sees_tokens_that_hold_nowhere_else() {
    let home = TestHome::new().await;
    create(&home, &HERE, asked("here")).await.unwrap();
    create(&home, &HERE, with_role("both", "auditor", &["lab", "home"]))
        .await
        .unwrap();
    let caller = role_token(Role::Operator, &["lab"]);
    let seen = home.auth.token_views(caller.scope(Act::TokenRead));
    let names: Vec<_> = seen.iter().map(|token| token.name.as_str()).collect();
    assert_eq!(names, ["here"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_no_token_has_is_not_found() {
    let home = TestHome::new().await;
    assert_eq!(code_of(home.tokens.show_token("ci")), "not_found");
    assert_eq!(
        code_of(home.tokens.renew_token(&HERE, "ci").await),
        "not_found"
    );
}
