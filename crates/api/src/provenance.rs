//! Where a device comes from.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::live::Event;

/// `GET /api/v1/devices/{id}/provenance`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeviceProvenance {
    /// The newest enrollment, from which its certificates descend; none before the first.
    pub enrolled: Option<Enrolled>,
    /// The last records about it and about the claims by which it came, the newest first, 100 at most.
    pub history: Vec<Event>,
    /// How many older records about them are archived, and not here any more.
    #[serde(default)]
    pub archived: u64,
    /// The number of the first record of the log that is here.
    #[serde(default)]
    pub first: u64,
}

/// The record of an enrollment.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Enrolled {
    /// Its number: `GET /api/v1/log/proof/{seq}` proves that it is in the log.
    pub seq: u64,
    /// The leaf, exactly as it was hashed.
    pub record: String,
    /// When.
    pub time: String,
    /// Who: the claim that was used.
    pub actor: String,
}
