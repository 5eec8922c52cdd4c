//! What comes of what a client has sent: how far it got, what is asked of the gateway, and how it ended.

use crate::protocol::{Disconnect, Message, Violation};

/// How a client's own connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Departure {
    /// It said goodbye.
    Left(Disconnect),
    /// It was lost.
    Lost,
    /// It broke the protocol.
    Violated(Violation),
}

/// How far a connection's packets got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// All were taken.
    All,
    /// Others have their turn; then go on.
    Turn,
    /// Rights have changed: judge the identity again, and then go on.
    Stale,
    /// The client is too fast: it is to be read again at this time.
    Rest(u64),
    /// The connection has lost its session.
    Gone,
    /// The client has ended the connection, or must not go on.
    Over(Departure),
}

/// What the gateway is asked for.
#[derive(Debug)]
pub(crate) enum Asked {
    /// A message that is a request.
    Request { kind: RequestKind, message: Message },
    /// A subscription that gets the device's notice.
    Notice,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestKind {
    Enroll,
    Renew,
    TrustAck,
    Clock,
}

/// What follows from one packet.
pub(super) type Flow = Result<Option<u64>, Departure>;
