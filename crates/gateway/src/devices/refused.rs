//! Changes that a device's state does not permit.

use hearthkey_core::device::{Change, DeviceState, StateRefusal};
use hearthkey_core::id::DeviceId;

use crate::state::failure::Failure;

/// A refused change of state, with the device that it is about.
pub(crate) fn refused_for(device: &DeviceId, refusal: &StateRefusal) -> Failure {
    let StateRefusal::Impossible { from, change } = refusal;
    let remedy = match (from, change) {
        (DeviceState::Revoked | DeviceState::Retired, Change::Retire) => {
            "It is out of service already: it cannot connect. It stays in the list, as the log does."
        }
        (DeviceState::Pending, _) => "It has not enrolled yet: let its claim expire, or retire it.",
        _ => "Open a new claim if the device is to come back.",
    };
    Failure::refused(&format!("the device {device}: {refusal}"), remedy)
}
