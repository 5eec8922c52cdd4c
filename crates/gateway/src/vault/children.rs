//! Children: values that a bridge makes for one lease, and that end with it.
//!
//! The lease is on record before its child is asked for, so that a child that nobody knows of cannot be left
//! behind: a lease without a known child is one whose answer was lost, and its child is taken back by its label.

use hearthkey_bridges::{BridgeError, Held, MintOrder, Minted, Progress, Revoked};
use hearthkey_core::audit::Actor;
use hearthkey_core::lease::{LIFETIME_MIN, Lease};
use hearthkey_core::secret::Secret;
use hearthkey_core::time::Span;
use hearthkey_store::CommitError;
use hearthkey_store::change::Change;
use hearthkey_store::vault::{CredentialPlace, SealedSecret};
use hearthkey_store::vault_change::VaultWrite;

use crate::home::{Home, locked};
use crate::problem::Failure;
use crate::vault::bridges::Connected;

const GONE: &str = "its bridge is not connected any more";

/// While this lives, the child of a lease is being made, and nobody else looks for it.
pub(crate) struct Lending<'a> {
    home: &'a Home,
    lease: String,
}

impl Drop for Lending<'_> {
    fn drop(&mut self) {
        locked(&self.home.lending).remove(&self.lease);
    }
}

impl Home {
    /// Says that the child of a lease is being made.
    pub(crate) fn lending(&self, lease: &Lease) -> Lending<'_> {
        locked(&self.lending).insert(lease.id.clone());
        Lending {
            home: self,
            lease: lease.id.clone(),
        }
    }

    /// Has the bridge make the child of a lease that is on record: of the rights of the value that is lent, and
    /// with the life of the lease.
    pub(crate) async fn make_child(
        &self,
        bridge: &Connected,
        lease: &Lease,
        lent: Held,
        lending: Lending<'_>,
    ) -> Result<Minted, Failure> {
        let lifetime = lease.expires_at.since(lease.issued_at);
        let order = self.child_order(lease, lifetime, Some(lent));
        let minted = bridge.connector.mint(&order, &Progress::ignored()).await;
        let minted = match minted {
            Ok(minted) => minted,
            Err(error) => {
                self.no_child(lease, &error, lending).await;
                return Err(Failure::bridge(&error));
            }
        };
        let write = VaultWrite::LeaseChild {
            lease: lease.id.clone(),
            environment: lease.credential.environment.clone(),
            remote_id: minted.remote_id.clone(),
            sealed: self.sealed_child(lease, &minted.value)?,
            at: self.now(),
        };
        let Err(error) = self.commit(Change::default().vault(write)).await else {
            return Ok(minted);
        };
        // It is not kept, so it must not go on working.
        let held = Held {
            value: minted.value,
            remote_id: minted.remote_id,
        };
        let ended = bridge.connector.revoke(&held).await;
        tracing::warn!(?ended, lease = lease.id, "a child was taken back");
        match error {
            CommitError::Conflict => Err(Failure::refused(
                &"the lease was ended while the bridge made its value",
                "Ask for another one, if you may.",
            )),
            error => Err(error.into()),
        }
    }

    fn child_order(&self, lease: &Lease, lifetime: Span, lent: Option<Held>) -> MintOrder {
        MintOrder {
            label: format!("hearthkey {} {} {}", self.id, lease.credential, lease.id),
            lifetime: Some(lifetime),
            scopes: Vec::new(),
            replaces: lent,
        }
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

    /// Ends a lease for which the bridge made no child, or none that is known.
    async fn no_child(&self, lease: &Lease, error: &BridgeError, lending: Lending<'_>) {
        if error.may_have_been_done() {
            // From here on it is looked for.
            drop(lending);
        }
        let ended = self
            .finish_lease(lease, &Actor::gateway(), self.now())
            .await;
        if let Err(failure) = ended {
            let why = failure.0.detail;
            tracing::warn!(lease = lease.id, why, "a lease without a value lasts on");
        }
    }

    /// Ends the child of a lease at the bridge; gives what is left to do by hand.
    pub(crate) async fn end_child(&self, lease: &Lease) -> Result<Option<String>, Failure> {
        if locked(&self.lending).contains(&lease.id) {
            // Whoever is making it takes it back when it sees that the lease has ended.
            return Ok(None);
        }
        let environment = &lease.credential.environment;
        let place = CredentialPlace::of_lease(environment, &lease.id);
        let Some(sealed) = self.store.read(|registry| registry.sealed_at(&place))? else {
            return self.take_back(lease).await;
        };
        let value = self.store.vault().open_credential(&place, &sealed);
        let held = Held {
            value: value.map_err(|error| Failure::unopened(&error))?,
            remote_id: lease.remote_id.clone(),
        };
        match self.bridge_of(&lease.credential)? {
            None => Ok(Some(format!("the child works on: {GONE}"))),
            Some(bridge) => revoked(&bridge, &held).await,
        }
    }

    /// Ends a child whose answer was lost. Who orders under its label again ends what was made before, and what
    /// comes of that is ended at once.
    async fn take_back(&self, lease: &Lease) -> Result<Option<String>, Failure> {
        let lent = self
            .store
            .read(|registry| registry.sealed_value(&lease.credential, Some(lease.version)))?;
        let lent = lent
            .map(|sealed| self.held(&lease.credential, &sealed))
            .transpose()?;
        let order = self.child_order(lease, LIFETIME_MIN, lent);
        let Some(bridge) = self.bridge_of(&lease.credential)? else {
            let label = order.label;
            return Ok(Some(format!("a child {label:?} may work: {GONE}")));
        };
        let minted = bridge.connector.mint(&order, &Progress::ignored()).await;
        let minted = minted.map_err(|error| Failure::bridge(&error))?;
        let held = Held {
            value: minted.value,
            remote_id: minted.remote_id,
        };
        revoked(&bridge, &held).await
    }
}

async fn revoked(bridge: &Connected, held: &Held) -> Result<Option<String>, Failure> {
    match bridge.connector.revoke(held).await {
        Ok(Revoked::Gone) => Ok(None),
        Ok(Revoked::ByHand(what)) => Ok(Some(what)),
        Err(error) => Err(Failure::bridge(&error)),
    }
}
