//! Exports and archives of the log, verified with nothing but the public key.
//!
//! A file has one record a line, exactly the leaf's bytes. An export of a whole log begins with record 0, and its checkpoint
//! lies beside it. An archive has a line before its records that says which they are: their first number and the number after
//! their last, the hashes of the largest whole subtrees before them from the left, the checkpoint of the log's size after the
//! last of them, and the log's public key, for information. The records and these hashes lead to the root that the checkpoint
//! signs, so that an archive needs no other file.
//!
//! Of whatever is read, no more than a line is in memory.

use std::io::{self, BufRead, BufReader, Read};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hearthkey_core::audit::RECORD_MAX_BYTES;
use hearthkey_core::id::Fingerprint;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tlog_tiles::{Hash, check_record, record_hash};

use crate::log::{
    CHECKPOINT_MAX_BYTES, Edge, SignedCheckpoint, Verified, VerifyError, open_checkpoint,
};

/// How the first line of an archive begins. No record does.
const HEAD_BEGINS: &[u8] = b"{\"archive\":1,";
/// The longest proof, in bytes: a number, 64 hashes and a checkpoint.
const PROOF_MAX_BYTES: u64 = CHECKPOINT_MAX_BYTES + 8 * 1024;

/// The first line of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The number of this form.
    archive: u32,
    /// The number after the last record.
    before: u64,
    /// The checkpoint of the log with all records before that.
    checkpoint: String,
    /// The number of the first record.
    first: u64,
    /// The log's public key, for information: what is trusted is the key that the verifier has from the home.
    key: String,
    /// The hashes of the largest whole subtrees before the first record, from the left, in base64.
    left: Vec<String>,
}

impl Head {
    /// The first line of the archive of these records.
    pub fn new(
        (first, before): (u64, u64),
        left: Vec<String>,
        checkpoint: String,
        key: String,
    ) -> Self {
        Self {
            archive: 1,
            before,
            checkpoint,
            first,
            key,
            left,
        }
    }

    /// The line, without its end.
    pub fn to_line(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    fn parse(line: &[u8]) -> Result<(Self, Edge), VerifyError> {
        let head: Self = serde_json::from_slice(line).map_err(|_| VerifyError::NoHead)?;
        let decoded = |text: &String| <[u8; 32]>::try_from(STANDARD.decode(text).ok()?).ok();
        let left: Option<Vec<[u8; 32]>> = head.left.iter().map(decoded).collect();
        let edge = left.and_then(|left| Edge::of(head.first, &left));
        match edge {
            Some(edge) if head.archive == 1 && head.first < head.before => Ok((head, edge)),
            _ => Err(VerifyError::NoHead),
        }
    }
}

/// A proof that a record was in the log (C2SP tlog-proof), made at some time.
#[derive(Debug, Clone)]
pub struct OlderProof {
    index: u64,
    path: Vec<Hash>,
    checkpoint: SignedCheckpoint,
}

impl OlderProof {
    /// Reads a proof whose checkpoint is signed by this key.
    pub fn parse(text: &[u8], vkey: &str) -> Result<Self, VerifyError> {
        let text = std::str::from_utf8(text).map_err(|_| VerifyError::NoProof)?;
        let (proof, note) = text.split_once("\n\n").ok_or(VerifyError::NoProof)?;
        let mut lines = proof.lines();
        let form = lines.next() == Some("c2sp.org/tlog-proof@v1");
        let index = lines.next().and_then(|line| line.strip_prefix("index "));
        let index = index.and_then(|number| number.parse().ok());
        let path: Result<Vec<Hash>, _> = lines.map(Hash::parse_hash).collect();
        match (form, index, path) {
            (true, Some(index), Ok(path)) if path.len() <= 64 => Ok(Self {
                index,
                path,
                checkpoint: open_checkpoint(note.as_bytes(), vkey)?,
            }),
            _ => Err(VerifyError::NoProof),
        }
    }
}

/// What is compared with an archive: what was signed and proved before.
#[derive(Debug, Clone, Default)]
pub struct Compared {
    /// Older checkpoints.
    pub checkpoints: Vec<SignedCheckpoint>,
    /// Older proofs.
    pub proofs: Vec<OlderProof>,
}

/// What an archive was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedArchive {
    /// The number of its first record.
    pub first: u64,
    /// The number after its last.
    pub before: u64,
    /// The root over all records before the first; none before record 0.
    pub first_root: Option<[u8; 32]>,
    /// The root over all records before `before`.
    pub root: [u8; 32],
}

