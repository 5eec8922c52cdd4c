//! What guards a credential is changed by those it does not guard against.
//!
//! The decisions: `core/guarded.rs`. Here stand the facts: who changes it, what was there before under its name, and
//! the code that is shown where no session is.

use hearthkey_api::SecondFactor;
use hearthkey_core::bridge::Bridge;
use hearthkey_core::credential::{
    Action, Credential, CredentialId, Origin, State, Tier, VersionState,
};
use hearthkey_core::guarded::{
    Authority, Guarded, effective_tier, may_change, may_drop_end, may_follow, tier_of_chain,
};
use hearthkey_core::role::Act;
use hearthkey_core::rotation::Step;
use hearthkey_core::time::Timestamp;
use hearthkey_store::inventory::{KnownCredential, KnownVersion, SealedValue};
use hearthkey_store::registry::{ReadError, Registry};

use crate::auth::caller::Caller;
use crate::auth::forbidden::not_by_itself;
use crate::auth::forbidden::second_factor_needed;
use crate::auth::forbidden::tokens_have_one_factor;
use crate::auth::local_code::{Needed, Shown};
use crate::state::failure::Failure;
use crate::vault::Vault;

impl Vault {
    /// Whether the caller may describe a credential anew like this; with the second factor that was needed for it.
    pub(super) async fn judge_change(
        &self,
        caller: &Caller,
        before: &Credential,
        after: &Credential,
        shown: Option<SecondFactor>,
    ) -> Result<Option<Shown>, Failure> {
        let changer = caller.changer(self.ctx.now(), self.auth.asks_for_codes()?);
        let tier = self.tier_of(&self.credential(&before.id)?)?;
        let judged = may_change(changer, before, after)
            .and_then(|()| may_change(changer, &as_judged(before, tier), &as_judged(after, tier)));
        match judged {
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
        let earlier = self
            .ctx
            .store()
            .read(|registry| registry.credential(&new.id))?;
        let Some(earlier) = earlier.filter(|known| known.credential.state != State::Active) else {
            return Ok(());
        };
        // Without its values, nothing but the name is left of it.
        let versions = self
            .ctx
            .store()
            .read(|registry| registry.versions(&new.id))?;
        if versions
            .iter()
            .all(|version| version.state == VersionState::Destroyed)
        {
            return Ok(());
        }
        let changer = caller.changer(self.ctx.now(), self.auth.asks_for_codes()?);
        match may_follow(changer, earlier.credential.tier, new.tier) {
            Ok(()) => Ok(()),
            Err(_) => Err(Failure::refused(
                &format!(
                    "{} is the name of a credential of the tier {}, whose values are still kept",
                    new.id.name, earlier.credential.tier
                ),
                "Give it that tier, choose another name, or wait until those values are destroyed. On the command line: \
                 `hearthkey credential show` shows when.",
            )),
        }
    }

    /// What a critical authority makes reaches as far as that does: a lower tier takes what lowering one takes.
    pub(super) async fn as_critical_as_its_authority(
        &self,
        caller: &Caller,
        new: &Credential,
        shown: Option<SecondFactor>,
    ) -> Result<Option<Shown>, Failure> {
        if self.tier_of_authority(&new.id)? != Some(Tier::Critical) {
            return Ok(None);
        }
        let changer = caller.changer(self.ctx.now(), self.auth.asks_for_codes()?);
        let Err(guarded) = may_follow(changer, Tier::Critical, new.tier) else {
            return Ok(None);
        };
        let judged = self.or_shown(caller, &new.id, guarded, shown).await;
        judged.map_err(|mut failure| {
            failure.0.detail = format!(
                "The authority that makes the values of {} is critical, and so are its values: give the credential the tier critical, or use a second factor.",
                new.id.name
            );
            failure
        })
    }

    /// A caller on the gateway's own machine shows a code instead of a fresh session.
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
            (_, Caller::Desktop | Caller::Local { .. }, shown) => {
                let needed = Needed {
                    act: Act::CredentialWrite,
                    environment: Some(&id.environment),
                    why: &guarded.to_string(),
                };
                self.auth.shown_here(caller, needed, shown).await
            }
            _ => Err(second_factor_needed()),
        }
    }
}

/// A credential with the tier by which it is judged, if that is higher than its own.
fn as_judged(credential: &Credential, tier: Tier) -> Credential {
    let mut judged = credential.clone();
    judged.tier = effective_tier(credential.tier, Some(tier), true);
    judged
}

