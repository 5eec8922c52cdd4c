//! The process: the top, and the only place that assembles.

pub(crate) mod announce;
pub(crate) mod data_dir;
pub(crate) mod desktop;
pub mod diagnostics;
pub(crate) mod given_journal;
mod half_rekeyed;
pub(crate) mod init;
pub(crate) mod loading;
pub(crate) mod opening;
mod outbox;
pub(crate) mod rekey;
mod replay;
pub(crate) mod restore;
pub(crate) mod run;
mod schedule;
mod socket;
#[cfg(test)]
pub(crate) mod testing;
mod witnesses;
mod written;
