//! The slots as a person sees them, and each change to them: a new value, in which what was added has been tried.
//!
//! Nothing here reads or writes a file. A name and a time are not authenticated: they tell slots apart, and open nothing.

use hearthkey_core::id::UnlockName;
use hearthkey_core::time::Timestamp;
use hearthkey_core::unlock::{
    KEY_FILE_NAME, NEW_RECOVERY_CODE_NAME, PASSPHRASE_NAME, PASSPHRASES_MAX, RECOVERY_CODE_NAME,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Slot, SlotError, SlotKind, Slots, normalized_code};
use crate::keys::RootKey;

/// The bytes of a root key in its wrapping: nonce, key and tag.
const WRAPPED_BYTES: usize = 12 + 32 + 16;

/// What a slot is called, and since when it is there.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct About {
    name: String,
    added_s: i64,
    /// Of a recovery code: nobody has shown yet that they have it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unconfirmed: bool,
}

/// An unlock method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Method {
    /// What it is called; two have never the same name.
    pub name: String,
    /// Its kind.
    pub kind: SlotKind,
    /// When it was added; unknown of one that an earlier program has made.
    pub added_at: Option<Timestamp>,
    /// Whether it is a recovery code that nobody has shown yet to have.
    pub unconfirmed: bool,
    /// Whether it opens the home: a key file was tried; of words it is only known that their slot is whole.
    pub opens: bool,
}

/// Why unlock methods are not changed.
#[derive(Debug, thiserror::Error)]
pub enum MethodError {
    /// No method has the name.
    #[error("there is no unlock method {0}")]
    Unknown(String),
    /// A passphrase has it already.
    #[error("there is already a passphrase {0}")]
    Taken(UnlockName),
    /// A key file is there, and opens the home.
    #[error("there is already a key file, and it opens the home")]
    KeyFileThere,
    /// There are as many as can be tried.
    #[error("a home has {PASSPHRASES_MAX} passphrases at most")]
    TooMany,
    /// The words do not open the recovery code that is waiting to be confirmed.
    #[error("this is not the recovery code that was issued last")]
    NotTheNewCode,
    /// Too short or too long.
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// What was added does not open the home.
    #[error("the new unlock method was tried, and does not open this home. Nothing was changed")]
    Untrue,
}

impl MethodError {
    /// No method has the name.
    pub(super) fn unknown(name: &str) -> Self {
        Self::Unknown(name.chars().take(80).collect())
    }
}

/// The words or bytes of a new slot.
struct Secret<'a> {
    kind: SlotKind,
    bytes: &'a [u8],
}

fn usual_name(kind: SlotKind) -> &'static str {
    match kind {
        SlotKind::KeyFile => KEY_FILE_NAME,
        SlotKind::Passphrase => PASSPHRASE_NAME,
        SlotKind::RecoveryCode => RECOVERY_CODE_NAME,
    }
}

impl Slot {
    pub(super) fn name(&self) -> &str {
        let about = self.about.as_ref();
        about.map_or(usual_name(self.kind), |about| &about.name)
    }

    fn is_unconfirmed(&self) -> bool {
        self.about.as_ref().is_some_and(|about| about.unconfirmed)
    }

    fn is_whole(&self) -> bool {
        use base64::Engine;
        let wrapped = super::BASE64.decode(&self.wrapped);
        let is_salt = hearthkey_core::id::unhex::<16>(&self.salt).is_some();
        is_salt && wrapped.is_ok_and(|bytes| bytes.len() == WRAPPED_BYTES)
    }
}

impl Slots {
    /// The methods, in order. `key_file` is the content of the key file, if there is one.
    pub(super) fn methods(&self, key_file: Option<&[u8]>) -> Vec<Method> {
        let opens = |slot: &Slot| match slot.kind {
            SlotKind::KeyFile => key_file.is_some_and(|key| self.try_slot(slot, key).is_some()),
            SlotKind::Passphrase | SlotKind::RecoveryCode => {
                slot.is_whole() && !slot.is_unconfirmed()
            }
        };
        let method = |slot: &Slot| Method {
            name: slot.name().to_owned(),
            kind: slot.kind,
            added_at: slot.about.as_ref().map(|a| Timestamp::from_s(a.added_s)),
            unconfirmed: slot.is_unconfirmed(),
            opens: opens(slot),
        };
        self.slots.iter().map(method).collect()
    }

    /// Notes of every slot without it that it was added at this time.
    pub fn dated(&mut self, now: Timestamp) {
        for slot in &mut self.slots {
            let name = usual_name(slot.kind).to_owned();
            slot.about.get_or_insert(About {
                name,
                added_s: now.as_s(),
                unconfirmed: false,
            });
        }
    }

