//! The steps of a rotation, one after the other, each between two commits.
//!
//! Whatever stops the gateway, the row says which step is next, and taking it again does no harm: a
//! bridge that is asked twice for one label ends what it made first, and what is ended is ended.

use hearthkey_bridges::{BridgeError, MintOrder, Minted, Revoked, Verified};
use hearthkey_core::audit::{Actor, Entry, Outcome};
use hearthkey_core::credential::{CredentialId, Origin, VersionState};
use hearthkey_core::finding::FindingKind;
use hearthkey_core::news::Event;
use hearthkey_core::rotation::{self, Rotation, Step};
use hearthkey_core::time::{Span, Timestamp};
use hearthkey_store::CommitError;
use hearthkey_store::change::Change;
use hearthkey_store::vault_change::VaultWrite;

use crate::state::failure::Failure;
use crate::state::locked;
use crate::vault::Vault;
use crate::vault::bridges::Connected;
use crate::vault::credentials::object;
use crate::vault::leftovers::leftover;
use crate::vault::leftovers::lost;
use crate::vault::rotation::value::Untaken;

/// Notes that are kept of one rotation.
const NOTES_MAX: usize = 20;

/// Why a step was not taken.
pub(super) enum Hindrance {
    /// The bridge gave no answer: what it has done is not known; try again later.
    NoAnswer(String),
    /// It was not done; try again later.
    NotDone(String),
    /// Neither value works: nothing is done without a person.
    Stuck(String),
    /// Somebody changed the rotation in the meantime: look again.
    Changed,
    /// The storage does not take it: try again later, without counting.
    Storage(String),
}

impl From<BridgeError> for Hindrance {
    fn from(error: BridgeError) -> Self {
        let why = format!("{error}. {}", error.remedy());
        match error.may_have_been_done() {
            true => Self::NoAnswer(why),
            false => Self::NotDone(why),
        }
    }
}

impl From<Failure> for Hindrance {
    fn from(failure: Failure) -> Self {
        Self::NotDone(format!("{} {}", failure.0.detail, failure.0.remedy))
    }
}

impl From<CommitError> for Hindrance {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Conflict => Self::Changed,
            error => Self::Storage(error.to_string()),
        }
    }
}

/// What a step works with.
pub(super) struct Facts {
    pub(super) id: CredentialId,
    pub(super) rotation: Rotation,
    pub(super) bridge: Option<Connected>,
    /// Whether an earlier try asked the bridge for a value, and what came of it is not known.
    pub(super) asked_before: bool,
    pub(super) now: Timestamp,
}

impl Facts {
    pub(super) fn entry(&self, action: &'static str) -> Entry {
        Entry::new(self.now, Actor::gateway(), action, object(&self.id))
            .with("from_version", self.rotation.from_version)
            .with("to_version", self.rotation.to_version)
    }

    /// The rotation at its next step, with a fresh count of tries.
    pub(super) fn at(&self, step: Step) -> Rotation {
        let mut next = self.rotation.clone();
        next.step = step;
        next.tries = 0;
        next.not_before = self.now;
        if step.is_over() {
            next.ended_at = Some(self.now);
        }
        next
    }

    pub(super) fn move_version(
        &self,
        version: u32,
        from: VersionState,
        to: VersionState,
    ) -> VaultWrite {
        VaultWrite::MoveVersion {
            credential: self.id.clone(),
            version,
            from,
            to,
            at: self.now,
        }
    }
}

pub(super) fn neither(new: &str, old: &str) -> Hindrance {
    Hindrance::Stuck(format!(
        "neither value works: the bridge answers {new:?} for the new one and {old:?} for the old one"
    ))
}

pub(super) fn note(rotation: &mut Rotation, text: impl Into<String>) {
    let text = text.into();
    if rotation.notes.last() != Some(&text) && rotation.notes.len() < NOTES_MAX {
        rotation.notes.push(text);
    }
}

impl Vault {
    /// Takes a step.
    pub(super) async fn take(&self, step: Step, facts: &Facts) -> Result<(), Hindrance> {
        match step {
            Step::Mint => self.take_mint(facts).await,
            Step::Verify => self.take_verify(facts).await,
            Step::Revoke if facts.rotation.step == Step::Switch => self.end_switch(facts).await,
            Step::Revoke => self.take_revoke(facts).await,
            Step::Undo => self.take_undo(facts).await,
            Step::Switch | Step::Done | Step::Undone => Ok(()),
        }
    }

