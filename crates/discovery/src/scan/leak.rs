//! What a scan finds.

use std::fmt;
use std::str::FromStr;

use hearthkey_core::id::hex;
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::decode::Encoding;
use super::path::FilePath;

/// A secret where it should not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leak {
    /// What was found.
    pub what: What,
    /// Where.
    pub place: Place,
    /// The same for the same leak in every scan.
    pub fingerprint: LeakId,
}

/// What was found. Never the secret itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum What {
    /// A value of the vault.
    Own {
        /// The label of its mark.
        label: String,
        /// How it is written there, innermost first; empty if as it is.
        encodings: Vec<Encoding>,
    },
    /// Something with a known form.
    Rule {
        /// The rule's id.
        id: String,
        /// The rule's name.
        name: String,
        /// What all of its kind begin with, and its length; nothing of what makes it secret.
        excerpt: String,
    },
}

impl Serialize for Encoding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Where in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct At {
    /// The line, counted from 1.
    pub line: u64,
    /// The column in Unicode characters, counted from 1.
    pub column: u64,
    /// Bytes before it.
    pub offset: u64,
}

/// Where a leak is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "in")]
pub enum Place {
    /// In a file of a tree.
    File {
        /// The file, below what was scanned.
        path: FilePath,
        /// Where in it.
        at: At,
    },
    /// In what is staged for a commit.
    Staged {
        /// The file, below the repository.
        path: FilePath,
        /// Where in it.
        at: At,
    },
    /// In a repository's history.
    History {
        /// The object that holds it, in hexadecimal digits.
        object: String,
        /// What kind of object.
        kind: ObjectKind,
        /// Where in the object.
        at: At,
        /// The repository, below what was scanned; none if it is what was scanned.
        repository: Option<FilePath>,
        /// The path under which it came in first, below what was scanned; none if no commit holds it.
        path: Option<FilePath>,
        /// Commits that brought it in, the earliest first, five at most. Empty if no commit holds it: then it is left
        /// over, and goes when git collects its garbage.
        commits: Vec<String>,
        /// How many commits brought it in.
        commits_total: u64,
    },
}

impl Place {
    /// The path, if there is one.
    pub fn path(&self) -> Option<&FilePath> {
        match self {
            Self::File { path, .. } | Self::Staged { path, .. } => Some(path),
            Self::History { path, .. } => path.as_ref(),
        }
    }

    /// Where in the text.
    pub fn at(&self) -> At {
        match self {
            Self::File { at, .. } | Self::Staged { at, .. } | Self::History { at, .. } => *at,
        }
    }
}

/// A kind of git object that is looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectKind {
    /// A file's content.
    Blob,
    /// A commit: its message.
    Commit,
    /// A tag: its message.
    Tag,
}

/// A leak's fingerprint: 32 hexadecimal digits.
///
/// SHA-256, cut, over what was found and where: label or rule; path and how many of the same stand before it in the
/// text, or object and the same. Nothing of the secret goes into it, so a published fingerprint is no way to test
/// guesses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeakId([u8; 16]);

impl LeakId {
    pub(super) fn of(what: &What, place: &[u8], number: u64) -> Self {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        match what {
            What::Own { label, encodings } => {
                part(b"own");
                part(label.as_bytes());
                encodings
                    .iter()
                    .for_each(|encoding| part(encoding.as_str().as_bytes()));
            }
            What::Rule { id, .. } => {
                part(b"rule");
                part(id.as_bytes());
            }
        }
        part(place);
        part(&number.to_be_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&hash.finalize()[..16]);
        Self(id)
    }
}

impl fmt::Display for LeakId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl FromStr for LeakId {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        hearthkey_core::id::unhex(text).map(Self).ok_or(())
    }
}

impl Serialize for LeakId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
