//! People and sessions whose access ends: out in memory at once, and written down then. See [`crate::endings`].

use std::collections::HashSet;
use std::sync::Mutex;

use hearthkey_core::audit::Entry;
use hearthkey_core::person::{Person, WebSession};
use hearthkey_core::time::Timestamp;
use hearthkey_store::change::{Change, Write};
use hearthkey_store::people::PersonWrite;
use hearthkey_store::registry::{ReadError, Registry};

use crate::endings::{End, Ending};
use crate::home::{Home, locked};

/// Sessions and people that are out, while the registry does not have it yet.
#[derive(Default)]
pub(crate) struct Gone {
    sessions: Mutex<HashSet<String>>,
    people: Mutex<HashSet<String>>,
}

impl Gone {
    /// Whether a session has ended, or its person's access has.
    pub(crate) fn has(&self, session: &WebSession, person: &Person) -> bool {
        locked(&self.sessions).contains(&session.id) || locked(&self.people).contains(&person.id)
    }
}

struct SessionEnd {
    session: String,
    entry: Entry,
}

impl End for SessionEnd {
    fn object(&self) -> String {
        self.entry.object.clone()
    }

    fn kind(&self) -> String {
        format!("session {}", self.session)
    }

    fn change(&self) -> Change {
        let write = PersonWrite::EndSession(self.session.clone());
        Change::record(self.entry.clone()).write(Write::Person(write))
    }

    fn holds(&self, registry: &Registry<'_>) -> Result<bool, ReadError> {
        let sessions = registry.web_sessions(None)?;
        Ok(!sessions
            .iter()
            .any(|(session, _)| session.id == self.session))
    }

    fn written(&self, home: &Home) {
        locked(&home.people.gone.sessions).remove(&self.session);
    }
}

struct PersonEnd {
    person: String,
    at: Timestamp,
    entry: Entry,
}

impl End for PersonEnd {
    fn object(&self) -> String {
        self.entry.object.clone()
    }

    fn kind(&self) -> String {
        format!("person {}", self.person)
    }

    fn change(&self) -> Change {
        let write = PersonWrite::End(self.person.clone(), self.at);
        Change::record(self.entry.clone()).write(Write::Person(write))
    }

    fn holds(&self, registry: &Registry<'_>) -> Result<bool, ReadError> {
        let people = registry.people()?;
        let mut here = people.iter().filter(|person| person.ended_at.is_none());
        Ok(!here.any(|person| person.id == self.person))
    }

    fn written(&self, home: &Home) {
        locked(&home.people.gone.people).remove(&self.person);
    }

    /// The other owner has gone at the same moment: this one stays.
    fn is_refused(&self, home: &Home) -> bool {
        locked(&home.people.gone.people).remove(&self.person);
        true
    }
}

impl Home {
    /// Ends a session.
    pub(super) fn cut_session(&self, session: &str, entry: Entry) -> Ending {
        locked(&self.people.gone.sessions).insert(session.to_owned());
        self.endings.begin(SessionEnd {
            session: session.to_owned(),
            entry,
        })
    }

    /// Ends a person's access.
    pub(super) fn cut_person(&self, person: &Person, entry: Entry) -> Ending {
        locked(&self.people.gone.people).insert(person.id.clone());
        self.endings.begin(PersonEnd {
            person: person.id.clone(),
            at: entry.time,
            entry,
        })
    }

    /// Whether a person's access has been ended in memory, or the registry has it.
    pub(super) fn is_gone(&self, person: &Person) -> Result<bool, ReadError> {
        let pending = locked(&self.people.gone.people).contains(&person.id);
        let known = self.store.read(|registry| registry.people())?;
        let mut here = known.iter().filter(|known| known.ended_at.is_none());
        Ok(pending || !here.any(|known| known.id == person.id))
    }
}
