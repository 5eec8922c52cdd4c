//! Rotations that time begins.

use std::sync::Arc;
use std::time::Duration;

use hearthkey_core::audit::Actor;
use hearthkey_core::credential::Tier;
use hearthkey_core::rotation::REST_AFTER_UNDOING;
use hearthkey_core::time::Timestamp;
use hearthkey_store::inventory::KnownCredential;

use crate::state::failure::Failure;
use crate::vault::rotation::begin::{Beginning, NewValue};
use crate::vault::{Vault, views};

/// How often it is looked for what is due.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Begins what is due, as long as the home is open.
pub(crate) async fn begin_what_is_due(home: Arc<Vault>) {
    let mut stopping = home.ctx.stopping().subscribe();
    let beginning = async {
        loop {
            // Nothing is rotated by a clock that is not believed.
            let (now, trusted) = home.ctx.clock().now_and_trust();
            if trusted {
                home.begin_due(now).await;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::select! {
        () = beginning => {}
        _ = stopping.wait_for(|stop| *stop) => {}
    }
}

impl Vault {
    /// Begins the rotation of what is due, where the gateway may.
    pub(in crate::vault) async fn begin_due(&self, now: Timestamp) {
        let rested = now.before(REST_AFTER_UNDOING);
        let automatic = match self.ctx.store().read(|registry| registry.automatic(rested)) {
            Ok(automatic) => automatic,
            Err(error) => return tracing::error!(%error, "the schedules could not be read"),
        };
        for known in automatic {
            let Some(due) = views::due(&known, now).filter(|_| known.rotating.is_none()) else {
                continue;
            };
            // What costs something, or needs a person, stays a finding.
            let Ok(value) = self.value_for(&known, false).await else {
                continue;
            };
            let is_made = matches!(value, NewValue::FromBridge);
            if is_made && !self.may_make_by_itself(&known).is_ok_and(|may| may) {
                continue;
            }
            let beginning = Beginning {
                caller: None,
                reason: format!("due: {due}"),
                overlap: None,
                expires_at: None,
                by_itself: true,
            };
            let id = &known.credential.id;
            let begun = self
                .begin_rotation(Actor::gateway(), id, value, beginning)
                .await;
            if let Err(failure) = begun {
                tracing::warn!(credential = %id, why = failure.0.detail, "a rotation could not begin");
            }
        }
    }

    /// Whether a bridge is asked for a value although nobody asks now: a critical authority makes the first one for a
    /// credential of a lower tier when a person with a second factor says so.
    fn may_make_by_itself(&self, known: &KnownCredential) -> Result<bool, Failure> {
        let authority = self.tier_of_authority(&known.credential.id)?;
        let is_lower = authority == Some(Tier::Critical) && self.tier_of(known)? != Tier::Critical;
        Ok(!is_lower || !self.auth.asks_for_codes()?)
    }
}
