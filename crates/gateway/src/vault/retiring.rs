//! A credential is retired: nothing is given out any more, what the bridge can end is ended, and its
//! data keys are destroyed after a grace.

use hearthkey_api::{CredentialChange, RetireRequest, Retired};
use hearthkey_bridges::Revoked;
use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::credential::{
    Action, Credential, CredentialId, State, VersionState, checked_text,
};
use hearthkey_core::finding::{Finding, FindingKind, Severity};
use hearthkey_core::grant::Pattern;
use hearthkey_core::id::DeviceId;
use hearthkey_core::rotation::{KEPT, Step};
use hearthkey_core::time::{Span, Timestamp};
use hearthkey_core::token::Binding;
use hearthkey_store::CommitError;
use hearthkey_store::change::Change;
use hearthkey_store::inventory::{Filter, KnownVersion};
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
        let _turn = self.credential_turns.of(id).await;
        let known = self.credential(id)?;
        let now = self.now();
        let shred_at = now.after(grace);
        let (versions, leases, rotation) = self.store.read(|registry| {
            Ok((
                registry.versions(id)?,
                registry.leases_of(id)?,
                registry.rotation(id)?,
            ))
        })?;
        let live: Vec<&KnownVersion> = versions
            .iter()
            .filter(|version| version.state.is_live() || version.state == VersionState::Pending)
            .collect();
        let mut entry = Entry::new(now, actor.clone(), "credential.retire", object(id))
            .with("versions", live.len())
            .with("leases", leases.len())
            .with("shred_at", shred_at.to_string());
        entry.reason = reason;
        let mut change = Change::record(entry).vault(VaultWrite::MoveCredential {
            credential: id.clone(),
            from: State::Active,
            to: State::Retired,
            shred_at: Some(shred_at),
        });
        if let Some(mut rotation) = rotation {
            let from = rotation.step;
            rotation.step = Step::Undone;
            rotation.ended_at = Some(now);
            rotation
                .notes
                .push("ended, because the credential was retired".into());
            change = change.vault(VaultWrite::Rotate(from, rotation));
        }
        match self.commit(change).await {
            Err(CommitError::Conflict) => return Err(not_active(id)),
            committed => committed?,
        };
        // From here on nothing is given out; what follows may fail and is then said.
        let mut by_hand = Vec::new();
        let mut leases_ended = 0;
        for lease in &leases {
            match self.finish_lease(lease, &actor, now).await {
                Ok(note) => {
                    leases_ended += 1;
                    by_hand.extend(note);
                }
                Err(failure) => by_hand.push(failure.0.detail),
            }
        }
        let revoked_at_bridge = self.end_at_bridge(id, &live, &mut by_hand, now).await?;
        let tokens_revoked = self.revoke_tokens_for(&actor, id).await?;
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
        if grace == Span::ms(0) {
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

    /// Revokes the tokens that were for this credential and nothing else.
    async fn revoke_tokens_for(
        &self,
        actor: &Actor,
        id: &CredentialId,
    ) -> Result<Vec<String>, Failure> {
        let only = Pattern::One(id.name.clone());
        self.revoke_tokens(actor, |token| {
            token.environment == id.environment
                && token.grants.iter().all(|grant| grant.pattern == only)
        })
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
            text: Some(place.clone()),
            ..Filter::default()
        };
        let mut retired = Vec::new();
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
                let Credential {
                    id, mut used_by, ..
                } = known.credential;
                if !used_by.contains(&place) {
                    continue;
                }
                self.permitted(caller, Action::Write, &id).await?;
                used_by.retain(|known| *known != place);
                if used_by.is_empty() {
                    retired.push(
                        self.retire_credential(caller.actor(), &id, request.clone())
                            .await?,
                    );
                } else {
                    let change = CredentialChange {
                        used_by: Some(used_by),
                        ..CredentialChange::default()
                    };
                    self.describe_credential(caller.actor(), &id, change)
                        .await?;
                }
            }
        }
        if retired.is_empty() {
            tracing::debug!(place, "nothing was used there alone");
        }
        Ok(retired)
    }

    /// Has the bridge end the values that still work; says what is left.
    async fn end_at_bridge(
        &self,
        id: &CredentialId,
        live: &[&KnownVersion],
        by_hand: &mut Vec<String>,
        now: Timestamp,
    ) -> Result<usize, Failure> {
        let connected = match self.bridge_of(id) {
            Ok(connected) => connected.filter(|bridge| bridge.abilities.revoke),
            Err(failure) => {
                by_hand.push(failure.0.detail);
                None
            }
        };
        let mut ended = 0;
        for version in live {
            let mut left = None;
            match &connected {
                Some(bridge) => {
                    let sealed = self
                        .store
                        .read(|registry| registry.sealed_value(id, Some(version.version)))?;
                    let Some(sealed) = sealed else { continue };
                    match bridge.connector.revoke(&self.held(id, &sealed)?).await {
                        Ok(Revoked::Gone) => ended += 1,
                        Ok(Revoked::ByHand(what)) => left = Some(what),
                        Err(error) => {
                            left = Some(format!(
                                "{error}. End version {} at the bridge by hand.",
                                version.version
                            ))
                        }
                    }
                }
                None => {
                    left = Some(format!(
                        "End version {} where it was issued: no connected bridge can.",
                        version.version
                    ))
                }
            }
            let mut change = Change::default().vault(VaultWrite::MoveVersion {
                credential: id.clone(),
                version: version.version,
                from: version.state,
                to: VersionState::Retired,
                at: now,
            });
            if let Some(what) = left {
                if connected.is_some() {
                    let finding = leftover(id, version.version, &what);
                    change = change.vault(VaultWrite::Finding(finding, now));
                }
                by_hand.push(what);
            }
            match self.commit(change).await {
                Ok(_) | Err(CommitError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
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
