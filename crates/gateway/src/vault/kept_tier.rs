//! What a bridge has made keeps its tier when the bridge goes.

use hearthkey_core::bridge::Bridge;
use hearthkey_core::credential::Tier;
use hearthkey_store::change::Change;
use hearthkey_store::vault_change::VaultWrite;

/// Adds that what a bridge has made keeps the tier of the authority by which the bridge is asked no more.
pub(super) fn keep_tier(change: Change, bridge: &Bridge, tier: Option<Tier>) -> Change {
    let Some(tier) = tier else { return change };
    let (name, environment) = (bridge.name.clone(), bridge.environment.clone());
    change.vault(VaultWrite::KeepTier(name, environment, tier))
}
