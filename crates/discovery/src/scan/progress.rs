//! How far a scan is, for its observers.

use super::path::FilePath;

/// What a scan is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Reads the files of a tree.
    Files,
    /// Reads the objects of a repository.
    Objects,
    /// Looks for the commits that brought leaks in.
    Commits,
    /// Reads what is staged.
    Staged,
}

/// How far a scan is. Reported at least once for each file or object, and at most every MiB within one.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// What it is doing.
    pub stage: Stage,
    /// Files or objects that are done.
    pub done: u64,
    /// Files or objects that there are, if that is known.
    pub total: Option<u64>,
    /// Bytes that were read.
    pub bytes: u64,
    /// What is being read, if it has a name.
    pub now: Option<&'a FilePath>,
}
