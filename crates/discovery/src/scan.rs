//! Looks for leaked secrets in trees, git histories and what is staged for a commit.
//!
//! Two things are looked for. **Own values**: what the vault holds, by [`Marks`] that the gateway makes for one scan.
//! Each is found as it is and in [`Encoding`]s, up to two within one another, at any offset; a match is confirmed by
//! an HMAC over the whole value, so that none is reported that is not there. **Known forms**: tokens and keys that
//! their makers gave a recognizable shape, by the [`RULES`] of this crate.
//!
//! What is not looked into: compressed and encrypted files (a secret in a zip is not found), file names, values that
//! are cut into pieces, hexadecimal digits with separators.
//!
//! ```text
//! gateway   Marks::new(MarkKey::from_random(…), how_many) → mark(&mut marks, label, value) … → marks.to_text()
//! scanner   Scanner::new(Marks::from_text(…)?, …) → tree | history | staged → Scan → Ignores::judge → Report → sarif
//! ```

mod decode;
mod git;
mod history;
mod hook;
mod ignores;
mod leak;
mod marks;
mod matcher;
mod path;
mod progress;
mod rules;
mod sarif;
mod scanner;
mod staged;
mod sweep;
mod tree;

pub use decode::Encoding;
pub use git::{GitError, repository_around};
pub use hook::{HookError, Installed, install_hook};
pub use ignores::{IGNORE_FILE, IgnoreError, IgnoreState, IgnoreUse, Ignores, Report, Suppressed};
pub use leak::{At, Leak, LeakId, ObjectKind, Place, What};
pub use marks::{
    InvalidMarks, LABEL_MAX_BYTES, MARKS_MAX, MarkKey, Marked, Marks, VALUE_MIN_BYTES, mark,
};
pub use path::FilePath;
pub use progress::{Progress, Stage};
pub use rules::{Level, RULES, Rule};
pub use sarif::sarif;
pub use scanner::{FILE_MAX_BYTES, LEAKS_MAX, Scan, Scanner, Skipped};
pub use tree::TreeError;
