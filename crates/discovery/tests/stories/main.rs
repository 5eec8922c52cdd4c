//! Stories about other people's files, run against the crate from outside.
#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

mod accepted;
mod clock;
mod commits;
mod configurations;
mod corpus;
mod dialects;
mod encodings;
mod files;
mod gaps;
mod histories;
mod hooks;
mod leak_corpus;
mod readers;
mod repository;
mod sarif;
mod throughput;
mod wanted;
mod written;
