//! The newest checkpoint, kept outside the database.
//!
//! SQLCipher cannot tell an old page or an old file from the current one. The anchor can: a log
//! that is shorter than its anchor, or does not contain it, was rolled back or rewritten.

/// The anchor file's name in the data directory.
pub const ANCHOR_FILE: &str = "checkpoint.anchor";
/// It is there from when the home was opened without an anchor until that is in the database.
pub const UNANCHORED_FILE: &str = "checkpoint.anchor.anew";

/// What is wrong with the log, as seen from outside the database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Incident {
    /// The log ends before its anchor.
    #[error(
        "the audit log has {log} records, but {anchor} were witnessed: the database was rolled back"
    )]
    RolledBack {
        /// Records in the log.
        log: u64,
        /// Records that the anchor saw.
        anchor: u64,
    },
    /// The log does not contain what the anchor saw.
    #[error("the audit log does not contain what was witnessed at record {0}: it was rewritten")]
    Rewritten(u64),
    /// The anchor itself is not ours.
    #[error("the anchor file does not carry this home's signature: it was altered")]
    AnchorAltered,
    /// Pages of the database fail their authentication.
    #[error("{0} pages of the database are damaged: restore a backup")]
    Damaged(usize),
    /// A record or a stored hash of the log is not what was signed.
    #[error("the audit log's record {0} does not match the signature")]
    RecordAltered(u64),
}
