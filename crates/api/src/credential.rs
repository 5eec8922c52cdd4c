//! Credentials: the inventory, and what is done with secret values.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::check::FindingView;
use crate::second_factor::SecondFactor;
use crate::secret::SecretValue;

/// When and how a credential is rotated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotationPolicyView {
    /// At this age, like `90d`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub every: Option<String>,
    /// On these days: a weekday, `monthly`, `quarterly` or `yearly`; at midnight UTC.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub on: Option<String>,
    /// After it was given out this often.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub after_uses: Option<u64>,
    /// Whether the gateway begins it by itself.
    #[serde(default)]
    pub automatic: bool,
    /// How long both values are valid, like `24h`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub overlap: Option<String>,
}

/// `POST /api/v1/credentials`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialRequest {
    /// Its name: `bridge/key`.
    pub name: String,
    /// Its environment.
    pub environment: String,
    /// What it is: `password`, `api-token`, `api-key`, `wifi-key`, `zigbee-key`, `encryption-key`,
    /// `signing-key` or `other`.
    pub kind: String,
    /// Who is responsible for it.
    pub owner: String,
    /// What it is for.
    pub purpose: String,
    /// `critical`, `high` or `standard`.
    pub tier: String,
    /// Its value. None if the gateway is to make one, or if it is only recorded.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub value: Option<SecretValue>,
    /// Whether the gateway is to make the value: from its bridge, or in the shape of its kind.
    #[serde(default)]
    pub generate: bool,
    /// Where the value lies, if elsewhere: then it is only recorded.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub location: Option<String>,
    /// Where it is used: each place confirms a rotation.
    #[serde(default)]
    pub used_by: Vec<String>,
    /// What it may do.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// When it ends by itself.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expires_at: Option<String>,
    /// What the bridge calls the value, for values that the bridge gave to somebody else.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub remote_id: Option<String>,
    /// The file that it was imported from.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub imported_from: Option<String>,
    /// When it is rotated.
    #[serde(default)]
    pub rotation: RotationPolicyView,
    /// On the gateway's own machine, once somebody has joined: a person's code, for a lower tier than that of the authority
    /// that makes the value, if that is critical.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub second_factor: Option<SecondFactor>,
}

/// What is to be changed of a credential; what is left out stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialChange {
    /// Who is responsible for it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub owner: Option<String>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub purpose: Option<String>,
    /// `critical`, `high` or `standard`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tier: Option<String>,
    /// Where it is used.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub used_by: Option<Vec<String>>,
    /// What it may do.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub scopes: Option<Vec<String>>,
    /// When it ends by itself; empty for never.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expires_at: Option<String>,
    /// When it is rotated.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rotation: Option<RotationPolicyView>,
    /// Where the value lies, of one that is only recorded.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub location: Option<String>,
    /// Whether the value was replaced where it lies, of one that is only recorded: its age counts from now.
    #[serde(default)]
    pub replaced: bool,
    /// A code, on the gateway's own machine, where no session can be fresh: what guards a value is changed by a person.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub second_factor: Option<SecondFactor>,
}

/// Where a credential came from.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ProvenanceView {
    /// `entered`, `generated`, `minted`, `imported`, `recorded` or `own`.
    pub origin: String,
    /// From what: a file, a bridge.
    pub source: Option<String>,
    /// By whom.
    pub by: String,
    /// From which address.
    pub address: Option<String>,
    /// When.
    pub at: String,
}

