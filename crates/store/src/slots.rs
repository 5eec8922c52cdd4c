//! The ways into a home: each slot wraps the root key in a key of its own.
//!
//! The slots file lies beside the database and holds nothing that helps without the way in:
//! a key file (0600, protects nothing against who can read the card), a passphrase (Argon2id,
//! RFC 9106), or the recovery code that was printed once.

use std::io;
use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hearthkey_core::id::{HomeId, hex, unhex};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::files::DataDir;
use crate::keys::{RootKey, random};
use crate::vault;

pub mod kit;
pub mod methods;
pub(crate) mod renewed;
pub mod unlocking;

use methods::About;

/// The slots file's name in the data directory.
pub const SLOTS_FILE: &str = "slots.json";
/// The key file's name in the data directory.
pub const KEY_FILE: &str = "unseal.key";
/// The shortest passphrase, in characters.
pub const PASSPHRASE_MIN_CHARS: usize = 8;
/// The longest passphrase, in bytes.
pub const PASSPHRASE_MAX_BYTES: usize = 1024;

/// 64 MiB, 3 passes, 1 lane.
const ARGON2_KIB: u32 = 64 * 1024;
const ARGON2_PASSES: u32 = 3;

/// The kind of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SlotKind {
    /// A file beside the database, readable by the service alone.
    KeyFile,
    /// Something a person knows.
    Passphrase,
    /// The code that was printed once.
    RecoveryCode,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Slot {
    /// What it is called, and since when it is there; unknown of one that an earlier program has made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    about: Option<About>,
    kind: SlotKind,
    salt: String,
    wrapped: String,
    /// Of a recovery code: what backups are encrypted for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kit: Option<Kit>,
}

/// What backups are encrypted for so that a recovery code opens them, with the home's HMAC: somebody who can write the slots
/// file must not put another recipient in its place.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kit {
    recipient: String,
    tag: String,
}

/// The slots of a home.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slots {
    home: HomeId,
    slots: Vec<Slot>,
}

/// A way in, as it is presented.
pub enum Way {
    /// The content of the key file.
    KeyFile(Zeroizing<Vec<u8>>),
    /// A passphrase, or a recovery code: which of the two is found out by trying.
    Words(Zeroizing<String>),
}

/// What helps where the slots file cannot be read.
fn remedy_of(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => {
            "Run this as the user that the home belongs to, or name another --data-dir"
        }
        io::ErrorKind::NotFound => {
            "Name the home's directory with --data-dir, create a home with `hearthkey init`, or put this file back from a copy of the home"
        }
        _ => "Restore it from a backup",
    }
}

/// Why a home does not open.
#[derive(Debug, thiserror::Error)]
pub enum UnsealError {
    /// The slots file cannot be read.
    #[error(
        "{path}, which opens the home, cannot be read: {source}. {}",
        remedy_of(source)
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The slots file is not what was written.
    #[error("the slots file is damaged: {0}. Restore it from a backup")]
    Damaged(String),
    /// The slots file says what this program does not know.
    #[error(
        "the slots file has unknown content: {0}. A newer Hearthkey has written it: run that one. If none has, restore it from a backup"
    )]
    Newer(String),
    /// No slot opens with what was presented.
    #[error(
        "wrong passphrase or recovery code: the home does not open with it. Try another passphrase, or the recovery code"
    )]
    NoFit,
}

/// Why slots could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// The passphrase is too short or too long.
    #[error(
        "a passphrase has at least {PASSPHRASE_MIN_CHARS} characters and at most {PASSPHRASE_MAX_BYTES} bytes. Choose a longer one: six random words are a good choice"
    )]
    Passphrase,
    /// The file cannot be written.
    #[error(
        "the data directory cannot be written: {0}. Free space or repair the disk, or choose another --data-dir"
    )]
    Io(#[from] io::Error),
}

impl Slots {
    /// A home without a way in yet.
    pub fn new(home: HomeId) -> Self {
        Self {
            home,
            slots: Vec::new(),
        }
    }

    /// The home these slots open.
    pub fn home(&self) -> &HomeId {
        &self.home
    }

    /// The kinds of the slots, in order.
    pub fn kinds(&self) -> Vec<SlotKind> {
        self.slots.iter().map(|slot| slot.kind).collect()
    }

    /// Reads the slots of a data directory.
    pub fn read(data_dir: &Path) -> Result<Self, UnsealError> {
        let text = DataDir::open(data_dir)
            .and_then(|dir| dir.read(SLOTS_FILE))
            .and_then(|text| text.ok_or_else(|| rustix::io::Errno::NOENT.into()))
            .map_err(|source| UnsealError::Unreadable {
                path: data_dir.join(SLOTS_FILE),
                source,
            })?;
        Self::parse(&text)
    }

    pub(crate) fn parse(text: &[u8]) -> Result<Self, UnsealError> {
        serde_json::from_slice(text).map_err(|error| match error.is_data() {
            // It is whole, and says something else.
            true => UnsealError::Newer(error.to_string()),
            false => UnsealError::Damaged(error.to_string()),
        })
    }

