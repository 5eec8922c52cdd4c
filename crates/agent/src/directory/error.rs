//! Why a device's directory cannot be used, and what mends it.

use std::io;
use std::path::{Path, PathBuf};

use crate::explain::{Explain, Explanation};

/// Why the device's directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// A file could not be read, written or renamed.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// Others can put files into the directory, or have put a key there, or can read the key.
    #[error("{}: {why}", path.display())]
    NotPrivate {
        /// The directory or the key.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
        /// What mends it.
        remedy: String,
    },
    /// Another process uses the directory.
    #[error("another hearthkey-agent is using {}", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The directory holds no enrolled device.
    #[error("{} holds no enrolled device", path.display())]
    NotEnrolled {
        /// The directory.
        path: PathBuf,
    },
    /// A file is there and does not hold what it should.
    #[error("{} is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl Explain for DirectoryError {
    fn explain(&self) -> Explanation {
        let remedy = match self {
            Self::NotPrivate { remedy, .. } => remedy.as_str(),
            Self::Io { .. } => {
                "Check that the directory is on a disk with room and belongs to the user the agent runs as"
            }
            Self::InUse { .. } => "Stop the other agent first, or give this one its own directory",
            Self::NotEnrolled { .. } => {
                "Open a claim for the device at the gateway and run hearthkey-agent enroll with it"
            }
            Self::Damaged { .. } => {
                "Restore the file from a backup, or enroll again with a new claim and --replace"
            }
        };
        Explanation::new(
            "The device's directory cannot be used",
            self.to_string(),
            remedy,
        )
    }
}

pub(super) fn at(path: &Path, cause: io::Error) -> DirectoryError {
    DirectoryError::Io {
        path: path.to_owned(),
        cause,
    }
}
