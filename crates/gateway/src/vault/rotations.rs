//! Rotations, as people and time begin, confirm and undo them. The steps are taken in [`super::steps`].

use hearthkey_api::{RotateRequest, RotationView};
use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::credential::{
    CredentialId, Custody, Origin, State, VersionState, checked_text,
};
use hearthkey_core::rotation::{Next, OVERLAP_MAX, Rotation, Step};
use hearthkey_core::secret::Secret;
use hearthkey_core::time::{Span, Timestamp};
use hearthkey_store::CommitError;
use hearthkey_store::change::Change;
use hearthkey_store::inventory::KnownCredential;
use hearthkey_store::vault::CredentialPlace;
use hearthkey_store::vault_change::{NewVersion, VaultWrite};

use crate::home::Home;
use crate::problem::Failure;
use crate::vault::credentials::{not_active, object};
use crate::vault::retiring::leftover;
use crate::vault::{making, views};

/// Where the new value comes from.
enum NewValue {
    /// It is here.
    Here(Secret, Origin, Option<String>),
    /// The bridge makes it.
    FromBridge,
}

/// How a rotation begins.
struct Beginning {
    reason: String,
    overlap: Option<Span>,
    notes: Vec<String>,
}

impl Home {
    /// Begins a rotation, or goes on with one that waits for a person.
    pub(crate) async fn rotate_credential(
        &self,
        actor: Actor,
        id: &CredentialId,
        request: RotateRequest,
    ) -> Result<RotationView, Failure> {
        let overlap = request
            .overlap
            .as_deref()
            .map(str::parse::<Span>)
            .transpose();
        let overlap = overlap.map_err(|error| Failure::invalid(&error))?;
        if overlap.is_some_and(|overlap| overlap > OVERLAP_MAX) {
            return Err(Failure::invalid(
                &"two values live side by side for 90 days at most",
            ));
        }
        let reason = request.reason.as_deref();
        let reason = reason
            .map(|text| checked_text("reason", text))
            .transpose()?;
        let known = self.credential(id)?;
        if let Some(running) = self.store.read(|registry| registry.rotation(id))? {
            let another = request.value.is_some() || request.generate;
            if !(another && running.next(self.now()) == Next::Hold) {
                return self.go_on(actor, id, running).await;
            }
            self.give_up(&actor, id, running).await?;
        }
        let value = request
            .value
            .map(|value| Secret::new(value.into_bytes()))
            .transpose();
        let value = value.map_err(|error| Failure::invalid(&error))?;
        let value = match (value, request.generate) {
            (Some(_), true) => return Err(Failure::invalid(&"a value is either given or made")),
            (Some(value), false) => NewValue::Here(value, Origin::Entered, request.remote_id),
            (None, true) => NewValue::Here(
                making::make(known.credential.kind).await?,
                Origin::Generated,
                None,
            ),
            (None, false) => self.value_for(&known, request.accept_cost).await?,
        };
        let beginning = Beginning {
            reason: reason.map_or("asked".into(), |reason| format!("asked: {reason}")),
            overlap,
            notes: Vec::new(),
        };
        self.begin_rotation(actor, &known, value, beginning).await
    }

    /// Who makes the new value, if nobody gave one.
    async fn value_for(
        &self,
        known: &KnownCredential,
        accept_cost: bool,
    ) -> Result<NewValue, Failure> {
        let credential = &known.credential;
        let bridge = self.bridge_of(&credential.id)?;
        if let Some(bridge) = bridge.filter(|bridge| bridge.abilities.mint) {
            if let Some(cost) = bridge.abilities.cost.filter(|_| !accept_cost) {
                return Err(Failure::refused(
                    &format!("rotating {} has a cost: {cost}", credential.id.name),
                    "If that is what you want, say it again with --accept-cost.",
                ));
            }
            return Ok(NewValue::FromBridge);
        }
        if making::can_make(credential.kind) && credential.provenance.origin == Origin::Generated {
            return Ok(NewValue::Here(
                making::make(credential.kind).await?,
                Origin::Generated,
                None,
            ));
        }
        Err(Failure::refused(
            &format!(
                "nobody can make a new value for {}: no bridge is connected that can",
                credential.id.name
            ),
            "Have a new one issued and give it with --from-file FILE or -; or let the gateway make one with --generate; or connect the bridge with `hearthkey bridge connect`.",
        ))
    }

