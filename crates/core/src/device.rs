//! A device's life: `pending → active → suspended ⇄ active → retired`, and `revoked`.

use serde::{Deserialize, Serialize};

use crate::id::{DeviceId, EnvironmentName, ProfileName};
use crate::time::Timestamp;

/// The state of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceState {
    /// Known by a claim, without a certificate yet.
    Pending,
    /// Enrolled.
    Active,
    /// Cut off for now; it can be resumed.
    Suspended,
    /// Out of service for good, in good order.
    Retired,
    /// Cut off for good. Only a new claim, and so a new lineage, brings the id back.
    Revoked,
}

impl DeviceState {
    /// The word used in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Retired => "retired",
            Self::Revoked => "revoked",
        }
    }

    /// Whether it is out of use for good: only a new claim brings the id back.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Retired | Self::Revoked)
    }

    /// Whether it can renew its certificate.
    pub fn can_renew(self) -> bool {
        self == Self::Active
    }
}

/// A device as the registry has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its id.
    pub id: DeviceId,
    /// Its state.
    pub state: DeviceState,
    /// The environment it is enrolled in.
    pub environment: EnvironmentName,
    /// The profile that says what it may do.
    pub profile: ProfileName,
    /// Who is responsible for it.
    pub owner: String,
    /// What it is for.
    pub purpose: String,
    /// When it was first named.
    pub created_at: Timestamp,
}

/// What a person can do to a device's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Cut off for now.
    Suspend,
    /// Undo a suspension.
    Resume,
    /// Take out of service.
    Retire,
    /// Cut off for good.
    Revoke,
}

/// Why a change of state was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateRefusal {
    /// The change makes no sense from here.
    #[error("a device that is {} cannot be {}", .from.as_str(), .change.past())]
    Impossible {
        /// The state of the device.
        from: DeviceState,
        /// What was asked.
        change: Change,
    },
}

impl Change {
    fn past(self) -> &'static str {
        match self {
            Self::Suspend => "suspended",
            Self::Resume => "resumed",
            Self::Retire => "retired",
            Self::Revoke => "revoked",
        }
    }

    /// The state that follows, or why there is none. Repeating a change that already holds is
    /// allowed, so that an operator may press the button twice.
    pub fn decide(self, from: DeviceState) -> Result<DeviceState, StateRefusal> {
        use DeviceState::{Active, Pending, Retired, Revoked, Suspended};
        match (self, from) {
            (Self::Suspend, Active | Suspended) => Ok(Suspended),
            (Self::Resume, Active | Suspended) => Ok(Active),
            (Self::Retire, Pending | Active | Suspended | Retired) => Ok(Retired),
            (Self::Revoke, _) => Ok(Revoked),
            _ => Err(StateRefusal::Impossible { from, change: self }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revoked_is_final_and_possible_from_everywhere() {
        use DeviceState::*;
        for from in [Pending, Active, Suspended, Retired, Revoked] {
            assert_eq!(Change::Revoke.decide(from), Ok(Revoked));
        }
        for change in [Change::Suspend, Change::Resume, Change::Retire] {
            assert!(change.decide(Revoked).is_err(), "{change:?}");
        }
    }

    #[test]
    fn a_retired_device_does_not_come_back_by_resuming() {
        let refusal = Change::Resume.decide(DeviceState::Retired).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "a device that is retired cannot be resumed"
        );
    }
}
