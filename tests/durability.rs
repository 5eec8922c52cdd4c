//! Kill -9 at random moments, under load: what was acknowledged stays.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use hearthkey_agent::Device;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

use crate::rig::Rig;
use crate::soak::rounds;

/// Chooses the moments; given again, they are the same.
const SEED: &str = "HEARTHKEY_KILL_SEED";
const CYCLES: &str = "HEARTHKEY_KILL_CYCLES";
const CYCLES_SAMPLE: u64 = 20;
const CYCLES_FULL: u64 = 500;
/// The gateway is killed within this time after it has begun to serve.
const LIFE_MAX_MS: u64 = 300;
/// Opening a home takes about this long.
const OPENING_MAX_MS: u64 = 80;
/// By then, what the gateway sent has been read.
const LAST_WORDS: Duration = Duration::from_millis(150);

/// SplitMix64: random enough to choose moments, and the same for the same seed.
pub struct Chance(pub u64);

impl Chance {
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// What the gateway has acknowledged of a device whose claim it has opened.
#[derive(Debug, Clone, Default)]
struct Acknowledged {
    serial: Option<String>,
    revoked: bool,
}

type Book = RefCell<BTreeMap<String, Acknowledged>>;

/// A client that enrolls devices, and revokes every other one, until the gateway is gone.
async fn load(rig: &Rig, book: &Book, name: String, mut chance: Chance) {
    for n in 0.. {
        let device = format!("{name}-{n}");
        let Ok(claim) = rig.claim(&device).await else {
            return;
        };
        book.borrow_mut()
            .insert(device.clone(), Acknowledged::default());
        let Ok(enrolled) = rig.enroll_with(&claim).await else {
            return;
        };
        let serial = enrolled.status().unwrap().serial;
        book.borrow_mut().entry(device.clone()).or_default().serial = Some(serial);
        if chance.below(2) == 0 {
            let Ok(revoked) = rig.revoke(&device).await else {
                return;
            };
            assert!(revoked.durable, "{revoked:?}");
            book.borrow_mut().entry(device).or_default().revoked = true;
        }
    }
}

/// One life of the gateway under load, and its death.
async fn live_and_die(rig: &mut Rig, book: &Book, cycle: u64, chance: &mut Chance) {
    let life = Duration::from_millis(chance.below(LIFE_MAX_MS));
    let pid = Pid::from_raw(rig.pid().try_into().unwrap()).unwrap();
    let kill = async {
        sleep(life).await;
        kill_process(pid, Signal::KILL).unwrap();
    };
    let mut client = |n| {
        load(
            rig,
            book,
            format!("c{cycle:03}-{n}"),
            Chance(chance.below(u64::MAX)),
        )
    };
    let clients = async { tokio::join!(client(0), client(1), client(2)) };
    // An answer that was sent with the last breath counts.
    let last_words = async {
        kill.await;
        sleep(LAST_WORDS).await;
    };
    tokio::select! {
        _ = clients => {}
        () = last_words => {}
    }
    rig.kill9().await;
}

/// A death before the gateway serves: while it checks its pages and replays its journal.
async fn die_while_opening(rig: &mut Rig, chance: &mut Chance) {
    rig.spawn();
    sleep(Duration::from_millis(chance.below(OPENING_MAX_MS))).await;
    rig.kill9().await;
}

/// Everything acknowledged of the devices whose names begin so is there.
async fn check(rig: &Rig, book: &Book, from: &str, log: &str) {
    let known = book.borrow().clone();
    for (device, known) in known.iter().filter(|(device, _)| device.starts_with(from)) {
        let view = rig.device(device).await;
        let recorded = |action: &str, place: &str| {
            let place = place.replace("DEVICE", device);
            let action = format!("\"action\":\"{action}\"");
            log.lines()
                .any(|record| record.contains(&action) && record.contains(&place))
        };
        assert!(recorded("claim.open", "\"device\":\"DEVICE\""), "{device}");
        if let Some(serial) = &known.serial {
            let held = view.certificates.iter().any(|held| held.serial == *serial);
            assert!(held, "{device} has lost {serial}: {view:?}");
            assert!(recorded("device.enroll", serial), "{device}");
        }
        if known.revoked {
            let all = view.certificates.iter().all(|held| held.state == "revoked");
            assert!(all && view.state == "revoked", "{device} {view:?}");
            assert!(
                recorded("device.revoke", "\"object\":\"device:DEVICE\""),
                "{device}"
            );
        }
    }
}

/// The listener says the same as the registry.
async fn knock(rig: &Rig, book: &Book, from: &str) {
    let known = book.borrow().clone();
    for revoked in [true, false] {
        let mut found = known.iter().rev().filter(|(device, known)| {
            device.starts_with(from) && known.serial.is_some() && known.revoked == revoked
        });
        // A revocation may have become durable although its answer was lost.
        let Some((device, _)) = found.next() else {
            continue;
        };
        let refused = rig.device(device).await.state == "revoked";
        assert!(refused || !revoked, "{device}");
        let entered = Device::open(&rig.device_dir(device))
            .unwrap()
            .connect()
            .await;
        assert_eq!(entered.is_err(), refused, "{device}: {:?}", entered.err());
    }
}

pub fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_gateway_is_killed_at_random_moments_under_load() {
    let seed = number(SEED).unwrap_or_else(|| u64::from(std::process::id()));
    let cycles = number(CYCLES).unwrap_or(rounds(CYCLES_SAMPLE, CYCLES_FULL));
    println!("{SEED}={seed} {CYCLES}={cycles}");
    let mut chance = Chance(seed);
    let book = Book::default();
    let mut rig = Rig::new().await;
    let mut before = String::new();
    rig.start().await;
    for cycle in 0..cycles {
        live_and_die(&mut rig, &book, cycle, &mut chance).await;
        if chance.below(4) == 0 {
            die_while_opening(&mut rig, &mut chance).await;
        }
        rig.start().await;
        let log = rig.verified_log().await;
        assert!(
            log.starts_with(&before),
            "cycle {cycle}: the log was rewritten"
        );
        assert_eq!(rig.status().await.incident, None, "cycle {cycle}");
        let from = format!("c{cycle:03}-");
        check(&rig, &book, &from, &log[before.len()..]).await;
        knock(&rig, &book, &from).await;
        before = log;
    }
    check(&rig, &book, "c", &before).await;
    let book = book.into_inner();
    let issued = book.values().filter(|known| known.serial.is_some()).count();
    let revoked = book.values().filter(|known| known.revoked).count();
    println!(
        "{cycles} deaths: {} claims, {issued} certificates, {revoked} revocations",
        book.len()
    );
    assert!(issued > 0 && revoked > 0, "there was no load");
}
