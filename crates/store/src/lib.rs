//! The only SQL and the only database key.
//!
//! One writer thread commits in groups, each operation in a SAVEPOINT of its own; a few read-only
//! connections answer questions. A commit is durable when it is acknowledged (`synchronous=FULL`),
//! and its audit records are part of it.
//!
//! | question | module |
//! | --- | --- |
//! | how does a home open? | [`slots`], [`keys`], `examination` |
//! | what can be changed, and how is that written? | [`change`], `change_apply` |
//! | what is known? | [`registry`], [`devices`], [`tokens`], [`people`] |
//! | what of the log is archived? | [`log_archive`], [`log_segment`], [`log_start`] |
//! | what was written down, and is it whole? | [`log`], [`log_check`], [`log_search`], [`log_count`], [`anchor`], [`journal`] |
//! | how are the files beside the database opened and replaced? | [`files`] |
//! | where do secrets lie? | [`vault`] |
//! | how does a home get new keys? | [`rekey`] |
//! | how is a home copied, and made again of a copy? | [`backup`] |
//! | what can be changed in the vault, and what is known of it? | [`vault_change`], `vault_apply`, [`inventory`], [`underway`] |

pub mod anchor;
mod anchoring;
mod apply;
pub mod authorities;
pub mod backup;
pub mod change;
mod change_apply;
mod connection;
pub mod devices;
mod effect;
mod errands;
mod examination;
pub mod files;
pub mod inventory;
pub mod journal;
pub mod keys;
pub mod log;
pub mod log_archive;
pub mod log_check;
pub mod log_count;
mod log_hashes;
pub mod log_search;
pub mod log_segment;
pub mod log_start;
mod open_error;
pub mod people;
pub mod posture;
mod reads;
pub mod registry;
pub mod rekey;
pub mod rights;
pub mod slots;
mod store;
mod tiers;
pub mod tokens;
pub mod turn_back;
pub mod underway;
pub mod vault;
mod vault_apply;
pub mod vault_change;
mod writer;

pub use files::DATABASE_FILE;
pub use reads::WORKERS_SPARE;
pub use store::{OpenError, Opened, Store, origin};
pub use writer::{CommitError, Committed};
