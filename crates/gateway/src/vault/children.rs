//! Children: values that a bridge makes for one lease, and that end with it.
//!
//! The lease is on record before its child is asked for, so that a child that is not recorded cannot be left
//! behind: a lease without a known child is one whose answer was lost, and its child is taken back by its label.

use crate::vault::child_left::ChildLeft;
use hearthkey_bridges::{BridgeError, Held, MintOrder, Minted, Progress, Revoked};
use hearthkey_core::audit::Actor;
use hearthkey_core::lease::{LIFETIME_MIN, Lease};
use hearthkey_core::secret::Secret;
use hearthkey_core::time::Span;
use hearthkey_store::CommitError;
use hearthkey_store::change::Change;
use hearthkey_store::vault::{CredentialPlace, SealedSecret};
use hearthkey_store::vault_change::VaultWrite;

use crate::state::failure::Failure;
use crate::state::locked;
use crate::vault::Vault;
use crate::vault::bridges::Connected;
use crate::vault::leases::{Row, row_of};

const GONE: &str = "its bridge is no longer connected";

/// While this lives, the child of a lease is being made, and nobody else looks for it.
pub(crate) struct Lending<'a> {
    home: &'a Vault,
    lease: String,
}

impl Drop for Lending<'_> {
    fn drop(&mut self) {
        locked(&self.home.lending).remove(&self.lease);
    }
}

