//! The journal of a lost machine comes to that of its backup.

use std::collections::HashSet;

use hearthkey_core::id::{Fingerprint, HomeId};
use hearthkey_core::time::Timestamp;

use super::error::BackupError;
use crate::files::DataDir;
use crate::journal::{Chained, Entry, Event, JOURNAL_FILE, Replay, lines};
use crate::keys::{DerivedKey, RootKey};

/// What a journal beside the backup added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalGiven {
    /// Revocations that the backup did not have.
    pub added: usize,
    /// Lines that this home has not written.
    pub foreign_lines: usize,
    /// Whether it has every revocation and the newest line that the backup has: then it is at least as new.
    pub covers: bool,
    /// Its newest line, if it has one.
    pub newest: Option<Timestamp>,
}

/// Adds to the journal of an unpacked home what another copy of it holds.
pub fn add_journal(
    dir: &DataDir,
    root: &RootKey,
    home: &HomeId,
    given: &[u8],
) -> Result<JournalGiven, BackupError> {
    let key = root.journal(home);
    let ours = read(dir, &key)?;
    let theirs = lines::read(&key, given);
    if theirs.newer_lines > 0 {
        return Err(BackupError::NewerJournal(theirs.newer_lines));
    }
    let has_none = theirs.revocations.is_empty() && theirs.chain.is_empty();
    if has_none && theirs.foreign_lines > 0 {
        return Err(BackupError::ForeignJournal);
    }
    let tags: HashSet<Fingerprint> = theirs.chain.iter().map(|line| line.tag).collect();
    let newest_of_ours = ours.chain.last().map(|line| line.tag);
    let covers = newest_of_ours.is_none_or(|tag| tags.contains(&tag))
        && ours
            .revocations
            .iter()
            .all(|one| theirs.revocations.contains(one));
    let added = theirs.revocations.iter();
    let added = added.filter(|one| !ours.revocations.contains(one)).count();
    let at = theirs.chain.iter().map(|line| line.entry.at);
    let newest = at.chain(theirs.revocations.iter().map(|one| one.at)).max();
    let given = JournalGiven {
        added,
        foreign_lines: theirs.foreign_lines,
        covers,
        newest,
    };
    write(dir, &key, &joined(ours, theirs))?;
    Ok(given)
}

/// Begins a run of lines in the journal of an unpacked home: what it writes from now on has no number that the lost machine
/// may have used.
pub fn begin_run(
    dir: &DataDir,
    root: &RootKey,
    home: &HomeId,
    now: Timestamp,
) -> Result<(), BackupError> {
    let key = root.journal(home);
    let mut journal = read(dir, &key)?;
    let newest = journal.chain.last();
    let ms = u64::try_from(now.as_ms()).unwrap_or_default();
    let entry = Entry {
        seq: newest.map_or(ms, |line| ms.max(line.entry.seq + 1)).max(1),
        prev: newest.map_or(Fingerprint([0; 32]), |line| line.tag),
        at: now,
        log: newest.map_or(0, |line| line.entry.log),
        event: Event::Begun {},
    };
    let (text, tag) =
        lines::chained(&key, &entry).map_err(|error| BackupError::Home(error.into()))?;
    let text = text.trim_end().to_owned();
    journal.chain.push(Chained { entry, tag, text });
    write(dir, &key, &journal)
}

fn read(dir: &DataDir, key: &DerivedKey) -> Result<Replay, BackupError> {
    let kept = dir.read(JOURNAL_FILE).map_err(BackupError::Home)?;
    Ok(lines::read(key, &kept.unwrap_or_default()))
}

/// Both, each line once, in the order of their numbers.
fn joined(ours: Replay, theirs: Replay) -> Replay {
    let mut both = ours;
    for revocation in theirs.loose {
        if !both.loose.contains(&revocation) {
            both.loose.push(revocation);
        }
    }
    let known: HashSet<Fingerprint> = both.chain.iter().map(|line| line.tag).collect();
    let mut taken = HashSet::new();
    let theirs = theirs.chain.into_iter();
    both.chain
        .extend(theirs.filter(|line| !known.contains(&line.tag) && taken.insert(line.tag)));
    both.chain.sort_by_key(|line| line.entry.seq);
    both
}

fn write(dir: &DataDir, key: &DerivedKey, journal: &Replay) -> Result<(), BackupError> {
    let mut text = String::new();
    for revocation in &journal.loose {
        let line = lines::written(key, revocation);
        text.push_str(&line.map_err(|error| BackupError::Home(error.into()))?);
    }
    for line in &journal.chain {
        text.push_str(&line.text);
        text.push('\n');
    }
    dir.replace(JOURNAL_FILE, text.as_bytes())
        .map_err(BackupError::Home)
}
