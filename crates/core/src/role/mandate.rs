//! A role as somebody has it: in the whole home, or in some environments of it.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::EnvironmentName;
use crate::role::{Act, Role};
use crate::time::Span;

/// The environment in which no developer works.
pub const HOME_ENVIRONMENT: &str = "home";
/// Environments that a role can be limited to.
const ENVIRONMENTS_MAX: usize = 64;

/// Why a role cannot be given like this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMandate {
    /// A developer without environments, or in `home`.
    #[error("a developer works in named environments other than home")]
    Developer,
    /// An owner of a part.
    #[error("an owner owns the whole home and is not limited to environments")]
    Owner,
    /// Too many.
    #[error("a role is limited to at most {ENVIRONMENTS_MAX} environments")]
    TooMany,
}

/// A role, and where it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mandate {
    role: Role,
    /// Where; everywhere if none are named.
    environments: BTreeSet<EnvironmentName>,
}

/// Where somebody may do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope<'a> {
    /// In every environment.
    All,
    /// In these.
    These(&'a BTreeSet<EnvironmentName>),
}

impl Scope<'_> {
    /// Whether it reaches an environment.
    pub fn has(&self, environment: &EnvironmentName) -> bool {
        match self {
            Self::All => true,
            Self::These(these) => these.contains(environment),
        }
    }
}

impl fmt::Display for Mandate {
    /// As the audit log names it: a role that is limited says to what.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.role.fmt(f)?;
        for (n, name) in self.environments.iter().enumerate() {
            write!(f, "{}{name}", if n == 0 { '@' } else { ',' })?;
        }
        Ok(())
    }
}

/// What a developer leaves of a credential that they retire: until then another role can take the value back.
pub const DEVELOPERS_GRACE: Span = Span::days(1);

impl Mandate {
    /// The shortest time after which a value may be destroyed that this role takes out of use.
    pub fn shortest_grace(&self) -> Span {
        match self.role {
            Role::Developer => DEVELOPERS_GRACE,
            _ => Span::ms(0),
        }
    }

    /// A role in these environments; in all of them if none are named.
    pub fn new(
        role: Role,
        environments: BTreeSet<EnvironmentName>,
    ) -> Result<Self, InvalidMandate> {
        let in_home = environments
            .iter()
            .any(|name| name.as_str() == HOME_ENVIRONMENT);
        match role {
            _ if environments.len() > ENVIRONMENTS_MAX => Err(InvalidMandate::TooMany),
            Role::Developer if in_home || environments.is_empty() => Err(InvalidMandate::Developer),
            Role::Owner if !environments.is_empty() => Err(InvalidMandate::Owner),
            _ => Ok(Self { role, environments }),
        }
    }

    /// The mandate of who owns a home.
    pub fn owner() -> Self {
        Self {
            role: Role::Owner,
            environments: BTreeSet::new(),
        }
    }

    /// The role.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Where it holds; everywhere if none are named.
    pub fn environments(&self) -> &BTreeSet<EnvironmentName> {
        &self.environments
    }

    /// Where it permits an act; nowhere if none.
    pub fn scope(&self, act: Act) -> Option<Scope<'_>> {
        match self.role.may(act) {
            false => None,
            true if self.environments.is_empty() => Some(Scope::All),
            true if act.is_local() => Some(Scope::These(&self.environments)),
            true => None,
        }
    }

    /// Whether it permits an act in an environment.
    pub fn permits(&self, act: Act, environment: &EnvironmentName) -> bool {
        self.scope(act).is_some_and(|scope| scope.has(environment))
    }

    /// Whether it permits whatever another one does: who has it can entrust the other to somebody.
    pub fn covers(&self, other: &Self) -> bool {
        Act::ALL
            .iter()
            .all(|act| match (other.scope(*act), self.scope(*act)) {
                (None, _) | (_, Some(Scope::All)) => true,
                (Some(Scope::These(theirs)), Some(Scope::These(ours))) => theirs.is_subset(ours),
                (Some(_), _) => false,
            })
    }

    /// The acts that it permits anywhere.
    pub fn acts(&self) -> impl Iterator<Item = Act> {
        Act::ALL
            .iter()
            .copied()
            .filter(|act| self.scope(*act).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<EnvironmentName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn a_developer_destroys_nothing_at_once() {
        let lab = BTreeSet::from(["lab".parse().unwrap()]);
        let developer = Mandate::new(Role::Developer, lab.clone()).unwrap();
        assert_eq!(developer.shortest_grace(), DEVELOPERS_GRACE);
        let operator = Mandate::new(Role::Operator, lab).unwrap();
        assert_eq!(operator.shortest_grace(), Span::ms(0));
    }

    #[test]
    fn a_limited_role_holds_in_its_environments_and_not_in_the_whole_home() {
        let developer = Mandate::new(Role::Developer, names(&["lab"])).unwrap();
        let (lab, home) = ("lab".parse().unwrap(), "home".parse().unwrap());
        assert!(developer.permits(Act::CredentialReveal, &lab));
        assert!(!developer.permits(Act::CredentialReveal, &home));
        assert!(!developer.permits(Act::DeviceChange, &lab));
        let auditor = Mandate::new(Role::Auditor, names(&["lab"])).unwrap();
        assert!(auditor.permits(Act::DeviceRead, &lab));
        assert_eq!(auditor.scope(Act::LogRead), None);
        assert_eq!(Mandate::owner().scope(Act::LogRead), Some(Scope::All));
    }

    #[test]
    fn a_mandate_covers_what_reaches_no_further_than_itself() {
        let of = |role, environments| Mandate::new(role, names(environments)).unwrap();
        let operator = of(Role::Operator, &[]);
        let in_lab = of(Role::Operator, &["lab"]);
        let developer = of(Role::Developer, &["lab", "staging"]);
        assert!(Mandate::owner().covers(&operator) && operator.covers(&in_lab));
        assert!(operator.covers(&of(Role::Auditor, &[])));
        assert!(developer.covers(&of(Role::Developer, &["lab"])));
        assert!(developer.covers(&of(Role::Auditor, &["lab"])));
        for (small, large) in [
            (&operator, &Mandate::owner()),
            (&in_lab, &operator),
            (&developer, &in_lab),
            (&operator, &developer),
            (&in_lab, &of(Role::Auditor, &["home"])),
            (&developer, &of(Role::Developer, &["lab", "other"])),
        ] {
            assert!(!small.covers(large), "{small} {large}");
        }
        assert_eq!(developer.to_string(), "developer@lab,staging");
        assert_eq!(operator.to_string(), "operator");
    }

    #[test]
    fn no_developer_works_in_home_and_no_owner_owns_a_part() {
        for (role, environments, why) in [
            (Role::Developer, &[][..], InvalidMandate::Developer),
            (Role::Developer, &["lab", "home"], InvalidMandate::Developer),
            (Role::Owner, &["lab"], InvalidMandate::Owner),
        ] {
            assert_eq!(Mandate::new(role, names(environments)), Err(why));
        }
        assert!(Mandate::new(Role::Operator, names(&["home"])).is_ok());
    }
}
