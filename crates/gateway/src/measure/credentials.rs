//! A vault that is full, made through the store's own writes: some of what it holds is due, has
//! expired, or is in two places.

use hearthkey_core::credential::{
    Credential, CredentialId, CredentialName, Custody, Kind, Origin, Provenance, State, Tier,
};
use hearthkey_core::rotation::RotationPolicy;
use hearthkey_core::secret::Secret;
use hearthkey_core::time::Timestamp;
use hearthkey_store::change::Change;
use hearthkey_store::keys::random;
use hearthkey_store::vault_change::VaultWrite;

use super::{BATCH, Issuance, MeasureError};

/// Credentials of one bridge.
const KEYS_PER_BRIDGE: usize = 100;
/// One in so many is due for rotation, and one has expired.
const ONE_IN: usize = 100;
/// One in so many holds the value of another.
const ONE_SHARED_IN: usize = 200;
/// Their order in the database is not that of their names: steps of a prime length, beyond every count.
const STEP: u64 = 2_147_483_647;

/// The name of the n-th credential.
pub fn credential_name(n: usize) -> String {
    format!(
        "bridge-{:03}/key-{:02}",
        n / KEYS_PER_BRIDGE,
        n % KEYS_PER_BRIDGE
    )
}

/// Whether the n-th credential has expired, so that its value is not given out.
pub fn has_expired(n: usize) -> bool {
    n % ONE_IN == 2
}

impl Issuance {
    /// Stores `count` credentials with a value each, in the environment `home`.
    pub async fn add_credentials(&self, count: usize) -> Result<(), MeasureError> {
        let missing = || MeasureError::Missing("room for such a credential");
        let value = |n: usize| {
            let text = hearthkey_core::id::hex(random::<32>().as_slice());
            Secret::new(text.into_bytes().into()).map_err(|_| MeasureError::Refused(n.to_string()))
        };
        let now = self.home.ctx.now();
        let actor = hearthkey_core::audit::Actor::gateway();
        let mut change = Change::default();
        let mut before = value(0)?;
        for n in (0..count as u64).map(|n| (n * STEP % count as u64) as usize) {
            let name: CredentialName = credential_name(n).parse().map_err(|_| missing())?;
            let environment = "home".parse().map_err(|_| missing())?;
            let id = CredentialId { environment, name };
            let value = match n % ONE_SHARED_IN {
                0 => before,
                _ => value(n)?,
            };
            let version = self
                .home
                .vault
                .new_version(&id, 1, &value, &actor.name, now);
            let version =
                version.map_err(|failure| MeasureError::Refused(failure.0.to_string()))?;
            change = change
                .vault(VaultWrite::Add(credential(id.clone(), n, now)))
                .vault(VaultWrite::Version(id, version));
            before = value;
            if change.writes.len() >= BATCH {
                self.home.ctx.commit(std::mem::take(&mut change)).await?;
            }
        }
        self.home.ctx.commit(change).await?;
        Ok(())
    }
}

fn credential(id: CredentialId, n: usize, now: Timestamp) -> Credential {
    let kinds = [Kind::Password, Kind::ApiToken, Kind::ApiKey, Kind::Other];
    let room = n % 37;
    Credential {
        id,
        kind: kinds[n % kinds.len()],
        owner: format!("person-{}", n % 20),
        purpose: format!("reads the sensors of room {room}"),
        tier: if n.is_multiple_of(10) {
            Tier::High
        } else {
            Tier::Standard
        },
        custody: Custody::Vault,
        location: None,
        provenance: Provenance {
            origin: Origin::Entered,
            source: None,
            by: "bench".into(),
            address: None,
            at: now,
        },
        state: State::Active,
        rotation: RotationPolicy {
            max_age_ms: (n % ONE_IN == 1).then_some(1),
            ..RotationPolicy::default()
        },
        used_by: vec!["home-assistant".into(), format!("panel-{room}")],
        scopes: vec!["sensors:read".into()],
        expires_at: has_expired(n).then_some(now),
    }
}
