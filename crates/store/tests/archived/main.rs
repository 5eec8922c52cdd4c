//! A log whose older records are archived: what it still proves, what it still knows, and how small it becomes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod large;
mod log;

use std::fs;
use std::path::Path;

use hearthkey_core::id::Fingerprint;
use hearthkey_store::CommitError;
use hearthkey_store::anchor::{ANCHOR_FILE, Incident};
use hearthkey_store::change::Change;
use hearthkey_store::log::{SignedCheckpoint, VerifyError};
use hearthkey_store::log_archive::{
    Compared, OlderProof, VerifiedArchive, verify_archive, verify_export,
};
use hearthkey_store::log_check::Part;
use hearthkey_store::log_search::RecordFilter;
use hearthkey_store::log_start::{Archive, LogWrite};

use log::{Log, at, entry};

/// A proof verifies with the record alone, whatever was dropped here.
fn proves(proof: &[u8], vkey: &str, archive: &[u8]) -> Result<VerifiedArchive, VerifyError> {
    let compared = Compared {
        proofs: vec![OlderProof::parse(proof, vkey).unwrap()],
        ..Compared::default()
    };
    verify_archive(archive, vkey, &compared)
}

#[tokio::test]
async fn what_remains_verifies_alone_at_every_place_where_the_log_may_begin() {
    for first in [1, 2, 3, 31, 32, 33, 63, 64, 95, 99] {
        let mut log = Log::of(100).await;
        log.begin_at(first).await;
        assert!(matches!(log.check(), Part::Whole(_)), "{first}");
        log.write(LogWrite::Drop { at_most: 20 }).await.unwrap();
        // As after a crash in the middle of it.
        assert_eq!(log.open(), None, "{first}");
        assert!(matches!(log.check(), Part::Whole(_)), "{first}");
        log.drop_all().await;
        assert_eq!(log.open(), None, "{first}");
        log.grow(50).await;
        assert!(matches!(log.check(), Part::Whole(_)), "{first}");
        let rest = log.archive(log.size());
        let found = verify_export(
            &rest[..],
            &log.newest().unwrap().note[..],
            log.store().vkey(),
        );
        let found = found.unwrap();
        assert_eq!((found.first, found.size), (first, 150));
        for seq in first..150 {
            proves(&log.proof(seq), log.store().vkey(), &rest).unwrap();
        }
    }
}

#[tokio::test]
async fn archives_continue_one_another_and_hold_what_was_signed_and_proved_before() {
    let log = Log::of(60).await;
    let vkey = log.store().vkey().to_owned();
    let old: Vec<_> = (0..40).map(|seq| log.proof(seq)).collect();
    let then = log.newest().unwrap();
    log.grow(15).await;
    let early = log.begin_at(40).await;
    log.drop_all().await;
    let late = log.begin_at(70).await;
    log.drop_all().await;
    let rest = log.archive(75);
    let [early_found, late_found, rest_found] =
        [&early, &late, &rest].map(|file| log.verified(file));
    assert_eq!(early_found.first_root, None);
    late_found.continues(&early_found).unwrap();
    rest_found.continues(&late_found).unwrap();
    assert!(rest_found.continues(&early_found).is_err());
    for proof in &old {
        proves(proof, &vkey, &early).unwrap();
        assert!(matches!(
            proves(proof, &vkey, &late),
            Err(VerifyError::Elsewhere { .. })
        ));
    }
    let with = |note: SignedCheckpoint| Compared {
        checkpoints: vec![note],
        ..Compared::default()
    };
    verify_archive(&late[..], &vkey, &with(then.clone())).unwrap();
    let elsewhere = verify_archive(&early[..], &vkey, &with(then.clone()));
    assert!(matches!(
        elsewhere,
        Err(VerifyError::Elsewhere { at: 59, .. })
    ));
    let another = SignedCheckpoint {
        root: [9; 32],
        ..then
    };
    let rewritten = verify_archive(&late[..], &vkey, &with(another));
    assert!(matches!(
        rewritten,
        Err(VerifyError::Disagrees { at: 59, .. })
    ));
}

#[tokio::test]
async fn every_altered_byte_of_an_archive_is_found() {
    let log = Log::of(6).await;
    log.begin_at(3).await;
    log.drop_all().await;
    let file = log.archive(6);
    // The key in the head is for information alone.
    let text = String::from_utf8_lossy(&file).into_owned();
    let key = text.find("\"key\":\"").unwrap() + 7;
    let key = key..key + log.store().vkey().len();
    for byte in (0..file.len()).filter(|byte| !key.contains(byte)) {
        let mut altered = file.clone();
        altered[byte] ^= 1;
        let found = verify_archive(&altered[..], log.store().vkey(), &Compared::default());
        assert!(found.is_err(), "byte {byte}: {found:?}");
    }
    let lines: Vec<&[u8]> = file.split_inclusive(|byte| *byte == b'\n').collect();
    let thinned = [lines[0], lines[1], lines[3]].concat();
    let found = verify_archive(&thinned[..], log.store().vkey(), &Compared::default());
    assert!(
        matches!(
            found,
            Err(VerifyError::Order {
                line: 3,
                expected: 4
            })
        ),
        "{found:?}"
    );
}