    /// A new value is had from the bridge, and stored before anything else happens to it. One that the storage does not
    /// take is kept, and stored when it does: the bridge is not asked for another.
    async fn take_mint(&self, facts: &Facts) -> Result<(), Hindrance> {
        let id = &facts.id;
        let version = self.next_version(id)?;
        let made = match self.untaken(&facts.rotation, version) {
            Some(made) => made,
            None => self.have_made(facts, version).await?,
        };
        let _turn = self.credential_turns.of(id).await;
        let Minted {
            value,
            remote_id,
            lifetime,
        } = &made.minted;
        let mut added = self.new_version(id, version, value, &Actor::gateway().name, facts.now)?;
        added.state = VersionState::Pending;
        added.origin = Origin::Minted;
        added.remote_id.clone_from(remote_id);
        let mut next = facts.at(Step::Verify);
        next.to_version = Some(version);
        next.asked = false;
        let made_until = lifetime.map(|lifetime| self.ctx.now().after(lifetime));
        next.other_expires_at = made_until.or(next.other_expires_at);
        let bridge = facts.bridge.as_ref();
        let in_place = bridge.is_some_and(|bridge| bridge.abilities.replaces_in_place());
        if in_place && facts.rotation.from_version.is_some() {
            note(
                &mut next,
                "the bridge ended the old value when it created the new one",
            );
        }
        let entry = facts
            .entry("rotation.mint")
            .with("to_version", version)
            .with("bridge", id.name.bridge());
        let mut change = Change::record(entry)
            .vault(VaultWrite::Version(id.clone(), added))
            .vault(VaultWrite::Rotate(Step::Mint, next));
        if made.one_was_lost {
            let finding = lost(id, version, &self.label(id, version), remote_id.as_deref());
            change = change.vault(VaultWrite::Finding(finding, facts.now));
        }
        self.ctx.commit(change).await?;
        self.was_taken(&facts.rotation);
        Ok(())
    }

