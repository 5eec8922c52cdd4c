//! Leases: hand-outs that end by themselves, listed, and ended by whoever gave or holds them.

use hearthkey_api::{LeaseList, LeaseRequest, Leased, SecretValue};
use hearthkey_bridges::{Held, MintOrder, Minted, Progress, Revoked};
use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::credential::{Action, CredentialId, checked_text};
use hearthkey_core::lease::{self, Lease};
use hearthkey_core::secret::Secret;
use hearthkey_core::time::{Span, Timestamp};
use hearthkey_store::CommitError;
use hearthkey_store::change::Change;
use hearthkey_store::vault::{CredentialPlace, SealedSecret};
use hearthkey_store::vault_change::VaultWrite;
use zeroize::Zeroizing;

use crate::caller::Caller;
use crate::home::{Home, locked};
use crate::problem::Failure;
use crate::vault::bridges::Connected;
use crate::vault::credentials::object;
use crate::vault::giving::Opened;
use crate::vault::views;

/// Leases that are listed at most.
const LISTED_MAX: u32 = 1000;
/// When a lease is tried again whose bridge did not answer.
const RETRY: Span = Span::minutes(1);
/// What is left to do when the value itself was lent.
const VALUE_LENT: &str = "the value itself was lent and works on: rotate the credential to end it";

impl Home {
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
        let now = self.now();
        let opened = self.open_value(id, None, now)?;
        let actor = caller.actor();
        let bridge = self
            .bridge_of(id)?
            .filter(|bridge| bridge.abilities.children);
        let mut lease = Lease {
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
        let (value, sealed) = match &bridge {
            None => (opened.value.clone(), None),
            Some(bridge) => {
                let minted = self.mint_child(bridge, &lease, &opened, lifetime).await?;
                lease.remote_id = minted.remote_id;
                let sealed = self.sealed_child(&lease, &minted.value)?;
                (minted.value, Some(sealed))
            }
        };
        let change = Change::record(entry).vault(VaultWrite::Lease(lease.clone(), sealed));
        let change = self.used(change, &opened, &actor, now);
        if let Err(error) = self.commit(self.noticing(change, &actor, 1, now)).await {
            // What is not on record was not given, and must not go on working.
            if let Some(bridge) = &bridge {
                let held = Held {
                    value,
                    remote_id: lease.remote_id,
                };
                let ended = bridge.connector.revoke(&held).await;
                tracing::warn!(
                    ?ended,
                    lease = lease.id,
                    "a child was taken back: its lease could not be recorded"
                );
            }
            return Err(error.into());
        }
        Ok(Leased {
            lease: views::lease(&lease),
            remote_id: match lease.child {
                true => lease.remote_id,
                false => opened.sealed.remote_id,
            },
            value: SecretValue::new(Zeroizing::new(value.expose().to_vec())),
        })
    }

    /// Has the bridge make a value that lives as long as the lease, of the rights of the one that is lent.
    async fn mint_child(
        &self,
        bridge: &Connected,
        lease: &Lease,
        opened: &Opened,
        lifetime: Span,
    ) -> Result<Minted, Failure> {
        let order = MintOrder {
            label: format!("hearthkey {} {} {}", self.id, lease.credential, lease.id),
            lifetime: Some(lifetime),
            scopes: Vec::new(),
            replaces: Some(Held {
                value: opened.value.clone(),
                remote_id: opened.sealed.remote_id.clone(),
            }),
        };
        let minted = bridge.connector.mint(&order, &Progress::ignored()).await;
        minted.map_err(|error| Failure::bridge(&error))
    }

    fn sealed_child(&self, lease: &Lease, value: &Secret) -> Result<SealedSecret, Failure> {
        let environment = &lease.credential.environment;
        let epoch = self
            .store
            .read(|registry| registry.kek_epoch(environment))?;
        let place = CredentialPlace::of_lease(environment, &lease.id);
        Ok(self
            .store
            .vault()
            .seal_credential(&place, epoch.unwrap_or(1), value))
    }

    /// The leases that have not ended, as far as the caller may see them.
    pub(crate) fn leases(&self, caller: &Caller) -> Result<LeaseList, Failure> {
        let leases = self.store.read(|registry| registry.leases(LISTED_MAX))?;
        let holder = caller.actor().name;
        let seen = leases
            .iter()
            .filter(|lease| caller.is_operator() || lease.holder == holder);
        Ok(LeaseList {
            leases: seen.map(views::lease).collect(),
        })
    }

