//! Logging in: by a passkey, by a password with a code, or by a recovery code.
//!
//! Whatever is wrong, the answer is the same. A name that nobody has, one of somebody whose access has ended or who has
//! not joined, and one of somebody without a password or codes take the same work and leave as many records as a name
//! with another password. A guess is counted as a failure before it is judged: [`crate::auth::throttle`].

use axum::http::StatusCode;
use hearthkey_api::{self as api, code};
use hearthkey_core::audit::{Entry, Outcome};
use hearthkey_core::id::PersonName;
use hearthkey_core::person::Person;
use hearthkey_store::change::{Change, Write};
use hearthkey_store::people::PersonWrite;
use hearthkey_store::registry::ReadError;
use hearthkey_store::{CommitError, Store, people::Ways};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::auth::Auth;
use crate::auth::ceremonies::Ceremony;
use crate::auth::passkeys;
use crate::auth::passwords;
use crate::auth::person_book::PersonBook;
use crate::auth::refusals::About;
use crate::auth::sessions::{Opened, Visitor, open};
use crate::auth::throttle::{Attempt, By, JUDGED_WITHIN, counted};
use crate::state::failure::Failure;
use crate::state::locked;

/// The kind under which secrets for codes are kept.
pub(crate) const TOTP: &str = "totp";

/// Why a login was refused: for the record, never for the answer.
type Why = &'static str;

const PASSKEY: &str = "passkey";
const PASSWORD: &str = "password";
const RECOVERY_CODE: &str = "recovery-code";
pub(crate) const INVITATION: &str = "invitation";

/// The id of nobody, with which the registry is asked for a name that nobody has.
const NOBODY: &str = "";
/// What codes are computed of where there is no secret.
const NO_SECRET: [u8; 20] = [0; 20];

/// An attempt that is being judged.
pub(crate) struct Tried {
    way: &'static str,
    about: About,
    /// Counts as a failure until it succeeds; none for what cannot be guessed.
    attempt: Option<Attempt>,
}

impl Tried {
    /// An attempt with what nobody can guess: it is written down like all others, and holds up nobody.
    pub(crate) fn unguessable(way: &'static str, name: Option<&str>) -> Self {
        Self {
            way,
            about: name.map_or(About::Nobody, |name| About::Name(counted(name))),
            attempt: None,
        }
    }
}

fn failed() -> Failure {
    Failure::new(
        StatusCode::UNAUTHORIZED,
        code::LOGIN_FAILED,
        "Login failed.",
        "Wrong name, password or code.",
        "Check them and try again, or use a passkey or a recovery code.",
    )
}

pub(crate) fn too_often() -> Failure {
    Failure::new(
        StatusCode::TOO_MANY_REQUESTS,
        code::RATE_LIMITED,
        "Too many attempts.",
        "Too many logins failed from this network or with this name.",
        "Wait five minutes, or use a passkey or a recovery code.",
    )
}

/// For a gateway that was asked by a name that has no passkeys.
pub(crate) fn no_passkeys() -> Failure {
    Failure::refused(
        &passkeys::WHY_NONE,
        "Open the gateway at its host name, or use a password with a code.",
    )
}

/// For a ceremony that is not there, or is another one.
pub(crate) fn no_such_ceremony() -> Failure {
    Failure::refused(
        &"this was not started here, has been answered, or was started more than five minutes ago",
        "Start again.",
    )
}

impl PersonBook {
    /// Names that have logged in from somewhere are known there also after a restart: as long as a session of theirs lives.
    pub(crate) fn remember_logins(&self, store: &Store) -> Result<(), ReadError> {
        let mut sessions = store.read(|registry| registry.web_sessions(None))?;
        sessions.reverse();
        let mut throttle = locked(&self.throttle);
        for (session, person) in sessions {
            if let Ok(address) = session.address.parse() {
                throttle.remember(address, person.name.as_str());
            }
        }
        Ok(())
    }
}

impl Auth {
    /// Begins a login by a passkey.
    pub(crate) fn begin_login(&self, visitor: &Visitor) -> Result<api::CeremonyBegun, Failure> {
        let party = self.people.passkeys.under(&visitor.authority);
        let party = party.ok_or_else(no_passkeys)?;
        let (options, state) = passkeys::begin_login(party).ok_or_else(no_passkeys)?;
        let from = visitor.address.ip();
        let ceremony = Ceremony::Login(Box::new(state), visitor.authority.clone(), from);
        let ceremony = locked(&self.people.ceremonies).begin(ceremony, self.ctx.now());
        Ok(api::CeremonyBegun { ceremony, options })
    }

    /// Logs in by a passkey.
    pub(crate) async fn login_by_passkey(
        &self,
        visitor: &Visitor,
        ceremony: &str,
        answer: &Value,
    ) -> Result<Opened, Failure> {
        let tried = Tried::unguessable(PASSKEY, None);
        match self.judge_passkey(visitor, ceremony, answer) {
            Ok((person, used)) => self.welcome(visitor, person, tried, vec![used]).await,
            Err((why, known)) => Err(self.turn_away(visitor, tried, known.as_ref(), why).await),
        }
    }

