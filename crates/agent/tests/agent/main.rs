//! The agent against a small gateway, from the claim code to the revocation: library first, then the real program.
#![allow(
    clippy::unwrap_used,
    reason = "every line of this binary is a test or serves one"
)]

mod door;
mod gateway;
mod program;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use hearthkey_agent::{
    ClaimUri, ClosedReason, Device, DeviceConnectError, EnrollError, Enrollment, Event, Explain,
    NextSlot, RunError, Status,
};

use gateway::{Gateway, SECRET};

async fn enroll(gateway: &Gateway, directory: &Path) -> Result<Status, EnrollError> {
    let claim: ClaimUri = gateway.claim("c1", "lamp-1").parse().unwrap();
    Enrollment::new(claim).run(directory, |_, _| ()).await
}

#[tokio::test]
async fn a_device_enrolls_connects_publishes_and_renews() {
    let (gateway, temp) = (Gateway::start().await, tempfile::tempdir().unwrap());
    let enrolled = enroll(&gateway, temp.path()).await.unwrap();
    assert_eq!(
        (enrolled.device.as_str(), enrolled.next_slot),
        ("lamp-1", NextSlot::Empty)
    );
    assert_eq!(enrolled.renew_after.to_string(), "3500-01-01T00:00:00Z");

    let mut device = Device::open(temp.path()).unwrap();
    let session = device.connect().await.unwrap();
    session.publish("home/lamp-1/state", "on").await.unwrap();
    let renewal = device.renew(&session).await.unwrap();
    assert_eq!(device.status().unwrap().next_slot, NextSlot::Complete);
    assert_eq!(session.close().await, ClosedReason::Requested);

    let session = device.connect().await.unwrap();
    let renewed = device.status().unwrap();
    assert_eq!(
        (renewed.serial, renewed.next_slot),
        (renewal.serial, NextSlot::Empty)
    );
    drop(session);

    let seen = gateway.seen();
    let claim_login = Some(("c1".to_owned(), SECRET.to_owned()));
    assert_eq!(seen.logins[0], ("c1".to_owned(), claim_login));
    assert!(
        seen.logins[1..]
            .iter()
            .all(|login| *login == ("lamp-1".to_owned(), None))
    );
    assert_ne!(seen.requested_keys[0], seen.requested_keys[1]);
}

#[tokio::test]
async fn a_gateway_with_another_root_never_hears_the_secret() {
    let (gateway, other) = (Gateway::start().await, Gateway::start().await);
    let temp = tempfile::tempdir().unwrap();
    let right_pin = other.claim("c1", "lamp-1");
    let pin = right_pin.rsplit_once('=').unwrap().1;
    let code = gateway.claim("c1", "lamp-1");
    let wrong = format!("{}={pin}", code.rsplit_once('=').unwrap().0);
    let enrollment = Enrollment::new(wrong.parse().unwrap());
    let error = enrollment.run(temp.path(), |_, _| ()).await.unwrap_err();
    assert!(error.to_string().contains("root key mismatch"), "{error}");
    assert!(gateway.seen().logins.is_empty());
}

#[tokio::test]
async fn an_enrollment_whose_answer_was_lost_is_repeated_with_the_same_key() {
    let (gateway, temp) = (Gateway::start().await, tempfile::tempdir().unwrap());
    gateway.lose_next_answer();
    let lost = enroll(&gateway, temp.path()).await.unwrap_err();
    assert!(matches!(lost, EnrollError::Exchange(_)), "{lost:?}");
    enroll(&gateway, temp.path()).await.unwrap();
    let keys = gateway.seen().requested_keys;
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0], keys[1]);
}

#[tokio::test]
async fn enrolling_again_with_the_same_claim_asks_nobody_and_with_another_is_refused() {
    let (gateway, temp) = (Gateway::start().await, tempfile::tempdir().unwrap());
    let first = enroll(&gateway, temp.path()).await.unwrap();
    assert_eq!(enroll(&gateway, temp.path()).await.unwrap(), first);
    assert_eq!(gateway.seen().requested_keys.len(), 1);

    let mut other = Enrollment::new(gateway.claim("c2", "lamp-1").parse().unwrap());
    let refused = other.run(temp.path(), |_, _| ()).await.unwrap_err();
    assert_eq!(
        refused.explain().why,
        "the directory already holds the device \"lamp-1\""
    );
    other.replace = true;
    let second = other.run(temp.path(), |_, _| ()).await.unwrap();
    assert_ne!(second.serial, first.serial);
    let keys = gateway.seen().requested_keys;
    assert_ne!(keys[0], keys[1]);
}