    /// Writes the slots to a data directory, whole or not at all.
    pub fn write(&self, data_dir: &DataDir) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self)?;
        data_dir.replace(SLOTS_FILE, &text)
    }

    fn add(&mut self, kind: SlotKind, root: &RootKey, secret: &[u8]) {
        let salt = random::<16>();
        let key = slot_key(kind, secret, salt.as_slice());
        let wrapped = vault::wrap(&key, &self.associated_data(kind), root.bytes());
        let slot = Slot {
            about: None,
            kind,
            salt: hex(salt.as_slice()),
            wrapped: BASE64.encode(wrapped),
            kit: None,
        };
        self.slots.push(slot);
        if kind == SlotKind::RecoveryCode {
            self.keep_kit(root, secret);
        }
    }

    fn associated_data(&self, kind: SlotKind) -> Vec<u8> {
        format!("hk1|slot|{}|{kind:?}", self.home).into_bytes()
    }

    /// Adds a slot for a new key file and writes that file.
    pub fn add_key_file(&mut self, root: &RootKey, data_dir: &DataDir) -> Result<(), SlotError> {
        let key = random::<32>();
        data_dir.replace(KEY_FILE, key.as_slice())?;
        self.add(SlotKind::KeyFile, root, key.as_slice());
        Ok(())
    }

    /// Makes a new key file, and a slot for it in place of those there were: an earlier key file opens nothing any more.
    pub fn renew_key_file(&mut self, root: &RootKey, data_dir: &DataDir) -> Result<(), SlotError> {
        self.slots.retain(|slot| slot.kind != SlotKind::KeyFile);
        self.add_key_file(root, data_dir)
    }

    /// Adds a slot for a passphrase.
    pub fn add_passphrase(&mut self, root: &RootKey, passphrase: &str) -> Result<(), SlotError> {
        let long_enough = passphrase.chars().count() >= PASSPHRASE_MIN_CHARS;
        if !long_enough || passphrase.len() > PASSPHRASE_MAX_BYTES {
            return Err(SlotError::Passphrase);
        }
        self.add(SlotKind::Passphrase, root, passphrase.as_bytes());
        Ok(())
    }

    /// Adds a slot for a new recovery code and returns the code, to be shown once.
    pub fn add_recovery_code(&mut self, root: &RootKey) -> Zeroizing<String> {
        let random = random::<20>();
        let digits = Zeroizing::new(hex(random.as_slice()));
        let groups: Vec<&str> = (0..8).map(|n| &digits[n * 5..n * 5 + 5]).collect();
        let code = Zeroizing::new(groups.join("-"));
        self.add(
            SlotKind::RecoveryCode,
            root,
            normalized_code(&code).as_bytes(),
        );
        code
    }

    /// Opens the home with a way in.
    pub fn unseal(&self, way: &Way) -> Result<RootKey, UnsealError> {
        let fits = |slot: &Slot| match way {
            Way::KeyFile(content) if slot.kind == SlotKind::KeyFile => self.try_slot(slot, content),
            Way::Words(words) if slot.kind == SlotKind::Passphrase => {
                self.try_slot(slot, words.as_bytes())
            }
            Way::Words(words) if slot.kind == SlotKind::RecoveryCode => {
                self.try_slot(slot, normalized_code(words).as_bytes())
            }
            _ => None,
        };
        self.slots.iter().find_map(fits).ok_or(UnsealError::NoFit)
    }

    fn try_slot(&self, slot: &Slot, secret: &[u8]) -> Option<RootKey> {
        let salt = unhex::<16>(&slot.salt)?;
        let wrapped = BASE64.decode(&slot.wrapped).ok()?;
        if secret.len() > PASSPHRASE_MAX_BYTES {
            return None;
        }
        let key = slot_key(slot.kind, secret, &salt);
        vault::unwrap(&key, &self.associated_data(slot.kind), &wrapped).map(RootKey::new)
    }
}

/// The key file of a data directory, if there is one.
pub fn key_file(data_dir: &Path) -> Option<Way> {
    let content = DataDir::open(data_dir).and_then(|dir| dir.read(KEY_FILE));
    let content = content.unwrap_or_else(|error| {
        // The home stays sealed, and the gateway's messages say why.
        tracing::error!(%error, "the key file cannot be read");
        None
    });
    content.map(|content| Way::KeyFile(Zeroizing::new(content)))
}

/// Which files that open a home are not there, or open nothing: `key_file` says whether a key file is one of them.
pub(crate) fn unusable_files(dir: &DataDir, key_file: bool) -> Vec<&'static str> {
    let read = |name| dir.read(name).ok().flatten();
    let slots = read(SLOTS_FILE).and_then(|text| Slots::parse(&text).ok());
    let opens = |content: Vec<u8>| {
        let way = Way::KeyFile(Zeroizing::new(content));
        // Without slots it cannot be tried.
        slots
            .as_ref()
            .is_none_or(|slots| slots.unseal(&way).is_ok())
    };
    let mut unusable = Vec::new();
    if slots.is_none() {
        unusable.push(SLOTS_FILE);
    }
    if key_file && !read(KEY_FILE).is_some_and(opens) {
        unusable.push(KEY_FILE);
    }
    unusable
}

