//! A credential is retired: nothing is given out any more, what the bridge can end is ended, and its
//! data keys are destroyed after a grace.

use hearthkey_api::{RetireRequest, Retired};
use hearthkey_bridges::Revoked;
use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::credential::{
    Action, Credential, CredentialId, State, VersionState, checked_text,
};
use hearthkey_core::finding::{Finding, FindingKind, Severity};
use hearthkey_core::id::DeviceId;
use hearthkey_core::rotation::{KEPT, Rotation, Step};
use hearthkey_core::time::{Span, Timestamp};
use hearthkey_core::token::Binding;
use hearthkey_store::CommitError;
use hearthkey_store::change::Change;
use hearthkey_store::inventory::Filter;
use hearthkey_store::vault_change::VaultWrite;

use crate::caller::Caller;
use crate::home::Home;
use crate::problem::Failure;
use crate::vault::credentials::{not_active, object};

/// The longest grace.
const GRACE_MAX: Span = Span::days(365);

impl Home {
    /// Takes a credential out of use for good.
    pub(crate) async fn retire_credential(
        &self,
        actor: Actor,
        id: &CredentialId,
        request: RetireRequest,
    ) -> Result<Retired, Failure> {
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
        let taken = self.take_out_of_use(&actor, id, grace, reason).await?;
        let Some((shred_at, live)) = taken else {
            return Err(not_active(id));
        };
        // From here on nothing is given out. What follows may fail, or be cut short: then it is said, stays a finding, and
        // is taken up again when the credential is retired again.
        let known = self.credential(id)?;
        let now = self.now();
        let mut by_hand = Vec::new();
        let tokens_revoked = self.revoke_tokens_for(&actor, id).await?;
        let mut leases_ended = 0;
        for lease in self.store.read(|registry| registry.leases_of(id))? {
            match self.finish_lease(&lease, &actor, now).await {
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
    ) -> Result<Option<(Timestamp, Vec<u32>)>, Failure> {
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
            return Ok(shred_at.map(|at| (at, Vec::new())));
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
            Ok(_) => Ok(Some((shred_at, live))),
        }
    }

    /// Revokes the tokens that were for this credential and nothing else.
    async fn revoke_tokens_for(
        &self,
        actor: &Actor,
        id: &CredentialId,
    ) -> Result<Vec<String>, Failure> {
        self.revoke_tokens(actor, |token| token.power.is_only_for(id))
            .await
    }

    /// A device is out of service for good: tokens that are bound to it go, and what they have borrowed.
    pub(crate) async fn end_access_of(
        &self,
        actor: &Actor,
        device: &DeviceId,
    ) -> Result<(), Failure> {
        let bound = Binding::Device(device.clone());
        self.revoke_tokens(actor, |token| token.binding == bound)
            .await?;
        Ok(())
    }

    /// Retires what is used in one place only, and takes the place out of everything else.
    pub(crate) async fn retire_project(
        &self,
        caller: &Caller,
        place: &str,
        request: RetireRequest,
    ) -> Result<Vec<Retired>, Failure> {
        let place = checked_text("place", place)?;
        let filter = Filter {
            state: Some(State::Active),
            ..Filter::default()
        };
        let mut retired = Vec::new();
        let mut taken_out = 0;
        let mut after = (String::new(), String::new());
        loop {
            let page = self
                .store
                .read(|registry| registry.credentials(&filter, (&after.0, &after.1), 1000))?;
            let Some(last) = page.last() else { break };
            after = (
                last.credential.id.name.to_string(),
                last.credential.id.environment.to_string(),
            );
            for known in page {
                let Credential { id, used_by, .. } = known.credential;
                if !used_by.contains(&place) {
                    continue;
                }
                self.permitted(caller, Action::Write, &id).await?;
                if used_by.iter().all(|known| *known == place) {
                    retired.push(
                        self.retire_credential(caller.actor(), &id, request.clone())
                            .await?,
                    );
                } else {
                    self.leave_place(caller, &id, &place).await?;
                    taken_out += 1;
                }
            }
        }
        if retired.is_empty() && taken_out == 0 {
            return Err(Failure::refused(
                &format!("no credential is used in {place:?}"),
                "See where they are used with `hearthkey credential list --json`, or in the register.",
            ));
        }
        Ok(retired)
    }

    /// A place is gone, and uses a credential no more.
    async fn leave_place(
        &self,
        caller: &Caller,
        id: &CredentialId,
        place: &str,
    ) -> Result<(), Failure> {
        let _turn = self.credential_turns.of(id).await;
        // As it is now that nobody else changes it.
        let mut credential = self.credential(id)?.credential;
        credential.used_by.retain(|known| known != place);
        let entry = Entry::new(
            self.now(),
            caller.actor(),
            "credential.describe",
            object(id),
        )
        .with("used_by", credential.used_by.clone());
        let change = Change::record(entry).vault(VaultWrite::Describe(credential));
        match self.commit(change).await {
            Err(CommitError::Conflict) => Err(not_active(id)),
            committed => Ok(committed.map(drop)?),
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

/// The finding that a bridge still takes a value that is out of use here.
pub(crate) fn leftover(id: &CredentialId, version: u32, what: &str) -> Finding {
    let mark = version.to_string();
    Finding::new(FindingKind::Leftover, Severity::High, object(id), &mark).saying(
        format!("Version {mark} may still work although it is out of use."),
        what,
    )
}
