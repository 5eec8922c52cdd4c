//! Leases: hand-outs that end by themselves, listed, and ended by their giver or holder.

use crate::vault::slow_places::{SLOW_MAX, SLOW_PER_CALLER_MAX};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use hearthkey_api::{LeaseList, LeaseRequest, Leased, SecretValue, code};
use hearthkey_bridges::Held;
use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::credential::{Action, CredentialId, Tier, checked_text};
use hearthkey_core::finding::{Finding, FindingKind, Severity};
use hearthkey_core::id::EnvironmentName;
use hearthkey_core::lease::{self, Lease};
use hearthkey_core::role::Act;
use hearthkey_core::time::{Span, Timestamp};
use hearthkey_store::CommitError;
use hearthkey_store::change::Change;
use hearthkey_store::vault_change::VaultWrite;
use tokio::task::JoinSet;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::auth::caller::Caller;
use crate::state::endings::PATIENCE;
use crate::state::failure::Failure;
use crate::state::locked;
use crate::vault::Vault;
use crate::vault::bridge_places::OF_BRIDGE_MAX;
use crate::vault::credentials::object;
use crate::vault::views;

/// Leases that are listed at most.
const LISTED_MAX: u32 = 1000;
/// Leases that one service may hold at a time.
const HELD_MAX: u32 = 100;
/// Leases that are ended in one go.
const DUE_MAX: u32 = 10_000;
/// How long the answer about the end of a child waits: longer than its bridge is waited for.
const AT_BRIDGE: Duration = Duration::from_secs(300);
/// When a lease is tried again whose bridge did not answer.
const RETRY: Span = Span::minutes(1);
/// What is left to do when the value itself was lent.
const VALUE_LENT: &str = "this is the credential's own value, and it still works after the lease has ended: to end it, rotate the credential";

/// Leases that end one after the other: those whose children one bridge ends, or those of an environment that have none.
pub(super) type Row = (EnvironmentName, String);

fn in_rows(leases: impl IntoIterator<Item = Lease>) -> HashMap<Row, Vec<Lease>> {
    let mut rows: HashMap<Row, Vec<Lease>> = HashMap::new();
    for lease in leases {
        rows.entry(row_of(&lease)).or_default().push(lease);
    }
    rows
}

pub(super) fn row_of(lease: &Lease) -> Row {
    let id = &lease.credential;
    let bridge = match lease.child {
        true => id.name.bridge(),
        false => "",
    };
    (id.environment.clone(), bridge.to_owned())
}

/// Ends the leases whose time has come, every second, as long as the home is open. A bridge that hangs keeps nothing waiting
/// but the ends of its own leases.
pub(crate) async fn end_what_was_lent(home: Arc<Vault>) {
    let mut stopping = home.ctx.stopping().subscribe();
    let ending = async {
        let mut ending = JoinSet::new();
        let mut underway: HashMap<_, Row> = HashMap::new();
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            while let Some(ended) = ending.try_join_next_with_id() {
                underway.remove(&ended.map_or_else(|error| error.id(), |(task, ())| task));
            }
            let now = home.ctx.now();
            let due = match home
                .ctx
                .store()
                .read(|registry| registry.due_leases(now, DUE_MAX))
            {
                Ok(due) => due,
                Err(error) => {
                    tracing::error!(%error, "the leases could not be read");
                    continue;
                }
            };
            let mut rows = in_rows(due.into_iter().filter(|lease| home.is_to_end(lease, now)));
            for row in home.rows_of_children_left() {
                rows.entry(row).or_default();
            }
            for (row, leases) in rows {
                if !underway.values().any(|its| *its == row) {
                    let (home, its) = (Arc::clone(&home), row.clone());
                    let task = ending.spawn(async move { home.end_row(&its, leases).await });
                    underway.insert(task.id(), row);
                }
            }
        }
    };
    // One that is given up half-way is ended when the home opens.
    tokio::select! {
        () = ending => {}
        _ = stopping.wait_for(|stop| *stop) => {}
    }
}

/// For a lease whose end takes longer than its answer waits. It goes on behind it.
fn not_ended_yet(lease: &Lease) -> Failure {
    Failure::new(
        StatusCode::SERVICE_UNAVAILABLE,
        code::STORAGE,
        "The end of the lease is not saved to disk yet.",
        format!("The lease {} ends once this is saved.", lease.id),
        "Free space or repair the disk. No restart is needed.",
    )
}

