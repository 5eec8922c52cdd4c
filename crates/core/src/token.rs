//! Service tokens: short-lived, bound to a key, limited to named credentials and actions, or to what a role may do.
//!
//! A token ends in two steps. When it *expires*, its bearer may renew it, with the same proof as
//! for any other use; the value stays what it is, because without the key it is worth nothing, and
//! because an answer that is lost on the way must not lock a pipeline out. Beyond its *ceiling* it
//! is *held*: only a person can authorize it again.

use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

use crate::id::{DeviceId, Fingerprint, TokenId, TokenName, hex, unhex};
use crate::power::Power;
use crate::proof::KeyId;
use crate::time::{Span, Timestamp};

/// How long a token lives when nobody says otherwise.
pub const TTL_DEFAULT: Span = Span::hours(1);
/// The longest a token lives without being renewed.
pub const TTL_MAX: Span = Span::hours(24);
/// How long a token may be renewed when nobody says otherwise.
pub const CEILING_DEFAULT: Span = Span::days(7);
/// The longest a token may be renewed before a person authorizes it again.
pub const CEILING_MAX: Span = Span::days(30);
/// The shortest life, and the lowest ceiling.
pub const SPAN_MIN: Span = Span::s(1);
/// Tokens of a home that are not revoked, at most.
pub const TOKENS_MAX: usize = 1024;
/// What every token begins with, for those who look for leaked ones.
pub const PREFIX: &str = "hk1_";
/// The name in paths for the token that asks, which no token can have.
pub const SELF: &str = "self";

/// The value of a token: 256 random bits. It is shown once and stored as a hash.
///
/// As text: `hk1_`, 64 hexadecimal digits, and 8 more that are the first of the SHA-256 of what
/// precedes them, so that a scanner can tell a token from a lookalike.
#[derive(Clone)]
pub struct TokenSecret(Zeroizing<[u8; 32]>);

fn checksum(text: &str) -> String {
    hex(&Fingerprint::of(text.as_bytes()).0[..4])
}

impl TokenSecret {
    /// The secret made of 32 random bytes.
    pub fn from_random(random: [u8; 32]) -> Self {
        Self(Zeroizing::new(random))
    }

    /// Reads a token; none if it is not of the right form or its checksum is wrong.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PREFIX)?;
        let (secret, sum) = digits.split_at_checked(64)?;
        let bare = text.strip_suffix(sum)?;
        let lower = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        if !digits.chars().all(lower) || checksum(bare) != sum {
            return None;
        }
        unhex(secret).map(|bytes| Self(Zeroizing::new(bytes)))
    }

    /// What is stored of the token, and what a proof's `ath` names: SHA-256 of its text. 256
    /// random bits need no slow hash.
    pub fn hash(&self) -> Fingerprint {
        Fingerprint::of(self.reveal().as_bytes())
    }

    /// The token as text, for the one time that it is shown.
    pub fn reveal(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(80));
        text.push_str(PREFIX);
        text.push_str(&Zeroizing::new(hex(self.0.as_slice())));
        let sum = checksum(&text);
        text.push_str(&sum);
        text
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSecret(…)")
    }
}

/// What the bearer of a token must hold besides the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binding {
    /// The key that signs a proof with each request.
    Key(KeyId),
    /// Any live certificate of a device, in the TLS handshake.
    Device(DeviceId),
    /// One live certificate, in the TLS handshake.
    Certificate(Fingerprint),
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(f, "key:{key}"),
            Self::Device(device) => write!(f, "device:{device}"),
            Self::Certificate(sha256) => write!(f, "certificate:{sha256}"),
        }
    }
}

/// Why a text is no binding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a token cannot be bound to {0:?}: write device:ID, or certificate: and the SHA-256 of a \
     certificate in hexadecimal"
)]
pub struct InvalidBinding(String);

impl FromStr for Binding {
    type Err = InvalidBinding;
    fn from_str(text: &str) -> Result<Self, InvalidBinding> {
        let invalid = || InvalidBinding(text.chars().take(120).collect());
        match text.split_once(':') {
            Some(("key", id)) => id.parse().map(Self::Key).map_err(|_| invalid()),
            Some(("device", id)) => id.parse().map(Self::Device).map_err(|_| invalid()),
            Some(("certificate", id)) => id.parse().map(Self::Certificate).map_err(|_| invalid()),
            _ => Err(invalid()),
        }
    }
}

