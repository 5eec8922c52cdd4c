//! Rotations, as people begin them or go on with them. The steps are taken in [`super::steps`].

use hearthkey_api::{RotateRequest, RotationView};
use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::credential::{
    Action, CredentialId, Custody, Origin, State, Tier, VersionState, checked_text,
};
use hearthkey_core::finding::FindingKind;
use hearthkey_core::posture::next_value::NextValue;
use hearthkey_core::role::Act;
use hearthkey_core::rotation::{Next, OVERLAP_MAX, Rotation, Step};
use hearthkey_core::secret::Secret;
use hearthkey_core::time::{Span, Timestamp};
use hearthkey_store::CommitError;
use hearthkey_store::change::Change;
use hearthkey_store::inventory::KnownCredential;
use hearthkey_store::vault_change::{NewVersion, VaultWrite};

use crate::auth::caller::Caller;
use crate::auth::permit::Permit;
use crate::state::failure::Failure;
use crate::vault::Vault;
use crate::vault::credentials::{not_active, object};
use crate::vault::leftovers::leftover;
use crate::vault::leftovers::unheard;
use crate::vault::{making, views};

/// Where the new value comes from.
pub(super) enum NewValue {
    /// It is here.
    Here(Secret, Origin, Option<String>),
    /// The bridge makes it.
    FromBridge,
}

fn lies_elsewhere(id: &CredentialId) -> Failure {
    Failure::refused(
        &format!("the value of {} is not in this vault", id.name),
        &format!(
            "Replace it where it is stored, then mark it as replaced. On the command line: `hearthkey credential change {} --env {} --replaced`.",
            id.name, id.environment
        ),
    )
}

/// How a rotation begins.
pub(super) struct Beginning<'a> {
    /// Whose grants must reach the credential as it is when the rotation begins; none if they were judged for good.
    pub(super) caller: Option<&'a Caller>,
    pub(super) reason: String,
    pub(super) overlap: Option<Span>,
    /// When the new value ends, if that is known.
    pub(super) expires_at: Option<Timestamp>,
    /// Because it is due, and nobody asked.
    pub(super) by_itself: bool,
}

impl Vault {
    /// Begins a rotation, or goes on with one that waits for a person.
    pub(crate) async fn rotate_credential(
        &self,
        caller: &Caller,
        id: &CredentialId,
        request: RotateRequest,
    ) -> Result<RotationView, Failure> {
        let actor = caller.actor();
        let overlap = request
            .overlap
            .as_deref()
            .map(str::parse::<Span>)
            .transpose();
        let overlap = overlap.map_err(|error| Failure::invalid(&error))?;
        if overlap.is_some_and(|overlap| overlap > OVERLAP_MAX) {
            return Err(Failure::invalid(
                &"two values can be valid for 90 days at most",
            ));
        }
        self.may_name_remote(caller, request.remote_id.as_deref())?;
        let remote_id = request.remote_id.as_deref();
        let remote_id = remote_id
            .map(|text| checked_text("id at the bridge", text))
            .transpose()?;
        self.refuse_remote_of_another(id, remote_id.as_deref())?;
        let reason = request.reason.as_deref();
        let reason = reason
            .map(|text| checked_text("reason", text))
            .transpose()?;
        let known = self.credential(id)?;
        if known.credential.custody != Custody::Vault {
            return Err(lies_elsewhere(id));
        }
        let usual = known.credential.rotation.overlap();
        let is_longer = overlap.is_some_and(|overlap| overlap > usual);
        let is_critical = self.tier_of(&known)? == Tier::Critical;
        let is_fresh = || {
            Ok::<_, Failure>(
                caller
                    .changer(self.ctx.now(), self.auth.asks_for_codes()?)
                    .is_fresh(),
            )
        };
        if is_longer && (caller.is_service() || is_critical && !is_fresh()?) {
            return Err(Failure::refused(
                &"two values can be valid no longer than the credential's schedule allows",
                "Use the overlap of the schedule, or a shorter one. A person can change the schedule. On the command line: leave out `--overlap`.",
            ));
        }
        let told = (id, known.credential.used_by.as_slice());
        self.reaches_places(caller, Action::Rotate, told).await?;
        // Two who go on with it at once read and write one after the other.
        let turn = self.credential_turns.of(id).await;
        let running = self.ctx.store().read(|registry| registry.rotation(id))?;
        let another = request.value.is_some() || request.generate;
        let held = running
            .as_ref()
            .is_some_and(|running| running.next(self.ctx.now()) == Next::Hold);
        if let Some(running) = running.filter(|_| !(another && held)) {
            if running.to_version.is_none() {
                self.may_have_made(caller, &known.credential).await?;
            }
            return self.go_on(actor, id, running, overlap).await;
        }
        drop(turn);
        let value = request
            .value
            .map(|value| Secret::new(value.into_bytes()))
            .transpose();
        let value = value.map_err(|error| Failure::invalid(&error))?;
        let value = match (value, request.generate) {
            (Some(_), true) => {
                return Err(Failure::invalid(&"a value is either given or generated"));
            }
            (Some(value), false) => NewValue::Here(value, Origin::Entered, remote_id),
            (None, true) => NewValue::Here(
                making::make(known.credential.kind).await?,
                Origin::Generated,
                None,
            ),
            (None, false) => self.value_for(&known, request.accept_cost).await?,
        };
        let beginning = Beginning {
            caller: Some(caller),
            reason: reason.map_or("asked".into(), |reason| format!("asked: {reason}")),
            overlap,
            expires_at: None,
            by_itself: false,
        };
        self.begin_rotation(actor, id, value, beginning).await
    }