fn waiting_for_bridges() -> Failure {
    Failure::new(
        StatusCode::SERVICE_UNAVAILABLE,
        code::BUSY,
        "The gateway is busy.",
        format!(
            "{SLOW_MAX} leases, {SLOW_PER_CALLER_MAX} of one caller, or {OF_BRIDGE_MAX} of one bridge, are waiting for a value."
        ),
        "Try again in a minute.",
    )
}

/// Whether a lease is the caller's own, and not that of somebody who had the name before.
fn is_held_by(caller: &Caller, lease: &Lease) -> bool {
    lease.holder == caller.actor().name && lease.issued_at >= caller.known_since()
}

impl Vault {
    /// Lends a credential for a time.
    pub(crate) async fn lend(
        &self,
        caller: &Caller,
        id: &CredentialId,
        request: LeaseRequest,
    ) -> Result<Leased, Failure> {
        let asked = request.lifetime.as_deref().map(str::parse).transpose();
        let asked =
            asked.map_err(|error: hearthkey_core::time::InvalidSpan| Failure::invalid(&error))?;
        let lifetime = lease::lifetime(asked).map_err(|error| Failure::invalid(&error))?;
        let reason = request.reason.as_deref();
        let reason = reason
            .map(|text| checked_text("reason", text))
            .transpose()?;
        self.permitted(caller, Action::Lease, id).await?;
        let now = self.ctx.now();
        let opened = self.open_value(id, None, now)?;
        self.reached(caller, Action::Lease, id, opened.sealed.tier)
            .await?;
        let actor = caller.actor();
        self.has_room_for_one_more(caller)?;
        let bridge = self
            .bridge_of(id)?
            .filter(|bridge| bridge.abilities.children);
        if bridge.is_some() {
            self.reaches_authority(caller, Action::Lease, id).await?;
        }
        let tier = self.tier_lent(id, opened.sealed.tier, bridge.is_some())?;
        let critical = (tier == Tier::Critical).then_some(id);
        let shown = self
            .shown_for(caller, critical, request.second_factor)
            .await?;
        // Bridges may be slow: requests that wait for them leave room for others.
        let comes_over_network = matches!(caller, Caller::Service(_) | Caller::Person(_));
        let _slow = match bridge.is_some() && comes_over_network {
            true => {
                let place = self.slow.enter(caller.identity(), id);
                Some(place.ok_or_else(waiting_for_bridges)?)
            }
            false => None,
        };
        let lease = Lease {
            id: lease::id_from_random(*hearthkey_store::keys::random::<8>()),
            credential: id.clone(),
            version: opened.sealed.version,
            holder: actor.name.clone(),
            address: actor.address.clone(),
            issued_at: now,
            expires_at: now.after(lifetime),
            child: bridge.is_some(),
            remote_id: None,
            ended_at: None,
            ended_by: None,
            note: bridge.is_none().then(|| VALUE_LENT.into()),
        };
        let mut entry = Entry::new(now, actor.clone(), "credential.lease", object(id))
            .with("lease", lease.id.clone())
            .with("version", lease.version)
            .with("child", lease.child)
            .with("expires_at", lease.expires_at.to_string());
        entry.reason = reason;
        let change = Change::record(entry).vault(VaultWrite::Lease(lease.clone()));
        let change = self.used(change, &opened, &actor, now);
        let lending = self.lending(&lease);
        let change = self.noticing(change, &actor, 1, now);
        // What is not on record is not given, and not made.
        self.auth.commit_shown(change, shown).await?;
        let still = self.auth.is_still_in(caller);
        if let Err(failure) = still.and_then(|()| self.is_still_given(id, lease.version)) {
            // Its holder was cut off, or the credential went out of use, while the disk was waited for: the leases were
            // ended before this one was there.
            self.close_lease(&lease, &Actor::gateway(), now, None)
                .await?;
            return Err(failure);
        }
        let lent = Held {
            value: opened.value,
            remote_id: opened.sealed.remote_id,
        };
        let given = match &bridge {
            None => lent,
            Some(bridge) => {
                let minted = self.make_child(bridge, &lease, lent, lending).await?;
                if let Err(failure) = self.is_still_given(id, lease.version) {
                    self.finish_lease(&lease, &Actor::gateway(), now).await?;
                    return Err(failure);
                }
                Held {
                    value: minted.value,
                    remote_id: minted.remote_id,
                }
            }
        };
        Ok(Leased {
            lease: views::lease(&lease),
            remote_id: given.remote_id,
            value: SecretValue::new(Zeroizing::new(given.value.expose().to_vec())),
        })
    }

