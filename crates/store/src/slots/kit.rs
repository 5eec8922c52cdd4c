//! The recovery kit: what backups are encrypted for so that a recovery code opens them.

use hearthkey_core::id::unhex;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{Kit, Slot, SlotKind, Slots, normalized_code};
use crate::backup::{Identity, Recipient};
use crate::files::DataDir;
use crate::keys::RootKey;

/// What a code that was typed is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KitChecked {
    /// It is the recovery code, and backups are encrypted for it.
    Fits,
    /// It is the recovery code, and backups are encrypted for it from now on.
    FitsAnew,
    /// It opens no recovery slot.
    FitsNot,
}

/// The key of a recovery code, by which it opens backups.
pub fn kit_identity(code: &str) -> Identity {
    Identity::of_code(normalized_code(code).as_bytes())
}

/// Keeps what backups are encrypted for, if these words are a recovery code of which that was not known.
pub fn learn_kit(dir: &DataDir, root: &RootKey, words: &str) {
    let learned = Slots::read(dir.path()).map_err(|error| error.to_string());
    let learned = learned.and_then(|mut slots| match slots.check_kit(root, words) {
        KitChecked::FitsAnew => slots.write(dir).map_err(|error| error.to_string()),
        KitChecked::Fits | KitChecked::FitsNot => Ok(()),
    });
    if let Err(error) = learned {
        // The home opens all the same, and backups say what they lack.
        tracing::warn!(
            error,
            "the recovery code could not be made known to backups"
        );
    }
}

impl Slots {
    /// What backups are encrypted for so that each recovery code opens them. None where a code is older than backups, or where
    /// somebody has altered what was kept of it.
    pub fn kit_recipients(&self, root: &RootKey) -> Vec<Recipient> {
        let codes = self.recovery_slots();
        codes
            .filter_map(|slot| self.recipient_of(slot, root))
            .collect()
    }

    /// Tries a recovery code, and keeps what backups are encrypted for if that was not known.
    pub fn check_kit(&mut self, root: &RootKey, code: &str) -> KitChecked {
        let digits = normalized_code(code);
        let fits = |slot: &Slot| {
            let is_code = slot.kind == SlotKind::RecoveryCode;
            is_code && self.try_slot(slot, digits.as_bytes()).is_some()
        };
        let Some(at) = self.slots.iter().position(fits) else {
            return KitChecked::FitsNot;
        };
        if self.recipient_of(&self.slots[at], root).is_some() {
            return KitChecked::Fits;
        }
        self.slots[at].kit = Some(self.kit_of(&self.slots[at].salt, root, &digits));
        KitChecked::FitsAnew
    }

    /// Keeps the recipient of the code whose slot was added last.
    pub(super) fn keep_kit(&mut self, root: &RootKey, digits: &[u8]) {
        let digits = Zeroizing::new(String::from_utf8_lossy(digits).into_owned());
        let kit = self
            .slots
            .last()
            .map(|slot| self.kit_of(&slot.salt, root, &digits));
        if let Some(slot) = self.slots.last_mut() {
            slot.kit = kit;
        }
    }

    fn recovery_slots(&self) -> impl Iterator<Item = &Slot> {
        let all = self.slots.iter();
        all.filter(|slot| slot.kind == SlotKind::RecoveryCode)
    }

    fn kit_of(&self, salt: &str, root: &RootKey, digits: &str) -> Kit {
        let recipient = Identity::of_code(digits.as_bytes()).recipient().to_string();
        let tag = self.kit_mac(salt, root, &recipient).finalize().into_bytes();
        Kit {
            tag: hearthkey_core::id::hex(&tag),
            recipient,
        }
    }

    fn recipient_of(&self, slot: &Slot, root: &RootKey) -> Option<Recipient> {
        let kit = slot.kit.as_ref()?;
        let tag = unhex::<32>(&kit.tag)?;
        let mac = self.kit_mac(&slot.salt, root, &kit.recipient);
        mac.verify_slice(&tag).ok()?;
        kit.recipient.parse().ok()
    }

    /// Binds a recipient to the slot beside which it is kept.
    fn kit_mac(&self, salt: &str, root: &RootKey, recipient: &str) -> Hmac<Sha256> {
        let key = root.kit(&self.home);
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key.bytes())
            .unwrap_or_else(|_| unreachable!("HMAC takes keys of every length"));
        mac.update(format!("{salt}\n{recipient}").as_bytes());
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> (RootKey, Slots, Zeroizing<String>) {
        let root = RootKey::generate();
        let mut slots = Slots::new("home-1".parse().unwrap());
        let code = slots.add_recovery_code(&root);
        (root, slots, code)
    }

    fn texts(slots: &Slots, root: &RootKey) -> Vec<String> {
        let all = slots.kit_recipients(root);
        all.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_new_code_has_a_recipient_and_an_older_one_gets_it_when_it_is_typed() {
        let (root, mut slots, code) = home();
        let own = texts(&slots, &root);
        assert_eq!(own, [kit_identity(&code).recipient().to_string()]);
        assert_eq!(slots.check_kit(&root, &code), KitChecked::Fits);
        slots.slots[0].kit = None;
        assert_eq!(texts(&slots, &root), [""; 0]);
        assert_eq!(slots.check_kit(&root, "00000-00000"), KitChecked::FitsNot);
        let typed = code.to_uppercase().replace('-', " ");
        assert_eq!(slots.check_kit(&root, &typed), KitChecked::FitsAnew);
        assert_eq!(texts(&slots, &root), own);
    }

    #[test]
    fn a_recipient_that_somebody_has_put_in_is_not_believed() {
        let (root, mut slots, code) = home();
        let (_, other, _) = home();
        let stranger = kit_identity("1234").recipient().to_string();
        let own = slots.slots[0].kit.clone().unwrap();
        for kit in [
            Kit {
                recipient: stranger,
                ..own.clone()
            },
            other.slots[0].kit.clone().unwrap(),
        ] {
            slots.slots[0].kit = Some(kit);
            assert_eq!(texts(&slots, &root), [""; 0]);
            assert_eq!(slots.check_kit(&root, &code), KitChecked::FitsAnew);
        }
        // Nor one of this home that belongs to another slot.
        slots.slots[0].kit = Some(own);
        slots.slots[0].salt = "00".repeat(16);
        assert_eq!(texts(&slots, &root), [""; 0]);
    }

    #[test]
    fn slots_of_a_home_from_before_backups_are_read() {
        let (root, slots, _) = home();
        let mut json = serde_json::to_value(&slots).unwrap();
        json["slots"][0].as_object_mut().unwrap().remove("kit");
        let old = Slots::parse(json.to_string().as_bytes()).unwrap();
        assert_eq!(texts(&old, &root), [""; 0]);
    }
}