    /// Ends a lease at once.
    pub(crate) async fn end_lease(
        &self,
        caller: &Caller,
        lease: &str,
    ) -> Result<hearthkey_api::LeaseView, Failure> {
        let actor = caller.actor();
        let found = self.store.read(|registry| registry.lease(lease))?;
        let own = |lease: &Lease| caller.is_operator() || lease.holder == actor.name;
        let Some(found) = found.filter(own) else {
            return Err(Failure::not_found(
                "lease",
                &lease.chars().take(40).collect::<String>(),
            ));
        };
        if found.ended_at.is_none() {
            self.finish_lease(&found, &actor, self.now()).await?;
        }
        let ended = self.store.read(|registry| registry.lease(lease))?;
        Ok(views::lease(ended.as_ref().unwrap_or(&found)))
    }

    /// Ends the leases whose time has come. One whose bridge does not answer is tried again a
    /// minute later.
    pub(crate) async fn end_due_leases(&self, now: Timestamp) {
        let leases = match self.store.read(|registry| registry.leases(LISTED_MAX)) {
            Ok(leases) => leases,
            Err(error) => return tracing::error!(%error, "the leases could not be read"),
        };
        for lease in leases.iter().take_while(|lease| lease.expires_at <= now) {
            let waiting = |waits: &Timestamp| *waits > now;
            if locked(&self.late_leases)
                .get(&lease.id)
                .is_some_and(waiting)
            {
                continue;
            }
            match self.finish_lease(lease, &Actor::gateway(), now).await {
                Ok(_) => drop(locked(&self.late_leases).remove(&lease.id)),
                Err(failure) => {
                    tracing::warn!(
                        lease = lease.id,
                        why = failure.0.detail,
                        "a lease could not be ended yet"
                    );
                    locked(&self.late_leases).insert(lease.id.clone(), now.after(RETRY));
                }
            }
        }
    }

    /// Ends every lease that somebody holds, because they may nothing any more; gives how many.
    pub(crate) async fn end_leases_of(&self, holder: &str, by: &Actor) -> Result<usize, Failure> {
        let leases = self
            .store
            .read(|registry| registry.leases_held_by(holder))?;
        let now = self.now();
        for lease in &leases {
            self.finish_lease(lease, by, now).await?;
        }
        Ok(leases.len())
    }

    /// Ends a lease: its child at the bridge first, then here. Gives what is left to do by hand.
    pub(crate) async fn finish_lease(
        &self,
        lease: &Lease,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Option<String>, Failure> {
        let left = match lease.child {
            true => self.end_child(lease).await?,
            false => None,
        };
        let entry = Entry::new(now, actor.clone(), "lease.end", object(&lease.credential))
            .with("lease", lease.id.clone())
            .with("holder", lease.holder.clone())
            .with("left", left.clone());
        let change = Change::record(entry).vault(VaultWrite::EndLease {
            lease: lease.id.clone(),
            environment: lease.credential.environment.clone(),
            at: now,
            by: actor.name.clone(),
            note: left.clone(),
        });
        match self.commit(change).await {
            // Its time came at the same moment.
            Ok(_) | Err(CommitError::Conflict) => Ok(left),
            Err(error) => Err(error.into()),
        }
    }

    async fn end_child(&self, lease: &Lease) -> Result<Option<String>, Failure> {
        let environment = &lease.credential.environment;
        let place = CredentialPlace::of_lease(environment, &lease.id);
        let sealed = self.store.read(|registry| registry.sealed_at(&place))?;
        let Some(sealed) = sealed else {
            return Ok(None);
        };
        let value = self.store.vault().open_credential(&place, &sealed);
        let held = Held {
            value: value.map_err(|error| Failure::unopened(&error))?,
            remote_id: lease.remote_id.clone(),
        };
        let Some(bridge) = self.bridge_of(&lease.credential)? else {
            return Ok(Some(
                "the child works on: its bridge is not connected any more".into(),
            ));
        };
        match bridge.connector.revoke(&held).await {
            Ok(Revoked::Gone) => Ok(None),
            Ok(Revoked::ByHand(what)) => Ok(Some(what)),
            Err(error) => Err(Failure::bridge(&error)),
        }
    }
}