impl VerifiedArchive {
    /// Fails unless this archive continues another.
    pub fn continues(&self, earlier: &Self) -> Result<(), VerifyError> {
        match self.first == earlier.before && self.first_root == Some(earlier.root) {
            true => Ok(()),
            false => Err(VerifyError::NotContinued {
                first: self.first,
                end: earlier.before,
            }),
        }
    }
}

/// Checks an export against its checkpoint. One that begins as an archive does has its first line checked as well.
pub fn verify_export(
    records: impl BufRead,
    checkpoint: impl Read,
    vkey: &str,
) -> Result<Verified, VerifyError> {
    let note = read_all(checkpoint, CHECKPOINT_MAX_BYTES)?.ok_or(VerifyError::NoCheckpoint)?;
    let checkpoint = open_checkpoint(&note, vkey)?;
    let mut lines = Lines::begin(records)?;
    let head = lines.head()?;
    let first = head.as_ref().map_or(0, |(head, _)| head.first);
    let edge = head.map_or_else(Edge::default, |(_, edge)| edge);
    let edge = lines.into_edge(edge, |_, _| Ok(()))?;
    of_checkpoint(&edge, &checkpoint)?;
    Ok(Verified {
        size: checkpoint.size,
        first,
        root: checkpoint.root,
    })
}

/// All that is in a file; none if it is longer than that.
fn read_all(file: impl Read, at_most: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let read = file.take(at_most + 1).read_to_end(&mut bytes)? as u64;
    Ok((read <= at_most).then_some(bytes))
}

/// Checks an archive, and that what was signed and proved before agrees with it.
pub fn verify_archive(
    archive: impl BufRead,
    vkey: &str,
    compared: &Compared,
) -> Result<VerifiedArchive, VerifyError> {
    let mut lines = Lines::begin(archive)?;
    let (head, edge) = lines.head()?.ok_or(VerifyError::NoHead)?;
    let checkpoint = open_checkpoint(head.checkpoint.as_bytes(), vkey)?;
    if checkpoint.size != head.before {
        return Err(VerifyError::NoHead);
    }
    let here = head.first..head.before;
    for (what, at, is_here) in compared.places(&here) {
        if !is_here {
            return Err(VerifyError::Elsewhere {
                what,
                at,
                first: here.start,
                last: here.end - 1,
            });
        }
    }
    let first_root = (head.first > 0).then(|| edge.root().map(|root| root.0));
    let first_root = first_root.transpose().map_err(|_| VerifyError::Root)?;
    compared.agrees_at(&edge)?;
    let edge = lines.into_edge(edge, |edge, record| {
        compared.proofs_agree(edge.size() - 1, record)?;
        compared.agrees_at(edge)
    })?;
    of_checkpoint(&edge, &checkpoint)?;
    Ok(VerifiedArchive {
        first: head.first,
        before: head.before,
        first_root,
        root: checkpoint.root,
    })
}

/// An archive that was read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveFile {
    /// What it was found to be.
    pub found: VerifiedArchive,
    /// The SHA-256 of its bytes.
    pub sha256: Fingerprint,
    /// How many they are.
    pub bytes: u64,
}

/// Checks an archive in one reading, of which the hash is made as well.
pub fn verify_archive_file(
    file: impl Read,
    vkey: &str,
    compared: &Compared,
) -> Result<ArchiveFile, VerifyError> {
    let mut hashed = Hashed {
        file,
        digest: Sha256::new(),
        bytes: 0,
    };
    let found = verify_archive(BufReader::new(&mut hashed), vkey, compared)?;
    Ok(ArchiveFile {
        found,
        sha256: Fingerprint(hashed.digest.finalize().into()),
        bytes: hashed.bytes,
    })
}

/// A file whose hash is made while it is read.
struct Hashed<R> {
    file: R,
    digest: Sha256,
    bytes: u64,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.digest.update(&buffer[..read]);
        self.bytes += read as u64;
        Ok(read)
    }
}

/// Fails unless a tree is the one that was signed.
fn of_checkpoint(edge: &Edge, checkpoint: &SignedCheckpoint) -> Result<(), VerifyError> {
    if edge.size() != checkpoint.size {
        return Err(VerifyError::Size {
            found: edge.size(),
            expected: checkpoint.size,
        });
    }
    match edge.root() {
        Ok(root) if root.0 == checkpoint.root => Ok(()),
        _ => Err(VerifyError::Root),
    }
}

impl Compared {
    /// With the checkpoint in a file, if its signature is this key's.
    pub fn checkpoint(mut self, file: impl Read, vkey: &str) -> Result<Self, VerifyError> {
        let note = read_all(file, CHECKPOINT_MAX_BYTES)?.ok_or(VerifyError::NoCheckpoint)?;
        self.checkpoints.push(open_checkpoint(&note, vkey)?);
        Ok(self)
    }

