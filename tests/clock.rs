//! A machine whose clock is off, and right again: nobody is let in or shut out by it, and no single start strands a home.
//!
//! What depends on a synchronized kernel is tried in `gateway/home/tests.rs`: here it is what this machine's is.
//!
//! The gateway runs under libfaketime, which reads the time from a file, so that the clock can be
//! set while it runs. The monotonic clock is real.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use hearthkey_agent::{Device, EnrollError};
use hearthkey_api::ClaimOpened;
use serde_json::Value;

use crate::guest;
use crate::rig::{Rig, json, libfaketime, until};
use crate::wire::{Door, Identity};

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

/// A person says that the clock is right, as is needed after it has leapt.
pub async fn confirm(rig: &Rig) {
    let confirmed = rig.cli(&["clock", "confirm", "--json"]).await;
    assert!(confirmed.status.success(), "{confirmed:?}");
    trusts(rig, true).await;
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
    // Longer than a home follows its clock by itself.
    set(&house.rig, "+121d");
    house.rig.start().await;
    assert!(!house.rig.status().await.clock.trusted);
    house.stands("before it is confirmed").await;
    let confirmed = house.rig.cli(&["clock", "confirm", "--json"]).await;
    assert!(confirmed.status.success(), "{}", json(&confirmed));
    assert!(house.rig.status().await.clock.trusted);
    // The gateway's own certificate is of that time at once, and of the future for the client here.
    let door = Door::of(&house.rig).await.careless();
    guest::enroll(&house.rig, &door, "attic").await;
    assert!(house.rig.verified_log().await.contains("clock.confirm"));
}

