//! Changing how an open home is unlocked: prepared and tried first, recorded by the caller, then kept.
//!
//! The running home holds its root key, so a new slot needs no other way in to be shown. The key file is written before the
//! slot that it opens, and deleted after the slot that it opened is gone: a crash between leaves a file that opens nothing, and
//! every slot that is left opens. [`Store::tidy_key_file`] deletes such a file.

use std::io;

use hearthkey_core::id::{HomeId, UnlockName};
use hearthkey_core::time::Timestamp;
use hearthkey_core::unlock::{
    Consequence, Held, KEY_FILE_NAME, LastOne, NEW_RECOVERY_CODE_NAME, RECOVERY_CODE_NAME, removal,
};
use zeroize::Zeroizing;

use super::methods::{Method, MethodError};
use super::{KEY_FILE, SLOTS_FILE, SlotKind, Slots, Way};
use crate::files::DataDir;
use crate::keys::random;
use crate::store::{Store, locked};

/// A change of the unlock methods.
pub enum Order {
    /// A passphrase is added.
    Passphrase {
        /// What it is called.
        name: UnlockName,
        /// The passphrase.
        words: Zeroizing<String>,
        /// Whether it takes the place of the one of this name.
        replace: bool,
    },
    /// A key file is made.
    KeyFile,
    /// A recovery code is issued, beside the one there is.
    RecoveryCode,
    /// Whoever has these words has the code that was issued last: it is the only one from here on.
    Confirm(Zeroizing<String>),
    /// A method is removed.
    Remove(String),
}

/// What a change does to the key file.
enum KeyFile {
    Stays,
    Written(Zeroizing<[u8; 32]>),
    Deleted,
}

/// A change that was tried and is not kept yet.
pub struct Prepared {
    /// The slots file as it was read; none if it was not there, or unreadable.
    before: Option<Vec<u8>>,
    slots: Slots,
    key_file: KeyFile,
    /// What is changed: its name and its kind.
    pub method: (String, SlotKind),
    /// A recovery code, to be shown once the change is kept.
    pub code: Option<Zeroizing<String>>,
    /// What a person has to accept before it is kept.
    pub consequences: Vec<Consequence>,
}

