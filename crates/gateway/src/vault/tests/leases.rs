use hearthkey_api::code;
use hearthkey_core::audit::Actor;
use hearthkey_core::lease::Lease;
use hearthkey_core::role::Role;
use hearthkey_core::time::Span;
use hearthkey_store::vault_change::VaultWrite;

use super::*;
use crate::auth::caller::tests::{role_token, service};

fn lasting(lifetime: &str) -> LeaseRequest {
    LeaseRequest {
        lifetime: Some(lifetime.into()),
        ..LeaseRequest::default()
    }
}

/// The leases whose time has come.
fn due(home: &TestHome) -> Vec<Lease> {
    let store = home.ctx.store();
    store
        .read(|registry| registry.due_leases(home.now(), 100))
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_recorded_with_its_end_before_its_value_is_given() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let lent = home.lent(&HERE, "hue/key").await.unwrap();
    assert_eq!(lent.value.expose(), value_of("hue/key").as_bytes());
    let record = home.records("credential.lease").pop().unwrap();
    assert_eq!(record.details["lease"], lent.lease.lease.as_str());
    assert_eq!(record.details["expires_at"], lent.lease.expires_at.as_str());
    assert!(!home.log_text().contains(&value_of("hue/key")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_lasts_a_quarter_of_an_hour_if_nobody_says_how_long() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let lent = home.lent(&HERE, "hue/key").await.unwrap();
    let ends = home.now().after(Span::minutes(15)).to_string();
    assert_eq!(lent.lease.expires_at, ends);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_lasts_a_second_to_a_day() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    for (lifetime, fits) in [
        ("0s", false),
        ("1s", true),
        ("24h", true),
        ("25h", false),
        ("long", false),
    ] {
        let lent = home
            .vault
            .lend(&HERE, &id("hue/key"), lasting(lifetime))
            .await;
        match fits {
            true => assert!(lent.is_ok(), "{lifetime}"),
            false => assert_eq!(refusal(lent), code::INVALID, "{lifetime}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_to_read_is_none_to_lease() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let reader = home.token("ci", &["hue/key:read"]).await;
    assert_eq!(
        refusal(home.lent(&reader, "hue/key").await),
        code::FORBIDDEN
    );
    assert_eq!(home.records("credential.refuse").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_of_the_value_itself_says_that_the_value_works_on() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let lent = home.lent(&HERE, "hue/key").await.unwrap();
    assert!(!lent.lease.child);
    assert!(lent.lease.note.unwrap().contains("rotate"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_due_at_its_end_and_no_sooner_and_then_the_gateway_ends_it() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    home.lent(&HERE, "hue/key").await.unwrap();
    home.wait(Span::minutes(14));
    assert!(due(&home).is_empty());
    home.wait(Span::minutes(1));
    let due = due(&home);
    assert_eq!(due.len(), 1);
    home.vault.end_due_lease(&due[0]).await;
    assert!(home.vault.leases(&HERE).unwrap().leases.is_empty());
    let record = home.records("lease.end").pop().unwrap();
    assert_eq!(record.actor.name, Actor::gateway().name);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_ends_its_own_lease_and_no_other_token_does() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let holder = home.token("ci", &["hue/key:lease"]).await;
    let other = home.token("other", &["hue/key:lease"]).await;
    let lent = home.lent(&holder, "hue/key").await.unwrap();
    let lease = lent.lease.lease.as_str();
    assert_eq!(
        refusal(home.vault.end_lease(&other, lease).await),
        code::NOT_FOUND
    );
    let ended = home.vault.end_lease(&holder, lease).await.unwrap();
    assert_eq!(ended.ended_at, Some(home.now().to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_has_the_name_of_an_earlier_one_neither_sees_nor_ends_its_leases() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let holder = home.token("ci", &["hue/key:lease"]).await;
    let lent = home.lent(&holder, "hue/key").await.unwrap();
    let Caller::Service(mut later) = holder.clone() else {
        unreachable!("a service")
    };
    home.wait(Span::minutes(1));
    let mut token = (*later.token).clone();
    token.created_at = home.now();
    later.token = std::sync::Arc::new(token);
    let later = Caller::Service(later);
    assert_eq!(home.vault.leases(&later).unwrap().leases.len(), 0);
    let refused = home.vault.end_lease(&later, &lent.lease.lease).await;
    assert_eq!(refused.err().unwrap().0.code, code::NOT_FOUND);
    assert_eq!(home.vault.leases(&holder).unwrap().leases.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_ends_the_lease_of_anybody() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let holder = home.token("lender", &["hue/key:lease"]).await;
    let lent = home.lent(&holder, "hue/key").await.unwrap();
    let operator = role_token(Role::Operator, &["lab"]);
    assert!(
        home.vault
            .end_lease(&operator, &lent.lease.lease)
            .await
            .is_ok()
    );
    let elsewhere = role_token(Role::Operator, &["home"]);
    let refused = home.vault.end_lease(&elsewhere, &lent.lease.lease).await;
    assert_eq!(refusal(refused), code::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_ended_twice_ends_once() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let lent = home.lent(&HERE, "hue/key").await.unwrap();
    let first = home
        .vault
        .end_lease(&HERE, &lent.lease.lease)
        .await
        .unwrap();
    home.wait(Span::minutes(1));
    let second = home
        .vault
        .end_lease(&HERE, &lent.lease.lease)
        .await
        .unwrap();
    assert_eq!(first.ended_at, second.ended_at);
    assert_eq!(home.records("lease.end").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_holds_a_hundred_leases_at_most() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let holder = home.token("ci", &["hue/key:lease"]).await;
    home.lent(&holder, "hue/key").await.unwrap();
    let store = home.ctx.store();
    let first = store.read(|registry| registry.leases(1)).unwrap().remove(0);
    let more = (0..99_u8).map(|n| Lease {
        id: hearthkey_core::lease::id_from_random([n; 8]),
        ..first.clone()
    });
    let change = more.fold(Change::default(), |change, lease| {
        change.vault(VaultWrite::Lease(lease))
    });
    home.ctx.commit(change).await.unwrap();
    assert_eq!(refusal(home.lent(&holder, "hue/key").await), code::REFUSED);
    // People see what they hold, and nothing takes leases again for them.
    assert!(home.lent(&HERE, "hue/key").await.is_ok());
    home.vault.end_lease(&holder, &first.id).await.unwrap();
    assert!(home.lent(&holder, "hue/key").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_sees_its_own_leases_and_an_operator_all() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let holder = home.token("ci", &["hue/key:lease", "hue/key:list"]).await;
    home.lent(&HERE, "hue/key").await.unwrap();
    home.lent(&holder, "hue/key").await.unwrap();
    let own = home.vault.leases(&holder).unwrap().leases;
    assert_eq!(own.len(), 1);
    assert_eq!(own[0].holder, "token:ci");
    assert_eq!(home.vault.leases(&HERE).unwrap().leases.len(), 2);
    let elsewhere = role_token(Role::Operator, &["home"]);
    assert!(home.vault.leases(&elsewhere).unwrap().leases.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_is_cut_off_while_the_disk_is_waited_for_gets_nothing() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let holder = cut_off(&["hue/key:lease"]);
    assert!(home.lent(&holder, "hue/key").await.is_err());
    assert!(home.vault.leases(&HERE).unwrap().leases.is_empty());
    assert_eq!(home.records("lease.end").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_of_a_critical_value_takes_a_code_once_somebody_joined() {
    let home = TestHome::new().await;
    home.add(critical("hue/key")).await;
    home.joined().await;
    let refused = home.lent(&HERE, "hue/key").await;
    assert_eq!(refusal(refused), code::SECOND_FACTOR_NEEDED);
    assert!(home.records("credential.lease").is_empty());
    let request = LeaseRequest {
        second_factor: home.code(),
        ..LeaseRequest::default()
    };
    assert!(
        home.vault
            .lend(&HERE, &id("hue/key"), request)
            .await
            .is_ok()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_last_when_the_home_is_opened_again() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let lent = home.lent(&HERE, "hue/key").await.unwrap();
    home.wait(Span::minutes(20));
    let home = home.reopened().await;
    let due = due(&home);
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].id, lent.lease.lease);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_expired_or_is_retired_is_lent_to_nobody() {
    let home = TestHome::new().await;
    let mut request = asked("hue/key");
    request.expires_at = Some(home.now().after(Span::hours(1)).to_string());
    home.add(request).await;
    home.add(asked("ha/key")).await;
    home.retire("ha/key").await;
    home.wait(Span::hours(1));
    for name in ["hue/key", "ha/key"] {
        assert_eq!(refusal(home.lent(&HERE, name).await), code::REFUSED);
    }
}

/// A bridge that makes children, and a credential of it.
async fn with_children() -> TestHome {
    let home = TestHome::new().await;
    home.connect("cloud", &["mint", "revoke", "two-live", "children"])
        .await;
    home.add(asked("cloud/key")).await;
    home
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_makes_a_value_for_each_lease_and_the_own_one_is_not_given() {
    let home = with_children().await;
    let one = home.lent(&HERE, "cloud/key").await.unwrap();
    let other = home.lent(&HERE, "cloud/key").await.unwrap();
    assert!(one.lease.child);
    assert!(one.value.expose().starts_with(b"minted value"));
    assert_ne!(one.value.expose(), other.value.expose());
    assert!(!home.log_text().contains("minted value"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_value_of_a_lease_is_ended_at_its_bridge_with_the_lease() {
    let home = with_children().await;
    let lent = home.lent(&HERE, "cloud/key").await.unwrap();
    let ended = home
        .vault
        .end_lease(&HERE, &lent.lease.lease)
        .await
        .unwrap();
    assert!(ended.ended_at.is_some());
    assert_eq!(home.times("cloud", "revoke"), 1);
    home.vault
        .end_lease(&HERE, &lent.lease.lease)
        .await
        .unwrap();
    assert_eq!(home.times("cloud", "revoke"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_value_of_a_lease_is_ended_at_its_bridge_after_the_home_was_opened_again() {
    let home = with_children().await;
    home.lent(&HERE, "cloud/key").await.unwrap();
    home.wait(Span::hours(1));
    let home = home.reopened().await;
    home.vault.end_due_lease(&due(&home)[0]).await;
    assert_eq!(home.times("cloud", "revoke"), 1);
    assert!(home.vault.leases(&HERE).unwrap().leases.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_whose_bridge_does_not_answer_stays_and_is_a_finding_until_it_ends() {
    let home = with_children().await;
    home.lent(&HERE, "cloud/key").await.unwrap();
    home.wait(Span::hours(1));
    home.set("cloud", "silent");
    home.vault.end_due_lease(&due(&home)[0]).await;
    assert_eq!(home.vault.leases(&HERE).unwrap().leases.len(), 1);
    assert_eq!(home.found("cloud/key"), ["leftover"]);
    home.unset("cloud", "silent");
    home.vault.end_due_lease(&due(&home)[0]).await;
    assert!(home.vault.leases(&HERE).unwrap().leases.is_empty());
    assert!(home.found("cloud/key").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_whose_grant_is_a_pattern_has_no_critical_authority_make_it_a_value() {
    let home = TestHome::new().await;
    home.add(critical("cloud/admin")).await;
    let mut request = home.program("cloud", &["mint", "revoke", "two-live", "children"]);
    request.authority = Some("cloud/admin".into());
    home.vault.connect_bridge(&HERE, request).await.unwrap();
    home.add(asked("cloud/key")).await;
    let by_pattern = home.token("ci", &["cloud/*:lease"]).await;
    assert_eq!(
        refusal(home.lent(&by_pattern, "cloud/key").await),
        code::FORBIDDEN
    );
    assert_eq!(home.times("cloud", "mint"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_nobody_has_is_not_found() {
    let home = TestHome::new().await;
    let nobody = service(&["*:lease"]);
    for caller in [HERE, nobody] {
        let refused = home.vault.end_lease(&caller, "l-0000000000000000").await;
        assert_eq!(refusal(refused), code::NOT_FOUND);
    }
}
