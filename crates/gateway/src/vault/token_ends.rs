//! Tokens end: out in memory at once, and written down then, see [`crate::state::endings`]. What they have borrowed goes with them.

use crate::auth::permit::Permit;
use hearthkey_core::role::Act;
use std::sync::Arc;

use hearthkey_api as api;
use hearthkey_core::audit::Entry;
use hearthkey_core::credential::CredentialId;
use hearthkey_core::id::TokenId;
use hearthkey_core::person::Person;
use hearthkey_core::role::Mandate;
use hearthkey_core::time::Timestamp;
use hearthkey_core::token::Token;
use hearthkey_store::change::{Change, Write};
use hearthkey_store::registry::{ReadError, Registry};
use hearthkey_store::tokens::TokenWrite;
use tokio::time::timeout;

use crate::auth::token_views::object;
use crate::state::endings::{End, Ending, PATIENCE, all_durable_in_time};
use crate::state::failure::Failure;
use crate::vault::Vault;

/// A token that is revoked in memory.
struct TokenEnd {
    token: TokenId,
    at: Timestamp,
    entry: Entry,
}

impl End for TokenEnd {
    fn object(&self) -> String {
        self.entry.object.clone()
    }

    fn kind(&self) -> String {
        format!("revoke {}", self.token)
    }

    fn change(&self) -> Change {
        let write = TokenWrite::Revoke(self.token.clone(), self.at);
        Change::record(self.entry.clone()).write(Write::Token(write))
    }

    fn holds(&self, registry: &Registry<'_>) -> Result<bool, ReadError> {
        let tokens = registry.tokens()?;
        let mut live = tokens
            .iter()
            .filter(|(token, _)| token.revoked_at.is_none());
        Ok(!live.any(|(token, _)| token.id == self.token))
    }
}

/// Tokens that are out.
#[derive(Default)]
pub(crate) struct CutTokens {
    tokens: Vec<Arc<Token>>,
    /// Their ends, and those of claims that end with them.
    endings: Vec<Ending>,
}

impl CutTokens {
    fn names(&self) -> Vec<String> {
        let names = self.tokens.iter().map(|token| token.name.to_string());
        names.collect()
    }

    /// As the audit log has them.
    fn objects(&self) -> Vec<String> {
        self.tokens.iter().map(|token| object(token)).collect()
    }
}

impl Vault {
    /// Takes a token out, and closes the claims that it opened, without waiting for anything.
    pub(crate) fn cut_token(&self, permit: &Permit, token: &Token) -> Vec<Ending> {
        let now = self.ctx.now();
        let mut revoked = token.clone();
        revoked.revoked_at.get_or_insert(now);
        self.auth.tokens.set(revoked);
        let mut endings = self
            .devices
            .close_claims_of(permit, token.id.as_str(), None);
        let entry = Entry::new(now, permit.actor().clone(), "token.revoke", object(token))
            .with("token", token.id.as_str());
        endings.push(self.ctx.endings().begin(TokenEnd {
            token: token.id.clone(),
            at: now,
            entry,
        }));
        endings
    }

    /// Takes out a token that was made for somebody who has not taken the answer: nobody holds it.
    pub(crate) fn cut_untaken(&self, id: &str) {
        let cut = self.cut_tokens(&Permit::of_gateway(Act::TokenEnd), |token| {
            token.id.as_str() == id
        });
        for token in cut.tokens {
            tracing::warn!(
                token = token.name.as_str(),
                "a token that nobody has taken is revoked"
            );
        }
    }

    /// Takes out the tokens of which this holds, without waiting for anything.
    fn cut_tokens(&self, permit: &Permit, over: impl Fn(&Token) -> bool) -> CutTokens {
        let mut cut = CutTokens::default();
        let all = self.auth.tokens.all().into_iter();
        for token in all.filter(|token| token.revoked_at.is_none() && over(token)) {
            cut.endings.extend(self.cut_token(permit, &token));
            cut.tokens.push(token);
        }
        cut
    }

