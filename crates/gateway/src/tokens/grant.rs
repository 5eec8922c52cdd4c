//! An operator makes, renews, authorizes and revokes service tokens; a bearer renews its own.

use crate::auth::caller::Service;
use crate::auth::permit::Permit;
use crate::auth::token_views::{allow, environments, object, role};
use std::collections::BTreeSet;

use axum::http::StatusCode;
use hearthkey_api::{self as api, SecondFactor, code};
use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::credential::{Action, CredentialId, State, Tier};
use hearthkey_core::grant::{Grant, InvalidGrant, Pattern};
use hearthkey_core::id::{DeviceId, EnvironmentName, TokenId};
use hearthkey_core::power::{OwnerlessOnly, Power};
use hearthkey_core::role::{Act, Mandate};
use hearthkey_core::time::Timestamp;
use hearthkey_core::token::{
    Binding, RequestRefusal, Standing, TOKENS_MAX, Token, TokenRequest, TokenSecret,
};
use hearthkey_pki::key_id_of_pem;
use hearthkey_store::CommitError;
use hearthkey_store::change::{Change, Write};
use hearthkey_store::keys::random;
use hearthkey_store::tokens::TokenWrite;

use crate::auth::caller::Caller;
use crate::auth::local_code::{Needed, Shown};
use crate::state::failure::Failure;
use crate::state::url::bracketed;
use crate::tokens::Tokens;

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Failure> {
    text.parse().map_err(|error| Failure::invalid(&error))
}

impl From<RequestRefusal> for Failure {
    fn from(refusal: RequestRefusal) -> Self {
        Self::refused(&refusal, "Change the request, and try again.")
            .titled("The request is not valid.")
    }
}

impl From<OwnerlessOnly> for Failure {
    fn from(refusal: OwnerlessOnly) -> Self {
        Self::refused(
            &refusal,
            "Take the role operator, and let owners do the rest in a browser.",
        )
    }
}

/// What is asked for: grants in one environment, or a role.
fn power(asked: &api::TokenRequest) -> Result<Power, Failure> {
    let environments = asked.environments.iter().map(|name| parse(name));
    let environments = environments.collect::<Result<BTreeSet<EnvironmentName>, _>>()?;
    let Some(role) = &asked.role else {
        let grants = asked.allow.iter().map(|text| text.parse());
        let grants = grants.collect::<Result<Vec<Grant>, InvalidGrant>>();
        let grants = grants.and_then(TryInto::try_into);
        let grants = grants.map_err(|error| Failure::invalid(&error))?;
        let mut named = environments.into_iter();
        return match (named.next(), named.next()) {
            (Some(environment), None) => Ok(Power::Grants {
                environment,
                grants,
            }),
            _ => Err(Failure::invalid(&"grants are for exactly one environment")),
        };
    };
    if !asked.allow.is_empty() {
        return Err(Failure::invalid(&"a token has a role or grants, not both"));
    }
    let mandate = Mandate::new(parse(role)?, environments);
    Ok(Power::of(
        mandate.map_err(|error| Failure::invalid(&error))?,
    )?)
}

fn binding(asked: &api::TokenRequest) -> Result<Binding, Failure> {
    match (&asked.public_key, &asked.bind) {
        (Some(pem), None) => key_id_of_pem(pem).map(Binding::Key).ok_or_else(|| {
            Failure::invalid(&"the public key is not a P-256 key in PEM (BEGIN PUBLIC KEY)")
        }),
        (None, Some(bind)) => match parse(bind)? {
            Binding::Key(_) => Err(Failure::invalid(&"a key is given as public_key")),
            binding => Ok(binding),
        },
        _ => Err(Failure::invalid(
            &"of public_key and bind exactly one is needed",
        )),
    }
}

fn read(asked: &api::TokenRequest, actor: &Actor) -> Result<TokenRequest, Failure> {
    Ok(TokenRequest {
        name: parse(&asked.name)?,
        power: power(asked)?,
        owner: asked.owner.clone().unwrap_or_else(|| actor.name.clone()),
        purpose: asked
            .purpose
            .clone()
            .unwrap_or_else(|| format!("the service {}", asked.name)),
        made_by: actor.name.clone(),
        binding: binding(asked)?,
        ttl: parse(&asked.ttl)?,
        ceiling: parse(&asked.ceiling)?,
    })
}

/// The token that asks, as it sees itself.
pub(crate) fn self_view(token: &Token) -> api::TokenSelf {
    api::TokenSelf {
        name: token.name.to_string(),
        role: role(token),
        environments: environments(token),
        allow: allow(token),
        expires_at: token.expires_at.to_string(),
        renewable_until: token.renewable_until().to_string(),
    }
}

/// Whether somebody may make a token of this power, or let one go on: nobody gives what they do not have.
fn may_give(caller: &Caller, power: &Power) -> Result<(), Failure> {
    for environment in power.environments() {
        caller.permit(Act::TokenCreate, environment)?;
    }
    match power.mandate() {
        Some(mandate) if !caller.covers(mandate) => Err(Failure::new(
            StatusCode::FORBIDDEN,
            code::FORBIDDEN,
            "Your role does not permit this.",
            format!("The role {mandate} has more permissions than your own."),
            "Ask an owner of the home to do it, or choose a role with fewer permissions.",
        )),
        _ => Ok(()),
    }
}

