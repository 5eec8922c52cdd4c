//! Somebody who has shown nothing cannot make the log grow, however often they are refused.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::guest::{home, records};
use crate::mqtt::Hello;
use crate::rig::Rig;
use crate::soak::rounds;
use crate::wire::Door;

const MIB: u64 = 1024 * 1024;

/// What the gateway has caused to be written, in bytes (proc(5)); 0 where its disk is memory.
fn written(rig: &Rig) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{}/io", rig.pid())).unwrap();
    let line = io
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes:"));
    line.unwrap().trim().parse().unwrap()
}

/// Bytes of all files of the home.
fn on_disk(rig: &Rig) -> u64 {
    let files = std::fs::read_dir(&rig.data_dir).unwrap().flatten();
    files
        .filter_map(|file| Some(file.metadata().ok()?.len()))
        .sum()
}

/// Tries to come in without a certificate, so often in a second and for so long. How often it was.
async fn knock(door: &Door, per_s: u64, seconds: u64) -> u64 {
    let mut ticks = interval(Duration::from_micros(1_000_000 / per_s));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut tries = 0;
    while Instant::now() < end {
        ticks.tick().await;
        let hello = Hello::v5("stranger");
        assert!(door.connect(None, &hello).await.is_err());
        tries += 1;
    }
    tries
}

/// The sum of `count` in the records of refusals that were counted, and how many records those are.
async fn counted(rig: &Rig) -> (u64, usize) {
    let all = records(rig).await;
    let counts: Vec<u64> = all
        .iter()
        .filter_map(|record| record["details"]["count"].as_u64())
        .collect();
    (counts.iter().sum(), counts.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_at_the_door_is_one_record_and_one_a_minute_and_every_try_is_counted() {
    let (mut rig, door) = home().await;
    let mut tries = 0;
    for per_s in [5, 200] {
        let seconds = rounds(6, 600);
        let (size, bytes, disk) = (rig.status().await.log_size, written(&rig), on_disk(&rig));
        let made = knock(&door, per_s, seconds).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let grown = rig.status().await.log_size - size;
        let (bytes, disk) = (written(&rig) - bytes, on_disk(&rig).saturating_sub(disk));
        println!(
            "{made} tries in {seconds} s, {per_s} a second wanted: {grown} records, {} KiB written, {} KiB more on the disk",
            bytes / 1024,
            disk / 1024
        );
        assert!(grown <= 3 + seconds / 60, "{grown} records");
        assert!(bytes < 5 * MIB && disk < MIB, "{bytes} and {disk}");
        tries += made;
    }
    rig.stop().await;
    rig.start().await;
    let (count, in_records) = counted(&rig).await;
    assert_eq!(count + 1, tries, "the first is told in full; {in_records}");
}
