//! The audit log.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /api/v1/log/records`: each record is exactly the leaf's bytes.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RecordPage {
    /// The records, as text.
    pub records: Vec<String>,
    /// The number after the last record of this page.
    pub next: u64,
    /// The size of the log under the newest checkpoint.
    pub size: u64,
}

/// `GET /api/v1/log/key`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LogKeyView {
    /// The verifier key (C2SP vkey), one line.
    pub vkey: String,
}

/// `POST /api/v1/log/accept`: a person has looked at the incident.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AcceptRequest {
    /// Why the home may go on.
    pub reason: String,
}
