//! The steps of a rotation, one after the other, each between two commits.
//!
//! Whatever stops the gateway, the row says which step is next, and taking it again does no harm: a
//! bridge that is asked twice for one label ends what it made first, and what is ended is ended.

use std::sync::Arc;

use hearthkey_api::RotationView;
use hearthkey_bridges::{BridgeError, Held, MintOrder, Progress, Revoked, Verified};
use hearthkey_core::audit::{Actor, Entry, Outcome};
use hearthkey_core::credential::{CredentialId, Origin, VersionState};
use hearthkey_core::finding::{Finding, FindingKind, Severity};
use hearthkey_core::rotation::{Next, Rotation, Step, TRIES_MAX};
use hearthkey_core::time::Timestamp;
use hearthkey_store::CommitError;
use hearthkey_store::change::Change;
use hearthkey_store::vault_change::VaultWrite;

use crate::home::{Home, locked};
use crate::problem::Failure;
use crate::vault::bridges::Connected;
use crate::vault::credentials::object;
use crate::vault::retiring::leftover;
use crate::vault::views;

/// Rotations that are driven at the same time.
const DRIVEN_MAX: usize = 8;
/// Notes that are kept of one rotation.
const NOTES_MAX: usize = 20;

/// Drives the rotations that run, at start, when one changes, and when the time of one has come.
pub(crate) async fn rotate_what_is_due(home: Arc<Home>) {
    let mut stopping = home.stopping.subscribe();
    loop {
        let second = tokio::time::sleep(std::time::Duration::from_secs(1));
        match home.store.read(|registry| registry.running_rotations()) {
            Ok(running) => {
                let now = home.now();
                let ready = |rotation: &Rotation| matches!(rotation.next(now), Next::Take(_));
                for (id, _) in running.into_iter().filter(|(_, rotation)| ready(rotation)) {
                    drive(&home, id);
                }
            }
            Err(error) => tracing::error!(%error, "the rotations could not be read"),
        }
        tokio::select! {
            () = home.rotations.notified() => {}
            () = second => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
    }
}

/// Takes one rotation as far as it goes, unless that is being done.
fn drive(home: &Arc<Home>, id: CredentialId) {
    {
        let mut driven = locked(&home.driven);
        if driven.len() >= DRIVEN_MAX || !driven.insert(id.clone()) {
            return;
        }
    }
    let home = Arc::clone(home);
    let mut stopping = home.stopping.subscribe();
    tokio::spawn(async move {
        let steps = async { while home.take_next(&id).await {} };
        // A step that is given up half-way is taken again when the home opens.
        tokio::select! {
            () = steps => {}
            _ = stopping.wait_for(|stop| *stop) => {}
        }
        locked(&home.driven).remove(&id);
        home.rotations.notify_one();
    });
}

/// Why a step was not taken.
enum Hindrance {
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
struct Facts {
    id: CredentialId,
    rotation: Rotation,
    bridge: Option<Connected>,
    now: Timestamp,
}

impl Facts {
    fn entry(&self, action: &'static str) -> Entry {
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

fn note(rotation: &mut Rotation, text: impl Into<String>) {
    let text = text.into();
    if rotation.notes.last() != Some(&text) && rotation.notes.len() < NOTES_MAX {
        rotation.notes.push(text);
    }
}

impl Home {
    /// Takes the next step of a rotation; whether there may be another one at once.
    async fn take_next(&self, id: &CredentialId) -> bool {
        let now = self.now();
        let rotation = match self.store.read(|registry| registry.rotation(id)) {
            Ok(Some(rotation)) => rotation,
            Ok(None) => return false,
            Err(error) => {
                tracing::error!(%error, "a rotation could not be read");
                return false;
            }
        };
        let Next::Take(step) = rotation.next(now) else {
            return false;
        };
        let mut facts = Facts {
            id: id.clone(),
            rotation,
            bridge: None,
            now,
        };
        let taken = match self.bridge_of(id) {
            Ok(bridge) => {
                facts.bridge = bridge;
                self.take(step, &facts).await
            }
            Err(failure) => Err(failure.into()),
        };
        match taken {
            Ok(()) | Err(Hindrance::Changed) => true,
            Err(Hindrance::Storage(why)) => {
                tracing::warn!(credential = %id, why, "a rotation waits for the storage");
                false
            }
            Err(Hindrance::NoAnswer(why)) => self.put_off(facts, why, false).await,
            Err(Hindrance::Stuck(why)) => self.put_off(facts, why, true).await,
        }
    }

    async fn take(&self, step: Step, facts: &Facts) -> Result<(), Hindrance> {
        match step {
            Step::Mint => self.take_mint(facts).await,
            Step::Verify => self.take_verify(facts).await,
            Step::Revoke if facts.rotation.step == Step::Switch => self.end_switch(facts).await,
            Step::Revoke => self.take_revoke(facts).await,
            Step::Undo => self.take_undo(facts).await,
            Step::Switch | Step::Done | Step::Undone => Ok(()),
        }
    }

    /// Remembers that a step got no answer, and when it is tried again.
    async fn put_off(&self, facts: Facts, why: String, for_good: bool) -> bool {
        let mut rotation = facts.rotation.clone();
        rotation.tries = if for_good {
            TRIES_MAX
        } else {
            rotation.tries + 1
        };
        rotation.not_before = rotation.next_try(facts.now);
        let step = rotation.step;
        note(&mut rotation, format!("{}: {why}", step.as_str()));
        let held = rotation.tries >= TRIES_MAX;
        let outcome = if held {
            Outcome::Held
        } else {
            Outcome::Refused
        };
        let entry = facts
            .entry("rotation.wait")
            .ended(outcome, "no_answer")
            .with("step", rotation.step.as_str())
            .with("tries", rotation.tries);
        let mut change = Change::record(entry);
        if held {
            let finding = Finding::new(
                FindingKind::RotationHeld,
                Severity::High,
                object(&facts.id),
                "",
            );
            let finding = finding.saying(
                format!("Its rotation waits at the step {}: {why}", rotation.step.as_str()),
                format!("Put that right, then run `hearthkey credential rotate {} --env {}` again; or give it another value with --from-file FILE or -.", facts.id.name, facts.id.environment),
            );
            change = change.vault(VaultWrite::Finding(finding, facts.now));
        }
        let kept = self
            .commit(change.vault(VaultWrite::Rotate(step, rotation)))
            .await;
        matches!(kept, Err(CommitError::Conflict))
    }

    /// Remembers what a bridge tells while it works, for whoever looks.
    fn listening(&self, id: &CredentialId) -> Progress {
        let (says, id) = (Arc::clone(&self.bridge_says), id.clone());
        Progress::new(move |step| {
            let rest = step.remaining.filter(|_| step.waits_for_person);
            let rest = rest.map_or(String::new(), |rest| format!(" ({} s left)", rest.as_s()));
            locked(&says).insert(id.clone(), format!("{}{rest}", step.text));
        })
    }

    /// A rotation as it is shown, with what its bridge is doing.
    pub(crate) fn rotation_view(&self, id: &CredentialId, rotation: &Rotation) -> RotationView {
        let mut view = views::rotation(id, rotation, self.now());
        if !rotation.step.is_over() {
            view.bridge_says = locked(&self.bridge_says).get(id).cloned();
        }
        view
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
