//! What holds for every connector, including those of other authors: a bound on every operation, proof instead of promises, and no
//! secret in any text.

use std::time::Duration;

use hearthkey_core::news::News;
use hearthkey_core::secret::Secret;

use crate::connector::{
    Abilities, Answer, Connector, Held, MintOrder, Minted, Revoked, Scopes, Verified,
};
use crate::error::BridgeError;
use crate::kind::BridgeKind;
use crate::limits::{MINTED_MAX_BYTES, Patience, REMOTE_ID_MAX_BYTES, RIGHTS_MAX};
use crate::line::within;
use crate::progress::Progress;
use crate::quote::Scrubber;

/// A connector whose word is checked.
pub(crate) struct Guarded {
    name: &'static str,
    inner: Box<dyn Connector>,
    authority: Option<Secret>,
    limit: Duration,
}

impl Guarded {
    pub(crate) fn new(
        kind: BridgeKind,
        inner: Box<dyn Connector>,
        authority: Option<Secret>,
        patience: Patience,
    ) -> Self {
        Self {
            name: kind.as_str(),
            inner,
            authority,
            limit: patience.operation(),
        }
    }

    fn scrubber<'a>(&'a self, values: impl IntoIterator<Item = &'a Secret>) -> Scrubber {
        Scrubber::new(values.into_iter().chain(&self.authority))
    }

    async fn bounded<T>(
        &self,
        scrubber: &Scrubber,
        work: impl Future<Output = Result<T, BridgeError>>,
    ) -> Result<T, BridgeError> {
        within(self.limit, &self.name, work)
            .await
            .map_err(|error| error.scrubbed(|text| scrubber.scrub(text)))
    }

    fn disproved(&self, said: &'static str, seen: impl Into<String>) -> BridgeError {
        BridgeError::Disproved {
            at: self.name.to_owned(),
            said,
            seen: seen.into(),
        }
    }

    fn can_verify(&self) -> bool {
        self.inner.abilities().verify
    }

    /// Makes a value, and looks at its form.
    async fn mint_in_form(
        &self,
        order: &MintOrder,
        progress: &Progress,
    ) -> Result<Minted, BridgeError> {
        let minted = self.inner.mint(order, progress).await?;
        if minted.value.expose().len() > MINTED_MAX_BYTES {
            return Err(BridgeError::TooLong {
                at: self.name.to_owned(),
                most_bytes: MINTED_MAX_BYTES,
            });
        }
        let id = minted.remote_id.as_deref().unwrap_or_default();
        let is_value = minted
            .value
            .expose_text()
            .is_some_and(|value| id.contains(value));
        // An id is shown and logged.
        if is_value || id.len() > REMOTE_ID_MAX_BYTES || id.chars().any(char::is_control) {
            return Err(BridgeError::Garbled {
                at: self.name.to_owned(),
                why: "the id it gave is no id".into(),
            });
        }
        let old = order.replaces.as_ref().map(|held| held.value.expose());
        if old == Some(minted.value.expose()) {
            return Err(self.disproved("it made a new value", "it is the old one"));
        }
        Ok(minted)
    }

    /// Tries a value that was made. The time for it is its own: a value is not lost because trying it took too long.
    async fn tried(
        &self,
        scrubber: &Scrubber,
        order: &MintOrder,
        minted: Minted,
    ) -> Result<Minted, BridgeError> {
        if !self.can_verify() {
            return Ok(minted);
        }
        let held = Held {
            value: minted.value.clone(),
            remote_id: minted.remote_id.clone(),
        };
        match self.bounded(scrubber, self.inner.verify(&held)).await {
            Ok(Verified::Fails(why)) => {
                // What was made and does not work must not stay behind, unless the old value goes by the same name there.
                // If it cannot be ended, the error says enough.
                let old = order.replaces.as_ref();
                let is_old = old
                    .is_some_and(|old| old.remote_id.is_some() && old.remote_id == held.remote_id);
                if !is_old {
                    let _ = self.bounded(scrubber, self.inner.revoke(&held)).await;
                }
                let why = Scrubber::new([&minted.value]).scrub(&why);
                let error = self.disproved("it made a new value", format!("that fails: {why}"));
                Err(error.scrubbed(|text| scrubber.scrub(text)))
            }
            // Losing a value that may work is worse than handing on one that was not tried: the rotation tests it again.
            Ok(Verified::Works) | Err(_) => Ok(minted),
        }
    }

    async fn revoke_and_try(&self, held: &Held) -> Result<Revoked, BridgeError> {
        let revoked = self.inner.revoke(held).await?;
        if revoked == Revoked::Gone && self.can_verify() {
            let verified = self.inner.verify(held).await?;
            if verified == Verified::Works {
                return Err(self.disproved("the value is gone", "it still works"));
            }
        }
        Ok(revoked)
    }
}

impl Connector for Guarded {
    fn abilities(&self) -> Abilities {
        self.inner.abilities()
    }

    fn authority_id(&self) -> Option<&str> {
        self.inner.authority_id()
    }

    fn verify<'a>(&'a self, held: &'a Held) -> Answer<'a, Verified> {
        Box::pin(async move {
            let scrubber = self.scrubber([&held.value]);
            let verified = self.bounded(&scrubber, self.inner.verify(held)).await?;
            Ok(match verified {
                Verified::Works => Verified::Works,
                Verified::Fails(why) => Verified::Fails(scrubber.scrub(&why)),
            })
        })
    }

    fn mint<'a>(&'a self, order: &'a MintOrder, progress: &'a Progress) -> Answer<'a, Minted> {
        Box::pin(async move {
            let old = order.replaces.as_ref().map(|held| &held.value);
            let scrubber = self.scrubber(old);
            let making = self.mint_in_form(order, progress);
            let minted = self.bounded(&scrubber, making).await?;
            self.tried(&scrubber, order, minted).await
        })
    }

    fn revoke<'a>(&'a self, held: &'a Held) -> Answer<'a, Revoked> {
        Box::pin(async move {
            let scrubber = self.scrubber([&held.value]);
            let revoked = self.bounded(&scrubber, self.revoke_and_try(held)).await?;
            Ok(match revoked {
                Revoked::Gone => Revoked::Gone,
                Revoked::ByHand(what) => Revoked::ByHand(scrubber.scrub(&what)),
            })
        })
    }

    fn scopes<'a>(&'a self, held: &'a Held) -> Answer<'a, Scopes> {
        Box::pin(async move {
            let scrubber = self.scrubber([&held.value]);
            let mut scopes = self.bounded(&scrubber, self.inner.scopes(held)).await?;
            let more = scopes.rights.len().saturating_sub(RIGHTS_MAX);
            scopes.rights.truncate(RIGHTS_MAX);
            for right in &mut scopes.rights {
                *right = scrubber.scrub(right);
            }
            if more > 0 {
                scopes.rights.push(format!("and {more} more"));
            }
            scopes.privileged = scopes.privileged.map(|why| scrubber.scrub(&why));
            Ok(scopes)
        })
    }

    fn notify<'a>(&'a self, news: &'a News) -> Answer<'a, ()> {
        Box::pin(async move {
            let scrubber = self.scrubber([]);
            self.bounded(&scrubber, self.inner.notify(news)).await
        })
    }
}
