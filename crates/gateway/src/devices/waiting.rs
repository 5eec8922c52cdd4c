//! A request that waits for a person.

use std::net::SocketAddr;

use bytes::Bytes;
use hearthkey_broker::Reply;

/// A request that is being decided on, or was answered with `approval_required`.
pub(crate) struct Waiting {
    pub(crate) payload: Bytes,
    pub(crate) address: SocketAddr,
    pub(crate) connection: u64,
    pub(crate) reply: Reply,
}
