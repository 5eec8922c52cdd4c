//! Somebody without a certificate shows a claim and its secret at the door.

use std::net::SocketAddr;

use hearthkey_broker::ClaimAnswer;
use hearthkey_core::audit::{Actor, Entry, Outcome};
use hearthkey_core::claim::{Presented, present};
use hearthkey_core::id::ClaimId;
use hearthkey_store::change::{Change, Write};

use crate::home::Home;

impl Home {
    /// Judges a claim's secret. A wrong one is counted before the answer goes out, so that five
    /// tries are five however fast they come.
    pub(crate) async fn present(
        &self,
        id: &ClaimId,
        secret: &[u8],
        address: SocketAddr,
    ) -> ClaimAnswer {
        let claim = match self.store.read(|registry| registry.claim(id)) {
            Ok(claim) => claim,
            Err(error) => {
                tracing::error!(%error, "a claim could not be read");
                return ClaimAnswer::Unavailable;
            }
        };
        let Some(found) = claim else {
            return ClaimAnswer::Refused;
        };
        let _turn = self.turns.of(&found.device).await;
        let claim = self
            .store
            .read(|registry| registry.claim(id))
            .unwrap_or_default();
        let now = self.now();
        let locks = match present(claim.as_ref(), secret, now) {
            Presented::Right => return ClaimAnswer::Admitted,
            Presented::Unknown => return ClaimAnswer::Refused,
            Presented::Wrong { locks } => locks,
        };
        let actor = Actor {
            name: format!("claim:{id}"),
            role: "claim".into(),
            session: None,
            address: Some(address.to_string()),
        };
        let outcome = if locks {
            Outcome::Alert
        } else {
            Outcome::Refused
        };
        let reason = if locks {
            "claim_locked"
        } else {
            "wrong_secret"
        };
        let change = Change::record(
            Entry::new(now, actor, "claim.present", format!("claim:{id}"))
                .ended(outcome, reason)
                .with("device", found.device.as_str()),
        )
        .write(Write::WrongSecret {
            claim: id.clone(),
            locks,
        });
        match self.commit(change).await {
            Ok(_) => ClaimAnswer::Refused,
            Err(_) => ClaimAnswer::Unavailable,
        }
    }
}
