//! How the gateway is.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /api/v1/status`: answered also by a sealed gateway, which leaves out what it cannot know.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Whether the gateway is sealed.
    pub sealed: bool,
    /// The program's version.
    pub version: String,
    /// The home's id.
    pub home: String,
    /// Where it listens.
    pub listeners: Listeners,
    /// Live MQTT sessions.
    pub sessions: usize,
    /// Known devices.
    pub devices: u64,
    /// Records in the audit log.
    pub log_size: u64,
    /// The number of the first record that is here; those before are archived.
    #[serde(default)]
    pub log_first: u64,
    /// Records before this number are in an archive that this home knows of.
    #[serde(default)]
    pub log_archived_before: u64,
    /// What the records here take in the database, in bytes: an estimate by the newest of them.
    #[serde(default)]
    pub log_bytes: u64,
    /// What the gateway has written to the disk since it started; none where the system does not count that.
    #[serde(default)]
    pub written: Option<Written>,
    /// When the gateway last found its log to be what was signed; none if it has not yet, or found something else.
    #[serde(default)]
    pub log_verified_at: Option<String>,
    /// Whether home time follows the machine's clock.
    pub clock_trusted: bool,
    /// Home time.
    pub clock: ClockView,
    /// Whether the storage took the last commit.
    pub storage_available: bool,
    /// Revocations that hold in memory but could not be made durable yet.
    pub revocations_pending: usize,
    /// Until when the place for backups knows everything that was issued and revoked; none if no place is set, or nothing
    /// was put there yet.
    #[serde(default)]
    pub backed_up_until: Option<String>,
    /// Why the home is read-only, if it is.
    pub incident: Option<String>,
    /// What a person should know: the key file's warning, lines in the journal that are not ours.
    pub warnings: Vec<String>,
    /// The kinds of the slots that open the home.
    pub slots: Vec<String>,
}

/// What the gateway's process has sent to the disk, as the kernel counts it: databases, files, and what file systems add to
/// neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Written {
    /// How many bytes.
    pub bytes: u64,
    /// In how many seconds.
    pub seconds: u64,
}

impl Written {
    /// How many bytes that is in a day at this rate; none before the first hour is over.
    pub fn bytes_a_day(self) -> Option<u64> {
        let a_day = u128::from(self.bytes) * 86_400 / u128::from(self.seconds.max(1));
        (self.seconds >= 3600).then(|| u64::try_from(a_day).unwrap_or(u64::MAX))
    }
}

/// Where the gateway listens.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct Listeners {
    /// The MQTT listener's address, while it is open.
    pub mqtt: Option<String>,
    /// The HTTPS listener's address, while it is open.
    #[serde(default)]
    pub http: Option<String>,
    /// The local API's socket.
    pub socket: String,
}

/// The clock.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ClockView {
    /// Whether home time follows the machine's clock.
    pub trusted: bool,
    /// Home time.
    pub now: String,
    /// What the machine's clock shows; none while the gateway is sealed, when `now` is that.
    #[serde(default)]
    pub machine: Option<String>,
    /// Whether the machine's kernel says that its clock is synchronized; none if that is not known.
    #[serde(default)]
    pub synchronized: Option<bool>,
    /// Why home time does not follow the machine's clock, if it does not.
    #[serde(default)]
    pub doubt: Option<ClockDoubt>,
}

/// Why home time does not follow the machine's clock.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ClockDoubt {
    /// Since when, in home time.
    pub since: String,
    /// Why: `before-program`, `far-ahead`, `far-behind`, `behind` or `too-many-steps`.
    pub code: String,
    /// Why, as a sentence.
    pub says: String,
}

/// `POST /api/v1/unseal`.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct UnsealRequest {
    /// A passphrase or the recovery code.
    pub words: String,
}

/// The answer to `seal` and `unseal`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Sealing {
    /// Whether the gateway is sealed now.
    pub sealed: bool,
}
