//! Logging in: by a passkey, by a password with a code, or by a recovery code.
//!
//! Whatever is wrong, the answer is the same; and the same work is done for a name that nobody has.

use axum::http::StatusCode;
use hearthkey_api::{self as api, code};
use hearthkey_core::audit::{Entry, Outcome};
use hearthkey_core::person::Person;
use hearthkey_store::change::{Change, Write};
use hearthkey_store::people::PersonWrite;
use hearthkey_store::{CommitError, people::Ways};
use serde_json::Value;

use crate::home::{Home, locked};
use crate::people::ceremonies::Ceremony;
use crate::people::sessions::{Opened, Visitor, open};
use crate::people::{passkeys, passwords};
use crate::problem::Failure;

/// The kind under which secrets for codes are kept.
pub(crate) const TOTP: &str = "totp";

/// Why a login was refused: for the record, never for the answer.
type Why = &'static str;

fn failed() -> Failure {
    Failure::new(
        StatusCode::UNAUTHORIZED,
        code::LOGIN_FAILED,
        "This does not log you in.",
        "What was shown does not fit together, has been used, or is no longer good.",
        "Check the name, the password and the code, or use a passkey or a recovery code.",
    )
}

pub(crate) fn too_often() -> Failure {
    Failure::new(
        StatusCode::TOO_MANY_REQUESTS,
        code::RATE_LIMITED,
        "There were too many attempts.",
        "Logging in was tried in vain too often, from this address or with this name.",
        "Wait five minutes, or use a passkey.",
    )
}

/// For a gateway that was asked by a name that has no passkeys.
pub(crate) fn no_passkeys() -> Failure {
    Failure::refused(
        &passkeys::WHY_NONE,
        "Open the gateway by its name, or use a password with a code.",
    )
}

/// For a ceremony that is not there, or is another one.
pub(crate) fn no_such_ceremony() -> Failure {
    Failure::refused(
        &"this was not begun here, has been answered, or was begun more than five minutes ago",
        "Begin again.",
    )
}

impl Home {
    /// Whether a visitor may begin something that has to be remembered.
    pub(crate) fn may_begin(&self, visitor: &Visitor) -> Result<(), Failure> {
        let now = self.now();
        let mut throttle = locked(&self.people.throttle);
        let address = visitor.address.ip();
        match throttle.may_begin(address, now) && !throttle.holds(address, None, now) {
            true => Ok(()),
            false => Err(too_often()),
        }
    }

    /// Begins a login by a passkey.
    pub(crate) fn begin_login(&self, visitor: &Visitor) -> Result<api::CeremonyBegun, Failure> {
        self.may_begin(visitor)?;
        let party = self.people.passkeys.under(&visitor.authority);
        let party = party.ok_or_else(no_passkeys)?;
        let (options, state) = passkeys::begin_login(party).ok_or_else(no_passkeys)?;
        let ceremony = Ceremony::Login(Box::new(state), visitor.authority.clone());
        let ceremony = locked(&self.people.ceremonies).begin(ceremony, self.now());
        Ok(api::CeremonyBegun { ceremony, options })
    }

    /// Logs in by a passkey.
    pub(crate) async fn login_by_passkey(
        &self,
        visitor: &Visitor,
        ceremony: &str,
        answer: &Value,
    ) -> Result<Opened, Failure> {
        self.listens_to(visitor, None)?;
        let judged = self.judge_passkey(visitor, ceremony, answer);
        match judged {
            Ok((person, used)) => self.welcome(visitor, person, "passkey", vec![used]).await,
            Err((why, name)) => Err(self.turn_away(visitor, None, name.as_deref(), why).await),
        }
    }

    fn judge_passkey(
        &self,
        visitor: &Visitor,
        ceremony: &str,
        answer: &Value,
    ) -> Result<(Person, PersonWrite), (Why, Option<String>)> {
        let now = self.now();
        let taken = locked(&self.people.ceremonies).take(ceremony, now);
        let Some(Ceremony::Login(state, authority)) = taken else {
            return Err(("no_ceremony", None));
        };
        let party = self.people.passkeys.under(&authority);
        let party = party.filter(|_| authority == visitor.authority);
        let party = party.ok_or(("other_name", None))?;
        let (shown, answer) = passkeys::named(party, answer).map_err(|_| ("malformed", None))?;
        let found = self.store.read(|registry| {
            let passkey = registry.passkey(&shown.id)?;
            Ok((passkey, registry.person(&shown.person)?))
        });
        let (Some(kept), Some(person)) = found.map_err(|_| ("storage", None))? else {
            return Err(("unknown_passkey", None));
        };
        let name = Some(person.name.to_string());
        if kept.person != person.id || person.ended_at.is_some() {
            return Err(("unknown_passkey", name));
        }
        match passkeys::finish_login(party, &answer, *state, &kept.data) {
            Ok(data) => {
                let id = kept.id;
                Ok((person, PersonWrite::PasskeyUsed { id, data, at: now }))
            }
            Err(error) => {
                tracing::warn!(%error, "a passkey did not prove itself");
                Err(("wrong_proof", name))
            }
        }
    }

