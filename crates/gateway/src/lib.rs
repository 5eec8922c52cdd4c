//! The gateway: use cases, in rooms on floors, and the only wiring.
//!
//! Every use case is one journey: facts in (`store`) → pure decision (`core`) → one durable
//! transaction (`store`) → effects (`broker`, outbox). What a device asks comes in as an event of
//! the broker; what a person asks comes in through the local API. Both end in the same places.
//!
//! | floor | rooms |
//! | --- | --- |
//! | assembles and runs | [`process`] |
//! | parses, asks one use case, answers | [`http`], [`mqtt`] |
//! | the areas of an unsealed home together | [`home`] |
//! | use cases | [`posture`], [`people`], [`bulk`], [`tokens`], [`vault`], [`devices`], [`backups`], [`audit`] |
//! | what use cases rest on | [`auth`], [`trust`] |
//! | what all share | [`state`] |
//!
//! An arrow points down, and among use cases from left to right.

mod audit;
mod auth;
mod backups;
mod bulk;
mod devices;
mod home;
mod http;
#[cfg(feature = "measure")]
pub mod measure;
mod mqtt;
mod people;
mod posture;
mod process;
mod state;
mod tokens;
mod trust;
mod unlock;
mod vault;

use hearthkey_store::log_archive::{Compared, verify_archive_file};

pub use auth::setup_file::SetupLink;
pub use hearthkey_store::WORKERS_SPARE;
pub use hearthkey_store::log::{Verified, VerifyError};
pub use hearthkey_store::log_archive::{ArchiveFile, Head as ArchiveHead};
pub use http::middleware::host::{InvalidHost, check_host};
pub use http::router::openapi;
pub use process::announce::Announce;
pub use process::data_dir::{NoDataDir, Surroundings, UnfitDataDir};
pub use process::desktop::Desktop;
pub use process::diagnostics;
pub use process::given_journal::JournalError;
pub use process::init::{InitError, InitSlot, Initialized, init};
pub use process::rekey::{NewKeysError, RekeyError, Rekeyed, rekey, ways_into};
pub use process::restore::{RestoreError, Restored, Sources, restore, verify_backup};
pub use process::run::{RunConfig, RunError, RunEvent, run};

/// Checks an archive of the audit log with nothing but the public key, and that older checkpoints and proofs agree with it.
pub fn verify_archive(
    archive: &std::path::Path,
    vkey: &str,
    checkpoints: &[std::path::PathBuf],
    proofs: &[std::path::PathBuf],
) -> Result<ArchiveFile, VerifyError> {
    let mut compared = Compared::default();
    for checkpoint in checkpoints {
        compared = compared.checkpoint(std::fs::File::open(checkpoint)?, vkey)?;
    }
    for proof in proofs {
        compared = compared.proof(std::fs::File::open(proof)?, vkey)?;
    }
    verify_archive_file(std::fs::File::open(archive)?, vkey, &compared)
}

/// Checks an export of the audit log against its checkpoint with nothing but the public key.
pub fn verify_log(
    records: &std::path::Path,
    checkpoint: &std::path::Path,
    vkey: &str,
) -> Result<Verified, VerifyError> {
    let records = std::io::BufReader::new(std::fs::File::open(records)?);
    let checkpoint = std::fs::File::open(checkpoint)?;
    hearthkey_store::log_archive::verify_export(records, checkpoint, vkey)
}
