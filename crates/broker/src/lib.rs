//! Hearthkey's front door: MQTT 3.1.1 and 5 over mutual TLS.
//!
//! The broker carries messages and enforces what others decided. It reads the live
//! [`Access`](hearthkey_core::access::Access) on every connect, publish and subscribe, and tells
//! the gateway what happened through [`Events`]. It signs nothing, stores nothing and decides
//! nothing: no key, no SQL and no clock is in here (the time is `Config::now`).
//!
//! | part | module |
//! | --- | --- |
//! | bounds before TLS, TLS, the first packet | `gate`, `accept`, `connect`, `connack` |
//! | a device's session, a claim's private room | `device`, `claim`, `policy`, `hook` |
//! | the bytes between client and library | `stream`, `egress`, `wire` |
//! | answers to requests | `reply` |
//! | what survives a restart | `ledger`, `snapshot`, `restore`, `state` |
//!
//! The protocol engine is the `mqtt5` library, pinned; none of its types leaves this crate. It is
//! given no listener: every byte it sees has passed this door, and every byte it sends passes
//! `egress`, which takes out what it adds and MQTT does not want.
//!
//! Invariants:
//! - A session is registered, *then* admitted once more, *then* served. With the gateway's rule
//!   "swap the access, then drop the sessions", no revoked certificate keeps a session.
//! - Dropping a session shuts its socket down in the caller's thread. It waits for nobody.
//! - A claim's connection lives in a router of its own: no topic of the home exists there.
//! - Claim secrets are cut out of CONNECT before the library sees it.
//! - Payloads and secrets are never logged.
//! - Every queue, payload and wait has a bound in [`Limits`], where its behavior is stated.

pub mod client_hello;
mod edge;
mod engine;
mod event;
mod gate;
mod limits;
pub mod protocol;
mod state;

pub use edge::{
    Broker, Config, Counters, Delivered, Dropped, PublishError, Rechecked, Reply, SessionInfo,
    StartError, certificate_refused,
};
pub use event::{Bound, ClaimAnswer, Event, Events, Refusal, Request, SessionEnd, Who};
pub use gate::{Gate, Mark, Place, Places, origin};
pub use limits::Limits;
pub use state::{StateChange, StateChanges, StateKind, StateRow};
