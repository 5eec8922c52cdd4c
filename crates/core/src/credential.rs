//! Credentials: what the inventory keeps about every secret and key, apart from its value.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::EnvironmentName;
use crate::rotation::RotationPolicy;
pub use crate::tier::{InvalidTier, Tier};
use crate::time::Timestamp;
use crate::words::words;

/// Why a text is not a credential's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "credential name {0:?} is not valid: write bridge/key, each 1 to 63 of the characters a-z, \
     0-9, - and _, beginning and ending with a letter or digit"
)]
pub struct InvalidCredentialName(String);

/// A credential's name within its environment: `bridge/key`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CredentialName(Box<str>);

fn is_part(text: &str) -> bool {
    let bytes = text.as_bytes();
    let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|b| inner(b) || matches!(b, b'-' | b'_'))
        && inner(&bytes[0])
        && inner(&bytes[bytes.len() - 1])
}

impl CredentialName {
    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The bridge that it belongs to.
    pub fn bridge(&self) -> &str {
        self.0.split_once('/').map_or("", |(bridge, _)| bridge)
    }

    /// Whether it is one of the gateway's own, which is no bridge's.
    pub fn is_own(&self) -> bool {
        OWN_BRIDGES.contains(&self.bridge())
    }

    /// Its name within the bridge.
    pub fn key(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, key)| key)
    }
}

impl FromStr for CredentialName {
    type Err = InvalidCredentialName;
    fn from_str(text: &str) -> Result<Self, InvalidCredentialName> {
        match text.split_once('/') {
            Some((bridge, key)) if is_part(bridge) && is_part(key) => Ok(Self(text.into())),
            _ => Err(InvalidCredentialName(text.chars().take(80).collect())),
        }
    }
}

impl TryFrom<String> for CredentialName {
    type Error = InvalidCredentialName;
    fn try_from(text: String) -> Result<Self, InvalidCredentialName> {
        text.parse()
    }
}

impl From<CredentialName> for String {
    fn from(name: CredentialName) -> String {
        name.0.into()
    }
}

impl fmt::Display for CredentialName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A credential in its environment: names are never shared between two of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CredentialId {
    /// The environment.
    pub environment: EnvironmentName,
    /// The name within it.
    pub name: CredentialName,
}

impl fmt::Display for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.environment, self.name)
    }
}

words! {
    /// What may be done with a credential; what a token's grants name.
    Action, "action", InvalidAction {
        /// See that it exists and what is known about it, never its value.
        List = "list",
        /// Obtain its value: `reveal`, `run` and `render`.
        Read = "read",
        /// Obtain a short-lived hand-out of it, and end one's own.
        Lease = "lease",
        /// Begin, confirm or undo a rotation.
        Rotate = "rotate",
        /// Add it, or give it a new value.
        Write = "write",
    }
}

words! {
    /// What a credential is.
    Kind, "kind of credential", InvalidKind {
        /// A password, with or without a user name.
        Password = "password",
        /// A token that a bridge or a cloud has issued.
        ApiToken = "api-token",
        /// A key that names an application to a bridge or a cloud.
        ApiKey = "api-key",
        /// A Wi-Fi passphrase.
        WifiKey = "wifi-key",
        /// A Zigbee network key.
        ZigbeeKey = "zigbee-key",
        /// A symmetric key.
        EncryptionKey = "encryption-key",
        /// A private key that signs.
        SigningKey = "signing-key",
        /// Anything else.
        Other = "other",
        /// A device's certificate. The device holds its key.
        Certificate = "certificate",
        /// The key of a certificate authority of this home.
        CaKey = "ca-key",
        /// The key of the gateway's own server certificate.
        ServerKey = "server-key",
        /// The key that signs the audit log.
        LogKey = "log-key",
        /// A token that this gateway has issued to a service.
        ServiceToken = "service-token",
    }
}

impl Kind {
    /// Whether the gateway keeps such credentials itself, so that nobody adds one by hand.
    pub fn is_own(self) -> bool {
        matches!(
            self,
            Self::Certificate | Self::CaKey | Self::ServerKey | Self::LogKey | Self::ServiceToken
        )
    }
}

words! {
    /// Where a credential's value is kept.
    Custody, "custody", InvalidCustody {
        /// In this vault.
        Vault = "vault",
        /// Elsewhere: it is only recorded here.
        External = "external",
        /// By the gateway itself, or by the device that made it.
        Own = "own",
    }
}

words! {
    /// How a value came into the inventory.
    Origin, "origin", InvalidOrigin {
        /// A person entered it.
        Entered = "entered",
        /// The gateway generated it.
        Generated = "generated",
        /// A bridge issued it to the gateway.
        Minted = "minted",
        /// It was read from a file that a person named.
        Imported = "imported",
        /// Only its existence was recorded.
        Recorded = "recorded",
        /// The gateway or a device made it for itself.
        Own = "own",
    }
}

