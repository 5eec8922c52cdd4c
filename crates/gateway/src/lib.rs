//! The use cases, one file each, and the only wiring.
//!
//! Every use case is one journey: facts in (`store`) → pure decision (`core`) → one durable
//! transaction (`store`) → effects (`broker`, outbox). What a device asks comes in as an event of
//! the broker; what a person asks comes in through the local API. Both end in the same places.
//!
//! | who asks | module |
//! | --- | --- |
//! | a device | [`present`], [`enroll`], [`renew`], [`sighting`] |
//! | a person | [`claims`], [`waiting`], [`lifecycle`], [`revoke`], [`bulk`], [`environments`], [`profiles`], [`views`], [`provenance`] |
//! | a person or a service, about secrets | [`vault`] |
//! | a service, over HTTPS | [`https`], [`activity`], [`closing`], [`lingering`], [`guard`], [`shares`], [`body`], [`host`], [`bearer`], [`attempts`], [`replay`], [`service_routes`] |
//! | a person, in a browser | [`visitors`], [`people`], [`role_routes`] |
//! | whoever makes or bears a token | [`tokens`], [`token_book`], [`token_http`] |
//! | time | [`schedule`], [`outbox`], [`trust`] |
//! | the operator of the machine | [`init`], [`run`], [`http`], [`around`], [`repeats`], [`versions`], [`caller`], [`data_dir`], [`desktop`] |

mod activity;
mod around;
mod aside;
mod attempts;
mod bearer;
pub mod bench;
mod body;
mod bulk;
mod bulk_http;
mod caller;
mod claims;
mod clock;
mod closing;
mod contract;
mod data_dir;
mod desktop;
mod device_http;
pub mod diagnostics;
mod endings;
mod enroll;
mod environments;
mod events;
mod guard;
mod handing;
mod home;
mod host;
mod http;
mod https;
mod init;
mod issuance;
mod known;
mod lifecycle;
mod lingering;
mod live_http;
mod log_check;
mod log_http;
mod opening;
mod outbox;
mod overview_http;
mod pages;
mod people;
mod posture;
mod present;
mod problem;
mod profiles;
mod provenance;
mod renew;
mod repeats;
mod replay;
mod request;
mod revoke;
mod rights;
mod role_routes;
mod run;
mod schedule;
mod server_tls;
mod service_routes;
mod shares;
mod sighting;
mod signs;
mod socket;
mod token_book;
mod token_ends;
mod token_http;
mod tokens;
mod trust;
mod turns;
mod urgent;
mod vault;
mod versions;
mod views;
mod visitors;
mod waiting;
mod well_known;
mod witnesses;

pub use data_dir::{NoDataDir, Surroundings, UnfitDataDir};
pub use desktop::Desktop;
pub use hearthkey_store::log::{Verified, VerifyError};
pub use host::{InvalidHost, check_host};
pub use http::openapi;
pub use init::{InitError, InitSlot, Initialized, init};
pub use people::setup::SetupLink;
pub use run::{RunConfig, RunError, RunEvent, run};

/// Checks an export of the audit log against its checkpoint with nothing but the public key.
pub fn verify_log(
    records: &std::path::Path,
    checkpoint: &std::path::Path,
    vkey: &str,
) -> Result<Verified, VerifyError> {
    let records = std::io::BufReader::new(std::fs::File::open(records)?);
    let checkpoint = std::fs::File::open(checkpoint)?;
    hearthkey_store::log::verify_export(records, checkpoint, vkey)
}
