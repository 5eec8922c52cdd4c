//! A bridge is disconnected: it is not asked any more, and written down then, see [`crate::endings`].

use std::sync::Arc;

use axum::http::StatusCode;
use hearthkey_api as api;
use hearthkey_api::code;
use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::bridge::Bridge;
use hearthkey_store::change::Change;
use hearthkey_store::registry::{ReadError, Registry};
use hearthkey_store::vault_change::VaultWrite;

use crate::endings::End;
use crate::home::Home;
use crate::problem::Failure;
use crate::vault::bridges::bridge_object;
use crate::vault::credentials::object;

impl Home {
    /// Disconnects a bridge, and retires its credentials with it if that was asked for.
    pub(crate) async fn disconnect_bridge(
        self: &Arc<Self>,
        actor: Actor,
        environment: &str,
        name: &str,
        retire: bool,
    ) -> Result<api::Disconnected, Failure> {
        let bridge = self.known_bridge(environment, name)?;
        let children = self
            .store
            .read(|registry| registry.children_at(name, &bridge.environment))?;
        if children > 0 && !retire {
            return Err(Failure::refused(
                &format!("{children} of its values are lent, and only {name} can end them"),
                "End them first (see `hearthkey credential leases`, `hearthkey credential end-lease`), or add --retire.",
            ));
        }
        let mut its = self
            .credentials_of_bridge(name, &bridge.environment)?
            .into_iter();
        if its.any(|known| self.endings.is_pending(&object(&known.credential.id))) {
            return Err(still_needed(&bridge));
        }
        let mut retired = Vec::new();
        if retire {
            let request = api::RetireRequest {
                reason: Some(format!("the bridge {name} is disconnected")),
                ..api::RetireRequest::default()
            };
            let authority = bridge.authority.as_ref();
            let credentials = self.credentials_of_bridge(name, &bridge.environment)?;
            let ids = credentials.into_iter().map(|known| known.credential.id);
            let (last, others): (Vec<_>, Vec<_>) = ids.partition(|id| Some(&id.name) == authority);
            // The one by which the others are ended at the bridge comes last.
            for ids in [others, last] {
                let ended = self.retire_all(&actor, ids.into_iter(), &request).await?;
                if ended.iter().any(|ended| !ended.durable) {
                    return Err(still_needed(&bridge));
                }
                retired.extend(ended);
            }
        }
        let entry = Entry::new(
            self.now(),
            actor,
            "bridge.disconnect",
            bridge_object(&bridge),
        )
        .with("retired", retired.len());
        let name = bridge.name.clone();
        let ending = self.endings.begin(BridgeEnd { bridge, entry });
        Ok(api::Disconnected {
            name,
            durable: ending.durable_in_time().await,
            retired,
        })
    }
}

/// For a bridge whose credentials are out of use in memory only: it alone can end their values, once the disk takes that.
fn still_needed(bridge: &Bridge) -> Failure {
    Failure::new(
        StatusCode::SERVICE_UNAVAILABLE,
        code::STORAGE,
        "Its credentials are out of use, and that is not on the disk yet.",
        format!(
            "Nothing of them is given out any more. {} stays connected until their values are ended there.",
            bridge.name
        ),
        "Free or mend the disk, and disconnect it again; no restart is needed.",
    )
}

/// A bridge that is disconnected.
struct BridgeEnd {
    bridge: Bridge,
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
        Change::record(self.entry.clone()).vault(VaultWrite::Disconnect(name, environment))
    }

    fn holds(&self, registry: &Registry<'_>) -> Result<bool, ReadError> {
        let known = registry.bridge(&self.bridge.name, &self.bridge.environment)?;
        Ok(known.is_none())
    }
}
