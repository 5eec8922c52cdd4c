//! What a scan did not look at.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::path::FilePath;

/// The most gaps of one kind that are named; more are counted.
pub(super) const SAME_GAPS_MAX: u64 = 100;

/// A kind of what was not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gap {
    /// A file, directory or object that cannot be read, or not to its end.
    Unreadable,
    /// A file over [`super::FILE_MAX_BYTES`].
    TooLarge,
    /// A symbolic link out of what is scanned.
    Link,
    /// A compressed file.
    Archive,
    /// A pointer to content that Git LFS keeps elsewhere.
    Lfs,
    /// A history that was cut off when it was fetched.
    Shallow,
    /// Objects that were never fetched, or are lost.
    Missing,
    /// A submodule that is not checked out.
    Submodule,
    /// A repository whose history was not read, or not to its end.
    Repository,
    /// A device, a socket or a pipe.
    Special,
}

impl Gap {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Unreadable,
        Self::TooLarge,
        Self::Link,
        Self::Archive,
        Self::Lfs,
        Self::Shallow,
        Self::Missing,
        Self::Submodule,
        Self::Repository,
        Self::Special,
    ];

    /// The word for it, as ignore files have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::TooLarge => "too-large",
            Self::Link => "link",
            Self::Archive => "archive",
            Self::Lfs => "lfs",
            Self::Shallow => "shallow",
            Self::Missing => "missing",
            Self::Submodule => "submodule",
            Self::Repository => "repository",
            Self::Special => "special",
        }
    }

    /// Whether a secret may be where was not looked. Devices, sockets and pipes keep nothing.
    pub fn may_hide(self) -> bool {
        self != Self::Special
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something that was not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// What.
    pub path: FilePath,
    /// What kind of gap it is.
    pub gap: Gap,
    /// Why, and what to do.
    pub why: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_written_as_it_is_read() {
        for gap in Gap::ALL {
            assert_eq!(
                serde_json::to_string(&gap).unwrap(),
                format!("\"{}\"", gap.as_str())
            );
        }
    }
}