/// A service token as the registry has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// What it is called.
    pub name: TokenName,
    /// What it may do, and where.
    pub power: Power,
    /// Who is responsible for it.
    pub owner: String,
    /// What it is for.
    pub purpose: String,
    /// Who made it, as the audit log names them.
    pub made_by: String,
    /// What its bearer must hold besides it.
    pub binding: Binding,
    /// What is stored of its value.
    pub hash: Fingerprint,
    /// How long it lives after a renewal.
    pub ttl: Span,
    /// How long it may be renewed after a person has authorized it.
    pub ceiling: Span,
    /// When it was made.
    pub created_at: Timestamp,
    /// When a person last authorized it.
    pub authorized_at: Timestamp,
    /// From when on it has to be renewed before it is used.
    pub expires_at: Timestamp,
    /// When it was revoked, if it was.
    pub revoked_at: Option<Timestamp>,
}

/// What is asked for when a token is made.
#[derive(Debug, Clone)]
pub struct TokenRequest {
    /// What to call it.
    pub name: TokenName,
    /// What it may do, and where.
    pub power: Power,
    /// Who is responsible for it.
    pub owner: String,
    /// What it is for.
    pub purpose: String,
    /// Who asks, as the audit log names them.
    pub made_by: String,
    /// What its bearer must hold besides it.
    pub binding: Binding,
    /// How long it lives after a renewal.
    pub ttl: Span,
    /// How long it may be renewed.
    pub ceiling: Span,
}

/// Why a token was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestRefusal {
    /// A life out of bounds.
    #[error("a token is valid for 1 second to 24 hours, and can be renewed for 30 days at most")]
    Lifetime,
    /// Owner or purpose missing or too long.
    #[error("{0} is required: 1 to 200 characters, on one line")]
    Text(&'static str),
    /// A name that means something else.
    #[error("a token cannot be called {SELF}: choose another name")]
    ReservedName,
    /// A role for whatever a device is.
    #[error("a token with a role is bound to a key of its own, not to a device's certificate")]
    RoleOfDevice,
}

impl TokenRequest {
    /// The token as asked for, alive from now on.
    pub fn grant(
        self,
        id: TokenId,
        hash: Fingerprint,
        now: Timestamp,
    ) -> Result<Token, RequestRefusal> {
        if self.name.as_str() == SELF {
            return Err(RequestRefusal::ReservedName);
        }
        if self.power.mandate().is_some() && !matches!(self.binding, Binding::Key(_)) {
            return Err(RequestRefusal::RoleOfDevice);
        }
        let in_bounds = (SPAN_MIN..=TTL_MAX).contains(&self.ttl)
            && (SPAN_MIN..=CEILING_MAX).contains(&self.ceiling);
        if !in_bounds {
            return Err(RequestRefusal::Lifetime);
        }
        for (name, text) in [("owner", &self.owner), ("purpose", &self.purpose)] {
            let length = text.chars().count();
            if text.trim().is_empty() || length > 200 || text.chars().any(char::is_control) {
                return Err(RequestRefusal::Text(name));
            }
        }
        let mut token = Token {
            id,
            name: self.name,
            power: self.power,
            owner: self.owner.trim().to_owned(),
            purpose: self.purpose.trim().to_owned(),
            made_by: self.made_by,
            binding: self.binding,
            hash,
            ttl: self.ttl,
            ceiling: self.ceiling,
            created_at: now,
            authorized_at: now,
            expires_at: now,
            revoked_at: None,
        };
        token.expires_at = token.renewed_until(now);
        Ok(token)
    }
}

/// The state of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It may be used.
    Live,
    /// It has to be renewed first.
    Expired,
    /// A person has to authorize it again.
    Held,
    /// It is gone for good.
    Revoked,
}

impl Standing {
    /// The word used in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Expired => "expired",
            Self::Held => "held",
            Self::Revoked => "revoked",
        }
    }
}

impl Token {
    /// Until when it may be renewed without a person.
    pub fn renewable_until(&self) -> Timestamp {
        self.authorized_at.after(self.ceiling)
    }

    /// When it would expire if it were renewed now.
    pub fn renewed_until(&self, now: Timestamp) -> Timestamp {
        now.after(self.ttl).min(self.renewable_until())
    }

