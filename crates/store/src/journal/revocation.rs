//! A device that was taken back, as it is kept for good.

use hearthkey_core::certificate::RevocationReason;
use hearthkey_core::id::{DeviceId, Fingerprint};
use hearthkey_core::time::Timestamp;
use serde::{Deserialize, Serialize};

/// One revocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// The device.
    pub device: DeviceId,
    /// The certificates that were taken back with it.
    pub certificates: Vec<Fingerprint>,
    /// The keys that are never certified again, if it was a compromise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<Fingerprint>,
    /// Why.
    pub reason: RevocationReason,
    /// When.
    pub at: Timestamp,
}