impl Vault {
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
        let Err(failure) = self.keep_child(lease, &minted).await else {
            return Ok(minted);
        };
        // It is not kept, so it must not go on working.
        let child = ChildLeft {
            lease: lease.clone(),
            held: Held {
                value: minted.value,
                remote_id: minted.remote_id,
            },
            left: None,
        };
        self.settle_child(child, lending).await;
        Err(failure)
    }

    async fn keep_child(&self, lease: &Lease, minted: &Minted) -> Result<(), Failure> {
        let write = VaultWrite::LeaseChild {
            lease: lease.id.clone(),
            environment: lease.credential.environment.clone(),
            remote_id: minted.remote_id.clone(),
            sealed: self.sealed_child(lease, &minted.value)?,
            at: self.ctx.now(),
        };
        match self.ctx.commit(Change::default().vault(write)).await {
            Ok(_) => Ok(()),
            Err(CommitError::Conflict) => Err(Failure::refused(
                &"the lease was ended while the bridge made its value",
                "Take a new lease if you still need it.",
            )),
            Err(error) => Err(error.into()),
        }
    }

    fn child_label(&self, lease: &Lease) -> String {
        format!(
            "hearthkey {} {} {}",
            self.ctx.id(),
            lease.credential,
            lease.id
        )
    }

    fn child_order(&self, lease: &Lease, lifetime: Span, lent: Option<Held>) -> MintOrder {
        MintOrder {
            label: self.child_label(lease),
            lifetime: Some(lifetime),
            scopes: Vec::new(),
            replaces: lent,
        }
    }

    fn sealed_child(&self, lease: &Lease, value: &Secret) -> Result<SealedSecret, Failure> {
        let environment = &lease.credential.environment;
        let epoch = self
            .ctx
            .store()
            .read(|registry| registry.kek_epoch(environment))?;
        let place = CredentialPlace::of_lease(environment, &lease.id);
        Ok(self
            .ctx
            .store()
            .vault()
            .seal_credential(&place, epoch.unwrap_or(1), value))
    }

    /// Ends a lease for which the bridge made no child, or none that is known.
    async fn no_child(&self, lease: &Lease, error: &BridgeError, lending: Lending<'_>) {
        let (by, now) = (Actor::gateway(), self.ctx.now());
        let ended = if error.may_have_been_done() {
            // From here on it is looked for.
            drop(lending);
            self.finish_lease(lease, &by, now).await
        } else {
            self.close_lease(lease, &by, now, None).await
        };
        if let Err(failure) = ended {
            let why = failure.0.detail;
            tracing::warn!(lease = lease.id, why, "a lease without a value continues");
        }
    }

    /// Whether the child of a lease is being made, or being ended because it could not be kept.
    pub(crate) fn is_being_made(&self, lease: &str) -> bool {
        let left = locked(&self.children_left);
        left.iter().any(|child| child.lease.id == lease) || locked(&self.lending).contains(lease)
    }

    /// Where there are children that could not be kept.
    pub(super) fn rows_of_children_left(&self) -> Vec<Row> {
        let left = locked(&self.children_left);
        left.iter().map(|child| row_of(&child.lease)).collect()
    }

    /// Ends the children of one bridge that could not be kept, and writes down what is left of them.
    pub(super) async fn settle_children(&self, row: &Row) {
        let its: Vec<_> = {
            let mut left = locked(&self.children_left);
            let all = std::mem::take(&mut *left).into_iter();
            let (its, others): (Vec<_>, _) = all.partition(|child| row_of(&child.lease) == *row);
            *left = others;
            its.into_iter()
                .map(|child| (self.lending(&child.lease), child))
                .collect()
        };
        for (lending, child) in its {
            self.settle_child(child, lending).await;
        }
    }

    /// Ends a child that could not be kept, once, and its lease with it. What the storage does not take is tried again.
    async fn settle_child(&self, mut child: ChildLeft, lending: Lending<'_>) {
        let left = match child.left.take() {
            Some(left) => left,
            None => self.end_held(&child.lease, &child.held).await,
        };
        let (by, now) = (Actor::gateway(), self.ctx.now());
        let closed = self.close_lease(&child.lease, &by, now, left.clone()).await;
        if let Err(failure) = closed {
            let (lease, why) = (&child.lease.id, failure.0.detail);
            tracing::warn!(
                lease,
                why,
                "the outcome of a lease's own value is not stored yet"
            );
            child.left = Some(left);
            locked(&self.children_left).push(child);
        }
        drop(lending);
    }

    async fn end_held(&self, lease: &Lease, held: &Held) -> Option<String> {
        let ended = match self.bridge_of(&lease.credential) {
            Ok(Some(bridge)) => revoked(&bridge, held).await,
            Ok(None) => Ok(Some(format!("a lease's own value still works: {GONE}"))),
            Err(failure) => Err(failure),
        };
        ended.unwrap_or_else(|failure| {
            let remote = held.remote_id.as_deref().unwrap_or("without an id");
            Some(format!(
                "its id at the bridge is {remote:?}. {}",
                failure.0.detail
            ))
        })
    }

    /// Ends the child of a lease at the bridge; gives what is left to do by hand.
    pub(crate) async fn end_child(&self, lease: &Lease) -> Result<Option<String>, Failure> {
        if self.is_being_made(&lease.id) {
            // The task that creates it takes it back when it sees that the lease has ended, and reports it. A gateway that is
            // killed before leaves this.
            let label = self.child_label(lease);
            return Ok(Some(format!(
                "its bridge was creating a value named {label:?}"
            )));
        }
        let environment = &lease.credential.environment;
        let place = CredentialPlace::of_lease(environment, &lease.id);
        let Some(sealed) = self
            .ctx
            .store()
            .read(|registry| registry.sealed_at(&place))?
        else {
            return self.take_back(lease).await;
        };
        let value = self.ctx.store().vault().open_credential(&place, &sealed);
        let held = Held {
            value: value.map_err(|error| Failure::unopened(&error))?,
            remote_id: lease.remote_id.clone(),
        };
        match self.bridge_of(&lease.credential)? {
            None => Ok(Some(format!("its own value still works: {GONE}"))),
            Some(bridge) => revoked(&bridge, &held).await,
        }
    }

    /// Ends a child whose answer was lost. Who orders under its label again ends what was made before, and what
    /// comes of that is ended at once.
    async fn take_back(&self, lease: &Lease) -> Result<Option<String>, Failure> {
        let lent = self
            .ctx
            .store()
            .read(|registry| registry.sealed_value(&lease.credential, Some(lease.version)))?;
        let lent = lent
            .map(|sealed| self.held(&lease.credential, &sealed))
            .transpose()?;
        let order = self.child_order(lease, LIFETIME_MIN, lent);
        let Some(bridge) = self.bridge_of(&lease.credential)? else {
            let label = order.label;
            return Ok(Some(format!("a child {label:?} may work: {GONE}")));
        };
        if !bridge.abilities.ends_lost {
            let label = order.label;
            return Ok(Some(format!(
                "the bridge may have a value named {label:?}, whose response was lost"
            )));
        }
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