/// A credential as it is listed, without its value.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CredentialView {
    /// Its name: `bridge/key`.
    pub name: String,
    /// Its environment.
    pub environment: String,
    /// What it is.
    pub kind: String,
    /// Who is responsible for it.
    pub owner: String,
    /// What it is for.
    pub purpose: String,
    /// `critical`, `high` or `standard`.
    pub tier: String,
    /// `vault`, `external` or `own`.
    pub custody: String,
    /// Where the value lies, if elsewhere.
    pub location: Option<String>,
    /// Where it came from.
    pub provenance: ProvenanceView,
    /// `active`, `retired` or `destroyed`; of the gateway's own, their own words.
    pub state: String,
    /// When it is rotated.
    pub rotation: RotationPolicyView,
    /// Where it is used.
    pub used_by: Vec<String>,
    /// What it may do, as declared.
    pub scopes: Vec<String>,
    /// What it may do, as the bridge says; none if it was not asked or does not say.
    pub found_scopes: Option<Vec<String>>,
    /// Whether the bridge says that it may do everything.
    pub privileged: bool,
    /// When it ends by itself.
    pub expires_at: Option<String>,
    /// The version that is given out.
    pub version: Option<u32>,
    /// When that version was made.
    pub version_at: Option<String>,
    /// The step of the rotation that runs.
    pub rotating: Option<String>,
    /// Why it is due for rotation, if it is.
    pub due: Option<String>,
    /// When the bridge last took the value; none if it was never tried.
    pub verified_at: Option<String>,
    /// When the value was last given out; none if never.
    pub last_used_at: Option<String>,
    /// To whom.
    pub last_used_by: Option<String>,
    /// How often the current version was given out.
    pub uses: u64,
    /// When its data keys are destroyed.
    pub shred_at: Option<String>,
}

/// One version of a credential's value.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct VersionView {
    /// Its number.
    pub version: u32,
    /// `pending`, `current`, `previous`, `retired`, `failed` or `destroyed`.
    pub state: String,
    /// The value's length in bytes.
    pub bytes: u64,
    /// Where it came from.
    pub origin: String,
    /// What the bridge calls it.
    pub remote_id: Option<String>,
    /// When it was added.
    pub created_at: String,
    /// By whom.
    pub created_by: String,
    /// When it was replaced for good.
    pub ended_at: Option<String>,
}

/// A rotation.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RotationView {
    /// The credential.
    pub name: String,
    /// Its environment.
    pub environment: String,
    /// The step that is next: `mint`, `verify`, `switch`, `revoke`, `undo`; or `done`, `undone`.
    pub step: String,
    /// The version that was current when it began.
    pub from_version: Option<u32>,
    /// The version that it brings.
    pub to_version: Option<u32>,
    /// Why it began.
    pub reason: String,
    /// Who began it.
    pub begun_by: String,
    /// When.
    pub begun_at: String,
    /// When every dependent must have switched.
    pub deadline: Option<String>,
    /// Dependents that have confirmed.
    pub confirmed: Vec<String>,
    /// Dependents that have not.
    pub unconfirmed: Vec<String>,
    /// Whether it waits for a person, because a bridge could not be reached.
    pub held: bool,
    /// Whether nothing happens before its time comes or a person acts.
    pub rests: bool,
    /// What the bridge is doing now, or waits for: a button to be pressed, and for how long.
    pub bridge_says: Option<String>,
    /// What a person should know.
    pub notes: Vec<String>,
    /// When it ended.
    pub ended_at: Option<String>,
}

/// A credential with its versions, rotations and leases.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CredentialInFull {
    /// The credential.
    #[serde(flatten)]
    pub credential: CredentialView,
    /// Its versions, newest first.
    pub versions: Vec<VersionView>,
    /// Its rotations, newest first.
    pub rotations: Vec<RotationView>,
    /// Its leases that have not ended.
    pub leases: Vec<LeaseView>,
    /// What is wrong with it.
    pub findings: Vec<FindingView>,
}

/// A page of the inventory.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CredentialPage {
    /// In the order of their names and environments.
    pub credentials: Vec<CredentialView>,
    /// The cursor of the next page; none on the last.
    pub next: Option<String>,
}

/// A credential was added or changed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CredentialChanged {
    /// The credential as it is now.
    pub credential: CredentialView,
    /// What a person should know: the same value elsewhere, a rotation that was begun.
    pub warnings: Vec<String>,
}

