//! Looks for leaked secrets in trees, git histories and what is staged for a commit.
//!
//! Two things are looked for. **Own values**: what the vault holds, by [`Marks`] that the gateway makes for one scan.
//! Each is found as it is and in [`Encoding`]s, up to two within one another, at any offset; a match is confirmed by
//! an HMAC over the whole value, so that none is reported that is not there. **Known forms**: tokens and keys that
//! their makers gave a recognizable shape, by the [`RULES`] of this crate.
//!
//! What was not looked at is a [`Gap`]: a scan without leaks is clean only if it [is whole](Scan::is_whole). Not looked
//! into, and no gap: file names, the insides of `.git` other than objects, values that are cut into pieces.
//!
//! ```text
//! gateway   Marks::new(MarkKey::from_random(…), how_many) → mark(&mut marks, label, value) … → marks.to_text()
//! scanner   Scanner::new(Marks::from_text(…)?, …) → everything | tree | history | staged → Scan → Ignores::judge → Report → sarif
//! ```

mod code;
mod decode;
mod disjoint;
mod gap;
mod git;
mod history;
mod hook;
mod ignores;
mod keywords;
mod leak;
mod lines;
mod marks;
mod matcher;
mod missing;
mod path;
mod progress;
mod repositories;
mod rules;
mod sarif;
mod scanner;
mod staged;
mod sweep;
mod tree;

pub use decode::Encoding;
pub use gap::{Gap, Skipped};
pub use git::{GitError, repository_around};
pub use hook::{HookError, Installed, install_hook};
pub use ignores::{
    Accepted, IGNORE_FILE, IgnoreError, IgnoreState, IgnoreUse, Ignores, Report, Suppressed,
};
pub use leak::{At, Leak, LeakId, ObjectKind, Place, What};
pub use marks::{
    InvalidMarks, LABEL_MAX_BYTES, MARKS_MAX, MarkKey, Marked, Marks, VALUE_MIN_BYTES, mark,
};
pub use path::FilePath;
pub use progress::{Progress, Stage};
pub use repositories::enclosing_repository;
pub use rules::{Level, RULES, Rule};
pub use sarif::sarif;
pub use scanner::{FILE_MAX_BYTES, More, OWN_LEAKS_MAX, RULE_LEAKS_MAX, Scan, Scanner};
pub use tree::TreeError;
