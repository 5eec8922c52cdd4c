//! Errors as RFC 9457 problem details, with a stable code and a remedy.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The stable codes. Add, never rename.
pub mod code {
    /// The request is not of the right shape.
    pub const INVALID: &str = "invalid";
    /// The caller may not do this.
    pub const FORBIDDEN: &str = "forbidden";
    /// There is no such thing.
    pub const NOT_FOUND: &str = "not_found";
    /// It is archived, and not here any more.
    pub const ARCHIVED: &str = "archived";
    /// A rule forbids it in the current state.
    pub const REFUSED: &str = "refused";
    /// The facts changed while deciding.
    pub const CONFLICT: &str = "conflict";
    /// The gateway is sealed.
    pub const SEALED: &str = "gateway_sealed";
    /// The storage cannot be written or read.
    pub const STORAGE: &str = "storage_unavailable";
    /// The home is read-only until a person has looked at an incident.
    pub const READ_ONLY: &str = "read_only";
    /// A stored value cannot be decrypted: it was moved or altered.
    pub const UNOPENED: &str = "unopened";
    /// A backup could not be made or read.
    pub const BACKUP: &str = "backup_failed";
    /// A bridge failed.
    pub const BRIDGE: &str = "bridge_failed";
    /// The request names another host: it is not for this gateway.
    pub const MISDIRECTED: &str = "misdirected";
    /// A page of another origin may not do this.
    pub const CROSS_ORIGIN: &str = "cross_origin";
    /// The request carries no session, or one that has ended.
    pub const NOT_LOGGED_IN: &str = "not_logged_in";
    /// The login failed. Which part was wrong is not reported.
    pub const LOGIN_FAILED: &str = "login_failed";
    /// The write does not carry what its session requires.
    pub const CSRF: &str = "csrf";
    /// A second factor must be shown first.
    pub const SECOND_FACTOR_NEEDED: &str = "second_factor_needed";
    /// It was asked too often.
    pub const RATE_LIMITED: &str = "rate_limited";
    /// The gateway works on as much as it can.
    pub const BUSY: &str = "busy";
    /// The request did not come in time.
    pub const TIMED_OUT: &str = "timed_out";
    /// Nothing shows that the proof is new: it needs the nonce that the answer holds. The other
    /// codes about tokens and proofs are in docs/API.md.
    pub const PROOF_NEEDS_NONCE: &str = "proof_needs_nonce";
    /// The thing is not of the version that the write expects.
    pub const CHANGED_MEANWHILE: &str = "changed_meanwhile";
    /// The idempotency key came with another request before.
    pub const KEY_REUSED: &str = "idempotency_key_reused";
    /// There is no home where the desktop window looks for one.
    pub const NO_HOME: &str = "no_home";
    /// Another gateway runs on the home that the desktop window would open.
    pub const HOME_IN_USE: &str = "home_in_use";
    /// The home that the desktop window has does not open.
    pub const UNOPENED_HOME: &str = "unopened_home";
    /// A fault of the gateway itself.
    pub const INTERNAL: &str = "internal";
}

/// A problem (RFC 9457): what, why, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// The stable code.
    pub code: String,
    /// The HTTP status.
    pub status: u16,
    /// What went wrong, in one sentence.
    pub title: String,
    /// Why.
    pub detail: String,
    /// What to do about it. A sentence with a command or a flag in backticks is for the command line; other interfaces
    /// leave it out.
    pub remedy: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.title, self.detail, self.remedy)
    }
}
