//! What guards a credential is changed by those it does not guard against.
//!
//! The decisions: `core/guarded.rs`. Here stand the facts: who changes it, what was there before under its name, and
//! the code that is shown where no session is.

use hearthkey_api::SecondFactor;
use hearthkey_core::credential::{Credential, CredentialId, State, VersionState};
use hearthkey_core::guarded::{Guarded, may_change, may_follow};
use hearthkey_core::person::Person;
use hearthkey_core::role::Act;
use hearthkey_store::change::Write;
use hearthkey_store::people::PersonWrite;

use crate::caller::{Caller, tokens_have_one_factor};
use crate::home::{Home, locked};
use crate::people::throttle::{Attempt, By};
use crate::people::too_often;
use crate::problem::{Failure, sentence};
use crate::role_routes::second_factor_needed;

/// A code that fits, and whose it is. It is used up in the commit of what it was shown for.
pub(super) struct Shown {
    pub(super) person: Person,
    step: u64,
    attempt: Attempt,
}

impl Shown {
    /// What uses the code up, and the attempt to take out of the count once it has.
    pub(super) fn used_up(self) -> (Write, Attempt) {
        let used = PersonWrite::TotpStep(self.person.id, self.step);
        (Write::Person(used), self.attempt)
    }
}

/// For a code that proves nothing.
pub(super) fn code_does_not_fit() -> Failure {
    let mut failure = second_factor_needed();
    failure.0.detail =
        "The code does not fit, has been used, or is of nobody who may change this.".into();
    failure.0.remedy = "Wait for the next code of your authenticator, and try again.".into();
    failure
}

impl Home {
    /// Whether the caller may describe a credential anew like this; with the second factor that was needed for it.
    pub(super) async fn judge_change(
        &self,
        caller: &Caller,
        before: &Credential,
        after: &Credential,
        shown: Option<SecondFactor>,
    ) -> Result<Option<Shown>, Failure> {
        let has_owner = self.store.read(|registry| registry.has_owner())?;
        let changer = caller.changer(self.now(), has_owner);
        match may_change(changer, before, after) {
            Ok(()) => Ok(None),
            Err(guarded) => self.or_shown(caller, &before.id, guarded, shown).await,
        }
    }

    /// Whether the caller may add a credential under the name of one that was there before.
    pub(super) async fn may_follow_earlier(
        &self,
        caller: &Caller,
        new: &Credential,
    ) -> Result<(), Failure> {
        let earlier = self.store.read(|registry| registry.credential(&new.id))?;
        let Some(earlier) = earlier.filter(|known| known.credential.state != State::Active) else {
            return Ok(());
        };
        // Without its values, nothing but the name is left of it.
        let versions = self.store.read(|registry| registry.versions(&new.id))?;
        if versions
            .iter()
            .all(|version| version.state == VersionState::Destroyed)
        {
            return Ok(());
        }
        let has_owner = self.store.read(|registry| registry.has_owner())?;
        let changer = caller.changer(self.now(), has_owner);
        match may_follow(changer, earlier.credential.tier, new.tier) {
            Ok(()) => Ok(()),
            Err(_) => Err(Failure::refused(
                &format!(
                    "{} is the name of a credential of the tier {}, whose values are still kept",
                    new.id.name, earlier.credential.tier
                ),
                "Give it that tier, choose another name, or wait until those values are destroyed: \
                 `hearthkey credential show` says when.",
            )),
        }
    }

    /// A caller on the socket shows a code instead of a fresh session.
    async fn or_shown(
        &self,
        caller: &Caller,
        id: &CredentialId,
        guarded: Guarded,
        shown: Option<SecondFactor>,
    ) -> Result<Option<Shown>, Failure> {
        match (guarded, caller, shown) {
            (Guarded::FromTokens(_), ..) => {
                let mut failure = tokens_have_one_factor();
                failure.0.detail = format!("It guards the value: {guarded}.");
                failure.0.remedy =
                    "Do it on the gateway's own machine, or as a person over HTTPS.".into();
                Err(failure)
            }
            (_, Caller::Desktop | Caller::Local { .. }, Some(shown)) => {
                self.second_factor_of(id, &shown).await.map(Some)
            }
            (_, Caller::Desktop | Caller::Local { .. }, None) => {
                let mut failure = second_factor_needed();
                failure.0.detail = sentence(&format!(
                    "{guarded}: this home has an owner, who can show one"
                ));
                failure.0.remedy =
                    "Say who you are with --person NAME, and type the code of your authenticator."
                        .into();
                Err(failure)
            }
            _ => Err(second_factor_needed()),
        }
    }

    async fn second_factor_of(
        &self,
        id: &CredentialId,
        shown: &SecondFactor,
    ) -> Result<Shown, Failure> {
        let now = self.now();
        // Counted before it is judged: guesses at the same moment share one budget.
        let by = By::Here(&shown.person);
        let attempt = locked(&self.people.throttle).attempt(by, now);
        let attempt = attempt.ok_or_else(too_often)?;
        let person = self
            .store
            .read(|registry| registry.person_named(&shown.person))?;
        // Whose access has ended in memory is nobody any more.
        let person = person.and_then(|person| self.people.left_of(person));
        let person = person.filter(|person| {
            let mandate = &person.mandate;
            person.joined
                && person.ended_at.is_none()
                && mandate.permits(Act::CredentialWrite, &id.environment)
        });
        let found = person.and_then(|person| {
            let step = self.step_of(&person.id, &shown.code)?;
            Some(Shown {
                person,
                step,
                attempt,
            })
        });
        found.ok_or_else(code_does_not_fit)
    }
}

impl Home {
    /// Whether the caller may say what a value is called at its bridge: the gateway changes and ends there, with an
    /// authority of its own, what it is told the name of.
    pub(super) fn may_name_remote(
        &self,
        caller: &Caller,
        remote_id: Option<&str>,
    ) -> Result<(), Failure> {
        match remote_id.is_some() && caller.is_service() {
            false => Ok(()),
            true => Err(Failure::refused(
                &"a token does not say what a value is called at its bridge",
                "Leave --remote-id out; a person says it on the gateway's own machine, or over HTTPS.",
            )),
        }
    }

    /// One thing at a bridge belongs to one credential: whoever has another one replaced would get that thing's value.
    pub(super) fn refuse_remote_of_another(
        &self,
        id: &CredentialId,
        remote_id: Option<&str>,
    ) -> Result<(), Failure> {
        let Some(remote_id) = remote_id else {
            return Ok(());
        };
        let holder = self
            .store
            .read(|registry| registry.holder_of_remote(id, remote_id))?;
        match holder {
            None => Ok(()),
            Some(other) => Err(Failure::refused(
                &format!(
                    "{remote_id:?} is what its bridge calls a value of {}",
                    other.name
                ),
                "Give the id of this credential's own value, or leave it out.",
            )),
        }
    }
}
