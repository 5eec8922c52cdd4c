//! What a person shows where they have no session.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a person shows where they have no session.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecondFactor {
    /// The person's name.
    pub person: String,
    /// What their authenticator shows.
    pub code: String,
}

impl std::fmt::Debug for SecondFactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecondFactor({:?}, …)", self.person)
    }
}
