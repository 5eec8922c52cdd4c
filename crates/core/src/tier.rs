//! How much harm follows when a credential leaks.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::words::words;

words! {
    /// How much harm follows when a credential leaks.
    Tier, "tier", InvalidTier {
        /// It opens the whole home, or cannot be replaced without visiting devices.
        Critical = "critical",
        /// It opens one system.
        High = "high",
        /// Everything else.
        Standard = "standard",
    }
}
