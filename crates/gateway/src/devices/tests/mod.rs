//! Use cases of devices, on a home that nobody can reach.

use std::sync::Arc;

use hearthkey_api::EnvironmentRequest;
use hearthkey_core::certificate::RevocationReason;
use hearthkey_core::device::{Change as StateChange, DeviceState};
use hearthkey_core::id::DeviceId;
use hearthkey_core::role::{Act, Role};
use hearthkey_core::time::Span;

use crate::auth::caller::tests::role_token;
use crate::process::testing::{HERE, TestHome, here, operator_in};
use crate::state::clock::Stopwatch;

mod claims;
mod renewal;
mod rights;

fn id(device: &str) -> DeviceId {
    device.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_enrolls_is_active_and_known_by_its_certificate() {
    let home = TestHome::new().await;
    let certificate = home.enroll("lamp", "home").await;
    assert_eq!(
        home.devices.standing(&id("lamp")).unwrap(),
        DeviceState::Active
    );
    assert!(home.ctx.access().admit(&certificate, home.now()).is_ok());
    assert_eq!(home.records("device.enroll").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_device_is_out_at_once_and_comes_back_when_it_is_resumed() {
    let home = TestHome::new().await;
    let certificate = home.enroll("lamp", "home").await;
    let permit = here(Act::DeviceChange);
    let out = home
        .devices
        .suspend(&permit, &id("lamp"), Stopwatch::start())
        .unwrap();
    assert!(home.ctx.access().admit(&certificate, home.now()).is_err());
    assert!(out.ending.durable_in_time().await);
    let state = home.devices.resume(&permit, &id("lamp")).await.unwrap();
    assert_eq!(state, DeviceState::Active);
    assert!(home.ctx.access().admit(&certificate, home.now()).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_out_is_pending_before_and_after_its_certificates_are_looked_up() {
    let home = TestHome::new().await;
    let certificate = home.enroll("lamp", "home").await;
    let permit = here(Act::DeviceChange);
    let (devices, lamp) = (&home.devices, id("lamp"));
    let taken = devices.take_out(&permit, &lamp, StateChange::Revoke, Stopwatch::start());
    assert!(home.ctx.access().admit(&certificate, home.now()).is_err());
    assert!(home.ctx.endings().is_pending("device:lamp"));
    let out = devices.hand_over(taken.unwrap(), RevocationReason::Unspecified);
    assert_eq!(out.certificates_revoked, 1);
    assert!(out.ending.durable_in_time().await);
    assert!(!home.ctx.endings().is_pending("device:lamp"));
}

#[tokio::test(flavor = "multi_thread")]
async fn leave_for_one_environment_takes_no_device_of_another() {
    let home = TestHome::new().await;
    home.enroll("lamp", "home").await;
    let permit = operator_in("lab", Act::DeviceChange);
    let refused = home
        .devices
        .suspend(&permit, &id("lamp"), Stopwatch::start());
    assert_eq!(refused.err().unwrap().0.code, "not_found");
    assert_eq!(
        home.devices.standing(&id("lamp")).unwrap(),
        DeviceState::Active
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_suspended_is_so_when_the_home_is_opened_again() {
    let home = TestHome::new().await;
    let certificate = home.enroll("lamp", "home").await;
    let permit = here(Act::DeviceChange);
    let out = home
        .devices
        .suspend(&permit, &id("lamp"), Stopwatch::start())
        .unwrap();
    assert!(out.ending.durable_in_time().await);
    home.wait(Span::hours(1));
    let home = home.reopened().await;
    assert!(home.ctx.access().admit(&certificate, home.now()).is_err());
}

/// Requests that are being worked on when the home closes still end access: it is written down before the store is closed.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_request_ends_while_the_home_closes_holds_when_it_is_opened_again() {
    let home = TestHome::new().await;
    let certificate = home.enroll("lamp", "home").await;
    let working = Arc::clone(&home.home);
    let request = tokio::spawn(async move {
        let mut closing = working.ctx.stopping().subscribe();
        closing.wait_for(|closing| *closing).await.unwrap();
        let how = (RevocationReason::KeyCompromise, StateChange::Revoke);
        let permit = here(Act::DeviceChange);
        let out = working
            .devices
            .revoke(&permit, &id("lamp"), how, Stopwatch::start());
        drop(out.unwrap());
    });
    let home = home.reopened().await;
    request.await.unwrap();
    assert!(home.ctx.access().admit(&certificate, home.now()).is_err());
    assert_eq!(
        home.devices.standing(&id("lamp")).unwrap(),
        DeviceState::Revoked
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_adds_no_environment_whatever_its_role() {
    let home = TestHome::new().await;
    let request = || EnvironmentRequest {
        name: "staging".into(),
        second_factor: None,
    };
    let token = role_token(Role::Owner, &[]);
    let refused = home.devices.add_environment(&token, request()).await;
    assert_eq!(refused.err().unwrap().0.code, "forbidden");
    home.devices
        .add_environment(&HERE, request())
        .await
        .unwrap();
    let again = home.devices.add_environment(&HERE, request()).await;
    assert_eq!(again.err().unwrap().0.code, "refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_that_two_add_at_the_same_moment_is_added_once() {
    let home = TestHome::new().await;
    let add = || {
        let request = EnvironmentRequest {
            name: "staging".into(),
            second_factor: None,
        };
        home.devices.add_environment(&HERE, request)
    };
    let (first, second) = tokio::join!(add(), add());
    assert!(first.is_ok() != second.is_ok());
    assert_eq!(home.records("environment.add").len(), 1);
}
