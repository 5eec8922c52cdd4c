//! A part of the journal as one age file, for the place where the backups are; and back.
//!
//! `hearthkey journal\n`, then the lines as they are: each has the home's HMAC, so that nobody else can add one.

use std::io::{Read, Write};

use hearthkey_core::backup::shipped::SEGMENT_MAX_BYTES;

use super::error::BackupError;
use super::recipient::{Identity, Recipient};
use super::unpack::decrypted;

/// The first line inside of the age file.
const MAGIC: &[u8] = b"hearthkey journal\n";

/// Encrypts lines of the journal for these recipients.
pub fn seal_lines(lines: &[u8], recipients: &[Recipient]) -> Result<Vec<u8>, BackupError> {
    let failed = |error: age::EncryptError| BackupError::Write(std::io::Error::other(error));
    let each = recipients.iter().map(|one| &one.0 as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(each).map_err(failed)?;
    let mut file = Vec::new();
    let mut out = encryptor
        .wrap_output(&mut file)
        .map_err(BackupError::Write)?;
    out.write_all(MAGIC).map_err(BackupError::Write)?;
    out.write_all(lines).map_err(BackupError::Write)?;
    out.finish().map_err(BackupError::Write)?;
    Ok(file)
}

/// The lines in an age file of the journal.
pub fn open_lines(file: impl Read, identity: &Identity) -> Result<Vec<u8>, BackupError> {
    let mut file = decrypted(file, identity)?;
    let mut magic = [0; MAGIC.len()];
    file.read_exact(&mut magic)
        .map_err(BackupError::of_reading)?;
    if magic != MAGIC {
        return Err(BackupError::NotAJournal);
    }
    let mut lines = Vec::new();
    file.take(SEGMENT_MAX_BYTES)
        .read_to_end(&mut lines)
        .map_err(BackupError::of_reading)?;
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_by_whom_they_are_for_and_by_nobody_else() {
        let [own, other] = [b"0123", b"0124"].map(|digits| Identity::of_code(digits));
        let file = seal_lines(b"line\n", &[own.recipient()]).unwrap();
        assert_eq!(open_lines(&file[..], &own).unwrap(), b"line\n");
        let refused = open_lines(&file[..], &other).unwrap_err();
        assert!(matches!(refused, BackupError::NoFit), "{refused}");
        let cut = open_lines(&file[..file.len() - 1], &own).unwrap_err();
        assert!(matches!(cut, BackupError::Damaged), "{cut}");
        let plain = open_lines(&b"line\n"[..], &own).unwrap_err();
        assert!(matches!(plain, BackupError::NotAge), "{plain}");
    }
}