#[tokio::test]
async fn an_approval_is_waited_for_and_told() {
    let (gateway, temp) = (Gateway::start().await, tempfile::tempdir().unwrap());
    gateway.refuse_next(
        r#"{"code":"approval_required","message":"Waiting for an operator","remedy":"Ask them","retry_after_s":1}"#,
    );
    let mut told = Vec::new();
    let enrollment = Enrollment::new(gateway.claim("c1", "lamp-1").parse().unwrap());
    let waiting =
        |refusal: &hearthkey_agent::Rejection, wait_s| told.push((refusal.code.clone(), wait_s));
    enrollment.run(temp.path(), waiting).await.unwrap();
    assert_eq!(told, [("approval_required".to_owned(), 1)]);
}

#[tokio::test]
async fn while_it_waits_for_approval_a_device_shows_its_key_and_then_says_that_nobody_approved() {
    let (gateway, temp) = (Gateway::start().await, tempfile::tempdir().unwrap());
    gateway.refuse_next(
        r#"{"code":"approval_required","message":"Waiting for an operator","remedy":"Ask them","retry_after_s":60}"#,
    );
    let mut enrollment = Enrollment::new(gateway.claim("c1", "lamp-1").parse().unwrap());
    enrollment.patience = std::time::Duration::from_secs(2);
    let mut remedies = Vec::new();
    let waiting = |refusal: &hearthkey_agent::Rejection, _| remedies.push(refusal.remedy.clone());
    let error = enrollment.run(temp.path(), waiting).await.unwrap_err();
    assert!(matches!(error, EnrollError::NotInTime { .. }), "{error:?}");
    assert_eq!(error.to_string(), "nobody approved this device within 2 s");
    let (_, key) = remedies[0].split_once("--key ").unwrap();
    assert_eq!((key.len(), remedies.len()), (64, 1), "{remedies:?}");
}

#[tokio::test]
async fn a_revoked_device_learns_it_by_type_in_tls_1_3() {
    learns_that_it_is_revoked(Gateway::start().await).await;
}

#[tokio::test]
async fn a_revoked_device_learns_it_by_type_in_tls_1_2() {
    learns_that_it_is_revoked(Gateway::start_with(&[&rustls::version::TLS12]).await).await;
}

async fn learns_that_it_is_revoked(gateway: Gateway) {
    let temp = tempfile::tempdir().unwrap();
    enroll(&gateway, temp.path()).await.unwrap();
    let mut device = Device::open(temp.path()).unwrap();
    gateway.revoke_all();
    for _ in 0..20 {
        match device.connect().await.unwrap_err() {
            DeviceConnectError::Connect(error) => assert_eq!(error.reason, ClosedReason::Revoked),
            other => panic!("{other:?}"),
        }
    }
    let outcome = device.run(None, std::future::pending(), |_| ()).await;
    assert!(matches!(outcome, Err(RunError::Revoked)), "{outcome:?}");
}

/// Runs the device until an event satisfies `enough`, and returns all events up to the stop.
async fn run_until(directory: &Path, enough: impl Fn(&Event) -> bool + Send) -> Vec<Event> {
    run_with_hook(None, directory, enough).await
}

async fn run_with_hook(
    hook: Option<PathBuf>,
    directory: &Path,
    enough: impl Fn(&Event) -> bool + Send,
) -> Vec<Event> {
    let events = Arc::new(Mutex::new(Vec::new()));
    let stop = Arc::new(tokio::sync::Notify::new());
    let (kept, ring) = (events.clone(), stop.clone());
    let device = Device::open(directory).unwrap();
    let emit = move |event: Event| {
        if enough(&event) {
            ring.notify_one();
        }
        kept.lock().unwrap().push(event);
    };
    let stopped = async move { stop.notified().await };
    device.run(hook, stopped, emit).await.unwrap();
    let mut events = events.lock().unwrap();
    std::mem::take(&mut *events)
}