    /// Whether a service may hold one more lease.
    fn has_room_for_one_more(&self, caller: &Caller) -> Result<(), Failure> {
        let holder = caller.actor().name;
        let held = match caller.is_service() {
            true => self
                .ctx
                .store()
                .read(|registry| registry.leases_held_by(&holder, HELD_MAX))?
                .len(),
            false => 0,
        };
        match held < HELD_MAX as usize {
            true => Ok(()),
            false => Err(Failure::refused(
                &format!("{holder} holds {HELD_MAX} leases already"),
                "End those that are not needed, or take leases for a shorter time. On the command line: `hearthkey credential end-lease`.",
            )),
        }
    }

    /// The leases that have not ended, as far as the caller may see them.
    pub(crate) fn leases(&self, caller: &Caller) -> Result<LeaseList, Failure> {
        // A service sees its own: that it may list a credential says nothing of who borrows it.
        let mut leases = self
            .ctx
            .store()
            .read(|registry| match caller.granted_in() {
                None => registry.leases(LISTED_MAX + 1),
                Some(_) => registry.leases_held_by(&caller.actor().name, LISTED_MAX + 1),
            })?;
        let more = leases.len() > LISTED_MAX as usize;
        leases.truncate(LISTED_MAX as usize);
        leases.retain(|lease| match caller.granted_in() {
            None => caller.may_list(&lease.credential),
            Some(_) => is_held_by(caller, lease),
        });
        Ok(LeaseList {
            leases: leases.iter().map(views::lease).collect(),
            more,
        })
    }

    /// Ends a lease at once.
    pub(crate) async fn end_lease(
        self: &Arc<Self>,
        caller: &Caller,
        lease: &str,
    ) -> Result<hearthkey_api::LeaseView, Failure> {
        let actor = caller.actor();
        let found = self.ctx.store().read(|registry| registry.lease(lease))?;
        let own = |lease: &Lease| {
            let environment = &lease.credential.environment;
            is_held_by(caller, lease) || caller.permit(Act::TokenEnd, environment).is_ok()
        };
        let Some(found) = found.filter(own) else {
            return Err(Failure::not_found(
                "lease",
                &lease.chars().take(40).collect::<String>(),
            ));
        };
        if found.ended_at.is_none() {
            let (home, lease) = (Arc::clone(self), found.clone());
            let ending = async move { home.finish_lease(&lease, &actor, home.ctx.now()).await };
            let longest = match found.child {
                true => AT_BRIDGE,
                false => PATIENCE,
            };
            match timeout(longest, tokio::spawn(ending)).await {
                Ok(Ok(ended)) => drop(ended?),
                _ => return Err(not_ended_yet(&found)),
            }
        }
        let ended = self.ctx.store().read(|registry| registry.lease(lease))?;
        Ok(views::lease(ended.as_ref().unwrap_or(&found)))
    }

    /// Home time goes back: what was put off is tried again at once.
    pub(crate) fn forget_waits(&self) {
        locked(&self.late_leases).clear();
    }

    /// Whether a lease whose time has come is to be ended now: its child is not being made, and its bridge did not fail lately.
    fn is_to_end(&self, lease: &Lease, now: Timestamp) -> bool {
        let late = locked(&self.late_leases).get(&lease.id).copied();
        !self.is_being_made(&lease.id) && late.is_none_or(|again| again <= now)
    }

    /// Ends leases whose time has come, and children of their bridge that could not be kept.
    async fn end_row(self: Arc<Self>, row: &Row, due: Vec<Lease>) {
        self.settle_children(row).await;
        let mut ending = JoinSet::new();
        for lease in due {
            if ending.len() == OF_BRIDGE_MAX {
                ending.join_next().await;
            }
            let home = Arc::clone(&self);
            ending.spawn(async move { home.end_due_lease(&lease).await });
        }
        while ending.join_next().await.is_some() {}
    }

    /// Ends a lease whose time has come. If its bridge does not answer, that is said, and it is tried again a minute later.
    pub(super) async fn end_due_lease(&self, lease: &Lease) {
        let now = self.ctx.now();
        let Err(failure) = self.finish_lease(lease, &Actor::gateway(), now).await else {
            locked(&self.late_leases).remove(&lease.id);
            return;
        };
        let why = failure.0.detail;
        tracing::warn!(lease = lease.id, why, "a lease could not be ended yet");
        locked(&self.late_leases).insert(lease.id.clone(), now.after(RETRY));
        if lease.child {
            let why = format!("it has expired, and ending it is retried every minute: {why}");
            let write = child_left(lease, Some(&why), now);
            if let Err(error) = self.ctx.commit(Change::default().vault(write)).await {
                tracing::warn!(%error, lease = lease.id, "that a lease's own value still works is not stored");
            }
        }
    }