    /// A rotation that has waited for a person goes on; one that is on its way is shown.
    async fn go_on(
        &self,
        actor: Actor,
        id: &CredentialId,
        mut running: Rotation,
    ) -> Result<RotationView, Failure> {
        let now = self.now();
        if running.next(now) == Next::Hold {
            running.tries = 0;
            running.not_before = now;
            let entry = Entry::new(now, actor, "rotation.resume", object(id))
                .with("step", running.step.as_str());
            let step = running.step;
            self.commit(Change::record(entry).vault(VaultWrite::Rotate(step, running.clone())))
                .await?;
            self.rotations.notify_one();
            return Ok(views::rotation(id, &running, now));
        }
        Err(Failure::refused(
            &format!(
                "a rotation of {} is on its way: its next step is {}",
                id.name,
                running.step.as_str()
            ),
            "See how far it is with `hearthkey credential show`; undo it with `hearthkey credential rollback`.",
        ))
    }

    /// Ends a rotation that waits for a person, because the person has another value. What is current stays so; what
    /// else it leaves behind is out of use, and said.
    async fn give_up(
        &self,
        actor: &Actor,
        id: &CredentialId,
        mut running: Rotation,
    ) -> Result<(), Failure> {
        let now = self.now();
        let step = running.step;
        let mut change = Change::default();
        for known in self.store.read(|registry| registry.versions(id))? {
            let of_it = [running.from_version, running.to_version].contains(&Some(known.version));
            let to = match known.state {
                VersionState::Pending => VersionState::Failed,
                VersionState::Previous => VersionState::Retired,
                _ => continue,
            };
            if of_it {
                let what = "If the bridge still takes it, end it there by hand.";
                let finding = leftover(id, known.version, what);
                change = change.vault(VaultWrite::Finding(finding, now));
                change = change.vault(VaultWrite::MoveVersion {
                    credential: id.clone(),
                    version: known.version,
                    from: known.state,
                    to,
                    at: now,
                });
            }
        }
        running.step = Step::Undone;
        running.ended_at = Some(now);
        running.notes.push(format!(
            "given up by {}: another value was given",
            actor.name
        ));
        let entry = Entry::new(now, actor.clone(), "rotation.give_up", object(id))
            .with("step", step.as_str());
        let change = change.entry(entry).vault(VaultWrite::Rotate(step, running));
        self.commit(change).await?;
        Ok(())
    }