    /// These slots with a passphrase more, or with another one in place of that of this name.
    pub(super) fn with_passphrase(
        &self,
        root: &RootKey,
        name: &UnlockName,
        passphrase: &str,
        (replace, now): (bool, Timestamp),
    ) -> Result<Self, MethodError> {
        let has_it =
            |slot: &Slot| slot.kind == SlotKind::Passphrase && slot.name() == name.as_str();
        let mut changed = self.clone();
        match (self.slots.iter().any(has_it), replace) {
            (true, false) => return Err(MethodError::Taken(name.clone())),
            (false, true) => return Err(MethodError::Unknown(name.to_string())),
            (true, true) => changed.slots.retain(|slot| !has_it(slot)),
            (false, false) => {}
        }
        let passphrases = changed.slots.iter();
        if passphrases
            .filter(|s| s.kind == SlotKind::Passphrase)
            .count()
            >= PASSPHRASES_MAX
        {
            return Err(MethodError::TooMany);
        }
        changed.add_passphrase(root, passphrase)?;
        let secret = Secret {
            kind: SlotKind::Passphrase,
            bytes: passphrase.as_bytes(),
        };
        changed.tried(root, &secret, (name.as_str(), now, false))
    }

    /// These slots with this key file in place of those there were.
    pub(super) fn with_key_file(
        &self,
        root: &RootKey,
        key: &[u8; 32],
        now: Timestamp,
    ) -> Result<Self, MethodError> {
        let mut changed = self.clone();
        changed.slots.retain(|slot| slot.kind != SlotKind::KeyFile);
        changed.add(SlotKind::KeyFile, root, key);
        let secret = Secret {
            kind: SlotKind::KeyFile,
            bytes: key,
        };
        changed.tried(root, &secret, (KEY_FILE_NAME, now, false))
    }

    /// These slots with a new recovery code, and the code. The one there was stays until the new one is confirmed; one that
    /// was not confirmed goes.
    pub(super) fn with_recovery_code(
        &self,
        root: &RootKey,
        now: Timestamp,
    ) -> Result<(Self, Zeroizing<String>), MethodError> {
        let mut changed = self.clone();
        changed.slots.retain(|slot| !slot.is_unconfirmed());
        let code = changed.add_recovery_code(root);
        let digits = normalized_code(&code);
        let secret = Secret {
            kind: SlotKind::RecoveryCode,
            bytes: digits.as_bytes(),
        };
        let changed = changed.tried(root, &secret, (NEW_RECOVERY_CODE_NAME, now, true))?;
        Ok((changed, code))
    }

    /// These slots with the new recovery code as the only one: somebody has shown to have it.
    pub(super) fn with_code_confirmed(
        &self,
        root: &RootKey,
        code: &str,
    ) -> Result<Self, MethodError> {
        let digits = normalized_code(code);
        let opens = |slot: &Slot| {
            let found = self.try_slot(slot, digits.as_bytes());
            found.is_some_and(|found| found.bytes() == root.bytes())
        };
        let mut changed = self.clone();
        let new = changed.slots.iter_mut().find(|slot| slot.is_unconfirmed());
        let new = new
            .filter(|slot| opens(slot))
            .ok_or(MethodError::NotTheNewCode)?;
        let salt = new.salt.clone();
        if let Some(about) = &mut new.about {
            about.name = RECOVERY_CODE_NAME.to_owned();
            about.unconfirmed = false;
        }
        let stays = |slot: &Slot| slot.kind != SlotKind::RecoveryCode || slot.salt == salt;
        changed.slots.retain(stays);
        Ok(changed)
    }

    /// These slots without one of them.
    pub(super) fn without(&self, name: &str) -> Result<Self, MethodError> {
        let mut changed = self.clone();
        changed.slots.retain(|slot| slot.name() != name);
        match changed.slots.len() < self.slots.len() {
            true => Ok(changed),
            false => Err(MethodError::unknown(name)),
        }
    }

