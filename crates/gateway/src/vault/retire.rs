//! A credential is retired: nothing is given out any more, what the bridge can end is ended, and its
//! data keys are destroyed after a grace.

use crate::auth::permit::Permit;
use hearthkey_core::role::Act;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hearthkey_api::{RetireRequest, Retired, SecondFactor};
use hearthkey_bridges::Revoked;
use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::credential::{Action, Credential, CredentialId, checked_text};
use hearthkey_core::time::Timestamp;
use hearthkey_store::CommitError;
use hearthkey_store::change::Change;
use hearthkey_store::vault_change::VaultWrite;
use tokio::time::{sleep, timeout};

use crate::auth::caller::Caller;
use crate::auth::local_code::{Shown, code_does_not_fit};
use crate::state::endings::{Ending, PATIENCE, all_in_time};
use crate::state::failure::Failure;
use crate::vault::Vault;
use crate::vault::credentials::{not_active, object};
use crate::vault::leftovers::leftover;
use crate::vault::out_of_use::{OutOfUse, Terms};

/// How long after a failure what follows from an end is tried again.
const AGAIN: Duration = Duration::from_secs(1);

impl Vault {
    /// Takes a credential out of use for good.
    pub(crate) async fn retire_credential(
        self: &Arc<Self>,
        permit: &Permit,
        id: &CredentialId,
        request: &RetireRequest,
    ) -> Result<Retired, Failure> {
        permit.actor_in(Act::CredentialRetire, &id.environment)?;
        let out = self.take_out_of_use(permit.actor(), id, &Terms::of(request)?)?;
        let retired = self.end_all_that_is_out(permit.actor(), vec![out]).await?;
        retired.into_iter().next().ok_or_else(|| not_active(id))
    }

    /// Takes some credentials out of use.
    pub(super) fn take_all_out_of_use(
        &self,
        actor: &Actor,
        ids: impl Iterator<Item = CredentialId>,
        terms: &Terms,
    ) -> Result<Vec<OutOfUse>, Failure> {
        ids.map(|id| self.take_out_of_use(actor, &id, terms))
            .collect()
    }

    /// Ends what credentials that are out of use have opened.
    pub(super) async fn end_all_that_is_out(
        self: &Arc<Self>,
        actor: &Actor,
        mut out: Vec<OutOfUse>,
    ) -> Result<Vec<Retired>, Failure> {
        all_in_time(out.iter_mut().filter_map(|out| out.ending.as_mut())).await;
        // One bridge that hangs keeps nothing waiting at another.
        let mut rows: HashMap<_, Vec<(usize, OutOfUse)>> = HashMap::new();
        for (place, out) in out.into_iter().enumerate() {
            let row = (out.id.environment.clone(), out.id.name.bridge().to_owned());
            rows.entry(row).or_default().push((place, out));
        }
        let ends: Vec<_> = rows
            .into_values()
            .map(|row| {
                let (home, actor) = (Arc::clone(self), actor.clone());
                // It goes on, also when nobody waits for the answer any more.
                tokio::spawn(async move {
                    let mut ended = Vec::with_capacity(row.len());
                    for (place, out) in row {
                        ended.push((place, home.end_what_is_out(&actor, out).await));
                    }
                    ended
                })
            })
            .collect();
        let mut retired = Vec::new();
        for ended in ends {
            // A panic there is written down by the runtime.
            retired.extend(ended.await.unwrap_or_default());
        }
        retired.sort_by_key(|(place, _)| *place);
        retired.into_iter().map(|(_, retired)| retired).collect()
    }

    /// Ends what a credential that is out of use has opened, here and at bridges. Where the disk does not have its end yet,
    /// or does not take what follows from it, the rest follows once it does.
    async fn end_what_is_out(
        self: &Arc<Self>,
        actor: &Actor,
        out: OutOfUse,
    ) -> Result<Retired, Failure> {
        let patience = match out.is_durable() {
            true => PATIENCE,
            false => Duration::ZERO,
        };
        let (id, shred_at) = (out.id.clone(), out.shred_at);
        let home = Arc::clone(self);
        let mut settling =
            tokio::spawn(async move { home.settle_in_the_end(out.ending, &out.id).await });
        let in_time = timeout(patience, &mut settling).await;
        if let Ok(Ok(Some(live))) = &in_time {
            return self.end_what_it_opened(actor, &id, shred_at, live).await;
        }
        let retired = Retired {
            name: id.name.to_string(),
            environment: id.environment.to_string(),
            durable: false,
            leases_ended: 0,
            tokens_revoked: self.cut_only_for(&Permit::following(actor, Act::TokenEnd), &id),
            revoked_at_bridge: 0,
            shred_at: shred_at.to_string(),
            by_hand: vec![
                "Free space or repair the disk: leases and tokens of the credential are ended once this is saved."
                    .to_owned(),
            ],
        };
        if in_time.is_ok() {
            // Its end is given up, or the home closes.
            return Ok(retired);
        }
        let (home, actor) = (Arc::clone(self), actor.clone());
        tokio::spawn(async move {
            let Ok(Some(live)) = settling.await else {
                return;
            };
            let ended = home.end_what_it_opened(&actor, &id, shred_at, &live).await;
            if let Err(failure) = ended {
                tracing::warn!(credential = %id, why = failure.0.detail, "leases or tokens of a retired credential are not all ended: retire it again");
            }
        });
        Ok(retired)
    }

