//! Connectors to the systems whose credentials the vault keeps: they verify a value, make a new one, end an old one
//! and say what it may do.
//!
//! [`connect`] gives one [`Connector`] for a [`BridgeKind`] and its settings. Whatever its kind, a connector from there
//! is guarded: every wait and every answer has a bound ([`Patience`], `limits.rs`), what it makes is tried before it is
//! handed over, what it ends is tried once more, and no text that leaves it holds a secret.
//!
//! Everything here is cancelled by dropping its future: sockets are closed, programs and their children killed.
//!
//! Deliberately absent: the vault, the audit log, any decision on *when* to rotate. Those are the gateway's.

mod address;
mod command;
mod connect;
mod connector;
mod error;
mod exchange;
mod guard;
mod home_assistant;
mod http;
mod hue;
mod kind;
mod limits;
mod line;
mod mosquitto;
mod mqtt;
mod names;
mod process;
mod progress;
mod quote;
mod random;
mod request;
mod settings;
mod template;
mod tls;
mod websocket;
mod wifi;
mod zigbee2mqtt;

pub use connect::{connect, connect_with};
pub use connector::{
    Abilities, Answer, Connector, Held, MintOrder, Minted, Revoked, Scopes, Verified,
};
pub use error::{BridgeError, SettingsError};
pub use hue::certificate_pin;
pub use kind::{BridgeKind, UnknownKind};
pub use limits::Patience;
pub use progress::{Progress, Step};
