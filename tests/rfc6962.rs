//! A verifier of the audit log written from RFC 6962 and C2SP signed-note alone: it shares no code
//! with the product, so that both can be wrong only in different ways.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

pub type Hash = [u8; 32];

/// RFC 6962 §2.1: the hash of a leaf.
pub fn leaf_hash(record: &[u8]) -> Hash {
    Sha256::new()
        .chain_update([0])
        .chain_update(record)
        .finalize()
        .into()
}

fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let digest = Sha256::new()
        .chain_update([1])
        .chain_update(left)
        .chain_update(right);
    digest.finalize().into()
}

/// RFC 6962 §2.1: the Merkle tree hash of a list.
pub fn tree_hash(leaves: &[Hash]) -> Hash {
    match leaves.len() {
        0 => Sha256::digest([]).into(),
        1 => leaves[0],
        n => {
            // The largest power of two that is smaller than n.
            let split = n.next_power_of_two() / 2;
            node_hash(&tree_hash(&leaves[..split]), &tree_hash(&leaves[split..]))
        }
    }
}

/// The root that an audit path leads to (the algorithm of RFC 9162 §2.1.3.2), if its length fits.
pub fn root_from_path(index: u64, size: u64, leaf: Hash, path: &[Hash]) -> Option<Hash> {
    if index >= size {
        return None;
    }
    let (mut node, mut last, mut hash) = (index, size - 1, leaf);
    for sibling in path {
        if last == 0 {
            return None;
        }
        if node % 2 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node % 2 == 0 && node != 0 {
                (node, last) = (node >> 1, last >> 1);
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    (last == 0).then_some(hash)
}

/// A verifier key: `name+id+base64(01 ‖ public key)`.
pub struct VerifierKey {
    name: String,
    id: [u8; 4],
    public: Vec<u8>,
}

impl VerifierKey {
    pub fn parse(vkey: &str) -> Self {
        let mut parts = vkey.trim().splitn(3, '+');
        let mut next = || parts.next().expect("a vkey has three parts");
        let (name, id, key) = (next(), next(), STANDARD.decode(next()).unwrap());
        assert_eq!(key[0], 1, "the algorithm is Ed25519");
        let digest = Sha256::new()
            .chain_update(name)
            .chain_update(b"\n")
            .chain_update(&key);
        let made: Hash = digest.finalize().into();
        let made = [made[0], made[1], made[2], made[3]];
        assert_eq!(
            format!("{:08x}", u32::from_be_bytes(made)),
            id,
            "the key's id is its hash"
        );
        Self {
            name: name.to_owned(),
            id: made,
            public: key[1..].to_vec(),
        }
    }
}

/// A checkpoint: what a signed note says of a log.
#[derive(Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub origin: String,
    pub size: u64,
    pub root: Hash,
}

/// Reads a signed note and checks its signature; none if the signature is not this key's.
pub fn open_note(note: &str, key: &VerifierKey) -> Option<Checkpoint> {
    let end = note.rfind("\n\n")? + 1;
    let (text, signatures) = (&note[..end], &note[end + 1..]);
    let signed = signatures.lines().any(|line| {
        let Some((name, signature)) = line.strip_prefix("— ").and_then(|l| l.split_once(' '))
        else {
            return false;
        };
        let signature = STANDARD.decode(signature).unwrap_or_default();
        name == key.name
            && signature.get(..4) == Some(&key.id[..])
            && UnparsedPublicKey::new(&ED25519, &key.public)
                .verify(text.as_bytes(), &signature[4..])
                .is_ok()
    });
    let mut lines = text.lines();
    let origin = lines.next()?.to_owned();
    let size = lines.next()?.parse().ok()?;
    let root = STANDARD.decode(lines.next()?).ok()?.try_into().ok()?;
    (signed && origin == key.name).then_some(Checkpoint { origin, size, root })
}

/// A C2SP tlog-proof: that a record is in the log that a checkpoint describes.
pub struct Proof {
    pub index: u64,
    pub path: Vec<Hash>,
    pub note: String,
}

impl Proof {
    pub fn parse(text: &str) -> Self {
        let (head, note) = text
            .split_once("\n\n")
            .expect("a blank line before the note");
        let mut lines = head.lines();
        assert_eq!(lines.next(), Some("c2sp.org/tlog-proof@v1"));
        let index = lines
            .next()
            .and_then(|line| line.strip_prefix("index "))
            .unwrap();
        let hash = |line: &str| STANDARD.decode(line).unwrap().try_into().unwrap();
        Self {
            index: index.parse().unwrap(),
            path: lines.map(hash).collect(),
            note: note.to_owned(),
        }
    }

    /// Whether it proves that this is the record, under this key.
    pub fn proves(&self, record: &[u8], key: &VerifierKey) -> bool {
        let Some(checkpoint) = open_note(&self.note, key) else {
            return false;
        };
        let root = root_from_path(self.index, checkpoint.size, leaf_hash(record), &self.path);
        root == Some(checkpoint.root)
    }
}

#[test]
fn the_trees_and_paths_of_every_small_size_agree() {
    fn path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() < 2 {
            return Vec::new();
        }
        let split = leaves.len().next_power_of_two() / 2;
        let (left, right) = leaves.split_at(split);
        let (mut path, other) = match index < split {
            true => (path(index, left), right),
            false => (path(index - split, right), left),
        };
        path.push(tree_hash(other));
        path
    }
    for size in 1..40_usize {
        let leaves: Vec<Hash> = (0..size).map(|n| leaf_hash(&n.to_be_bytes())).collect();
        for index in 0..size {
            let path = path(index, &leaves);
            let led = |index: usize, path: &[Hash]| {
                root_from_path(index as u64, size as u64, leaves[index], path)
            };
            assert_eq!(
                led(index, &path),
                Some(tree_hash(&leaves)),
                "{index} of {size}"
            );
            if size > 1 {
                assert_eq!(
                    led(index, &path[1..]).filter(|r| *r == tree_hash(&leaves)),
                    None
                );
                let wrong = led((index + 1) % size, &path);
                assert_ne!(wrong, Some(tree_hash(&leaves)));
            }
        }
    }
    // RFC 6962 §2.1: the hash of an empty list is that of an empty string.
    assert_eq!(tree_hash(&[])[..4], [0xe3, 0xb0, 0xc4, 0x42]);
}
