//! The audit log.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::second_factor::SecondFactor;

/// `GET /api/v1/log/records`: each record is exactly the leaf's bytes.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RecordPage {
    /// The records, as text.
    pub records: Vec<String>,
    /// The number after the last record of this page.
    pub next: u64,
    /// The size of the log under the newest checkpoint.
    pub size: u64,
    /// The number of the first record that is here; those before are archived.
    #[serde(default)]
    pub first: u64,
}

/// `GET /api/v1/log/extent`: how large the log is, and how much of it is archived.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LogExtent {
    /// Records that the log has, those that are archived and not here included.
    pub size: u64,
    /// The number of the first record that is here; those before are archived.
    pub first: u64,
    /// Records before this number are in an archive that this home knows of.
    pub archived_before: u64,
    /// What the records here take in the database, in bytes: an estimate by the newest of them.
    pub bytes: u64,
    /// What the whole database takes on the disk, in bytes.
    pub database_bytes: u64,
    /// What of that is free for new records, in bytes.
    pub free_bytes: u64,
    /// Whether archived records are being dropped right now.
    pub shortening: bool,
    /// The number of the first record that is not older than two years; those before are advised to be archived.
    pub advised_before: u64,
    /// The archives, the newest first.
    pub archives: Vec<LogArchiveView>,
}

/// An archive of a part of the log: a file that is kept elsewhere.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LogArchiveView {
    /// The number of its first record.
    pub first: u64,
    /// The number after its last.
    pub before: u64,
    /// The root hash over all records before that, in base64.
    pub root: String,
    /// The SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// How many bytes the file has.
    pub bytes: u64,
    /// When it was noted.
    pub archived_at: String,
}

/// `GET /api/v1/log/segment`: what an archive of the oldest records here has beside the records.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LogSegment {
    /// The number of the first record.
    pub first: u64,
    /// The number after the last.
    pub before: u64,
    /// The hashes of the largest whole subtrees before the first record, from the left, in base64.
    pub left: Vec<String>,
    /// The signed checkpoint of the log with all records before `before`.
    pub checkpoint: String,
    /// The log's public key (C2SP vkey).
    pub key: String,
}

/// `POST /api/v1/log/archives`: an archive was written, and verified there.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LogArchiveRequest {
    /// The number of its first record.
    pub first: u64,
    /// The number after its last.
    pub before: u64,
    /// The root hash that its records led to, in base64.
    pub root: String,
    /// The SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// How many bytes the file has.
    pub bytes: u64,
}

/// `POST /api/v1/log/shorten`: the records of an archive are dropped here.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct LogShortenRequest {
    /// The number of the first record that stays: where the archive ends.
    pub before: u64,
    /// The SHA-256 of the archive, in hexadecimal.
    pub sha256: String,
    /// A person's code, where one is asked for.
    #[serde(default)]
    pub second_factor: Option<SecondFactor>,
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
    /// The number of the first record that is here; those before are archived, and were not looked at.
    #[serde(default)]
    pub first: u64,
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
    /// The number of the first record that is here; those before are archived, and are in no part.
    #[serde(default)]
    pub first: u64,
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
    /// Whether all of it was looked at. The newest 20 000 records are; archived ones are not.
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
