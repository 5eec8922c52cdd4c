//! Scanning the files of a tree.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use ignore::{DirEntry, WalkBuilder};

use super::gap::Gap;
use super::leak::Place;
use super::path::FilePath;
use super::progress::{Progress, Stage};
use super::scanner::{FILE_MAX_BYTES, Scan, Scanner, sweep};

/// Why a tree could not be scanned.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// What was named cannot be read at all.
    #[error("{} cannot be read: {error}: check the path and who may read it", path.display())]
    Unreadable {
        /// What was named.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
}

impl Scanner {
    /// Reads every file below a directory, or one file.
    ///
    /// Files that git ignores are read, hidden ones too. Not read: the insides of `.git` directories, for which there
    /// are [`Scanner::history`] and [`Scanner::everything`], and links to what is read anyway. Not read, and in
    /// [`Scan::skipped`]: see [`Gap`].
    pub fn tree(
        &mut self,
        root: &Path,
        told: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Scan, TreeError> {
        let mut scan = Scan::default();
        self.walk(root, &mut scan, told)?;
        Ok(scan)
    }

    /// Reads a tree, and returns the directories in it that git would take for repositories.
    pub(super) fn walk(
        &mut self,
        root: &Path,
        scan: &mut Scan,
        told: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Vec<PathBuf>, TreeError> {
        let unreadable = |error| TreeError::Unreadable {
            path: root.to_owned(),
            error,
        };
        let metadata = fs::metadata(root).map_err(unreadable)?;
        if metadata.is_dir() {
            fs::read_dir(root).map_err(unreadable)?;
        } else {
            File::open(root).map_err(unreadable)?;
        }
        let mut walker = Walker {
            root,
            real: fs::canonicalize(root).map_err(unreadable)?,
            repositories: Vec::new(),
        };
        let insides = Arc::new(Mutex::new(Vec::new()));
        let met = Arc::clone(&insides);
        let mut walk = WalkBuilder::new(root);
        walk.standard_filters(false)
            .follow_links(false)
            .sort_by_file_name(Ord::cmp)
            .filter_entry(move |entry| is_entered(entry, &met));
        for entry in walk.build() {
            match entry {
                Ok(entry) => walker.entry(self, &entry, scan, told),
                Err(error) => {
                    let path = path_of(&error).unwrap_or(root);
                    scan.skip(
                        Gap::Unreadable,
                        below(root, path),
                        format!("it cannot be read: {}", reason(&error)),
                    );
                }
            }
        }
        let mut repositories = walker.repositories;
        if let Ok(mut insides) = insides.lock() {
            repositories.append(&mut insides);
        }
        repositories.sort();
        repositories.dedup();
        Ok(repositories)
    }
}

/// The state of one walk.
struct Walker<'a> {
    root: &'a Path,
    /// The root without links.
    real: PathBuf,
    repositories: Vec<PathBuf>,
}

impl Walker<'_> {
    fn entry(
        &mut self,
        scanner: &mut Scanner,
        entry: &DirEntry,
        scan: &mut Scan,
        told: &mut dyn FnMut(Progress<'_>),
    ) {
        let path = below(self.root, entry.path());
        self.recognize(entry);
        // A link that the caller names is followed; one that is met is not.
        let named = entry.depth() == 0;
        match entry.file_type() {
            Some(kind) if kind.is_dir() => return,
            Some(kind) if kind.is_symlink() && !named => {
                if let Some(why) = self.leads_out(entry.path()) {
                    scan.skip(Gap::Link, path, why);
                }
                return;
            }
            Some(kind) if kind.is_file() || named => {}
            _ => return scan.skip(Gap::Special, path, "it is a device, a socket or a pipe"),
        }
        let mut file = match open(entry.path(), named) {
            Ok(file) => file,
            Err((gap, why)) => return scan.skip(gap, path, why),
        };
        let stage = (Stage::Files, None, Some(&path));
        let mut swept = sweep(&mut scanner.sweeper, &mut file, scan, stage, told);
        if let Some(error) = swept.cut.take() {
            let why = format!("it could not be read to its end: {error}");
            scan.skip(Gap::Unreadable, path.clone(), why);
        }
        if let Some((gap, why)) = swept.head.gap() {
            scan.skip(gap, path.clone(), why);
        }
        scan.add(swept, path.as_bytes(), |at| Place::File {
            path: path.clone(),
            at,
        });
    }

    /// Keeps the directory of an entry that only a repository has: a file or link `.git`, or `HEAD` beside `objects`.
    fn recognize(&mut self, entry: &DirEntry) {
        let Some(directory) = entry.path().parent().filter(|_| entry.depth() > 0) else {
            return;
        };
        if entry.file_name() == ".git" || (entry.file_name() == "HEAD" && is_bare(directory)) {
            self.repositories.push(directory.to_owned());
        }
    }

    /// Why what a link leads to is not read, unless it is read anyway or nothing is there.
    fn leads_out(&self, link: &Path) -> Option<String> {
        let target = match fs::canonicalize(link) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => return Some(format!("it is a link that cannot be followed: {error}")),
        };
        let within = target.strip_prefix(&self.real).ok();
        let inside_git = |rest: &Path| rest.components().any(|part| part.as_os_str() == ".git");
        let read = within.is_some_and(|rest| self.real.is_dir() && !inside_git(rest));
        (!read).then(|| {
            "it is a link out of what is scanned: scan what it leads to by its own path".to_owned()
        })
    }
}

