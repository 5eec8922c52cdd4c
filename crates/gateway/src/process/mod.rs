//! The process: the top, and the only place that assembles.

pub(crate) mod data_dir;
pub(crate) mod desktop;
pub mod diagnostics;
pub(crate) mod given_journal;
pub(crate) mod init;
pub(crate) mod loading;
pub(crate) mod opening;
mod outbox;
mod replay;
pub(crate) mod restore;
pub(crate) mod run;
mod schedule;
mod socket;
#[cfg(test)]
pub(crate) mod testing;
mod witnesses;
