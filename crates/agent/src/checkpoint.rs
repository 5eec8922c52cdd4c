//! The gateway's signed checkpoints, remembered so that a rolled-back audit log is noticed by the house.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use signed_note::Note;
use tlog_tiles::Checkpoint;

/// The highest checkpoint this device has seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SeenCheckpoint {
    pub(crate) origin: String,
    /// Number of records in the log.
    pub(crate) size: u64,
    /// Base64 of the tree's root hash.
    pub(crate) root: String,
    /// The whole signed note: evidence, if the log is ever shorter than this.
    pub(crate) note: String,
}

/// A payload that is not a signed checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the payload is not a signed-note checkpoint")]
pub struct CheckpointError;

/// What a newly seen checkpoint means beside the one remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The log grew, or nothing was remembered: remember the new one.
    Advanced,
    /// The same size and the same root.
    Same,
    /// The log is not a continuation of what was seen: keep the old one and tell people.
    WentBackwards(Setback),
}

/// How a log went backwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Setback {
    /// It has fewer records than before.
    Smaller,
    /// It has the same number of records, but other ones.
    Rewritten,
    /// It is the log of another origin.
    OtherLog,
}

/// Longest note that is kept, in bytes; a checkpoint with a few witnesses has under one thousand.
const LONGEST_NOTE_BYTES: usize = 8 * 1024;

impl SeenCheckpoint {
    /// Reads a signed note. The signature's shape is checked, not its key: the device does not know the log's key.
    pub(crate) fn from_note(note: &[u8]) -> Result<Self, CheckpointError> {
        if note.len() > LONGEST_NOTE_BYTES {
            return Err(CheckpointError);
        }
        let parsed = Note::from_bytes(note).map_err(|_| CheckpointError)?;
        // The note's text ends where the checkpoint's blank line stood.
        let text = [parsed.text(), b"\n"].concat();
        let checkpoint = Checkpoint::from_bytes(parsed.text())
            .or_else(|_| Checkpoint::from_bytes(&text))
            .map_err(|_| CheckpointError)?;
        Ok(Self {
            origin: checkpoint.origin().to_owned(),
            size: checkpoint.size(),
            root: STANDARD.encode(checkpoint.hash().0),
            note: String::from_utf8_lossy(note).into_owned(),
        })
    }

    /// Judges a newer checkpoint against the remembered one.
    pub(crate) fn progress(remembered: Option<&Self>, new: &Self) -> Progress {
        let Some(old) = remembered else {
            return Progress::Advanced;
        };
        if new.origin != old.origin {
            return Progress::WentBackwards(Setback::OtherLog);
        }
        match new.size.cmp(&old.size) {
            std::cmp::Ordering::Greater => Progress::Advanced,
            std::cmp::Ordering::Less => Progress::WentBackwards(Setback::Smaller),
            std::cmp::Ordering::Equal if new.root == old.root => Progress::Same,
            std::cmp::Ordering::Equal => Progress::WentBackwards(Setback::Rewritten),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(origin: &str, size: u64, root_byte: u8) -> Vec<u8> {
        let root = STANDARD.encode([root_byte; 32]);
        let signature = STANDARD.encode([7; 68]);
        format!("{origin}\n{size}\n{root}\n\n— {origin} {signature}\n").into_bytes()
    }

    fn seen(size: u64, root_byte: u8) -> SeenCheckpoint {
        SeenCheckpoint::from_note(&note("home.example/log", size, root_byte)).unwrap()
    }

    #[test]
    fn a_signed_checkpoint_gives_origin_size_and_root() {
        let checkpoint = seen(42, 1);
        assert_eq!(
            (checkpoint.origin.as_str(), checkpoint.size),
            ("home.example/log", 42)
        );
        assert_eq!(checkpoint.root, STANDARD.encode([1; 32]));
    }

    #[test]
    fn a_growing_log_advances_and_the_same_one_is_the_same() {
        assert_eq!(
            SeenCheckpoint::progress(None, &seen(0, 1)),
            Progress::Advanced
        );
        assert_eq!(
            SeenCheckpoint::progress(Some(&seen(4, 1)), &seen(5, 2)),
            Progress::Advanced
        );
        assert_eq!(
            SeenCheckpoint::progress(Some(&seen(4, 1)), &seen(4, 1)),
            Progress::Same
        );
    }

    #[test]
    fn a_shorter_log_went_backwards() {
        let verdict = SeenCheckpoint::progress(Some(&seen(5, 1)), &seen(4, 1));
        assert_eq!(verdict, Progress::WentBackwards(Setback::Smaller));
    }

    #[test]
    fn a_log_of_the_same_size_with_another_root_was_rewritten() {
        let verdict = SeenCheckpoint::progress(Some(&seen(5, 1)), &seen(5, 2));
        assert_eq!(verdict, Progress::WentBackwards(Setback::Rewritten));
    }

    #[test]
    fn another_origin_is_another_log() {
        let other = SeenCheckpoint::from_note(&note("other.example/log", 9, 1)).unwrap();
        let verdict = SeenCheckpoint::progress(Some(&seen(5, 1)), &other);
        assert_eq!(verdict, Progress::WentBackwards(Setback::OtherLog));
    }

    #[test]
    fn what_is_not_a_signed_checkpoint_is_refused() {
        let unsigned = b"home.example/log\n4\nAAAA\n";
        assert_eq!(SeenCheckpoint::from_note(unsigned), Err(CheckpointError));
        let signature = STANDARD.encode([7; 68]);
        let text = format!("o\nfour\n{}\n\n— o {signature}\n", STANDARD.encode([1; 32]));
        assert_eq!(
            SeenCheckpoint::from_note(text.as_bytes()),
            Err(CheckpointError)
        );
        assert_eq!(
            SeenCheckpoint::from_note(&vec![b'a'; 9000]),
            Err(CheckpointError)
        );
    }
}
