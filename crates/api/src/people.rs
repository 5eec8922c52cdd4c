//! People, how they log in, and their sessions.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::second_factor::SecondFactor;

/// A ceremony has begun (WebAuthn): what the browser is asked for.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CeremonyBegun {
    /// Names it when it is finished, within five minutes.
    pub ceremony: String,
    /// What `navigator.credentials` is given, with bytes as base64url.
    #[schema(value_type = Object)]
    pub options: Value,
}

/// The browser's answer to a ceremony.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CeremonyAnswer {
    /// The ceremony.
    pub ceremony: String,
    /// What `navigator.credentials` gave, with bytes as base64url.
    #[schema(value_type = Object)]
    pub credential: Value,
    /// What a new passkey is to be called.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub label: Option<String>,
}

/// `POST /api/v1/session/password`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordLogin {
    /// Who.
    pub name: String,
    /// Their password.
    pub password: String,
    /// The six digits that their authenticator shows (RFC 6238).
    pub code: String,
}

/// `POST /api/v1/session/recovery`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RecoveryLogin {
    /// Who.
    pub name: String,
    /// One of their recovery codes.
    pub code: String,
}

/// `POST /api/v1/session/step-up/code`, and the end of setting a password.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CodeAnswer {
    /// The ceremony, where there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ceremony: Option<String>,
    /// Whose code it is, in the desktop window: nobody is logged in there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub person: Option<String>,
    /// The six digits that the authenticator shows.
    pub code: String,
}

/// Who is asking, and what they may do.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SessionInfo {
    /// The home's id.
    pub home: String,
    /// The person's name, or that of the user on the gateway's own machine.
    pub name: String,
    /// `person`, or `local` for callers on the socket or at the desktop window.
    pub caller: String,
    /// The role, or `local`.
    pub role: String,
    /// Where it holds; everywhere if none are named.
    pub environments: Vec<String>,
    /// The acts that it permits somewhere.
    pub may: Vec<String>,
    /// What writes of this session carry as `x-hearthkey-csrf`; none where there is no cookie.
    pub csrf: Option<String>,
    /// When the session ends if it is not used.
    pub expires_at: Option<String>,
    /// Until when the second factor is fresh.
    pub fresh_until: Option<String>,
    /// With what a second factor can be shown: `passkey`, `code`. At the desktop window it is a code, and names its person.
    pub ways: Vec<String>,
}

/// A live session of a person.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WebSessionView {
    /// Its id.
    pub id: String,
    /// Whose.
    pub person: String,
    /// Their role.
    pub role: String,
    /// When they logged in.
    pub created_at: String,
    /// When it was last used, to the minute.
    pub last_used_at: String,
    /// When it ends if it is not used.
    pub expires_at: String,
    /// Where it came from at first.
    pub address: String,
    /// What the browser says it is.
    pub agent: String,
    /// Whether it is the one that asks.
    pub this: bool,
}

/// `GET /api/v1/sessions`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WebSessionList {
    /// The sessions, those used last first.
    pub sessions: Vec<WebSessionView>,
}

/// What was ended.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Ended {
    /// Its id or name.
    pub ended: String,
    /// Whether it is on the disk. If not, it holds in memory and is tried again until it is.
    pub durable: bool,
}

/// An invitation's token.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InvitationToken {
    /// The part of the link after `#`.
    pub token: String,
    /// By what name, where the invitation does not say; only to begin.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// The password, where one is set; only to begin.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub password: Option<String>,
}

/// What an invitation is for.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct InvitationView {
    /// The home's id.
    pub home: String,
    /// The role.
    pub role: String,
    /// Where it holds; everywhere if none are named.
    pub environments: Vec<String>,
    /// Whom it is for; none where they choose.
    pub name: Option<String>,
    /// Whether a passkey can be made under the name by which this was asked.
    pub passkeys: bool,
    /// Why not.
    pub why_no_passkeys: Option<String>,
    /// Whether it makes the home's first owner.
    pub first: bool,
    /// Until when it may be taken up.
    pub expires_at: String,
}

