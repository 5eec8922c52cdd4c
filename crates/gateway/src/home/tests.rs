//! What follows when home time is set, without sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use hearthkey_core::access::DoorRefusal;
use hearthkey_core::clock_witness::Said;
use hearthkey_core::role::Act;
use hearthkey_core::time::{Span, Timestamp};

use crate::process::testing::{TestHome, here};

const DAY_MS: i64 = 86_400_000;

/// Sets the machine's clock, and lets a second pass.
async fn set(home: &TestHome, apart_ms: &Arc<AtomicI64>, to_ms: i64) {
    apart_ms.store(to_ms, Ordering::Relaxed);
    home.wait(Span::s(1));
    home.keep_clock(&mut false).await;
}

fn is_trusted(home: &TestHome) -> bool {
    home.clock_view().trusted
}

async fn confirm(home: &TestHome) {
    home.confirm_clock(&here(Act::ClockConfirm)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_synchronized_clock_is_followed_back_by_a_day_and_claims_that_had_ended_stay_ended() {
    let (home, apart) = TestHome::on_a_machine(Some(true)).await;
    let claim = home.claim("lamp", "home").await;
    home.wait(Span::minutes(16));
    set(&home, &apart, -20 * 3_600_000).await;
    assert!(is_trusted(&home));
    let steps = home.records("clock.step");
    let [step] = &steps[..] else {
        panic!("one step")
    };
    assert_eq!(step.details["back"], true);
    assert_eq!(step.details["synchronized"], true);
    let id = claim.claim.parse().unwrap();
    let known = home.ctx.store().read(|registry| registry.claim(&id));
    assert_eq!(known.unwrap().unwrap().state.as_str(), "closed");
    let later = home.claim("door", "home").await;
    home.enrolled_by(&later).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_that_was_confirmed_is_taken_back_and_strands_nothing() {
    let (home, apart) = TestHome::on_a_machine(Some(false)).await;
    let lamp = home.enroll("lamp", "home").await;
    // Four years, in which every CA but the root is followed by another.
    set(&home, &apart, 1_500 * DAY_MS).await;
    assert!(!is_trusted(&home));
    confirm(&home).await;
    for _ in 0..2 {
        let writes = home.trust.carry_on().await.unwrap();
        drop(writes);
    }
    assert!(
        !home.records("ca.promote").is_empty(),
        "the CAs of the wrong time sign"
    );
    assert!(home.ctx.access().admit(&lamp, home.now()).is_err());
    home.ctx.access_mut().sweep(home.now());
    let late = home.enroll("late", "home").await;

    set(&home, &apart, 0).await;
    assert!(!is_trusted(&home));
    confirm(&home).await;
    assert!(is_trusted(&home));
    assert_eq!(home.records("clock.confirm").len(), 2);
    assert!(
        home.ctx.access().admit(&lamp, home.now()).is_ok(),
        "the lamp is back"
    );
    let now = home.now();
    for ca in home.trust.authorities().unwrap() {
        let begins: Timestamp = ca.not_before.parse().unwrap();
        assert!(ca.state == "former" || begins <= now, "{ca:?}");
    }
    let future = home
        .ctx
        .store()
        .read(|registry| registry.devices_of_the_future(now.after(Span::hours(1))));
    let future = format!("{:?}", future.unwrap());
    assert!(
        future.contains("late") && !future.contains("lamp"),
        "{future}"
    );
    let late = home.ctx.access().admit(&late, now);
    assert_ne!(late.err(), Some(DoorRefusal::UnknownCertificate));
    home.enroll("attic", "home").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_forgotten_for_a_day_after_home_time_was_set_by_more_than_a_day() {
    let (home, apart) = TestHome::on_a_machine(Some(false)).await;
    assert!(home.ctx.clock().is_settled());
    set(&home, &apart, 119 * DAY_MS).await;
    confirm(&home).await;
    assert!(is_trusted(&home) && !home.ctx.clock().is_settled());
    home.wait(Span::hours(25));
    assert!(home.ctx.clock().is_settled());
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_that_know_the_time_agree_with_a_clock_and_one_alone_does_not() {
    let (home, apart) = TestHome::on_a_machine(Some(true)).await;
    for device in ["lamp", "door", "hall"] {
        home.enroll(device, "home").await;
    }
    set(&home, &apart, 3 * 365 * DAY_MS).await;
    let say = |device: &str, synchronized| {
        let machine = home.clock_view().machine.unwrap();
        let said = Said {
            time: machine,
            synchronized,
            machine: None,
        };
        home.ctx.clock().hear(&device.parse().unwrap(), &said);
    };
    say("lamp", Some(true));
    say("door", Some(false));
    say("stranger", Some(true));
    home.keep_clock(&mut true).await;
    assert!(!is_trusted(&home));
    say("hall", None);
    home.keep_clock(&mut true).await;
    assert!(is_trusted(&home));
    let records = home.records("clock.agree");
    let [agreed] = &records[..] else {
        panic!("one record")
    };
    assert_eq!(agreed.details["witnesses"][1], "device:lamp");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_on_the_gateways_own_machine_says_is_not_heard() {
    let (home, apart) = TestHome::on_a_machine(Some(true)).await;
    home.enroll("lamp", "home").await;
    set(&home, &apart, 3 * 365 * DAY_MS).await;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let text = format!("hearthkey/machine/v1\n{}", boot.trim());
    let digest = hearthkey_core::id::Fingerprint::of(text.as_bytes()).to_string();
    let mut said = Said {
        time: home.clock_view().machine.unwrap(),
        synchronized: Some(true),
        machine: Some(digest[..32].to_owned()),
    };
    let lamp = "lamp".parse().unwrap();
    home.ctx.clock().hear(&lamp, &said);
    home.keep_clock(&mut true).await;
    assert!(!is_trusted(&home));
    said.machine = Some("another".into());
    home.ctx.clock().hear(&lamp, &said);
    home.keep_clock(&mut true).await;
    assert!(is_trusted(&home));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_from_before_the_program_cannot_be_confirmed() {
    let (home, apart) = TestHome::on_a_machine(Some(true)).await;
    let now = home.now();
    set(&home, &apart, -now.as_ms()).await;
    let refused = home.confirm_clock(&here(Act::ClockConfirm)).await;
    assert!(refused.unwrap_err().0.detail.contains("before 2026"));
    assert!(home.now() >= now);
}
