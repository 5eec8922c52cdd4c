//! A large log: how long its shortening takes, and whom it keeps waiting.

use std::fs;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hearthkey_store::log_archive::{ArchiveFile, Compared, Head, OlderProof, verify_archive_file};
use hearthkey_store::log_check::Part;
use hearthkey_store::log_start::{Archive, LogWrite};
use hearthkey_store::registry::{ReadError, Registry};

use crate::log::{Log, at};

/// Writes an archive into a file, and verifies it there.
fn archived_file(log: &Log, before: u64) -> (ArchiveFile, std::path::PathBuf) {
    use std::io::Write as _;

    let path = log.dir.path().join("log.archive");
    let mut file = std::io::BufWriter::new(fs::File::create(&path).unwrap());
    let segment = log.store().segment(before).unwrap().unwrap();
    let left = segment.left.iter().map(|hash| STANDARD.encode(hash));
    let note = String::from_utf8(segment.checkpoint.note).unwrap();
    let key = log.store().vkey().to_owned();
    let head = Head::new((segment.first, before), left.collect(), note, key);
    file.write_all(&[head.to_line(), b"\n".to_vec()].concat())
        .unwrap();
    let mut next = segment.first;
    while next < before {
        let end = before.min(next + 1000);
        file.write_all(&log.records(next, end)).unwrap();
        next = end;
    }
    file.flush().unwrap();
    let file = fs::File::open(&path).unwrap();
    let found = verify_archive_file(file, log.store().vkey(), &Compared::default());
    (found.unwrap(), path)
}

/// A sample in `make test`; a million records in `make soak`, with what they take printed.
#[tokio::test]
async fn a_large_log_is_archived_and_shortened_and_nobody_waits_for_it() {
    let records: u64 = match std::env::var_os("HEARTHKEY_SOAK") {
        Some(_) => 1_000_000,
        None => 3_000,
    };
    let watch = tokio::time::Instant::now;
    let begun = watch();
    let mut log = Log::of(records).await;
    let old: Vec<_> = [0, 1, records / 3, records / 2]
        .map(|seq| log.proof(seq))
        .to_vec();
    log.store().close();
    assert_eq!(log.open(), None);
    let (made, bytes_before) = (begun.elapsed(), log.database_bytes());
    let (begun, kept) = (watch(), records / 10);
    let first = records - kept;
    let (archive, path) = archived_file(&log, first);
    let archived = begun.elapsed();
    let noted = Archive {
        first: 0,
        before: first,
        root: archive.found.root,
        sha256: archive.sha256,
        bytes: archive.bytes,
        at: at(0),
    };
    log.write(LogWrite::Archived(noted)).await.unwrap();
    let sha256 = archive.sha256;
    log.write(LogWrite::BeginAt { first, sha256 })
        .await
        .unwrap();
    let (begun, mut longest) = (watch(), std::time::Duration::ZERO);
    let has_more = |log: &Log, what: fn(&Registry<'_>) -> Result<bool, ReadError>| {
        log.store().read(what).unwrap()
    };
    let mut steps = 0_u64;
    while has_more(&log, |registry| registry.has_records_to_drop()) {
        log.write(LogWrite::Drop { at_most: 250 }).await.unwrap();
        steps += 1;
        if steps.is_multiple_of(10) {
            // Somebody else's commit, meanwhile.
            let waited = watch();
            log.grow(1).await;
            longest = longest.max(waited.elapsed());
        }
    }
    while has_more(&log, |registry| registry.has_room_to_give_back()) {
        let waited = watch();
        log.write(LogWrite::GiveBack { pages: 256 }).await.unwrap();
        longest = longest.max(waited.elapsed());
    }
    let dropped = begun.elapsed();
    assert_eq!(log.open(), None);
    let bytes_after = log.database_bytes();
    assert!(
        bytes_after < bytes_before / 3,
        "{bytes_before} → {bytes_after}"
    );
    let begun = watch();
    assert!(matches!(log.check(), Part::Whole(_)));
    let checked = begun.elapsed();
    let compared = Compared {
        proofs: old
            .iter()
            .map(|proof| OlderProof::parse(proof, log.store().vkey()).unwrap())
            .collect(),
        ..Compared::default()
    };
    let file = fs::File::open(path).unwrap();
    verify_archive_file(file, log.store().vkey(), &compared).unwrap();
    println!(
        "{records} records in {made:?}; archive of {first}: {} bytes, written and verified in {archived:?}; dropped in \
         {dropped:?}, the longest wait of another commit or of a step {longest:?}; database {bytes_before} → \
         {bytes_after} bytes; the rest verified in {checked:?}",
        archive.bytes
    );
}
