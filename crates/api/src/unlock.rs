//! How the home is unlocked, and changing that.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::second_factor::SecondFactor;

/// An unlock method.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnlockMethodView {
    /// What it is called: `key-file`, `recovery-code`, or a passphrase's name. No two have the same.
    pub name: String,
    /// `key-file`, `passphrase` or `recovery-code`.
    pub kind: String,
    /// When it was added (RFC 3339); not known of one from before that was noted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub added_at: Option<String>,
    /// Whether it opens the home. A key file was tried; of words it is only known that the slot is whole.
    pub opens: bool,
    /// Whether it is a recovery code that was issued, and nobody has confirmed yet.
    pub unconfirmed: bool,
}

/// `GET /api/v1/unlock-methods`, and the answer to a change.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UnlockMethodList {
    /// The methods, the oldest first.
    pub methods: Vec<UnlockMethodView>,
    /// What the change that this answers does not protect from.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub warning: Option<String>,
}

/// `POST /api/v1/unlock-methods/passphrases`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PassphraseMethodRequest {
    /// What it is called: 1 to 63 of the characters a-z, 0-9 and -.
    pub name: String,
    /// The passphrase: 8 characters at least, 1024 bytes at most.
    pub passphrase: String,
    /// Whether it takes the place of the passphrase of this name, which then opens nothing.
    #[serde(default)]
    pub replace: bool,
    /// A person's code, where the gateway's own machine asks for one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub second_factor: Option<SecondFactor>,
}

/// `POST /api/v1/unlock-methods/key-file` and `POST /api/v1/unlock-methods/recovery-code`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UnlockMethodRequest {
    /// A person's code, where the gateway's own machine asks for one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub second_factor: Option<SecondFactor>,
}

/// A recovery code that was issued. The one before opens the home until this one is confirmed.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct RecoveryCodeIssued {
    /// The code. It is in this answer and nowhere else.
    pub recovery_code: String,
}

/// `POST /api/v1/unlock-methods/recovery-code/confirm`: from here on it is the only recovery code.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RecoveryCodeConfirmation {
    /// The code that was issued last.
    pub recovery_code: String,
}

/// `POST /api/v1/unlock-methods/{name}/remove`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UnlockMethodRemoval {
    /// Whether what follows is accepted. Without it, a removal with consequences is refused, and the refusal says what they are.
    #[serde(default)]
    pub accept: bool,
    /// A person's code, where the gateway's own machine asks for one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub second_factor: Option<SecondFactor>,
}
