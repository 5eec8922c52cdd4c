//! A second factor on the gateway's own machine, on the socket and in the desktop window: a person's code.
//!
//! It is asked for what needs a second factor wherever people do it, once somebody has joined the home. That they have left
//! since, or lost their authenticator, opens nothing again: a holder of the socket could send away those who can show a
//! code, and act without one then. Who has nothing to show goes another way: [`crate::people::roster`], `invite_again`.
//!
//! On the socket each act takes a code of its own. In the window, which one person sits at, a code is good for as long as in
//! a session.

use crate::auth::person_book::AtWindow;
use std::net::{IpAddr, Ipv4Addr};

use hearthkey_api::{self as api, SecondFactor};
use hearthkey_core::audit::{Entry, Outcome};
use hearthkey_core::id::EnvironmentName;
use hearthkey_core::person::{Person, SECOND_FACTOR_FRESH, Standing};
use hearthkey_core::role::{Act, Mandate};
use hearthkey_core::time::Timestamp;
use hearthkey_store::CommitError;
use hearthkey_store::change::{Change, Write};
use hearthkey_store::people::{PersonWrite, Ways};
use hearthkey_store::registry::ReadError;

use crate::auth::Auth;
use crate::auth::caller::Caller;
use crate::auth::forbidden::second_factor_needed;
use crate::auth::login::too_often;
use crate::auth::refusals::About;
use crate::auth::throttle::{Attempt, By, counted};
use crate::state::failure::{Failure, sentence};
use crate::state::locked;

/// What a code is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needed<'a> {
    /// What is done.
    pub(crate) act: Act,
    /// Where, if it is done in one environment.
    pub(crate) environment: Option<&'a EnvironmentName>,
    /// Why it needs a second factor, as a sentence without its end.
    pub(crate) why: &'a str,
}

impl Needed<'_> {
    fn is_permitted(&self, mandate: &Mandate) -> bool {
        match self.environment {
            Some(environment) => mandate.permits(self.act, environment),
            None => mandate.scope(self.act).is_some(),
        }
    }
}

/// A code that fits, and whose it is.
pub(crate) struct Shown {
    person: Person,
    /// The code, which is used up in the commit of what it was shown for; none if it was shown at the window before.
    code: Option<Code>,
}

impl Shown {
    /// The id of the person whose code it is.
    pub(crate) fn person(&self) -> &str {
        &self.person.id
    }
}

struct Code {
    used: PersonWrite,
    attempt: Attempt,
}

/// For what needs a code, and came without one.
fn no_code(caller: &Caller, why: &str, is_there_one: bool) -> Failure {
    let mut failure = second_factor_needed();
    failure.0.detail = sentence(&why);
    failure.0.remedy = match (is_there_one, caller) {
        (false, _) => {
            "Nobody who may do this has an authenticator. Do it in a browser, or set a password with a code there, \
             under Settings. On the command line: `hearthkey person setup-link`, run as root or as the gateway's own \
             user, invites the first owner."
        }
        (true, Caller::Desktop) => "Say who you are, and type the code of your authenticator.",
        (true, _) => "Enter your name and the code from your authenticator. On the command line: `--person NAME`.",
    }
    .into();
    failure
}

/// For a code that proves nothing.
pub(crate) fn code_does_not_fit() -> Failure {
    let mut failure = second_factor_needed();
    failure.0.detail =
        "Wrong code: it does not fit, has been used, or is not of a person who may do this.".into();
    failure.0.remedy = "Wait for the next code of your authenticator, and try again. On the command line: `hearthkey person list` shows the roles.".into();
    failure
}

/// Whether a mandate lets its person do what needs a second factor.
pub(crate) fn needs_a_second_factor(mandate: &Mandate) -> bool {
    mandate.acts().any(Act::needs_second_factor)
}