    /// Its state.
    pub fn standing(&self, now: Timestamp) -> Standing {
        if self.revoked_at.is_some() {
            Standing::Revoked
        } else if now >= self.renewable_until() {
            Standing::Held
        } else if now >= self.expires_at {
            Standing::Expired
        } else {
            Standing::Live
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::grant::Grant;
    use crate::role::{Mandate, Role};

    pub(crate) fn secret() -> TokenSecret {
        TokenSecret::from_random([9; 32])
    }

    fn request(binding: Binding) -> TokenRequest {
        let grant: Grant = "hue/*:read".parse().unwrap();
        TokenRequest {
            name: "ci".parse().unwrap(),
            power: Power::Grants {
                environment: "lab".parse().unwrap(),
                grants: vec![grant].try_into().unwrap(),
            },
            owner: " anna ".into(),
            purpose: "tests".into(),
            made_by: "uid:0".into(),
            binding,
            ttl: Span::hours(1),
            ceiling: Span::hours(3),
        }
    }

    pub(crate) fn at(hours: i64) -> Timestamp {
        Timestamp::from_s(0).after(Span::hours(hours))
    }

    pub(crate) fn token(binding: Binding) -> Token {
        let id = TokenId::from_random([1; 8]);
        request(binding).grant(id, secret().hash(), at(0)).unwrap()
    }

    pub(crate) const KEY: KeyId = KeyId(Fingerprint([7; 32]));

    #[test]
    fn a_token_is_known_by_its_prefix_and_its_checksum() {
        let text = secret().reveal();
        assert_eq!(text.len(), 76);
        assert!(text.starts_with("hk1_0909"));
        let read = TokenSecret::parse(&text).unwrap();
        assert_eq!(read.hash(), secret().hash());
        assert_eq!(read.hash(), Fingerprint::of(text.as_bytes()));
        for place in 0..text.len() {
            let mut wrong = text.as_bytes().to_vec();
            wrong[place] = if wrong[place] == b'1' { b'2' } else { b'1' };
            let wrong = String::from_utf8(wrong).unwrap();
            assert!(TokenSecret::parse(&wrong).is_none(), "{wrong}");
        }
        for wrong in ["", "hk1_", "hk1_é", &text[..75], &text.to_uppercase()] {
            assert!(TokenSecret::parse(wrong).is_none(), "{wrong}");
        }
        assert!(TokenSecret::parse(&format!("{}0", *text)).is_none());
        assert_eq!(format!("{:?}", secret()), "TokenSecret(…)");
    }

    #[test]
    fn a_request_out_of_bounds_makes_no_token() {
        let refused = |change: fn(&mut TokenRequest)| {
            let mut request = request(Binding::Key(KEY));
            change(&mut request);
            let id = TokenId::from_random([1; 8]);
            request.grant(id, Fingerprint([0; 32]), at(0)).unwrap_err()
        };
        for change in [
            (|r| r.ttl = Span::hours(25)) as fn(&mut TokenRequest),
            |r| r.ttl = Span::s(0),
            |r| r.ceiling = Span::days(31),
        ] {
            assert_eq!(refused(change), RequestRefusal::Lifetime);
        }
        assert_eq!(
            refused(|r| r.owner = " ".into()),
            RequestRefusal::Text("owner")
        );
        let named = refused(|r| r.name = "self".parse().unwrap());
        assert_eq!(named, RequestRefusal::ReservedName);
        let role_of_device = refused(|r| {
            let mandate = Mandate::new(Role::Operator, Default::default());
            r.power = Power::of(mandate.unwrap()).unwrap();
            r.binding = Binding::Device("lamp".parse().unwrap());
        });
        assert_eq!(role_of_device, RequestRefusal::RoleOfDevice);
    }

    #[test]
    fn a_binding_survives_being_written_and_read() {
        for binding in [
            Binding::Key(KEY),
            Binding::Device("lamp".parse().unwrap()),
            Binding::Certificate(Fingerprint([3; 32])),
        ] {
            assert_eq!(binding.to_string().parse(), Ok(binding));
        }
        for bad in ["", "lamp", "device:", "certificate:ab", "key:x", "Device:a"] {
            assert!(bad.parse::<Binding>().is_err(), "{bad}");
        }
    }
}