    fn judge_passkey(
        &self,
        visitor: &Visitor,
        ceremony: &str,
        answer: &Value,
    ) -> Result<(Person, PersonWrite), (Why, Option<PersonName>)> {
        let now = self.ctx.now();
        let taken = locked(&self.people.ceremonies).take(ceremony, now);
        let Some(Ceremony::Login(state, authority, _)) = taken else {
            return Err(("no_ceremony", None));
        };
        let party = self.people.passkeys.under(&authority);
        let party = party.filter(|_| authority == visitor.authority);
        let party = party.ok_or(("other_name", None))?;
        let (shown, answer) = passkeys::named(party, answer).map_err(|_| ("malformed", None))?;
        let found = self.ctx.store().read(|registry| {
            let passkey = registry.passkey(&shown.id)?;
            Ok((passkey, registry.person(&shown.person)?))
        });
        let (Some(kept), Some(person)) = found.map_err(|_| ("storage", None))? else {
            return Err(("unknown_passkey", None));
        };
        let is_gone = self.people.gone.has_passkey(&kept.id);
        if kept.person != person.id || person.ended_at.is_some() || is_gone {
            return Err(("unknown_passkey", Some(person.name)));
        }
        match passkeys::finish_login(party, &answer, *state, &kept.data) {
            Ok(data) => {
                let id = kept.id;
                Ok((person, PersonWrite::PasskeyUsed { id, data, at: now }))
            }
            Err(error) => {
                tracing::warn!(%error, "a passkey did not prove itself");
                Err(("wrong_proof", Some(person.name)))
            }
        }
    }

    /// Logs in by a password and a code.
    pub(crate) async fn login_by_password(
        &self,
        visitor: &Visitor,
        login: api::PasswordLogin,
    ) -> Result<Opened, Failure> {
        let tried = self.guess(visitor, &login.name)?;
        if tried.attempt.as_ref().is_some_and(Attempt::is_of_known) {
            return self.login_where_others_wait(visitor, login, tried).await;
        }
        match self.judge_password(&login, &self.people.stretching).await? {
            Ok((person, used)) => self.welcome(visitor, person, tried, vec![used]).await,
            Err((why, known)) => Err(self.turn_away(visitor, tried, known.as_ref(), why).await),
        }
    }

    /// Judges a name that has logged in from there, where everybody else has to wait. That it is judged would tell that
    /// somebody has it: so a failure is reported like them, however long the record of it takes, and the passwords of others
    /// are not waited for.
    async fn login_where_others_wait(
        &self,
        visitor: &Visitor,
        login: api::PasswordLogin,
        tried: Tried,
    ) -> Result<Opened, Failure> {
        let judged = async {
            let stretching = &self.people.stretching_known;
            let judged = self.judge_password(&login, stretching).await;
            match judged.map_err(|_| too_often())? {
                Ok(known) => Ok((known, tried)),
                Err((why, known)) => {
                    self.record_failure(visitor, tried, known.as_ref(), why)
                        .await;
                    Err(too_often())
                }
            }
        };
        let judged = timeout(JUDGED_WITHIN, judged).await;
        let ((person, used), tried) = judged.unwrap_or_else(|_| Err(too_often()))?;
        self.welcome(visitor, person, tried, vec![used]).await
    }

    /// The person whom a password and a code belong to, and that code as it is used up; or why there is none. Every name
    /// takes the same work: reading a person, stretching the password, reading a secret, computing its codes.
    async fn judge_password(
        &self,
        login: &api::PasswordLogin,
        stretching: &Semaphore,
    ) -> Result<Result<(Person, PersonWrite), (Why, Option<PersonName>)>, Failure> {
        let (person, ways) = self.found(&login.name)?;
        let stretching = stretching.acquire().await;
        let stretching = stretching.map_err(|error| Failure::internal(&error))?;
        let fits = tokio::task::block_in_place(|| {
            passwords::fits(&login.password, ways.password.as_deref())
        });
        drop(stretching);
        let id = person.as_ref().map_or(NOBODY, |person| person.id.as_str());
        let step = self.step_of(id, &login.code);
        let name = person.as_ref().map(|person| person.name.clone());
        Ok(match (person, fits, step) {
            (None, ..) => Err(("unknown_name", name)),
            (_, false, _) => Err(("wrong_password", name)),
            (_, _, None) => Err(("wrong_code", name)),
            (Some(person), _, Some(step)) if step > ways.totp_step => {
                let used = ways.code_used(&person.id, step);
                Ok((person, used))
            }
            _ => Err(("used_code", name)),
        })
    }

