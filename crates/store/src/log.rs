//! The audit log: an RFC 6962 Merkle tree over canonical records, with C2SP checkpoints.
//!
//! Leaf `SHA256(00 ‖ record)`, node `SHA256(01 ‖ left ‖ right)`; a checkpoint is a signed note of
//! origin, size and root. The stored form keeps, with each record, the hashes of the subtrees
//! that it completes, so that appending touches one row and every proof can be read back.

use std::collections::BTreeMap;
use std::io;

use hearthkey_core::audit::RECORD_MAX_BYTES;
use signed_note::{Note, StandardSigner, StandardVerifier, VerifierList};
use tlog_tiles::{
    Checkpoint, Error as TlogError, Hash, HashReader, prove_record, record_hash,
    split_stored_hash_index, stored_hash_index, stored_hashes_for_record_hash, sub_tree_index,
    tree_hash,
};
use zeroize::Zeroizing;

/// A signed statement of the log's size and root hash (C2SP tlog-checkpoint).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    /// How many records it covers.
    pub size: u64,
    /// The root hash over them.
    pub root: [u8; 32],
    /// The signed note, ready to be published.
    pub note: Vec<u8>,
}

/// The key that signs checkpoints.
pub struct LogKey {
    signer: StandardSigner,
    origin: String,
}

/// A log key or verifier key that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "this is not a log key: a verifier key reads NAME+ID+KEY, as `hearthkey log key` prints it"
)]
pub struct InvalidKey;

impl LogKey {
    /// A new key for a log: its private form, to be sealed, and its public one (the vkey).
    pub fn generate(origin: &str) -> (Zeroizing<String>, String) {
        let (private, public) = signed_note::generate_key(&mut rand_core::OsRng, origin);
        (Zeroizing::new(private), public)
    }

    /// Reads a private key.
    pub fn parse(private: &str, origin: &str) -> Result<Self, InvalidKey> {
        let signer = StandardSigner::new(private).map_err(|_| InvalidKey)?;
        Ok(Self {
            signer,
            origin: origin.to_owned(),
        })
    }

    /// Signs the size and root of a log.
    pub fn sign(&self, size: u64, root: Hash) -> Result<SignedCheckpoint, InvalidKey> {
        let text = Checkpoint::new(&self.origin, size, root, "")
            .map_err(|_| InvalidKey)?
            .to_bytes();
        let mut note = Note::new(&text, &[]).map_err(|_| InvalidKey)?;
        note.add_sigs(&[&self.signer]).map_err(|_| InvalidKey)?;
        Ok(SignedCheckpoint {
            size,
            root: root.0,
            note: note.to_bytes(),
        })
    }
}

/// Reads a checkpoint and checks its signature.
pub fn open_checkpoint(note: &[u8], vkey: &str) -> Result<SignedCheckpoint, VerifyError> {
    let verifier = StandardVerifier::new(vkey).map_err(|_| VerifyError::Key(InvalidKey))?;
    let known = VerifierList::new(vec![Box::new(verifier)]);
    let parsed = Note::from_bytes(note).map_err(|_| VerifyError::Signature)?;
    parsed.verify(&known).map_err(|_| VerifyError::Signature)?;
    let checkpoint = Checkpoint::from_bytes(parsed.text()).map_err(|_| VerifyError::Signature)?;
    let origin = vkey.split('+').next().unwrap_or_default();
    if checkpoint.origin() != origin {
        return Err(VerifyError::Signature);
    }
    Ok(SignedCheckpoint {
        size: checkpoint.size(),
        root: checkpoint.hash().0,
        note: note.to_vec(),
    })
}

/// Where a stored hash lies: with which record, and at which place among that record's hashes.
pub(crate) fn stored_at(index: u64) -> (u64, usize) {
    let (level, n) = split_stored_hash_index(index);
    // The subtree (level, n) is complete with its last leaf.
    let seq = ((n + 1) << level) - 1;
    (seq, usize::from(level))
}

/// The growing edge of the tree: its size, and the hashes that the next record will need.
#[derive(Debug, Clone, Default)]
pub(crate) struct Edge {
    size: u64,
    hashes: BTreeMap<u64, Hash>,
}

impl HashReader for Edge {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, TlogError> {
        indexes
            .iter()
            .map(|index| {
                self.hashes
                    .get(index)
                    .copied()
                    .ok_or(TlogError::IndexesNotInTree)
            })
            .collect()
    }
}

impl Edge {
    /// The edge of a tree of this size, whose hashes `read` can find.
    pub(crate) fn load(size: u64, read: &impl HashReader) -> Result<Self, TlogError> {
        let needed = if size == 0 {
            Vec::new()
        } else {
            sub_tree_index(0, size, Vec::new())
        };
        let hashes = read.read_hashes(&needed)?;
        Ok(Self {
            size,
            hashes: needed.into_iter().zip(hashes).collect(),
        })
    }

