//! Scanning the files of a tree.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use ignore::{DirEntry, WalkBuilder};

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
    /// Files that git ignores are read, hidden ones too. Not read, and not told of: the insides of `.git`
    /// directories, for which there is [`Scanner::history`], and symbolic links. Not read, and told of in
    /// [`Scan::skipped`]: what may not be read, what is no regular file, and files over [`FILE_MAX_BYTES`].
    pub fn tree(
        &mut self,
        root: &Path,
        told: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Scan, TreeError> {
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
        let mut scan = Scan::default();
        let mut walk = WalkBuilder::new(root);
        walk.standard_filters(false)
            .follow_links(false)
            .sort_by_file_name(Ord::cmp)
            .filter_entry(is_entered);
        for entry in walk.build() {
            match entry {
                Ok(entry) => self.entry(root, &entry, &mut scan, told),
                Err(error) => {
                    let path = path_of(&error).unwrap_or(root);
                    scan.skip(
                        below(root, path),
                        format!("it cannot be read: {}", reason(&error)),
                    );
                }
            }
        }
        Ok(scan)
    }

    fn entry(
        &mut self,
        root: &Path,
        entry: &DirEntry,
        scan: &mut Scan,
        told: &mut dyn FnMut(Progress<'_>),
    ) {
        let path = below(root, entry.path());
        // A link that the caller names is followed; one that is met is not.
        let named = entry.depth() == 0;
        match entry.file_type() {
            Some(kind) if kind.is_dir() || (kind.is_symlink() && !named) => return,
            Some(kind) if kind.is_file() || named => {}
            _ => return scan.skip(path, "it is a device, a socket or a pipe"),
        }
        match open(entry.path(), named) {
            Ok(mut file) => {
                let stage = (Stage::Files, None, Some(&path));
                match sweep(&mut self.sweeper, &mut file, scan, stage, told) {
                    Ok(swept) => scan.add(swept, path.as_bytes(), |at| Place::File {
                        path: path.clone(),
                        at,
                    }),
                    Err(error) => {
                        scan.skip(path, format!("it could not be read to its end: {error}"))
                    }
                }
            }
            Err(error) => scan.skip(path, error.to_string()),
        }
    }
}

/// Opens a regular file, and nothing that took its place in the meantime.
fn open(path: &Path, follow: bool) -> io::Result<File> {
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
    let file = options
        .open(path)
        .map_err(|error| io::Error::new(error.kind(), format!("it cannot be read: {error}")))?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is a device, a socket or a pipe"));
    }
    if metadata.len() > FILE_MAX_BYTES {
        return Err(io::Error::other(
            "it is larger than 8 GiB: scan it in parts",
        ));
    }
    Ok(file)
}

/// A directory named `.git` is a repository's inside, unless it was named itself.
fn is_entered(entry: &DirEntry) -> bool {
    let directory = entry.file_type().is_some_and(|kind| kind.is_dir());
    entry.depth() == 0 || !directory || entry.file_name() != ".git"
}

fn below(root: &Path, path: &Path) -> FilePath {
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
