//! The scanner: what is looked for, and what a scan returns.

use std::collections::BTreeMap;
use std::io::Read;

use serde::Serialize;

use super::gap::{Gap, SAME_GAPS_MAX, Skipped};
use super::leak::{At, Leak, LeakId, Place, What};
use super::marks::Marks;
use super::matcher::Matcher;
use super::path::FilePath;
use super::progress::{Progress, Stage};
use super::rules::Patterns;
use super::sweep::{Sweeper, Swept};

/// The largest file of a tree that is read, in bytes. A larger one is skipped and said so.
pub const FILE_MAX_BYTES: u64 = 8 * 1024 * 1024 * 1024;
/// The most leaks of the vault's own values in one scan. More are counted, not told.
pub const OWN_LEAKS_MAX: usize = 10_000;
/// The most leaks of one rule in one scan. More are counted, not reported; other rules have bounds of their own.
pub const RULE_LEAKS_MAX: usize = 2_500;
/// The most entries of [`Scan::more`]. Beyond them, only the sum is kept.
const MORE_MAX: usize = 10_000;

/// Looks for marked values and known forms. It needs about 10 MiB, whatever it reads.
pub struct Scanner {
    pub(super) sweeper: Sweeper,
}

/// What a scan has found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Scan {
    /// The leaks, in the order in which they were found.
    pub leaks: Vec<Leak>,
    /// How many leaks there are beyond the bounds: [`OWN_LEAKS_MAX`] and [`RULE_LEAKS_MAX`] of a scan, 100 of the same
    /// in one text.
    pub more_leaks: u64,
    /// What they are, and where.
    pub more: Vec<More>,
    /// What was not read.
    pub skipped: Vec<Skipped>,
    /// How many gaps there are beyond those that are named, 100 of each kind.
    pub more_skipped: BTreeMap<Gap, u64>,
    /// What was left out because the caller asked for it.
    pub left_out: Vec<String>,
    /// Files or objects that were read.
    pub texts: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// How many are reported of each rule, and of own values under the empty name.
    #[serde(skip)]
    told: BTreeMap<String, usize>,
    #[serde(skip)]
    gaps: BTreeMap<Gap, u64>,
}

/// Leaks of one kind in one place that are counted and not reported one by one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct More {
    /// The rule; none for the vault's own values.
    pub rule: Option<String>,
    /// The file, or the path under which the object came in.
    pub path: Option<FilePath>,
    /// The object of a history.
    pub object: Option<String>,
    /// How many.
    pub number: u64,
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
    pub(super) fn skip(&mut self, gap: Gap, path: FilePath, why: impl Into<String>) {
        let known = self.gaps.entry(gap).or_default();
        *known += 1;
        if *known > SAME_GAPS_MAX {
            *self.more_skipped.entry(gap).or_default() += 1;
            return;
        }
        self.skipped.push(Skipped {
            path,
            gap,
            why: why.into(),
        });
    }

    /// Says what was left out on purpose.
    pub fn leave_out(&mut self, what: impl Into<String>) {
        self.left_out.push(what.into());
    }

    /// Whether everything that was to be looked at was.
    pub fn is_whole(&self) -> bool {
        let named = self.skipped.iter().map(|one| one.gap);
        !named
            .chain(self.more_skipped.keys().copied())
            .any(Gap::may_hide)
    }

    /// Adds what one text held.
    pub(super) fn add(&mut self, swept: Swept, scope: &[u8], place: impl Fn(At) -> Place) {
        self.texts += 1;
        self.bytes += swept.bytes;
        let start = At {
            line: 1,
            column: 1,
            offset: 0,
        };
        for (rule, number) in swept.more {
            self.count(rule, &place(start), number);
        }
        for find in swept.finds {
            let fingerprint = LeakId::of(&find.what, scope, find.number);
            self.push(Leak {
                place: place(find.at),
                what: find.what,
                fingerprint,
            });
        }
    }

    /// Adds a leak, or counts it if there are enough of its kind.
    fn push(&mut self, leak: Leak) {
        let (rule, most) = match &leak.what {
            What::Own { .. } => (None, OWN_LEAKS_MAX),
            What::Rule { id, .. } => (Some(id.clone()), RULE_LEAKS_MAX),
        };
        let told = self
            .told
            .entry(rule.clone().unwrap_or_default())
            .or_default();
        if *told < most {
            *told += 1;
            self.leaks.push(leak);
        } else {
            self.count(rule, &leak.place, 1);
        }
    }

    fn count(&mut self, rule: Option<String>, place: &Place, number: u64) {
        let object = match place {
            Place::History { object, .. } => Some(object.clone()),
            Place::File { .. } | Place::Staged { .. } => None,
        };
        self.count_more(More {
            rule,
            path: place.path().cloned(),
            object,
            number,
        });
    }

    fn count_more(&mut self, more: More) {
        self.more_leaks += more.number;
        let place = |one: &More| (one.rule.clone(), one.path.clone(), one.object.clone());
        let full = self.more.len() >= MORE_MAX;
        match self.more.last_mut() {
            Some(last) if place(last) == place(&more) => last.number += more.number,
            _ if full => {}
            _ => self.more.push(more),
        }
    }

    /// Takes over another scan.
    pub fn merge(&mut self, other: Self) {
        let told_in_detail: u64 = other.more.iter().map(|more| more.number).sum();
        self.more_leaks += other.more_leaks - told_in_detail;
        other
            .more
            .into_iter()
            .for_each(|more| self.count_more(more));
        other.leaks.into_iter().for_each(|leak| self.push(leak));
        for one in other.skipped {
            self.skip(one.gap, one.path, one.why);
        }
        for (gap, number) in other.more_skipped {
            *self.more_skipped.entry(gap).or_default() += number;
        }
        self.left_out.extend(other.left_out);
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
) -> Swept {
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
