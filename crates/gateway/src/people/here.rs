//! A second factor on the gateway's own machine, where nobody has a session that could be fresh: a person's code.
//!
//! It is asked for what needs a second factor wherever people do it, as soon as somebody could show one: a person who may do
//! it and has an authenticator. In a home without such a person, whoever is on the socket does it without.

use std::net::{IpAddr, Ipv4Addr};

use hearthkey_api::SecondFactor;
use hearthkey_core::audit::{Entry, Outcome};
use hearthkey_core::id::EnvironmentName;
use hearthkey_core::person::{Person, Standing};
use hearthkey_core::role::{Act, Mandate};
use hearthkey_store::CommitError;
use hearthkey_store::change::{Change, Write};
use hearthkey_store::people::{PersonWrite, Ways};
use hearthkey_store::registry::ReadError;

use crate::attempts::About;
use crate::caller::Caller;
use crate::home::{Home, locked};
use crate::people::login::too_often;
use crate::people::throttle::{Attempt, By, counted};
use crate::problem::{Failure, sentence};
use crate::role_routes::second_factor_needed;

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

/// A code that fits, and whose it is. It is used up in the commit of what it was shown for.
pub(crate) struct Shown {
    person: Person,
    step: u64,
    attempt: Attempt,
}

/// For what needs a code, and came without one.
pub(crate) fn no_code(why: &str) -> Failure {
    let mut failure = second_factor_needed();
    failure.0.detail = sentence(&why);
    failure.0.remedy =
        "Say who you are with --person NAME, and type the code of your authenticator.".into();
    failure
}

/// For a code that proves nothing.
pub(crate) fn code_does_not_fit() -> Failure {
    let mut failure = second_factor_needed();
    failure.0.detail =
        "The code does not fit, has been used, or is of nobody who may do this.".into();
    failure.0.remedy = "Wait for the next code of your authenticator, and try again.".into();
    failure
}

/// Whether a mandate lets its person do what needs a second factor.
pub(crate) fn needs_a_second_factor(mandate: &Mandate) -> bool {
    mandate.acts().any(Act::needs_second_factor)
}

impl Home {
    /// The code that the caller shows for what needs one; none if none is needed. Over HTTPS the session was judged.
    pub(crate) async fn shown_here(
        &self,
        caller: &Caller,
        needed: Needed<'_>,
        shown: Option<SecondFactor>,
    ) -> Result<Option<Shown>, Failure> {
        if !matches!(caller, Caller::Local { .. }) || !self.could_be_shown(needed)? {
            return Ok(None);
        }
        match shown {
            Some(shown) => self.judge_code(caller, needed, &shown).await.map(Some),
            None => Err(no_code(needed.why)),
        }
    }

    /// Whether somebody may do this and has an authenticator.
    pub(crate) fn could_be_shown(&self, needed: Needed<'_>) -> Result<bool, ReadError> {
        self.store.read(|registry| {
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

    /// Judges a code. It is counted as a failure before, so that guesses at the same moment share one budget; a wrong one
    /// is written down.
    pub(crate) async fn judge_code(
        &self,
        caller: &Caller,
        needed: Needed<'_>,
        shown: &SecondFactor,
    ) -> Result<Shown, Failure> {
        let (person, ways) = self.store.read(|registry| {
            let person = registry.person_named(&shown.person)?;
            let id = person.as_ref().map_or("", |person| person.id.as_str());
            let ways = registry.ways_of(id)?;
            Ok((person, ways))
        })?;
        // Whose access has ended in memory is nobody any more.
        let person = person.and_then(|person| self.people.left_of(person));
        // Names that nobody has share one budget.
        let id = person.as_ref().map_or("", |person| person.id.as_str());
        let attempt = locked(&self.people.throttle).attempt(By::Here(id), self.now());
        let attempt = attempt.ok_or_else(too_often)?;
        let step = self.step_of(id, &shown.code);
        match judged(person.as_ref(), &ways, step, needed) {
            Err(why) => {
                self.record_wrong_code(caller, needed.act, person.as_ref(), why)
                    .await;
                Err(code_does_not_fit())
            }
            Ok((person, step)) => Ok(Shown {
                person: person.clone(),
                step,
                attempt,
            }),
        }
    }

    /// Writes a wrong code down: once a minute for each person.
    async fn record_wrong_code(
        &self,
        caller: &Caller,
        act: Act,
        person: Option<&Person>,
        why: &'static str,
    ) {
        let now = self.now();
        let about = person.map_or(About::Nobody, |known| {
            About::Name(counted(known.name.as_str()))
        });
        let here = IpAddr::from(Ipv4Addr::UNSPECIFIED);
        let entered = locked(&self.people.refusals).enter_about(about, why, here, now);
        let Some(omitted) = entered else { return };
        let object = person.map_or("session".into(), |known| format!("person:{}", known.name));
        let mut entry = Entry::new(now, caller.actor(), "person.refuse", object)
            .ended(Outcome::Refused, why)
            .with("act", act.as_str());
        if omitted > 0 {
            entry = entry.with("omitted_before", omitted);
        }
        self.record(entry).await;
    }

    /// A code that was shown once for several changes was no guess for each of them.
    pub(crate) fn needs_no_other(&self, Shown { attempt, .. }: Shown) {
        locked(&self.people.throttle).give_back(attempt);
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
        self.commit_shown(Change::default(), Some(shown)).await?;
        Ok(entry)
    }

    /// Commits a change, and with it that the code is used which was shown for it.
    pub(crate) async fn commit_shown(
        &self,
        mut change: Change,
        shown: Option<Shown>,
    ) -> Result<(), CommitError> {
        let Some(Shown {
            person,
            step,
            attempt,
        }) = shown
        else {
            return self.commit(change).await.map(drop);
        };
        let signed = |entry: Entry| entry.with("second_factor", person.name.as_str());
        change.entries = change.entries.into_iter().map(signed).collect();
        let used = PersonWrite::TotpStep(person.id, step);
        self.commit(change.write(Write::Person(used))).await?;
        locked(&self.people.throttle).give_back(attempt);
        Ok(())
    }
}

/// Whose code it is, and its step; or why it proves nothing.
fn judged<'a>(
    person: Option<&'a Person>,
    ways: &Ways,
    step: Option<u64>,
    needed: Needed<'_>,
) -> Result<(&'a Person, u64), &'static str> {
    let person = person.ok_or("unknown_name")?;
    let step = step.ok_or("wrong_code")?;
    if step <= ways.totp_step {
        Err("used_code")
    } else if person.standing() != Standing::Active || !needed.is_permitted(&person.mandate) {
        Err("not_permitted")
    } else {
        Ok((person, step))
    }
}
