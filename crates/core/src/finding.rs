//! Findings: what is wrong with the inventory as it stands, and what to do about it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::credential::words;
use crate::id::{Fingerprint, hex};

words! {
    /// What kind of thing is wrong.
    FindingKind, "kind of finding", InvalidFindingKind {
        /// One value is used in two environments (R5).
        SharedAcrossEnvironments = "shared-across-environments",
        /// One value is used twice within an environment.
        Reused = "reused",
        /// A value was found where it must not be (R14).
        Leaked = "leaked",
        /// A value is older, or was used more often, than its policy allows.
        Due = "due",
        /// A credential has ended and is still in the inventory as active.
        Expired = "expired",
        /// A bridge gives a credential more than was declared (R16).
        Drift = "drift",
        /// A secret was seen in a file and not taken into the inventory (R1).
        Unmanaged = "unmanaged",
        /// A rotation waits for a person.
        RotationHeld = "rotation-held",
        /// A bridge could not be told that something has ended.
        Leftover = "leftover",
        /// A place of use could not be told of a rotation.
        NotTold = "not-told",
        /// The home opens with a key file (R4).
        KeyFile = "key-file",
        /// The log's newest checkpoint was not found outside the database.
        NotAnchored = "not-anchored",
        /// No backup is known.
        NoBackup = "no-backup",
        /// A CA ends soon.
        CaLife = "ca-life",
        /// Devices that should have renewed.
        Expiring = "expiring",
        /// Something is there and was never used.
        NeverUsed = "never-used",
        /// Somebody who has gone owns something.
        Orphaned = "orphaned",
    }
}

words! {
    /// How bad it is.
    Severity, "severity", InvalidSeverity {
        /// Act now.
        Critical = "critical",
        /// Act this week.
        High = "high",
        /// Look at it when there is time.
        Medium = "medium",
    }
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The same thing found again has the same id: 16 hexadecimal digits.
    pub id: String,
    /// What kind of thing.
    pub kind: FindingKind,
    /// How bad.
    pub severity: Severity,
    /// With what: `credential:home/hue/api-key`, a path.
    pub object: String,
    /// What is wrong, in one sentence.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl Finding {
    /// A finding about an object. `mark` tells apart two of one kind about one object.
    pub fn new(kind: FindingKind, severity: Severity, object: String, mark: &str) -> Self {
        let id = Fingerprint::of(format!("{kind}\n{object}\n{mark}").as_bytes());
        Self {
            id: hex(&id.0[..8]),
            kind,
            severity,
            object,
            what: String::new(),
            remedy: String::new(),
        }
    }

    /// With what is wrong, and what to do.
    pub fn saying(mut self, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        self.what = what.into();
        self.remedy = remedy.into();
        self
    }
}
