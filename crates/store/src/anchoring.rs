//! The files that witness what an open store holds: its anchor is written, compared, and put aside when a person has accepted that
//! it does not fit; what was missing at the start is noted.

use hearthkey_core::posture::witness::Anchor;

use crate::anchor::{ANCHOR_FILE, UNANCHORED_FILE};
use crate::change::Change;
use crate::log::{SignedCheckpoint, open_checkpoint};
use crate::registry::ReadError;
use crate::store::{Store, locked};
use crate::writer::CommitError;

impl Store {
    /// That the journal was missing is in the database now.
    pub fn note_missing_journal(&self) -> std::io::Result<()> {
        self.journal.anew_is_noted()
    }

    /// That the anchor was missing is in the database now.
    pub fn note_missing_anchor(&self) -> std::io::Result<()> {
        self.dir.remove(UNANCHORED_FILE)
    }

    /// Writes the newest checkpoint into the anchor file.
    pub fn write_anchor(&self) -> std::io::Result<()> {
        if locked(&self.read_only).is_some() {
            return Ok(());
        }
        let newest = self.checkpoints.borrow().clone();
        if self.anchor_is_ahead(newest.as_deref()) {
            return Err(std::io::Error::other(
                "the anchor file is ahead of the log, and is left as evidence",
            ));
        }
        match newest {
            Some(checkpoint) => self.dir.replace(ANCHOR_FILE, &checkpoint.note),
            None => Ok(()),
        }
    }

    /// Whether the anchor file is of this home and has seen more than the log holds: then one of the two is not what it was.
    fn anchor_is_ahead(&self, newest: Option<&SignedCheckpoint>) -> bool {
        let Ok(Some(note)) = self.dir.read(ANCHOR_FILE) else {
            return false;
        };
        let anchor = open_checkpoint(&note, &self.vkey);
        anchor.is_ok_and(|anchor| anchor.size > newest.map_or(0, |newest| newest.size))
    }

    /// How the anchor file stands to the log now. While there is an incident, it is not written, and that is said there.
    pub fn anchor(&self) -> Result<Anchor, ReadError> {
        let newest = self.checkpoints.borrow().clone();
        let (Some(newest), None) = (newest, self.incident()) else {
            return Ok(Anchor::Current);
        };
        let Ok(Some(note)) = self.dir.read(ANCHOR_FILE) else {
            return Ok(Anchor::Missing);
        };
        let Ok(anchor) = open_checkpoint(&note, &self.vkey) else {
            return Ok(Anchor::Foreign);
        };
        let is_other = anchor.size == newest.size && anchor.root != newest.root;
        if anchor.size > newest.size || is_other {
            return Ok(Anchor::Foreign);
        }
        if anchor.size == newest.size {
            return Ok(Anchor::Current);
        }
        let since = self.read(|registry| registry.record_time(anchor.size))?;
        Ok(since.map_or(Anchor::Current, Anchor::Behind))
    }

    /// A person has looked at the incident: once that is on record, the log goes on from where it
    /// stands. The old anchor stays beside the new one, as evidence.
    pub async fn accept_incident(&self, record: Change) -> Result<(), CommitError> {
        let writer = locked(&self.writer).clone();
        writer.ok_or(CommitError::Sealed)?.commit(record).await?;
        // Somebody else may have accepted it first. Until it is put aside, nothing is written over it.
        let is_read_only = locked(&self.read_only).is_some();
        if is_read_only && self.dir.has(ANCHOR_FILE).unwrap_or_default() {
            let moved = self.dir.rename(ANCHOR_FILE, "checkpoint.anchor.refuted");
            if let Err(error) = moved {
                tracing::error!(%error, "the refuted anchor could not be put aside");
            }
        }
        locked(&self.read_only).take();
        if let Err(error) = self.write_anchor() {
            tracing::error!(%error, "the anchor file could not be written");
        }
        Ok(())
    }
}
