//! The stories that the real program must tell, one module each.

#![allow(clippy::unwrap_used)] // A panic is how a test fails.

mod admission;
mod alerts;
mod away;
mod bridge;
#[path = "../crates/bridges/tests/stories/broker.rs"]
mod broker;
mod bulk;
mod clock;
mod command_line;
mod contract;
mod crash;
mod critical;
mod custody;
mod documented;
mod door;
mod durability;
mod endings;
mod enroll;
mod exact;
mod files;
mod first_owner;
mod forged;
mod giving;
mod grace;
mod guesses;
mod guest;
mod here;
mod hostile;
#[path = "../crates/bridges/tests/stories/house.rs"]
mod house;
mod https;
mod import;
mod issuer;
mod leak;
mod lineage;
mod lists;
mod log;
mod managing;
mod manifest;
mod minted;
mod mqtt;
mod narrow;
mod once;
mod overreach;
mod people;
mod pipeline;
mod posture;
mod privilege;
mod product;
mod promised;
mod proof;
mod provenance;
mod race;
mod renew;
mod revoke;
mod rfc6962;
mod rig;
mod rights;
mod rotation;
mod secrets;
#[path = "../crates/bridges/tests/stories/server.rs"]
#[allow(dead_code, reason = "what no story here needs")]
mod server;
mod service;
mod setback;
mod siege;
mod soak;
mod stock;
mod storage_failure;
mod system;
mod telling;
mod thief;
mod token;
mod tree;
mod trees;
mod trusting;
mod vault;
mod verified;
mod wire;
