//! What follows from a change, outside the registry.

use hearthkey_core::id::EnvironmentName;
use serde::{Deserialize, Serialize};

/// Something the gateway must do after a change, also if it stops in between.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Regenerate and publish the CRL of an environment's issuing CA.
    Crl(EnvironmentName),
}
