//! Races and years, as a sample in `make test`, in full in `make soak` (HEARTHKEY_SOAK=1).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::grace::days_later;
use crate::guest::{done, enroll, enroll_with, home, new_key, renew_topic, request};
use crate::rig::{Rig, libfaketime};
use crate::wire::{Door, Identity};

/// How often a story is repeated: a sample, or in full.
pub fn rounds(sample: u64, full: u64) -> u64 {
    match std::env::var_os("HEARTHKEY_SOAK") {
        Some(_) => full,
        None => sample,
    }
}

/// A device that connects again and again, until `stop`. Counts the connections that were begun after `revoked` and
/// accepted.
async fn reconnect(
    door: Door,
    device: Identity,
    revoked: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    accepted_after: Arc<AtomicU64>,
) {
    while !stop.load(Ordering::SeqCst) {
        let begun_after = revoked.load(Ordering::SeqCst);
        let Ok(mut client) = door.device(&device).await else {
            continue;
        };
        if begun_after {
            accepted_after.fetch_add(1, Ordering::SeqCst);
        }
        // The session is used until it ends, so that a session that was overlooked would be seen.
        while client.publish("devices/racer/state", b"on").await == Ok(0) {
            if revoked.load(Ordering::SeqCst)
                && client.publish("devices/racer/state", b"x").await == Ok(0)
            {
                accepted_after.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_reconnects_in_loops_is_out_once_its_revocation_is_acknowledged() {
    let rounds = rounds(20, 10_000);
    let (rig, door) = home().await;
    let accepted_after = Arc::new(AtomicU64::new(0));
    for round in 0..rounds {
        let claim = rig.claim("racer").await.unwrap();
        let device = enroll_with(&door, &claim).await;
        let (revoked, stop) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicBool::new(false)),
        );
        let loops: Vec<_> = (0..4)
            .map(|_| {
                let (revoked, stop) = (revoked.clone(), stop.clone());
                tokio::spawn(reconnect(
                    door.clone(),
                    device.clone(),
                    revoked,
                    stop,
                    accepted_after.clone(),
                ))
            })
            .collect();
        let _ = door.device(&device).await;
        let answer = rig.revoke("racer").await.unwrap();
        revoked.store(true, Ordering::SeqCst);
        assert_eq!(answer.device, "racer");
        assert!(door.device(&device).await.is_err(), "round {round}");
        stop.store(true, Ordering::SeqCst);
        for one in loops {
            one.await.unwrap();
        }
        // A busy disk may have had more to do than the answer waits for.
        crate::rig::until("the disk to have it", async || {
            (rig.status().await.revocations_pending == 0).then_some(())
        })
        .await;
    }
    println!("{rounds} rounds of 4 loops");
    assert_eq!(accepted_after.load(Ordering::SeqCst), 0);
}

/// Renews with a new key, and leaves.
async fn renew(door: &Door, lamp: &Identity) -> Identity {
    let mut session = door.device(lamp).await.unwrap();
    let key = new_key();
    let csr = request(&key, "lamp");
    let answer = session.ask(&renew_topic("lamp"), csr.as_bytes()).await;
    Identity::from_pem("lamp", &answer.unwrap().accepted(), &key.serialize_pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lamp_that_renews_stays_enrolled_through_the_years() {
    const STEP_DAYS: u32 = 25;
    let Some(library) = libfaketime() else {
        println!("skipped: libfaketime is missing (Debian package faketime)");
        return;
    };
    // The CAs live for five years and are followed by new ones; the root lives for twenty.
    let steps = u32::try_from(rounds(3, 19 * 365 / u64::from(STEP_DAYS))).unwrap();
    let mut rig = Rig::new().await;
    rig.start().await;
    let door = Door::of(&rig).await;
    let mut lamp = enroll(&rig, &door, "lamp").await;
    // The client's own clock stays where it is.
    let door = door.careless();
    for step in 1..=steps {
        days_later(&mut rig, &library, step * STEP_DAYS).await;
        lamp = renew(&door, &lamp).await;
        let mut session = door.device(&lamp).await.unwrap();
        assert_eq!(
            session.publish("devices/lamp/state", b"on").await,
            Ok(0),
            "day {}",
            step * STEP_DAYS
        );
        session.leave().await;
    }
    let certificates = rig.device("lamp").await.certificates.len();
    println!("{} days, {certificates} certificates", steps * STEP_DAYS);
    // A device shows its newest 50.
    assert_eq!(certificates, (steps as usize + 1).min(50));
    rig.verified_log().await;
    done(&rig, &["status"]).await;
}
