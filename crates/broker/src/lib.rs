//! Hearthkey's MQTT listener: MQTT 3.1.1 and 5 over mutual TLS.
//!
//! The broker carries messages and enforces what others decided. It reads the live
//! [`Access`](hearthkey_core::access::Access) on every connect and whenever that has changed, and tells the gateway what
//! happened through [`Events`]. It signs nothing and stores nothing: no key, no SQL and no clock of the day is in here
//! (the time is `Config::now`).
//!
//! | part | module |
//! | --- | --- |
//! | places before TLS, and who gives way | `gate` |
//! | what a ClientHello says and rustls does not pass on | [`client_hello`] |
//! | bytes to packets, packets to bytes, every rule about them | [`protocol`] |
//! | sessions, subscriptions, queues, retained messages and wills, as plain values | `engine` |
//! | sockets, TLS, deadlines, one task for each connection; the handle of the gateway | `edge` |
//! | what is reported to the gateway, and what it keeps for the next run | `event`, `state` |
//! | every bound | `limits` |
//!
//! `protocol` imports neither, `engine` imports `protocol`, `edge` imports both. Neither of the first two has a socket, a task
//! or a clock.
//!
//! Invariants:
//! - A session is registered, *then* admitted once more, *then* served. With the gateway's rule "change the access, then
//!   drop the sessions", no revoked certificate keeps a session.
//! - Nothing is taken from a session or given to it while the access has changed since it was judged.
//! - Dropping a session shuts its socket down in the caller's thread. It waits for no connection.
//! - A claim's connection lives in an engine of its own: no topic of the home exists there.
//! - Claim secrets are wiped from the buffer they were read into and stand in no session.
//! - Nobody who publishes waits for somebody who subscribes.
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

/// For the fuzzer alone: acts of clients, of the gateway and of the clock upon an engine.
#[cfg(fuzzing)]
pub use engine::fuzzed::run as fuzz_engine;

pub use edge::{
    Broker, Config, Counters, Delivered, Dropped, PublishError, Rechecked, Reply, SessionInfo,
    StartError, certificate_refused,
};
pub use event::{Bound, ClaimAnswer, Event, Events, Refusal, Request, SessionEnd, Who};
pub use gate::{Gate, Mark, Place, Places, origin};
pub use limits::Limits;
pub use state::{StateChange, StateChanges, StateKind, StateRow};
