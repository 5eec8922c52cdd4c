//! How far a limited role reaches where the path names a thing and not its environment.

use hearthkey_core::audit::{Entry, Outcome};
use hearthkey_core::id::{DeviceId, TokenName};
use hearthkey_core::role::{Mandate, Scope};

use crate::auth::caller::{Caller, Visit};
use crate::auth::refusals::About;
use crate::auth::throttle::counted;
use crate::home::Home;
use crate::http::policy::{People, Place, Policy, Thing, part};
use crate::state::failure::Failure;
use crate::state::locked;

/// A path in a record, in characters at most.
const PATH_SHOWN: usize = 200;

impl Home {
    /// Whether a mandate reaches the device or token that a path names. What lies in another environment is
    /// not there, as far as they are told.
    pub(crate) fn within_reach(
        &self,
        mandate: &Mandate,
        policy: &Policy,
        (pattern, path): (&str, &str),
    ) -> Result<(), Failure> {
        let People::Act(act) = policy.people else {
            return Ok(());
        };
        let Some(scope @ Scope::These(_)) = mandate.scope(act) else {
            return Ok(());
        };
        match policy.place {
            Place::Of(Thing::Device) => {
                let named = part(pattern, path, "{id}").unwrap_or_default();
                let device: Option<DeviceId> = named.parse().ok();
                let known = match &device {
                    Some(device) => self.ctx.store().read(|registry| registry.device(device))?,
                    None => None,
                };
                let reached = known.is_some_and(|known| scope.has(&known.device.environment));
                reached
                    .then_some(())
                    .ok_or_else(|| missing("device", named))
            }
            Place::Of(Thing::Token) => {
                let named = part(pattern, path, "{name}").unwrap_or_default();
                let token: Option<TokenName> = named.parse().ok();
                let token = token.and_then(|name| self.auth.tokens.named(&name));
                let reached = token.is_some_and(|token| token.power.is_within(scope));
                reached.then_some(()).ok_or_else(|| missing("token", named))
            }
            // The first is in the path, and was judged with it; profiles are everybody's.
            Place::Of(Thing::Credential | Thing::Profile)
            | Place::InPath
            | Place::Anywhere
            | Place::ByUseCase => Ok(()),
        }
    }

    /// Writes down that somebody asked for what their role does not reach.
    pub(crate) async fn record_beyond(
        &self,
        caller: &Caller,
        asked: (&str, &str),
        failure: &Failure,
    ) {
        match caller {
            Caller::Person(visit) => self.record_overstep(visit, asked, failure).await,
            Caller::Service(service) => self.auth.record_overreach(service, asked).await,
            Caller::Desktop | Caller::Local { .. } => {}
        }
    }

    /// Writes down that a person asked for what they may not do.
    pub(crate) async fn record_overstep(
        &self,
        visit: &Visit,
        (method, path): (&str, &str),
        failure: &Failure,
    ) {
        if failure.0.code == hearthkey_api::code::SECOND_FACTOR_NEEDED {
            return;
        }
        let (now, address) = (self.ctx.now(), visit.address.ip());
        let about = About::Known(counted(visit.person.name.as_str()));
        let entered =
            locked(&self.auth.people.refusals).enter_about(about, "overstep", address, now);
        let Some(omitted) = entered else { return };
        let object = format!("person:{}", visit.person.name);
        let path: String = path.chars().take(PATH_SHOWN).collect();
        let mut entry = Entry::new(now, visit.actor(), "person.refuse", object)
            .ended(Outcome::Refused, failure.0.code.clone())
            .with("method", method)
            .with("path", path);
        if omitted > 0 {
            entry = entry.with("omitted_before", omitted);
        }
        self.ctx.record(entry).await;
    }
}

fn missing(kind: &str, named: &str) -> Failure {
    let shown: String = named.chars().take(80).collect();
    Failure::not_found(kind, &shown)
}