/// Why a change is not prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// It is not possible.
    #[error(transparent)]
    Method(#[from] MethodError),
    /// Nothing would open the home any more.
    #[error(transparent)]
    Last(#[from] LastOne),
    /// The files cannot be read.
    #[error("the files that unlock the home cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Why a change is not kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// Something else has changed the slots since it was prepared.
    #[error("{SLOTS_FILE} was changed by something else at the same moment")]
    Overtaken,
    /// The disk does not take it.
    #[error("the files that unlock the home cannot be written: {0}")]
    Io(#[from] io::Error),
}

impl Slots {
    /// The slots of a home, if they are there and belong to it.
    pub(crate) fn of(dir: &DataDir, home: &HomeId) -> Option<Self> {
        let text = dir.read(SLOTS_FILE).ok().flatten()?;
        Self::of_text(&text, home)
    }

    fn of_text(text: &[u8], home: &HomeId) -> Option<Self> {
        Self::parse(text).ok().filter(|slots| slots.home() == home)
    }
}

impl Store {
    /// The slots as they are on the disk; as they were last known, if the file is gone or damaged. With the file's text.
    fn slots_now(&self, known: Option<&Slots>) -> io::Result<(Option<Vec<u8>>, Slots)> {
        let before = self.dir.read(SLOTS_FILE).ok().flatten();
        let read = before
            .as_deref()
            .and_then(|text| Slots::of_text(text, self.vault().home()));
        let slots = read
            .or_else(|| known.cloned())
            .ok_or_else(|| io::Error::other(format!("{SLOTS_FILE} is missing or damaged")))?;
        Ok((before, slots))
    }

    fn key_file_now(&self) -> Option<Zeroizing<Vec<u8>>> {
        let read = self.dir.read(KEY_FILE).ok().flatten();
        read.map(Zeroizing::new)
    }

    /// How the home can be unlocked, as it is on the disk now.
    pub fn unlock_methods(&self) -> io::Result<Vec<Method>> {
        let known = locked(&self.unlocking);
        let (_, slots) = self.slots_now(known.as_ref())?;
        let key = self.key_file_now();
        Ok(slots.methods(key.as_ref().map(|key| key.as_slice())))
    }

    /// The slots as they were last read or written, for when the home is closed. Reads no file.
    pub fn known_slots(&self) -> Option<Slots> {
        locked(&self.unlocking).clone()
    }

    /// Whether there is a slot of a kind. Of a recovery code one that is confirmed.
    pub fn is_unlocked_by(&self, kind: SlotKind) -> bool {
        let known = locked(&self.unlocking);
        let slots = self.slots_now(known.as_ref());
        slots.is_ok_and(|(_, slots)| {
            let methods = slots.methods(None);
            methods
                .iter()
                .any(|method| method.kind == kind && !method.unconfirmed)
        })
    }

    /// Which files that open the home are not there, or open nothing.
    pub fn unusable_unlock_files(&self) -> Vec<&'static str> {
        super::unusable_files(&self.dir, self.is_unlocked_by(SlotKind::KeyFile))
    }

    /// Prepares a change: what is added has been tried. Argon2 takes a tenth of a second or more of a core.
    pub fn prepare_unlock(&self, order: Order, now: Timestamp) -> Result<Prepared, PrepareError> {
        let (before, slots) = {
            let known = locked(&self.unlocking);
            self.slots_now(known.as_ref())?
        };
        let root = self.vault().root();
        let prepared = |slots, name: &str, kind| Prepared {
            before: before.clone(),
            slots,
            key_file: KeyFile::Stays,
            method: (name.to_owned(), kind),
            code: None,
            consequences: Vec::new(),
        };
        Ok(match order {
            Order::Passphrase {
                name,
                words,
                replace,
            } => {
                let changed = slots.with_passphrase(root, &name, &words, (replace, now))?;
                prepared(changed, name.as_str(), SlotKind::Passphrase)
            }
            Order::KeyFile => {
                let key = self.key_file_now().map(Way::KeyFile);
                if key.is_some_and(|key| slots.unseal(&key).is_ok()) {
                    return Err(MethodError::KeyFileThere.into());
                }
                let key = random::<32>();
                let changed = slots.with_key_file(root, &key, now)?;
                Prepared {
                    key_file: KeyFile::Written(key),
                    ..prepared(changed, KEY_FILE_NAME, SlotKind::KeyFile)
                }
            }
            Order::RecoveryCode => {
                let (changed, code) = slots.with_recovery_code(root, now)?;
                Prepared {
                    code: Some(code),
                    ..prepared(changed, NEW_RECOVERY_CODE_NAME, SlotKind::RecoveryCode)
                }
            }
            Order::Confirm(code) => {
                let changed = slots.with_code_confirmed(root, &code)?;
                prepared(changed, RECOVERY_CODE_NAME, SlotKind::RecoveryCode)
            }
            Order::Remove(name) => {
                let key = self.key_file_now();
                let methods = slots.methods(key.as_ref().map(|key| key.as_slice()));
                let found = methods.iter().position(|method| method.name == name);
                let at = found.ok_or_else(|| MethodError::unknown(&name))?;
                let held = |method: &Method| Held {
                    opens: method.opens,
                    is_key_file: method.kind == SlotKind::KeyFile,
                };
                let held: Vec<Held> = methods.iter().map(held).collect();
                let consequences = removal(&held, at)?;
                let kind = methods[at].kind;
                Prepared {
                    key_file: match kind {
                        SlotKind::KeyFile => KeyFile::Deleted,
                        _ => KeyFile::Stays,
                    },
                    consequences,
                    ..prepared(slots.without(&name)?, &name, kind)
                }
            }
        })
    }

    /// Keeps a change: when this returns it is on the disk. Fails if the slots are not those that it was prepared with.
    pub fn keep_unlock(&self, prepared: &Prepared) -> Result<(), KeepError> {
        let mut known = locked(&self.unlocking);
        let is_ours = self.dir.still_there();
        is_ours.map_err(io::Error::other)?;
        if self.dir.read(SLOTS_FILE).ok().flatten() != prepared.before {
            return Err(KeepError::Overtaken);
        }
        if let KeyFile::Written(key) = &prepared.key_file {
            self.dir.replace(KEY_FILE, key.as_slice())?;
            let read = self.key_file_now();
            if read.is_none_or(|read| read.as_slice() != key.as_slice()) {
                return Err(
                    io::Error::other(format!("{KEY_FILE} does not hold what was written")).into(),
                );
            }
        }
        prepared.slots.write(&self.dir)?;
        *known = Some(prepared.slots.clone());
        if let KeyFile::Deleted = prepared.key_file {
            self.dir.remove(KEY_FILE)?;
            self.dir.sync()?;
        }
        Ok(())
    }

    /// Deletes a key file that opens nothing, because a change was cut short: with an older copy of the slots it would open the
    /// home again. Returns whether there was one.
    pub fn tidy_key_file(&self) -> io::Result<bool> {
        let known = locked(&self.unlocking);
        let (_, slots) = self.slots_now(known.as_ref())?;
        let is_left = !slots.kinds().contains(&SlotKind::KeyFile) && self.dir.has(KEY_FILE)?;
        if is_left {
            self.dir.remove(KEY_FILE)?;
            self.dir.sync()?;
        }
        Ok(is_left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::RootKey;

    fn now() -> Timestamp {
        Timestamp::from_s(1_793_491_200)
    }

    struct Home {
        place: tempfile::TempDir,
        store: Store,
        code: Zeroizing<String>,
    }

    /// An open home with a key file and a recovery code.
    fn home() -> Home {
        let place = tempfile::tempdir().unwrap();
        let dir = DataDir::open(place.path()).unwrap();
        let id: HomeId = "home-1".parse().unwrap();
        let root = RootKey::generate();
        let mut slots = Slots::new(id.clone());
        slots.add_key_file(&root, &dir).unwrap();
        let code = slots.add_recovery_code(&root);
        slots.write(&dir).unwrap();
        Store::create(place.path(), &root, &id, now()).unwrap();
        let store = Store::open(place.path(), root, &id).unwrap().store;
        Home { place, store, code }
    }

    impl Home {
        fn prepare(&self, order: Order) -> Result<Prepared, PrepareError> {
            self.store.prepare_unlock(order, now())
        }

        fn done(&self, order: Order) -> Prepared {
            let prepared = self.prepare(order).unwrap();
            self.store.keep_unlock(&prepared).unwrap();
            prepared
        }

        fn opens(&self, way: &Way) -> bool {
            let slots = Slots::read(self.place.path()).unwrap();
            let found = slots.unseal(way);
            found.is_ok_and(|root| root.bytes() == self.store.vault().root().bytes())
        }

        fn file(&self, name: &str) -> Option<Vec<u8>> {
            std::fs::read(self.place.path().join(name)).ok()
        }
    }

    fn words(text: &str) -> Way {
        Way::Words(Zeroizing::new(text.into()))
    }

    fn passphrase(name: &str, text: &str) -> Order {
        Order::Passphrase {
            name: name.parse().unwrap(),
            words: Zeroizing::new(text.into()),
            replace: false,
        }
    }

    fn remove(name: &str) -> Order {
        Order::Remove(name.into())
    }

    #[test]
    fn a_running_home_gets_a_passphrase_and_loses_its_key_file() {
        let home = home();
        home.done(passphrase("anna", "correct horse"));
        let removed = home.done(remove("key-file"));
        assert_eq!(removed.consequences, [Consequence::NoKeyFile]);
        assert_eq!(home.file(KEY_FILE), None);
        assert!(home.opens(&words("correct horse")) && home.opens(&words(&home.code)));
        assert!(!home.store.is_unlocked_by(SlotKind::KeyFile));
        assert!(home.store.unusable_unlock_files().is_empty());
        home.done(remove("recovery-code"));
        assert!(!home.store.is_unlocked_by(SlotKind::RecoveryCode));
        let last = home.prepare(remove("anna"));
        assert!(matches!(last, Err(PrepareError::Last(_))));
        // What is back is a new file.
        home.done(Order::KeyFile);
        let key = home.file(KEY_FILE).unwrap();
        assert!(home.opens(&Way::KeyFile(Zeroizing::new(key))));
        let again = home.prepare(Order::KeyFile);
        assert!(matches!(
            again,
            Err(PrepareError::Method(MethodError::KeyFileThere))
        ));
    }

    #[test]
    fn a_key_file_that_is_lost_is_no_other_way_in_and_is_made_again() {
        let home = home();
        let old = home.file(KEY_FILE).unwrap();
        std::fs::remove_file(home.place.path().join(KEY_FILE)).unwrap();
        assert_eq!(home.store.unusable_unlock_files(), [KEY_FILE]);
        assert!(home.prepare(remove("recovery-code")).is_err());
        home.done(Order::KeyFile);
        assert!(home.store.unusable_unlock_files().is_empty());
        assert_eq!(home.store.unlock_methods().unwrap().len(), 2);
        assert!(!home.opens(&Way::KeyFile(Zeroizing::new(old))));
    }

    #[test]
    fn slots_that_are_lost_while_the_home_runs_are_written_again_with_the_next_change() {
        let home = home();
        for damage in [None, Some("{"), Some(r#"{"home":"other-1","slots":[]}"#)] {
            let path = home.place.path().join(SLOTS_FILE);
            match damage {
                None => std::fs::remove_file(path).unwrap(),
                Some(text) => std::fs::write(path, text).unwrap(),
            }
            let name = format!("p{}", damage.map_or(0, str::len));
            home.done(passphrase(&name, "correct horse"));
            assert!(home.opens(&words("correct horse")) && home.opens(&words(&home.code)));
        }
    }

    #[test]
    fn of_two_changes_that_were_prepared_at_once_the_second_is_not_kept_over_the_first() {
        let home = home();
        let one = home.prepare(passphrase("one", "first words")).unwrap();
        let two = home.prepare(passphrase("two", "second words")).unwrap();
        home.store.keep_unlock(&one).unwrap();
        let overtaken = home.store.keep_unlock(&two);
        assert!(matches!(overtaken, Err(KeepError::Overtaken)));
        assert!(home.opens(&words("first words")) && !home.opens(&words("second words")));
    }

    /// What a crash leaves of each change: all that [`DataDir::replace`] can leave of the slots, before and after the key file.
    #[test]
    fn whatever_a_crash_leaves_of_a_change_opens() {
        type Change = (fn() -> Order, Option<&'static str>);
        let changes: [Change; 5] = [
            (|| passphrase("anna", "correct horse"), None),
            (|| Order::RecoveryCode, None),
            (|| remove("recovery-code"), None),
            (|| remove("key-file"), None),
            (|| Order::KeyFile, Some("key-file")),
        ];
        for (order, first) in changes {
            let home = home();
            if let Some(first) = first {
                home.done(remove(first));
            }
            let (old, old_key) = (home.file(SLOTS_FILE).unwrap(), home.file(KEY_FILE));
            let prepared = home.prepare(order()).unwrap();
            home.store.keep_unlock(&prepared).unwrap();
            let (new, new_key) = (home.file(SLOTS_FILE).unwrap(), home.file(KEY_FILE));
            let draft = format!("{SLOTS_FILE}.new");
            let put = |name: &str, text: Option<&[u8]>| {
                let path = home.place.path().join(name);
                let _ = std::fs::remove_file(&path);
                if let Some(text) = text {
                    std::fs::write(&path, text).unwrap();
                }
            };
            // Slots, draft, key file.
            let mut states = vec![(&old, None, &old_key), (&new, None, &new_key)];
            for cut in [0, new.len() / 2, new.len()] {
                // A new key file is there before its slot, and an old one as long as its slot is.
                let key = old_key.as_ref().map_or(&new_key, |_| &old_key);
                states.push((&old, Some(&new[..cut]), key));
            }
            states.push((&new, None, old_key.as_ref().map_or(&new_key, |_| &old_key)));
            for (slots, left, key) in states {
                put(SLOTS_FILE, Some(slots));
                put(&draft, left);
                put(KEY_FILE, key.as_deref());
                let methods = home.store.unlock_methods().unwrap();
                assert!(methods.iter().any(|method| method.opens), "{methods:?}");
                let of_words = methods.iter().any(|method| method.name == "recovery-code");
                assert_eq!(home.opens(&words(&home.code)), of_words);
                let of_file = methods
                    .iter()
                    .find(|method| method.kind == SlotKind::KeyFile);
                assert!(of_file.is_none_or(|method| method.opens), "{methods:?}");
                // The next change works, and what is left over goes.
                home.store.tidy_key_file().unwrap();
                assert_eq!(home.file(KEY_FILE).is_some(), of_file.is_some());
                let next = home.done(Order::RecoveryCode).code.unwrap();
                assert!(home.opens(&words(&next)));
                assert_eq!(home.file(&draft), None);
            }
        }
    }
}
