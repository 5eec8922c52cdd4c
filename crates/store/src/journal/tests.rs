use std::fs::File;
use std::io::Write;

use hearthkey_core::certificate::RevocationReason;
use hearthkey_core::device::{Device, DeviceState};
use hearthkey_core::time::Timestamp;

use super::lines::BEGIN;
use super::*;

fn revocation(name: &str) -> Revocation {
    Revocation {
        device: name.parse().unwrap(),
        certificates: vec![Fingerprint([1; 32])],
        keys: vec![Fingerprint([3; 32])],
        reason: RevocationReason::KeyCompromise,
        at: Timestamp::from_s(1),
    }
}

struct Fixture {
    place: tempfile::TempDir,
    root: RootKey,
}

impl Fixture {
    fn new() -> Self {
        Self {
            place: tempfile::tempdir().unwrap(),
            root: RootKey::generate(),
        }
    }

    fn open(&self) -> (Journal, Replay) {
        let home: HomeId = "home-1".parse().unwrap();
        Journal::open(self.place.path(), &self.root, &home).unwrap()
    }

    fn path(&self) -> std::path::PathBuf {
        self.place.path().join(JOURNAL_FILE)
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.path()).unwrap()
    }
}

#[tokio::test]
async fn what_was_appended_is_replayed_and_a_torn_or_forged_line_is_not() {
    let fixture = Fixture::new();
    let (journal, empty) = fixture.open();
    assert!(empty.missing && empty.revocations.is_empty());
    journal.anew_is_noted().unwrap();
    journal.append(revocation("lamp")).await.unwrap();
    drop(journal);

    let mut bytes = fixture.bytes();
    let forged = String::from_utf8(bytes.clone())
        .unwrap()
        .replace("lamp", "hall");
    bytes.extend(forged.as_bytes());
    bytes.extend(br#"{"device":"to"#);
    std::fs::write(fixture.path(), &bytes).unwrap();

    let (journal, replay) = fixture.open();
    assert_eq!(replay.revocations, [revocation("lamp")]);
    assert_eq!(replay.foreign_lines, 2);
    assert!(replay.unterminated && !replay.missing);
    journal.append(revocation("door")).await.unwrap();
    let (_, replay) = fixture.open();
    assert_eq!(replay.revocations, [revocation("lamp"), revocation("door")]);
    assert!(!replay.unterminated);
}

#[tokio::test]
async fn what_an_editor_or_a_disk_adds_to_a_line_takes_nothing_from_it() {
    let fixture = Fixture::new();
    fixture.open().0.append(revocation("lamp")).await.unwrap();
    let line = fixture.bytes();
    let dos = [line.trim_ascii_end(), b"\r\n\r\n"].concat();
    let marked = ["\u{feff}".as_bytes(), &line].concat();
    let torn = [br#"{"device":"do"#.as_slice(), &[0, 0xff], &line].concat();
    for (bytes, foreign_lines) in [(dos, 0), (marked, 1), (torn, 1)] {
        std::fs::write(fixture.path(), bytes).unwrap();
        let (_, replay) = fixture.open();
        assert_eq!(replay.revocations, [revocation("lamp")]);
        assert_eq!(replay.foreign_lines, foreign_lines);
    }
}

#[tokio::test]
async fn a_line_of_a_newer_program_is_ours_and_not_understood() {
    let fixture = Fixture::new();
    fixture.open().0.append(revocation("lamp")).await.unwrap();
    let key = fixture.root.journal(&"home-1".parse().unwrap());
    let ours = serde_json::to_string(&revocation("door")).unwrap();
    let newer = [
        ours.replace("key-compromise", "weak-key"),
        ours.replacen('{', r#"{"prev":"00","#, 1),
        ours.replacen("}", r#","by":"ada"}"#, 1),
    ];
    let mut bytes = fixture.bytes();
    for json in newer {
        assert_ne!(json, ours);
        let tag = lines::tag(&key, &json);
        bytes.extend(format!("{json}\t{tag}\n").as_bytes());
    }
    std::fs::write(fixture.path(), bytes).unwrap();
    let (_, replay) = fixture.open();
    assert_eq!((replay.newer_lines, replay.foreign_lines), (3, 0));
    assert_eq!(replay.revocations, [revocation("lamp")]);
}

#[tokio::test]
async fn a_line_that_lost_only_its_end_is_believed_and_does_not_merge_with_the_next() {
    let fixture = Fixture::new();
    fixture.open().0.append(revocation("lamp")).await.unwrap();
    let mut bytes = fixture.bytes();
    assert_eq!(bytes.pop(), Some(b'\n'));
    std::fs::write(fixture.path(), &bytes).unwrap();
    let (journal, replay) = fixture.open();
    assert_eq!(replay.revocations, [revocation("lamp")]);
    assert!(replay.unterminated);
    assert_eq!(replay.foreign_lines, 0);
    journal.append(revocation("door")).await.unwrap();
    let (_, replay) = fixture.open();
    assert_eq!(replay.revocations, [revocation("lamp"), revocation("door")]);
    assert_eq!((replay.foreign_lines, replay.unterminated), (0, false));
}

#[tokio::test]
async fn what_was_put_after_a_line_or_in_place_of_its_end_takes_nothing_from_it() {
    let fixture = Fixture::new();
    let (journal, _) = fixture.open();
    for name in ["lamp", "door"] {
        journal.append(revocation(name)).await.unwrap();
    }
    let lines = fixture.bytes();
    let end = lines.iter().position(|byte| *byte == b'\n').unwrap();
    for put in [&b""[..], b"\r", b" ", b" {\"device\":\"x\"}\n", b"\t00\n"] {
        let altered = [&lines[..end], put, &lines[end + 1..]].concat();
        std::fs::write(fixture.path(), altered).unwrap();
        let (_, replay) = fixture.open();
        let both = [revocation("lamp"), revocation("door")];
        assert_eq!((replay.revocations, replay.foreign_lines), (both.into(), 1));
    }
    // Many beginnings without an end are looked at once each.
    let endless = BEGIN.repeat(100_000);
    std::fs::write(fixture.path(), [&endless[..], &lines].concat()).unwrap();
    assert_eq!(fixture.open().1.revocations.len(), 2);
}

#[test]
fn a_line_that_a_full_disk_cut_short_does_not_merge_with_the_next() {
    let fixture = Fixture::new();
    let (journal, _) = fixture.open();
    let whole = Arc::clone(&locked(&journal.written).file);
    let (head, _) = watch::channel(Head::none());
    let mut pen = Pen {
        head,
        begins: true,
        log: Arc::clone(&journal.log),
        owed: Vec::new(),
        dir: Arc::clone(&journal.dir),
        // A file that cannot be written simulates a full disk.
        file: Arc::new(File::open(fixture.path()).unwrap()),
        key: fixture.root.journal(&"home-1".parse().unwrap()),
        torn: false,
        written: Arc::clone(&journal.written),
    };
    let line = || Lines {
        at: None,
        events: vec![revocation("door").into()],
        has_happened: false,
        reply: Box::new(drop),
    };
    assert!(pen.write(&[line()]).is_err());
    pen.file = whole;
    pen.file.as_ref().write_all(br#"{"device":"do"#).unwrap();
    pen.write(&[line(), line()]).unwrap();
    let (_, replay) = fixture.open();
    assert_eq!(replay.revocations, [revocation("door"), revocation("door")]);
    assert_eq!(replay.foreign_lines, 1);
}

#[tokio::test]
async fn that_a_journal_was_missing_is_told_until_it_is_noted_elsewhere() {
    let fixture = Fixture::new();
    for _ in 0..2 {
        let (_, replay) = fixture.open();
        assert!(replay.missing, "the start before may have stopped at once");
    }
    let (journal, _) = fixture.open();
    journal.anew_is_noted().unwrap();
    journal.anew_is_noted().unwrap();
    assert!(!fixture.open().1.missing);
    // Taken away while it is open.
    std::fs::remove_file(fixture.path()).unwrap();
    journal.append(revocation("lamp")).await.unwrap();
    assert!(fixture.open().1.missing);
}

#[tokio::test]
async fn a_journal_that_was_taken_away_is_begun_anew_and_that_is_known() {
    let fixture = Fixture::new();
    let (journal, _) = fixture.open();
    let lamp: DeviceId = "lamp".parse().unwrap();
    journal.append(revocation("lamp")).await.unwrap();
    assert!(journal.is_there() && journal.holds(&lamp));
    std::fs::remove_file(fixture.path()).unwrap();
    assert!(!journal.is_there());
    journal.append(revocation("door")).await.unwrap();
    assert!(journal.is_there() && !journal.holds(&lamp));
    let both = [Fingerprint([1; 32]), Fingerprint([9; 32])];
    assert_eq!(
        both.map(|one| journal.holds_certificate(&one)),
        [true, false]
    );
    let (_, replay) = fixture.open();
    assert_eq!(replay.revocations, [revocation("door")]);
}

#[tokio::test]
async fn what_somebody_adds_while_it_is_open_does_not_merge_with_the_next_line() {
    let fixture = Fixture::new();
    let (journal, _) = fixture.open();
    journal.append(revocation("lamp")).await.unwrap();
    let added = [fixture.bytes(), br#"{"device":"x"#.to_vec()].concat();
    std::fs::write(fixture.path(), added).unwrap();
    journal.append(revocation("door")).await.unwrap();
    let bytes = fixture.bytes();
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    assert_eq!(lines.len(), 5);
    assert_eq!(lines[2], br#"{"device":"x"#);
}

#[tokio::test]
async fn a_file_that_has_another_name_is_not_written_in_place_of_the_journal() {
    let fixture = Fixture::new();
    let (journal, _) = fixture.open();
    let other = fixture.place.path().join("other");
    std::fs::write(&other, "precious").unwrap();
    std::fs::remove_file(fixture.path()).unwrap();
    std::fs::hard_link(&other, fixture.path()).unwrap();
    assert!(journal.append(revocation("lamp")).await.is_err());
    assert_eq!(std::fs::read(&other).unwrap(), b"precious");
}

#[tokio::test]
async fn a_journal_that_was_emptied_where_it_lies_is_known_to_hold_nothing() {
    let fixture = Fixture::new();
    let (journal, _) = fixture.open();
    let (lamp, door) = ("lamp".parse().unwrap(), "door".parse().unwrap());
    journal.append(revocation("lamp")).await.unwrap();
    std::fs::write(fixture.path(), "").unwrap();
    assert!(!journal.is_there());
    journal.append(revocation("door")).await.unwrap();
    assert!(journal.is_there() && journal.holds(&door) && !journal.holds(&lamp));
}

fn suspended(name: &str) -> Event {
    Event::Suspended {
        of: name.parse().unwrap(),
    }
}

impl Fixture {
    async fn with_lines(names: &[&str]) -> (Self, Journal) {
        let fixture = Self::new();
        let (journal, _) = fixture.open();
        for (number, name) in (1..).zip(names) {
            let at = Some(Timestamp::from_s(number));
            let event = suspended(name);
            journal.append_all(at, vec![event]).await.unwrap();
        }
        (fixture, journal)
    }

    /// The journal without some of its lines.
    fn without(&self, lost: &[usize]) -> Replay {
        let text = String::from_utf8(self.bytes()).unwrap();
        let lines = text.lines().enumerate();
        let left: Vec<&str> = lines
            .filter(|(at, _)| !lost.contains(at))
            .map(|(_, line)| line)
            .collect();
        let key = self.root.journal(&"home-1".parse().unwrap());
        lines::read(&key, format!("{}\n", left.join("\n")).as_bytes())
    }
}

#[tokio::test]
async fn a_line_that_is_taken_out_of_the_chain_is_missed_and_the_others_are_believed() {
    let (fixture, journal) = Fixture::with_lines(&["a", "b", "c", "d"]).await;
    let whole = journal.content().unwrap();
    assert_eq!(whole.chain.len(), 5);
    assert_eq!(breaks(&whole.chain), []);
    for lost in 1..4 {
        let left = fixture.without(&[lost]);
        assert_eq!((left.chain.len(), left.foreign_lines), (4, 0));
        let lacking = breaks(&left.chain);
        let from = Timestamp::from_s(lost as i64 - 1).max(Timestamp::from_s(1));
        let to = Timestamp::from_s(lost as i64 + 1);
        assert_eq!(lacking, [Break { from, to }]);
    }
    // At its ends nothing is to be seen of it: that is for who knows how far it went.
    assert_eq!(breaks(&fixture.without(&[0, 4]).chain), []);
}

#[tokio::test]
async fn the_chain_goes_on_over_restarts_and_begins_a_run_where_it_was_taken_away() {
    let (fixture, journal) = Fixture::with_lines(&["a"]).await;
    drop(journal);
    let (journal, _) = fixture.open();
    let again = Some(Timestamp::from_s(9));
    journal
        .append_all(again, vec![suspended("b")])
        .await
        .unwrap();
    let chain = journal.content().unwrap().chain;
    assert_eq!(breaks(&chain), []);
    assert_eq!(chain[2].entry.seq, chain[0].entry.seq + 2);
    assert_eq!(chain[2].entry.at, Timestamp::from_s(9));
    std::fs::remove_file(fixture.path()).unwrap();
    let later = Some(Timestamp::from_s(20));
    journal
        .append_all(later, vec![suspended("c")])
        .await
        .unwrap();
    let anew = journal.content().unwrap().chain;
    assert_eq!(anew[0].entry.event, Event::Begun {});
    assert_eq!(anew[0].entry.seq, 20_000, "numbered by the time");
    assert_eq!(anew[0].entry.prev, chain[2].tag);
    let both = [chain, anew].concat();
    assert_eq!(breaks(&both), []);
}

#[tokio::test]
async fn what_a_backup_covers_is_dropped_and_revocations_are_held_for_good() {
    let (fixture, journal) = Fixture::with_lines(&["a", "b"]).await;
    journal.append(revocation("lamp")).await.unwrap();
    let covered = journal.head().borrow().seq;
    let at = Some(Timestamp::from_s(4));
    journal.append_all(at, vec![suspended("c")]).await.unwrap();
    journal.drop_to(covered).await.unwrap();
    let left = journal.content().unwrap();
    assert_eq!(left.loose, [revocation("lamp")]);
    assert_eq!(left.chain.len(), 1);
    assert!(journal.is_there() && journal.holds(&"lamp".parse().unwrap()));
    journal.append_all(at, vec![suspended("d")]).await.unwrap();
    drop(journal);
    let (journal, replay) = fixture.open();
    assert_eq!(replay.revocations, [revocation("lamp")]);
    assert_eq!((replay.chain.len(), breaks(&replay.chain)), (2, vec![]));
    // The newest line stays, so that the chain goes on from it.
    journal.drop_to(u64::MAX).await.unwrap();
    assert_eq!(journal.content().unwrap().chain.len(), 1);
    let foreign = [fixture.bytes(), b"junk\n".to_vec()].concat();
    std::fs::write(fixture.path(), foreign).unwrap();
    assert!(journal.drop_to(u64::MAX).await.is_err(), "it is evidence");
}

#[tokio::test]
async fn what_has_happened_is_written_with_the_next_line_that_the_disk_takes() {
    let (fixture, journal) = Fixture::with_lines(&["a"]).await;
    let whole = Arc::clone(&locked(&journal.written).file);
    let (head, _) = watch::channel(*journal.head().borrow());
    let mut pen = Pen {
        dir: Arc::clone(&journal.dir),
        // A file that cannot be written simulates a full disk.
        file: Arc::new(File::open(fixture.path()).unwrap()),
        key: fixture.root.journal(&"home-1".parse().unwrap()),
        torn: false,
        written: Arc::clone(&journal.written),
        head,
        begins: false,
        log: Arc::clone(&journal.log),
        owed: Vec::new(),
    };
    let lines = |name: &str, has_happened| Lines {
        at: Some(Timestamp::from_s(5)),
        events: vec![suspended(name)],
        has_happened,
        reply: Box::new(drop),
    };
    pen.write_all(vec![lines("b", true), lines("not-yet", false)]);
    assert!(journal.owes());
    pen.file = whole;
    pen.begins = false;
    pen.write_all(vec![lines("c", true)]);
    assert!(!journal.owes());
    let chain = journal.content().unwrap().chain;
    let events: Vec<&Event> = chain.iter().skip(1).map(|line| &line.entry.event).collect();
    assert_eq!(events, [&suspended("a"), &suspended("b"), &suspended("c")]);
    assert_eq!(breaks(&chain), []);
}

#[test]
fn nothing_that_a_line_says_begins_as_a_line_does() {
    let of = || -> DeviceId { "lamp".parse().unwrap() };
    let at = Timestamp::from_s(1);
    let device = Device {
        id: of(),
        state: DeviceState::Pending,
        environment: "home".parse().unwrap(),
        profile: "generic".parse().unwrap(),
        owner: r#"{"device":"x","seq":1}"#.into(),
        purpose: r#"{"seq":1}"#.into(),
        created_at: at,
    };
    let certificate = hearthkey_core::certificate::Certificate {
        fingerprint: Fingerprint([1; 32]),
        serial: hearthkey_core::id::SerialNumber([1; 16]),
        device: of(),
        environment: "home".parse().unwrap(),
        key: Fingerprint([2; 32]),
        lineage: hearthkey_core::id::SerialNumber([1; 16]),
        generation: 3,
        state: hearthkey_core::certificate::CertificateState::Issued,
        not_before: at,
        not_after: at,
        window: hearthkey_core::certificate::RenewalWindow {
            renew_after: at,
            renew_before: at,
        },
        issued_at: at,
    };
    let events = [
        Event::from(revocation("lamp")),
        suspended("lamp"),
        Event::Named(device),
        Event::Issued(Box::new(Issued::of(&certificate, b"der"))),
        Event::OthersOver {
            lineage: certificate.lineage,
            of: of(),
        },
        Event::Role {
            person: "p".into(),
            mandate: hearthkey_core::role::Mandate::owner(),
        },
    ];
    let key = RootKey::generate().journal(&"home-1".parse().unwrap());
    let mut text = String::new();
    for (seq, event) in (1..).zip(events.clone()) {
        let entry = Entry {
            seq,
            prev: Fingerprint([0; 32]),
            at,
            log: 1,
            event,
        };
        text.push_str(&lines::chained(&key, &entry).unwrap().0);
    }
    let read = lines::read(&key, text.as_bytes());
    assert_eq!((read.foreign_lines, read.newer_lines), (0, 0));
    let back: Vec<Event> = read
        .chain
        .into_iter()
        .map(|line| line.entry.event)
        .collect();
    assert_eq!(back, events);
}
