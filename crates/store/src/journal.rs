//! Revocations, written down a second time outside the database.
//!
//! A restored backup or a rolled-back database must not un-revoke. Each line is one revocation with an HMAC, appended and
//! synced; all are replayed at start. A thread of its own writes them, so that a disk that hangs holds up nothing else, and
//! what has gathered meanwhile is synced at once. A line that a crash or a full disk has cut short was never acknowledged;
//! it is noticed at start (`lines::read`) and ended before the next one is written, so that no line merges into another.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use hearthkey_core::id::{DeviceId, Fingerprint, HomeId};
use tokio::sync::{mpsc, oneshot};

use crate::files::DataDir;
use crate::keys::{DerivedKey, RootKey};
pub use lines::{Replay, Revocation};

pub(crate) mod lines;

/// The journal's name in the data directory.
pub const JOURNAL_FILE: &str = "revocations.journal";
/// It is there from when the journal was begun anew until that is in the database.
pub const ANEW_FILE: &str = "revocations.journal.anew";
/// Lines that may wait; beyond it, callers wait.
const QUEUE: usize = 1024;
/// Lines that share one sync at most.
const GROUP: usize = 256;

/// The open journal, and the thread that writes it.
pub struct Journal {
    lines: mpsc::Sender<Line>,
    dir: Arc<DataDir>,
    written: Arc<Mutex<Written>>,
}

/// What the journal holds by now. The lock is never held while the disk is waited for.
struct Written {
    file: Arc<File>,
    /// How long it was at least, in bytes.
    size: u64,
    devices: HashSet<DeviceId>,
    certificates: HashSet<Fingerprint>,
}

impl Written {
    fn of(file: Arc<File>, size: u64, revocations: &[Revocation]) -> Self {
        let mut written = Self {
            file,
            size,
            devices: HashSet::new(),
            certificates: HashSet::new(),
        };
        for revocation in revocations {
            written.add(revocation);
        }
        written
    }

    fn add(&mut self, revocation: &Revocation) {
        self.devices.insert(revocation.device.clone());
        self.certificates.extend(&revocation.certificates);
    }
}

struct Line {
    revocation: Revocation,
    reply: oneshot::Sender<io::Result<()>>,
}

fn locked(written: &Mutex<Written>) -> std::sync::MutexGuard<'_, Written> {
    written.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Journal {
    /// How many lines of a newer program it holds; nothing is changed.
    pub(crate) fn newer_lines(dir: &DataDir, root: &RootKey, home: &HomeId) -> io::Result<usize> {
        let content = dir.read(JOURNAL_FILE)?.unwrap_or_default();
        Ok(lines::read(&root.journal(home), &content).newer_lines)
    }

    /// Opens the journal of a data directory, reads what it holds, and starts its thread. Lines that are not ours are
    /// counted, not believed.
    pub fn open(data_dir: &Path, root: &RootKey, home: &HomeId) -> io::Result<(Self, Replay)> {
        let key = root.journal(home);
        let dir = Arc::new(DataDir::open(data_dir)?);
        let is_new = !dir.has(JOURNAL_FILE)?;
        if is_new {
            dir.begin_anew(ANEW_FILE);
        }
        let missing = is_new || dir.has(ANEW_FILE)?;
        let mut file = dir.append(JOURNAL_FILE)?;
        if missing {
            dir.sync()?;
        }
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        let replay = Replay {
            missing,
            ..lines::read(&key, &content)
        };
        let file = Arc::new(file);
        let written = Arc::new(Mutex::new(Written::of(
            Arc::clone(&file),
            content.len() as u64,
            &replay.revocations,
        )));
        let (lines, queue) = mpsc::channel(QUEUE);
        let pen = Pen {
            dir: Arc::clone(&dir),
            file,
            key,
            torn: replay.unterminated,
            written: Arc::clone(&written),
        };
        std::thread::Builder::new()
            .name("journal-writer".into())
            .spawn(move || pen.run(queue))?;
        let journal = Self {
            lines,
            dir,
            written,
        };
        Ok((journal, replay))
    }

    /// That the journal was begun anew is written down where it stays.
    pub(crate) fn anew_is_noted(&self) -> io::Result<()> {
        self.dir.remove(ANEW_FILE)
    }

    /// Appends a revocation and waits until it is on the disk.
    pub async fn append(&self, revocation: Revocation) -> io::Result<()> {
        let ended = || io::Error::other("the journal's writer has ended");
        let (reply, answer) = oneshot::channel();
        let line = Line { revocation, reply };
        self.lines.send(line).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }

    /// Whether the file is where it was opened, and no shorter.
    pub fn is_there(&self) -> bool {
        let (file, size) = {
            let written = locked(&self.written);
            (Arc::clone(&written.file), written.size)
        };
        let still = self.dir.is_still(JOURNAL_FILE, &file);
        let whole = file.metadata().map(|now| now.len() >= size);
        still.unwrap_or_default() && whole.unwrap_or_default()
    }

    /// Whether the journal holds a revocation of a device.
    pub fn holds(&self, device: &DeviceId) -> bool {
        locked(&self.written).devices.contains(device)
    }

    /// Whether the journal holds a certificate as revoked.
    pub fn holds_certificate(&self, certificate: &Fingerprint) -> bool {
        locked(&self.written).certificates.contains(certificate)
    }
}

