//! Changes that a device's state does not permit.

use hearthkey_core::device::{DeviceState, StateRefusal};
use hearthkey_core::id::DeviceId;

use crate::state::failure::Failure;

/// A refused change of state, with the device that it is about.
pub(crate) fn refused_for(device: &DeviceId, refusal: &StateRefusal) -> Failure {
    let StateRefusal::Impossible { from, .. } = refusal;
    let remedy = match from {
        DeviceState::Pending => "It has not enrolled yet: let its claim expire, or retire it.",
        _ => "Open a new claim if the device is to come back.",
    };
    Failure::refused(&format!("the device {device}: {refusal}"), remedy)
}
