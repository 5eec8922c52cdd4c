//! Stories of the MQTT listener, run over real TLS against a running broker.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod claims;
mod client;
mod door;
mod home;
mod own;
mod renewing;
mod requests;
mod sessions;
mod short_records;
mod state;
mod strict;
