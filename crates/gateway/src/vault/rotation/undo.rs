//! Going back to the value before: on a person's word, or because the new one does not work.
//!
//! The steps that undo are taken like all others, each between two commits ([`crate::vault::rotation::steps`]).

use hearthkey_api::RotationView;
use hearthkey_bridges::Verified;
use hearthkey_core::audit::{Entry, Outcome};
use hearthkey_core::credential::{Action, CredentialId, Origin, VersionState};
use hearthkey_core::finding::FindingKind;
use hearthkey_core::news::Event;
use hearthkey_core::rotation::{Rotation, Step};
use hearthkey_core::time::{Span, Timestamp};
use hearthkey_store::change::Change;
use hearthkey_store::inventory::{KnownCredential, KnownVersion};
use hearthkey_store::vault::CredentialPlace;
use hearthkey_store::vault_change::VaultWrite;

use crate::auth::caller::Caller;
use crate::state::failure::Failure;
use crate::vault::Vault;
use crate::vault::credentials::object;
use crate::vault::leftovers::leftover;
use crate::vault::leftovers::unheard;
use crate::vault::rotation::begin::{Beginning, NewValue};
use crate::vault::rotation::steps::{Facts, Hindrance, neither, note};
use crate::vault::views;

/// Rotations among which the one is looked for that replaced a value. Replaced values are kept for days, not for years.
const ROTATIONS_READ: u32 = 100;

/// The first of two ends, where there are any.
fn sooner(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    [one, other].into_iter().flatten().min()
}

impl Vault {
    /// Goes back to the value before: undoes the rotation that runs, or begins one that brings the
    /// last replaced value again.
    pub(crate) async fn roll_back(
        &self,
        caller: &Caller,
        id: &CredentialId,
    ) -> Result<RotationView, Failure> {
        let actor = caller.actor();
        let turn = self.credential_turns.of(id).await;
        let known = self.credential(id)?;
        let running = self.ctx.store().read(|registry| registry.rotation(id))?;
        let Some(mut rotation) = running else {
            drop(turn);
            if caller.is_service() {
                // It says which value is the current one.
                self.permitted(caller, Action::Write, id).await?;
            }
            return self.bring_back(caller, &known).await;
        };
        let step = rotation.step;
        if step == Step::Mint && rotation.asked && self.replaces_in_place(id)? {
            return Err(Failure::refused(
                &format!("the bridge is replacing the value of {}", id.name),
                "Wait until it has, or enter another value. On the command line: `hearthkey credential rotate NAME --from-file FILE`.",
            ));
        }
        if !caller
            .changer(self.ctx.now(), self.auth.asks_for_codes()?)
            .is_fresh()
        {
            // Who may not move the end of a credential does not by going back, either.
            rotation.other_expires_at =
                sooner(rotation.other_expires_at, known.credential.expires_at);
        }
        rotation.step = match step {
            Step::Mint if rotation.to_version.is_none() => Step::Undo,
            Step::Mint | Step::Verify | Step::Switch => Step::Undo,
            _ => {
                return Err(Failure::refused(
                    &format!(
                        "the rotation of {} is at the step {}",
                        id.name,
                        step.as_str()
                    ),
                    "Wait until it has ended, then roll back again: the earlier value becomes a new version.",
                ));
            }
        };
        if self.is_ended_by_minting(id, rotation.to_version)? {
            return Err(Failure::refused(
                &format!(
                    "the bridge ended the earlier value of {} when it created the new one",
                    id.name
                ),
                "Wait until the rotation has ended, then rotate again. On the command line: `hearthkey credential rotate`.",
            ));
        }
        if rotation.from_version.is_none() {
            return Err(Failure::refused(
                &format!("the credential {} has no earlier value", id.name),
                "Retire it if it is not needed. On the command line: `hearthkey credential retire`.",
            ));
        }
        let now = self.ctx.now();
        rotation.tries = 0;
        rotation.not_before = now;
        rotation.notes.push(format!("undone by {}", actor.name));
        let entry = Entry::new(now, actor, "rotation.undo", object(id)).with("step", step.as_str());
        self.ctx
            .commit(Change::record(entry).vault(VaultWrite::Rotate(step, rotation.clone())))
            .await?;
        self.rotations.notify_one();
        Ok(views::rotation(id, &rotation, self.ctx.now()))
    }