impl Auth {
    /// The code that the caller shows for what needs one; none if none is needed. Over HTTPS the session was judged.
    pub(crate) async fn shown_here(
        &self,
        caller: &Caller,
        needed: Needed<'_>,
        shown: Option<SecondFactor>,
    ) -> Result<Option<Shown>, Failure> {
        let is_here = matches!(caller, Caller::Desktop | Caller::Local { .. });
        if !is_here || !self.asks_for_codes()? {
            return Ok(None);
        }
        if let Some(shown) = shown {
            let judged = self.judge_code(caller, &shown, needed.act.as_str(), |mandate| {
                needed.is_permitted(mandate)
            });
            return judged.await.map(Some);
        }
        let at_window = match caller {
            Caller::Desktop => self.person_at_window()?,
            _ => None,
        };
        match at_window.filter(|(person, _)| needed.is_permitted(&person.mandate)) {
            Some((person, _)) => Ok(Some(Shown { person, code: None })),
            None => Err(no_code(caller, needed.why, self.could_be_shown(needed)?)),
        }
    }

    /// Whether codes are asked for on this machine: since somebody has joined, and from then on.
    pub(crate) fn asks_for_codes(&self) -> Result<bool, ReadError> {
        self.ctx
            .store()
            .read(|registry| registry.somebody_has_joined())
    }