    /// Takes out the tokens with a role that a person made and that reach further than they do now, and closes such claims
    /// that they opened; all of theirs if they may do nothing any more.
    pub(crate) fn cut_roles_given_by(
        &self,
        permit: &Permit,
        person: &Person,
        mandate: Option<&Mandate>,
    ) -> CutTokens {
        let claims = self.devices.close_claims_of(permit, &person.id, mandate);
        let maker = format!("person:{}", person.name);
        let beyond = |token: &Token| {
            let given = token.power.mandate().filter(|_| token.made_by == maker);
            given.is_some_and(|given| mandate.is_none_or(|mandate| !mandate.covers(given)))
        };
        let mut cut = self.cut_tokens(permit, beyond);
        cut.endings.extend(claims);
        cut
    }

    /// Takes out the tokens that are for a credential and nothing else, without waiting for anything; gives their names.
    pub(crate) fn cut_only_for(&self, permit: &Permit, id: &CredentialId) -> Vec<String> {
        self.cut_tokens(permit, |token| token.power.is_only_for(id))
            .names()
    }

    /// Takes out the tokens that name a credential which is critical from now on, and for which perhaps nobody showed a
    /// second factor when they were made; in a browser somebody has, and before anybody joined there was none. Gives their
    /// names, as the audit log has them.
    pub(crate) fn cut_naming_critical(
        &self,
        permit: &Permit,
        id: &CredentialId,
    ) -> Result<Vec<String>, Failure> {
        if !self.auth.asks_for_codes()? {
            return Ok(Vec::new());
        }
        let cut = self.cut_tokens(permit, |token| {
            token.power.reaches_by_name(id) && !token.made_by.starts_with("person:")
        });
        Ok(cut.objects())
    }

    /// Revokes the tokens of which this holds, because what they were for is over; gives their names, and whether that is on
    /// the disk.
    pub(crate) async fn revoke_tokens(
        self: &Arc<Self>,
        permit: &Permit,
        over: impl Fn(&Token) -> bool,
    ) -> (Vec<String>, bool) {
        let cut = self.cut_tokens(permit, over);
        self.after_the_cut(permit, cut).await
    }

    /// Waits for the disk and for the bridges of tokens that are out, as long as an answer waits; gives their names, and
    /// whether their ends are on the disk. What they end with is not durable before they are: they would be good again.
    pub(crate) async fn after_the_cut(
        self: &Arc<Self>,
        permit: &Permit,
        cut: CutTokens,
    ) -> (Vec<String>, bool) {
        let (names, holders) = (cut.names(), cut.objects());
        let (durable, _) = tokio::join!(
            all_durable_in_time(cut.endings),
            self.end_leases_in_time(holders, permit),
        );
        (names, durable)
    }

    /// Revokes a token. It is out at once, also if the disk does not take it.
    pub(crate) async fn revoke_token(
        self: &Arc<Self>,
        permit: &Permit,
        name: &str,
    ) -> Result<api::TokenRevoked, Failure> {
        permit.actor_for(Act::TokenEnd)?;
        let token = self.auth.token_named(name)?;
        let holder = object(&token);
        if token.revoked_at.is_some() && !self.ctx.endings().is_pending(&holder) {
            let why = format!("the token {} has been revoked before", token.name);
            return Err(Failure::refused(&why, "Nothing needs to be done."));
        }
        let (durable, leases_left) = tokio::join!(
            all_durable_in_time(self.cut_token(permit, &token)),
            self.end_leases_in_time(vec![holder], permit),
        );
        Ok(api::TokenRevoked {
            name: token.name.to_string(),
            durable,
            leases_left,
        })
    }

    /// Ends what holders that are out have borrowed. Bridges may take their time, and go on taking it after the answer.
    /// Gives how many leases have not ended by then.
    pub(crate) async fn end_leases_in_time(
        self: &Arc<Self>,
        holders: Vec<String>,
        permit: &Permit,
    ) -> usize {
        let (home, by, all) = (Arc::clone(self), permit.actor().clone(), holders.clone());
        let ending = tokio::spawn(async move {
            let mut left = 0;
            for holder in &all {
                left += home.end_leases_of(holder, &by).await;
            }
            left
        });
        match timeout(PATIENCE, ending).await {
            Ok(Ok(left)) => left,
            // A panic there is written down by the runtime.
            _ => holders.iter().map(|holder| self.leases_left(holder)).sum(),
        }
    }
}
