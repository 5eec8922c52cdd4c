//! The other end of an HTTPS connection.

use std::net::SocketAddr;

use hearthkey_core::id::Fingerprint;

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    /// Its address.
    pub(crate) address: SocketAddr,
    /// The certificate that it has shown, and whose key it holds. Whether it is still live is for
    /// each request to ask.
    pub(crate) certificate: Option<Fingerprint>,
}
