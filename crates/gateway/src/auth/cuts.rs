//! People and sessions whose access ends, or reaches less far: so in memory at once, and written down then. See
//! [`crate::state::endings`].

use std::sync::Arc;

use hearthkey_core::audit::Entry;
use hearthkey_core::id::hex;
use hearthkey_core::mandate_change::in_between;
use hearthkey_core::person::{Person, WebSession};
use hearthkey_core::role::Mandate;
use hearthkey_core::time::Timestamp;
use hearthkey_store::change::{Change, Write};
use hearthkey_store::people::{PersonWrite, StoredPasskey};
use hearthkey_store::registry::{ReadError, Registry};

use crate::auth::Auth;
use crate::auth::caller::Visit;
use crate::auth::gone::{Gone, Taken};
use crate::state::endings::{Decision, End, Ending, all_in_time};
use crate::state::locked;

struct SessionEnd {
    gone: Arc<Gone>,
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

    fn written(&self) {
        locked(&self.gone.sessions).remove(&self.session);
    }
}

struct PersonEnd {
    gone: Arc<Gone>,
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

    fn written(&self) {
        locked(&self.gone.people).remove(&self.person);
    }

    /// The other owner has gone at the same moment: this one stays.
    fn is_refused(&self) -> bool {
        locked(&self.gone.people).remove(&self.person);
        true
    }
}

struct PasskeyEnd {
    gone: Arc<Gone>,
    person: String,
    id: Vec<u8>,
    entry: Entry,
}

impl End for PasskeyEnd {
    fn object(&self) -> String {
        self.entry.object.clone()
    }

    fn kind(&self) -> String {
        format!("passkey {}", hex(&self.id))
    }

    fn change(&self) -> Change {
        let write = PersonWrite::EndPasskey(self.person.clone(), self.id.clone());
        Change::record(self.entry.clone()).write(Write::Person(write))
    }

    fn holds(&self, registry: &Registry<'_>) -> Result<bool, ReadError> {
        Ok(registry.passkey(&self.id)?.is_none())
    }

    fn written(&self) {
        locked(&self.gone.passkeys).remove(&self.id);
    }
}

/// What tells the ends of somebody's role from others of the same person.
fn role_of(person: &str) -> String {
    format!("role of {person}")
}

struct RoleEnd {
    gone: Arc<Gone>,
    person: String,
    taken: Arc<Taken>,
    entry: Entry,
}

impl RoleEnd {
    /// What the registry has holds from here on, unless something else was decided since.
    fn is_over(&self) {
        let mut roles = locked(&self.gone.roles);
        let newest = roles.get(&self.person);
        if newest.is_some_and(|newest| Arc::ptr_eq(newest, &self.taken)) {
            roles.remove(&self.person);
        }
    }
}

impl End for RoleEnd {
    fn object(&self) -> String {
        self.entry.object.clone()
    }

    fn kind(&self) -> String {
        role_of(&self.person)
    }

    fn replaces(&self) -> Option<Decision> {
        Some(Decision::of(&self.entry, &self.taken.then))
    }

    fn change(&self) -> Change {
        let write = PersonWrite::Mandate(self.person.clone(), self.taken.then.clone());
        Change::record(self.entry.clone()).write(Write::Person(write))
    }

    fn holds(&self, registry: &Registry<'_>) -> Result<bool, ReadError> {
        let people = registry.people()?;
        let mut here = people.iter().filter(|person| person.ended_at.is_none());
        let known = here.find(|person| person.id == self.person);
        // A person who has left has no role.
        Ok(known.is_none_or(|person| person.mandate == self.taken.then))
    }

    fn written(&self) {
        self.is_over();
    }

    /// The other owner has gone at the same moment: this one stays.
    fn is_refused(&self) -> bool {
        self.is_over();
        true
    }
}

/// While this lives, a person may do no more than another role would let them.
pub(crate) struct HeldRole {
    gone: Arc<Gone>,
    person: String,
    taken: Arc<Taken>,
}

impl Drop for HeldRole {
    fn drop(&mut self) {
        let mut roles = locked(&self.gone.roles);
        let newest = roles.get(&self.person);
        if newest.is_some_and(|newest| Arc::ptr_eq(newest, &self.taken)) {
            roles.remove(&self.person);
        }
    }
}

impl Auth {
    /// Leaves a person only what another role permits, too, until it is dropped: what is taken waits for no disk that is to
    /// take something else first. Nothing, if another role is on its way to the disk already.
    pub(crate) fn hold_role(&self, person: &Person, then: &Mandate) -> Option<HeldRole> {
        let mut roles = locked(&self.people.gone.roles);
        if roles.contains_key(&person.id) {
            return None;
        }
        let taken = Arc::new(Taken {
            meanwhile: in_between(&person.mandate, then),
            then: person.mandate.clone(),
        });
        roles.insert(person.id.clone(), Arc::clone(&taken));
        Some(HeldRole {
            gone: Arc::clone(&self.people.gone),
            person: person.id.clone(),
            taken,
        })
    }

