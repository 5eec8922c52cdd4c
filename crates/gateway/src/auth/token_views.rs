//! How tokens are shown.

use hearthkey_core::id::TokenName;
use hearthkey_core::power::Power;
use hearthkey_core::time::Timestamp;
use hearthkey_store::tokens::TokenUse;
use std::sync::Arc;

use hearthkey_api as api;
use hearthkey_core::role::Scope;
use hearthkey_core::token::Token;

use crate::auth::Auth;
use crate::state::failure::Failure;

pub(crate) fn object(token: &Token) -> String {
    format!("token:{}", token.name)
}

impl Auth {
    pub(crate) fn token_view(&self, token: &Token) -> api::TokenView {
        view(token, self.tokens.used(&token.id), self.ctx.now())
    }

    /// The tokens that hold nowhere but there.
    pub(crate) fn token_views(&self, scope: Option<Scope<'_>>) -> Vec<api::TokenView> {
        let all = self.tokens.all();
        let within = |token: &&Arc<Token>| scope.is_some_and(|scope| token.power.is_within(scope));
        let seen = all.iter().filter(within);
        seen.map(|token| self.token_view(token)).collect()
    }

    pub(crate) fn token_named(&self, name: &str) -> Result<Arc<Token>, Failure> {
        let name: TokenName = name.parse().map_err(|error| Failure::invalid(&error))?;
        let token = self.tokens.named(&name);
        token.ok_or_else(|| Failure::not_found("token", &name))
    }
}

/// A token as people and programs see it.
fn view(token: &Token, used: TokenUse, now: Timestamp) -> api::TokenView {
    api::TokenView {
        id: token.id.to_string(),
        name: token.name.to_string(),
        state: token.standing(now).as_str().to_owned(),
        role: role(token),
        environments: environments(token),
        allow: allow(token),
        owner: token.owner.clone(),
        purpose: token.purpose.clone(),
        made_by: token.made_by.clone(),
        binding: token.binding.to_string(),
        created_at: token.created_at.to_string(),
        authorized_at: token.authorized_at.to_string(),
        expires_at: token.expires_at.to_string(),
        renewable_until: token.renewable_until().to_string(),
        revoked_at: token.revoked_at.map(|at| at.to_string()),
        uses: used.uses,
        last_used_at: used.last_at.map(|at| at.to_string()),
        last_address: used.last_address,
    }
}

pub(crate) fn role(token: &Token) -> Option<String> {
    token
        .power
        .mandate()
        .map(|mandate| mandate.role().to_string())
}

pub(crate) fn environments(token: &Token) -> Vec<String> {
    let named = token.power.environments();
    named.iter().map(ToString::to_string).collect()
}

pub(crate) fn allow(token: &Token) -> Vec<String> {
    match &token.power {
        Power::Grants { grants, .. } => grants.texts(),
        Power::Mandate(_) => Vec::new(),
    }
}