#[tokio::test]
async fn only_what_was_archived_is_dropped_and_never_all_of_it() {
    let log = Log::of(20).await;
    let begin = |first, sha256| log.write(LogWrite::BeginAt { first, sha256 });
    let file = log.archive(20);
    let sha256 = Fingerprint::of(&file);
    assert_eq!(
        begin(20, sha256).await,
        Err(CommitError::Conflict),
        "it is not known"
    );
    log.note_archive(&file).await.unwrap();
    assert_eq!(
        begin(20, sha256).await,
        Err(CommitError::Conflict),
        "nothing would stay"
    );
    log.grow(1).await;
    assert_eq!(
        begin(19, sha256).await,
        Err(CommitError::Conflict),
        "it ends elsewhere"
    );
    let other = Fingerprint::of(b"another file");
    assert_eq!(begin(20, other).await, Err(CommitError::Conflict));
    begin(20, sha256).await.unwrap();
    assert_eq!(
        begin(20, sha256).await,
        Err(CommitError::Conflict),
        "it does already"
    );
    // What would leave a gap between two archives is not dropped.
    log.grow(30).await;
    log.drop_all().await;
    let forged = Archive {
        first: 0,
        before: 30,
        root: [1; 32],
        sha256,
        bytes: 1,
        at: at(0),
    };
    assert_eq!(
        log.write(LogWrite::Archived(forged)).await,
        Err(CommitError::Conflict)
    );
}

#[tokio::test]
async fn what_was_decided_last_about_a_thing_is_known_when_its_records_are_archived() {
    let log = Log::of(100).await;
    let devices: Vec<String> = (0..10).map(|n| format!("device:d{n}")).collect();
    let known = || -> Vec<_> { devices.iter().map(|name| log.newest_about(name)).collect() };
    let before = known();
    assert!(
        before.contains(&Some(97)) && before.contains(&Some(88)),
        "{before:?}"
    );
    log.begin_at(95).await;
    assert_eq!(known(), before);
    log.write(LogWrite::Drop { at_most: 50 }).await.unwrap();
    assert_eq!(known(), before);
    log.drop_all().await;
    assert_eq!(known(), before);
    assert_eq!(log.newest_about("device:nobody"), None);
    let change = Change::record(entry(1)).expecting("device:d4".into(), before[4]);
    log.store().commit(change).await.unwrap();
    let stale = Change::record(entry(1)).expecting("device:d5".into(), Some(1));
    assert_eq!(
        log.store().commit(stale).await.unwrap_err(),
        CommitError::Changed
    );
    let archived = log
        .store()
        .read(|registry| registry.archived_about(&devices[3..4]));
    assert_eq!(archived, Ok(10));
}

#[tokio::test]
async fn what_is_archived_is_neither_found_nor_counted_nor_given() {
    let log = Log::of(100).await;
    log.begin_at(60).await;
    log.store()
        .read(|registry| {
            assert_eq!(registry.records(0, 1000)?.len(), 40);
            assert_eq!(registry.records_about(&["device:d1".into()], 100)?.len(), 4);
            assert_eq!(registry.first_record_time()?, Some(at(60)));
            assert_eq!(registry.first_record_at(at(10), 100)?, 60);
            assert_eq!(registry.first_record_at(at(70), 100)?, 70);
            let all = RecordFilter::default();
            let found = registry.search_records(&all, (registry.first_here()?, 100), 1000)?;
            assert_eq!((found.records.len(), found.looked_to), (40, 60));
            let extent = registry.log_extent()?;
            assert_eq!(
                (extent.size, extent.first, extent.archived_before),
                (100, 60, 60)
            );
            assert!(extent.is_being_shortened && extent.bytes > 40 * 300);
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn the_file_becomes_smaller_and_what_was_in_it_is_gone() {
    let log = Log::of(3000).await;
    log.store().close();
    let mut log = log;
    assert_eq!(log.open(), None);
    let before = log.database_bytes();
    log.begin_at(2900).await;
    log.drop_all().await;
    let mut steps = 0;
    while log
        .store()
        .read(|registry| registry.has_room_to_give_back())
        .unwrap()
    {
        log.write(LogWrite::GiveBack { pages: 64 }).await.unwrap();
        steps += 1;
    }
    assert_eq!(log.open(), None);
    let after = log.database_bytes();
    assert!(
        steps > 1 && after < before / 3,
        "{before} → {after} in {steps} steps"
    );
    assert!(matches!(log.check(), Part::Whole(_)));
}

#[tokio::test]
async fn an_anchor_of_what_is_archived_is_no_incident_and_one_of_another_log_is() {
    let mut log = Log::of(50).await;
    let early = log.store().segment(30).unwrap().unwrap().checkpoint;
    log.store.take().unwrap().close();
    fs::write(anchor(&log), &early.note).unwrap();
    assert_eq!(log.open(), None);
    log.begin_at(40).await;
    log.store.take().unwrap().close();
    fs::write(anchor(&log), &early.note).unwrap();
    assert_eq!(log.open(), None);
    let other = Log::of(50).await;
    let foreign = other.store().segment(30).unwrap().unwrap().checkpoint;
    log.store.take().unwrap().close();
    fs::write(anchor(&log), &foreign.note).unwrap();
    assert_eq!(log.open(), Some(Incident::AnchorAltered));
}

fn anchor(log: &Log) -> std::path::PathBuf {
    Path::new(log.dir.path()).join(ANCHOR_FILE)
}
