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
//! ```
//!
//! An entry applies where everything that it names agrees. The vault's own values can be ignored by their exact
//! fingerprint only: a path or a rule never hides one.

use globset::{Candidate, GlobBuilder, GlobMatcher};
use hearthkey_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::leak::{Leak, LeakId, What};
use super::rules::RULES;
use super::scanner::Scan;

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
    reason: Option<String>,
    until: Option<toml::value::Datetime>,
}

#[derive(Debug)]
struct Entry {
    path: Option<GlobMatcher>,
    rule: Option<String>,
    finding: Option<LeakId>,
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
    /// It hides this many leaks.
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

/// A scan, judged by an ignore file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The scan, with the leaks that are not ignored.
    pub scan: Scan,
    /// The leaks that are.
    pub suppressed: Vec<Suppressed>,
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
        let leaks = std::mem::take(&mut scan.leaks);
        for leak in leaks {
            let at = self
                .0
                .iter()
                .zip(&expired)
                .position(|(entry, expired)| !expired && entry.hides(&leak));
            match at {
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
        }
    }
}

impl Entry {
    fn is_expired(&self, today: &str) -> bool {
        self.until
            .as_deref()
            .is_some_and(|until| today.get(..until.len()).is_none_or(|today| until < today))
    }

    fn hides(&self, leak: &Leak) -> bool {
        let rule_agrees = match (&leak.what, &self.rule) {
            (What::Own { .. }, _) if self.finding.is_none() => return false,
            (_, None) => true,
            (What::Rule { id, .. }, Some(rule)) => id == rule,
            (What::Own { .. }, Some(_)) => false,
        };
        let path_agrees = self.path.as_ref().is_none_or(|glob| {
            leak.place.path().is_some_and(|path| {
                glob.is_match_candidate(&Candidate::from_bytes(path.as_bytes()))
            })
        });
        rule_agrees
            && path_agrees
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
        reason,
        until,
    } = written;
    let reason = reason.filter(|reason| !reason.trim().is_empty());
    let reason = reason.ok_or("it gives no reason: say why this leak is accepted")?;
    if path.is_none() && rule.is_none() && finding.is_none() {
        return Err("it names nothing: give a path, a rule or a finding");
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
        reason,
        until,
    })
}