    /// With the proof in a file, if the signature in it is this key's.
    pub fn proof(mut self, file: impl Read, vkey: &str) -> Result<Self, VerifyError> {
        let text = read_all(file, PROOF_MAX_BYTES)?.ok_or(VerifyError::NoProof)?;
        self.proofs.push(OlderProof::parse(&text, vkey)?);
        Ok(self)
    }

    /// What each is, its place, and whether that is in an archive of these records.
    fn places(
        &self,
        here: &std::ops::Range<u64>,
    ) -> impl Iterator<Item = (&'static str, u64, bool)> {
        let ends = here.start.max(1)..=here.end;
        let checkpoints = self.checkpoints.iter().map(move |one| {
            let what = "a checkpoint";
            (what, one.size.saturating_sub(1), ends.contains(&one.size))
        });
        let here = here.clone();
        let proofs = self.proofs.iter();
        checkpoints.chain(proofs.map(move |one| ("a proof", one.index, here.contains(&one.index))))
    }

    /// Fails if a checkpoint of this size signs another root.
    fn agrees_at(&self, edge: &Edge) -> Result<(), VerifyError> {
        let mut of_size = self.checkpoints.iter();
        let Some(signed) = of_size.find(|one| one.size == edge.size() && edge.size() > 0) else {
            return Ok(());
        };
        let root = edge.root().map_err(|_| VerifyError::Root)?;
        let others = self.checkpoints.iter();
        let mut same = others.filter(|one| one.size == signed.size);
        match same.all(|one| one.root == root.0) {
            true => Ok(()),
            false => Err(VerifyError::Disagrees {
                what: "the checkpoint",
                at: signed.size - 1,
            }),
        }
    }

    /// Fails if a proof is of another record than this.
    fn proofs_agree(&self, seq: u64, record: &[u8]) -> Result<(), VerifyError> {
        for proof in self.proofs.iter().filter(|proof| proof.index == seq) {
            let (size, root) = (proof.checkpoint.size, Hash(proof.checkpoint.root));
            check_record(&proof.path, size, root, seq, record_hash(record)).map_err(|_| {
                VerifyError::Disagrees {
                    what: "the proof",
                    at: seq,
                }
            })?;
        }
        Ok(())
    }
}

/// The lines of a file: maybe a head, then records.
struct Lines<R> {
    file: R,
    /// The first line, until it is taken.
    next: Option<Vec<u8>>,
    /// Lines that were read.
    read: u64,
}

impl<R: BufRead> Lines<R> {
    fn begin(mut file: R) -> Result<Self, VerifyError> {
        let mut line = Vec::new();
        let is_there = read_line(&mut file, &mut line, 1)?;
        Ok(Self {
            file,
            next: is_there.then_some(line),
            read: u64::from(is_there),
        })
    }

    /// The head, if there is one.
    fn head(&mut self) -> Result<Option<(Head, Edge)>, VerifyError> {
        let is_head = |line: &mut Vec<u8>| line.starts_with(HEAD_BEGINS);
        let line = self.next.take_if(is_head);
        line.map(|line| Head::parse(&line)).transpose()
    }

    /// The tree with the records that follow. `each` sees it after each of them.
    fn into_edge(
        mut self,
        mut edge: Edge,
        mut each: impl FnMut(&Edge, &[u8]) -> Result<(), VerifyError>,
    ) -> Result<Edge, VerifyError> {
        let mut line = Vec::new();
        loop {
            match self.next.take() {
                Some(first) => line = first,
                None if !read_line(&mut self.file, &mut line, self.read + 1)? => return Ok(edge),
                None => self.read += 1,
            }
            let expected = edge.size();
            let seq = serde_json::from_slice::<Numbered>(&line);
            if seq.is_ok_and(|record| record.seq != expected) {
                return Err(VerifyError::Order {
                    line: self.read,
                    expected,
                });
            }
            edge.append(&line).map_err(|_| VerifyError::Root)?;
            each(&edge, &line)?;
        }
    }
}

/// Reads the next line, without its end. False if there is none.
fn read_line(
    records: &mut impl BufRead,
    line: &mut Vec<u8>,
    number: u64,
) -> Result<bool, VerifyError> {
    line.clear();
    let most = RECORD_MAX_BYTES as u64 + 1;
    if records.by_ref().take(most).read_until(b'\n', line)? == 0 {
        return Ok(false);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    match line.len() <= RECORD_MAX_BYTES {
        true => Ok(true),
        false => Err(VerifyError::TooLong { line: number }),
    }
}

#[derive(Deserialize)]
struct Numbered {
    seq: u64,
}
