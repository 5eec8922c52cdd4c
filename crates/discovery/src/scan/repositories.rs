//! Scanning a tree with the histories of all repositories in it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::gap::Gap;
use super::git::{GitError, Repository};
use super::path::FilePath;
use super::path::top_of;
use super::progress::Progress;
use super::scanner::{Scan, Scanner};
use super::tree::{TreeError, below};

/// The most repositories of one tree whose histories are read.
const REPOSITORIES_MAX: usize = 1000;
/// How deep the repositories of submodules are looked for below `.git/modules`: their names may have slashes.
const MODULES_DEPTH_MAX: usize = 8;

impl Scanner {
    /// Reads a tree, and the history of every repository in it: its own, those of repositories in it, of checked-out
    /// submodules and of those that were checked out once. An object store that several worktrees share is read once.
    ///
    /// A history that cannot be read is in [`Scan::skipped`]; what was found until then stays.
    pub fn everything(
        &mut self,
        root: &Path,
        told: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Scan, TreeError> {
        let mut scan = Scan::default();
        let mut waiting = self.walk(root, &mut scan, told)?;
        waiting.reverse();
        let mut stores: BTreeSet<PathBuf> = BTreeSet::new();
        while let Some(path) = waiting.pop() {
            let name = (path != root).then(|| below(root, &path));
            let name = name.as_ref();
            if stores.len() >= REPOSITORIES_MAX {
                let why = "there are 1000 others before it: scan it by itself";
                scan.skip(Gap::Repository, top_of(name), why);
                continue;
            }
            let read = Repository::open(&path).and_then(|repository| {
                let store = store_of(&repository)?;
                if stores.insert(store.clone()) {
                    waiting.extend(modules(&store.join("modules"), MODULES_DEPTH_MAX));
                    self.read_history(&repository, name, &mut scan, told)?;
                }
                Ok(())
            });
            if let Err(error) = read {
                let why = format!("its history was not read, or not to its end: {error}");
                scan.skip(Gap::Repository, top_of(name), why);
            }
        }
        Ok(scan)
    }
}

/// The directory that holds a repository's objects, without links.
fn store_of(repository: &Repository) -> Result<PathBuf, GitError> {
    let common = ["rev-parse", "--path-format=absolute", "--git-common-dir"];
    let path = PathBuf::from(repository.line(&common)?);
    fs::canonicalize(&path).map_err(|error| repository.damaged(error))
}

/// The repositories that git keeps for submodules, checked out or not.
fn modules(directory: &Path, depth: usize) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(directory) else {
        return found;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.join("HEAD").is_file() && path.join("objects").is_dir() {
            found.push(path);
        } else if depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(modules(&path, depth - 1));
        }
    }
    found
}

/// The name of a repository that encloses what is scanned, if what is scanned is a part of it.
pub fn enclosing_repository(path: &Path) -> Option<FilePath> {
    let path = std::path::absolute(path).ok()?;
    let around = super::git::repository_around(&path)?;
    (around != path).then(|| FilePath::of(&around))
}