pub(crate) fn normalized_code(code: &str) -> Zeroizing<String> {
    let digits = code.chars().filter(|c| c.is_ascii_alphanumeric());
    Zeroizing::new(digits.map(|c| c.to_ascii_lowercase()).collect())
}

/// A key file and a recovery code are random enough for HKDF; a passphrase is not.
fn slot_key(kind: SlotKind, secret: &[u8], salt: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    let made = match kind {
        SlotKind::Passphrase => {
            Params::new(ARGON2_KIB, ARGON2_PASSES, 1, Some(32)).is_ok_and(|params| {
                Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                    .hash_password_into(secret, salt, key.as_mut_slice())
                    .is_ok()
            })
        }
        SlotKind::KeyFile | SlotKind::RecoveryCode => {
            hkdf::Hkdf::<sha2::Sha256>::new(Some(salt), secret)
                .expand(b"hearthkey/slot/v1", key.as_mut_slice())
                .is_ok()
        }
    };
    assert!(
        made,
        "the slot's parameters are constants within their limits"
    );
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_of_another_user_is_no_reason_to_make_one() {
        let told = |kind: io::ErrorKind| {
            let path = PathBuf::from("/h/slots.json");
            let source = kind.into();
            UnsealError::Unreadable { path, source }.to_string()
        };
        assert!(!told(io::ErrorKind::PermissionDenied).contains("init"));
        assert!(told(io::ErrorKind::NotFound).contains("hearthkey init"));
    }

    fn words(text: &str) -> Way {
        Way::Words(Zeroizing::new(text.into()))
    }

    #[test]
    fn each_slot_opens_the_same_root_key_and_nothing_else_does() {
        let root = RootKey::generate();
        let place = tempfile::tempdir().unwrap();
        let dir = DataDir::open(place.path()).unwrap();
        let mut slots = Slots::new("home-1".parse().unwrap());
        slots.add_key_file(&root, &dir).unwrap();
        slots.add_passphrase(&root, "correct horse").unwrap();
        let code = slots.add_recovery_code(&root);
        slots.write(&dir).unwrap();
        let slots = Slots::read(place.path()).unwrap();
        for way in [
            key_file(place.path()).unwrap(),
            words("correct horse"),
            words(&code),
            words(&code.to_uppercase().replace('-', " ")),
        ] {
            assert_eq!(slots.unseal(&way).unwrap().bytes(), root.bytes());
        }
        for wrong in [
            words("wrong horse"),
            words(""),
            Way::KeyFile(Zeroizing::new(vec![0; 32])),
        ] {
            assert!(matches!(slots.unseal(&wrong), Err(UnsealError::NoFit)));
        }
    }

    #[test]
    fn a_slots_file_of_a_newer_program_is_not_called_damaged() {
        let told = |text: &str| Slots::parse(text.as_bytes()).unwrap_err().to_string();
        for newer in [
            r#"{"home":"home-1","slots":[],"form":2}"#,
            r#"{"home":"home-1","slots":[{"kind":"hardware","salt":"","wrapped":""}]}"#,
        ] {
            assert!(told(newer).contains("newer Hearthkey"), "{}", told(newer));
        }
        for damaged in ["", r#"{"home":"home-1","slots":["#, "\0\0\0"] {
            assert!(told(damaged).contains("is damaged"), "{}", told(damaged));
        }
    }

    #[test]
    fn a_file_that_opens_nothing_any_more_is_named() {
        let root = RootKey::generate();
        let place = tempfile::tempdir().unwrap();
        let dir = DataDir::open(place.path()).unwrap();
        let mut slots = Slots::new("home-1".parse().unwrap());
        slots.add_key_file(&root, &dir).unwrap();
        slots.write(&dir).unwrap();
        assert!(unusable_files(&dir, true).is_empty());
        dir.replace(KEY_FILE, &[7; 32]).unwrap();
        assert_eq!(unusable_files(&dir, true), [KEY_FILE]);
        dir.remove(KEY_FILE).unwrap();
        assert_eq!(unusable_files(&dir, true), [KEY_FILE]);
        assert!(unusable_files(&dir, false).is_empty());
        dir.remove(SLOTS_FILE).unwrap();
        assert_eq!(unusable_files(&dir, true), [SLOTS_FILE, KEY_FILE]);
    }

    #[test]
    fn a_short_passphrase_is_refused() {
        let mut slots = Slots::new("home-1".parse().unwrap());
        let refusal = slots
            .add_passphrase(&RootKey::generate(), "short")
            .unwrap_err();
        assert!(refusal.to_string().contains("at least 8 characters"));
    }
}
