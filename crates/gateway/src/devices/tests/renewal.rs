use hearthkey_core::certificate::CertificateState;
use hearthkey_core::id::Fingerprint;

use super::*;
use crate::devices::renew::Renewer;
use crate::process::testing::{DEVICE, csr};

async fn renewed(
    home: &TestHome,
    certificate: Fingerprint,
    csr: &[u8],
) -> Result<(), &'static str> {
    let lamp = id("lamp");
    let renewer = Renewer {
        device: &lamp,
        certificate,
        address: DEVICE,
        connection: 7,
    };
    let outcome = home.devices.renew(&renewer, csr, false).await;
    outcome
        .map(drop)
        .map_err(|rejection| rejection.code.as_str())
}

/// The newest certificates of the lamp, newest first.
fn certificates(home: &TestHome) -> Vec<(Fingerprint, CertificateState)> {
    let found = home
        .ctx
        .store()
        .read(|registry| registry.certificates_of(&id("lamp"), 8));
    found
        .unwrap()
        .iter()
        .map(|c| (c.fingerprint, c.state))
        .collect()
}

/// A lamp that has been there, at the time when it is to renew.
async fn lamp_in_its_window() -> (TestHome, Fingerprint) {
    let home = TestHome::new().await;
    let first = home.enroll("lamp", "home").await;
    home.devices.arrived(&id("lamp"), first, DEVICE, 1).await;
    let found = home
        .ctx
        .store()
        .read(|registry| registry.certificates_of(&id("lamp"), 1));
    let opens = found.unwrap()[0].window.renew_after;
    home.wait(opens.since(home.now()));
    (home, first)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_in_its_window_and_not_before() {
    let home = TestHome::new().await;
    let first = home.enroll("lamp", "home").await;
    assert_eq!(
        renewed(&home, first, &csr()).await,
        Err("renewal_too_early")
    );
    let (home, first) = lamp_in_its_window().await;
    assert_eq!(renewed(&home, first, &csr()).await, Ok(()));
    assert_eq!(certificates(&home).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_certificates_hold_until_the_new_one_is_seen_and_then_the_new_one_alone() {
    let (home, first) = lamp_in_its_window().await;
    renewed(&home, first, &csr()).await.unwrap();
    let second = certificates(&home)[0].0;
    for certificate in [first, second] {
        assert!(home.ctx.access().admit(&certificate, home.now()).is_ok());
    }
    home.devices.arrived(&id("lamp"), second, DEVICE, 2).await;
    assert!(home.ctx.access().admit(&second, home.now()).is_ok());
    assert!(home.ctx.access().admit(&first, home.now()).is_err());
    let states: Vec<_> = certificates(&home).iter().map(|c| c.1).collect();
    assert_eq!(
        states,
        [CertificateState::Active, CertificateState::Superseded]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_lost_is_sent_again_to_the_same_key() {
    let (home, first) = lamp_in_its_window().await;
    let csr = csr();
    renewed(&home, first, &csr).await.unwrap();
    renewed(&home, first, &csr).await.unwrap();
    assert_eq!(certificates(&home).len(), 2, "one successor, sent twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_keys_that_renew_from_one_certificate_suspend_the_device() {
    let (home, first) = lamp_in_its_window().await;
    renewed(&home, first, &csr()).await.unwrap();
    assert_eq!(renewed(&home, first, &csr()).await, Err("device_suspended"));
    assert_eq!(
        home.devices.standing(&id("lamp")).unwrap(),
        DeviceState::Suspended
    );
    for (certificate, _) in certificates(&home) {
        assert!(home.ctx.access().admit(&certificate, home.now()).is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_an_operator_asks_renews_before_its_window() {
    let home = TestHome::new().await;
    let first = home.enroll("lamp", "home").await;
    home.wait(Span::minutes(1));
    let asked = home
        .devices
        .rotate(&here(Act::DeviceChange), &id("lamp"))
        .await;
    assert_eq!(asked.unwrap(), DeviceState::Active);
    assert_eq!(renewed(&home, first, &csr()).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_device_is_not_asked_to_renew() {
    let home = TestHome::new().await;
    home.enroll("lamp", "home").await;
    let permit = here(Act::DeviceChange);
    let out = home
        .devices
        .suspend(&permit, &id("lamp"), Stopwatch::start());
    assert!(out.unwrap().ending.durable_in_time().await);
    let refused = home.devices.rotate(&permit, &id("lamp")).await;
    assert_eq!(refused.err().unwrap().0.code, "refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_past_its_grace_renews_nothing() {
    let (home, first) = lamp_in_its_window().await;
    home.wait(Span::days(2 * 398));
    assert_eq!(
        renewed(&home, first, &csr()).await,
        Err("approval_required")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_a_revoked_device_is_certified_for_nobody_again_if_it_was_compromised() {
    let home = TestHome::new().await;
    let claim = home.claim("lamp", "home").await;
    let csr = csr();
    let enroll = async |claim: &hearthkey_api::ClaimOpened| {
        let id = claim.claim.parse().unwrap();
        let guest = crate::devices::enroll::Guest {
            claim: &id,
            address: DEVICE,
            connection: 1,
        };
        let outcome = home.devices.enroll(&guest, &csr, false).await;
        outcome
            .map(drop)
            .map_err(|rejection| rejection.code.as_str())
    };
    assert_eq!(enroll(&claim).await, Ok(()));
    let how = (RevocationReason::KeyCompromise, StateChange::Revoke);
    let permit = here(Act::DeviceChange);
    let out = home
        .devices
        .revoke(&permit, &id("lamp"), how, Stopwatch::start());
    assert!(out.unwrap().ending.durable_in_time().await);
    let other = home.claim("hall", "home").await;
    assert_eq!(enroll(&other).await, Err("csr_key_unsupported"));
}
