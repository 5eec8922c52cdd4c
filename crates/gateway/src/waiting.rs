//! Requests that wait for a person: when their key is approved, the answer goes out to whoever
//! is still on the line.

use std::net::SocketAddr;

use bytes::Bytes;
use hearthkey_broker::Reply;
use hearthkey_core::id::ClaimId;

use crate::enroll::Guest;
use crate::events::send;
use crate::home::{Home, locked};

/// A request that was answered with `approval_required`.
pub(crate) struct Waiting {
    pub(crate) payload: Bytes,
    pub(crate) address: SocketAddr,
    pub(crate) connection: u64,
    pub(crate) reply: Reply,
}

impl Home {
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
        send(&waiting.reply, outcome).await;
    }

    /// Forgets the requests of connections that have ended.
    pub(crate) fn sweep_waiting(&self) {
        locked(&self.waiting).retain(|_, waiting| waiting.reply.is_open());
    }
}
