//! What gave and what ended access, written down a second time outside the database.
//!
//! A restored backup or a rolled-back database must not un-revoke, and a restored home must know which certificates were
//! issued since. Each line is one event with an HMAC that covers the line before it ([`lines`]), appended and synced; the
//! revocations among them are replayed at every start, all of them when a home is restored. A thread of its own writes them
//! (`pen`), so that a disk that hangs holds up nothing else, and what has gathered meanwhile is synced at once. A line that a
//! crash or a full disk has cut short was never acknowledged; it is noticed at start and ended before the next one is
//! written, so that no line merges into another.

use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use hearthkey_core::id::{DeviceId, Fingerprint, HomeId};
use hearthkey_core::time::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use crate::files::DataDir;
use crate::keys::{DerivedKey, RootKey};
pub use event::{Event, Issued};
pub use lines::{Break, Chained, Entry, Replay, breaks};
use pen::{Pen, head_of};
pub use revocation::Revocation;
pub use written::{ANEW_FILE, Head, JOURNAL_FILE};
use written::{Lines, Reply, Task, Written, locked};

mod event;
pub(crate) mod lines;
mod pen;
mod revocation;
#[cfg(test)]
mod tests;
pub(crate) mod written;

/// Callers that may wait; beyond it, they wait before.
const QUEUE: usize = 1024;

/// The open journal, and the thread that writes it.
pub struct Journal {
    tasks: mpsc::Sender<Task>,
    dir: Arc<DataDir>,
    written: Arc<Mutex<Written>>,
    head: watch::Receiver<Head>,
    log: Arc<AtomicU64>,
    key: DerivedKey,
}

/// What the writer of the database hands its changes to, once they are durable.
pub(crate) struct Inlet {
    tasks: mpsc::Sender<Task>,
    log: Arc<AtomicU64>,
}

impl Inlet {
    /// Hands over what a change was. `reply` is called when the lines are on the disk, or are not.
    pub(crate) fn put(&self, at: Option<Timestamp>, events: Vec<Event>, reply: Reply) {
        let lines = Lines {
            at,
            events,
            has_happened: true,
            reply,
        };
        if let Err(error) = self.tasks.blocking_send(Task::Write(lines))
            && let Task::Write(lines) = error.0
        {
            (lines.reply)(Err(ended()));
        }
    }

    /// Says how many records the audit log has.
    pub(crate) fn log_is(&self, size: u64) {
        self.log.store(size, Ordering::Relaxed);
    }
}

fn ended() -> io::Error {
    io::Error::other("the journal's writer has ended")
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
        let (tasks, queue) = mpsc::channel(QUEUE);
        let newest = head_of(&replay.chain);
        let log = replay.chain.last().map_or(0, |line| line.entry.log);
        let log = Arc::new(AtomicU64::new(log));
        let (head, watched) = watch::channel(newest);
        let pen = Pen {
            dir: Arc::clone(&dir),
            file,
            key,
            torn: replay.unterminated,
            written: Arc::clone(&written),
            head,
            begins: newest.seq == 0,
            log: Arc::clone(&log),
            owed: Vec::new(),
        };
        std::thread::Builder::new()
            .name("journal-writer".into())
            .spawn(move || pen.run(queue))?;
        let journal = Self {
            tasks,
            dir,
            written,
            head: watched,
            log,
            key: root.journal(home),
        };
        Ok((journal, replay))
    }

    /// What the writer of the database writes it with.
    pub(crate) fn inlet(&self) -> Inlet {
        Inlet {
            tasks: self.tasks.clone(),
            log: Arc::clone(&self.log),
        }
    }

    /// That the journal was begun anew is written down where it stays.
    pub(crate) fn anew_is_noted(&self) -> io::Result<()> {
        self.dir.remove(ANEW_FILE)
    }

    /// Appends a revocation and waits until it is on the disk.
    pub async fn append(&self, revocation: Revocation) -> io::Result<()> {
        let at = revocation.at;
        self.append_all(Some(at), vec![revocation.into()]).await
    }

    /// Appends what is about to happen, as one, and waits until it is on the disk. With nothing to append, what is owed from
    /// before is written.
    pub async fn append_all(&self, at: Option<Timestamp>, events: Vec<Event>) -> io::Result<()> {
        let write = |reply| {
            Task::Write(Lines {
                at,
                events,
                has_happened: false,
                reply,
            })
        };
        self.ask(write).await
    }

    /// Drops the lines up to a number, all but revocations, which are held for good.
    pub async fn drop_to(&self, seq: u64) -> io::Result<()> {
        self.ask(|reply| Task::Drop(seq, reply)).await
    }

    async fn ask(&self, task: impl FnOnce(Reply) -> Task) -> io::Result<()> {
        let (reply, answer) = oneshot::channel();
        let reply: Reply = Box::new(move |done| {
            // Nobody may be waiting any more.
            let _ = reply.send(done);
        });
        self.tasks.send(task(reply)).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }

    /// The newest line, and word of each that follows.
    pub fn head(&self) -> watch::Receiver<Head> {
        self.head.clone()
    }

    /// The newest line.
    pub fn newest(&self) -> Head {
        *self.head.borrow()
    }

    /// What it holds on the disk now.
    pub fn content(&self) -> io::Result<Replay> {
        let content = self.dir.read(JOURNAL_FILE)?.unwrap_or_default();
        Ok(lines::read(&self.key, &content))
    }

    /// These revocations as lines by themselves.
    pub fn loose_lines(&self, revocations: &[Revocation]) -> io::Result<String> {
        let each = revocations.iter();
        let each = each.map(|one| Ok(lines::written(&self.key, one)?));
        each.collect()
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

    /// Whether the log has grown since the newest line said how far it was.
    pub fn log_has_grown(&self) -> bool {
        let said = self.head.borrow();
        said.seq > 0 && self.log.load(Ordering::Relaxed) > said.log
    }

    /// Whether lines wait for a disk that takes none.
    pub fn owes(&self) -> bool {
        locked(&self.written).owes
    }

    /// Whether lines that no backup covers were given up, since the home opened.
    pub fn has_lost(&self) -> bool {
        locked(&self.written).lost
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
