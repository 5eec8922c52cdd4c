//! The steps of a rotation, one after the other, each between two commits.
//!
//! Whatever stops the gateway, the row says which step is next, and taking it again does no harm: a
//! bridge that is asked twice for one label ends what it made first, and what is ended is ended.

use hearthkey_bridges::{BridgeError, Held, MintOrder, Revoked, Verified};
use hearthkey_core::audit::{Actor, Entry, Outcome};
use hearthkey_core::credential::{CredentialId, Origin, VersionState};
use hearthkey_core::rotation::{Rotation, Step};
use hearthkey_core::time::Timestamp;
use hearthkey_store::CommitError;
use hearthkey_store::change::Change;
use hearthkey_store::vault_change::VaultWrite;

use crate::home::{Home, locked};
use crate::problem::Failure;
use crate::vault::bridges::Connected;
use crate::vault::credentials::object;
use crate::vault::retiring::leftover;

/// Notes that are kept of one rotation.
const NOTES_MAX: usize = 20;

/// Why a step was not taken.
pub(super) enum Hindrance {
    /// The bridge gave no answer: try again later.
    NoAnswer(String),
    /// Neither value works: nothing is done without a person.
    Stuck(String),
    /// Somebody changed the rotation in the meantime: look again.
    Changed,
    /// The storage does not take it: try again later, without counting.
    Storage(String),
}

impl From<BridgeError> for Hindrance {
    fn from(error: BridgeError) -> Self {
        Self::NoAnswer(format!("{error}. {}", error.remedy()))
    }
}

impl From<Failure> for Hindrance {
    fn from(failure: Failure) -> Self {
        Self::NoAnswer(format!("{} {}", failure.0.detail, failure.0.remedy))
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
    pub(super) now: Timestamp,
}

impl Facts {
    pub(super) fn entry(&self, action: &'static str) -> Entry {
        Entry::new(self.now, Actor::gateway(), action, object(&self.id))
            .with("from_version", self.rotation.from_version)
            .with("to_version", self.rotation.to_version)
    }

    /// The rotation at its next step, with a fresh count of tries.
    fn at(&self, step: Step) -> Rotation {
        let mut next = self.rotation.clone();
        next.step = step;
        next.tries = 0;
        next.not_before = self.now;
        if step.is_over() {
            next.ended_at = Some(self.now);
        }
        next
    }

    fn move_version(&self, version: u32, from: VersionState, to: VersionState) -> VaultWrite {
        VaultWrite::MoveVersion {
            credential: self.id.clone(),
            version,
            from,
            to,
            at: self.now,
        }
    }
}

fn neither(new: &str, old: &str) -> Hindrance {
    Hindrance::Stuck(format!(
        "neither value works: of the new one the bridge says {new:?}, of the old one {old:?}"
    ))
}

pub(super) fn note(rotation: &mut Rotation, text: impl Into<String>) {
    let text = text.into();
    if rotation.notes.last() != Some(&text) && rotation.notes.len() < NOTES_MAX {
        rotation.notes.push(text);
    }
}

impl Home {
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

    /// A new value is had from the bridge, and stored before anything else happens to it.
    async fn take_mint(&self, facts: &Facts) -> Result<(), Hindrance> {
        let Some(bridge) = &facts.bridge else {
            return Err(Hindrance::NoAnswer(
                "the bridge is not connected any more. Connect it again".into(),
            ));
        };
        let id = &facts.id;
        let version = self.next_version(id)?;
        let known = self.credential(id)?;
        let replaces = self
            .store
            .read(|registry| registry.sealed_value(id, None))
            .map_err(Failure::from)?;
        let replaces = replaces.map(|sealed| self.held(id, &sealed)).transpose()?;
        let order = MintOrder {
            // The same for each try, and for nothing else.
            label: format!("hearthkey {} {id} v{version}", self.id),
            lifetime: None,
            scopes: known.credential.scopes,
            replaces,
        };
        let progress = self.listening(id);
        let minted = bridge.connector.mint(&order, &progress).await;
        locked(&self.bridge_says).remove(id);
        let minted = minted?;
        let _turn = self.credential_turns.of(id).await;
        let held = Held {
            value: minted.value.clone(),
            remote_id: minted.remote_id.clone(),
        };
        let mut added =
            self.new_version(id, version, &minted.value, &Actor::gateway(), facts.now)?;
        added.state = VersionState::Pending;
        added.origin = Origin::Minted;
        added.remote_id = minted.remote_id;
        let mut next = facts.at(Step::Verify);
        next.to_version = Some(version);
        let entry = facts
            .entry("rotation.mint")
            .with("to_version", version)
            .with("bridge", bridge.bridge.name.clone());
        let change = Change::record(entry)
            .vault(VaultWrite::Version(id.clone(), added))
            .vault(VaultWrite::Rotate(Step::Mint, next));
        let kept = self.commit(change).await;
        if let Err(CommitError::Conflict) = &kept {
            // It was undone in the meantime: what nobody knows of must not go on working.
            let ended = bridge.connector.revoke(&held).await;
            tracing::warn!(?ended, credential = %id, "a new value was taken back: its rotation was undone meanwhile");
        }
        kept?;
        Ok(())
    }

