//! Sessions, people, roles and passkeys that have ended in memory, until the registry has it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use hearthkey_core::person::{Person, WebSession};
use hearthkey_core::role::Mandate;
use hearthkey_core::time::Timestamp;

use crate::state::locked;

/// Sessions and people that are out, while the registry does not have it yet.
#[derive(Default)]
pub(crate) struct Gone {
    pub(super) sessions: Mutex<HashSet<String>>,
    pub(super) people: Mutex<HashSet<String>>,
    pub(super) roles: Mutex<HashMap<String, Arc<Taken>>>,
    pub(super) passkeys: Mutex<HashSet<Vec<u8>>>,
}

/// A role that was taken from a person, who gets another one.
pub(super) struct Taken {
    /// What holds meanwhile; nothing if none.
    pub(super) meanwhile: Option<Mandate>,
    /// What holds once the registry has it.
    pub(super) then: Mandate,
}

impl Gone {
    /// Whether a session has ended, or its person's access has.
    pub(crate) fn has(&self, session: &WebSession, person: &Person) -> bool {
        locked(&self.sessions).contains(&session.id) || self.has_all_of(person)
    }

    /// Whether a passkey was taken away.
    pub(crate) fn has_passkey(&self, id: &[u8]) -> bool {
        locked(&self.passkeys).contains(id)
    }

    /// Whether a person may nothing any more, or nothing for now.
    pub(crate) fn has_all_of(&self, person: &Person) -> bool {
        let roles = locked(&self.roles);
        let taken = roles.get(&person.id);
        locked(&self.people).contains(&person.id)
            || taken.is_some_and(|taken| taken.meanwhile.is_none())
    }

    /// Whether anybody's access has ended that the registry still has.
    pub(crate) fn has_anybody(&self) -> bool {
        !locked(&self.people).is_empty()
    }

    /// A person as they are shown: gone, or with what is left of their role.
    pub(crate) fn as_shown(&self, mut person: Person, now: Timestamp) -> Person {
        if locked(&self.people).contains(&person.id) {
            person.ended_at.get_or_insert(now);
        }
        self.left_of(person.clone()).unwrap_or(person)
    }

    /// A person as they stand: with what is left of their role while another one is not saved to disk yet. None if that is
    /// nothing.
    pub(crate) fn left_of(&self, mut person: Person) -> Option<Person> {
        if self.has_all_of(&person) {
            return None;
        }
        let roles = locked(&self.roles);
        if let Some(left) = roles
            .get(&person.id)
            .and_then(|taken| taken.meanwhile.clone())
        {
            person.mandate = left;
        }
        Some(person)
    }
}
