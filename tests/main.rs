//! The stories that the real program must tell, one module each.

#![allow(clippy::unwrap_used)] // A panic is how a test fails.

mod clock;
mod door;
mod durability;
mod enroll;
mod log;
mod renew;
mod revoke;
mod rfc6962;
mod rig;
mod secrets;
mod stock;
mod storage_failure;
mod tree;