    /// Takes a passkey away from a person.
    pub(crate) fn cut_passkey(&self, person: &Person, id: Vec<u8>, entry: Entry) -> Ending {
        locked(&self.people.gone.passkeys).insert(id.clone());
        self.ctx.endings().begin(PasskeyEnd {
            gone: Arc::clone(&self.people.gone),
            person: person.id.clone(),
            id,
            entry,
        })
    }

    /// The passkeys of a person that were not taken away.
    pub(crate) fn passkeys_left(&self, person: &Person) -> Result<Vec<StoredPasskey>, ReadError> {
        let mut all = self
            .ctx
            .store()
            .read(|registry| registry.passkeys_of(&person.id))?;
        all.retain(|passkey| !self.people.gone.has_passkey(&passkey.id));
        Ok(all)
    }

    /// Gives a person another role. Only what both permit is left to them until the registry has it.
    pub(crate) fn cut_role(&self, person: &Person, then: Mandate, entry: Entry) -> Ending {
        let mut roles = locked(&self.people.gone.roles);
        let decision = Decision::of(&entry, &then);
        let kind = role_of(&person.id);
        if let Some(same) = self.ctx.endings().same(&entry.object, &kind, &decision) {
            return same;
        }
        let before = roles.get(&person.id).map(|taken| taken.meanwhile.clone());
        let before = before.unwrap_or_else(|| Some(person.mandate.clone()));
        let taken = Arc::new(Taken {
            meanwhile: before.and_then(|before| in_between(&before, &then)),
            then,
        });
        roles.insert(person.id.clone(), Arc::clone(&taken));
        // Under the lock, so that what was decided last is written last.
        self.ctx.endings().begin(RoleEnd {
            gone: Arc::clone(&self.people.gone),
            person: person.id.clone(),
            taken,
            entry,
        })
    }

    /// Whether a person has a role, or gets it once the registry takes it.
    pub(crate) fn gets(&self, person: &Person, mandate: &Mandate) -> Result<bool, ReadError> {
        let known = self.ctx.store().read(|registry| registry.people())?;
        let known = known.iter().find(|known| known.id == person.id);
        let roles = locked(&self.people.gone.roles);
        let then = roles.get(&person.id).map(|taken| &taken.then);
        Ok(then.or(known.map(|known| &known.mandate)) == Some(mandate))
    }

    /// Ends a session.
    pub(crate) fn cut_session(&self, session: &str, entry: Entry) -> Ending {
        locked(&self.people.gone.sessions).insert(session.to_owned());
        self.ctx.endings().begin(SessionEnd {
            gone: Arc::clone(&self.people.gone),
            session: session.to_owned(),
            entry,
        })
    }

    /// Ends every session of a person but one, and waits for the disk as long as an answer waits.
    pub(crate) async fn cut_other_sessions(
        &self,
        person: &Person,
        visit: &Visit,
    ) -> Result<(), ReadError> {
        let mut sessions = self
            .ctx
            .store()
            .read(|registry| registry.web_sessions(Some(&person.id)))?;
        sessions.retain(|(session, _)| session.hash != visit.session.hash);
        let cut = |(session, _): (WebSession, Person)| {
            let object = format!("person:{}", person.name);
            let entry = Entry::new(self.ctx.now(), visit.actor(), "session.end", object)
                .with("session", session.id.clone());
            self.cut_session(&session.id, entry)
        };
        let mut cut: Vec<Ending> = sessions.into_iter().map(cut).collect();
        all_in_time(cut.iter_mut()).await;
        Ok(())
    }

    /// Ends a person's access.
    pub(crate) fn cut_person(&self, person: &Person, entry: Entry) -> Ending {
        locked(&self.people.gone.people).insert(person.id.clone());
        self.ctx.endings().begin(PersonEnd {
            gone: Arc::clone(&self.people.gone),
            person: person.id.clone(),
            at: entry.time,
            entry,
        })
    }

    /// Whether a person's access has been ended in memory, or the registry has it.
    pub(crate) fn is_gone(&self, person: &Person) -> Result<bool, ReadError> {
        let pending = locked(&self.people.gone.people).contains(&person.id);
        let known = self.ctx.store().read(|registry| registry.people())?;
        let mut here = known.iter().filter(|known| known.ended_at.is_none());
        Ok(pending || !here.any(|known| known.id == person.id))
    }
}
