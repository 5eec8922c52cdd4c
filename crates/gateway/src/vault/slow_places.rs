//! Places for leases that wait for a bridge.

use std::sync::Arc;

use hearthkey_core::credential::CredentialId;

use crate::state::shares::{Share, Shares};
use crate::vault::bridge_places::BridgePlaces;

/// Of them, those of one caller, so that others can lease, too.
pub(super) const SLOW_PER_CALLER_MAX: usize = 4;
/// Leases over the network that may wait for a bridge at a time: fewer than are served, so that other requests still are.
pub(super) const SLOW_MAX: usize = 32;
/// The places for leases that wait for a bridge.
pub(crate) struct SlowPlaces {
    callers: Arc<Shares>,
    bridges: BridgePlaces,
}

impl Default for SlowPlaces {
    fn default() -> Self {
        Self {
            callers: Shares::new(SLOW_MAX, SLOW_PER_CALLER_MAX),
            bridges: BridgePlaces::new(SLOW_MAX),
        }
    }
}

impl SlowPlaces {
    pub(super) fn enter(&self, caller: String, id: &CredentialId) -> Option<(Share, [Share; 2])> {
        let of_caller = self.callers.enter(caller)?;
        let at_bridge = self.bridges.enter(&id.environment, id.name.bridge())?;
        Some((of_caller, at_bridge))
    }
}
