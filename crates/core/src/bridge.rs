//! Bridges: third-party systems that the home talks to, and how they are reached.

use serde::{Deserialize, Serialize};

use crate::credential::CredentialName;
use crate::id::EnvironmentName;
use crate::time::Timestamp;

/// A bridge that is connected. Its credentials are those whose names begin with its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridge {
    /// Its name: the first part of its credentials' names.
    pub name: String,
    /// Its environment.
    pub environment: EnvironmentName,
    /// What kind of system it is: the connector's word.
    pub kind: String,
    /// Who is responsible for it.
    pub owner: String,
    /// What it is for.
    pub purpose: String,
    /// How it is reached, in JSON, without secrets.
    pub settings: String,
    /// The credential by which it is administered, in the same environment.
    pub authority: Option<CredentialName>,
    /// When it was connected.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
}