    /// The edge of a tree by the hashes of its largest whole subtrees, from the left; none if they are not as many as those of a
    /// tree of this size.
    pub(crate) fn of(size: u64, left: &[[u8; 32]]) -> Option<Self> {
        let needed = match size {
            0 => Vec::new(),
            // Numbers of records end at 2⁶², so that those of hashes have room.
            size if size < 1 << 62 => sub_tree_index(0, size, Vec::new()),
            _ => return None,
        };
        let hashes = left.iter().copied().map(Hash);
        (needed.len() == left.len()).then(|| Self {
            size,
            hashes: needed.into_iter().zip(hashes).collect(),
        })
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Appends a record and returns the hashes to store with it.
    pub(crate) fn append(&mut self, record: &[u8]) -> Result<Vec<u8>, TlogError> {
        self.append_leaf(record_hash(record).0)
    }

    /// Appends a record by its leaf's hash.
    pub(crate) fn append_leaf(&mut self, leaf: [u8; 32]) -> Result<Vec<u8>, TlogError> {
        let hashes = stored_hashes_for_record_hash(self.size, Hash(leaf), self)?;
        let first = stored_hash_index(0, self.size);
        self.hashes.extend((first..).zip(hashes.iter().copied()));
        self.size += 1;
        let needed = sub_tree_index(0, self.size, Vec::new());
        self.hashes.retain(|index, _| needed.contains(index));
        Ok(hashes.iter().flat_map(|hash| hash.0).collect())
    }

    pub(crate) fn root(&self) -> Result<Hash, TlogError> {
        tree_hash(self.size, self)
    }
}

/// A proof that a record is in the log (C2SP tlog-proof), as text.
pub(crate) fn proof(
    seq: u64,
    checkpoint: &SignedCheckpoint,
    read: &impl HashReader,
) -> Result<Vec<u8>, TlogError> {
    let hashes = prove_record(checkpoint.size, seq, read)?;
    let mut text = format!("c2sp.org/tlog-proof@v1\nindex {seq}\n");
    for hash in hashes {
        text.push_str(&format!("{hash}\n"));
    }
    text.push('\n');
    Ok([text.as_bytes(), &checkpoint.note].concat())
}

/// What an export was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// How many records the log had.
    pub size: u64,
    /// The number of the first that is in it: those before are archived.
    pub first: u64,
    /// The root hash of them all.
    pub root: [u8; 32],
}

/// Why an export does not verify.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The verifier key cannot be read.
    #[error(transparent)]
    Key(InvalidKey),
    /// The checkpoint is not signed by this key.
    #[error(
        "the checkpoint is not signed by this key: it was altered, or belongs to another home. Get the key with `hearthkey log key` on the gateway"
    )]
    Signature,
    /// The export cannot be read.
    #[error("the export cannot be read: {0}. Check the file and try again")]
    Io(#[from] io::Error),
    /// Fewer or more records than the checkpoint covers.
    #[error(
        "the export has {found} records, but the checkpoint covers {expected}: records were removed or added. Export again, and keep this file as evidence"
    )]
    Size {
        /// Records in the file.
        found: u64,
        /// Records in the checkpoint.
        expected: u64,
    },
    /// A record is not where it belongs.
    #[error(
        "line {line} does not hold record {expected}: records were removed, added or reordered. Export again, and keep this file as evidence"
    )]
    Order {
        /// The line, from 1.
        line: u64,
        /// The record that belongs there.
        expected: u64,
    },
    /// No record is that long.
    #[error(
        "line {line} is longer than {RECORD_MAX_BYTES} bytes, more than a record has: the file is not an export, or was altered. Export again, and keep this file as evidence"
    )]
    TooLong {
        /// The line, from 1.
        line: u64,
    },
    /// No checkpoint is that long.
    #[error(
        "the checkpoint is longer than {CHECKPOINT_MAX_BYTES} bytes: it is another file. Name the one that was exported with the records"
    )]
    NoCheckpoint,
    /// The first line of an archive is not as it must be.
    #[error(
        "the first line does not say which records these are: the file is no archive, or was altered. Use another copy"
    )]
    NoHead,
    /// Of several archives, one does not go on where the one before ends.
    #[error(
        "the archive that begins with record {first} does not continue the one that ends before record {end}. Name the archives in their order, each once"
    )]
    NotContinued {
        /// The first record of the archive.
        first: u64,
        /// Where the one before ends.
        end: u64,
    },
    /// An older checkpoint or proof cannot be compared.
    #[error(
        "{what} is about record {at}, which is not in this archive (records {first} to {last}). Name the archive that has it"
    )]
    Elsewhere {
        /// What it is.
        what: &'static str,
        /// Its place.
        at: u64,
        /// The first record of the archive.
        first: u64,
        /// The last.
        last: u64,
    },
    /// An older checkpoint or proof does not agree with the archive.
    #[error(
        "{what} of record {at} does not agree with the archive: the log was rewritten, or the file is of another log. Keep both as evidence"
    )]
    Disagrees {
        /// What it is.
        what: &'static str,
        /// Its place.
        at: u64,
    },
    /// A proof cannot be read.
    #[error(
        "this is not a proof of the form C2SP tlog-proof: the file was altered, or is another one. Name the file that `hearthkey log prove` wrote"
    )]
    NoProof,
    /// The records hash to another root than the one that was signed.
    #[error(
        "the records do not match the signed checkpoint: at least one was altered. Export again, and keep this file as evidence"
    )]
    Root,
}

