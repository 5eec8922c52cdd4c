//! What a token may do: what it was granted, or what a role permits.

use crate::credential::{Action, CredentialId, Tier};
use crate::grant::{Grant, Grants, Pattern};
use crate::id::EnvironmentName;
use crate::role::{Mandate, Role, Scope};

/// What the bearer of a token may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Power {
    /// Some actions on some credentials of one environment: for a service.
    Grants {
        /// The environment.
        environment: EnvironmentName,
        /// What it may do there.
        grants: Grants,
    },
    /// What a role permits without a second factor, which a token cannot show: for people who manage the home from
    /// elsewhere.
    Mandate(Mandate),
}

/// Why a token cannot have a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no token can own a home: an owner is a person, who shows a second factor")]
pub struct OwnerlessOnly;

/// Why an action on a credential is beyond what was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beyond {
    /// No grant covers it.
    NotGranted,
    /// A pattern covers it, and the credential is critical: that takes a grant with its name.
    Critical,
}

impl Power {
    /// The power of a role. Owners are people.
    pub fn of(mandate: Mandate) -> Result<Self, OwnerlessOnly> {
        match mandate.role() {
            Role::Owner => Err(OwnerlessOnly),
            _ => Ok(Self::Mandate(mandate)),
        }
    }

    /// The role and where it holds, if it is that.
    pub fn mandate(&self) -> Option<&Mandate> {
        match self {
            Self::Grants { .. } => None,
            Self::Mandate(mandate) => Some(mandate),
        }
    }

    /// The environments to which it is limited; all of them if there are none.
    pub fn environments(&self) -> Vec<&EnvironmentName> {
        match self {
            Self::Grants { environment, .. } => vec![environment],
            Self::Mandate(mandate) => mandate.environments().iter().collect(),
        }
    }

    /// Whether it holds in an environment.
    pub fn holds_in(&self, environment: &EnvironmentName) -> bool {
        let named = self.environments();
        named.is_empty() || named.contains(&environment)
    }

    /// Whether it holds nowhere but in these.
    pub fn is_within(&self, scope: Scope<'_>) -> bool {
        let named = self.environments();
        match scope {
            Scope::All => true,
            Scope::These(_) => !named.is_empty() && named.iter().all(|name| scope.has(name)),
        }
    }

    /// Whether it was granted this, on that credential. A role is no grant.
    pub fn grants(&self, action: Action, credential: &CredentialId) -> bool {
        self.granted_in(&credential.environment)
            .is_some_and(|grants| grants.permit(action, &credential.name))
    }

    /// Whether it was granted this, on a credential of that tier. A pattern lets its bearer see that a critical
    /// credential exists, and do nothing else with it: whatever is done with it may lead to its value.
    pub fn reaches(
        &self,
        action: Action,
        credential: &CredentialId,
        tier: Tier,
    ) -> Result<(), Beyond> {
        if !self.grants(action, credential) {
            return Err(Beyond::NotGranted);
        }
        let open = action == Action::List || tier != Tier::Critical;
        match open || self.names(action, credential) {
            true => Ok(()),
            false => Err(Beyond::Critical),
        }
    }

    /// Whether it was granted this by the credential's name, and not by a pattern.
    pub fn names(&self, action: Action, credential: &CredentialId) -> bool {
        let one = Pattern::One(credential.name.clone());
        let named = |grant: &Grant| grant.action == action && grant.pattern == one;
        self.granted_in(&credential.environment)
            .is_some_and(|grants| grants.iter().any(named))
    }

    /// Whether it was granted more of that credential than to see it, by its name.
    pub fn reaches_by_name(&self, credential: &CredentialId) -> bool {
        let mut beyond = Action::ALL.iter().filter(|action| **action != Action::List);
        beyond.any(|action| self.names(*action, credential))
    }

    /// Whether it is for this credential and for nothing else.
    pub fn is_only_for(&self, credential: &CredentialId) -> bool {
        let one = Pattern::One(credential.name.clone());
        self.granted_in(&credential.environment)
            .is_some_and(|grants| grants.iter().all(|grant| grant.pattern == one))
    }