/// The credential by which a bridge is asked in the environment of another credential.
fn authority_at(
    registry: &Registry<'_>,
    bridge: &str,
    of: &CredentialId,
) -> Result<Option<CredentialId>, ReadError> {
    let bridge = registry.bridge(bridge, &of.environment)?;
    let name = bridge.and_then(|bridge| bridge.authority);
    let other = name.filter(|name| *name != of.name);
    Ok(other.map(|name| CredentialId {
        environment: of.environment.clone(),
        name,
    }))
}

/// An authority, with the one by which a value of it that is kept was made.
fn authority(
    registry: &Registry<'_>,
    id: &CredentialId,
) -> Result<Option<Authority<CredentialId>>, ReadError> {
    let Some(known) = registry.credential(id)? else {
        return Ok(None);
    };
    let versions = registry.versions(id)?;
    let is_made = versions.iter().any(|version| {
        version.origin == Origin::Minted && version.state != VersionState::Destroyed
    });
    let made_by = match is_made {
        true => authority_at(registry, id.name.bridge(), id)?,
        false => None,
    };
    Ok(Some(Authority {
        tier: known.credential.tier,
        made_by,
    }))
}

/// The tier by which the credential is judged by which a bridge is asked in the environment of another credential, if there
/// is one.
pub(super) fn tier_of_authority(
    registry: &Registry<'_>,
    bridge: &str,
    of: &CredentialId,
) -> Result<Option<Tier>, ReadError> {
    match authority_at(registry, bridge, of)? {
        Some(first) => tier_of_chain(first, |id| authority(registry, id)),
        None => Ok(None),
    }
}

/// The tier by which a version of a credential is judged, whose own tier is this.
fn tier_of_version(
    registry: &Registry<'_>,
    id: &CredentialId,
    own: Tier,
    version: Option<u32>,
) -> Result<Tier, ReadError> {
    let authority = tier_of_authority(registry, id.name.bridge(), id)?;
    if effective_tier(own, authority, true) == own {
        return Ok(own);
    }
    let versions = registry.versions(id)?;
    let is_made_with_it = versions
        .iter()
        .any(|known| Some(known.version) == version && known.origin == Origin::Minted);
    Ok(effective_tier(own, authority, is_made_with_it))
}

/// The tier by which a credential is judged as it is now, or once it has the value that a bridge is asked for.
pub(super) fn tier_in(registry: &Registry<'_>, known: &KnownCredential) -> Result<Tier, ReadError> {
    let Credential { id, tier, .. } = &known.credential;
    let authority = tier_of_authority(registry, id.name.bridge(), id)?;
    if effective_tier(*tier, authority, true) == *tier {
        return Ok(*tier);
    }
    let current = known.current.map(|(version, _)| version);
    let is_or_will_be = |version: &KnownVersion| {
        Some(version.version) == current || version.state == VersionState::Pending
    };
    let versions = registry.versions(id)?;
    let mut made = versions
        .iter()
        .filter(|version| version.origin == Origin::Minted);
    let is_made = known.rotating == Some(Step::Mint) || made.any(is_or_will_be);
    Ok(effective_tier(*tier, authority, is_made))
}

impl Vault {
    /// The tier by which a version of a credential is judged, whose own tier is this.
    pub(crate) fn effective_tier(
        &self,
        id: &CredentialId,
        own: Tier,
        version: Option<u32>,
    ) -> Result<Tier, Failure> {
        let judged = |registry: &Registry<'_>| tier_of_version(registry, id, own, version);
        Ok(self.ctx.store().read(judged)?)
    }

    /// The tier by which a credential is judged as it is now.
    pub(crate) fn tier_of(&self, known: &KnownCredential) -> Result<Tier, Failure> {
        Ok(self.ctx.store().read(|registry| tier_in(registry, known))?)
    }

    /// The tier by which the credential is judged by which a bridge is asked, if there is one.
    pub(super) fn tier_at(&self, bridge: &Bridge) -> Result<Option<Tier>, Failure> {
        let Some(name) = bridge.authority.clone() else {
            return Ok(None);
        };
        let environment = bridge.environment.clone();
        let first = CredentialId { environment, name };
        let chain = |registry: &Registry<'_>| tier_of_chain(first, |id| authority(registry, id));
        Ok(self.ctx.store().read(chain)?)
    }

    /// The credentials of a lower tier that are critical because bridges are asked for their values by this one.
    pub(super) fn made_critical_by(&self, id: &CredentialId) -> Result<Vec<CredentialId>, Failure> {
        let mut made = Vec::new();
        for (bridge, _) in self.asked_by(id)? {
            for known in self.credentials_of_bridge(&bridge.name, &bridge.environment)? {
                let own = known.credential.tier;
                if own != Tier::Critical && self.tier_of(&known)? == Tier::Critical {
                    made.push(known.credential.id);
                }
            }
        }
        Ok(made)
    }

