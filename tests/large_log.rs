//! A large log is archived and shortened while the gateway serves: as a sample, and with a million records in `make soak`.

use std::time::Duration;

use hearthkey_api::LogExtent;
use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::time::Timestamp;
use hearthkey_store::Store;
use hearthkey_store::change::Change;
use hearthkey_store::slots::{Slots, key_file};
use tokio::time::{Instant, sleep};

use crate::clock::machine_time_s;
use crate::rig::{Rig, hearthkey, json};
use crate::soak::rounds;

/// Records of one commit.
const BATCH: u64 = 200;
/// How long it may take in all.
const DROPPED_MAX: Duration = Duration::from_secs(1800);
/// Between two claims.
const PAUSE: Duration = Duration::from_millis(100);
/// How long somebody else's commit may take meanwhile, on a machine that is busy.
const WAIT_MAX: Duration = Duration::from_secs(3);

/// Adds records to a home that no gateway runs on.
async fn seed(rig: &Rig, records: u64) {
    let slots = Slots::read(&rig.data_dir).unwrap();
    let root = slots.unseal(&key_file(&rig.data_dir).unwrap()).unwrap();
    let store = Store::open(&rig.data_dir, root, slots.home())
        .unwrap()
        .store;
    let now = Timestamp::from_s(i64::try_from(machine_time_s()).unwrap());
    let mut n = 0;
    while n < records {
        let mut change = Change::default();
        for _ in 0..BATCH {
            let object = format!("certificate:{}", n % 5000);
            let entry = Entry::new(now, Actor::gateway(), "test.seed", object);
            change = change.entry(entry.with("padding", "x".repeat(300)));
            n += 1;
        }
        store.commit(change).await.unwrap();
    }
    store.close();
}

async fn extent(rig: &Rig) -> LogExtent {
    rig.client().get("/api/v1/log/extent").await.unwrap()
}

/// A command that may take long.
async fn long(rig: &Rig, args: &[&str]) -> serde_json::Value {
    let mut command = hearthkey();
    command.arg("--data-dir").arg(&rig.data_dir).args(args);
    let output = command.arg("--json").output().await.unwrap();
    let answer = json(&output);
    assert!(output.status.success(), "{answer}");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_log_is_shortened_while_the_gateway_serves_and_the_file_becomes_smaller() {
    let records = rounds(4_000, 1_000_000);
    let mut rig = Rig::new().await;
    seed(&rig, records).await;
    rig.start().await;
    let before = extent(&rig).await;
    let file = rig.work.path().join("log.archive");
    let file = file.to_str().unwrap();
    let begun = Instant::now();
    long(
        &rig,
        &["log", "archive", "--out", file, "--before", "2999-01-01"],
    )
    .await;
    let archived = begun.elapsed();
    let begun = Instant::now();
    while rig.status().await.log_verified_at.is_none() {
        sleep(Duration::from_millis(100)).await;
    }
    let verified = begun.elapsed();
    long(&rig, &["log", "shorten", "--archive", file]).await;
    let (begun, mut longest, mut claims) = (Instant::now(), Duration::ZERO, 0_u64);
    let after = loop {
        let asked = Instant::now();
        rig.claim(&format!("lamp-{claims}")).await.unwrap();
        longest = longest.max(asked.elapsed());
        claims += 1;
        let now = extent(&rig).await;
        if !now.shortening && now.database_bytes < before.database_bytes / 3 {
            break now;
        }
        assert!(begun.elapsed() < DROPPED_MAX, "{now:?}");
        sleep(PAUSE).await;
    };
    let dropped = begun.elapsed();
    assert!(longest < WAIT_MAX, "{longest:?}");
    assert!(after.first >= records);
    println!(
        "{records} records; archived in {archived:?}; verified {verified:?} later; dropped in {dropped:?} while {claims} \
         claims were opened, the longest in {longest:?}; database {} → {} bytes",
        before.database_bytes, after.database_bytes
    );
    rig.restart().await;
    assert_eq!(rig.status().await.incident, None);
    rig.verified_log().await;
}