    fn granted_in(&self, place: &EnvironmentName) -> Option<&Grants> {
        match self {
            Self::Grants {
                environment,
                grants,
            } if environment == place => Some(grants),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(environment: &str, name: &str) -> CredentialId {
        CredentialId {
            environment: environment.parse().unwrap(),
            name: name.parse().unwrap(),
        }
    }

    fn granted(environment: &str, grants: &[&str]) -> Power {
        let grants: Vec<Grant> = grants.iter().map(|text| text.parse().unwrap()).collect();
        Power::Grants {
            environment: environment.parse().unwrap(),
            grants: grants.try_into().unwrap(),
        }
    }

    fn operator(environments: &[&str]) -> Power {
        let names = environments.iter().map(|name| name.parse().unwrap());
        Power::of(Mandate::new(Role::Operator, names.collect()).unwrap()).unwrap()
    }

    #[test]
    fn grants_hold_in_their_environment_alone() {
        let power = granted("lab", &["hue/*:read"]);
        assert!(power.grants(Action::Read, &credential("lab", "hue/key")));
        assert!(!power.grants(Action::List, &credential("lab", "hue/key")));
        assert!(!power.grants(Action::Read, &credential("home", "hue/key")));
        assert!(!power.names(Action::Read, &credential("lab", "hue/key")));
        assert!(!power.is_only_for(&credential("lab", "hue/key")));
        let named = granted("lab", &["hue/key:read"]);
        assert!(named.names(Action::Read, &credential("lab", "hue/key")));
        assert!(named.is_only_for(&credential("lab", "hue/key")));
        assert!(!named.is_only_for(&credential("home", "hue/key")));
        assert!(named.reaches_by_name(&credential("lab", "hue/key")));
        let sees = granted("lab", &["hue/*:read", "hue/key:list"]);
        assert!(!sees.reaches_by_name(&credential("lab", "hue/key")));
    }

    #[test]
    fn a_pattern_lets_a_critical_credential_be_seen_and_nothing_else() {
        let key = credential("lab", "hue/key");
        for pattern in ["*", "hue/*"] {
            for action in Action::ALL {
                let power = granted("lab", &[&format!("{pattern}:{action}")]);
                let critical = power.reaches(*action, &key, Tier::Critical);
                assert_eq!(critical.is_ok(), *action == Action::List, "{action}");
                assert!(power.reaches(*action, &key, Tier::High).is_ok());
                let named = granted("lab", &[&format!("hue/key:{action}")]);
                assert!(named.reaches(*action, &key, Tier::Critical).is_ok());
            }
        }
        let reads = granted("lab", &["hue/key:read", "*:write"]);
        let write = reads.reaches(Action::Write, &key, Tier::Critical);
        assert_eq!(write, Err(Beyond::Critical));
        let lease = reads.reaches(Action::Lease, &key, Tier::Critical);
        assert_eq!(lease, Err(Beyond::NotGranted));
    }

    #[test]
    fn a_role_grants_no_value_and_holds_where_it_is_limited_to() {
        let everywhere = operator(&[]);
        let lab = operator(&["lab"]);
        let home: EnvironmentName = "home".parse().unwrap();
        assert!(everywhere.holds_in(&home) && !lab.holds_in(&home));
        assert!(!everywhere.grants(Action::Read, &credential("lab", "hue/key")));
        assert!(!everywhere.is_only_for(&credential("lab", "hue/key")));
        let these = std::iter::once("lab".parse().unwrap()).collect();
        assert!(lab.is_within(Scope::These(&these)) && lab.is_within(Scope::All));
        assert!(!everywhere.is_within(Scope::These(&these)));
        assert!(granted("lab", &["*:list"]).is_within(Scope::These(&these)));
    }

    #[test]
    fn no_token_owns_a_home() {
        assert_eq!(Power::of(Mandate::owner()), Err(OwnerlessOnly));
    }
}
