//! The device side of Hearthkey: make a key, enroll with a claim, stay connected, stay renewed.
//!
//! The agent speaks the public protocol (`docs/MQTT.md`) and uses nothing of the gateway's crates. What holds here:
//! - **Nothing secret leaves before the pin is proven.** The first connection offers the ALPN protocol
//!   `hearthkey-enroll`; the gateway answers with its whole chain, in which the root named by the claim must stand and
//!   to which the server's leaf must lead. Later connections trust `trust.pem` and nothing else.
//! - **The private key never leaves the directory**, is written before it is used, and a crash at any point leaves a
//!   pair that works.
//! - **Rules have no clock and no chance**: `schedule`, `plan` and `checkpoint` take both as arguments from `clock`.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use hearthkey_agent::{Device, Enrollment};
//! let directory = std::path::Path::new("/var/lib/lamp-1");
//! let enrollment = Enrollment::new("hearthkey://claim?…".parse()?);
//! enrollment.run(directory, |refusal, wait_s| eprintln!("{}: {wait_s} s", refusal.message)).await?;
//! let mut device = Device::open(directory)?;
//! let session = device.connect().await?;
//! session.publish("home/lamp-1/state", "on").await?;
//! device.renew(&session).await?;
//! session.close().await;
//! let session = device.connect().await?;
//! println!("{:?}", session.closed().await);
//! # Ok(()) }
//! ```

mod certificate;
mod checkpoint;
mod claim_code;
pub mod clock;
mod closed;
mod device;
mod directory;
mod enroll;
mod event;
mod explain;
mod fingerprint;
mod hook;
mod key;
mod line;
mod moment;
mod moving;
mod once;
mod payload;
mod pin;
mod plan;
mod run;
mod schedule;
mod search;
mod session;
mod slots;
#[cfg(test)]
mod small_ca;
mod trust;
mod witness;

pub use certificate::LeafError;
pub use checkpoint::Setback;
pub use claim_code::{ClaimUri, ClaimUriError};
pub use closed::ClosedReason;
pub use device::{Device, DeviceConnectError, NextSlot, RenewError, Renewal, Status};
pub use directory::DirectoryError;
pub use enroll::{EnrollError, Enrollment};
pub use event::Event;
pub use explain::{Explain, Explanation};
pub use fingerprint::{Fingerprint, FingerprintError};
pub use key::KeyError;
pub use line::ConfigError;
pub use moment::{Moment, MomentError};
pub use moving::{MoveError, Place, PlaceError};
pub use once::{Once, OnceError};
pub use payload::{DeviceFacts, NoticeReason, Rejection, Window};
pub use run::RunError;
pub use session::{ConnectError, ExchangeError, Message, Reply, Session};
pub use trust::TrustError;