    /// Has the bridge make a value.
    async fn have_made(&self, facts: &Facts, version: u32) -> Result<Untaken, Hindrance> {
        let Some(bridge) = &facts.bridge else {
            return Err(Hindrance::NotDone(
                "the bridge is no longer connected. Connect it again".into(),
            ));
        };
        let id = &facts.id;
        let known = self.credential(id)?;
        let replaces = self
            .ctx
            .store()
            .read(|registry| registry.sealed_value(id, None))
            .map_err(Failure::from)?;
        let replaces = replaces.map(|sealed| self.held(id, &sealed)).transpose()?;
        let order = MintOrder {
            label: self.label(id, version),
            lifetime: None,
            scopes: known.credential.scopes,
            replaces,
        };
        let progress = self.listening(id);
        let minted = bridge.connector.mint(&order, &progress).await;
        locked(&self.bridge_says).remove(id);
        match minted {
            Ok(minted) => {
                let one_was_lost = facts.asked_before && !bridge.abilities.ends_lost;
                Ok(self.keep_untaken((&facts.id, &facts.rotation), version, minted, one_was_lost))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What a bridge is to call a version: the same for each try, and for nothing else.
    pub(in crate::vault) fn label(&self, id: &CredentialId, version: u32) -> String {
        format!("hearthkey {} {id} v{version}", self.ctx.id())
    }

    /// Whether a version works, as its bridge says; nothing if no bridge can say.
    pub(super) async fn works(
        &self,
        facts: &Facts,
        version: u32,
    ) -> Result<Option<Verified>, Hindrance> {
        let Some(bridge) = facts
            .bridge
            .as_ref()
            .filter(|bridge| bridge.abilities.verify)
        else {
            return Ok(None);
        };
        let sealed = self
            .ctx
            .store()
            .read(|registry| registry.sealed_value(&facts.id, Some(version)));
        let Some(sealed) = sealed.map_err(Failure::from)? else {
            return Ok(Some(Verified::Fails("its value is missing".into())));
        };
        let held = self.held(&facts.id, &sealed)?;
        Ok(Some(bridge.connector.verify(&held).await?))
    }

    /// The new value is tried. If it works, it is the current one from here on, and the old one lives beside it.
    async fn take_verify(&self, facts: &Facts) -> Result<(), Hindrance> {
        let Some(to) = facts.rotation.to_version else {
            return Err(Hindrance::Stuck("there is no new value to test".into()));
        };
        let verdict = self.works(facts, to).await?;
        let turn = self.credential_turns.of(&facts.id).await;
        if let Some(Verified::Fails(why)) = verdict {
            let mut next = facts.at(Step::Undo);
            note(&mut next, format!("the new value does not work: {why}"));
            let entry = facts
                .entry("rotation.verify")
                .ended(Outcome::Refused, "does_not_work");
            self.ctx
                .commit(Change::record(entry).vault(VaultWrite::Rotate(Step::Verify, next)))
                .await?;
            return Ok(());
        }
        let known = self.credential(&facts.id)?;
        let mut change = Change::record(
            facts
                .entry("rotation.verify")
                .with("tried", verdict.is_some()),
        );
        let mut next = match facts.rotation.from_version {
            None => facts.at(Step::Done),
            Some(from) => {
                let moved = facts.move_version(from, VersionState::Current, VersionState::Previous);
                change = change.vault(moved);
                let mut next = facts.at(Step::Switch);
                next.dependents.clone_from(&known.credential.used_by);
                let overlap = facts.rotation.overlap;
                let overlap = overlap.unwrap_or(known.credential.rotation.overlap());
                next.deadline = Some(self.ctx.now().after(overlap));
                next
            }
        };
        let ends = known.credential.expires_at;
        if facts.rotation.from_version.is_some() || next.other_expires_at.is_some() {
            // The end that was known is the old value's.
            let new_end = next.new_end(ends);
            change = change.vault(VaultWrite::Expires(facts.id.clone(), new_end));
            if ends.is_some() && next.other_expires_at.is_none() {
                note(
                    &mut next,
                    "the end of the new value is unknown: set when it expires",
                );
            }
            next.other_expires_at = ends;
        }
        if verdict.is_none() {
            note(&mut next, "not tested: no bridge connected");
        }
        let change =
            change.vault(facts.move_version(to, VersionState::Pending, VersionState::Current));
        let change = self.with_news(change, &facts.id, (&next, Event::Switch, to), facts.now);
        self.ctx
            .commit(change.vault(VaultWrite::Rotate(Step::Verify, next)))
            .await?;
        // A bridge that hangs holds nobody's turn.
        drop(turn);
        if let (Some(bridge), Some(_)) = (&facts.bridge, verdict) {
            // What it may do is known from here on; that it works was.
            let known = self.credential(&facts.id)?;
            if let Err(failure) = self.ask(bridge, &known).await {
                tracing::warn!(
                    why = failure.0.detail,
                    "the scopes of a new value are unknown"
                );
            }
        }
        Ok(())
    }

    /// Everything has switched, or had the time to.
    async fn end_switch(&self, facts: &Facts) -> Result<(), Hindrance> {
        let _turn = self.credential_turns.of(&facts.id).await;
        let mut next = facts.at(Step::Revoke);
        let late: Vec<String> = facts.rotation.unconfirmed().map(str::to_owned).collect();
        if !late.is_empty() {
            note(
                &mut next,
                format!("not confirmed at the deadline: {}", late.join(", ")),
            );
        }
        let entry = facts.entry("rotation.switched").with("unconfirmed", late);
        self.ctx
            .commit(Change::record(entry).vault(VaultWrite::Rotate(Step::Switch, next)))
            .await?;
        Ok(())
    }

    /// The new value is tried once more, and only then the old one is ended.
    async fn take_revoke(&self, facts: &Facts) -> Result<(), Hindrance> {
        let (Some(from), Some(to)) = (facts.rotation.from_version, facts.rotation.to_version)
        else {
            return Err(Hindrance::Stuck("one of the two values is missing".into()));
        };
        let verdict = self.works(facts, to).await?;
        let tried = verdict.is_some();
        if let Some(Verified::Fails(why)) = verdict {
            if let Some(Verified::Fails(old)) = self.works(facts, from).await? {
                return Err(neither(&why, &old));
            }
            let mut next = facts.at(Step::Undo);
            note(&mut next, format!("the new value stopped working: {why}"));
            let entry = facts
                .entry("rotation.revoke")
                .ended(Outcome::Refused, "does_not_work");
            self.ctx
                .commit(Change::record(entry).vault(VaultWrite::Rotate(Step::Revoke, next)))
                .await?;
            return Ok(());
        }
        let versions = self
            .ctx
            .store()
            .read(|registry| registry.versions(&facts.id))
            .map_err(Failure::from)?;
        let minted = |number: u32| {
            let mut minted = versions.iter();
            minted.any(|known| known.version == number && known.origin == Origin::Minted)
        };
        let left = match rotation::may_end_old(tried, minted(to)) {
            true => self.end_version(facts, from).await?,
            false if facts.bridge.is_some() => Some(format!(
                "version {from} was not ended, because the new value was not tested: check that it works, then end the old one there by hand"
            )),
            false => self.end_version(facts, from).await?,
        };
        let mut next = facts.at(Step::Done);
        let mut change = Change::record(facts.entry("rotation.done").with("left", left.clone()));
        change = self.overtaken(change, facts);
        if let Some(what) = left {
            // What a bridge has made may work there, also when the bridge is not connected any more.
            if facts.bridge.is_some() || minted(from) {
                change = change.vault(VaultWrite::Finding(
                    leftover(&facts.id, from, &what),
                    facts.now,
                ));
            }
            note(&mut next, what);
        }
        let change =
            change.vault(facts.move_version(from, VersionState::Previous, VersionState::Retired));
        let change = self.with_news(change, &facts.id, (&next, Event::Done, to), facts.now);
        self.ctx
            .commit(change.vault(VaultWrite::Rotate(Step::Revoke, next)))
            .await?;
        Ok(())
    }

    /// With the end of a rotation, what was found before it began no longer exists: that it waits, and that its old value leaked.
    fn overtaken(&self, mut change: Change, facts: &Facts) -> Change {
        for (kind, seen_before) in [
            (FindingKind::RotationHeld, facts.now.after(Span::s(1))),
            (FindingKind::Leaked, facts.rotation.begun_at),
        ] {
            change = change.vault(VaultWrite::Overtaken {
                object: object(&facts.id),
                kind,
                seen_before,
                at: facts.now,
            });
        }
        change
    }

    /// Whether the bridge has a value under a name that another version in use goes by, too: ending it there ends that one.
    pub(super) fn is_in_use_at_bridge(
        &self,
        id: &CredentialId,
        version: u32,
        remote_id: Option<&str>,
    ) -> Result<bool, Failure> {
        let Some(remote_id) = remote_id else {
            return Ok(false);
        };
        let versions = self.ctx.store().read(|registry| registry.versions(id))?;
        Ok(versions.iter().any(|known| {
            let is_other = known.version != version && known.state.is_live();
            is_other && known.remote_id.as_deref() == Some(remote_id)
        }))
    }

    /// Has the bridge end a version; gives what is left to do by hand.
    pub(super) async fn end_version(
        &self,
        facts: &Facts,
        version: u32,
    ) -> Result<Option<String>, Hindrance> {
        let Some(bridge) = &facts.bridge else {
            return Ok(Some(format!(
                "version {version} is no longer given out; if its issuer still accepts it, end it there by hand"
            )));
        };
        let sealed = self
            .ctx
            .store()
            .read(|registry| registry.sealed_value(&facts.id, Some(version)));
        let Some(sealed) = sealed.map_err(Failure::from)? else {
            return Ok(None);
        };
        if !bridge.abilities.revoke {
            let what = bridge.abilities.cannot.join(" ");
            return Ok(Some(format!(
                "version {version} could not be ended by the bridge. {what}"
            )));
        }
        let held = self.held(&facts.id, &sealed)?;
        if self.is_in_use_at_bridge(&facts.id, version, held.remote_id.as_deref())? {
            return Ok(match bridge.abilities.verify {
                true if matches!(bridge.connector.verify(&held).await?, Verified::Fails(_)) => None,
                _ => Some(format!(
                    "version {version} was not ended, because it has the same id at its bridge as the value in use; check there that it no longer works"
                )),
            });
        }
        match bridge.connector.revoke(&held).await? {
            Revoked::Gone => Ok(None),
            Revoked::ByHand(what) => Ok(Some(what)),
        }
    }
}
