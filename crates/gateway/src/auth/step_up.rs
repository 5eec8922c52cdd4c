//! A fresh second factor in a session that is there.

use axum::http::StatusCode;
use hearthkey_api::{self as api, code};
use hearthkey_core::audit::{Entry, Outcome};
use hearthkey_core::person::SECOND_FACTOR_FRESH;
use hearthkey_store::CommitError;
use hearthkey_store::change::{Change, Write};
use hearthkey_store::people::PersonWrite;

use crate::auth::Auth;
use crate::auth::caller::Visit;
use crate::auth::ceremonies::Ceremony;
use crate::auth::login::{no_passkeys, no_such_ceremony, too_often};
use crate::auth::passkeys;
use crate::auth::refusals::About;
use crate::auth::throttle::{Attempt, By, counted};
use crate::state::failure::Failure;
use crate::state::locked;

fn not_shown() -> Failure {
    Failure::new(
        StatusCode::FORBIDDEN,
        code::SECOND_FACTOR_NEEDED,
        "Wrong code or passkey.",
        "It does not fit, or has been used.",
        "Wait for the next code, or use a passkey.",
    )
}

impl Auth {
    /// Begins to show a passkey again.
    pub(crate) fn begin_step_up(&self, visit: &Visit) -> Result<api::CeremonyBegun, Failure> {
        let party = self.people.passkeys.under(&visit.authority);
        let party = party.ok_or_else(no_passkeys)?;
        let known = self.passkeys_left(&visit.person)?;
        let begun = passkeys::begin_step_up(party, &known).ok_or_else(|| {
            Failure::refused(&"you have no passkey for this host name", "Use a code.")
        })?;
        let (options, state) = begun;
        let ceremony = Ceremony::StepUp(Box::new(state), visit.session.hash);
        let ceremony = locked(&self.people.ceremonies).begin(ceremony, self.ctx.now());
        Ok(api::CeremonyBegun { ceremony, options })
    }

    /// A passkey was shown again.
    pub(crate) async fn step_up_by_passkey(
        &self,
        visit: &Visit,
        answer: api::CeremonyAnswer,
    ) -> Result<api::SessionInfo, Failure> {
        let now = self.ctx.now();
        let taken = locked(&self.people.ceremonies).take(&answer.ceremony, now);
        let Some(Ceremony::StepUp(state, session)) = taken else {
            return Err(no_such_ceremony());
        };
        if session != visit.session.hash {
            return Err(no_such_ceremony());
        }
        let party = self.people.passkeys.under(&visit.authority);
        let party = party.ok_or_else(no_passkeys)?;
        let attempt = self.try_again(visit)?;
        let known = self.passkeys_left(&visit.person)?;
        match passkeys::finish_step_up(party, answer.credential, &state, &known) {
            Ok((id, data)) => {
                let used = PersonWrite::PasskeyUsed { id, data, at: now };
                self.freshen(visit, attempt, used, "passkey").await
            }
            Err(error) => {
                tracing::warn!(%error, "a passkey did not prove itself");
                Err(self.not_fresh(visit, "wrong_proof").await)
            }
        }
    }

    /// A code was shown.
    pub(crate) async fn step_up_by_code(
        &self,
        visit: &Visit,
        code: &str,
    ) -> Result<api::SessionInfo, Failure> {
        let id = &visit.person.id;
        let attempt = self.try_again(visit)?;
        let ways = self.ctx.store().read(|registry| registry.ways_of(id))?;
        match self.step_of(id, code) {
            Some(step) if step > ways.totp_step => {
                let used = ways.code_used(id, step);
                self.freshen(visit, attempt, used, "code").await
            }
            Some(_) => Err(self.not_fresh(visit, "used_code").await),
            None => Err(self.not_fresh(visit, "wrong_code").await),
        }
    }

    /// An attempt, counted before it is judged, in a budget that nobody else can use up.
    fn try_again(&self, visit: &Visit) -> Result<Attempt, Failure> {
        let by = By::Session(&visit.person.id);
        let attempt = locked(&self.people.throttle).attempt(by, self.ctx.now());
        attempt.ok_or_else(too_often)
    }

    async fn freshen(
        &self,
        visit: &Visit,
        attempt: Attempt,
        used: PersonWrite,
        way: &'static str,
    ) -> Result<api::SessionInfo, Failure> {
        let until = self.ctx.now().after(SECOND_FACTOR_FRESH);
        let object = format!("person:{}", visit.person.name);
        let entry =
            Entry::new(self.ctx.now(), visit.actor(), "session.step-up", object).with("way", way);
        let fresh = PersonWrite::SessionFresh(visit.session.hash, until);
        let change = Change::record(entry)
            .write(Write::Person(used))
            .write(Write::Person(fresh));
        match self.ctx.commit(change).await {
            Ok(_) => locked(&self.people.throttle).give_back(attempt),
            Err(CommitError::Conflict) => return Err(self.not_fresh(visit, "used_up").await),
            Err(error) => return Err(error.into()),
        }
        let mut visit = visit.clone();
        visit.session.fresh_until = until;
        self.info_of(&visit)
    }

    async fn not_fresh(&self, visit: &Visit, why: &'static str) -> Failure {
        let (now, address) = (self.ctx.now(), visit.address.ip());
        let object = format!("person:{}", visit.person.name);
        let about = About::Known(counted(visit.person.name.as_str()));
        let entered = locked(&self.people.refusals).enter_about(about, why, address, now);
        if entered.is_some() {
            let entry = Entry::new(now, visit.actor(), "session.step-up", object)
                .ended(Outcome::Refused, why);
            self.ctx.record(entry).await;
        }
        not_shown()
    }
}
