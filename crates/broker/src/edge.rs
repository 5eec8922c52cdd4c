//! The edge of the MQTT listener: sockets, TLS, deadlines, one task for each connection.
//!
//! | part | module |
//! | --- | --- |
//! | the handle of the gateway, and what all tasks share | `broker`, `shared` |
//! | the engine behind its lock | `hall` |
//! | from a TCP connection to a client that has said CONNECT | `accept`, `arrived`, `socket`, `hello` |
//! | a device's connection, a claim's | `device`, `claim`, `connection`, `farewell` |
//! | who is in, and how to end it from any thread | `sessions` |
//! | requests and their answers | `requests`, `reply` |
//! | the passing of time, what is written down, memory that is given back | `keeper`, `wills`, `memory` |
//!
//! The lock of the access and the lock of an engine are never held at the same time, and neither across a wait.

mod accept;
mod arrived;
mod broker;
mod claim;
mod connection;
mod device;
mod farewell;
mod hall;
mod handshake;
mod hello;
mod keeper;
mod memory;
mod reply;
mod requests;
mod sessions;
mod shared;
mod short_records;
mod socket;
mod will_words;

pub use accept::certificate_refused;
pub use broker::{Broker, Config, Counters, PublishError, Rechecked, StartError};
pub use reply::{Delivered, Reply};
pub use sessions::{Dropped, SessionInfo};
