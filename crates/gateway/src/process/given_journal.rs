//! The journal that is given to a restore, or lies beside the backup: one file, or a directory with its parts.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use hearthkey_core::backup::PartName;
use hearthkey_core::backup::shipped::segment_by_name;
use hearthkey_core::id::HomeId;
use hearthkey_store::backup::{BackupError, Identity, open_lines};
use hearthkey_store::journal::JOURNAL_FILE;

/// Names in a directory that are looked at.
const NAMES_MAX: usize = 100_000;
/// How age files begin.
const AGE: &[u8] = b"age-encryption.org/";

/// Lines of a journal, of whomever.
#[derive(Default)]
pub(super) struct Given {
    /// The lines, one after another.
    pub(super) lines: Vec<u8>,
    /// Where they were found.
    pub(super) at: PathBuf,
    /// Files that could not be read or opened, and why.
    pub(super) unreadable: Vec<String>,
}

/// Why a journal is not read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A file cannot be read.
    #[error("{path} cannot be read: {source}. Check its path and its rights")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is longer than any.
    #[error("{0} is too long for a journal. Name the revocations.journal of the lost machine")]
    Long(PathBuf),
    /// It does not open.
    #[error("{path}: {source}")]
    Sealed {
        /// The file.
        path: PathBuf,
        /// Why.
        source: BackupError,
    },
    /// There is nothing in the directory.
    #[error(
        "{0} holds no journal of this home. Name the directory with the files hearthkey-…-journal-….age, or the revocations.journal of the lost machine"
    )]
    Nothing(PathBuf),
}

/// Reads the journal that a person names. What of it cannot be read is told by name, unless it is all.
pub(super) fn named(
    path: &Path,
    home: &HomeId,
    identity: &Identity,
) -> Result<Given, JournalError> {
    if !path.is_dir() {
        let mut given = Given {
            at: path.to_owned(),
            ..Given::default()
        };
        given.take(path, identity)?;
        return Ok(given);
    }
    let given = in_directory(path, home, identity)?;
    match given.lines.is_empty() {
        true => Err(JournalError::Nothing(path.to_owned())),
        false => Ok(given),
    }
}

/// Reads the parts of the home's journal that lie beside its backup; none if there are none.
pub(super) fn beside(file: &Path, home: &HomeId, identity: &Identity) -> Option<Given> {
    let directory = match file.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return None,
    };
    let found = in_directory(directory, home, identity).ok()?;
    let is_something = !found.lines.is_empty() || !found.unreadable.is_empty();
    is_something.then_some(found)
}

fn in_directory(
    directory: &Path,
    home: &HomeId,
    identity: &Identity,
) -> Result<Given, JournalError> {
    let failed = |source| JournalError::File {
        path: directory.to_owned(),
        source,
    };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory)
        .map_err(failed)?
        .take(NAMES_MAX)
    {
        let name = entry.map_err(failed)?.file_name();
        let name = name.to_string_lossy().into_owned();
        if segment_by_name(home, &name).is_some() || name == JOURNAL_FILE {
            names.push(name);
        }
    }
    // They sort by their age.
    names.sort_unstable();
    let mut given = Given {
        at: directory.to_owned(),
        ..Given::default()
    };
    for name in names {
        if let Err(error) = given.take(&directory.join(&name), identity) {
            given.unreadable.push(error.to_string());
        }
    }
    Ok(given)
}

impl Given {
    fn take(&mut self, path: &Path, identity: &Identity) -> Result<(), JournalError> {
        let failed = |source| JournalError::File {
            path: path.to_owned(),
            source,
        };
        let most = PartName::Journal.max_bytes();
        let mut content = Vec::new();
        let file = File::open(path).map_err(failed)?;
        file.take(most + 1)
            .read_to_end(&mut content)
            .map_err(failed)?;
        if content.starts_with(AGE) {
            let opened = open_lines(&content[..], identity);
            content = opened.map_err(|source| JournalError::Sealed {
                path: path.to_owned(),
                source,
            })?;
        }
        if content.len() as u64 + self.lines.len() as u64 > most {
            return Err(JournalError::Long(path.to_owned()));
        }
        self.lines.extend(content);
        // A part may lack its end.
        self.lines.push(b'\n');
        Ok(())
    }
}
