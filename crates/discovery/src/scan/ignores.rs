//! The ignore file: leaks that somebody has looked at and accepts, each with a reason.
//!
//! ```toml
//! [[ignore]]
//! path = "docs/**"               # a glob on the path below what is scanned; ** crosses directories
//! rule = "config-password"       # a rule's id
//! reason = "examples in the manual"
//! until = 2027-01-31             # optional: in force to the end of this day, UTC
//!
//! [[ignore]]
//! finding = "0123456789abcdef0123456789abcdef"
//! reason = "rotated; the old commit stays"
//!
//! [[ignore]]
//! gap = "archive"                # what was not looked at: a kind of gap
//! path = "backups/**"
//! reason = "scanned before they were packed"
//! ```
//!
//! An entry applies where everything that it names agrees. The vault's own values can be ignored by their exact
//! fingerprint only: a path or a rule never hides one.

use globset::{Candidate, GlobBuilder, GlobMatcher};
use hearthkey_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::gap::{Gap, Skipped};
use super::leak::{Leak, LeakId, What};
use super::path::FilePath;
use super::rules::RULES;
use super::scanner::{More, Scan};

/// The name of the ignore file, at the top of what is scanned.
pub const IGNORE_FILE: &str = ".hearthkeyignore.toml";
const FILE_MAX_BYTES: usize = 256 * 1024;
const ENTRIES_MAX: usize = 1000;

/// Why an ignore file is refused, as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IgnoreError {
    /// It is too large.
    #[error(
        "{IGNORE_FILE} has more than {FILE_MAX_BYTES} bytes or {ENTRIES_MAX} entries: ignore with globs instead"
    )]
    TooLarge,
    /// It is not TOML of the right form.
    #[error("{IGNORE_FILE} cannot be read: {0}")]
    Malformed(String),
    /// An entry is not right.
    #[error("{IGNORE_FILE}, entry {entry}: {what}")]
    Entry {
        /// Which, counted from 1.
        entry: usize,
        /// What is wrong, and what to do.
        what: &'static str,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    ignore: Vec<Written>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    path: Option<String>,
    rule: Option<String>,
    finding: Option<String>,
    gap: Option<Gap>,
    reason: Option<String>,
    until: Option<toml::value::Datetime>,
}

#[derive(Debug)]
struct Entry {
    path: Option<GlobMatcher>,
    rule: Option<String>,
    finding: Option<LeakId>,
    gap: Option<Gap>,
    reason: String,
    /// A day, as RFC 3339 writes it.
    until: Option<String>,
}

/// An ignore file.
#[derive(Debug, Default)]
pub struct Ignores(Vec<Entry>);

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IgnoreState {
    /// It hides this many leaks or gaps.
    Used(usize),
    /// It hides nothing: it can go.
    Unused,
    /// Its day has passed: it hides nothing any more.
    Expired,
}

/// An entry, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IgnoreUse {
    /// Which, counted from 1.
    pub entry: usize,
    /// Its reason.
    pub reason: String,
    /// What became of it.
    pub state: IgnoreState,
}

/// A leak that is ignored, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Suppressed {
    /// The leak.
    pub leak: Leak,
    /// The entry's reason.
    pub reason: String,
}

/// A gap that is accepted, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Accepted {
    /// What was not looked at.
    pub skipped: Skipped,
    /// The entry's reason.
    pub reason: String,
}

/// A scan, judged by an ignore file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The scan, with the leaks that are not ignored.
    pub scan: Scan,
    /// The leaks that are.
    pub suppressed: Vec<Suppressed>,
    /// How many of the leaks beyond the bounds are ignored. They are not in the scan's number any more.
    pub suppressed_more: u64,
    /// The gaps that are accepted.
    pub accepted: Vec<Accepted>,
    /// What became of each entry.
    pub ignores: Vec<IgnoreUse>,
}

impl Ignores {
    /// Reads an ignore file. One bad entry refuses the whole file.
    pub fn from_toml(text: &str) -> Result<Self, IgnoreError> {
        if text.len() > FILE_MAX_BYTES {
            return Err(IgnoreError::TooLarge);
        }
        let file: File = toml::from_str(text)
            .map_err(|error| IgnoreError::Malformed(error.message().to_owned()))?;
        if file.ignore.len() > ENTRIES_MAX {
            return Err(IgnoreError::TooLarge);
        }
        let entries = file.ignore.into_iter().enumerate();
        let entries: Result<Vec<Entry>, IgnoreError> = entries
            .map(|(at, entry)| {
                check(entry).map_err(|what| IgnoreError::Entry {
                    entry: at + 1,
                    what,
                })
            })
            .collect();
        entries.map(Self)
    }

