//! Checks: what is wrong with the inventory, what a repository may use, and by what a leak is recognized.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::right::RightName;
use crate::secret::SecretValue;

/// Something that is wrong with the inventory.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FindingView {
    /// Its id.
    pub id: String,
    /// What kind of thing.
    pub kind: String,
    /// `critical`, `high` or `medium`.
    pub severity: String,
    /// With what.
    pub object: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
    /// What to do about it, for a program; none where it is not one act.
    pub remedy_action: Option<RemedyAction>,
    /// Since when it is known; none if it follows from the inventory as it is.
    pub since: Option<String>,
}

/// The one act that puts a finding right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RemedyAction {
    /// `rotate`, `narrow`, `suspend`, `retire`, `revoke` or `reauthorize`.
    pub kind: String,
    /// To what: `device:lamp`, `credential:home/hue/api-key`, `token:ci`.
    pub object: String,
    /// With `narrow`: what the device keeps, as `POST /api/v1/devices/{id}/narrow` takes it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keep: Vec<RightName>,
}

/// Findings, the worst first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FindingList {
    /// The findings.
    pub findings: Vec<FindingView>,
}

/// `GET /api/v1/posture`: what is not as it should be, the worst first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Posture {
    /// What nobody has accepted.
    pub findings: Vec<PostureFinding>,
    /// What somebody has.
    pub accepted: Vec<PostureFinding>,
}

/// A finding, why it matters, and who has accepted it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PostureFinding {
    /// The finding.
    #[serde(flatten)]
    pub finding: FindingView,
    /// Why it matters.
    pub why: String,
    /// Who has accepted it, if somebody has and it still holds.
    pub acceptance: Option<AcceptanceView>,
}

/// That somebody has accepted a finding.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AcceptanceView {
    /// Who is responsible for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: String,
    /// Who said so.
    pub by: String,
    /// Until when; for good if never.
    pub until: Option<String>,
}

/// `POST /api/v1/findings/{id}/accept`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptanceRequest {
    /// Who is responsible for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// Until when, within two years; for good if none is given.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub until: Option<String>,
}

/// `POST /api/v1/findings`: what a scan or an import saw.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FindingReport {
    /// `leaked` or `unmanaged`.
    pub kind: String,
    /// The credential, as `environment/bridge/key`, if it is one of the vault's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub credential: Option<String>,
    /// Which version of it, if that is known: one that was replaced already is not rotated again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version: Option<u32>,
    /// Where it was seen.
    pub place: String,
    /// What was seen, without the value.
    pub what: String,
}

/// `POST /api/v1/manifest/check`: what a repository's features use.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The environment in which they are looked for.
    pub environment: String,
    /// What is used.
    #[serde(default, rename = "credential")]
    pub credentials: Vec<ManifestEntry>,
}

/// One credential that a repository uses.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ManifestEntry {
    /// Its name: `bridge/key`.
    pub name: String,
    /// The feature that uses it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub feature: Option<String>,
    /// What it needs to be allowed to do; everything beyond is too broad. None if it does not matter.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub scopes: Option<Vec<String>>,
    /// What the pipeline does with it: `read` or `lease`. What its token may do beyond is too broad.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub actions: Option<Vec<String>>,
}

/// What came of checking one entry.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ManifestVerdict {
    /// Its name.
    pub name: String,
    /// Whether it may be used.
    pub ok: bool,
    /// Why not.
    pub problems: Vec<String>,
    /// What to do.
    pub remedies: Vec<String>,
}

/// What came of checking a manifest.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ManifestChecked {
    /// Whether every entry may be used.
    pub ok: bool,
    /// One for each entry.
    pub credentials: Vec<ManifestVerdict>,
}

/// `POST /api/v1/credentials/marks`: by what the vault's values can be recognized, and by nothing else.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct MarksView {
    /// The marks, as the scanner reads them. Their key was made for this one answer.
    pub marks: SecretValue,
    /// Values that are marked.
    pub marked: usize,
    /// Values that are not, because they would be found by chance, and why.
    pub not_marked: Vec<String>,
}