/// A device of another machine, whose clock shows this: what it says, `days` from now.
fn words(days: u64) -> String {
    let there_s = machine_time_s() + days * 86_400;
    let time = hearthkey_discovery::Timestamp::from_s(i64::try_from(there_s).unwrap());
    format!(r#"{{"time":"{time}","synchronized":true}}"#)
}

/// A home whose clock can be set, with two devices that speak for themselves.
async fn with_two() -> Option<(Rig, Door, [Identity; 2])> {
    let rig = rig().await?;
    let door = Door::of(&rig).await;
    let two = [
        guest::enroll(&rig, &door, "lamp").await,
        guest::enroll(&rig, &door, "hall").await,
    ];
    Some((rig, door, two))
}

/// The home does not trust its clock after it has looked at it twice: it does so once a second.
async fn stays_doubted(rig: &Rig) {
    let mut seconds = std::collections::BTreeSet::new();
    until("three seconds", async || {
        let clock = rig.status().await.clock;
        assert!(!clock.trusted, "{clock:?}");
        seconds.insert(clock.now[..19].to_owned());
        (seconds.len() > 3).then_some(())
    })
    .await;
}

/// Waits for a record of this action.
async fn logged(rig: &Rig, action: &str) {
    until(action, async || {
        let records = guest::records(rig).await;
        records.iter().any(|r| r["action"] == action).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pi_that_was_unplugged_for_eight_hours_needs_no_person() {
    let Some(mut house) = household().await else {
        return;
    };
    house.rig.stop().await;
    // What fake-hwclock saved, 20 minutes before the cut.
    set(&house.rig, "-20m");
    house.rig.start().await;
    let clock = house.rig.status().await.clock;
    assert_eq!(clock.doubt.unwrap().code, "behind");
    house.stands("with the time that was saved").await;
    set(&house.rig, "+8h");
    trusts(&house.rig, true).await;
    house.stands("with the right time").await;
    house.rig.enroll("attic").await;
    logged(&house.rig, "clock.step").await;
    // Over a restart it is the same.
    house.rig.stop().await;
    set(&house.rig, "+16h");
    house.rig.start().await;
    assert!(house.rig.status().await.clock.trusted);
    house.rig.verified_log().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_start_with_a_clock_that_is_far_ahead_changes_nothing() {
    for wrong in ["+119d", TEN_YEARS_FORTH, "-20700d"] {
        let Some(mut house) = household().await else {
            return;
        };
        house.rig.stop().await;
        set(&house.rig, wrong);
        house.rig.start().await;
        let clock = house.rig.status().await.clock;
        assert!(!clock.trusted, "{wrong}");
        assert_ne!(clock.machine.unwrap()[..4], clock.now[..4], "{wrong}");
        house.stands(wrong).await;
        house.issues_nothing(wrong).await;
        house.rig.stop().await;
        set(&house.rig, RIGHT);
        house.rig.start().await;
        assert!(house.rig.status().await.clock.trusted, "{wrong}");
        house.stands("with the right time").await;
        house.rig.enroll_with(&house.open).await.unwrap();
        let log = house.rig.verified_log().await;
        assert!(!log.contains("clock.step") && !log.contains("clock.confirm"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_from_before_the_program_is_not_confirmed_by_anybody() {
    let Some(rig) = rig().await else { return };
    set(&rig, "-20700d");
    trusts(&rig, false).await;
    let refused = rig.cli(&["clock", "confirm", "--json"]).await;
    assert!(!refused.status.success());
    assert!(json(&refused).to_string().contains("before 2026"));
    set(&rig, RIGHT);
    trusts(&rig, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_months_and_years_two_devices_that_know_the_time_are_enough_and_one_is_not() {
    for days in [119_u64, 3 * 365] {
        let Some((mut rig, door, two)) = with_two().await else {
            return;
        };
        rig.stop().await;
        set(&rig, &format!("+{days}d"));
        rig.start().await;
        assert_eq!(rig.status().await.clock.doubt.unwrap().code, "far-ahead");
        // Its clock is that of the client here; theirs is what they say.
        let door = door.careless();
        let says = words(days);
        for (device, wrong) in two.iter().zip([words(0), says.clone()]) {
            let mut session = door.device(device).await.unwrap();
            let topic = format!("hearthkey/v1/devices/{}/clock", device.device);
            let other = "hearthkey/v1/devices/attic/clock";
            assert_eq!(session.publish(other, says.as_bytes()).await, Ok(0x87));
            assert_eq!(session.publish(&topic, wrong.as_bytes()).await, Ok(0));
        }
        stays_doubted(&rig).await;
        let mut session = door.device(&two[0]).await.unwrap();
        let topic = "hearthkey/v1/devices/lamp/clock";
        assert_eq!(session.publish(topic, says.as_bytes()).await, Ok(0));
        trusts(&rig, true).await;
        logged(&rig, "clock.agree").await;
        guest::enroll(&rig, &Door::of(&rig).await.careless(), "attic").await;
        rig.verified_log().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmed_mistake_is_taken_back_and_what_was_made_by_it_is_named() {
    let Some(mut house) = household().await else {
        return;
    };
    set(&house.rig, "+119d");
    trusts(&house.rig, false).await;
    assert!(house.rig.cli(&["clock", "confirm"]).await.status.success());
    trusts(&house.rig, true).await;
    let door = Door::of(&house.rig).await.careless();
    guest::enroll(&house.rig, &door, "late").await;
    set(&house.rig, RIGHT);
    trusts(&house.rig, false).await;
    house.rig.cli(&["clock", "confirm"]).await;
    trusts(&house.rig, true).await;
    // Its own certificate was made by the wrong time, and is made anew.
    house.stands("with the right time").await;
    house.rig.enroll("attic").await;
    let check = house.rig.cli(&["check", "--json"]).await;
    let found = json(&check).to_string();
    assert!(
        found.contains("wrong-clock") && found.contains("late"),
        "{found}"
    );
    // Claims that had ended by the wrong time stay ended.
    assert!(house.rig.enroll_with(&house.open).await.is_err());
    let log = house.rig.verified_log().await;
    assert_eq!(log.matches("clock.confirm").count(), 2);
}
