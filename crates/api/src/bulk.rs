//! One act on many devices: what it would do, and what it did.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::device::DeviceChanged;
use crate::problem::Problem;

/// `POST /api/v1/devices/preview`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BulkPreviewRequest {
    /// `rotate`, `suspend`, `resume`, `revoke` or `retire`.
    pub action: String,
    /// The devices, 1,000 at most. One that is named twice counts once.
    pub devices: Vec<String>,
}

/// What would happen.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BulkPreview {
    /// What was asked about.
    pub action: String,
    /// What would happen to each device, in the order of their ids.
    pub will: Vec<BulkEffect>,
    /// Devices to which it cannot be done.
    pub cannot: Vec<BulkHindrance>,
    /// All of it, in sentences.
    pub says: Vec<String>,
}

/// What would happen to one device.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BulkEffect {
    /// The device.
    pub device: String,
    /// Its state now.
    pub from: String,
    /// Where it would stand.
    pub state: String,
    /// Live sessions that would end.
    pub sessions: u64,
    /// Certificates that would be revoked.
    pub certificates: u64,
    /// Service tokens that would be revoked.
    pub tokens: u64,
    /// The same as a sentence.
    pub what: String,
}

/// A device to which it cannot be done.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BulkHindrance {
    /// The device, as it was named.
    pub device: String,
    /// Why not.
    pub why: String,
}

/// `POST /api/v1/devices/bulk`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BulkRequest {
    /// `rotate`, `suspend`, `resume`, `revoke` or `retire`.
    pub action: String,
    /// A reason of RFC 5280 §5.3.1; with `revoke` only, and `unspecified` if none is given.
    #[serde(default)]
    pub reason: Option<String>,
    /// The devices, 1,000 at most. One that is named twice counts once.
    pub devices: Vec<String>,
}

/// What happened.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BulkOutcome {
    /// Devices to which it was done, in the order of their ids.
    pub done: Vec<DeviceChanged>,
    /// Devices to which it was not.
    pub failed: Vec<BulkFailure>,
    /// Live sessions that were dropped.
    pub sessions_dropped: usize,
    /// From the request to the last device, in microseconds.
    pub latency_us: u64,
    /// Whether all that was done is on the disk. What is not holds in memory and is tried again until it is.
    pub durable: bool,
}

/// A device to which it was not done.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BulkFailure {
    /// The device, as it was named.
    pub device: String,
    /// What went wrong.
    pub problem: Problem,
}
