//! CAs that follow one another, on a home that nobody can reach.

use hearthkey_core::id::EnvironmentName;
use hearthkey_core::time::Span;
use hearthkey_pki::{CaRole, is_issued_by, life_of};

use super::formers::{formers, issuing_anchors};
use crate::process::testing::TestHome;

/// A CA lives for 1,826 days.
const HALF: i64 = 914;

fn home_environment() -> EnvironmentName {
    "home".parse().unwrap()
}

/// Lets time go by until so many days after the home's CAs were made.
fn wait_until(home: &TestHome, days: i64) {
    let then = home.ctx.root().not_before.after(Span::days(days));
    home.wait(then.since(home.now()));
}

/// The states of the CAs with a name.
fn states(home: &TestHome, name: &str) -> Vec<String> {
    let known = home.trust.authorities().unwrap();
    let named = known.into_iter().filter(|ca| ca.name == name);
    let mut states: Vec<String> = named.map(|ca| ca.state).collect();
    states.sort_unstable();
    states
}

/// Two rounds: one makes successors, one lets them sign.
async fn carried_on(home: &TestHome) {
    for _ in 0..2 {
        home.trust.carry_on().await.unwrap();
    }
}

/// The newest certificate of a device, in DER.
fn der_of(home: &TestHome, device: &str) -> Vec<u8> {
    let device = device.parse().unwrap();
    let found = home.ctx.store().read(|registry| {
        let newest = registry.certificates_of(&device, 1)?.remove(0);
        registry.certificate_der(&device, &newest.fingerprint)
    });
    found.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn before_half_of_its_life_no_ca_is_followed() {
    let home = TestHome::new().await;
    wait_until(&home, 912);
    carried_on(&home).await;
    assert_eq!(states(&home, "issuing/home"), ["signs"]);
    assert!(home.records("ca.make").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_is_trusted_before_it_signs() {
    let home = TestHome::new().await;
    wait_until(&home, HALF);
    home.trust.carry_on().await.unwrap();
    assert_eq!(states(&home, "issuing/home"), ["next", "signs"]);
    home.enroll("early", "home").await;
    let signs = home.ctx.issuer(&home_environment()).unwrap();
    assert!(is_issued_by(&der_of(&home, "early"), signs.certificate()));
    let anchors = issuing_anchors(home.ctx.store()).unwrap();
    let ours = anchors
        .iter()
        .filter(|ca| ca.role == CaRole::Issuing(home_environment()));
    assert_eq!(ours.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_of_the_ca_before_and_of_its_successor_both_come_in() {
    let home = TestHome::new().await;
    wait_until(&home, 900);
    let before = home.enroll("before", "home").await;
    let old = home.ctx.issuer(&home_environment()).unwrap();
    wait_until(&home, HALF);
    carried_on(&home).await;
    let after = home.enroll("after", "home").await;
    let new = home.ctx.issuer(&home_environment()).unwrap();
    assert_ne!(old.certificate().ski, new.certificate().ski);
    assert!(is_issued_by(&der_of(&home, "before"), old.certificate()));
    assert!(is_issued_by(&der_of(&home, "after"), new.certificate()));
    for certificate in [before, after] {
        assert!(home.ctx.access().admit(&certificate, home.now()).is_ok());
    }
    let anchors = issuing_anchors(home.ctx.store()).unwrap();
    for ca in [&old, &new] {
        assert!(
            anchors
                .iter()
                .any(|anchor| anchor.ski == ca.certificate().ski)
        );
    }
    let named = home
        .trust
        .issuer_pem(&home_environment(), &der_of(&home, "before"));
    assert_eq!(
        named,
        old.certificate().pem(),
        "each is handed out with its own"
    );
    assert_eq!(states(&home, "issuing/home"), ["former", "signs"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn revocations_are_in_the_lists_of_both_cas_under_one_number() {
    let home = TestHome::new().await;
    wait_until(&home, HALF);
    home.trust
        .publish_crl(&CaRole::Issuing(home_environment()))
        .await;
    carried_on(&home).await;
    let lists = home.trust.crls_in_pem(&home_environment()).unwrap();
    assert_eq!(lists.matches("BEGIN X509 CRL").count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_is_forgotten_with_its_key_when_the_last_certificate_it_signed_has_ended() {
    let home = TestHome::new().await;
    wait_until(&home, 913);
    home.enroll("lamp", "home").await;
    wait_until(&home, HALF);
    carried_on(&home).await;
    let former = formers(home.ctx.store()).unwrap();
    let name = former
        .iter()
        .find(|former| former.environment == home_environment())
        .map(|former| former.name.clone())
        .unwrap();
    home.trust.forget_former_authorities().await.unwrap();
    assert_eq!(states(&home, "issuing/home"), ["former", "signs"]);
    assert!(home.ctx.store().secret("ca", &name).unwrap().is_some());
    home.wait(Span::days(900));
    home.trust.forget_former_authorities().await.unwrap();
    assert_eq!(states(&home, "issuing/home"), ["signs"]);
    assert!(home.ctx.store().secret("ca", &name).unwrap().is_none());
    assert!(!home.records("ca.forget").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_that_was_closed_for_six_years_opens_and_issues() {
    let home = TestHome::new().await;
    wait_until(&home, 6 * 365);
    let home = home.reopened().await;
    home.enroll("lamp", "home").await;
    let leaf = home
        .ctx
        .store()
        .read(|registry| registry.authority(super::server_tls::LEAF))
        .unwrap();
    let (_, ends) = life_of(&leaf.unwrap().0).unwrap();
    assert!(ends > home.now());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_opens_when_its_root_has_ended_and_says_that_nothing_is_issued() {
    let home = TestHome::new().await;
    wait_until(&home, 21 * 365);
    let home = home.reopened().await;
    let claim = home.claim("lamp", "home").await;
    let refused = home.enrolled_by(&claim).await.unwrap_err();
    assert_eq!(refused.code.as_str(), "issuer_ended");
    let home = home.reopened().await;
    assert!(home.trust.authorities().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn towards_the_end_of_the_root_certificates_end_with_it() {
    let home = TestHome::new().await;
    wait_until(&home, 7305 - 3);
    let home = home.reopened().await;
    home.enroll("lamp", "home").await;
    let (_, ends) = life_of(&der_of(&home, "lamp")).unwrap();
    assert_eq!(ends, home.ctx.root().not_after);
}
