//! Requests that wait for a person: when their key is approved, the answer is sent to the device that
//! is still on the line.

use crate::devices::waiting::Waiting;

use hearthkey_core::id::ClaimId;

use crate::devices::Devices;
use crate::devices::enroll::Guest;
use crate::devices::issuance::{is_held, send};
use crate::state::locked;

impl Devices {
    /// The claims whose requests wait for an approval.
    pub(crate) fn waiting_claims(&self) -> Vec<ClaimId> {
        locked(&self.waiting).keys().cloned().collect()
    }

    /// Keeps the newest request of a claim for the approval that may come.
    pub(crate) fn wait_for_approval(&self, claim: ClaimId, waiting: Waiting) {
        locked(&self.waiting).insert(claim, waiting);
    }

    /// Decides anew on the request that waits with a claim, and answers it.
    pub(crate) async fn answer_waiting(&self, claim: &ClaimId) {
        let waiting = locked(&self.waiting).remove(claim);
        let Some(waiting) = waiting.filter(|waiting| waiting.reply.is_open()) else {
            return;
        };
        let guest = Guest {
            claim,
            address: waiting.address,
            connection: waiting.connection,
        };
        let outcome = self.enroll(&guest, &waiting.payload, false).await;
        if is_held(&outcome) {
            // Another key than this one was approved.
            return self.wait_for_approval(claim.clone(), waiting);
        }
        send(&waiting.reply, outcome).await;
    }

    /// Forgets the request of a connection that has been answered.
    pub(crate) fn stop_waiting(&self, claim: &ClaimId, connection: u64) {
        let mut all = locked(&self.waiting);
        if all
            .get(claim)
            .is_some_and(|waiting| waiting.connection == connection)
        {
            all.remove(claim);
        }
    }

    /// Forgets the requests of connections that have ended.
    pub(crate) fn sweep_waiting(&self) {
        locked(&self.waiting).retain(|_, waiting| waiting.reply.is_open());
    }
}
