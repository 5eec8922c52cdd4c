//! Somebody without a certificate shows a claim and its secret at the listener.

use std::net::SocketAddr;
use std::time::Duration;

use hearthkey_broker::ClaimAnswer;
use hearthkey_core::audit::{Actor, Entry, Outcome};
use hearthkey_core::claim::{Presented, present};
use hearthkey_core::id::ClaimId;
use hearthkey_store::change::{Change, Write};

use crate::devices::Devices;

/// How long a refusal takes at least: a wrong secret is written down before it is answered, an unknown claim is not, and
/// the difference would tell which claims there are.
pub(crate) const REFUSED_AFTER: Duration = Duration::from_millis(250);

impl Devices {
    /// Judges a claim's secret. A wrong one is counted before the answer goes out, so that five
    /// tries are five however fast they come.
    pub(crate) async fn present(
        &self,
        id: &ClaimId,
        secret: &[u8],
        address: SocketAddr,
    ) -> ClaimAnswer {
        let device = self
            .ctx
            .access()
            .claim(id)
            .map(|claim| claim.device.clone());
        let Some(device) = device else {
            return ClaimAnswer::Refused;
        };
        let _turn = self.ctx.turns().of(&device).await;
        let claim = self.ctx.access().claim(id).cloned();
        let now = self.ctx.now();
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
                .with("device", device.as_str()),
        )
        .write(Write::WrongSecret {
            claim: id.clone(),
            locks,
        });
        // Whether or not it can be stored: otherwise an attacker who fills the disk can guess without limit.
        self.ctx
            .access_mut()
            .amend_claim(id, |claim| claim.count_wrong_try(locks));
        match self.ctx.commit(change).await {
            Ok(_) => ClaimAnswer::Refused,
            Err(_) => ClaimAnswer::Unavailable,
        }
    }
}
