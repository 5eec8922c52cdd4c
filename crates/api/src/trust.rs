//! The home's CAs.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A CA of the home.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AuthorityView {
    /// `root`, `server`, `issuing/<environment>`.
    pub name: String,
    /// `signs`, `next` (made, and signs nothing yet) or `former` (signs no more, and what it signed is still about).
    pub state: String,
    /// SHA-256 of its certificate.
    pub sha256: String,
    /// The first moment of its validity.
    pub not_before: String,
    /// The last moment.
    pub not_after: String,
    /// When another followed it, if one has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub succeeded_at: Option<String>,
}

/// The home's CAs: the root first, then by name.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AuthorityList {
    /// The CAs.
    pub authorities: Vec<AuthorityView>,
}
