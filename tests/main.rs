//! The stories that the real program must tell, one module each.

#![allow(clippy::unwrap_used)] // A panic is how a test fails.

mod alerts;
mod away;
mod bridge;
mod clock;
mod custody;
mod door;
mod durability;
mod enroll;
mod forged;
mod giving;
mod grace;
mod guest;
mod hostile;
mod https;
mod leak;
mod lineage;
mod log;
mod manifest;
mod mqtt;
mod pipeline;
mod proof;
mod race;
mod renew;
mod revoke;
mod rfc6962;
mod rig;
mod rights;
mod rotation;
mod secrets;
mod service;
mod stock;
mod storage_failure;
mod system;
mod token;
mod tree;
mod vault;
mod wire;