/// The longest checkpoint, in bytes: a name, two numbers, and signatures.
pub(crate) const CHECKPOINT_MAX_BYTES: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::log_archive::verify_export;

    const ORIGIN: &str = "hearthkey.home.arpa/home-1";

    fn export(count: u64) -> (Vec<u8>, Vec<u8>, String) {
        let (private, vkey) = LogKey::generate(ORIGIN);
        let key = LogKey::parse(&private, ORIGIN).unwrap();
        let mut edge = Edge::default();
        let mut file = Vec::new();
        for seq in 0..count {
            let record = format!("{{\"action\":\"a\",\"seq\":{seq}}}").into_bytes();
            edge.append(&record).unwrap();
            file.extend(&record);
            file.push(b'\n');
        }
        let note = key.sign(edge.size(), edge.root().unwrap()).unwrap().note;
        (file, note, vkey)
    }

    #[test]
    fn a_file_of_one_endless_line_is_refused_and_not_kept_in_memory() {
        let (file, note, vkey) = export(3);
        let endless = file.as_slice().chain(io::repeat(b'x'));
        let refused = verify_export(io::BufReader::new(endless), &note[..], &vkey).unwrap_err();
        assert!(matches!(refused, VerifyError::TooLong { line: 4 }));
        assert!(refused.to_string().contains("line 4 is longer than 65536"));
        let refused = verify_export(file.as_slice(), io::repeat(b'x'), &vkey).unwrap_err();
        assert!(matches!(refused, VerifyError::NoCheckpoint));
    }

    #[test]
    fn an_untouched_export_verifies_at_every_size() {
        for count in [1, 2, 3, 7, 8, 100] {
            let (file, note, vkey) = export(count);
            assert_eq!(
                verify_export(file.as_slice(), &note[..], &vkey)
                    .unwrap()
                    .size,
                count
            );
        }
    }

    #[test]
    fn every_flipped_byte_of_an_export_is_found() {
        let (file, note, vkey) = export(5);
        for at in 0..file.len() {
            let mut flipped = file.clone();
            flipped[at] ^= 1;
            assert!(
                verify_export(flipped.as_slice(), &note[..], &vkey).is_err(),
                "byte {at}"
            );
        }
        for at in 0..note.len() {
            let mut flipped = note.clone();
            flipped[at] ^= 1;
            let verified = verify_export(file.as_slice(), &flipped[..], &vkey);
            assert!(verified.is_err(), "byte {at} of the checkpoint");
        }
    }

    #[test]
    fn a_truncated_reordered_or_thinned_export_says_what_is_wrong() {
        let (file, note, vkey) = export(6);
        let lines: Vec<&[u8]> = file.split_inclusive(|b| *b == b'\n').collect();
        let with = |order: &[usize]| -> VerifyError {
            let file: Vec<u8> = order.iter().flat_map(|n| lines[*n].to_vec()).collect();
            verify_export(file.as_slice(), &note[..], &vkey).unwrap_err()
        };
        assert!(matches!(
            with(&[0, 1, 2, 3, 4]),
            VerifyError::Size {
                found: 5,
                expected: 6
            }
        ));
        assert!(matches!(
            with(&[0, 2, 1, 3, 4, 5]),
            VerifyError::Order {
                line: 2,
                expected: 1
            }
        ));
        assert!(matches!(
            with(&[0, 1, 3, 4, 5]),
            VerifyError::Order {
                line: 3,
                expected: 2
            }
        ));
        let (_, _, other_key) = export(1);
        let foreign = verify_export(file.as_slice(), &note[..], &other_key);
        assert!(matches!(foreign, Err(VerifyError::Signature)));
    }
}