    async fn begin_rotation(
        &self,
        actor: Actor,
        known: &KnownCredential,
        value: NewValue,
        beginning: Beginning,
    ) -> Result<RotationView, Failure> {
        let id = &known.credential.id;
        if known.credential.state != State::Active {
            return Err(not_active(id));
        }
        if known.credential.custody != Custody::Vault {
            return Err(Failure::refused(
                &format!("the value of {} is not in this vault", id.name),
                "Replace it where it lies, then say so with `hearthkey credential change`.",
            ));
        }
        let _turn = self.credential_turns.of(id).await;
        let now = self.now();
        let mut rotation = Rotation {
            id: 0,
            step: Step::Mint,
            from_version: known.current.map(|(version, _)| version),
            to_version: None,
            reason: beginning.reason,
            begun_by: actor.name.clone(),
            begun_at: now,
            deadline: beginning.overlap.map(|overlap| now.after(overlap)),
            // A first value has nobody to switch from another.
            dependents: match known.current {
                Some(_) => known.credential.used_by.clone(),
                None => Vec::new(),
            },
            confirmed: Vec::new(),
            tries: 0,
            not_before: now,
            notes: beginning.notes,
            ended_at: None,
        };
        let mut entry = Entry::new(now, actor.clone(), "rotation.begin", object(id))
            .because(rotation.reason.clone())
            .with("from_version", rotation.from_version);
        let mut change = Change::default();
        if let NewValue::Here(value, origin, remote_id) = value {
            let mut version = self.new_version(id, self.next_version(id)?, &value, &actor, now)?;
            self.refuse_same(id, &version)?;
            let shared = self.shared_with(id, &version)?;
            if !shared.is_empty() {
                rotation.notes.push(format!(
                    "the same value is in {}: give each its own",
                    shared.join(", ")
                ));
                entry = entry.with("shared_with", shared);
            }
            version.state = VersionState::Pending;
            version.origin = origin;
            version.remote_id = remote_id;
            rotation.step = Step::Verify;
            rotation.to_version = Some(version.version);
            entry = entry.with("to_version", version.version);
            change = change.vault(VaultWrite::Version(id.clone(), version));
        }
        let change = change
            .entry(entry)
            .vault(VaultWrite::BeginRotation(id.clone(), rotation.clone()));
        match self.commit(change).await {
            Err(CommitError::Conflict) => {
                return Err(Failure::refused(
                    &format!("something else changed {} at the same moment", id.name),
                    "See how it stands with `hearthkey credential show`.",
                ));
            }
            committed => committed?,
        };
        self.rotations.notify_one();
        Ok(views::rotation(id, &rotation, self.now()))
    }

    /// Has the bridge make the first value of a credential.
    pub(crate) async fn begin_first(
        &self,
        actor: Actor,
        known: &KnownCredential,
    ) -> Result<(), Failure> {
        let beginning = Beginning {
            reason: "added".into(),
            overlap: None,
            notes: Vec::new(),
        };
        self.begin_rotation(actor, known, NewValue::FromBridge, beginning)
            .await?;
        Ok(())
    }

    fn refuse_same(&self, id: &CredentialId, version: &NewVersion) -> Result<(), Failure> {
        let versions = self.store.read(|registry| registry.versions(id))?;
        let same = versions
            .iter()
            .find(|known| known.state.is_live() && known.fingerprint == version.fingerprint);
        match same {
            None => Ok(()),
            Some(known) => Err(Failure::refused(
                &format!(
                    "this is the value that {} has already, as version {}",
                    id.name, known.version
                ),
                "Give a new one.",
            )),
        }
    }

    /// Begins the rotation of what is due, where the gateway may.
    pub(crate) async fn begin_due(&self, now: Timestamp) {
        let automatic = match self.store.read(|registry| registry.automatic()) {
            Ok(automatic) => automatic,
            Err(error) => return tracing::error!(%error, "the schedules could not be read"),
        };
        for known in automatic {
            let credential = &known.credential;
            let Some((_, made_at)) = known.current.filter(|_| known.rotating.is_none()) else {
                continue;
            };
            let Some(due) = credential
                .rotation
                .due(credential.tier, made_at, known.uses, now)
            else {
                continue;
            };
            // What costs something, or needs a person, stays a finding.
            let Ok(value) = self.value_for(&known, false).await else {
                continue;
            };
            let beginning = Beginning {
                reason: format!("due: {due}"),
                overlap: None,
                notes: Vec::new(),
            };
            let begun = self
                .begin_rotation(Actor::gateway(), &known, value, beginning)
                .await;
            if let Err(failure) = begun {
                tracing::warn!(credential = %credential.id, why = failure.0.detail, "a rotation could not begin");
            }
        }
    }

