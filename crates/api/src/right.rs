//! Names of rights.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The name of a right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RightName {
    /// `publish` or `subscribe`.
    pub verb: String,
    /// The topic filter.
    pub filter: String,
}
