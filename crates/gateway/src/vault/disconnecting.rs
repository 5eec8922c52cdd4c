//! A bridge is disconnected: it is not asked any more, and written down then, see [`crate::state::endings`].

use crate::auth::permit::Permit;
use hearthkey_core::role::Act;
use std::sync::Arc;

use axum::http::StatusCode;
use hearthkey_api as api;
use hearthkey_api::code;
use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::bridge::Bridge;
use hearthkey_core::credential::{CredentialId, Tier};
use hearthkey_store::change::Change;
use hearthkey_store::registry::{ReadError, Registry};
use hearthkey_store::vault_change::VaultWrite;

use crate::state::endings::End;
use crate::state::failure::Failure;
use crate::state::locked;
use crate::vault::Vault;
use crate::vault::bridges::bridge_object;
use crate::vault::credentials::object;
use crate::vault::kept_tier::keep_tier;
use crate::vault::out_of_use::Terms;

impl Vault {
    /// Disconnects a bridge, and retires its credentials with it if that was asked for.
    pub(crate) async fn disconnect_bridge(
        self: &Arc<Self>,
        permit: &Permit,
        environment: &str,
        name: &str,
        retire: bool,
    ) -> Result<api::Disconnected, Failure> {
        let bridge = self.known_bridge(environment, name)?;
        let actor = permit
            .actor_in(Act::BridgeChange, &bridge.environment)?
            .clone();
        let children = self
            .ctx
            .store()
            .read(|registry| registry.children_at(name, &bridge.environment))?;
        if children > 0 && !retire {
            return Err(Failure::refused(
                &format!("{children} of its values are leased, and only {name} can end them"),
                "End them first, or retire its credentials with it. On the command line: `hearthkey credential leases`, `hearthkey credential end-lease`, or add `--retire`.",
            ));
        }
        let mut its = self
            .credentials_of_bridge(name, &bridge.environment)?
            .into_iter();
        if its.any(|known| self.ctx.endings().is_pending(&object(&known.credential.id))) {
            return Err(still_needed(&bridge));
        }
        // Read before its credentials are retired, the authority among them.
        let tier = self.tier_at(&bridge)?;
        let retired = match retire {
            true => self.retire_with(&actor, &bridge).await?,
            false => Vec::new(),
        };
        let entry = Entry::new(
            self.ctx.now(),
            actor,
            "bridge.disconnect",
            bridge_object(&bridge),
        )
        .with("retired", retired.len())
        .with("tier_kept", tier.map(Tier::as_str));
        let name = bridge.name.clone();
        let ending = self.ctx.endings().begin(BridgeEnd {
            bridge,
            tier,
            entry,
        });
        Ok(api::Disconnected {
            name,
            durable: ending.durable_in_time().await,
            retired,
        })
    }

    /// Retires the credentials of a bridge. All of them are out of use at once; the one by which the others are ended at the
    /// bridge serves for that alone, and goes last.
    async fn retire_with(
        self: &Arc<Self>,
        actor: &Actor,
        bridge: &Bridge,
    ) -> Result<Vec<api::Retired>, Failure> {
        let terms = Terms::of(&api::RetireRequest {
            reason: Some(format!("the bridge {} is disconnected", bridge.name)),
            ..api::RetireRequest::default()
        })?;
        let its = bridge.authority.clone();
        let its = its.filter(|name| name.bridge() == bridge.name);
        let authority = its.map(|name| CredentialId {
            environment: bridge.environment.clone(),
            name,
        });
        let credentials = self.credentials_of_bridge(&bridge.name, &bridge.environment)?;
        let ids = credentials.into_iter().map(|known| known.credential.id);
        let others = ids.filter(|id| Some(id) != authority.as_ref());
        locked(&self.last_authorities).extend(authority.clone());
        let others = self.take_all_out_of_use(actor, others, &terms)?;
        // It may be out of use since an earlier try: then it is settled now.
        let last = authority.as_ref();
        let last = last.and_then(|id| self.take_out_of_use(actor, id, &terms).ok());
        let mut retired = self.end_all_that_is_out(actor, others).await?;
        if retired.iter().all(|retired| retired.durable) {
            let last = last.into_iter().collect();
            retired.extend(self.end_all_that_is_out(actor, last).await?);
        }
        if retired.iter().any(|retired| !retired.durable) {
            return Err(still_needed(bridge));
        }
        if let Some(id) = &authority {
            locked(&self.last_authorities).remove(id);
        }
        Ok(retired)
    }
}

/// For a bridge whose credentials are out of use in memory only: it alone can end their values, once the disk takes that.
fn still_needed(bridge: &Bridge) -> Failure {
    Failure::new(
        StatusCode::SERVICE_UNAVAILABLE,
        code::STORAGE,
        "Its credentials are retired, but this is not saved to disk yet.",
        format!(
            "They are no longer given out. {} stays connected until their values are ended there.",
            bridge.name
        ),
        "Free space or repair the disk, and disconnect it again. No restart is needed.",
    )
}

/// A bridge that is disconnected.
struct BridgeEnd {
    bridge: Bridge,
    /// The tier of what it made: that its authority made it is not known any more once it is gone.
    tier: Option<Tier>,
    entry: Entry,
}

impl End for BridgeEnd {
    fn object(&self) -> String {
        self.entry.object.clone()
    }

    fn kind(&self) -> String {
        "disconnect".into()
    }

    fn change(&self) -> Change {
        let Bridge {
            name, environment, ..
        } = self.bridge.clone();
        let change = keep_tier(Change::record(self.entry.clone()), &self.bridge, self.tier);
        change.vault(VaultWrite::Disconnect(name, environment))
    }

    fn holds(&self, registry: &Registry<'_>) -> Result<bool, ReadError> {
        let known = registry.bridge(&self.bridge.name, &self.bridge.environment)?;
        Ok(known.is_none())
    }
}
