//! Backups: where they go, which there are, whether they open.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::second_factor::SecondFactor;

/// `POST /api/v1/backups/plan`: what is left out stays as it is.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct BackupPlanRequest {
    /// The place: a directory by its absolute path, or as `file:///…`. Needed the first time.
    #[serde(default)]
    pub to: Option<String>,
    /// How many are kept there, from 1 to 1000.
    #[serde(default)]
    pub keep: Option<u32>,
    /// How often one is made by itself: `daily`, `weekly`, `monthly`, `never`.
    #[serde(default)]
    pub every: Option<String>,
    /// Further recipients, as age writes them (`age1…`): these, and no others. 8 at most.
    #[serde(default)]
    pub recipients: Option<Vec<String>>,
    /// A person's code, where one is asked for.
    #[serde(default)]
    pub second_factor: Option<SecondFactor>,
}

/// `POST /api/v1/backups`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct BackupRequest {
    /// The place, if it is another than the one that is set.
    #[serde(default)]
    pub to: Option<String>,
    /// A person's code, where one is asked for.
    #[serde(default)]
    pub second_factor: Option<SecondFactor>,
}

/// `POST /api/v1/backups/kit-check`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct KitCheckRequest {
    /// The recovery code, as it was typed.
    pub code: String,
}

/// Where backups go.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BackupPlanView {
    /// The place.
    pub to: String,
    /// How many are kept there.
    pub keep: u32,
    /// How often one is made by itself.
    pub every: String,
    /// Further recipients.
    pub recipients: Vec<String>,
}

/// One backup file.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BackupView {
    /// The file's name.
    pub name: String,
    /// When it was made, as its name says.
    pub made_at: String,
    /// Its length in bytes.
    pub bytes: u64,
}

/// `GET /api/v1/backups`: the backups of this home at the place that is set, newest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BackupList {
    /// Where they go; none if that is not set.
    pub plan: Option<BackupPlanView>,
    /// Whether backups can be encrypted for the recovery code. If not, the code has to be typed once.
    pub kit_known: bool,
    /// The backups, at most 1000.
    pub backups: Vec<BackupView>,
    /// Why the place cannot be read, if it cannot.
    pub unreadable: Option<String>,
    /// When the newest was made and verified.
    pub made_at: Option<String>,
    /// When one was last verified or restored.
    pub verified_at: Option<String>,
    /// Why the last attempt failed, if none has succeeded since.
    pub failed: Option<String>,
    /// Since when one is being made or verified, if one is.
    pub running_since: Option<String>,
    /// The journal beside the backups; none if no place is set.
    #[serde(default)]
    pub journal: Option<JournalShipped>,
}

/// How far the place for backups knows the journal: what was issued and revoked since the newest backup.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct JournalShipped {
    /// Until when the place knows everything; none if nothing was put there yet.
    pub known_until: Option<String>,
    /// Since when something has happened that is not there, if there is something.
    pub behind_since: Option<String>,
    /// Why it could not be put there, at the last try.
    pub failed: Option<String>,
}

/// A backup that was opened, and what of it was.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BackupVerified {
    /// The file's name.
    pub name: String,
    /// Whose it is.
    pub home: String,
    /// When it was made.
    pub made_at: String,
    /// The version of the program that made it.
    pub version: String,
    /// How many records its log has.
    pub log_size: u64,
    /// How many revocations its journal has.
    pub revocations: u64,
    /// What was opened and checked: a sentence each.
    pub opened: Vec<String>,
    /// What there was none of: a sentence each.
    pub absent: Vec<String>,
}

/// A backup that was made, verified, and has its last name.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BackupMade {
    /// Where it is.
    pub path: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// What was verified.
    pub verified: BackupVerified,
    /// Older backups that were given up for it.
    pub given_up: Vec<String>,
}

/// The plan as it is now.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BackupPlanned {
    /// Where backups go.
    pub plan: BackupPlanView,
    /// What a person should know about that.
    pub warnings: Vec<String>,
}

/// Whether a code is the recovery code, and what it opens. Nothing of it is shown.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct KitChecked {
    /// Whether it opens the home.
    pub fits: bool,
    /// Whether backups are encrypted for it only from now on.
    pub learned: bool,
    /// The backups at the place that is set, newest first, at most 100.
    pub backups: Vec<KitOpens>,
    /// Why the place cannot be read, if it cannot.
    pub unreadable: Option<String>,
}

/// Whether a code opens one backup.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct KitOpens {
    /// The file's name.
    pub name: String,
    /// Whether the code opens it.
    pub opens: bool,
}
