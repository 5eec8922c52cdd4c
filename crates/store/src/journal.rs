//! Revocations, written down a second time outside the database.
//!
//! A restored backup or a rolled-back database must not un-revoke. Each line is one revocation
//! with an HMAC, appended and synced before the revocation is acknowledged; all are replayed at
//! start. A line that was cut short by a crash was never acknowledged.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use hearthkey_core::certificate::RevocationReason;
use hearthkey_core::id::{DeviceId, Fingerprint, HomeId, hex};
use hearthkey_core::time::Timestamp;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::keys::{DerivedKey, RootKey};

/// The journal's name in the data directory.
pub const JOURNAL_FILE: &str = "revocations.journal";

/// One revocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// The device.
    pub device: DeviceId,
    /// The certificates that were taken back with it.
    pub certificates: Vec<Fingerprint>,
    /// The keys that are never certified again, if it was a compromise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<Fingerprint>,
    /// Why.
    pub reason: RevocationReason,
    /// When.
    pub at: Timestamp,
}

/// The open journal.
pub struct Journal {
    file: File,
    key: DerivedKey,
    /// Whether the last line may lack its end: it must not swallow the next one.
    torn: bool,
}

impl Journal {
    /// Opens the journal of a data directory and reads what it holds. Lines that are not ours
    /// are counted, not believed.
    pub fn open(data_dir: &Path, root: &RootKey, home: &HomeId) -> io::Result<(Self, Replay)> {
        let key = root.journal(home);
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(data_dir.join(JOURNAL_FILE))?;
        let mut replay = Replay::default();
        for line in BufReader::new(&file).split(b'\n') {
            let line = line?;
            match read_line(&key, &line) {
                Some(revocation) => replay.revocations.push(revocation),
                None if line.is_empty() => {}
                None => replay.foreign_lines += 1,
            }
        }
        let torn = replay.foreign_lines > 0;
        Ok((Self { file, key, torn }, replay))
    }

    /// Appends a revocation and waits until it is on the disk.
    pub fn append(&mut self, revocation: &Revocation) -> io::Result<()> {
        let json = serde_json::to_string(revocation)?;
        let tag = hex(&mac(&self.key, json.as_bytes()).finalize().into_bytes());
        let begin = if self.torn { "\n" } else { "" };
        // A full disk may take a part of it.
        self.torn = true;
        self.file
            .write_all(format!("{begin}{json}\t{tag}\n").as_bytes())?;
        self.torn = false;
        self.file.sync_data()
    }
}

/// What a journal holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// The revocations, oldest first.
    pub revocations: Vec<Revocation>,
    /// Lines that do not carry this home's HMAC.
    pub foreign_lines: usize,
}

fn mac(key: &DerivedKey, message: &[u8]) -> Hmac<Sha256> {
    // HMAC takes keys of every length, so this cannot fail.
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key.bytes())
        .unwrap_or_else(|_| unreachable!("HMAC takes keys of every length"));
    mac.update(message);
    mac
}

fn read_line(key: &DerivedKey, line: &[u8]) -> Option<Revocation> {
    let text = std::str::from_utf8(line).ok()?;
    let (json, tag) = text.rsplit_once('\t')?;
    let tag = hearthkey_core::id::unhex::<32>(tag)?;
    mac(key, json.as_bytes()).verify_slice(&tag).ok()?;
    serde_json::from_str(json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revocation(name: &str) -> Revocation {
        Revocation {
            device: name.parse().unwrap(),
            certificates: vec![Fingerprint([1; 32])],
            keys: vec![Fingerprint([3; 32])],
            reason: RevocationReason::KeyCompromise,
            at: Timestamp::from_s(1),
        }
    }

    #[test]
    fn what_was_appended_is_replayed_and_a_torn_or_forged_line_is_not() {
        let dir = std::env::temp_dir().join(format!("hearthkey-journal-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let home: HomeId = "home-1".parse().unwrap();
        let root = RootKey::generate();
        let (mut journal, empty) = Journal::open(&dir, &root, &home).unwrap();
        assert_eq!(empty, Replay::default());
        journal.append(&revocation("lamp")).unwrap();
        drop(journal);

        let path = dir.join(JOURNAL_FILE);
        let mut bytes = std::fs::read(&path).unwrap();
        let forged = String::from_utf8(bytes.clone())
            .unwrap()
            .replace("lamp", "hall");
        bytes.extend(forged.as_bytes());
        bytes.extend(br#"{"device":"to"#);
        std::fs::write(&path, &bytes).unwrap();

        let (mut journal, replay) = Journal::open(&dir, &root, &home).unwrap();
        assert_eq!(replay.revocations, [revocation("lamp")]);
        assert_eq!(replay.foreign_lines, 2);
        journal.append(&revocation("door")).unwrap();
        let (_, replay) = Journal::open(&dir, &root, &home).unwrap();
        assert_eq!(replay.revocations, [revocation("lamp"), revocation("door")]);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_line_that_a_full_disk_cut_short_does_not_swallow_the_next_one() {
        let dir = tempfile::tempdir().unwrap();
        let home: HomeId = "home-1".parse().unwrap();
        let root = RootKey::generate();
        let (mut journal, _) = Journal::open(dir.path(), &root, &home).unwrap();
        journal.append(&revocation("lamp")).unwrap();
        let whole = journal.file.try_clone().unwrap();
        // A file that cannot be written stands for the disk that is full.
        journal.file = File::open(dir.path().join(JOURNAL_FILE)).unwrap();
        assert!(journal.append(&revocation("door")).is_err());
        journal.file = whole;
        journal.file.write_all(br#"{"device":"do"#).unwrap();
        journal.append(&revocation("door")).unwrap();
        let (_, replay) = Journal::open(dir.path(), &root, &home).unwrap();
        assert_eq!(replay.revocations, [revocation("lamp"), revocation("door")]);
        assert_eq!(replay.foreign_lines, 1);
    }
}
