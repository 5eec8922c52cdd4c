//! How a write is applied, or why it is not.

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
