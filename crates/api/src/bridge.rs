//! Bridges: the third-party systems whose credentials are minted, tried and ended for us.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::second_factor::SecondFactor;

/// `POST /api/v1/bridges`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BridgeRequest {
    /// Its name: the first part of its credentials' names.
    pub name: String,
    /// Its environment.
    pub environment: String,
    /// `home-assistant`, `mosquitto`, `hue`, `zigbee2mqtt`, `wifi`, `http` or `command`.
    pub kind: String,
    /// Who is responsible for it.
    pub owner: String,
    /// What it is for.
    pub purpose: String,
    /// How it is reached; see docs/CONNECTORS.md.
    pub settings: serde_json::Value,
    /// The credential by which it is administered, in the same environment.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub authority: Option<String>,
    /// A code, on the gateway's own machine, where no session can be fresh: it says where values go.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub second_factor: Option<SecondFactor>,
}

/// What a bridge can do.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[allow(clippy::struct_excessive_bools)] // Each is one answer to one question.
pub struct AbilitiesView {
    /// Say whether a value works.
    pub verify: bool,
    /// Make a new value.
    pub mint: bool,
    /// End a value.
    pub revoke: bool,
    /// Be notified of rotations of what is used there.
    pub notify: bool,
    /// Make short-lived children for leases.
    pub children: bool,
    /// Keep two values alive side by side.
    pub two_live: bool,
    /// What a rotation costs.
    pub cost: Option<String>,
    /// What it cannot do.
    pub cannot: Vec<String>,
}

/// A bridge.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BridgeView {
    /// Its name.
    pub name: String,
    /// Its environment.
    pub environment: String,
    /// What kind of system it is.
    pub kind: String,
    /// Who is responsible for it.
    pub owner: String,
    /// What it is for.
    pub purpose: String,
    /// How it is reached.
    pub settings: serde_json::Value,
    /// The credential by which it is administered.
    pub authority: Option<String>,
    /// What it can do.
    pub abilities: AbilitiesView,
    /// When it was connected.
    pub created_at: String,
}

/// Every bridge.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BridgeList {
    /// In the order of their names.
    pub bridges: Vec<BridgeView>,
}

/// What a bridge said of one credential.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BridgeVerdict {
    /// The credential.
    pub name: String,
    /// `works`; `fails`; `unknown`, when the bridge gave no answer; `untried`, when it is not one that can tell.
    pub verdict: String,
    /// Why.
    pub detail: Option<String>,
    /// What it may do; none if the bridge does not say.
    pub scopes: Option<Vec<String>>,
    /// Whether it may do everything.
    pub privileged: bool,
}

/// What came of testing a bridge.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BridgeTested {
    /// The bridge.
    pub name: String,
    /// Whether every credential works.
    pub ok: bool,
    /// One for each of its credentials.
    pub credentials: Vec<BridgeVerdict>,
}

/// What came of disconnecting a bridge.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Disconnected {
    /// The bridge.
    pub name: String,
    /// Whether that is on the disk. The bridge is not asked any more in either case.
    pub durable: bool,
    /// Its credentials that were retired with it.
    pub retired: Vec<crate::Retired>,
}
