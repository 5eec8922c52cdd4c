//! The slots of a home that gets a new root key.

use hearthkey_core::time::Timestamp;
use zeroize::Zeroizing;

use super::{SlotError, SlotKind, Slots, UnsealError, Way, normalized_code};
use crate::files::DataDir;
use crate::keys::RootKey;

/// Slots that open a new root key.
pub(crate) struct Renewed {
    pub(crate) slots: Slots,
    /// A recovery code that was made, if the one there was cannot go on.
    pub(crate) code: Option<Zeroizing<String>>,
    /// The names of methods that open nothing any more.
    pub(crate) ended: Vec<String>,
}

impl Slots {
    /// The slots of the same home for another root key. What was typed goes on opening it; a key file is made anew in a
    /// directory. The words of the others are not known, so that they end; a recovery code is made if it was not the one.
    pub(crate) fn for_new_root(
        &self,
        root: &RootKey,
        way: &Way,
        (dir, now): (&DataDir, Timestamp),
    ) -> Result<Renewed, RenewError> {
        let fits = |slot: &&super::Slot| match (way, slot.kind) {
            (Way::KeyFile(content), SlotKind::KeyFile) => self.try_slot(slot, content).is_some(),
            (Way::Words(words), SlotKind::Passphrase) => {
                self.try_slot(slot, words.as_bytes()).is_some()
            }
            (Way::Words(words), SlotKind::RecoveryCode) => self
                .try_slot(slot, normalized_code(words).as_bytes())
                .is_some(),
            _ => false,
        };
        let used = self.slots.iter().find(fits).ok_or(UnsealError::NoFit)?;
        let mut slots = Self::new(self.home.clone());
        if self.kinds().contains(&SlotKind::KeyFile) {
            slots.add_key_file(root, dir)?;
        }
        if let (Way::Words(words), kind) = (way, used.kind) {
            match kind {
                SlotKind::RecoveryCode => {
                    slots.add(kind, root, normalized_code(words).as_bytes());
                }
                _ => slots.add(kind, root, words.as_bytes()),
            }
            let about = used.about.clone();
            if let Some(slot) = slots.slots.last_mut() {
                slot.about = about;
            }
        }
        let is_code = used.kind == SlotKind::RecoveryCode;
        let code = (!is_code).then(|| slots.add_recovery_code(root));
        slots.dated(now);
        let goes_on =
            |slot: &super::Slot| std::ptr::eq(slot, used) || slot.kind == SlotKind::KeyFile;
        let ended = self.slots.iter().filter(|slot| !goes_on(slot));
        Ok(Renewed {
            slots,
            code,
            ended: ended.map(|slot| slot.name().to_owned()).collect(),
        })
    }
}

/// Why there are no slots for a new root key.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// Nothing opens with what was presented.
    #[error(transparent)]
    Unseal(#[from] UnsealError),
    /// They cannot be made.
    #[error(transparent)]
    Slot(#[from] SlotError),
}
