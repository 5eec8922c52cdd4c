//! Service tokens.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::second_factor::SecondFactor;

/// `POST /api/v1/tokens`. Of `allow` and `role` exactly one is given, and so of `public_key` and `bind`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)] // A limit that is misspelled would be none.
pub struct TokenRequest {
    /// What to call it.
    pub name: String,
    /// Where it is good: the one environment of its grants, or those that its role is limited to.
    #[serde(default)]
    pub environments: Vec<String>,
    /// What it is granted there: `hue/api-key:read`, `hue/*:lease`, `*:list`.
    #[serde(default)]
    pub allow: Vec<String>,
    /// What it manages the home as: `operator`, `developer` or `auditor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Who is responsible for it; its maker, if nobody is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What it is for; the service of its name, if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// How long it lives until it has to be renewed, like `1h`.
    pub ttl: String,
    /// How long it may be renewed before a person has to authorize it again, like `7d`.
    pub ceiling: String,
    /// The P-256 public key of its bearer, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// What else it is bound to: `device:ID`, or `certificate:` and a SHA-256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind: Option<String>,
    /// A code, on the gateway's own machine, where no session can be fresh: a grant that names a critical
    /// credential needs one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub second_factor: Option<SecondFactor>,
}

/// A token that was made. The token itself is shown here and never again.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct TokenCreated {
    /// The token.
    pub token: String,
    /// The thumbprint (RFC 7638) of the key that it is bound to.
    pub key_id: Option<String>,
    /// When it has to be renewed.
    pub expires_at: String,
    /// Until when it may be renewed.
    pub renewable_until: String,
    /// What else is known of it.
    pub details: TokenView,
    /// Where it can be used, if the gateway has an HTTPS listener.
    pub gateway: Option<String>,
    /// The home's root certificate, in PEM.
    pub root: String,
}

/// A service token, without the token.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenView {
    /// Its id.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// `live`, `expired`, `held` or `revoked`.
    pub state: String,
    /// What it manages the home as: `operator`, `developer` or `auditor`. None if it has grants.
    pub role: Option<String>,
    /// Where it is good: one environment if it has grants; those that its role is limited to, or none if it is not.
    pub environments: Vec<String>,
    /// Its grants. None if it has a role.
    pub allow: Vec<String>,
    /// Who is responsible for it.
    pub owner: String,
    /// What it is for.
    pub purpose: String,
    /// Who made it, as the audit log names them; empty if that is not known.
    pub made_by: String,
    /// What its bearer must hold: `key:`, `device:` or `certificate:` and which.
    pub binding: String,
    /// When it was made.
    pub created_at: String,
    /// When a person last authorized it.
    pub authorized_at: String,
    /// When it has to be renewed.
    pub expires_at: String,
    /// Until when it may be renewed without a person.
    pub renewable_until: String,
    /// When it was revoked.
    pub revoked_at: Option<String>,
    /// How often it has been used.
    pub uses: u64,
    /// When last.
    pub last_used_at: Option<String>,
    /// From which address.
    pub last_address: Option<String>,
}

/// The tokens of the home.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenList {
    /// In the order of their names; revoked ones for 30 days.
    pub tokens: Vec<TokenView>,
}

/// The token that asks, as it sees itself.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenSelf {
    /// What it is called.
    pub name: String,
    /// What it manages the home as: `operator`, `developer` or `auditor`. None if it has grants.
    pub role: Option<String>,
    /// Where it is good: one environment if it has grants; those that its role is limited to, or none if it is not.
    pub environments: Vec<String>,
    /// Its grants. None if it has a role.
    pub allow: Vec<String>,
    /// When it has to be renewed.
    pub expires_at: String,
    /// Until when it may be renewed without a person.
    pub renewable_until: String,
}

/// A token that was revoked.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenRevoked {
    /// What it was called.
    pub name: String,
    /// Whether that will outlast a restart of the gateway.
    pub durable: bool,
    /// Leases of its bearer that could not be ended now, because their bridge does not answer. They end in their time.
    pub leases_left: usize,
}

/// `GET /api/v1/health`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Always `ok`: who cannot say so does not answer.
    pub status: String,
}
