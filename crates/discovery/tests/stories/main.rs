//! Stories about other people's files, told to the crate from outside.
#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

mod accepted;
mod clock;
mod commits;
mod configurations;
mod corpus;
mod encodings;
mod files;
mod gaps;
mod histories;
mod hooks;
mod repository;
mod sarif;
mod throughput;
mod wanted;
mod written;