    fn replaces_in_place(&self, id: &CredentialId) -> Result<bool, Failure> {
        let bridge = self.bridge_of(id)?;
        Ok(bridge.is_some_and(|bridge| bridge.abilities.replaces_in_place()))
    }

    /// Whether the bridge ends a value by making the next one, and nobody can try which of the two works.
    fn is_ended_by_minting(&self, id: &CredentialId, new: Option<u32>) -> Result<bool, Failure> {
        let versions = self.ctx.store().read(|registry| registry.versions(id))?;
        let minted = |version: &KnownVersion| {
            Some(version.version) == new && version.origin == Origin::Minted
        };
        if !versions.iter().any(minted) {
            return Ok(false);
        }
        let bridge = self.bridge_of(id)?;
        Ok(bridge
            .is_some_and(|bridge| bridge.abilities.replaces_in_place() && !bridge.abilities.verify))
    }

    async fn bring_back(
        &self,
        caller: &Caller,
        known: &KnownCredential,
    ) -> Result<RotationView, Failure> {
        let id = &known.credential.id;
        let versions = self.ctx.store().read(|registry| registry.versions(id))?;
        let last = versions
            .iter()
            // Values of a credential that was retired under this name are not brought back.
            .filter(|version| version.created_at >= known.credential.provenance.at)
            .find(|version| version.state == VersionState::Retired);
        let nothing = || {
            Failure::refused(
                &format!("no earlier value of {} is kept", id.name),
                "Replaced values are kept for 7 days. Rotate to a new one. On the command line: `hearthkey credential rotate`.",
            )
        };
        let last = last.ok_or_else(nothing)?;
        let bridge = self.bridge_of(id)?;
        if bridge.is_some_and(|bridge| bridge.abilities.revoke && !bridge.abilities.verify) {
            return Err(Failure::refused(
                &format!(
                    "version {} of {} was ended at its bridge",
                    last.version, id.name
                ),
                "Rotate to a new value. On the command line: `hearthkey credential rotate`.",
            ));
        }
        let sealed = self
            .ctx
            .store()
            .read(|registry| registry.sealed_value(id, Some(last.version)))?;
        let sealed = sealed.ok_or_else(nothing)?;
        let place = CredentialPlace::of(id, last.version);
        let value = self
            .ctx
            .store()
            .vault()
            .open_credential(&place, &sealed.sealed);
        let value = value.map_err(|error| Failure::unopened(&error))?;
        let value = NewValue::Here(value, last.origin, last.remote_id.clone());
        // The end that was known of it is its end again.
        let rotations = self
            .ctx
            .store()
            .read(|registry| registry.rotations(id, ROTATIONS_READ))?;
        let replaced_it = rotations
            .iter()
            .find(|rotation| rotation.from_version == Some(last.version));
        let beginning = Beginning {
            caller: Some(caller),
            reason: format!("rolled back to version {}", last.version),
            overlap: None,
            expires_at: replaced_it.and_then(|rotation| rotation.other_expires_at),
            by_itself: false,
        };
        self.begin_rotation(caller.actor(), id, value, beginning)
            .await
    }

    /// Where going back would leave no value that works: the rotation as it goes on with the new one. If neither
    /// works, nothing is done.
    async fn refuse_undo(
        &self,
        facts: &Facts,
        to: u32,
        state: VersionState,
    ) -> Result<Option<Rotation>, Hindrance> {
        let Some(from) = facts.rotation.from_version else {
            return Ok(None);
        };
        let bridge = facts.bridge.as_ref();
        let in_place = bridge.is_some_and(|bridge| bridge.abilities.replaces_in_place());
        let old = match self.works(facts, from).await {
            Ok(Some(Verified::Fails(old))) => old,
            // A bridge that does not answer keeps nobody from going back, unless it is known to have ended the old one.
            Err(hindrance) if in_place => return Err(hindrance),
            _ => return Ok(None),
        };
        if let Verified::Fails(new) = self.works(facts, to).await?.unwrap_or(Verified::Works) {
            return Err(neither(&new, &old));
        }
        let mut back = facts.at(match state {
            VersionState::Pending => Step::Verify,
            _ => Step::Switch,
        });
        note(
            &mut back,
            format!("not undone: the earlier value no longer works ({old})"),
        );
        Ok(Some(back))
    }