    /// Logs in by a recovery code. It is an alert: somebody has lost what they usually show, or somebody else has
    /// found the codes.
    pub(crate) async fn login_by_recovery(
        &self,
        visitor: &Visitor,
        login: api::RecoveryLogin,
    ) -> Result<Opened, Failure> {
        let tried = Tried::unguessable(RECOVERY_CODE, Some(&login.name));
        let (person, _) = self.found(&login.name)?;
        let hash = passwords::recovery_hash(&login.code);
        let id = person.as_ref().map_or(NOBODY, |person| person.id.as_str());
        // Nothing is written for a wrong code but the record of it, as for an unknown name.
        let fits = self
            .ctx
            .store()
            .read(|registry| registry.has_recovery_code(id, &hash))?;
        match person {
            Some(person) if fits => {
                let used = PersonWrite::UseRecoveryCode(person.id.clone(), hash, self.ctx.now());
                self.welcome(visitor, person, tried, vec![used]).await
            }
            Some(known) => {
                let why = "wrong_recovery_code";
                Err(self.turn_away(visitor, tried, Some(&known.name), why).await)
            }
            None => Err(self.turn_away(visitor, tried, None, "unknown_name").await),
        }
    }

    /// An attempt with a password and a code, counted before anything is looked at.
    fn guess(&self, visitor: &Visitor, name: &str) -> Result<Tried, Failure> {
        let by = By::Stranger(visitor.address.ip(), name);
        let attempt = locked(&self.people.throttle).attempt(by, self.ctx.now());
        Ok(Tried {
            attempt: Some(attempt.ok_or_else(too_often)?),
            ..Tried::unguessable(PASSWORD, Some(name))
        })
    }

    /// An attempt was none in vain.
    fn succeeded(&self, tried: Tried) {
        if let Some(attempt) = tried.attempt {
            locked(&self.people.throttle).give_back(attempt);
        }
    }

    fn found(&self, name: &str) -> Result<(Option<Person>, Ways), Failure> {
        Ok(self.ctx.store().read(|registry| {
            let person = registry.person_named(name)?.filter(|person| person.joined);
            let id = person.as_ref().map_or(NOBODY, |person| person.id.as_str());
            let ways = registry.ways_of(id)?;
            Ok((person, ways))
        })?)
    }

    /// The step of a code that the authenticator of a person with this id shows now. A person without one is given no
    /// other work.
    pub(crate) fn step_of(&self, person: &str, code: &str) -> Option<u64> {
        let secret = self.ctx.store().secret(TOTP, person).ok().flatten();
        let step = match &secret {
            Some(secret) => passwords::step_of(secret, code, self.ctx.now()),
            None => passwords::step_of(&NO_SECRET, code, self.ctx.now()),
        };
        step.filter(|_| secret.is_some())
    }

    /// Opens a session. What was shown is used up in the same commit: a conflict means that it was already.
    async fn welcome(
        &self,
        visitor: &Visitor,
        person: Person,
        tried: Tried,
        used: Vec<PersonWrite>,
    ) -> Result<Opened, Failure> {
        let name = person.name.clone();
        let opened = open(person, visitor, self.ctx.now());
        let object = format!("person:{name}");
        let mut entry = Entry::new(
            self.ctx.now(),
            opened.visit.actor(),
            "session.begin",
            object,
        )
        .with("way", tried.way)
        .with("agent", visitor.agent.clone());
        if tried.way == RECOVERY_CODE {
            entry = entry.ended(Outcome::Alert, "a recovery code was used");
        }
        let mut change = Change::record(entry);
        change.writes.extend(used.into_iter().map(Write::Person));
        match self.ctx.commit(change.write(opened.write())).await {
            Ok(_) => {
                self.succeeded(tried);
                let from = visitor.address.ip();
                locked(&self.people.throttle).remember(from, name.as_str());
                Ok(opened)
            }
            Err(CommitError::Conflict) => {
                Err(self.turn_away(visitor, tried, Some(&name), "used_up").await)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Writes a failure down, and gives the one answer.
    async fn turn_away(
        &self,
        visitor: &Visitor,
        tried: Tried,
        known: Option<&PersonName>,
        why: Why,
    ) -> Failure {
        self.record_failure(visitor, tried, known, why).await;
        failed()
    }

    /// Writes a failure down: the first in a minute of a way, an address and a name that was typed, whether anybody has
    /// it or not, so that the time that a record takes tells nothing. The name itself is written down only if somebody
    /// has it: people type passwords into the wrong field.
    pub(crate) async fn record_failure(
        &self,
        visitor: &Visitor,
        Tried { way, about, .. }: Tried,
        known: Option<&PersonName>,
        why: Why,
    ) {
        let (now, address) = (self.ctx.now(), visitor.address.ip());
        let entered = locked(&self.people.refusals).enter_about(about, way, address, now);
        let Some(omitted) = entered else { return };
        let object = known.map_or("session".to_owned(), |name| format!("person:{name}"));
        let mut entry = Entry::new(now, visitor.actor(), "session.refuse", object)
            .ended(Outcome::Refused, why)
            .with("way", way);
        if omitted > 0 {
            entry = entry.with("omitted_before", omitted);
        }
        self.ctx.record(entry).await;
    }
}
