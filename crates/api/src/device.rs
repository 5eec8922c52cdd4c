//! Devices, their claims and certificates, and what a person does to them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::right::RightName;
use crate::second_factor::SecondFactor;

/// `POST /api/v1/claims`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ClaimRequest {
    /// The device to enroll.
    pub device: String,
    /// Its profile.
    pub profile: String,
    /// Its environment.
    pub environment: String,
    /// Who is responsible for it.
    pub owner: String,
    /// What it is for.
    pub purpose: String,
    /// How long the claim may be used, like `15m`.
    pub lifetime: String,
}

/// A claim that was opened. Its secret is shown here and never again.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct ClaimOpened {
    /// The claim's id.
    pub claim: String,
    /// Its secret.
    pub secret: String,
    /// The device it enrolls.
    pub device: String,
    /// Its environment.
    pub environment: String,
    /// Its profile.
    pub profile: String,
    /// The gateway's first host name.
    pub host: String,
    /// The MQTT port.
    pub port: u16,
    /// SHA-256 of the root certificate, as `hearthkey trust fingerprint` prints it.
    pub root_sha256: String,
    /// SHA-256 of the root's public key (its SubjectPublicKeyInfo): what `root` in the claim code says.
    pub root_key_sha256: String,
    /// Until when it may be used.
    pub expires_at: String,
    /// All of the above in one text, for the agent or a QR code.
    pub uri: String,
}

/// A claim, without its secret.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ClaimView {
    /// Its id.
    pub claim: String,
    /// `open`, `used`, `locked`, `closed` or `expired`.
    pub state: String,
    /// When it was opened.
    pub opened_at: String,
    /// Until when it may be used.
    pub expires_at: String,
    /// The key that waits for approval.
    pub presented_key: Option<String>,
}

/// A device as it is listed and shown.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeviceView {
    /// Its id.
    pub id: String,
    /// `pending`, `active`, `suspended`, `retired` or `revoked`.
    pub state: String,
    /// Its environment.
    pub environment: String,
    /// Its profile.
    pub profile: String,
    /// Who is responsible for it.
    pub owner: String,
    /// What it is for.
    pub purpose: String,
    /// When it was first named.
    pub created_at: String,
    /// Its newest certificate.
    pub certificate: Option<CertificateView>,
    /// Its live sessions.
    pub sessions: Vec<SessionView>,
    /// When it was last connected.
    pub last_seen_at: Option<String>,
    /// The address it last came from.
    pub last_address: Option<String>,
    /// The trust bundle it says it uses.
    pub trust_bundle_sha256: Option<String>,
    /// All its certificates, newest first; only where one device is shown.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub certificates: Vec<CertificateView>,
    /// Its claims, newest first; only where one device is shown.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub claims: Vec<ClaimView>,
}

/// A certificate.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CertificateView {
    /// Its serial number.
    pub serial: String,
    /// `issued`, `active`, `superseded` or `revoked`.
    pub state: String,
    /// The first moment it is valid.
    pub not_before: String,
    /// The last moment it is valid.
    pub not_after: String,
    /// When it may be renewed.
    pub renew_after: String,
    /// SHA-256 of its DER.
    pub sha256: String,
    /// SHA-256 of the key it carries.
    pub key_sha256: String,
    /// How many renewals lie before it in its lineage.
    pub generation: u32,
}

/// A live session.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SessionView {
    /// Its client id.
    pub client_id: String,
    /// Where it comes from.
    pub address: String,
    /// Since when.
    pub since: String,
    /// SHA-256 of the certificate it came with.
    pub certificate_sha256: String,
}

/// `GET /api/v1/devices`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DevicePage {
    /// The devices, in the order of their ids.
    pub devices: Vec<DeviceView>,
    /// The cursor of the next page, if there is one.
    pub next: Option<String>,
    /// How many fit in all; only on the first page.
    pub total: Option<u64>,
}

/// How many devices there are.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct DeviceSummary {
    /// In all.
    pub total: u64,
    /// With a live session.
    pub connected: u64,
    /// By state.
    pub by_state: std::collections::BTreeMap<String, u64>,
    /// By environment.
    pub by_environment: std::collections::BTreeMap<String, u64>,
    /// By profile.
    pub by_profile: std::collections::BTreeMap<String, u64>,
}

/// What became of a device.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeviceChanged {
    /// The device.
    pub device: String,
    /// Its state now.
    pub state: String,
    /// Sessions that were dropped.
    pub sessions_dropped: usize,
    /// Whether it is on the disk. If not, it holds in memory and is tried again until it is.
    pub durable: bool,
}

/// `POST /api/v1/devices/{id}/revoke`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RevokeRequest {
    /// A reason of RFC 5280 §5.3.1, like `key-compromise`.
    pub reason: String,
}

/// What a revocation did.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Revoked {
    /// The device.
    pub device: String,
    /// Certificates that were taken back.
    pub certificates_revoked: usize,
    /// Live sessions that were dropped.
    pub sessions_dropped: usize,
    /// From the request to the last session's end, in microseconds.
    pub latency_us: u64,
    /// Whether it is on the disk. If not, it holds in memory and is tried again until it is.
    pub durable: bool,
}

/// `POST /api/v1/devices/{id}/approve`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ApproveRequest {
    /// SHA-256 of the key that the person has compared.
    pub key_sha256: String,
}

/// `POST /api/v1/environments`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EnvironmentRequest {
    /// Its name.
    pub name: String,
    /// A code, on the gateway's own machine, where no session can be fresh: an environment is added with
    /// one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub second_factor: Option<SecondFactor>,
}

/// A profile's text.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ProfileText {
    /// The TOML.
    pub toml: String,
    /// Whether it came with the program.
    pub built_in: bool,
}

/// Names, in order.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Named {
    /// The names.
    pub names: Vec<String>,
}

/// A right of a device: a topic filter to publish or subscribe to.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RightView {
    /// `publish` or `subscribe`.
    pub verb: String,
    /// The topic filter.
    pub filter: String,
    /// Whether the device has it; false if it was taken by narrowing.
    pub kept: bool,
    /// Whether it may be taken: the gateway's own topics may not.
    pub narrowable: bool,
    /// How often it was used.
    pub uses: u64,
    /// When last, to about ten seconds.
    pub last_used_at: Option<String>,
}

/// `GET /api/v1/devices/{id}/rights`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RightsView {
    /// The profile that grants them.
    pub profile: String,
    /// Since when uses are counted.
    pub since: Option<String>,
    /// Since when they are narrowed.
    pub narrowed_at: Option<String>,
    /// How many could be taken, because they were never used.
    pub unused: usize,
    /// What the profile grants.
    pub rights: Vec<RightView>,
}

/// What became of `POST /api/v1/devices/{id}/narrow`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Narrowed {
    /// The rights by now; without their uses, and `since` absent, while the registry cannot be read.
    #[serde(flatten)]
    pub rights: RightsView,
    /// Whether it is on the disk. If not, it holds in memory and is tried again until it is.
    pub durable: bool,
}

/// `POST /api/v1/devices/{id}/narrow`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NarrowRequest {
    /// What the device keeps.
    pub keep: Vec<RightName>,
}
