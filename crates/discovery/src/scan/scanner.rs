//! The scanner: what is looked for, and what a scan returns.

use std::io::{self, Read};

use serde::Serialize;

use super::leak::{At, Leak, LeakId, Place, What};
use super::marks::Marks;
use super::matcher::Matcher;
use super::path::FilePath;
use super::progress::{Progress, Stage};
use super::rules::Patterns;
use super::sweep::{Sweeper, Swept};

/// The largest file of a tree that is read, in bytes. A larger one is skipped and said so.
pub const FILE_MAX_BYTES: u64 = 8 * 1024 * 1024 * 1024;
/// The most leaks of one scan. More are counted, not told.
pub const LEAKS_MAX: usize = 10_000;

/// Looks for marked values and known forms. It needs about 10 MiB, whatever it reads.
pub struct Scanner {
    pub(super) sweeper: Sweeper,
}

/// What a scan has found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Scan {
    /// The leaks, in the order in which they were found.
    pub leaks: Vec<Leak>,
    /// Leaks beyond the bounds: [`LEAKS_MAX`] of a scan, 100 of the same in one file.
    pub more_leaks: u64,
    /// What was not read.
    pub skipped: Vec<Skipped>,
    /// Files or objects that were read.
    pub texts: u64,
    /// Bytes that were read.
    pub bytes: u64,
}

/// Something that was not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// What.
    pub path: FilePath,
    /// Why, and what to do.
    pub why: String,
}

impl Scanner {
    /// A scanner for these marks. `rules`: whether known forms are looked for, too.
    pub fn new(marks: Marks, rules: bool) -> Self {
        let patterns = rules.then(Patterns::new);
        Self {
            sweeper: Sweeper::new(Matcher::new(marks), patterns),
        }
    }
}

impl Scan {
    pub(super) fn skip(&mut self, path: FilePath, why: impl Into<String>) {
        self.skipped.push(Skipped {
            path,
            why: why.into(),
        });
    }

    /// Adds what one text held.
    pub(super) fn add(&mut self, swept: Swept, scope: &[u8], place: impl Fn(At) -> Place) {
        self.texts += 1;
        self.bytes += swept.bytes;
        self.more_leaks += swept.more;
        for find in swept.finds {
            if self.leaks.len() >= LEAKS_MAX {
                self.more_leaks += 1;
                continue;
            }
            let fingerprint = LeakId::of(&find.what, scope, find.number);
            self.leaks.push(Leak {
                what: find.what,
                place: place(find.at),
                fingerprint,
            });
        }
    }

    /// Takes over another scan.
    pub fn merge(&mut self, other: Self) {
        let room = LEAKS_MAX.saturating_sub(self.leaks.len());
        self.more_leaks += other.more_leaks + other.leaks.len().saturating_sub(room) as u64;
        self.leaks.extend(other.leaks.into_iter().take(room));
        self.skipped.extend(other.skipped);
        self.texts += other.texts;
        self.bytes += other.bytes;
    }

    /// How many leaks are of the vault's own values.
    pub fn own(&self) -> usize {
        self.leaks
            .iter()
            .filter(|leak| matches!(leak.what, What::Own { .. }))
            .count()
    }
}

/// Reads one text for a scan, and tells how far it is.
pub(super) fn sweep(
    sweeper: &mut Sweeper,
    text: &mut dyn Read,
    scan: &Scan,
    stage: (Stage, Option<u64>, Option<&FilePath>),
    told: &mut dyn FnMut(Progress<'_>),
) -> io::Result<Swept> {
    let (stage, total, now) = stage;
    sweeper.sweep(text, &mut |bytes| {
        told(Progress {
            stage,
            done: scan.texts,
            total,
            bytes: scan.bytes + bytes,
            now,
        });
    })
}
