//! The thread that writes the journal: what has gathered meanwhile is written and synced at once.

use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use hearthkey_core::time::Timestamp;
use tokio::sync::{mpsc, watch};

use crate::files::DataDir;
use crate::journal::event::Event;
use crate::journal::lines::{self, Entry};
use crate::journal::revocation::Revocation;
use crate::journal::written::{ANEW_FILE, Head, JOURNAL_FILE, Lines, Task, Written, locked};
use crate::keys::DerivedKey;

/// Callers whose lines share one sync at most.
const GROUP: usize = 256;
/// Lines of what has happened that wait while the disk takes none. Beyond it they are given up, which is a finding.
const OWED_MAX: usize = 4096;
/// How long the journal gets, in bytes. Then the older half of what is not held for good is dropped: it grows so long only
/// where no backup is made.
const JOURNAL_MAX_BYTES: u64 = 64 * 1024 * 1024;

/// What the thread writes with.
pub(super) struct Pen {
    pub(super) dir: Arc<DataDir>,
    pub(super) file: Arc<File>,
    pub(super) key: DerivedKey,
    /// Whether the last line may lack its end: it must not merge with the next one.
    pub(super) torn: bool,
    pub(super) written: Arc<Mutex<Written>>,
    pub(super) head: watch::Sender<Head>,
    /// Whether the next line of the chain begins a run.
    pub(super) begins: bool,
    /// How many records the audit log has.
    pub(super) log: Arc<AtomicU64>,
    /// What has happened and is not written yet.
    pub(super) owed: Vec<(Option<Timestamp>, Event)>,
}

