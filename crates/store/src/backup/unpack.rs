//! A backup becomes the files of a home again.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hearthkey_core::backup::{MANIFEST_MAX_BYTES, Manifest, Part, PartName};
use hearthkey_core::id::Fingerprint;

use super::container::{MAGIC, SEAL_BYTES, store_part};
use super::error::BackupError;
use super::recipient::Identity;
use crate::anchor::ANCHOR_FILE;
use crate::connection::SCHEMA;
use crate::files::{DATABASE_FILE, DataDir};
use crate::journal::JOURNAL_FILE;
use crate::keys::RootKey;
use crate::slots::Slots;

/// How an age file of the first version begins.
const AGE: &[u8] = b"age-encryption.org/v1\n";
/// The longest header of an age file that is read: a few hundred bytes for each recipient.
const HEADER_MAX_BYTES: u64 = 64 * 1024;

/// What was unpacked.
pub struct Unpacked {
    /// What the backup says of itself, sealed by the home.
    pub manifest: Manifest,
    /// The ways in. They are not written yet: a home is there when they are.
    pub slots: Slots,
    /// The home's root key.
    pub root: RootKey,
}

/// Reads at most what is left.
struct Bounded<R> {
    inner: R,
    left: Arc<AtomicU64>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.load(Ordering::Relaxed);
        if left == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the header does not end",
            ));
        }
        let most = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = self.inner.read(&mut buffer[..most])?;
        self.left.fetch_sub(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// What decrypts a backup, after its header was opened.
pub(super) fn decrypted(file: impl Read, identity: &Identity) -> Result<impl Read, BackupError> {
    let mut file = file;
    let mut begin = Vec::with_capacity(AGE.len());
    let read = (&mut file).take(AGE.len() as u64).read_to_end(&mut begin);
    read.map_err(BackupError::Read)?;
    if begin != AGE {
        // One that was cut off within the first line is no other kind of file.
        let cut = !begin.is_empty() && AGE.starts_with(&begin);
        return Err(if cut {
            BackupError::Damaged
        } else {
            BackupError::NotAge
        });
    }
    let left = Arc::new(AtomicU64::new(HEADER_MAX_BYTES));
    let bounded = Bounded {
        inner: io::Cursor::new(begin).chain(file),
        left: Arc::clone(&left),
    };
    let of_age = |error| match error {
        age::DecryptError::Io(error) => BackupError::of_reading(error),
        age::DecryptError::NoMatchingKeys
        | age::DecryptError::KeyDecryptionFailed
        | age::DecryptError::ExcessiveWork { .. } => BackupError::NoFit,
        age::DecryptError::UnknownFormat => BackupError::NotAge,
        _ => BackupError::Damaged,
    };
    let decryptor = age::Decryptor::new(bounded).map_err(of_age)?;
    left.store(u64::MAX, Ordering::Relaxed);
    let identities = [&identity.0 as &dyn age::Identity];
    decryptor.decrypt(identities.into_iter()).map_err(of_age)
}

/// Whether a key opens the header of a backup. Nothing else of it is read.
pub fn header_opens(file: impl Read, identity: &Identity) -> Result<bool, BackupError> {
    match decrypted(file, identity) {
        Ok(_) => Ok(true),
        Err(BackupError::NoFit) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A backup's manifest with its seal, not judged yet.
struct Begun<R> {
    file: R,
    text: Vec<u8>,
    seal: [u8; SEAL_BYTES],
    manifest: Manifest,
}

fn begin(file: impl Read, identity: &Identity) -> Result<Begun<impl Read>, BackupError> {
    let mut file = decrypted(file, identity)?;
    let mut magic = [0; MAGIC.len()];
    exactly(&mut file, &mut magic)?;
    if magic != MAGIC {
        return Err(BackupError::NotABackup);
    }
    let mut length = [0; 4];
    exactly(&mut file, &mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MANIFEST_MAX_BYTES {
        return Err(BackupError::NotABackup);
    }
    let mut text = vec![0; length];
    exactly(&mut file, &mut text)?;
    let manifest = Manifest::parse(&text)?;
    if manifest.schema < 0 || manifest.schema > SCHEMA {
        return Err(BackupError::Newer {
            found: manifest.schema,
            known: SCHEMA,
        });
    }
    let mut seal = [0; SEAL_BYTES];
    exactly(&mut file, &mut seal)?;
    Ok(Begun {
        file,
        text,
        seal,
        manifest,
    })
}

/// What a backup says of itself, if its key opens it. Who has made it is not judged.
pub fn peek(file: impl Read, identity: &Identity) -> Result<Manifest, BackupError> {
    Ok(begin(file, identity)?.manifest)
}

fn exactly(file: &mut impl Read, buffer: &mut [u8]) -> Result<(), BackupError> {
    file.read_exact(buffer).map_err(BackupError::of_reading)
}

/// Writes the files of the home that a backup holds into a directory, all but the ways in. `root` finds the root key by
/// them. What is there when this fails is of no use, and is the caller's to remove.
pub fn unpack(
    file: impl Read,
    identity: &Identity,
    dir: &DataDir,
    root: impl FnOnce(&Slots) -> Result<RootKey, BackupError>,
) -> Result<Unpacked, BackupError> {
    let Begun {
        mut file,
        text,
        seal,
        manifest,
    } = begin(file, identity)?;
    let mut parts = manifest.parts.iter();
    let slots = read_slots(&mut file, parts.next())?;
    let root = root(&slots)?;
    let is_its_own = *slots.home() == manifest.home;
    if !is_its_own || !root.has_sealed_backup(&manifest.home, &text, &seal) {
        return Err(BackupError::Foreign);
    }
    for part in parts {
        let name = match part.name {
            PartName::Database => DATABASE_FILE,
            PartName::Journal => JOURNAL_FILE,
            PartName::Anchor => ANCHOR_FILE,
            PartName::Slots => return Err(BackupError::NotABackup),
        };
        let mut made = dir.create(name).map_err(BackupError::Home)?;
        store_part(&mut made, part, &mut file)?;
    }
    // The end is part of what is authenticated.
    let mut more = [0];
    match file.read(&mut more).map_err(BackupError::of_reading)? {
        0 => {}
        _ => return Err(BackupError::Damaged),
    }
    dir.sync().map_err(BackupError::Home)?;
    Ok(Unpacked {
        manifest,
        slots,
        root,
    })
}

fn read_slots(file: &mut impl Read, part: Option<&Part>) -> Result<Slots, BackupError> {
    let part = part.filter(|part| part.name == PartName::Slots);
    let part = part.ok_or(BackupError::NotABackup)?;
    let mut text = Vec::new();
    let read = file.take(part.bytes).read_to_end(&mut text);
    read.map_err(BackupError::of_reading)?;
    if text.len() as u64 != part.bytes || Fingerprint::of(&text) != part.sha256 {
        return Err(BackupError::Damaged);
    }
    Ok(Slots::parse(&text)?)
}
