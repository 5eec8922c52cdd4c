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

/// `GET /api/v1/log/verified`: whether the log is what was signed, as the gateway itself found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogVerified {
    /// Whether it is. Not before it was verified for the first time.
    pub ok: bool,
    /// What is wrong with it, if anything is.
    pub problem: Option<String>,
    /// Records that were verified.
    pub size: u64,
    /// Their root hash in base64, as the checkpoint has it.
    pub root: Option<String>,
    /// When the newest of them were verified.
    pub verified_at: Option<String>,
    /// When all of them were, from the first on.
    pub full_at: Option<String>,
}

/// `POST /api/v1/log/accept`: a person has looked at the incident.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AcceptRequest {
    /// Why the home may go on.
    pub reason: String,
}

/// `GET /api/v1/log/search`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LogSearch {
    /// What fits, the newest first.
    pub records: Vec<LogRecord>,
    /// The cursor of what was not looked at yet, if there is any.
    pub next: Option<u64>,
    /// Records in the log.
    pub size: u64,
}

/// One record.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LogRecord {
    /// Its number: the leaf's index in the tree.
    pub seq: u64,
    /// The leaf, exactly as it was hashed.
    pub record: String,
}

/// `GET /api/v1/log/histogram`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LogHistogram {
    /// From when.
    pub since: String,
    /// To when.
    pub until: String,
    /// Parts of equal length.
    pub buckets: Vec<LogBucket>,
}

/// A part of a histogram.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LogBucket {
    /// When it begins.
    pub at: String,
    /// Records in it that fit. Where it is not complete: all there are if every record fits, or else those that were
    /// looked at.
    pub records: u64,
    /// How those that were looked at ended.
    pub outcomes: OutcomeCounts,
    /// Whether all of it was looked at. The newest 20 000 records are.
    pub complete: bool,
}

/// How many records ended how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OutcomeCounts {
    /// It was done.
    pub done: u64,
    /// It was refused by a rule.
    pub refused: u64,
    /// It waits for a person.
    pub held: u64,
    /// It should not have happened.
    pub alert: u64,
}