/// For a token of which nobody knows whether it was stored.
fn unheld(mut failure: Failure) -> Failure {
    failure.0.remedy =
        "Free or mend the disk, and make another one: if this one was stored, it is revoked."
            .into();
    failure
}

impl Tokens {
    /// Where tokens can be used.
    fn gateway_url(&self) -> Option<String> {
        let host = bracketed(self.ctx.hosts().first()?);
        Some(format!("https://{host}:{}", self.ctx.http()?.port()))
    }

    /// Where a token holds, and what it is bound to, must be there, and in its environment.
    fn check_place(&self, caller: &Caller, request: &TokenRequest) -> Result<(), Failure> {
        for environment in request.power.environments() {
            if self.ctx.issuer(environment).is_none() {
                return Err(Failure::not_found("environment", environment));
            }
        }
        let access = self.ctx.access();
        // What is elsewhere is not there, as far as a limited role is told.
        let seen = |device: &DeviceId| {
            let known = access.device(device)?;
            let permitted = caller.permit(Act::DeviceRead, &known.environment);
            permitted.is_ok().then_some(known)
        };
        let device = match &request.binding {
            Binding::Key(_) => return Ok(()),
            Binding::Device(device) => device,
            Binding::Certificate(sha256) => match access.certificate(sha256) {
                Some(known) if seen(&known.device).is_some() => &known.device,
                _ => return Err(Failure::not_found("certificate", sha256)),
            },
        };
        match seen(device) {
            Some(known) if request.power.holds_in(&known.environment) => Ok(()),
            Some(known) => {
                let why = format!("the device {device} belongs to {}", known.environment);
                Err(Failure::refused(
                    &why,
                    "Create the token in that environment.",
                ))
            }
            None => Err(Failure::not_found("device", device)),
        }
    }

    /// The code that is shown for a token that reaches a critical credential: by its name, as no pattern does.
    async fn shown_for_grants(
        &self,
        caller: &Caller,
        power: &Power,
        second_factor: Option<SecondFactor>,
    ) -> Result<Option<Shown>, Failure> {
        let Power::Grants {
            environment,
            grants,
        } = power
        else {
            return Ok(None);
        };
        for grant in grants.iter().filter(|grant| grant.action != Action::List) {
            let Pattern::One(name) = &grant.pattern else {
                continue;
            };
            let (environment, name) = (environment.clone(), name.clone());
            let id = CredentialId { environment, name };
            let known = self.vault.credential(&id).ok();
            // One that is not there yet, or not any more, may be critical once it is.
            let why = match known.filter(|known| known.credential.state == State::Active) {
                None => format!(
                    "there is no credential {} yet: it may become a critical one",
                    id.name
                ),
                Some(known) if self.vault.tier_of(&known)? == Tier::Critical => {
                    format!("the credential {} is critical", id.name)
                }
                Some(_) => continue,
            };
            let needed = Needed {
                act: Act::TokenCreate,
                environment: Some(&id.environment),
                why: &why,
            };
            return self.auth.shown_here(caller, needed, second_factor).await;
        }
        Ok(None)
    }

    /// Makes a token. The token is in the answer and nowhere else.
    pub(crate) async fn create_token(
        &self,
        caller: &Caller,
        asked: api::TokenRequest,
    ) -> Result<api::TokenCreated, Failure> {
        let actor = caller.actor();
        let request = read(&asked, &actor)?;
        may_give(caller, &request.power)?;
        self.check_place(caller, &request)?;
        let shown = self
            .shown_for_grants(caller, &request.power, asked.second_factor)
            .await?;
        let _turn = self.auth.tokens.turn.lock().await;
        let now = self.ctx.now();
        let all = self.auth.tokens.all();
        let mut alive = all.iter().filter(|token| token.revoked_at.is_none());
        if alive.clone().count() >= TOKENS_MAX {
            let why = format!("a home has {TOKENS_MAX} tokens at most");
            return Err(Failure::refused(&why, "Revoke those that are not needed."));
        }
        if alive.any(|token| token.name == request.name) {
            let why = format!("there is already a token {}", request.name);
            let remedy = "Choose another name, or revoke that one first.";
            return Err(Failure::refused(&why, remedy));
        }
        let secret = TokenSecret::from_random(*random::<32>());
        let id = TokenId::from_random(*random::<8>());
        let token = request.grant(id, secret.hash(), now)?;
        let entry = Entry::new(now, actor, "token.create", object(&token))
            .with("token", token.id.as_str())
            .with("owner", token.owner.as_str())
            .with("purpose", token.purpose.as_str())
            .with("binding", token.binding.to_string())
            .with("expires_at", token.expires_at.to_string())
            .with("renewable_until", token.renewable_until().to_string());
        let entry = match &token.power {
            Power::Grants {
                environment,
                grants,
            } => entry
                .with("environment", environment.as_str())
                .with("allow", grants.texts()),
            Power::Mandate(mandate) => entry.with("role", mandate.to_string()),
        };
        let is_shown = shown.is_some();
        let write = Write::Token(TokenWrite::Create(Box::new(token.clone())));
        let committed = self
            .auth
            .commit_shown(Change::record(entry).write(write), shown)
            .await;
        committed.map_err(|error| match error {
            CommitError::Unknown(_) => {
                // Nobody gets its secret: it ends, if it is there or turns up.
                self.vault
                    .cut_token(&Permit::of_gateway(Act::TokenEnd), &token);
                unheld(error.into())
            }
            error => error.into(),
        })?;
        self.auth.tokens.set(token.clone());
        self.auth.is_still_in(caller).inspect_err(|_| {
            // Its maker was cut off while the disk was waited for: their tokens were ended before this one was there.
            self.vault
                .cut_token(&Permit::of_gateway(Act::TokenEnd), &token);
        })?;
        if !is_shown {
            // A credential that it names became critical meanwhile: the tokens that name it were ended before this one was
            // there.
            let judged = self.shown_for_grants(caller, &token.power, None).await;
            judged.inspect_err(|_| {
                self.vault
                    .cut_token(&Permit::of_gateway(Act::TokenEnd), &token);
            })?;
        }
        let key_id = match &token.binding {
            Binding::Key(key) => Some(key.to_string()),
            _ => None,
        };
        Ok(api::TokenCreated {
            token: secret.reveal().to_string(),
            key_id,
            expires_at: token.expires_at.to_string(),
            renewable_until: token.renewable_until().to_string(),
            details: self.auth.token_view(&token),
            gateway: self.gateway_url(),
            root: self.trust.trust_bundle(),
        })
    }