    /// Whether a version works, as its bridge says; nothing if no bridge can say.
    async fn works(&self, facts: &Facts, version: u32) -> Result<Option<Verified>, Hindrance> {
        let Some(bridge) = facts
            .bridge
            .as_ref()
            .filter(|bridge| bridge.abilities.verify)
        else {
            return Ok(None);
        };
        let sealed = self
            .store
            .read(|registry| registry.sealed_value(&facts.id, Some(version)));
        let Some(sealed) = sealed.map_err(Failure::from)? else {
            return Ok(Some(Verified::Fails("its value is gone".into())));
        };
        let held = self.held(&facts.id, &sealed)?;
        Ok(Some(bridge.connector.verify(&held).await?))
    }

    /// The new value is tried. If it works, it is the current one from here on, and the old one lives beside it.
    async fn take_verify(&self, facts: &Facts) -> Result<(), Hindrance> {
        let Some(to) = facts.rotation.to_version else {
            return Err(Hindrance::Stuck("there is no new value to try".into()));
        };
        let verdict = self.works(facts, to).await?;
        let _turn = self.credential_turns.of(&facts.id).await;
        if let Some(Verified::Fails(why)) = verdict {
            let mut next = facts.at(Step::Undo);
            note(&mut next, format!("the new value does not work: {why}"));
            let entry = facts
                .entry("rotation.verify")
                .ended(Outcome::Refused, "does_not_work");
            self.commit(Change::record(entry).vault(VaultWrite::Rotate(Step::Verify, next)))
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
                let overlap = known.credential.rotation.overlap();
                next.deadline = facts.rotation.deadline.or(Some(facts.now.after(overlap)));
                next
            }
        };
        if verdict.is_none() {
            note(
                &mut next,
                "the new value was not tried: no connected bridge can",
            );
        }
        let change = change
            .vault(facts.move_version(to, VersionState::Pending, VersionState::Current))
            .vault(VaultWrite::Rotate(Step::Verify, next));
        self.commit(change).await?;
        if let (Some(bridge), Some(_)) = (&facts.bridge, verdict) {
            // What it may do is known from here on; that it works was.
            let known = self.credential(&facts.id)?;
            if let Err(failure) = self.ask(bridge, &known).await {
                tracing::warn!(
                    why = failure.0.detail,
                    "what a new value may do is not known"
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
        self.commit(Change::record(entry).vault(VaultWrite::Rotate(Step::Switch, next)))
            .await?;
        Ok(())
    }

    /// The new value is tried once more, and only then the old one is ended.
    async fn take_revoke(&self, facts: &Facts) -> Result<(), Hindrance> {
        let (Some(from), Some(to)) = (facts.rotation.from_version, facts.rotation.to_version)
        else {
            return Err(Hindrance::Stuck("one of the two values is missing".into()));
        };
        if let Some(Verified::Fails(why)) = self.works(facts, to).await? {
            if let Some(Verified::Fails(old)) = self.works(facts, from).await? {
                return Err(neither(&why, &old));
            }
            let mut next = facts.at(Step::Undo);
            note(&mut next, format!("the new value stopped working: {why}"));
            let entry = facts
                .entry("rotation.revoke")
                .ended(Outcome::Refused, "does_not_work");
            self.commit(Change::record(entry).vault(VaultWrite::Rotate(Step::Revoke, next)))
                .await?;
            return Ok(());
        }
        let left = self.end_version(facts, from).await?;
        let mut next = facts.at(Step::Done);
        let mut change = Change::record(facts.entry("rotation.done").with("left", left.clone()));
        if let Some(what) = left {
            if facts.bridge.is_some() {
                change = change.vault(VaultWrite::Finding(
                    leftover(&facts.id, from, &what),
                    facts.now,
                ));
            }
            note(&mut next, what);
        }
        let change = change
            .vault(facts.move_version(from, VersionState::Previous, VersionState::Retired))
            .vault(VaultWrite::Rotate(Step::Revoke, next));
        self.commit(change).await?;
        Ok(())
    }

    /// Has the bridge end a version; gives what is left to do by hand.
    async fn end_version(&self, facts: &Facts, version: u32) -> Result<Option<String>, Hindrance> {
        let Some(bridge) = &facts.bridge else {
            return Ok(Some(format!(
                "version {version} is not given out any more; if its issuer still takes it, end it there by hand"
            )));
        };
        let sealed = self
            .store
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
        match bridge
            .connector
            .revoke(&self.held(&facts.id, &sealed)?)
            .await?
        {
            Revoked::Gone => Ok(None),
            Revoked::ByHand(what) => Ok(Some(what)),
        }
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
        // A bridge that does not answer keeps nobody from going back.
        let Ok(Some(Verified::Fails(old))) = self.works(facts, from).await else {
            return Ok(None);
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
            format!("not undone: the value before does not work any more ({old})"),
        );
        Ok(Some(back))
    }

    /// The old value is the current one again; then the new one is ended, if there is one.
    async fn take_undo(&self, facts: &Facts) -> Result<(), Hindrance> {
        let versions = self
            .store
            .read(|registry| registry.versions(&facts.id))
            .map_err(Failure::from)?;
        let state_of = |number: Option<u32>| {
            let found = versions
                .iter()
                .find(|version| Some(version.version) == number);
            found.map(|version| version.state)
        };
        let Some(to) = facts.rotation.to_version else {
            let entry = facts.entry("rotation.undone");
            let write = VaultWrite::Rotate(Step::Undo, facts.at(Step::Undone));
            self.commit(Change::record(entry).vault(write)).await?;
            return Ok(());
        };
        let new = state_of(Some(to));
        if let Some(state @ (VersionState::Pending | VersionState::Current)) = new {
            if let Some(back) = self.refuse_undo(facts, to, state).await? {
                let entry = facts
                    .entry("rotation.undo")
                    .ended(Outcome::Refused, "does_not_work");
                let write = VaultWrite::Rotate(Step::Undo, back);
                self.commit(Change::record(entry).vault(write)).await?;
                return Ok(());
            }
            let _turn = self.credential_turns.of(&facts.id).await;
            let mut change = Change::record(facts.entry("rotation.back"))
                .vault(facts.move_version(to, state, VersionState::Failed));
            if let (Some(from), Some(VersionState::Previous)) = (
                facts.rotation.from_version,
                state_of(facts.rotation.from_version),
            ) {
                change = change.vault(facts.move_version(
                    from,
                    VersionState::Previous,
                    VersionState::Current,
                ));
            }
            self.commit(change.vault(VaultWrite::Rotate(Step::Undo, facts.at(Step::Undo))))
                .await?;
        }
        let left = self.end_version(facts, to).await?;
        let mut next = facts.at(Step::Undone);
        let mut change = Change::record(facts.entry("rotation.undone").with("left", left.clone()));
        if let Some(what) = left {
            if facts.bridge.is_some() {
                change = change.vault(VaultWrite::Finding(
                    leftover(&facts.id, to, &what),
                    facts.now,
                ));
            }
            note(&mut next, what);
        }
        self.commit(change.vault(VaultWrite::Rotate(Step::Undo, next)))
            .await?;
        Ok(())
    }
}