    /// Logs in by a password and a code.
    pub(crate) async fn login_by_password(
        &self,
        visitor: &Visitor,
        login: api::PasswordLogin,
    ) -> Result<Opened, Failure> {
        self.listens_to(visitor, Some(&login.name))?;
        let (person, ways) = self.found(&login.name)?;
        let _stretching = self
            .people
            .stretching
            .acquire()
            .await
            .map_err(|error| Failure::internal(&error))?;
        let fits = tokio::task::block_in_place(|| {
            passwords::fits(&login.password, ways.password.as_deref())
        });
        let step = person
            .as_ref()
            .and_then(|person| self.step_of(person, &login.code));
        let why = match (&person, fits, step) {
            (None, ..) => "unknown_name",
            (_, false, _) => "wrong_password",
            (_, _, None) => "wrong_code",
            _ => "used_code",
        };
        match (person, fits, step) {
            (Some(person), true, Some(step)) if step > ways.totp_step => {
                let used = PersonWrite::TotpStep(person.id.clone(), step);
                self.welcome(visitor, person, "password", vec![used]).await
            }
            (person, ..) => {
                let known = person.map(|person| person.name.to_string());
                let name = Some(login.name.as_str());
                Err(self.turn_away(visitor, name, known.as_deref(), why).await)
            }
        }
    }

    /// Logs in by a recovery code. It is an alert: somebody has lost what they usually show, or somebody else has
    /// found the codes.
    pub(crate) async fn login_by_recovery(
        &self,
        visitor: &Visitor,
        login: api::RecoveryLogin,
    ) -> Result<Opened, Failure> {
        self.listens_to(visitor, Some(&login.name))?;
        let (person, _) = self.found(&login.name)?;
        let hash = passwords::recovery_hash(&login.code);
        let Some(person) = person else {
            let name = Some(login.name.as_str());
            return Err(self.turn_away(visitor, name, None, "unknown_name").await);
        };
        let used = PersonWrite::UseRecoveryCode(person.id.clone(), hash, self.now());
        self.welcome(visitor, person, "recovery-code", vec![used])
            .await
    }

    fn listens_to(&self, visitor: &Visitor, name: Option<&str>) -> Result<(), Failure> {
        let now = self.now();
        match locked(&self.people.throttle).holds(visitor.address.ip(), name, now) {
            true => Err(too_often()),
            false => Ok(()),
        }
    }

    fn found(&self, name: &str) -> Result<(Option<Person>, Ways), Failure> {
        Ok(self.store.read(|registry| {
            let person = registry.person_named(name)?.filter(|person| person.joined);
            let ways = match &person {
                Some(person) => registry.ways_of(&person.id)?,
                None => Ways::default(),
            };
            Ok((person, ways))
        })?)
    }

    /// The step of a code that a person's authenticator shows now.
    pub(crate) fn step_of(&self, person: &Person, code: &str) -> Option<u64> {
        let secret = self.store.secret(TOTP, &person.id).ok().flatten()?;
        passwords::step_of(&secret, code, self.now())
    }

    /// Opens a session. What was shown is used up in the same commit: a conflict means that it was already.
    async fn welcome(
        &self,
        visitor: &Visitor,
        person: Person,
        way: Why,
        used: Vec<PersonWrite>,
    ) -> Result<Opened, Failure> {
        let name = person.name.to_string();
        let opened = open(person, visitor, self.now());
        let object = format!("person:{name}");
        let mut entry = Entry::new(self.now(), opened.visit.actor(), "session.begin", object)
            .with("way", way)
            .with("agent", visitor.agent.clone());
        if way == "recovery-code" {
            entry = entry.ended(Outcome::Alert, "a recovery code was used");
        }
        let mut change = Change::record(entry);
        change.writes.extend(used.into_iter().map(Write::Person));
        match self.commit(change.write(opened.write())).await {
            Ok(_) => Ok(opened),
            Err(CommitError::Conflict) => {
                let name = Some(name.as_str());
                Err(self.turn_away(visitor, name, name, "used_up").await)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Counts a failure, writes it down, and gives the one answer. A name is written down only if somebody has it:
    /// people type passwords into the wrong field.
    async fn turn_away(
        &self,
        visitor: &Visitor,
        counted: Option<&str>,
        known: Option<&str>,
        why: Why,
    ) -> Failure {
        let (now, address) = (self.now(), visitor.address.ip());
        locked(&self.people.throttle).failed(address, counted, now);
        let entered = locked(&self.people.refusals).enter(None, why, address, now);
        if let Some(omitted) = entered {
            let object = known.map_or("session".to_owned(), |name| format!("person:{name}"));
            let mut entry = Entry::new(now, visitor.actor(), "session.refuse", object)
                .ended(Outcome::Refused, why);
            if omitted > 0 {
                entry = entry.with("omitted_before", omitted);
            }
            self.record(entry).await;
        }
        failed()
    }
}
