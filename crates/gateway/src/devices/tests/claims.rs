use hearthkey_api::{ClaimOpened, ClaimRequest};
use hearthkey_broker::ClaimAnswer;
use hearthkey_core::audit::Outcome;
use hearthkey_core::claim::ClaimState;
use hearthkey_core::id::ClaimId;

use super::*;
use crate::process::testing::{DEVICE, csr};

fn asked(device: &str, environment: &str) -> ClaimRequest {
    ClaimRequest {
        device: device.into(),
        profile: "generic".into(),
        environment: environment.into(),
        owner: "anna".into(),
        purpose: "a test".into(),
        lifetime: "15m".into(),
    }
}

async fn presented(home: &TestHome, claim: &ClaimOpened, secret: &str) -> ClaimAnswer {
    let id: ClaimId = claim.claim.parse().unwrap();
    home.devices.present(&id, secret.as_bytes(), DEVICE).await
}

async fn enrolled(
    home: &TestHome,
    claim: &ClaimOpened,
    csr: &[u8],
) -> Result<Vec<u8>, &'static str> {
    let id: ClaimId = claim.claim.parse().unwrap();
    let guest = crate::devices::enroll::Guest {
        claim: &id,
        address: DEVICE,
        connection: 1,
    };
    let outcome = home.devices.enroll(&guest, csr, false).await;
    outcome.map_err(|rejection| rejection.code.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_refused_and_the_fifth_locks_the_claim_with_an_alert() {
    let home = TestHome::new().await;
    let claim = home.claim("lamp", "home").await;
    for _ in 0..5 {
        assert_eq!(
            presented(&home, &claim, "wrong").await,
            ClaimAnswer::Refused
        );
    }
    let csr = csr();
    assert_eq!(enrolled(&home, &claim, &csr).await, Err("claim_locked"));
    let tries = home.records("claim.present");
    assert_eq!(tries.len(), 5);
    assert_eq!(tries[4].outcome, Outcome::Alert);
    let home = home.reopened().await;
    assert_eq!(enrolled(&home, &claim, &csr).await, Err("claim_locked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_has_expired_admits_nobody() {
    let home = TestHome::new().await;
    let claim = home.claim("lamp", "home").await;
    home.wait(Span::minutes(16));
    let csr = csr();
    assert_eq!(enrolled(&home, &claim, &csr).await, Err("claim_expired"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_claim_gives_the_same_key_the_same_certificate_and_another_key_none() {
    let home = TestHome::new().await;
    let claim = home.claim("lamp", "home").await;
    let (first, other) = (csr(), csr());
    let got = enrolled(&home, &claim, &first).await.unwrap();
    assert_eq!(enrolled(&home, &claim, &first).await.unwrap(), got);
    assert_eq!(enrolled(&home, &claim, &other).await, Err("claim_used"));
    assert_eq!(
        home.records("device.enroll")
            .iter()
            .filter(|r| r.outcome == Outcome::Done)
            .count(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_signing_request_is_refused_and_the_claim_stays_open() {
    let home = TestHome::new().await;
    let claim = home.claim("lamp", "home").await;
    assert_eq!(
        enrolled(&home, &claim, b"hello").await,
        Err("csr_malformed")
    );
    assert!(enrolled(&home, &claim, &csr()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn leave_for_one_environment_opens_no_claim_in_another() {
    let home = TestHome::new().await;
    let caller = role_token(Role::Operator, &["lab"]);
    let asked = asked("lamp", "home");
    let refused = home.devices.open_claim(&caller, &asked).await;
    assert_eq!(refused.err().unwrap().0.code, "forbidden");
    assert!(home.records("claim.open").is_empty());
}

/// The token is in no book, as if it had been revoked while the disk was waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_is_written_while_its_opener_is_sent_away_is_closed() {
    let home = TestHome::new().await;
    let gone = role_token(Role::Operator, &["lab"]);
    let refused = home.devices.open_claim(&gone, &asked("lamp", "lab")).await;
    assert_eq!(refused.err().unwrap().0.status, 401);
    assert_eq!(home.records("claim.open").len(), 1);
    let lamp = home.devices.device_in_full(&id("lamp")).unwrap();
    let claim: ClaimId = lamp.claims[0].claim.parse().unwrap();
    let state = home.ctx.access().claim(&claim).unwrap().state;
    assert_eq!(state, ClaimState::Closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_taken_elsewhere_is_refused_without_saying_where() {
    let home = TestHome::new().await;
    home.enroll("lamp", "home").await;
    let caller = role_token(Role::Operator, &["lab"]);
    let refused = home
        .devices
        .open_claim(&caller, &asked("lamp", "lab"))
        .await;
    let failure = refused.err().unwrap();
    assert_eq!(failure.0.code, "refused");
    assert!(!format!("{failure:?}").contains("home"), "{failure:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_of_nonsense_says_what_is_wrong_with_it() {
    let home = TestHome::new().await;
    for (change, field) in [
        (
            ClaimRequest {
                device: "Lamp!".into(),
                ..asked("x", "home")
            },
            "device",
        ),
        (
            ClaimRequest {
                profile: "no-such".into(),
                ..asked("x", "home")
            },
            "profile",
        ),
        (
            ClaimRequest {
                environment: "no-such".into(),
                ..asked("x", "home")
            },
            "environment",
        ),
        (
            ClaimRequest {
                lifetime: "9000d".into(),
                ..asked("x", "home")
            },
            "lifetime",
        ),
    ] {
        let refused = home.devices.open_claim(&HERE, &change).await;
        assert!(refused.is_err(), "{field}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_a_device_closes_its_open_claims() {
    let home = TestHome::new().await;
    home.enroll("lamp", "home").await;
    let claim = home.claim("lamp", "home").await;
    let how = (RevocationReason::Unspecified, StateChange::Revoke);
    let permit = here(Act::DeviceChange);
    let out = home
        .devices
        .revoke(&permit, &id("lamp"), how, Stopwatch::start());
    assert!(out.unwrap().ending.durable_in_time().await);
    assert_eq!(
        presented(&home, &claim, &claim.secret).await,
        ClaimAnswer::Refused
    );
    let again = home.claim("lamp", "home").await;
    assert_eq!(
        presented(&home, &again, &again.secret).await,
        ClaimAnswer::Admitted
    );
}
