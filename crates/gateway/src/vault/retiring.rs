//! A credential is retired: nothing is given out any more, what the bridge can end is ended, and its
//! data keys are destroyed after a grace.

use std::sync::Arc;

use hearthkey_api::{RetireRequest, Retired, SecondFactor};
use hearthkey_bridges::Revoked;
use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::credential::{
    Action, Credential, CredentialId, State, VersionState, checked_text,
};
use hearthkey_core::finding::{Finding, FindingKind, Severity};
use hearthkey_core::rotation::{KEPT, Rotation, Step};
use hearthkey_core::time::{Span, Timestamp};
use hearthkey_store::CommitError;
use hearthkey_store::change::Change;
use hearthkey_store::vault_change::VaultWrite;

use crate::caller::Caller;
use crate::home::Home;
use crate::people::here::{Shown, code_does_not_fit};
use crate::problem::Failure;
use crate::vault::credentials::{not_active, object};

/// The longest grace.
const GRACE_MAX: Span = Span::days(365);

/// A credential that is out of use.
pub(super) struct OutOfUse {
    /// When its data keys are destroyed.
    shred_at: Timestamp,
    /// The versions that were in use.
    live: Vec<u32>,
}

impl Home {
    /// Takes a credential out of use for good.
    pub(crate) async fn retire_credential(
        self: &Arc<Self>,
        actor: Actor,
        id: &CredentialId,
        request: &RetireRequest,
    ) -> Result<Retired, Failure> {
        let out = self.take_out(&actor, id, request).await?;
        self.end_what_is_out(&actor, id, out).await
    }

    /// From here on nothing of a credential is given out. No bridge is waited for.
    pub(super) async fn take_out(
        &self,
        actor: &Actor,
        id: &CredentialId,
        request: &RetireRequest,
    ) -> Result<OutOfUse, Failure> {
        let grace = request.grace.as_deref().map(str::parse).transpose();
        let grace =
            grace.map_err(|error: hearthkey_core::time::InvalidSpan| Failure::invalid(&error))?;
        let grace = grace.unwrap_or(KEPT);
        if grace > GRACE_MAX {
            return Err(Failure::invalid(&"the grace is a year at most"));
        }
        let reason = request.reason.as_deref();
        let reason = reason
            .map(|text| checked_text("reason", text))
            .transpose()?;
        let taken = self.take_out_of_use(actor, id, grace, reason).await?;
        taken.ok_or_else(|| not_active(id))
    }

    /// Ends at bridges what a credential that is out of use has opened. This may fail, or be cut short: then it is said,
    /// stays a finding, and is taken up again when the credential is retired again.
    pub(super) async fn end_what_is_out(
        self: &Arc<Self>,
        actor: &Actor,
        id: &CredentialId,
        OutOfUse { shred_at, live }: OutOfUse,
    ) -> Result<Retired, Failure> {
        let known = self.credential(id)?;
        let now = self.now();
        let mut by_hand = Vec::new();
        // Those that were for this credential and nothing else.
        let tokens = self.revoke_tokens(actor, |token| token.power.is_only_for(id));
        let tokens_revoked = tokens.await;
        let mut leases_ended = 0;
        for lease in self.store.read(|registry| registry.leases_of(id))? {
            match self.finish_lease(&lease, actor, now).await {
                Ok(note) => {
                    leases_ended += 1;
                    by_hand.extend(note);
                }
                Err(failure) => by_hand.push(failure.0.detail),
            }
        }
        let revoked_at_bridge = self.end_at_bridge(id, &live, &mut by_hand, now).await?;
        by_hand.extend(
            known
                .credential
                .used_by
                .iter()
                .map(|place| format!("Take it out of {place}.")),
        );
        if let Some(location) = &known.credential.location {
            by_hand.push(format!("Destroy what lies here: {location}."));
        }
        by_hand.dedup();
        if shred_at <= now {
            self.shred_what_is_due(now).await;
        }
        Ok(Retired {
            name: id.name.to_string(),
            environment: id.environment.to_string(),
            leases_ended,
            tokens_revoked,
            revoked_at_bridge,
            shred_at: shred_at.to_string(),
            by_hand,
        })
    }

