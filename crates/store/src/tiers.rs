//! The tiers of what bridges have made, once they are asked no more by the authority that made it.

use hearthkey_core::credential::{Origin, Tier, VersionState};
use hearthkey_core::guarded::lower_than;
use hearthkey_core::id::EnvironmentName;
use hearthkey_core::rotation::Step;
use rusqlite::{Transaction, params};

use crate::apply::ApplyError;

/// Gives this tier to the credentials of a bridge that have a lower one, and a value that the bridge made or is making.
pub(crate) fn keep(
    tx: &Transaction<'_>,
    bridge: &str,
    environment: &EnvironmentName,
    tier: Tier,
) -> Result<(), ApplyError> {
    let mut raise = tx.prepare_cached(
        "UPDATE credential SET tier = ?3
         WHERE environment = ?2 AND tier = ?4 AND substr(name, 1, length(?1) + 1) = ?1 || '/'
         AND (EXISTS (SELECT 1 FROM credential_version v
                      WHERE v.credential = credential.id AND v.origin = ?5 AND v.state <> ?6)
              OR EXISTS (SELECT 1 FROM rotation r
                         WHERE r.credential = credential.id AND r.ended_at IS NULL AND r.step = ?7))",
    )?;
    for lower in lower_than(tier) {
        raise.execute(params![
            bridge,
            environment.as_str(),
            tier.as_str(),
            lower.as_str(),
            Origin::Minted.as_str(),
            VersionState::Destroyed.as_str(),
            Step::Mint.as_str(),
        ])?;
    }
    Ok(())
}