/// How long a device that is refused so has to wait, in milliseconds, and its remedy.
async fn told_when_refused(why: rustls::CertificateError) -> (u64, String) {
    let (gateway, temp) = (Gateway::start().await, tempfile::tempdir().unwrap());
    enroll(&gateway, temp.path()).await.unwrap();
    gateway.refuse_all(why);
    let events = run_until(temp.path(), |event| {
        matches!(event, Event::Disconnected { .. })
    })
    .await;
    match &events[..] {
        [
            Event::Disconnected {
                remedy: Some(remedy),
                retry_in_ms,
                ..
            },
            Event::Stopped,
        ] => (*retry_in_ms, remedy.clone()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_device_beyond_grace_waits_and_is_told_that_it_needs_a_new_claim() {
    for why in [
        rustls::CertificateError::Expired,
        rustls::CertificateError::Other(rustls::OtherError(Arc::new(std::fmt::Error))),
    ] {
        let (retry_in_ms, remedy) = told_when_refused(why).await;
        assert!(
            (600_000..=1_200_000).contains(&retry_in_ms),
            "{retry_in_ms}"
        );
        assert!(remedy.contains("needs a new claim"), "{remedy}");
        assert!(remedy.contains("hearthkey device claim lamp-1"), "{remedy}");
        assert!(remedy.contains("--replace"), "{remedy}");
    }
}

#[tokio::test]
async fn a_suspended_device_waits_and_is_told_who_can_resume_it() {
    let suspended = rustls::CertificateError::ApplicationVerificationFailure;
    let (retry_in_ms, remedy) = told_when_refused(suspended).await;
    assert!(retry_in_ms >= 600_000, "{retry_in_ms}");
    assert!(
        remedy.contains("hearthkey device resume lamp-1"),
        "{remedy}"
    );
}

#[tokio::test]
async fn an_operators_notice_is_answered_once() {
    let (gateway, temp) = (Gateway::start().await, tempfile::tempdir().unwrap());
    let before = enroll(&gateway, temp.path()).await.unwrap();
    gateway.retain(
        "hearthkey/v1/devices/lamp-1/notice",
        r#"{"renew_after":"2020-01-01T00:00:00Z","renew_before":"2020-01-02T00:00:00Z","reason":"operator"}"#,
    );
    let answered = |event: &Event| {
        matches!(
            event,
            Event::Notice {
                renewal_at: None,
                ..
            }
        )
    };
    let events = run_until(temp.path(), answered).await;
    let renewals = events
        .iter()
        .filter(|event| matches!(event, Event::Renewed { .. }));
    assert_eq!(renewals.count(), 1, "{events:?}");
    assert_ne!(Status::of(temp.path()).unwrap().serial, before.serial);
    assert_eq!(gateway.seen().requested_keys.len(), 2);
}

#[tokio::test]
async fn new_roots_are_acknowledged_and_the_roots_of_strangers_are_not() {
    let (gateway, stranger) = (Gateway::start().await, Gateway::start().await);
    let temp = tempfile::tempdir().unwrap();
    enroll(&gateway, temp.path()).await.unwrap();
    let both = [gateway.root_pem(), stranger.root_pem()].concat();
    gateway.retain("hearthkey/v1/trust/bundle", &both);
    gateway.retain("hearthkey/v1/trust/checkpoint", &checkpoint(9));
    run_until(temp.path(), |event| {
        matches!(event, Event::TrustUpdated { .. })
    })
    .await;
    let status = Status::of(temp.path()).unwrap();
    assert_eq!(
        status.trust_bundle_sha256,
        hearthkey_agent::Fingerprint::of(both.as_bytes())
    );

    let third = Gateway::start().await;
    gateway.retain("hearthkey/v1/trust/bundle", &third.root_pem());
    run_until(temp.path(), |event| {
        matches!(event, Event::TrustRefused { .. })
    })
    .await;
    assert_eq!(
        Status::of(temp.path()).unwrap().trust_bundle_sha256,
        status.trust_bundle_sha256
    );
    let acks = gateway.seen().publishes;
    let acks: Vec<_> = acks
        .iter()
        .filter(|(topic, _)| topic.ends_with("trust/ack"))
        .collect();
    assert!(
        acks.iter()
            .all(|(_, ack)| *ack == status.trust_bundle_sha256.to_string())
    );
}

/// Has every write of a file fail, as a full disk would, also for root: a directory lies where its draft is to be.
fn in_the_way(directory: &Path, name: &str) -> PathBuf {
    let draft = directory.join(format!(".{name}.new"));
    std::fs::create_dir(&draft).unwrap();
    draft
}

#[tokio::test]
async fn a_full_disk_ends_no_session_and_roots_are_acknowledged_once_they_are_on_it() {
    let (gateway, stranger) = (Gateway::start().await, Gateway::start().await);
    let temp = tempfile::tempdir().unwrap();
    let enrolled = enroll(&gateway, temp.path()).await.unwrap();
    let both = [gateway.root_pem(), stranger.root_pem()].concat();
    gateway.retain("hearthkey/v1/trust/bundle", &both);
    let draft = in_the_way(temp.path(), "trust.pem");
    let not_saved = |event: &Event| matches!(event, Event::NotSaved { .. });
    let events = run_until(temp.path(), not_saved).await;
    assert!(
        !events
            .iter()
            .any(|e| matches!(e, Event::TrustUpdated { .. }))
    );
    assert!(matches!(events.last(), Some(Event::Stopped)), "{events:?}");
    let status = Status::of(temp.path()).unwrap();
    assert_eq!(status.trust_bundle_sha256, enrolled.trust_bundle_sha256);
    assert!(
        gateway
            .seen()
            .publishes
            .iter()
            .all(|(topic, _)| !topic.ends_with("trust/ack"))
    );

    std::fs::remove_dir(draft).unwrap();
    let updated = |event: &Event| matches!(event, Event::TrustUpdated { .. });
    run_until(temp.path(), updated).await;
}

#[tokio::test]
async fn a_renewal_that_the_disk_does_not_take_is_tried_again_with_the_session_up() {
    let (gateway, temp) = (Gateway::start().await, tempfile::tempdir().unwrap());
    let enrolled = enroll(&gateway, temp.path()).await.unwrap();
    gateway.retain(
        "hearthkey/v1/devices/lamp-1/notice",
        r#"{"renew_after":"2020-01-01T00:00:00Z","renew_before":"2020-01-02T00:00:00Z","reason":"operator"}"#,
    );
    let draft = in_the_way(temp.path(), "next.key");
    let failed = |event: &Event| matches!(event, Event::RenewalFailed { .. });
    let events = run_until(temp.path(), failed).await;
    assert!(matches!(events.last(), Some(Event::Stopped)), "{events:?}");
    assert_eq!(Status::of(temp.path()).unwrap().serial, enrolled.serial);
    std::fs::remove_dir(draft).unwrap();

    // The new pair takes over although what the agent remembers of it cannot be written.
    let draft = in_the_way(temp.path(), "state.json");
    let (stop, told) = (Arc::new(tokio::sync::Notify::new()), Arc::default());
    let (ring, kept): (_, Arc<Mutex<Vec<Event>>>) = (stop.clone(), Arc::clone(&told));
    let before = enrolled.serial.clone();
    let emit = move |event: Event| {
        if matches!(&event, Event::Connected { serial, .. } if *serial != before) {
            ring.notify_one();
        }
        kept.lock().unwrap().push(event);
    };
    let device = Device::open(temp.path()).unwrap();
    let ended = device.run(None, async move { stop.notified().await }, emit);
    assert!(matches!(ended.await, Err(RunError::Directory(_))));
    let events = std::mem::take(&mut *told.lock().unwrap());
    let not_saved = events
        .iter()
        .filter(|e| matches!(e, Event::NotSaved { .. }));
    assert_eq!(not_saved.count(), 1, "{events:?}");
    std::fs::remove_dir(draft).unwrap();
    let opened = Device::open(temp.path()).unwrap();
    assert_ne!(opened.status().unwrap().serial, enrolled.serial);
    let mut opened = opened;
    opened.connect().await.unwrap();
}

#[tokio::test]
async fn a_device_whose_replacing_was_cut_short_does_not_go_on_as_the_one_given_up() {
    let (gateway, temp) = (Gateway::start().await, tempfile::tempdir().unwrap());
    enroll(&gateway, temp.path()).await.unwrap();
    let mut device = Device::open(temp.path()).unwrap();
    let session = device.connect().await.unwrap();
    device.renew(&session).await.unwrap();
    session.close().await;
    drop(device);
    // As a crash left it while the key went first.
    std::fs::remove_file(temp.path().join("device.key")).unwrap();
    let mut other = Enrollment::new(gateway.claim("c2", "lamp-2").parse().unwrap());
    other.replace = true;
    let second = other.run(temp.path(), |_, _| ()).await.unwrap();
    assert_eq!(second.next_slot, NextSlot::Empty);
    let mut device = Device::open(temp.path()).unwrap();
    device.connect().await.unwrap();
    assert_eq!(device.status().unwrap().serial, second.serial);
    assert_eq!(gateway.seen().logins.last().unwrap().0, "lamp-2");
}

fn checkpoint(size: u64) -> String {
    let root = "A".repeat(43);
    let signature = "A".repeat(88);
    format!("home.example/log\n{size}\n{root}=\n\n— home.example/log {signature}\n")
}

#[tokio::test]
async fn a_log_that_went_backwards_is_reported_and_the_highest_is_kept_over_a_restart() {
    const TOPIC: &str = "hearthkey/v1/trust/checkpoint";
    let (gateway, temp) = (Gateway::start().await, tempfile::tempdir().unwrap());
    enroll(&gateway, temp.path()).await.unwrap();
    gateway.retain(TOPIC, &checkpoint(9));
    gateway.retain_also(TOPIC, &checkpoint(4));
    for _ in 0..2 {
        let backwards = |event: &Event| matches!(event, Event::CheckpointWentBackwards { .. });
        let events = run_until(temp.path(), backwards).await;
        assert!(events.iter().any(|event| matches!(
            event,
            Event::CheckpointWentBackwards {
                seen_size: 9,
                new_size: 4,
                ..
            }
        )));
        assert_eq!(Status::of(temp.path()).unwrap().checkpoint_size, Some(9));
        gateway.retain(TOPIC, &checkpoint(4));
    }
}

#[tokio::test]
async fn a_hook_runs_once_the_new_certificate_is_in_use() {
    let (gateway, temp) = (Gateway::start().await, tempfile::tempdir().unwrap());
    enroll(&gateway, temp.path()).await.unwrap();
    gateway.retain(
        "hearthkey/v1/devices/lamp-1/notice",
        r#"{"renew_after":"2020-01-01T00:00:00Z","renew_before":"2020-01-02T00:00:00Z","reason":"scheduled"}"#,
    );
    let finished = |event: &Event| matches!(event, Event::HookFinished { .. });
    let events = run_with_hook(Some("/bin/true".into()), temp.path(), finished).await;
    let names: Vec<_> = events
        .iter()
        .filter(|event| !matches!(event, Event::Notice { .. }))
        .map(|event| serde_json::to_value(event).unwrap()["event"].clone())
        .collect();
    let expected = [
        "connected",
        "renewed",
        "connected",
        "hook_finished",
        "stopped",
    ];
    assert_eq!(names, expected, "{events:?}");
}

#[tokio::test]
async fn a_next_certificate_that_is_refused_gives_way_to_the_current_one() {
    let (gateway, temp) = (Gateway::start().await, tempfile::tempdir().unwrap());
    let enrolled = enroll(&gateway, temp.path()).await.unwrap();
    let mut device = Device::open(temp.path()).unwrap();
    let session = device.connect().await.unwrap();
    device.renew(&session).await.unwrap();
    session.close().await;
    gateway.refuse_certificate(&std::fs::read(temp.path().join("next.crt")).unwrap());

    let session = device.connect().await.unwrap();
    session.publish("home/lamp-1/state", "on").await.unwrap();
    let status = device.status().unwrap();
    assert_eq!(
        (status.serial, status.next_slot),
        (enrolled.serial, NextSlot::KeyOnly)
    );
    device.renew(&session).await.unwrap();
    let keys = gateway.seen().requested_keys;
    assert_eq!(keys[1], keys[2]);
}