impl Pen {
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Task>) {
        let mut group = Vec::with_capacity(GROUP);
        while queue.blocking_recv_many(&mut group, GROUP) > 0 {
            let mut lines = Vec::with_capacity(group.len());
            for task in group.drain(..) {
                match task {
                    Task::Write(one) => lines.push(one),
                    Task::Drop(to, reply) => {
                        self.write_all(std::mem::take(&mut lines));
                        reply(self.drop_to(to));
                    }
                }
            }
            self.write_all(lines);
        }
    }

    pub(super) fn write_all(&mut self, group: Vec<Lines>) {
        if group.is_empty() {
            return;
        }
        let written = self.write(&group);
        match &written {
            Ok(()) => self.keep_short(),
            Err(error) => {
                tracing::error!(%error, "the journal could not be written");
                self.owe(&group);
            }
        }
        for one in group {
            let answer = match &written {
                Ok(()) => {
                    let mut written = locked(&self.written);
                    for event in &one.events {
                        event.revocation().iter().for_each(|its| written.add(its));
                    }
                    Ok(())
                }
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            };
            (one.reply)(answer);
        }
    }

    /// Keeps what has happened for the next time that the disk takes something.
    fn owe(&mut self, group: &[Lines]) {
        for one in group.iter().filter(|one| one.has_happened) {
            let each = one.events.iter().map(|event| (one.at, event.clone()));
            self.owed.extend(each);
        }
        let mut written = locked(&self.written);
        if self.owed.len() > OWED_MAX {
            self.owed.truncate(OWED_MAX);
            written.lost = true;
        }
        written.owes = !self.owed.is_empty();
    }

    pub(super) fn write(&mut self, group: &[Lines]) -> io::Result<()> {
        self.find_again()?;
        let mut text = String::new();
        if self.torn {
            text.push('\n');
        }
        let (mut head, mut begins) = (*self.head.borrow(), self.begins);
        let owed = self.owed.iter().map(|(at, event)| (*at, event));
        let each = group
            .iter()
            .flat_map(|one| one.events.iter().map(|event| (one.at, event)));
        for (at, event) in owed.chain(each) {
            let at = at.unwrap_or(head.at);
            if begins {
                let ms = u64::try_from(at.as_ms()).unwrap_or_default();
                let seq = ms.max(head.seq + 1);
                text.push_str(&self.line(&mut head, seq, at, Event::Begun {})?);
                begins = false;
            }
            let seq = head.seq + 1;
            text.push_str(&self.line(&mut head, seq, at, event.clone())?);
        }
        if text.trim_end().is_empty() {
            return Ok(());
        }
        self.put(&text)?;
        self.head.send_replace(head);
        self.begins = begins;
        self.owed.clear();
        locked(&self.written).owes = false;
        Ok(())
    }

    fn put(&mut self, text: &str) -> io::Result<()> {
        // A full disk may take a part of it.
        self.torn = true;
        let before = locked(&self.written).size;
        let mut file = self.file.as_ref();
        let put = file
            .write_all(text.as_bytes())
            .and_then(|()| file.sync_data());
        if let Err(error) = put {
            // What was taken of it may be whole lines, whose numbers others get now: they belong to another run.
            if self.file.set_len(before).is_err() {
                self.begins = true;
            }
            return Err(error);
        }
        self.torn = false;
        let size = self.file.metadata()?.len();
        locked(&self.written).size = size;
        Ok(())
    }

    fn line(
        &self,
        head: &mut Head,
        seq: u64,
        at: Timestamp,
        event: Event,
    ) -> serde_json::Result<String> {
        let entry = Entry {
            seq,
            prev: head.tag,
            at,
            log: self.log.load(Ordering::Relaxed),
            event,
        };
        let (text, tag) = lines::chained(&self.key, &entry)?;
        let log = entry.log;
        *head = Head { seq, tag, at, log };
        Ok(text)
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
        self.begins = true;
        *locked(&self.written) = Written::of(Arc::clone(&self.file), size, &[]);
        self.dir.sync()
    }

    /// Drops the older half of a journal that has become too long.
    fn keep_short(&mut self) {
        if locked(&self.written).size <= JOURNAL_MAX_BYTES {
            return;
        }
        let halved = self.middle().and_then(|to| self.drop_to(to));
        match halved {
            Ok(()) => {
                tracing::error!(
                    "the journal has become too long, and its older half was dropped: no backup covers that. Set a place for backups"
                );
                locked(&self.written).lost = true;
            }
            Err(error) => tracing::error!(%error, "the journal could not be shortened"),
        }
    }

    fn middle(&self) -> io::Result<u64> {
        let content = self.dir.read(JOURNAL_FILE)?.unwrap_or_default();
        let chain = lines::read(&self.key, &content).chain;
        let middle = chain.get(chain.len() / 2);
        Ok(middle.map_or(0, |line| line.entry.seq))
    }

    /// Writes the journal anew without the lines up to a number, all but revocations and the newest line: the chain goes on
    /// from that. With lines in it that are not this home's, it is left as it is.
    fn drop_to(&mut self, to: u64) -> io::Result<()> {
        self.find_again()?;
        let content = self.dir.read(JOURNAL_FILE)?.unwrap_or_default();
        let read = lines::read(&self.key, &content);
        if read.foreign_lines > 0 || read.newer_lines > 0 || self.torn {
            return Err(io::Error::other(
                "lines of it are not this home's, or not whole",
            ));
        }
        let newest = self.head.borrow().seq;
        let is_dropped = |seq: u64| seq <= to && seq != newest;
        if !read.chain.iter().any(|line| is_dropped(line.entry.seq)) {
            return Ok(());
        }
        let mut held: Vec<Revocation> = Vec::new();
        let dropped = read.chain.iter().filter(|line| is_dropped(line.entry.seq));
        let dropped = dropped.filter_map(|line| line.entry.event.revocation());
        for revocation in read.loose.into_iter().chain(dropped) {
            if !held.contains(&revocation) {
                held.push(revocation);
            }
        }
        let mut text = String::new();
        for revocation in &held {
            text.push_str(&lines::written(&self.key, revocation)?);
        }
        for line in &read.chain {
            if !is_dropped(line.entry.seq) {
                text.push_str(&line.text);
                text.push('\n');
            }
        }
        self.dir.replace(JOURNAL_FILE, text.as_bytes())?;
        self.file = Arc::new(self.dir.append(JOURNAL_FILE)?);
        let mut written = locked(&self.written);
        (written.file, written.size) = (Arc::clone(&self.file), text.len() as u64);
        Ok(())
    }
}

/// The newest line of a chain; none is known after a journal that has none.
pub(super) fn head_of(chain: &[lines::Chained]) -> Head {
    let newest = chain.last();
    newest.map_or(Head::none(), |line| Head {
        seq: line.entry.seq,
        tag: line.tag,
        at: line.entry.at,
        log: line.entry.log,
    })
}
