//! Leave to do one thing, within a scope. Only [`Caller::permitted`] makes one for a caller, so that a use case which takes
//! one cannot be reached by somebody whom nobody has judged; and it looks at the scope once more, where it knows the thing.

use std::collections::BTreeSet;

use hearthkey_core::audit::Actor;
use hearthkey_core::credential::{Action, CredentialId, Tier};
use hearthkey_core::id::EnvironmentName;
use hearthkey_core::role::{Act, Scope};

use crate::auth::caller::Caller;
use crate::state::failure::Failure;

/// Leave for an act.
#[derive(Debug, Clone)]
pub(crate) struct Permit {
    actor: Actor,
    act: Act,
    scope: Where,
}

/// Where it holds.
#[derive(Debug, Clone)]
enum Where {
    /// In the whole home.
    Home,
    /// In these environments.
    These(BTreeSet<EnvironmentName>),
}

impl Permit {
    /// For what the gateway does by itself, as a consequence of something that was permitted, or of time.
    pub(crate) fn of_gateway(act: Act) -> Self {
        Self {
            actor: Actor::gateway(),
            act,
            scope: Where::Home,
        }
    }

    /// For what follows from something that the actor was permitted: nothing is judged anew.
    pub(crate) fn following(actor: &Actor, act: Act) -> Self {
        Self {
            actor: actor.clone(),
            act,
            scope: Where::Home,
        }
    }

    /// The caller as the audit log names it.
    pub(crate) fn actor(&self) -> &Actor {
        &self.actor
    }

    /// The caller, if this is leave for that act in that environment.
    pub(crate) fn actor_in(
        &self,
        act: Act,
        environment: &EnvironmentName,
    ) -> Result<&Actor, Failure> {
        let is_there = match &self.scope {
            Where::Home => true,
            Where::These(these) => these.contains(environment),
        };
        self.of(act, is_there)
    }

    /// The caller, if this is leave for that act in the whole home.
    pub(crate) fn actor_at_home(&self, act: Act) -> Result<&Actor, Failure> {
        self.of(act, matches!(self.scope, Where::Home))
    }

    /// The caller, if this is leave for that act, wherever. For what lies in no environment, or whose environment the use
    /// case looks at by itself.
    pub(crate) fn actor_for(&self, act: Act) -> Result<&Actor, Failure> {
        self.of(act, true)
    }

    fn of(&self, act: Act, is_there: bool) -> Result<&Actor, Failure> {
        match self.act == act && is_there {
            true => Ok(&self.actor),
            false => Err(Failure::beyond(&act)),
        }
    }
}

impl Caller {
    /// Leave to do this, wherever the caller may.
    pub(crate) fn permitted(&self, act: Act) -> Result<Permit, Failure> {
        let scope = match self.scope(act) {
            Some(Scope::All) => Where::Home,
            Some(Scope::These(these)) => Where::These(these.iter().cloned().collect()),
            None => return Err(self.not_permitted(act)),
        };
        Ok(Permit {
            actor: self.actor(),
            act,
            scope,
        })
    }
}

impl Caller {
    /// Leave to do this with a credential of that tier, and with nothing else.
    pub(crate) fn permitted_with(
        &self,
        action: Action,
        credential: &CredentialId,
        tier: Tier,
    ) -> Result<Permit, Failure> {
        self.reaches(action, credential, tier)?;
        Ok(Permit {
            actor: self.actor(),
            act: action.into(),
            scope: Where::These(BTreeSet::from([credential.environment.clone()])),
        })
    }
}

#[cfg(test)]
mod tests {
    use hearthkey_core::role::Role;

    use super::*;
    use crate::auth::caller::tests::{role_token, service};

    const HERE: Caller = Caller::Local { uid: 0, pid: None };

    #[test]
    fn leave_is_for_one_act_and_no_other() {
        let permit = HERE.permitted(Act::DeviceChange).unwrap();
        assert!(permit.actor_at_home(Act::DeviceChange).is_ok());
        assert!(permit.actor_at_home(Act::DeviceApprove).is_err());
        assert!(permit.actor_for(Act::PeopleChange).is_err());
    }

    #[test]
    fn leave_in_one_environment_is_none_in_another_nor_in_the_home() {
        let [lab, home]: [EnvironmentName; 2] = ["lab", "home"].map(|name| name.parse().unwrap());
        let permit = role_token(Role::Operator, &["lab"]).permitted(Act::DeviceChange);
        let permit = permit.unwrap();
        assert!(permit.actor_in(Act::DeviceChange, &lab).is_ok());
        assert!(permit.actor_in(Act::DeviceChange, &home).is_err());
        assert!(permit.actor_at_home(Act::DeviceChange).is_err());
    }

    #[test]
    fn a_token_with_grants_gets_leave_for_no_act() {
        assert!(service(&["*:list"]).permitted(Act::DeviceChange).is_err());
    }

    #[test]
    fn a_token_gets_no_leave_for_what_needs_a_person() {
        let token = role_token(Role::Owner, &[]);
        assert!(token.permitted(Act::DeviceApprove).is_err());
    }
}