    /// A dependent says that it uses the new value.
    pub(crate) async fn confirm_rotation(
        &self,
        actor: Actor,
        id: &CredentialId,
        dependent: &str,
    ) -> Result<RotationView, Failure> {
        let _turn = self.credential_turns.of(id).await;
        let Some(mut rotation) = self.store.read(|registry| registry.rotation(id))? else {
            return Err(Failure::refused(
                &format!("no rotation of {} is on its way", id.name),
                "Nothing needs to be done.",
            ));
        };
        if rotation.step != Step::Switch {
            let why = format!(
                "the rotation of {} is at the step {}",
                id.name,
                rotation.step.as_str()
            );
            return Err(Failure::refused(
                &why,
                "Confirm when the step is switch: from then on the new value is given out.",
            ));
        }
        if !rotation.dependents.iter().any(|known| known == dependent) {
            let known = rotation.dependents.join(", ");
            let why = format!("{dependent:?} is none of the places that use {}", id.name);
            return Err(Failure::refused(&why, &format!("They are: {known}.")));
        }
        if !rotation.confirmed.iter().any(|known| known == dependent) {
            rotation.confirmed.push(dependent.to_owned());
            let entry = Entry::new(self.now(), actor, "rotation.confirm", object(id))
                .with("dependent", dependent);
            let write = VaultWrite::Rotate(Step::Switch, rotation.clone());
            self.commit(Change::record(entry).vault(write)).await?;
            self.rotations.notify_one();
        }
        Ok(views::rotation(id, &rotation, self.now()))
    }

    /// Goes back to the value before: undoes the rotation that runs, or begins one that brings the
    /// last replaced value again.
    pub(crate) async fn roll_back(
        &self,
        actor: Actor,
        id: &CredentialId,
    ) -> Result<RotationView, Failure> {
        let known = self.credential(id)?;
        let turn = self.credential_turns.of(id).await;
        let running = self.store.read(|registry| registry.rotation(id))?;
        let Some(mut rotation) = running else {
            drop(turn);
            return self.bring_back(actor, &known).await;
        };
        let step = rotation.step;
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
                    "Wait until it has ended, then run this again: the value before is brought back as a new version.",
                ));
            }
        };
        if rotation.from_version.is_none() {
            return Err(Failure::refused(
                &format!("the credential {} had no value before", id.name),
                "Retire it with `hearthkey credential retire` if it is not wanted.",
            ));
        }
        let now = self.now();
        rotation.tries = 0;
        rotation.not_before = now;
        rotation.notes.push(format!("undone by {}", actor.name));
        let entry = Entry::new(now, actor, "rotation.undo", object(id)).with("step", step.as_str());
        self.commit(Change::record(entry).vault(VaultWrite::Rotate(step, rotation.clone())))
            .await?;
        self.rotations.notify_one();
        Ok(views::rotation(id, &rotation, self.now()))
    }

    async fn bring_back(
        &self,
        actor: Actor,
        known: &KnownCredential,
    ) -> Result<RotationView, Failure> {
        let id = &known.credential.id;
        let versions = self.store.read(|registry| registry.versions(id))?;
        let last = versions
            .iter()
            .find(|version| version.state == VersionState::Retired);
        let nothing = || {
            Failure::refused(
                &format!("no earlier value of {} is kept", id.name),
                "Replaced values are kept for 7 days. Give a new one with `hearthkey credential rotate`.",
            )
        };
        let last = last.ok_or_else(nothing)?;
        let sealed = self
            .store
            .read(|registry| registry.sealed_value(id, Some(last.version)))?;
        let sealed = sealed.ok_or_else(nothing)?;
        let place = CredentialPlace::of(id, last.version);
        let value = self.store.vault().open_credential(&place, &sealed.sealed);
        let value = value.map_err(|error| Failure::unopened(&error))?;
        let value = NewValue::Here(value, last.origin, last.remote_id.clone());
        let beginning = Beginning {
            reason: format!("rolled back to version {}", last.version),
            overlap: None,
            notes: Vec::new(),
        };
        self.begin_rotation(actor, known, value, beginning).await
    }
}