    /// Takes a credential and all its versions out of use, and notes what is to be ended at its bridge, in one change. Gives
    /// when its data keys are destroyed, and which versions were in use; nothing if it was out of use before, and nothing is
    /// left to do.
    async fn take_out_of_use(
        &self,
        actor: &Actor,
        id: &CredentialId,
        grace: Span,
        reason: Option<String>,
    ) -> Result<Option<OutOfUse>, Failure> {
        let _turn = self.credential_turns.of(id).await;
        let known = self.credential(id)?;
        let (versions, leases, rotation, left) = self.store.read(|registry| {
            Ok((
                registry.versions(id)?,
                registry.leases_of(id)?,
                registry.rotation(id)?,
                registry.leftovers(&object(id))?,
            ))
        })?;
        if known.credential.state != State::Active {
            let unfinished = !(left.is_empty() && leases.is_empty());
            let shred_at = known.shred_at.filter(|_| unfinished);
            return Ok(shred_at.map(|shred_at| OutOfUse {
                shred_at,
                live: Vec::new(),
            }));
        }
        let now = self.now();
        let shred_at = now.after(grace);
        let mut entry = Entry::new(now, actor.clone(), "credential.retire", object(id))
            .with("leases", leases.len())
            .with("shred_at", shred_at.to_string());
        entry.reason = reason;
        let mut change = Change::default().vault(VaultWrite::MoveCredential {
            credential: id.clone(),
            from: State::Active,
            to: State::Retired,
            shred_at: Some(shred_at),
        });
        // A bridge that cannot be reached may be one that can end them.
        let connected = !matches!(self.bridge_of(id), Ok(None));
        let mut live = Vec::new();
        for version in &versions {
            let in_use = version.state.is_live() || version.state == VersionState::Pending;
            let undone = |rotation: &Rotation| rotation.to_version == Some(version.version);
            if !in_use && !rotation.as_ref().is_some_and(undone) {
                continue;
            }
            live.push(version.version);
            if in_use {
                change = change.vault(VaultWrite::MoveVersion {
                    credential: id.clone(),
                    version: version.version,
                    from: version.state,
                    to: VersionState::Retired,
                    at: now,
                });
            }
            if connected {
                let again = format!(
                    "End it there: run `hearthkey credential retire {} --env {}` again, or do it by hand.",
                    id.name, id.environment
                );
                let finding = leftover(id, version.version, &again);
                change = change.vault(VaultWrite::Finding(finding, now));
            }
        }
        if let Some(mut rotation) = rotation {
            if rotation.asked {
                let version = self.next_version(id)?;
                let what = format!(
                    "If the bridge has a value by the name {:?}, end it there by hand.",
                    self.label(id, version)
                );
                change = change.vault(VaultWrite::Finding(leftover(id, version, &what), now));
            }
            let from = rotation.step;
            rotation.step = Step::Undone;
            rotation.ended_at = Some(now);
            rotation
                .notes
                .push("ended, because the credential was retired".into());
            change = change.vault(VaultWrite::Rotate(from, rotation));
        }
        for kind in [
            FindingKind::RotationHeld,
            FindingKind::Drift,
            FindingKind::Leaked,
        ] {
            change = change.vault(VaultWrite::Overtaken {
                object: object(id),
                kind,
                seen_before: now.after(Span::s(1)),
                at: now,
            });
        }
        let change = change.entry(entry.with("versions", live.len()));
        match self.commit(change).await {
            Err(CommitError::Conflict) => Err(not_active(id)),
            Err(error) => Err(error.into()),
            Ok(_) => Ok(Some(OutOfUse { shred_at, live })),
        }
    }

    /// Retires what is used in one place only, and takes the place out of everything else.
    pub(crate) async fn retire_project(
        self: &Arc<Self>,
        caller: &Caller,
        place: &str,
        mut request: RetireRequest,
    ) -> Result<Vec<Retired>, Failure> {
        let place = checked_text("place", place)?;
        let second_factor = request.second_factor.take();
        let (only_here, elsewhere_too) = self.used_in(&place)?;
        if only_here.is_empty() && elsewhere_too.is_empty() {
            return Err(Failure::refused(
                &format!("no credential is used in {place:?}"),
                "See where they are used with `hearthkey credential list --json`, or in the register.",
            ));
        }
        // All of it is judged before a part of it is done.
        for credential in only_here.iter().chain(&elsewhere_too) {
            self.permitted(caller, Action::Write, &credential.id)
                .await?;
        }
        let left = self.may_leave(caller, &elsewhere_too, &place, second_factor);
        let mut shown = left.await?;
        let is_shown = shown.is_some();
        for credential in elsewhere_too {
            let code = (shown.take(), is_shown);
            self.leave_place(caller, &credential.id, &place, code)
                .await?;
        }
        let mut out = Vec::with_capacity(only_here.len());
        for Credential { id, .. } in only_here {
            let taken = self.take_out(&caller.actor(), &id, &request).await?;
            out.push((id, taken));
        }
        // All of them are out of use before a bridge, which may take its time, is asked.
        let mut retired = Vec::with_capacity(out.len());
        for (id, taken) in out {
            retired.push(self.end_what_is_out(&caller.actor(), &id, taken).await?);
        }
        Ok(retired)
    }

