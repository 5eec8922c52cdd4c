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

mod event;
mod gate;
mod limits;
mod state;

// The engine of our own, behind the feature `own-engine`.
#[cfg(any(test, feature = "own-engine"))]
pub mod client_hello;
#[cfg(feature = "own-engine")]
mod edge;
#[cfg(feature = "own-engine")]
mod engine;
#[cfg(any(test, feature = "own-engine"))]
pub mod protocol;

// The library, until the engine has taken its place.
#[cfg(not(feature = "own-engine"))]
mod accept;
#[cfg(not(feature = "own-engine"))]
mod broker;
#[cfg(not(feature = "own-engine"))]
mod claim;
#[cfg(not(feature = "own-engine"))]
mod connack;
#[cfg(not(feature = "own-engine"))]
mod connect;
#[cfg(not(feature = "own-engine"))]
mod device;
#[cfg(not(feature = "own-engine"))]
mod egress;
#[cfg(not(feature = "own-engine"))]
mod hook;
#[cfg(not(feature = "own-engine"))]
mod ledger;
#[cfg(not(feature = "own-engine"))]
mod library;
#[cfg(not(feature = "own-engine"))]
mod policy;
#[cfg(not(feature = "own-engine"))]
mod queue_rows;
#[cfg(not(feature = "own-engine"))]
mod reply;
#[cfg(not(feature = "own-engine"))]
mod restore;
#[cfg(not(feature = "own-engine"))]
mod sessions;
#[cfg(not(feature = "own-engine"))]
mod snapshot;
#[cfg(not(feature = "own-engine"))]
mod stream;
#[cfg(not(feature = "own-engine"))]
mod wire;

#[cfg(not(feature = "own-engine"))]
pub use accept::certificate_refused;
#[cfg(not(feature = "own-engine"))]
pub use broker::{Broker, Config, Counters, PublishError, Rechecked, StartError};
#[cfg(feature = "own-engine")]
pub use edge::{
    Broker, Config, Counters, Delivered, Dropped, PublishError, Rechecked, Reply, SessionInfo,
    StartError, certificate_refused,
};
pub use event::{Bound, ClaimAnswer, Event, Events, Refusal, Request, SessionEnd, Who};
pub use gate::{Gate, Mark, Place, Places, origin};
pub use limits::Limits;
#[cfg(not(feature = "own-engine"))]
pub use reply::{Delivered, Reply};
#[cfg(not(feature = "own-engine"))]
pub use sessions::{Dropped, SessionInfo};
pub use state::{StateChange, StateChanges, StateKind, StateRow};