    /// A sealed value with the tier by which it is judged.
    pub(super) fn with_effective_tier(
        &self,
        id: &CredentialId,
        mut sealed: SealedValue,
    ) -> Result<SealedValue, Failure> {
        sealed.tier = self.effective_tier(id, sealed.tier, Some(sealed.version))?;
        Ok(sealed)
    }

    /// The tier of what a lease gives: of the value that is lent, or of a child that the bridge makes with its authority.
    pub(super) fn tier_lent(
        &self,
        id: &CredentialId,
        lent: Tier,
        is_child: bool,
    ) -> Result<Tier, Failure> {
        let authority = self.tier_of_authority(id)?;
        Ok(effective_tier(lent, authority, is_child))
    }

    /// The end that a new value takes over from the one that it replaces: none, if the caller may change the end.
    pub(super) fn end_that_stays(
        &self,
        caller: &Caller,
        known: &KnownCredential,
    ) -> Result<Option<Timestamp>, Failure> {
        let changer = caller.changer(self.ctx.now(), self.auth.asks_for_codes()?);
        let mut credential = known.credential.clone();
        credential.tier = self.tier_of(known)?;
        let ends = credential.expires_at;
        Ok(ends.filter(|_| !may_drop_end(changer, &credential)))
    }

    /// Whether the caller may have a bridge make the next value of a credential with its authority. There is no code in
    /// what asks for that: who has no fresh session gives the credential its tier first.
    pub(super) async fn may_have_made(
        &self,
        caller: &Caller,
        credential: &Credential,
    ) -> Result<(), Failure> {
        self.reaches_authority(caller, Action::Rotate, &credential.id)
            .await?;
        let judged = self.as_critical_as_its_authority(caller, credential, None);
        judged.await.map(drop).map_err(|mut failure| {
            let id = &credential.id;
            failure.0.remedy = format!(
                "Do it in a browser. On the command line: `hearthkey credential change {} --env {} --tier critical`.",
                id.name, id.environment
            );
            failure
        })
    }
}

/// What a bridge makes may do what the scopes of its credential say, now or when one is connected later: a token, which
/// has the gateway ask with an authority that is not its own, says none.
pub(super) fn may_say_scopes(caller: &Caller, credential: &Credential) -> Result<(), Failure> {
    match caller.is_service() && !credential.scopes.is_empty() {
        false => Ok(()),
        true => Err(Failure::refused(
            &"a token may not set the scopes of a credential",
            "A person can set scopes on the gateway's own machine or over HTTPS. On the command line: leave out `--scope`.",
        )),
    }
}

/// Whether the caller may have the gateway replace a credential by itself: it does that with the authority of the bridge,
/// which may be critical, now or when it is connected later.
pub(super) fn may_replace_itself(caller: &Caller, credential: &Credential) -> Result<(), Failure> {
    let named = caller.is_named(Action::Write, &credential.id);
    match credential.rotation.automatic && !named {
        true => Err(not_by_itself(&credential.id)),
        false => Ok(()),
    }
}

impl Vault {
    /// Whether the caller may say what a value is called at its bridge: the gateway changes and ends there, with an
    /// authority of its own, what is named to it.
    pub(super) fn may_name_remote(
        &self,
        caller: &Caller,
        remote_id: Option<&str>,
    ) -> Result<(), Failure> {
        match remote_id.is_some() && caller.is_service() {
            false => Ok(()),
            true => Err(Failure::refused(
                &"a token may not set the id of a value at its bridge",
                "A person can set it on the gateway's own machine or over HTTPS. On the command line: leave out `--remote-id`.",
            )),
        }
    }

    /// One value at a bridge belongs to one credential: a caller who rotates another one would get this value.
    pub(super) fn refuse_remote_of_another(
        &self,
        id: &CredentialId,
        remote_id: Option<&str>,
    ) -> Result<(), Failure> {
        let Some(remote_id) = remote_id else {
            return Ok(());
        };
        let holder = self
            .ctx
            .store()
            .read(|registry| registry.holder_of_remote(id, remote_id))?;
        match holder {
            None => Ok(()),
            Some(other) => Err(Failure::refused(
                &format!(
                    "{remote_id:?} is the id of a value of {} at its bridge",
                    other.name
                ),
                "Give the id of this credential's own value, or leave it out.",
            )),
        }
    }
}