    /// Ends every lease that somebody holds, because they may nothing any more. Gives how many could not be ended now,
    /// and end in their time.
    pub(in crate::vault) async fn end_leases_of(
        self: &Arc<Self>,
        holder: &str,
        by: &Actor,
    ) -> usize {
        let leases = match self
            .ctx
            .store()
            .read(|registry| registry.leases_held_by(holder, DUE_MAX))
        {
            Ok(leases) => leases,
            Err(error) => {
                tracing::error!(%error, holder, "the leases of a holder could not be read");
                return 0;
            }
        };
        let mut ending = JoinSet::new();
        for leases in in_rows(leases).into_values() {
            let (home, by) = (Arc::clone(self), by.clone());
            ending.spawn(async move { home.end_all(&leases, &by).await });
        }
        ending.join_all().await.into_iter().sum()
    }

    /// Ends leases one after the other. Gives how many could not be ended now.
    async fn end_all(&self, leases: &[Lease], by: &Actor) -> usize {
        let mut left = 0;
        for lease in leases {
            if let Err(failure) = self.finish_lease(lease, by, self.ctx.now()).await {
                let why = failure.0.detail;
                tracing::warn!(lease = lease.id, why, "a lease lasts until its end");
                left += 1;
            }
        }
        left
    }

    /// How many leases somebody holds.
    pub(crate) fn leases_left(&self, holder: &str) -> usize {
        let held = self
            .ctx
            .store()
            .read(|registry| registry.leases_held_by(holder, DUE_MAX));
        held.map_or(0, |leases| leases.len())
    }

    /// Ends a lease: its child at the bridge first, then here. Gives what is left to do by hand.
    pub(in crate::vault) async fn finish_lease(
        &self,
        lease: &Lease,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Option<String>, Failure> {
        if !lease.child {
            return self.close_lease(lease, actor, now, None).await;
        }
        // Two that take back a lost child at once would each be given one.
        let _turn = self.lease_turns.of(&lease.id).await;
        let known = self
            .ctx
            .store()
            .read(|registry| registry.lease(&lease.id))?;
        if let Some(ended) = known.filter(|known| known.ended_at.is_some()) {
            return Ok(ended.note);
        }
        let left = self.end_child(lease).await?;
        self.close_lease(lease, actor, now, left).await
    }

    /// Writes down that a lease has ended, and what is left of its child.
    pub(in crate::vault) async fn close_lease(
        &self,
        lease: &Lease,
        actor: &Actor,
        now: Timestamp,
        left: Option<String>,
    ) -> Result<Option<String>, Failure> {
        let entry = Entry::new(now, actor.clone(), "lease.end", object(&lease.credential))
            .with("lease", lease.id.clone())
            .with("holder", lease.holder.clone())
            .with("left", left.clone());
        let mut change = Change::record(entry);
        if lease.child {
            change = change.vault(child_left(lease, left.as_deref(), now));
        }
        let change = change.vault(VaultWrite::EndLease {
            lease: lease.id.clone(),
            environment: lease.credential.environment.clone(),
            at: now,
            by: actor.name.clone(),
            note: left.clone(),
        });
        match self.ctx.commit(change).await {
            Ok(_) => {}
            // Its time came at the same moment. What is known of its child by now is said all the same.
            Err(CommitError::Conflict) if lease.child => {
                let write = child_left(lease, left.as_deref(), now);
                self.ctx.commit(Change::default().vault(write)).await?;
            }
            Err(CommitError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(left)
    }
}

/// That a child may still work, or that it does not.
fn child_left(lease: &Lease, left: Option<&str>, now: Timestamp) -> VaultWrite {
    let kind = FindingKind::Leftover;
    let finding = Finding::new(kind, Severity::High, object(&lease.credential), &lease.id);
    let Some(what) = left else {
        return VaultWrite::Settled(finding.id, now);
    };
    let what = finding.saying(
        format!("The value of the lease {} may still work.", lease.id),
        format!("End it at the bridge by hand: {what}."),
    );
    VaultWrite::Finding(what, now)
}
