//! Values that a bridge has made and the storage has not taken yet.
//!
//! Such a value works, and nobody else knows it. So it is kept in memory and stored as soon as the storage takes it; and
//! if its rotation is over by then, it is ended at the bridge, or a finding says that it is not. A gateway that is
//! killed meanwhile finds on disk that the bridge was asked.

use crate::vault::leftovers::{lost, unheard};
use crate::vault::rotation::value::{Fate, Untaken};
use std::sync::Arc;

use hearthkey_bridges::{Held, Minted, Revoked};
use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::credential::{CredentialId, Origin};
use hearthkey_core::rotation::{Rotation, Step};
use hearthkey_store::change::Change;
use hearthkey_store::vault_change::VaultWrite;

use crate::state::failure::Failure;
use crate::state::locked;
use crate::vault::Vault;
use crate::vault::credentials::object;
use crate::vault::leftovers::leftover;

impl Vault {
    /// The value that was made for a rotation and is not stored.
    pub(super) fn untaken(&self, rotation: &Rotation, version: u32) -> Option<Untaken> {
        let kept = locked(&self.minted);
        kept.get(&rotation.id)
            .filter(|untaken| untaken.version == version)
            .cloned()
    }

    /// Whether a value was made for a rotation and is not stored.
    pub(super) fn has_untaken(&self, rotation: &Rotation) -> bool {
        locked(&self.minted).contains_key(&rotation.id)
    }

    /// Keeps a value from the moment at which the bridge has given it.
    pub(super) fn keep_untaken(
        &self,
        (id, rotation): (&CredentialId, &Rotation),
        version: u32,
        minted: Minted,
        one_was_lost: bool,
    ) -> Untaken {
        let untaken = Untaken {
            credential: id.clone(),
            version,
            minted,
            one_was_lost,
            fate: Fate::Works,
        };
        locked(&self.minted).insert(rotation.id, untaken.clone());
        untaken
    }

    /// The value of a rotation is stored.
    pub(super) fn was_taken(&self, rotation: &Rotation) {
        locked(&self.minted).remove(&rotation.id);
    }

    /// The values whose rotations do not wait for them any more, with their credentials.
    pub(super) fn unwanted(
        &self,
        running: &[(CredentialId, Rotation)],
    ) -> Vec<(i64, CredentialId)> {
        let waits = |id: i64| {
            let mut running = running.iter();
            running.any(|(_, rotation)| rotation.id == id && rotation.step == Step::Mint)
        };
        let kept = locked(&self.minted);
        kept.iter()
            .filter(|(id, _)| !waits(**id))
            .map(|(id, untaken)| (*id, untaken.credential.clone()))
            .collect()
    }

    /// Ends a value whose rotation does not wait for it, and writes down what is left of it.
    pub(super) async fn settle_unwanted(self: &Arc<Self>, rotation: i64) {
        let Some(mut untaken) = locked(&self.minted).get(&rotation).cloned() else {
            return;
        };
        match self.is_stored(&untaken) {
            Ok(false) => {}
            Ok(true) => {
                // A commit whose end was not known had gone well.
                locked(&self.minted).remove(&rotation);
                return;
            }
            Err(failure) => {
                tracing::warn!(
                    why = failure.0.detail,
                    "the created value cannot be looked up"
                );
                return;
            }
        }
        if let Fate::Works = untaken.fate {
            untaken.fate = self.end_untaken(&untaken).await;
            locked(&self.minted).insert(rotation, untaken.clone());
        }
        let (id, now) = (&untaken.credential, self.ctx.now());
        let entry = Entry::new(now, Actor::gateway(), "rotation.untaken", object(id))
            .with("version", untaken.version);
        let write = match &untaken.fate {
            Fate::Left(what) => {
                let remote = untaken
                    .minted
                    .remote_id
                    .as_deref()
                    .unwrap_or("without an id");
                let what = format!("Its id at the bridge is {remote:?}. {what}");
                VaultWrite::Finding(leftover(id, untaken.version, &what), now)
            }
            _ => VaultWrite::Settled(leftover(id, untaken.version, "").id, now),
        };
        let ended = matches!(untaken.fate, Fate::Ended);
        let mut change = Change::record(entry.with("ended", ended)).vault(write);
        if !untaken.one_was_lost {
            // It is the one that was unknown.
            let unheard = unheard(id, rotation, "");
            change = change.vault(VaultWrite::Settled(unheard.id, now));
        } else {
            let known = untaken.minted.remote_id.as_deref();
            let finding = lost(id, untaken.version, &self.label(id, untaken.version), known);
            change = change.vault(VaultWrite::Finding(finding, now));
        }
        match self.ctx.commit(change).await {
            Ok(_) => drop(locked(&self.minted).remove(&rotation)),
            Err(error) => {
                tracing::warn!(%error, credential = %id, "the created value is not stored yet")
            }
        }
    }

    fn is_stored(&self, untaken: &Untaken) -> Result<bool, Failure> {
        let fingerprint = self.ctx.store().vault().fingerprint(&untaken.minted.value);
        let versions = self
            .ctx
            .store()
            .read(|registry| registry.versions(&untaken.credential))?;
        Ok(versions.iter().any(|known| {
            known.version == untaken.version
                && known.origin == Origin::Minted
                && known.fingerprint == fingerprint
        }))
    }

    async fn end_untaken(&self, untaken: &Untaken) -> Fate {
        let bridge = match self.bridge_of(&untaken.credential) {
            Ok(Some(bridge)) => bridge,
            Ok(None) => {
                return Fate::Left(
                    "Its bridge is no longer connected: end it there by hand.".into(),
                );
            }
            Err(failure) => return Fate::Left(failure.0.detail),
        };
        let held = Held {
            value: untaken.minted.value.clone(),
            remote_id: untaken.minted.remote_id.clone(),
        };
        let remote_id = held.remote_id.as_deref();
        match self.is_in_use_at_bridge(&untaken.credential, untaken.version, remote_id) {
            Ok(false) => {}
            Ok(true) => {
                return Fate::Left(
                    "The bridge lists it under the same name as the value in use. Check there which of the two works, and enter that one. On the command line: `hearthkey credential rotate --from-file FILE`.".into(),
                );
            }
            Err(failure) => return Fate::Left(failure.0.detail),
        }
        match bridge.connector.revoke(&held).await {
            Ok(Revoked::Gone) => Fate::Ended,
            Ok(Revoked::ByHand(what)) => Fate::Left(what),
            Err(error) => Fate::Left(format!("{error}. End it at the bridge by hand.")),
        }
    }
}
