//! A machine whose clock is ten years off, and right again: nobody is let in or shut out by it.
//!
//! The gateway runs under libfaketime, which reads the time from a file, so that the clock can be
//! set while it runs. The monotonic clock is real.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use hearthkey_agent::{Device, EnrollError};
use hearthkey_api::ClaimOpened;
use serde_json::Value;

use crate::rig::{Rig, json, libfaketime, until};

const TEN_YEARS_FORTH: &str = "+3650d";
const TEN_YEARS_BACK: &str = "-3650d";
const RIGHT: &str = "+0";

/// The machine's time, in seconds.
#[allow(clippy::disallowed_methods)] // This is the clock.
pub fn machine_time_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs()
}

/// A rig whose clock can be set; none where libfaketime is not installed.
async fn rig() -> Option<Rig> {
    let mut rig = Rig::new().await;
    if !settable(&mut rig) {
        return None;
    }
    rig.start().await;
    Some(rig)
}

/// Makes the clock of a rig settable, from its next start on; not where libfaketime is not installed.
pub fn settable(rig: &mut Rig) -> bool {
    let Some(library) = libfaketime() else {
        println!("skipped: libfaketime is missing (Debian package faketime)");
        return false;
    };
    let file = clock_of(rig);
    rig.env = [
        ("LD_PRELOAD", library.as_path()),
        ("FAKETIME_TIMESTAMP_FILE", &file),
        ("FAKETIME_NO_CACHE", Path::new("1")),
        ("DONT_FAKE_MONOTONIC", Path::new("1")),
    ]
    .map(|(name, value)| (name.to_owned(), value.display().to_string()))
    .to_vec();
    set(rig, RIGHT);
    true
}

fn clock_of(rig: &Rig) -> PathBuf {
    rig.work.path().join("clock")
}

/// Sets the machine's clock.
pub fn set(rig: &Rig, offset: &str) {
    let new = rig.work.path().join("clock.new");
    fs::write(&new, format!("{offset}\n")).unwrap();
    fs::rename(new, clock_of(rig)).unwrap();
}

async fn trusts(rig: &Rig, trusted: bool) {
    until("the clock's trust", async || {
        (rig.status().await.clock.trusted == trusted).then_some(())
    })
    .await;
}

/// What a home has before its clock goes wrong.
struct Household {
    rig: Rig,
    lamp: Device,
    revoked: Device,
    open: ClaimOpened,
    used: ClaimOpened,
}

async fn household() -> Option<Household> {
    let rig = rig().await?;
    let used = rig.claim("lamp").await.unwrap();
    let lamp = rig.enroll_with(&used).await.unwrap();
    let revoked = rig.enroll("hall").await;
    rig.revoke("hall").await.unwrap();
    let open = rig.claim("door").await.unwrap();
    Some(Household {
        rig,
        lamp,
        revoked,
        open,
        used,
    })
}

impl Household {
    /// What must hold whatever the clock shows: the device comes and goes, a revoked one does not.
    async fn stands(&mut self, when: &str) {
        let mut session = match self.lamp.connect().await {
            Ok(session) => session,
            Err(error) => panic!("{when}: the lamp is shut out: {error}"),
        };
        session.publish("devices/lamp/state", "on").await.unwrap();
        let notice = "hearthkey/v1/devices/lamp/notice";
        session.subscribe(&[notice]).await.unwrap();
        let told = session.receive().await.unwrap().payload;
        let told: Value = serde_json::from_slice(&told).unwrap();
        let view = self.rig.device("lamp").await;
        let due = view.certificates[0].renew_after.as_str();
        assert_eq!(told["renew_after"], due, "{when}");
        session.close().await;
        assert!(
            self.revoked.connect().await.is_err(),
            "{when}: the revoked device is in"
        );
        let view = self.rig.device("hall").await;
        assert_eq!(view.state, "revoked", "{when}");
        let used = &self.rig.device("lamp").await.claims[0].state;
        assert_eq!(used, "used", "{when}");
    }

    /// Nothing is issued by a clock that is not believed.
    async fn issues_nothing(&self, when: &str) {
        match self.rig.enroll_with(&self.open).await {
            Err(EnrollError::Rejected(rejection)) => {
                assert_eq!(rejection.code, "clock_untrusted", "{when}");
            }
            other => panic!("{when}: {:?}", other.map(|_| ())),
        }
    }
}

async fn goes_wrong_while_running(offset: &str) {
    let Some(mut house) = household().await else {
        return;
    };
    let before = house.rig.status().await.clock.now;
    let session = house.lamp.connect().await.unwrap();
    set(&house.rig, offset);
    trusts(&house.rig, false).await;
    session
        .publish("devices/lamp/state", "still here")
        .await
        .unwrap();
    session.close().await;
    house.stands(offset).await;
    house.issues_nothing(offset).await;
    // Home time goes on by what has really passed.
    let now = until("home time to go on", async || {
        Some(house.rig.status().await.clock.now).filter(|now| now[..19] > before[..19])
    })
    .await;
    assert_eq!(now[..4], before[..4], "the year");
    house.rig.restart().await;
    assert!(!house.rig.status().await.clock.trusted);
    house.stands("after a restart").await;
    house.issues_nothing("after a restart").await;
    set(&house.rig, RIGHT);
    trusts(&house.rig, true).await;
    house.stands("with the right time").await;
    house.rig.enroll_with(&house.open).await.unwrap();
    house.rig.verified_log().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_years_forth_expires_nothing_and_issues_nothing_until_the_clock_is_right_again() {
    goes_wrong_while_running(TEN_YEARS_FORTH).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_years_back_revives_nothing_and_issues_nothing_until_the_clock_is_right_again() {
    goes_wrong_while_running(TEN_YEARS_BACK).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_was_used_or_closed_or_has_expired_does_not_come_back_with_an_old_clock() {
    let Some(house) = household().await else {
        return;
    };
    let closed = house.rig.claim("cellar").await.unwrap();
    house.rig.act("cellar", "retire").await.unwrap();
    // A step that a home believes, beyond the claim's quarter of an hour.
    set(&house.rig, "+30m");
    let before = house.rig.status().await.clock.now;
    set(&house.rig, TEN_YEARS_BACK);
    trusts(&house.rig, false).await;
    // Whole seconds, which can be compared as text.
    assert!(house.rig.status().await.clock.now[..19] >= before[..19]);
    for claim in [&house.used, &house.open, &closed] {
        let elsewhere = house.rig.work.path().join("elsewhere").join(&claim.device);
        let refused = house.rig.enroll_in(claim, &elsewhere).await;
        assert!(refused.is_err(), "the claim of {} is back", claim.device);
    }
    set(&house.rig, "+30m");
    trusts(&house.rig, true).await;
    assert!(house.rig.enroll_with(&house.open).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_confirms_the_clock_of_a_home_that_was_switched_off_for_long() {
    let Some(mut house) = household().await else {
        return;
    };
    house.rig.stop().await;
    // Longer than a home is believed to have been off, shorter than a certificate's grace.
    set(&house.rig, "+121d");
    house.rig.start().await;
    assert!(!house.rig.status().await.clock.trusted);
    house.stands("before it is confirmed").await;
    let confirmed = house.rig.cli(&["clock", "confirm", "--json"]).await;
    assert!(confirmed.status.success(), "{}", json(&confirmed));
    assert!(house.rig.status().await.clock.trusted);
    house.rig.enroll("attic").await;
    assert!(house.rig.verified_log().await.contains("clock.confirm"));
}
