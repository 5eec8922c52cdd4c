//! Grants: which credentials a service token reaches, and what may be done with them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::credential::{Action, CredentialName};

/// Grants of one token at most.
pub const GRANTS_MAX: usize = 64;

/// The credentials that a grant is for. A star represents a whole key or a whole name, never
/// for a part of one: `hue/*` and `*`, but not `hue/api-*` nor `*/api-key`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pattern {
    /// Every credential of the environment.
    All,
    /// Every credential of one bridge.
    Bridge(Box<str>),
    /// One credential.
    One(CredentialName),
}

impl Pattern {
    fn covers(&self, name: &CredentialName) -> bool {
        match self {
            Self::All => true,
            Self::Bridge(bridge) => name.bridge() == &**bridge,
            Self::One(one) => one == name,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Bridge(bridge) => write!(f, "{bridge}/*"),
            Self::One(name) => name.fmt(f),
        }
    }
}

/// Why a text is no grant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGrant {
    /// Not a pattern, a colon and an action.
    #[error(
        "the grant {0:?} is not valid: write bridge/key:action, bridge/*:action or *:action, with one \
         of the actions list, read, lease, rotate, write"
    )]
    Malformed(String),
    /// None, or too many.
    #[error("a token has 1 to {GRANTS_MAX} grants")]
    Number,
}

/// One action on some credentials.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Grant {
    /// The credentials.
    pub pattern: Pattern,
    /// What may be done with them.
    pub action: Action,
}

impl FromStr for Grant {
    type Err = InvalidGrant;
    fn from_str(text: &str) -> Result<Self, InvalidGrant> {
        let malformed = || InvalidGrant::Malformed(text.chars().take(160).collect());
        let (pattern, action) = text.rsplit_once(':').ok_or_else(malformed)?;
        let action = action.parse().map_err(|_| malformed())?;
        let pattern = match pattern.strip_suffix("/*") {
            _ if pattern == "*" => Pattern::All,
            // A bridge is what precedes a key: any key will do to judge it.
            Some(bridge) => match format!("{bridge}/x").parse::<CredentialName>() {
                Ok(name) => Pattern::Bridge(name.bridge().into()),
                Err(_) => return Err(malformed()),
            },
            None => Pattern::One(pattern.parse().map_err(|_| malformed())?),
        };
        Ok(Self { pattern, action })
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.pattern, self.action)
    }
}

impl TryFrom<String> for Grant {
    type Error = InvalidGrant;
    fn try_from(text: String) -> Result<Self, InvalidGrant> {
        text.parse()
    }
}

impl From<Grant> for String {
    fn from(grant: Grant) -> String {
        grant.to_string()
    }
}

/// All that a token may do within its environment. No action implies another: who may read a
/// value may not list what else is known of it, unless that is granted too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Grant>", into = "Vec<Grant>")]
pub struct Grants(Vec<Grant>);

impl Grants {
    /// Whether they permit an action on a credential of their environment.
    pub fn permit(&self, action: Action, name: &CredentialName) -> bool {
        self.0
            .iter()
            .any(|grant| grant.action == action && grant.pattern.covers(name))
    }

    /// Each of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Grant> {
        self.0.iter()
    }

    /// Each of them as a text.
    pub fn texts(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }
}

impl TryFrom<Vec<Grant>> for Grants {
    type Error = InvalidGrant;
    fn try_from(mut grants: Vec<Grant>) -> Result<Self, InvalidGrant> {
        grants.sort_unstable();
        grants.dedup();
        if (1..=GRANTS_MAX).contains(&grants.len()) {
            Ok(Self(grants))
        } else {
            Err(InvalidGrant::Number)
        }
    }
}

impl From<Grants> for Vec<Grant> {
    fn from(grants: Grants) -> Self {
        grants.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(texts: &[&str]) -> Grants {
        let grants: Vec<Grant> = texts.iter().map(|text| text.parse().unwrap()).collect();
        grants.try_into().unwrap()
    }

    #[test]
    fn a_grant_reaches_one_credential_one_bridge_or_all_of_them() {
        let held = grants(&["hue/api-key:read", "ha/*:lease", "*:list"]);
        for (action, name, permitted) in [
            (Action::Read, "hue/api-key", true),
            (Action::Read, "hue/other", false),
            (Action::Lease, "hue/api-key", false),
            (Action::Lease, "ha/token", true),
            (Action::Lease, "hat/token", false),
            (Action::List, "any/thing", true),
            (Action::Write, "ha/token", false),
        ] {
            let name: CredentialName = name.parse().unwrap();
            assert_eq!(held.permit(action, &name), permitted, "{action} {name}");
        }
    }

    #[test]
    fn a_star_stands_for_a_whole_part_and_a_grant_for_one_action() {
        for good in ["*:list", "hue/*:read", "hue/api-key:write"] {
            assert_eq!(good.parse::<Grant>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "*",
            ":read",
            "hue:read",
            "hue/api-key",
            "hue/api-*:read",
            "*/api-key:read",
            "**:read",
            "hue/*/*:read",
            "hue/**:read",
            "/*:read",
            "hue/api-key:*",
            "hue/api-key:own",
            "hue/api-key: read",
            "*:list,read",
            "Hue/*:read",
        ] {
            assert!(bad.parse::<Grant>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_token_has_at_least_one_grant_and_not_endlessly_many() {
        assert_eq!(Grants::try_from(Vec::new()), Err(InvalidGrant::Number));
        let grant = |n: usize| format!("hue/k{n}:read").parse::<Grant>().unwrap();
        let all: Vec<Grant> = (0..=GRANTS_MAX).map(grant).collect();
        assert_eq!(Grants::try_from(all), Err(InvalidGrant::Number));
        let twice = vec![grant(1), grant(1)];
        assert_eq!(Grants::try_from(twice).unwrap().texts(), ["hue/k1:read"]);
    }
}