    /// Judges a scan as of today.
    pub fn judge(&self, mut scan: Scan, today: Timestamp) -> Report {
        let today = today.to_string();
        let expired: Vec<bool> = self
            .0
            .iter()
            .map(|entry| entry.is_expired(&today))
            .collect();
        let mut used = vec![0; self.0.len()];
        let mut suppressed = Vec::new();
        let first = |hides: &dyn Fn(&Entry) -> bool| {
            let mut entries = self.0.iter().zip(&expired);
            entries.position(|(entry, expired)| !expired && hides(entry))
        };
        for leak in std::mem::take(&mut scan.leaks) {
            match first(&|entry| entry.hides(&leak)) {
                Some(at) => {
                    used[at] += 1;
                    suppressed.push(Suppressed {
                        leak,
                        reason: self.0[at].reason.clone(),
                    });
                }
                None => scan.leaks.push(leak),
            }
        }
        let mut suppressed_more = 0;
        scan.more.retain(|more| {
            let hidden = first(&|entry| entry.hides_more(more));
            if let Some(at) = hidden {
                used[at] += 1;
                suppressed_more += more.number;
            }
            hidden.is_none()
        });
        scan.more_leaks -= suppressed_more;
        let mut accepted = Vec::new();
        for skipped in std::mem::take(&mut scan.skipped) {
            match first(&|entry| entry.accepts(skipped.gap, Some(&skipped.path))) {
                Some(at) => {
                    used[at] += 1;
                    accepted.push(Accepted {
                        skipped,
                        reason: self.0[at].reason.clone(),
                    });
                }
                None => scan.skipped.push(skipped),
            }
        }
        scan.more_skipped
            .retain(|gap, _| first(&|entry| entry.accepts(*gap, None)).is_none());
        let state = |at: usize| match (expired[at], used[at]) {
            (true, _) => IgnoreState::Expired,
            (false, 0) => IgnoreState::Unused,
            (false, used) => IgnoreState::Used(used),
        };
        let each = self.0.iter().enumerate();
        let ignores = each.map(|(at, entry)| IgnoreUse {
            entry: at + 1,
            reason: entry.reason.clone(),
            state: state(at),
        });
        Report {
            ignores: ignores.collect(),
            scan,
            suppressed,
            suppressed_more,
            accepted,
        }
    }
}

impl Entry {
    fn is_expired(&self, today: &str) -> bool {
        self.until
            .as_deref()
            .is_some_and(|until| today.get(..until.len()).is_none_or(|today| until < today))
    }

    fn path_agrees(&self, path: Option<&FilePath>) -> bool {
        self.path.as_ref().is_none_or(|glob| {
            path.is_some_and(|path| {
                glob.is_match_candidate(&Candidate::from_bytes(path.as_bytes()))
            })
        })
    }

    /// Whether it hides leaks that are counted only. The vault's own are never hidden so.
    fn hides_more(&self, more: &More) -> bool {
        more.rule.is_some()
            && self.gap.is_none()
            && self.finding.is_none()
            && (self.rule.is_none() || self.rule == more.rule)
            && self.path_agrees(more.path.as_ref())
    }

    /// Whether it accepts a gap. Only an entry that names the kind does.
    fn accepts(&self, gap: Gap, path: Option<&FilePath>) -> bool {
        self.gap == Some(gap) && self.path_agrees(path)
    }

    fn hides(&self, leak: &Leak) -> bool {
        let rule_agrees = match (&leak.what, &self.rule) {
            (What::Own { .. }, _) if self.finding.is_none() => return false,
            (_, None) => true,
            (What::Rule { id, .. }, Some(rule)) => id == rule,
            (What::Own { .. }, Some(_)) => false,
        };
        self.gap.is_none()
            && rule_agrees
            && self.path_agrees(leak.place.path())
            && self
                .finding
                .is_none_or(|finding| finding == leak.fingerprint)
    }
}

fn check(written: Written) -> Result<Entry, &'static str> {
    let Written {
        path,
        rule,
        finding,
        gap,
        reason,
        until,
    } = written;
    let reason = reason.filter(|reason| !reason.trim().is_empty());
    let reason = reason.ok_or("it gives no reason: say why this leak is accepted")?;
    if path.is_none() && rule.is_none() && finding.is_none() && gap.is_none() {
        return Err("it names nothing: give a path, a rule, a finding or a gap");
    }
    if gap.is_some() && (rule.is_some() || finding.is_some()) {
        return Err("a gap has no rule and no finding: make two entries");
    }
    let path = path.map(|glob| {
        GlobBuilder::new(&glob)
            .literal_separator(true)
            .build()
            .map(|glob| glob.compile_matcher())
    });
    let path = path
        .transpose()
        .map_err(|_| "its path is no glob: write one like docs/**")?;
    if rule
        .as_ref()
        .is_some_and(|rule| RULES.iter().all(|known| known.id != *rule))
    {
        return Err("its rule is not known: take the id from the report");
    }
    let finding = finding.map(|text| text.parse::<LeakId>()).transpose();
    let finding = finding
        .map_err(|()| "its finding is not 32 hexadecimal digits: take it from the report")?;
    let until = match until {
        None => None,
        Some(toml::value::Datetime {
            date: Some(date),
            time: None,
            offset: None,
        }) => Some(date.to_string()),
        Some(_) => return Err("its until is no day: write one like 2027-01-31, without quotes"),
    };
    Ok(Entry {
        path,
        rule,
        finding,
        gap,
        reason,
        until,
    })
}
