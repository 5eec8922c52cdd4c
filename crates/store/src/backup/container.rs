//! The container inside of the age file: a line, the manifest, the home's seal over the manifest, and the parts one after
//! another.
//!
//! `hearthkey backup\n` · length of the manifest (4 bytes, big-endian) · manifest (JSON) · HMAC-SHA-256 of the manifest under
//! a key of the home · the parts, each as long as the manifest says. Anybody can encrypt for a public key; the seal says that
//! the home has made it.

use std::fs::File;
use std::io::{self, Read, Write};

use hearthkey_core::backup::{FORMAT, Manifest, Part, PartName};
use hearthkey_core::id::Fingerprint;
use sha2::{Digest, Sha256};

use super::error::BackupError;
use super::recipient::Recipient;
use super::snapshot::Snapshot;
use crate::journal::JOURNAL_FILE;
use crate::slots::SLOTS_FILE;

/// The first line of the container.
pub(super) const MAGIC: &[u8] = b"hearthkey backup\n";
/// The length of the seal.
pub(super) const SEAL_BYTES: usize = 32;
/// What is read or written at once.
const BUFFER_BYTES: usize = 64 * 1024;

/// Copies what there is to its end and returns its length and SHA-256. `goes_on` is asked after each piece.
pub(super) fn copy(
    from: &mut impl Read,
    mut into: impl FnMut(&[u8]) -> Result<(), BackupError>,
    failed: fn(io::Error) -> BackupError,
    goes_on: &mut dyn FnMut() -> bool,
) -> Result<(u64, Fingerprint), BackupError> {
    let (mut buffer, mut hash, mut bytes) = (vec![0; BUFFER_BYTES], Sha256::new(), 0);
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok((bytes, Fingerprint(hash.finalize().into()))),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        hash.update(&buffer[..read]);
        into(&buffer[..read])?;
        bytes += read as u64;
        if !goes_on() {
            return Err(BackupError::Stopped);
        }
    }
}

impl Snapshot<'_> {
    /// Writes the backup, encrypted for these recipients. What is in memory at once does not grow with the home.
    pub fn write(
        &self,
        recipients: &[Recipient],
        version: &str,
        out: impl Write,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<Manifest, BackupError> {
        let store = self.store();
        let read = |name| store.dir.read(name).map_err(BackupError::Home);
        let slots = read(SLOTS_FILE)?.ok_or_else(|| no_file(SLOTS_FILE))?;
        // After the copy: it holds every revocation that the copy has, and maybe more.
        let mut journal = read(JOURNAL_FILE)?.unwrap_or_default();
        // A line that is being written is not acknowledged yet.
        journal.truncate(
            journal
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |at| at + 1),
        );
        let (bytes, sha256) = copy(&mut self.open()?, |_| Ok(()), BackupError::Home, goes_on)?;
        let of = |name, content: &[u8]| Part {
            name,
            bytes: content.len() as u64,
            sha256: Fingerprint::of(content),
        };
        let manifest = Manifest {
            format: FORMAT,
            home: store.vault().home().clone(),
            version: version.to_owned(),
            schema: self.schema,
            made_at: self.made_at,
            log_size: self.log_size,
            checkpoint: String::from_utf8_lossy(&self.checkpoint).into_owned(),
            parts: vec![
                of(PartName::Slots, &slots),
                Part {
                    name: PartName::Database,
                    bytes,
                    sha256,
                },
                of(PartName::Journal, &journal),
                of(PartName::Anchor, &self.checkpoint),
            ],
        };
        let text =
            serde_json::to_vec(&manifest).map_err(|error| BackupError::Home(error.into()))?;
        let seal = store.vault().seal_of_backup(&text);
        let each = recipients.iter().map(|one| &one.0 as &dyn age::Recipient);
        let encryptor = age::Encryptor::with_recipients(each)
            .map_err(|error| BackupError::Write(io::Error::other(error.to_string())))?;
        let mut out = encryptor.wrap_output(out).map_err(BackupError::Write)?;
        let mut put = |bytes: &[u8]| out.write_all(bytes).map_err(BackupError::Write);
        put(MAGIC)?;
        put(&(text.len() as u32).to_be_bytes())?;
        put(&text)?;
        put(&seal)?;
        put(&slots)?;
        let copied = copy(&mut self.open()?, &mut put, BackupError::Home, goes_on)?;
        if copied != (bytes, sha256) {
            return Err(BackupError::Home(io::Error::other(
                "the copy of the database changed while it was read",
            )));
        }
        put(&journal)?;
        put(&self.checkpoint)?;
        out.finish()
            .and_then(|mut out| out.flush())
            .map_err(BackupError::Write)?;
        Ok(manifest)
    }
}

fn no_file(name: &str) -> BackupError {
    BackupError::Home(io::Error::new(
        io::ErrorKind::NotFound,
        format!("{name} is missing"),
    ))
}

/// Writes what is read into a file, and waits for the disk.
pub(super) fn store_part(
    file: &mut File,
    part: &Part,
    from: &mut impl Read,
) -> Result<(), BackupError> {
    let mut limited = from.take(part.bytes);
    let into = |bytes: &[u8]| file.write_all(bytes).map_err(BackupError::Home);
    let found = copy(&mut limited, into, BackupError::of_reading, &mut || true)?;
    if found != (part.bytes, part.sha256) {
        return Err(BackupError::Damaged);
    }
    file.sync_all().map_err(BackupError::Home)
}