/// What the thread writes with.
struct Pen {
    dir: Arc<DataDir>,
    file: Arc<File>,
    key: DerivedKey,
    /// Whether the last line may lack its end: it must not merge with the next one.
    torn: bool,
    written: Arc<Mutex<Written>>,
}

impl Pen {
    fn run(mut self, mut queue: mpsc::Receiver<Line>) {
        let mut group = Vec::with_capacity(GROUP);
        while queue.blocking_recv_many(&mut group, GROUP) > 0 {
            let written = self.write(&group);
            if let Err(error) = &written {
                tracing::error!(%error, "the revocation journal could not be written");
            }
            for line in group.drain(..) {
                let answer = match &written {
                    Ok(()) => {
                        locked(&self.written).add(&line.revocation);
                        Ok(())
                    }
                    Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
                };
                // Nobody may be waiting any more.
                let _ = line.reply.send(answer);
            }
        }
    }

    fn write(&mut self, group: &[Line]) -> io::Result<()> {
        self.find_again()?;
        let mut text = String::new();
        if self.torn {
            text.push('\n');
        }
        for line in group {
            text.push_str(&lines::written(&self.key, &line.revocation)?);
        }
        // A full disk may take a part of it.
        self.torn = true;
        let mut file = self.file.as_ref();
        file.write_all(text.as_bytes())?;
        self.torn = false;
        let size = file.metadata()?.len();
        locked(&self.written).size = size;
        file.sync_data()
    }

    /// A file that was taken away, or replaced, is made anew: a line in a file that has no name would be lost. Of one that
    /// was shortened its content is uncertain.
    fn find_again(&mut self) -> io::Result<()> {
        let known = locked(&self.written).size;
        let is_named = self.dir.is_still(JOURNAL_FILE, &self.file)?;
        let size = self.file.metadata()?.len();
        if is_named && size >= known {
            // What somebody else has added may lack its end.
            self.torn |= size > known;
            return Ok(());
        }
        tracing::error!("the revocation journal was removed or shortened; a new one is started");
        self.dir.begin_anew(ANEW_FILE);
        if !is_named {
            // Nothing is added to what is a file of somebody's under another name.
            self.dir.has_no_other_name(JOURNAL_FILE)?;
            self.file = Arc::new(self.dir.append(JOURNAL_FILE)?);
        }
        let size = self.file.metadata()?.len();
        // It may be somebody else's file, without an end.
        self.torn = size > 0;
        *locked(&self.written) = Written::of(Arc::clone(&self.file), size, &[]);
        self.dir.sync()
    }
}

#[cfg(test)]
mod tests {
    use hearthkey_core::certificate::RevocationReason;
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
        let mut pen = Pen {
            dir: Arc::clone(&journal.dir),
            // A file that cannot be written simulates a full disk.
            file: Arc::new(File::open(fixture.path()).unwrap()),
            key: fixture.root.journal(&"home-1".parse().unwrap()),
            torn: false,
            written: Arc::clone(&journal.written),
        };
        let line = || Line {
            revocation: revocation("door"),
            reply: oneshot::channel().0,
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
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[1], br#"{"device":"x"#);
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
}