/// Opens a regular file, and nothing that took its place in the meantime.
fn open(path: &Path, follow: bool) -> Result<File, (Gap, String)> {
    let mut options = fs::OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        let flags = rustix::fs::OFlags::NONBLOCK
            | if follow {
                rustix::fs::OFlags::empty()
            } else {
                rustix::fs::OFlags::NOFOLLOW
            };
        options.custom_flags(flags.bits() as i32);
    }
    let unreadable = |error: io::Error| (Gap::Unreadable, format!("it cannot be read: {error}"));
    let file = options.open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err((
            Gap::Special,
            "it is a device, a socket or a pipe".to_owned(),
        ));
    }
    if metadata.len() > FILE_MAX_BYTES {
        return Err((
            Gap::TooLarge,
            "it is larger than 8 GiB: scan it in parts".to_owned(),
        ));
    }
    Ok(file)
}

/// Whether git would take a directory for a bare repository.
fn is_bare(directory: &Path) -> bool {
    directory.join("HEAD").is_file()
        && directory.join("objects").is_dir()
        && directory.join("refs").is_dir()
}

/// A directory named `.git` is a repository's inside, unless it was named itself, and so are the objects of a bare
/// repository. Keeps the directory of the former.
fn is_entered(entry: &DirEntry, insides: &Mutex<Vec<PathBuf>>) -> bool {
    let directory = entry.file_type().is_some_and(|kind| kind.is_dir());
    if entry.depth() == 0 || !directory {
        return true;
    }
    if entry.file_name() == "objects" {
        return !entry.path().parent().is_some_and(is_bare);
    }
    let entered = entry.file_name() != ".git";
    if !entered
        && let Some(repository) = entry.path().parent()
        && let Ok(mut insides) = insides.lock()
    {
        insides.push(repository.to_owned());
    }
    entered
}

pub(super) fn below(root: &Path, path: &Path) -> FilePath {
    match path.strip_prefix(root) {
        Ok(rest) if !rest.as_os_str().is_empty() => FilePath::of(rest),
        _ => path
            .file_name()
            .map_or_else(|| FilePath::of(path), |name| FilePath::of(Path::new(name))),
    }
}

fn path_of(error: &ignore::Error) -> Option<&Path> {
    match error {
        ignore::Error::WithPath { path, .. } => Some(path),
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => {
            path_of(err)
        }
        _ => None,
    }
}

fn reason(error: &ignore::Error) -> String {
    error
        .io_error()
        .map_or_else(|| "the tree has a loop".to_owned(), ToString::to_string)
}