    /// Waits until the disk has the end of a credential, and settles what it leaves behind, as long as that takes. Gives the
    /// versions that were in use; nothing if its end is given up, or the home closes.
    async fn settle_in_the_end(
        &self,
        ending: Option<Ending>,
        id: &CredentialId,
    ) -> Option<Vec<u32>> {
        let mut stopping = self.ctx.stopping().subscribe();
        let settling = async {
            if let Some(ending) = ending
                && !ending.durable().await
            {
                return None;
            }
            let mut is_told = false;
            loop {
                match self.settle_out_of_use(id).await {
                    Ok(live) => return Some(live),
                    Err(failure) if !is_told => {
                        is_told = true;
                        tracing::warn!(credential = %id, why = failure.0.detail, "a retired credential is not completely ended yet");
                    }
                    Err(_) => {}
                }
                sleep(AGAIN).await;
            }
        };
        tokio::select! {
            settled = settling => settled,
            _ = stopping.wait_for(|stop| *stop) => None,
        }
    }

    /// Ends at bridges what a credential that is out of use has opened. This may fail, or be cut short: then it is said,
    /// stays a finding, and is taken up again when the credential is retired again.
    async fn end_what_it_opened(
        self: &Arc<Self>,
        actor: &Actor,
        id: &CredentialId,
        shred_at: Timestamp,
        live: &[u32],
    ) -> Result<Retired, Failure> {
        let known = self.credential(id)?;
        // Of two who retired it at the same moment, the terms of one are on the disk.
        let shred_at = known.shred_at.unwrap_or(shred_at);
        let now = self.ctx.now();
        let mut by_hand = Vec::new();
        // Those that were for this credential and nothing else.
        let permit = Permit::following(actor, Act::TokenEnd);
        let tokens = self.revoke_tokens(&permit, |token| token.power.is_only_for(id));
        let (tokens_revoked, durable) = tokens.await;
        let mut leases_ended = 0;
        for lease in self.ctx.store().read(|registry| registry.leases_of(id))? {
            match self.finish_lease(&lease, actor, now).await {
                Ok(note) => {
                    leases_ended += 1;
                    by_hand.extend(note);
                }
                Err(failure) => by_hand.push(failure.0.detail),
            }
        }
        let revoked_at_bridge = self.end_at_bridge(id, live, &mut by_hand, now).await?;
        by_hand.extend(
            known
                .credential
                .used_by
                .iter()
                .map(|place| format!("Remove it from {place}.")),
        );
        if let Some(location) = &known.credential.location {
            by_hand.push(format!("Destroy the value stored here: {location}."));
        }
        by_hand.dedup();
        if shred_at <= now {
            self.shred_what_is_due(now).await;
        }
        Ok(Retired {
            name: id.name.to_string(),
            environment: id.environment.to_string(),
            durable,
            leases_ended,
            tokens_revoked,
            revoked_at_bridge,
            shred_at: shred_at.to_string(),
            by_hand,
        })
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
                "Check their places of use in the inventory. On the command line: `hearthkey credential list --json`.",
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
        // What ends waits for nothing that the others wait for.
        let (actor, terms) = (caller.actor(), Terms::of(&request)?);
        let ids = only_here.into_iter().map(|credential| credential.id);
        let out = self.take_all_out_of_use(&actor, ids, &terms)?;
        let leaving = async {
            for credential in elsewhere_too {
                let code = (shown.take(), is_shown);
                self.leave_place(caller, &credential.id, &place, code)
                    .await?;
            }
            Ok::<_, Failure>(())
        };
        let (left, retired) = tokio::join!(leaving, self.end_all_that_is_out(&actor, out));
        left.and(retired)
    }

    /// The credentials that are used in a place: those that are used nowhere else, and those that are.
    fn used_in(&self, place: &str) -> Result<(Vec<Credential>, Vec<Credential>), Failure> {
        let used = self.ctx.store().read(|registry| {
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
                self.auth.needs_no_other(same);
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
            self.ctx.now(),
            caller.actor(),
            "credential.describe",
            object(id),
        )
        .with("used_by", after.used_by.clone());
        let change = Change::record(entry).vault(VaultWrite::Describe(after));
        match self.auth.commit_shown(change, shown).await {
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
            .ctx
            .store()
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
                .ctx
                .store()
                .read(|registry| registry.sealed_value(id, Some(version.version)))?;
            let Some(sealed) = sealed else { continue };
            let what = match bridge.abilities.revoke {
                true => match bridge.connector.revoke(&self.held(id, &sealed)?).await {
                    Ok(Revoked::Gone) => {
                        ended += 1;
                        let settled = VaultWrite::Settled(finding.id, now);
                        self.ctx.commit(Change::default().vault(settled)).await?;
                        continue;
                    }
                    Ok(Revoked::ByHand(what)) => what,
                    Err(error) => format!(
                        "{error}. End version {} at the bridge by hand; or retire it again while its name is not in use. On the command line: `hearthkey credential retire {} --env {}`.",
                        version.version, id.name, id.environment
                    ),
                },
                false => format!(
                    "End version {} where it was issued: the bridge cannot.",
                    version.version
                ),
            };
            let finding = leftover(id, version.version, &what);
            self.ctx
                .commit(Change::default().vault(VaultWrite::Finding(finding, now)))
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