    /// The credentials that are used in a place: those that are used nowhere else, and those that are.
    fn used_in(&self, place: &str) -> Result<(Vec<Credential>, Vec<Credential>), Failure> {
        let used = self.store.read(|registry| {
            let mut used = Vec::new();
            registry.each_active(|known| {
                if known.credential.used_by.iter().any(|known| known == place) {
                    used.push(known.credential.clone());
                }
            })?;
            Ok(used)
        })?;
        let only_here = |credential: &Credential| credential.used_by.iter().all(|p| p == place);
        Ok(used.into_iter().partition(only_here))
    }

    /// Whether the caller may take a place out of these; with the second factor that was needed for it.
    async fn may_leave(
        &self,
        caller: &Caller,
        credentials: &[Credential],
        place: &str,
        second_factor: Option<SecondFactor>,
    ) -> Result<Option<Shown>, Failure> {
        let mut needed = None;
        for credential in credentials {
            let after = without(credential, place);
            let shown = self.judge_change(caller, credential, &after, second_factor.clone());
            if let Some(shown) = shown.await?
                && let Some(same) = needed.replace(shown)
            {
                self.needs_no_other(same);
            }
        }
        Ok(needed)
    }

    /// A place is gone, and uses a credential no more. The code that was shown is used up with the first.
    async fn leave_place(
        &self,
        caller: &Caller,
        id: &CredentialId,
        place: &str,
        (shown, is_shown): (Option<Shown>, bool),
    ) -> Result<(), Failure> {
        let _turn = self.credential_turns.of(id).await;
        // As it is now that nobody else changes it.
        let before = self.credential(id)?.credential;
        let after = without(&before, place);
        if !is_shown {
            self.judge_change(caller, &before, &after, None).await?;
        }
        let entry = Entry::new(
            self.now(),
            caller.actor(),
            "credential.describe",
            object(id),
        )
        .with("used_by", after.used_by.clone());
        let change = Change::record(entry).vault(VaultWrite::Describe(after));
        match self.commit_shown(change, shown).await {
            Err(CommitError::Conflict) if is_shown => Err(code_does_not_fit()),
            Err(CommitError::Conflict) => Err(not_active(id)),
            committed => Ok(committed?),
        }
    }

    /// Has the bridge end the values that it may still take; says what is left.
    async fn end_at_bridge(
        &self,
        id: &CredentialId,
        live: &[u32],
        by_hand: &mut Vec<String>,
        now: Timestamp,
    ) -> Result<usize, Failure> {
        let connected = match self.bridge_of(id) {
            Ok(connected) => connected,
            Err(failure) => {
                by_hand.push(failure.0.detail);
                return Ok(0);
            }
        };
        let (versions, left) = self
            .store
            .read(|registry| Ok((registry.versions(id)?, registry.leftovers(&object(id))?)))?;
        let Some(bridge) = connected else {
            by_hand.extend(live.iter().map(|version| {
                format!("End version {version} where it was issued: no connected bridge can.")
            }));
            return Ok(0);
        };
        let mut ended = 0;
        for version in versions {
            let finding = leftover(id, version.version, "");
            if !left.contains(&finding.id) {
                continue;
            }
            let sealed = self
                .store
                .read(|registry| registry.sealed_value(id, Some(version.version)))?;
            let Some(sealed) = sealed else { continue };
            let what = match bridge.abilities.revoke {
                true => match bridge.connector.revoke(&self.held(id, &sealed)?).await {
                    Ok(Revoked::Gone) => {
                        ended += 1;
                        let settled = VaultWrite::Settled(finding.id, now);
                        self.commit(Change::default().vault(settled)).await?;
                        continue;
                    }
                    Ok(Revoked::ByHand(what)) => what,
                    Err(error) => format!(
                        "{error}. Run `hearthkey credential retire {} --env {}` again, or end version {} at the bridge by hand.",
                        id.name, id.environment, version.version
                    ),
                },
                false => format!(
                    "End version {} where it was issued: the bridge cannot.",
                    version.version
                ),
            };
            let finding = leftover(id, version.version, &what);
            self.commit(Change::default().vault(VaultWrite::Finding(finding, now)))
                .await?;
            by_hand.push(what);
        }
        Ok(ended)
    }
}

/// A credential that is used in a place no more.
fn without(credential: &Credential, place: &str) -> Credential {
    let mut without = credential.clone();
    without.used_by.retain(|known| known != place);
    without
}

/// The finding that a bridge still takes a value that is out of use here.
pub(crate) fn leftover(id: &CredentialId, version: u32, what: &str) -> Finding {
    let mark = version.to_string();
    Finding::new(FindingKind::Leftover, Severity::High, object(id), &mark).saying(
        format!("Version {mark} may still work although it is out of use."),
        what,
    )
}
