//! Devices that wait after a restore, and how each is let in again.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::second_factor::SecondFactor;

/// A device that came with a certificate of this home that the home does not know: it was issued after the backup.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WaitingDevice {
    /// The device that the certificate names.
    pub device: String,
    /// The environment whose CA has signed it.
    pub environment: String,
    /// SHA-256 of the certificate.
    pub certificate_sha256: String,
    /// SHA-256 of its public key.
    pub key_sha256: String,
    /// When it was issued.
    pub issued_at: String,
    /// Until when it is valid.
    pub not_after: String,
    /// When the device first came with it since the gateway was started.
    pub first_came_at: String,
    /// When it last came.
    pub last_came_at: String,
    /// From which address.
    pub address: String,
    /// The state of the device in the registry; none if the home does not know the device at all.
    pub state: Option<String>,
}

/// `GET /api/v1/devices/waiting`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WaitingList {
    /// The devices, at most 1024, in the order of their names.
    pub devices: Vec<WaitingDevice>,
}

/// `POST /api/v1/devices/{id}/readmit`: one device, by its name.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct ReadmitRequest {
    /// SHA-256 of the certificate; needed if the device waits with more than one.
    #[serde(default)]
    pub certificate_sha256: Option<String>,
    /// The profile of a device that the home does not know at all.
    #[serde(default)]
    pub profile: Option<String>,
    /// Who is responsible for such a device.
    #[serde(default)]
    pub owner: Option<String>,
    /// What it is for.
    #[serde(default)]
    pub purpose: Option<String>,
    /// A person's code, where one is asked for.
    #[serde(default)]
    pub second_factor: Option<SecondFactor>,
}