words! {
    /// The state of a credential: `active → retired → destroyed`.
    State, "state", InvalidState {
        /// In use.
        Active = "active",
        /// Out of use: nothing is given out, and its data keys wait for their destruction.
        Retired = "retired",
        /// Its data keys are destroyed.
        Destroyed = "destroyed",
    }
}

words! {
    /// The state of one version of a value.
    VersionState, "state of a version", InvalidVersionState {
        /// Stored, but not yet known to work.
        Pending = "pending",
        /// The one that is given out.
        Current = "current",
        /// Replaced, and still working until everything has switched.
        Previous = "previous",
        /// Replaced for good; kept until its data key is destroyed, so that a rotation can be undone.
        Retired = "retired",
        /// It did not work, or was taken back.
        Failed = "failed",
        /// Its data key is destroyed.
        Destroyed = "destroyed",
    }
}

impl VersionState {
    /// Whether the value works, as far as the gateway can tell.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Current | Self::Previous)
    }
}

/// Names of bridges that are the gateway's own, so that no credential of a person is there.
pub const OWN_BRIDGES: [&str; 5] = ["device", "ca", "server", "log", "token"];
/// Is in a path for the environment of what belongs to the whole home.
pub const WHOLE_HOME: &str = "-";
/// Characters of an owner, a purpose, a place or a note at most.
pub const TEXT_MAX_CHARS: usize = 200;
/// Places in which one credential is used, at most.
pub const PLACES_MAX: usize = 64;

/// Where a credential came from (R12).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// How.
    pub origin: Origin,
    /// From what: a file, a bridge.
    pub source: Option<String>,
    /// By whom it was added.
    pub by: String,
    /// From which address.
    pub address: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// A credential, without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Its environment and name.
    pub id: CredentialId,
    /// What it is.
    pub kind: Kind,
    /// Who is responsible for it.
    pub owner: String,
    /// What it is for.
    pub purpose: String,
    /// How much harm its loss does.
    pub tier: Tier,
    /// Where its value is kept.
    pub custody: Custody,
    /// Where exactly, if elsewhere.
    pub location: Option<String>,
    /// Where it came from.
    pub provenance: Provenance,
    /// Its state.
    pub state: State,
    /// When and how it is rotated.
    pub rotation: RotationPolicy,
    /// Where it is used: each place confirms a rotation.
    pub used_by: Vec<String>,
    /// What it may do, as declared; empty if nobody said.
    pub scopes: Vec<String>,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
}

/// Why a text about a credential is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFacts {
    /// A required text is missing or too long, or could steer a terminal.
    #[error(
        "the {0} is required: 1 to {TEXT_MAX_CHARS} characters, none of them a control character"
    )]
    Text(&'static str),
    /// Too many places.
    #[error("{0} places are named; {PLACES_MAX} are allowed")]
    Places(usize),
    /// The gateway's own.
    #[error("names that begin with {0}/ and credentials of that kind are the gateway's own")]
    Own(String),
}

/// A text that a person gave, within its bounds.
pub fn checked_text(what: &'static str, text: &str) -> Result<String, InvalidFacts> {
    let text = text.trim();
    let count = text.chars().count();
    if count == 0 || count > TEXT_MAX_CHARS || text.chars().any(char::is_control) {
        return Err(InvalidFacts::Text(what));
    }
    Ok(text.to_owned())
}

/// A list of texts within its bounds, without repetitions.
pub fn checked_texts(what: &'static str, texts: &[String]) -> Result<Vec<String>, InvalidFacts> {
    if texts.len() > PLACES_MAX {
        return Err(InvalidFacts::Places(texts.len()));
    }
    let mut checked = Vec::with_capacity(texts.len());
    for text in texts {
        let text = checked_text(what, text)?;
        if !checked.contains(&text) {
            checked.push(text);
        }
    }
    Ok(checked)
}

/// Whether people may add a credential of this name and kind.
pub fn check_not_own(name: &CredentialName, kind: Kind) -> Result<(), InvalidFacts> {
    if name.is_own() {
        return Err(InvalidFacts::Own(name.bridge().to_owned()));
    }
    if kind.is_own() {
        return Err(InvalidFacts::Own(kind.to_string()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_bridge_and_a_key_and_never_a_path() {
        for good in ["hue/api-key", "ha/token_1", "a/b", "wifi/0"] {
            let name: CredentialName = good.parse().unwrap();
            assert_eq!(format!("{}/{}", name.bridge(), name.key()), good);
        }
        for bad in [
            "",
            "hue",
            "hue/",
            "/key",
            "../key",
            "hue/..",
            "hue/./key",
            "hue/a/b",
            "hue//key",
            "Hue/key",
            "hue/key\0",
            "hue/ key",
            "hue/-key",
            "hue/key_",
            "hue\\key",
            "hue/%2e",
            "hü/key",
            &format!("hue/{}", "x".repeat(64)),
        ] {
            assert!(bad.parse::<CredentialName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_word_that_is_none_is_answered_with_those_there_are() {
        let error = "own".parse::<Action>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"own\" is an unknown action: use one of list, read, lease, rotate, write"
        );
    }
}