    /// Who makes the new value, if nobody gave one.
    pub(super) async fn value_for(
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
                    "If you accept the cost, confirm it. On the command line: `--accept-cost`.",
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
                "a new value for {} cannot be created: no connected bridge can do it",
                credential.id.name
            ),
            &match making::can_make(credential.kind) {
                true => NextValue::Either,
                false => NextValue::Issued,
            }
            .remedy(&credential.id, ""),
        ))
    }

    /// A rotation that has waited for a person goes on; the end of a switch is brought forward; anything else is told.
    /// The caller holds the credential's turn.
    async fn go_on(
        &self,
        actor: Actor,
        id: &CredentialId,
        mut running: Rotation,
        overlap: Option<Span>,
    ) -> Result<RotationView, Failure> {
        let now = self.ctx.now();
        let step = running.step;
        let entry = if running.next(now) == Next::Hold {
            running.tries = 0;
            running.not_before = now;
            Entry::new(now, actor, "rotation.resume", object(id)).with("step", step.as_str())
        } else if let (Step::Switch, Some(overlap)) = (step, overlap) {
            let sooner = now.after(overlap);
            running.deadline = Some(running.deadline.map_or(sooner, |known| known.min(sooner)));
            Entry::new(now, actor, "rotation.hasten", object(id))
                .with("deadline", running.deadline.map(|at| at.to_string()))
        } else {
            let place = format!("{} --env {}", id.name, id.environment);
            let remedy = match step {
                Step::Switch => format!(
                    "End the old value now, or roll back to it. On the command line: `hearthkey credential rotate {place} --overlap \
                     0s`, or `hearthkey credential rollback {place}`."
                ),
                _ => format!(
                    "Wait until it has ended, or roll back. On the command line: `hearthkey credential show {place}`, `hearthkey \
                     credential rollback {place}`."
                ),
            };
            let now = match step {
                Step::Mint => "a new value is being created",
                Step::Verify => "the new value is being tested",
                Step::Switch => "both values are valid, until what uses it has the new one",
                _ => "a value is being ended",
            };
            let why = format!("a rotation of {} is in progress: {now}", id.name);
            return Err(Failure::refused(&why, &remedy));
        };
        let write = VaultWrite::Rotate(step, running.clone());
        self.ctx.commit(Change::record(entry).vault(write)).await?;
        self.rotations.notify_one();
        Ok(views::rotation(id, &running, now))
    }

    /// Adds to a change the end of a rotation that waits for a person, because the person has another value. What is
    /// current stays so; what else it leaves behind is out of use, and said.
    fn give_up(
        &self,
        mut change: Change,
        actor: &Actor,
        id: &CredentialId,
        mut running: Rotation,
    ) -> Result<Change, Failure> {
        let now = self.ctx.now();
        let leave = |change: Change, version: u32, what: &str| {
            change.vault(VaultWrite::Finding(leftover(id, version, what), now))
        };
        const BY_HAND: &str = "If the bridge still accepts it, end it there by hand.";
        for known in self.ctx.store().read(|registry| registry.versions(id))? {
            let of_it = [running.from_version, running.to_version].contains(&Some(known.version));
            let to = match known.state {
                VersionState::Pending => VersionState::Failed,
                VersionState::Previous => VersionState::Retired,
                // What a bridge could not end while the rotation was undone.
                VersionState::Failed if of_it => {
                    change = leave(change, known.version, BY_HAND);
                    continue;
                }
                _ => continue,
            };
            if of_it {
                change = leave(change, known.version, BY_HAND);
                change = change.vault(VaultWrite::MoveVersion {
                    credential: id.clone(),
                    version: known.version,
                    from: known.state,
                    to,
                    at: now,
                });
            }
        }
        if running.asked {
            let version = self.next_version(id)?;
            let finding = unheard(id, running.id, &self.label(id, version));
            change = change.vault(VaultWrite::Finding(finding, now));
        }
        let step = running.step;
        running.step = Step::Undone;
        running.ended_at = Some(now);
        running.notes.push(format!(
            "canceled by {}: another value was given",
            actor.name
        ));
        let entry = Entry::new(now, actor.clone(), "rotation.give_up", object(id))
            .with("step", step.as_str());
        Ok(change
            .entry(entry)
            .vault(VaultWrite::Overtaken {
                object: object(id),
                kind: FindingKind::RotationHeld,
                seen_before: now.after(Span::s(1)),
                at: now,
            })
            .vault(VaultWrite::Rotate(step, running)))
    }

    pub(super) async fn begin_rotation(
        &self,
        actor: Actor,
        id: &CredentialId,
        value: NewValue,
        beginning: Beginning<'_>,
    ) -> Result<RotationView, Failure> {
        let _turn = self.credential_turns.of(id).await;
        // As it is now that nobody else changes it.
        let known = self.credential(id)?;
        let new_end = self.judge_beginning(&beginning, &known, &value).await?;
        if known.credential.state != State::Active {
            return Err(not_active(id));
        }
        if known.credential.custody != Custody::Vault {
            return Err(lies_elsewhere(id));
        }
        let now = self.ctx.now();
        if beginning.by_itself && views::due(&known, now).is_none() {
            return Err(Failure::refused(
                &format!("the credential {} is no longer due", id.name),
                "Nothing needs to be done.",
            ));
        }
        let mut change = Change::default();
        if let Some(running) = self.ctx.store().read(|registry| registry.rotation(id))? {
            if running.next(now) != Next::Hold || beginning.by_itself {
                return self.go_on(actor, id, running, None).await;
            }
            change = self.give_up(change, &actor, id, running)?;
        }
        let becomes_critical = self.becomes_critical(&known, &value)?;
        let mut rotation = Rotation {
            id: 0,
            step: Step::Mint,
            from_version: known.current.map(|(version, _)| version),
            to_version: None,
            reason: beginning.reason,
            begun_by: actor.name.clone(),
            begun_at: now,
            overlap: beginning.overlap,
            deadline: None,
            asked: false,
            other_expires_at: new_end,
            // A first value has nobody to switch from another.
            dependents: match known.current {
                Some(_) => known.credential.used_by.clone(),
                None => Vec::new(),
            },
            confirmed: Vec::new(),
            tries: 0,
            not_before: now,
            notes: Vec::new(),
            ended_at: None,
        };
        let mut entry = Entry::new(now, actor.clone(), "rotation.begin", object(id))
            .because(rotation.reason.clone())
            .with("from_version", rotation.from_version);
        if let NewValue::Here(value, origin, remote_id) = value {
            let mut version =
                self.new_version(id, self.next_version(id)?, &value, &actor.name, now)?;
            self.refuse_same(id, &version)?;
            let shared = self.shared_with(id, &version)?;
            if !shared.is_empty() {
                // A rotation is shown to callers who may list the credential: which others share its value stays in the record, and a
                // service does not learn whether it guessed right.
                if actor.sees_the_whole_home() {
                    rotation.notes.push(
                        "other credentials have the same value; the findings name them".into(),
                    );
                }
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
        match self.ctx.commit(change).await {
            Err(CommitError::Conflict) => {
                return Err(Failure::refused(
                    &format!("something else changed {} at the same time", id.name),
                    "Look at it again, then retry. On the command line: `hearthkey credential show`.",
                ));
            }
            committed => committed?,
        };
        if becomes_critical {
            self.cut_naming_critical(&Permit::following(&actor, Act::TokenEnd), id)?;
        }
        self.rotations.notify_one();
        Ok(views::rotation(id, &rotation, now))
    }

    /// Whether a credential that was not critical until now will be, because a critical authority makes its value. Tokens that
    /// name it are taken out then, before there is one, as when its own tier is raised.
    fn becomes_critical(&self, known: &KnownCredential, value: &NewValue) -> Result<bool, Failure> {
        let is_made = matches!(value, NewValue::FromBridge);
        let authority = self.tier_of_authority(&known.credential.id)?;
        let is_critical = is_made && authority == Some(Tier::Critical);
        Ok(is_critical && self.tier_of(known)? != Tier::Critical)
    }

    /// Whether the caller may begin it with this value, and when the new value ends.
    async fn judge_beginning(
        &self,
        beginning: &Beginning<'_>,
        known: &KnownCredential,
        value: &NewValue,
    ) -> Result<Option<Timestamp>, Failure> {
        let new_end = beginning.expires_at;
        let Some(caller) = beginning.caller else {
            return Ok(new_end);
        };
        let (credential, tier) = (&known.credential, self.tier_of(known)?);
        self.reached(caller, Action::Rotate, &credential.id, tier)
            .await?;
        if let NewValue::FromBridge = value {
            self.may_have_made(caller, credential).await?;
        }
        // What a token begins keeps the end that there is when the new value is given out.
        if caller.is_service() && new_end.is_none() {
            return Ok(None);
        }
        let stays = self.end_that_stays(caller, known)?;
        Ok([new_end, stays].into_iter().flatten().min())
    }

    /// Has the bridge make the first value of a credential.
    pub(in crate::vault) async fn begin_first(
        &self,
        actor: Actor,
        known: &KnownCredential,
    ) -> Result<(), Failure> {
        let beginning = Beginning {
            caller: None,
            reason: "added".into(),
            overlap: None,
            expires_at: None,
            by_itself: false,
        };
        self.begin_rotation(actor, &known.credential.id, NewValue::FromBridge, beginning)
            .await?;
        Ok(())
    }

    fn refuse_same(&self, id: &CredentialId, version: &NewVersion) -> Result<(), Failure> {
        let versions = self.ctx.store().read(|registry| registry.versions(id))?;
        let same = versions
            .iter()
            .find(|known| known.state.is_live() && known.fingerprint == version.fingerprint);
        match same {
            None => Ok(()),
            Some(known) => Err(Failure::refused(
                &format!(
                    "{} already has this value, as version {}",
                    id.name, known.version
                ),
                "Give a new one.",
            )),
        }
    }
}