    /// One token.
    pub(crate) fn show_token(&self, name: &str) -> Result<api::TokenView, Failure> {
        Ok(self.auth.token_view(&*self.auth.token_named(name)?))
    }

    /// Renews a token by an operator's word, within its ceiling.
    pub(crate) async fn renew_token(
        &self,
        caller: &Caller,
        name: &str,
    ) -> Result<api::TokenView, Failure> {
        let _turn = self.auth.tokens.turn.lock().await;
        let token = self.auth.token_named(name)?;
        may_give(caller, &token.power)?;
        let token = self.prolong(caller.actor(), &token).await?;
        Ok(self.auth.token_view(&token))
    }

    /// Renews the token that asks.
    pub(crate) async fn renew_self(&self, service: &Service) -> Result<api::TokenSelf, Failure> {
        let _turn = self.auth.tokens.turn.lock().await;
        // As it is now: it may have been revoked while this waited for its turn.
        let gone = || Failure::not_found("token", &service.token.name);
        let token = self
            .auth
            .tokens
            .token(&service.token.hash)
            .ok_or_else(gone)?;
        Ok(self_view(&self.prolong(service.actor(), &token).await?))
    }

    async fn prolong(&self, actor: Actor, token: &Token) -> Result<Token, Failure> {
        let now = self.ctx.now();
        let why = match token.standing(now) {
            Standing::Live | Standing::Expired => None,
            Standing::Held => Some("it can no longer be renewed"),
            Standing::Revoked => Some("it has been revoked"),
        };
        if let Some(why) = why {
            return Err(Failure::refused(
                &format!("the token {} was not renewed: {why}", token.name),
                "Authorize it again, or create a new one. On the command line: `hearthkey token reauthorize`.",
            ));
        }
        let mut renewed = token.clone();
        renewed.expires_at = token.renewed_until(now);
        self.extend(actor, "token.renew", renewed, now).await
    }

    /// Lets a token be renewed for another ceiling, from now on.
    pub(crate) async fn reauthorize_token(
        &self,
        caller: &Caller,
        name: &str,
    ) -> Result<api::TokenView, Failure> {
        let _turn = self.auth.tokens.turn.lock().await;
        let token = self.auth.token_named(name)?;
        may_give(caller, &token.power)?;
        if token.revoked_at.is_some() {
            let why = format!("the token {} has been revoked", token.name);
            return Err(Failure::refused(&why, "Create a new one."));
        }
        let now = self.ctx.now();
        let mut renewed = Token::clone(&token);
        renewed.authorized_at = now;
        renewed.expires_at = renewed.renewed_until(now);
        let renewed = self
            .extend(caller.actor(), "token.reauthorize", renewed, now)
            .await?;
        Ok(self.auth.token_view(&renewed))
    }

    async fn extend(
        &self,
        actor: Actor,
        action: &'static str,
        token: Token,
        now: Timestamp,
    ) -> Result<Token, Failure> {
        let entry = Entry::new(now, actor, action, object(&token))
            .with("token", token.id.as_str())
            .with("expires_at", token.expires_at.to_string())
            .with("renewable_until", token.renewable_until().to_string());
        let write = Write::Token(TokenWrite::Extend {
            token: token.id.clone(),
            authorized_at: token.authorized_at,
            expires_at: token.expires_at,
        });
        self.ctx.commit(Change::record(entry).write(write)).await?;
        self.auth.tokens.set(token.clone());
        Ok(token)
    }
}