/// A password waits for its second factor.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct PasswordBegun {
    /// Names it when it is confirmed, within five minutes.
    pub ceremony: String,
    /// For the authenticator, as a QR code.
    pub totp_uri: String,
    /// The same secret as text, base32.
    pub totp_secret: String,
}

/// Somebody has joined.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct Welcome {
    /// Their session.
    pub session: SessionInfo,
    /// Their recovery codes, shown here and never again.
    pub recovery_codes: Vec<String>,
}

/// New recovery codes, shown here and never again.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct RecoveryCodes {
    /// The codes.
    pub recovery_codes: Vec<String>,
}

/// A person.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PersonView {
    /// Their name.
    pub name: String,
    /// Their role.
    pub role: String,
    /// Where it holds; everywhere if none are named.
    pub environments: Vec<String>,
    /// `active`, `invited` or `ended`.
    pub state: String,
    /// When they were invited.
    pub created_at: String,
    /// When they were last here.
    pub last_seen_at: Option<String>,
    /// Until when an open invitation may be taken up.
    pub invited_until: Option<String>,
    /// Passkeys they have.
    pub passkeys: usize,
    /// Whether they have a password.
    pub password: bool,
    /// Recovery codes they have left.
    pub recovery_codes_left: u32,
}

/// `GET /api/v1/people`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PersonList {
    /// Whether somebody owns the home and can log in.
    pub has_owner: bool,
    /// Everybody, those whose access has ended last.
    pub people: Vec<PersonView>,
}

/// `POST /api/v1/people/{name}/change`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PersonChanged {
    /// Everybody by now.
    #[serde(flatten)]
    pub list: PersonList,
    /// Whether it is on the disk. If not, what it takes is taken all the same, and it is tried again until it is.
    pub durable: bool,
}

/// `POST /api/v1/people`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PersonRequest {
    /// By what name.
    pub name: String,
    /// `owner`, `operator`, `developer` or `auditor`.
    pub role: String,
    /// Where it holds; everywhere if none are named.
    #[serde(default)]
    pub environments: Vec<String>,
    /// A code, on the gateway's own machine, where no session can be fresh: a role needs one that may do
    /// what needs one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub second_factor: Option<SecondFactor>,
}

/// `POST /api/v1/people/{name}/change`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PersonChange {
    /// `owner`, `operator`, `developer` or `auditor`.
    pub role: String,
    /// Where it holds; everywhere if none are named.
    #[serde(default)]
    pub environments: Vec<String>,
    /// A code, on the gateway's own machine, where no session can be fresh: a role needs one that may do
    /// what needs one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub second_factor: Option<SecondFactor>,
}

/// Somebody is invited. The link is shown here and never again.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct Invited {
    /// Their name; none for the first owner, who chooses.
    pub name: Option<String>,
    /// Where they make a way in, once.
    pub url: String,
    /// Until when.
    pub expires_at: String,
}

/// A passkey.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PasskeyView {
    /// Its credential id, as base64url.
    pub id: String,
    /// What its person calls it.
    pub label: String,
    /// When it was added.
    pub created_at: String,
    /// When it was last used.
    pub last_used_at: Option<String>,
}

/// `GET /api/v1/people/me`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OwnWays {
    /// The person's name.
    pub name: String,
    /// Passkeys, the oldest first.
    pub passkeys: Vec<PasskeyView>,
    /// Whether there is a password.
    pub password: bool,
    /// Recovery codes that are left.
    pub recovery_codes_left: u32,
}

/// `POST /api/v1/people/me/passkeys/{id}/end`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WaysChanged {
    /// What is left.
    #[serde(flatten)]
    pub ways: OwnWays,
    /// Whether it is on the disk. If not, it holds in memory and is tried again until it is.
    pub durable: bool,
}

/// `POST /api/v1/people/me/password`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordRequest {
    /// The new password.
    pub password: String,
}
