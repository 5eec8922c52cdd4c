//! The stories that the real program must tell, one module each.

#![allow(clippy::unwrap_used)] // A panic is how a test fails.

mod alerts;
mod away;
mod clock;
mod door;
mod durability;
mod enroll;
mod forged;
mod grace;
mod guest;
mod hostile;
mod https;
mod lineage;
mod log;
mod mqtt;
mod proof;
mod race;
mod renew;
mod revoke;
mod rfc6962;
mod rig;
mod rights;
mod secrets;
mod service;
mod stock;
mod storage_failure;
mod token;
mod tree;
mod wire;
