//! How a write is applied, or why it is not.

use hearthkey_core::time::Timestamp;
use rusqlite::{ToSql, Transaction, params};

use crate::vault::{SealedSecret, SecretName};

/// Why a write did not happen.
#[derive(Debug)]
pub(crate) enum ApplyError {
    /// A precondition does not hold.
    Conflict,
    /// The thing is not as the decision saw it.
    Changed,
    /// A write failed.
    Database(rusqlite::Error),
    /// The audit log could not be continued.
    Log(String),
    /// The program handed a write to a function that does not write it, or could not put it into words.
    Defect(String),
}

impl From<rusqlite::Error> for ApplyError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

/// A write that has a precondition changes exactly one row.
pub(crate) fn one(changed: usize) -> Result<(), ApplyError> {
    if changed == 1 {
        Ok(())
    } else {
        Err(ApplyError::Conflict)
    }
}

/// A write that was handed to a function that does not write it is a defect, and is not lost in silence.
pub(crate) fn misplaced(write: &dyn std::fmt::Debug) -> Result<(), ApplyError> {
    let name = format!("{write:?}");
    // The name alone: what is written may be private.
    let name = name.split(|c: char| !c.is_alphanumeric()).next();
    let name = name.unwrap_or_default();
    Err(ApplyError::Defect(format!("{name} was not written")))
}

/// Runs a statement, and tells how many rows it changed.
pub(crate) fn run(
    tx: &Transaction<'_>,
    sql: &str,
    params: &[&dyn ToSql],
) -> Result<usize, ApplyError> {
    Ok(tx.prepare_cached(sql)?.execute(params)?)
}

/// Adds a sealed value in the row that it was sealed for.
pub(crate) fn seal(
    tx: &Transaction<'_>,
    row: SecretName<'_>,
    sealed: &SealedSecret,
    at: Timestamp,
) -> Result<(), ApplyError> {
    run(
        tx,
        "INSERT INTO secret VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            row.kind,
            row.name,
            row.version,
            sealed.epoch,
            sealed.wrapped,
            sealed.sealed,
            at.as_ms()
        ],
    )?;
    Ok(())
}
