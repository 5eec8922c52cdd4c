//! Leases: hand-outs that end by themselves, listed, and ended by whoever gave or holds them.

use hearthkey_api::{LeaseList, LeaseRequest, Leased, SecretValue};
use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::credential::{Action, CredentialId, checked_text};
use hearthkey_core::lease::{self, Lease};
use hearthkey_core::time::Timestamp;
use hearthkey_store::CommitError;
use hearthkey_store::change::Change;
use hearthkey_store::vault_change::VaultWrite;
use zeroize::Zeroizing;

use crate::caller::Caller;
use crate::home::Home;
use crate::problem::Failure;
use crate::vault::credentials::object;
use crate::vault::views;

/// Leases that are listed at most.
const LISTED_MAX: u32 = 1000;
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
        let lease = Lease {
            id: lease::id_from_random(*hearthkey_store::keys::random::<8>()),
            credential: id.clone(),
            version: opened.sealed.version,
            holder: actor.name.clone(),
            address: actor.address.clone(),
            issued_at: now,
            expires_at: now.after(lifetime),
            child: false,
            remote_id: None,
            ended_at: None,
            ended_by: None,
            note: Some(VALUE_LENT.into()),
        };
        let mut entry = Entry::new(now, actor.clone(), "credential.lease", object(id))
            .with("lease", lease.id.clone())
            .with("version", lease.version)
            .with("child", lease.child)
            .with("expires_at", lease.expires_at.to_string());
        entry.reason = reason;
        let change = Change::record(entry).vault(VaultWrite::Lease(lease.clone(), None));
        let change = self.used(change, &opened, &actor, now);
        self.commit(self.noticing(change, &actor, 1, now)).await?;
        Ok(Leased {
            lease: views::lease(&lease),
            value: SecretValue::new(Zeroizing::new(opened.value.expose().to_vec())),
        })
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
        if found.ended_at.is_some() {
            return Ok(views::lease(&found));
        }
        let now = self.now();
        match self.commit(ending(&found, &actor, now)).await {
            // Its time came at the same moment.
            Ok(_) | Err(CommitError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
        let ended = self.store.read(|registry| registry.lease(lease))?;
        Ok(views::lease(ended.as_ref().unwrap_or(&found)))
    }

    /// Ends the leases whose time has come.
    pub(crate) async fn end_due_leases(&self, now: Timestamp) {
        let leases = match self.store.read(|registry| registry.leases(LISTED_MAX)) {
            Ok(leases) => leases,
            Err(error) => return tracing::error!(%error, "the leases could not be read"),
        };
        for lease in leases.iter().take_while(|lease| lease.expires_at <= now) {
            match self.commit(ending(lease, &Actor::gateway(), now)).await {
                Ok(_) | Err(CommitError::Conflict) => {}
                Err(error) => return tracing::warn!(%error, "a lease could not be ended yet"),
            }
        }
    }
}

fn ending(lease: &Lease, actor: &Actor, now: Timestamp) -> Change {
    let entry = Entry::new(now, actor.clone(), "lease.end", object(&lease.credential))
        .with("lease", lease.id.clone())
        .with("holder", lease.holder.clone());
    Change::record(entry).vault(VaultWrite::EndLease {
        lease: lease.id.clone(),
        environment: lease.credential.environment.clone(),
        at: now,
        by: actor.name.clone(),
        note: None,
    })
}