    /// Names the slot that was added last, writes everything down and reads it again, and unlocks with what was given: only what
    /// gives this root key counts.
    fn tried(
        mut self,
        root: &RootKey,
        secret: &Secret<'_>,
        (name, now, unconfirmed): (&str, Timestamp, bool),
    ) -> Result<Self, MethodError> {
        if let Some(slot) = self.slots.last_mut() {
            slot.about = Some(About {
                name: name.to_owned(),
                added_s: now.as_s(),
                unconfirmed,
            });
        }
        let text = serde_json::to_vec(&self).map_err(|_| MethodError::Untrue)?;
        let read = Self::parse(&text).map_err(|_| MethodError::Untrue)?;
        let slot = read.slots.last().filter(|slot| slot.kind == secret.kind);
        let found = slot.and_then(|slot| read.try_slot(slot, secret.bytes));
        match found.is_some_and(|found| found.bytes() == root.bytes()) {
            true => Ok(read),
            false => Err(MethodError::Untrue),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{UnsealError, Way};
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_s(1_793_491_200)
    }

    fn home() -> (RootKey, Slots, Zeroizing<String>) {
        let root = RootKey::generate();
        let mut slots = Slots::new("home-1".parse().unwrap());
        let code = slots.add_recovery_code(&root);
        (root, slots, code)
    }

    fn name(text: &str) -> UnlockName {
        text.parse().unwrap()
    }

    fn opens(slots: &Slots, words: &str) -> bool {
        let way = Way::Words(Zeroizing::new(words.into()));
        !matches!(slots.unseal(&way), Err(UnsealError::NoFit))
    }

    fn names(slots: &Slots) -> Vec<String> {
        let methods = slots.methods(None).into_iter();
        methods.map(|method| method.name).collect()
    }

    #[test]
    fn a_new_code_and_the_old_one_open_until_the_new_one_is_confirmed() {
        let (root, slots, old) = home();
        let (first, lost) = slots.with_recovery_code(&root, now()).unwrap();
        let (both, new) = first.with_recovery_code(&root, now()).unwrap();
        assert_eq!(names(&both), ["recovery-code", "new-recovery-code"]);
        assert!(opens(&both, &old) && opens(&both, &new) && !opens(&both, &lost));
        for wrong in [&old, &lost] {
            let refused = both.with_code_confirmed(&root, wrong);
            assert!(matches!(refused, Err(MethodError::NotTheNewCode)));
        }
        let typed = new.to_uppercase().replace('-', " ");
        let one = both.with_code_confirmed(&root, &typed).unwrap();
        assert_eq!(names(&one), ["recovery-code"]);
        assert!(opens(&one, &new) && !opens(&one, &old));
        // There is nothing to confirm twice.
        assert!(one.with_code_confirmed(&root, &new).is_err());
    }

    #[test]
    fn a_passphrase_is_replaced_only_where_that_is_asked_for() {
        let (root, slots, _) = home();
        let add = |slots: &Slots, words: &str, replace| {
            slots.with_passphrase(&root, &name("anna"), words, (replace, now()))
        };
        assert!(matches!(
            add(&slots, "first words", true),
            Err(MethodError::Unknown(_))
        ));
        let first = add(&slots, "first words", false).unwrap();
        assert!(matches!(
            add(&first, "second words", false),
            Err(MethodError::Taken(_))
        ));
        let second = add(&first, "second words", true).unwrap();
        assert!(opens(&second, "second words") && !opens(&second, "first words"));
        assert_eq!(names(&second), ["recovery-code", "anna"]);
        assert!(matches!(
            add(&second, "short", true),
            Err(MethodError::Slot(_))
        ));
    }

    #[test]
    fn what_gives_another_root_key_does_not_count() {
        let (root, mut slots, _) = home();
        // A slot that opens, and opens something else.
        slots
            .add_passphrase(&RootKey::generate(), "other words")
            .unwrap();
        let secret = Secret {
            kind: SlotKind::Passphrase,
            bytes: b"other words",
        };
        let refused = slots.tried(&root, &secret, ("anna", now(), false));
        assert!(matches!(refused, Err(MethodError::Untrue)));
    }

    #[test]
    fn slots_of_an_earlier_program_are_called_by_their_kind() {
        let (root, mut slots, _) = home();
        slots.add_passphrase(&root, "some words").unwrap();
        assert_eq!(names(&slots), ["recovery-code", "passphrase"]);
        assert_eq!(slots.methods(None)[0].added_at, None);
        let one = slots.without("passphrase").unwrap();
        assert_eq!(names(&one), ["recovery-code"]);
        assert!(matches!(
            one.without("passphrase"),
            Err(MethodError::Unknown(_))
        ));
        slots.dated(now());
        assert_eq!(slots.methods(None)[1].added_at, Some(now()));
    }

    #[test]
    fn a_slot_that_is_cut_short_is_not_counted_on() {
        let (_, mut slots, _) = home();
        assert!(slots.methods(None)[0].opens);
        slots.slots[0].wrapped.truncate(20);
        assert!(!slots.methods(None)[0].opens);
    }
}