    /// Whether somebody may do this and has an authenticator.
    fn could_be_shown(&self, needed: Needed<'_>) -> Result<bool, ReadError> {
        self.ctx.store().read(|registry| {
            for person in registry.people()? {
                let may =
                    person.standing() == Standing::Active && needed.is_permitted(&person.mandate);
                if may && registry.ways_of(&person.id)?.password.is_some() {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }

    /// Judges a code of somebody who is permitted what it is shown for. It is counted as a failure before, so that guesses
    /// at the same moment share one budget; a wrong one is written down.
    async fn judge_code(
        &self,
        caller: &Caller,
        shown: &SecondFactor,
        act: &str,
        permits: impl Fn(&Mandate) -> bool,
    ) -> Result<Shown, Failure> {
        let (person, ways) = self.ctx.store().read(|registry| {
            let person = registry.person_named(&shown.person)?;
            let id = person.as_ref().map_or("", |person| person.id.as_str());
            let ways = registry.ways_of(id)?;
            Ok((person, ways))
        })?;
        // Whose access has ended in memory is nobody any more.
        let person = person.and_then(|person| self.people.left_of(person));
        // Names that nobody has share one budget.
        let id = person.as_ref().map_or("", |person| person.id.as_str());
        let attempt = locked(&self.people.throttle).attempt(By::Here(id), self.ctx.now());
        let attempt = attempt.ok_or_else(too_often)?;
        let step = self.step_of(id, &shown.code);
        match judged(person.as_ref(), &ways, step, permits) {
            Err(why) => {
                self.record_wrong_code(caller, act, person.as_ref(), why)
                    .await;
                Err(code_does_not_fit())
            }
            Ok((person, step)) => Ok(Shown {
                person: person.clone(),
                code: Some(Code {
                    used: ways.code_used(&person.id, step),
                    attempt,
                }),
            }),
        }
    }

    /// A code was shown at the desktop window: it is good there for as long as in a session.
    pub(crate) async fn step_up_at_window(
        &self,
        caller: &Caller,
        answer: api::CodeAnswer,
    ) -> Result<api::SessionInfo, Failure> {
        let shown = SecondFactor {
            person: answer.person.unwrap_or_default(),
            code: answer.code,
        };
        let act = "session.step-up";
        let shown = self
            .judge_code(caller, &shown, act, needs_a_second_factor)
            .await?;
        let until = self.ctx.now().after(SECOND_FACTOR_FRESH);
        let person = shown.person.clone();
        let object = format!("person:{}", person.name);
        let entry = Entry::new(self.ctx.now(), caller.actor(), act, object).with("way", "code");
        let committed = self.commit_shown(Change::record(entry), Some(shown)).await;
        committed.map_err(|error| match error {
            CommitError::Conflict => code_does_not_fit(),
            error => error.into(),
        })?;
        let person = person.id;
        *locked(&self.people.at_window) = Some(AtWindow { person, until });
        self.session_info(caller)
    }

    /// Who has shown a code at the desktop window in the last minutes and may still do something with it, and until when.
    pub(crate) fn person_at_window(&self) -> Result<Option<(Person, Timestamp)>, ReadError> {
        let now = self.ctx.now();
        let at_window = locked(&self.people.at_window).clone();
        let Some(AtWindow { person, until }) = at_window.filter(|shown| now < shown.until) else {
            return Ok(None);
        };
        let person = self.ctx.store().read(|registry| registry.person(&person))?;
        let active = person.filter(|person| person.standing() == Standing::Active);
        let left = active.and_then(|person| self.people.left_of(person));
        Ok(left.map(|person| (person, until)))
    }

    /// Writes a wrong code down: once a minute for each person.
    async fn record_wrong_code(
        &self,
        caller: &Caller,
        act: &str,
        person: Option<&Person>,
        why: &'static str,
    ) {
        let now = self.ctx.now();
        let name = person.map_or("", |known| known.name.as_str());
        let about = About::Known(counted(name));
        let here = IpAddr::from(Ipv4Addr::UNSPECIFIED);
        let entered = locked(&self.people.refusals).enter_about(about, why, here, now);
        let Some(omitted) = entered else { return };
        let object = person.map_or("session".into(), |known| format!("person:{}", known.name));
        let mut entry = Entry::new(now, caller.actor(), "person.refuse", object)
            .ended(Outcome::Refused, why)
            .with("act", act);
        if omitted > 0 {
            entry = entry.with("omitted_before", omitted);
        }
        self.ctx.record(entry).await;
    }

    /// A code that was shown once for several changes was no guess for each of them.
    pub(crate) fn needs_no_other(&self, shown: Shown) {
        if let Some(Code { attempt, .. }) = shown.code {
            locked(&self.people.throttle).give_back(attempt);
        }
    }

    /// Uses up a code before what it was shown for is done, where that is not one commit. Returns the record of that, with
    /// whose code it was.
    pub(crate) async fn used_up(
        &self,
        shown: Option<Shown>,
        entry: Entry,
    ) -> Result<Entry, CommitError> {
        let Some(shown) = shown else { return Ok(entry) };
        let entry = entry.with("second_factor", shown.person.name.as_str());
        if shown.code.is_none() {
            return Ok(entry);
        }
        self.commit_shown(Change::default(), Some(shown)).await?;
        Ok(entry)
    }

    /// Commits a change, and with it that the code is used which was shown for it.
    pub(crate) async fn commit_shown(
        &self,
        mut change: Change,
        shown: Option<Shown>,
    ) -> Result<(), CommitError> {
        let Some(Shown { person, code }) = shown else {
            return self.ctx.commit(change).await.map(drop);
        };
        let signed = |entry: Entry| entry.with("second_factor", person.name.as_str());
        change.entries = change.entries.into_iter().map(signed).collect();
        let Some(Code { used, attempt }) = code else {
            return self.ctx.commit(change).await.map(drop);
        };
        self.ctx.commit(change.write(Write::Person(used))).await?;
        locked(&self.people.throttle).give_back(attempt);
        Ok(())
    }
}

/// Whose code it is, and its step; or why it proves nothing.
fn judged<'a>(
    person: Option<&'a Person>,
    ways: &Ways,
    step: Option<u64>,
    permits: impl Fn(&Mandate) -> bool,
) -> Result<(&'a Person, u64), &'static str> {
    let person = person.ok_or("unknown_name")?;
    let step = step.ok_or("wrong_code")?;
    if step <= ways.totp_step {
        Err("used_code")
    } else if person.standing() != Standing::Active || !permits(&person.mandate) {
        Err("not_permitted")
    } else {
        Ok((person, step))
    }
}