/// `POST /api/v1/environments/{environment}/reveal`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevealRequest {
    /// The credentials, at most 100.
    pub names: Vec<String>,
    /// What for: `reveal`, `run` or `render`.
    pub r#use: String,
    /// Why. Required to reveal a critical credential.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// Another version than the current one; only with a single name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version: Option<u32>,
    /// A code, on the gateway's own machine, where no session can be fresh: critical values need one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub second_factor: Option<SecondFactor>,
}

/// One value that was given out.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Given {
    /// The credential.
    pub name: String,
    /// The version.
    pub version: u32,
    /// What the bridge calls it, where its user needs that too: the user name of a password.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub remote_id: Option<String>,
    /// The value.
    pub value: SecretValue,
}

/// Values that were given out. The record of it is durable.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Revealed {
    /// In the order in which they were asked for.
    pub values: Vec<Given>,
}

/// `POST …/lease`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaseRequest {
    /// How long, like `15m`: 1 s to 24 h.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lifetime: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// A code, on the gateway's own machine, where no session can be fresh: critical values need one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub second_factor: Option<SecondFactor>,
}

/// A lease, without its value.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LeaseView {
    /// Its id.
    pub lease: String,
    /// The credential.
    pub name: String,
    /// Its environment.
    pub environment: String,
    /// The version.
    pub version: u32,
    /// Who holds it.
    pub holder: String,
    /// From where.
    pub address: Option<String>,
    /// When it was given.
    pub issued_at: String,
    /// When it ends by itself.
    pub expires_at: String,
    /// Whether a child was minted, which ends with the lease. If not, the credential's own value
    /// was given, and works on.
    pub child: bool,
    /// When it ended.
    pub ended_at: Option<String>,
    /// What is left to do.
    pub note: Option<String>,
}

/// A lease that was given, with its value.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Leased {
    /// The lease.
    #[serde(flatten)]
    pub lease: LeaseView,
    /// What the bridge calls it, where its user needs that too: the user name of a password.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub remote_id: Option<String>,
    /// The value.
    pub value: SecretValue,
}

/// Leases, the first to end first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LeaseList {
    /// Those that have not ended.
    pub leases: Vec<LeaseView>,
    /// Whether there are more than these.
    pub more: bool,
}

/// `POST …/rotate`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateRequest {
    /// The new value, where neither bridge nor gateway makes one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub value: Option<SecretValue>,
    /// Whether the gateway is to make the value in the shape of its kind, though a bridge is connected.
    #[serde(default)]
    pub generate: bool,
    /// How long both values are valid, if not as the policy says.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub overlap: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// Goes on although a rotation costs something, like pairing devices again.
    #[serde(default)]
    pub accept_cost: bool,
    /// What the bridge calls the new value, if a person had the bridge issue it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub remote_id: Option<String>,
}

/// `POST …/confirm`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmRequest {
    /// The dependent that uses the new value now.
    pub dependent: String,
}

/// What became of a credential that was retired.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Retired {
    /// The credential.
    pub name: String,
    /// Its environment.
    pub environment: String,
    /// Whether its end is on the disk. Nothing of it is given out any more in either case.
    pub durable: bool,
    /// Leases that were ended.
    pub leases_ended: usize,
    /// Service tokens that were for this credential alone, and are revoked.
    pub tokens_revoked: Vec<String>,
    /// Values that the bridge was asked to end.
    pub revoked_at_bridge: usize,
    /// When its data keys are destroyed.
    pub shred_at: String,
    /// What is left to do by hand.
    pub by_hand: Vec<String>,
}

/// `POST …/retire`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetireRequest {
    /// After how long the data keys are destroyed, like `7d`; `0s` for at once.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub grace: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// A code, on the gateway's own machine, where no session can be fresh: a place that uses a critical credential is
    /// not taken out of it without one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub second_factor: Option<SecondFactor>,
}

/// How far the values of an environment lie under its newest key-encryption key.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RewrapView {
    /// The environment.
    pub environment: String,
    /// The newest epoch.
    pub epoch: u32,
    /// Values under it.
    pub done: u64,
    /// All values.
    pub total: u64,
}