    /// The old value is the current one again; then the new one is ended, if there is one.
    pub(super) async fn take_undo(&self, facts: &Facts) -> Result<(), Hindrance> {
        let versions = self
            .ctx
            .store()
            .read(|registry| registry.versions(&facts.id))
            .map_err(Failure::from)?;
        let state_of = |number: Option<u32>| {
            let found = versions
                .iter()
                .find(|version| Some(version.version) == number);
            found.map(|version| version.state)
        };
        let Some(to) = facts.rotation.to_version else {
            return self.undo_mint(facts).await;
        };
        let new = state_of(Some(to));
        if let Some(state @ (VersionState::Pending | VersionState::Current)) = new {
            if let Some(back) = self.refuse_undo(facts, to, state).await? {
                let entry = facts
                    .entry("rotation.undo")
                    .ended(Outcome::Refused, "does_not_work");
                let write = VaultWrite::Rotate(Step::Undo, back);
                self.ctx.commit(Change::record(entry).vault(write)).await?;
                return Ok(());
            }
            let _turn = self.credential_turns.of(&facts.id).await;
            let mut change = Change::record(facts.entry("rotation.back"))
                .vault(facts.move_version(to, state, VersionState::Failed));
            let back = facts.at(Step::Undo);
            if let (Some(from), Some(VersionState::Previous)) = (
                facts.rotation.from_version,
                state_of(facts.rotation.from_version),
            ) {
                change = self.with_news(change, &facts.id, (&back, Event::Undone, from), facts.now);
                change = change.vault(facts.move_version(
                    from,
                    VersionState::Previous,
                    VersionState::Current,
                ));
                // Its end is the credential's again.
                let ends = facts.rotation.other_expires_at;
                change = change.vault(VaultWrite::Expires(facts.id.clone(), ends));
            }
            self.ctx
                .commit(change.vault(VaultWrite::Rotate(Step::Undo, back)))
                .await?;
        }
        let minted = versions
            .iter()
            .any(|known| known.version == to && known.origin == Origin::Minted);
        // One that was given and has never worked here may be anybody's.
        let left = match minted || new != Some(VersionState::Pending) {
            true => self.end_version(facts, to).await?,
            false => None,
        };
        let mut next = facts.at(Step::Undone);
        let mut change = Change::record(facts.entry("rotation.undone").with("left", left.clone()));
        change = change.vault(VaultWrite::Overtaken {
            object: object(&facts.id),
            kind: FindingKind::RotationHeld,
            seen_before: facts.now.after(Span::s(1)),
            at: facts.now,
        });
        if let Some(what) = left {
            // What a bridge has made may work there, also when the bridge is not connected any more.
            if facts.bridge.is_some() || minted {
                change = change.vault(VaultWrite::Finding(
                    leftover(&facts.id, to, &what),
                    facts.now,
                ));
            }
            note(&mut next, what);
        }
        self.ctx
            .commit(change.vault(VaultWrite::Rotate(Step::Undo, next)))
            .await?;
        Ok(())
    }

    /// Undoes a rotation that has no new value. If the bridge was asked for one and did not answer, it may have made it.
    async fn undo_mint(&self, facts: &Facts) -> Result<(), Hindrance> {
        let mut next = facts.at(Step::Undone);
        let mut change = Change::default();
        if facts.rotation.asked {
            let version = self.next_version(&facts.id)?;
            let finding = unheard(
                &facts.id,
                facts.rotation.id,
                &self.label(&facts.id, version),
            );
            note(&mut next, finding.remedy.clone());
            change = change.vault(VaultWrite::Finding(finding, facts.now));
        }
        let change = change
            .entry(facts.entry("rotation.undone"))
            .vault(VaultWrite::Rotate(Step::Undo, next));
        self.ctx.commit(change).await?;
        Ok(())
    }
}
