//! Values are given out: the record first, then the value.

use hearthkey_api::{Given, RevealRequest, Revealed, SecondFactor, SecretValue};
use hearthkey_core::audit::{Actor, Entry, Outcome};
use hearthkey_core::credential::{Action, CredentialId, State, Tier, VersionState, checked_text};
use hearthkey_core::role::Act;
use hearthkey_core::secret::Secret;
use hearthkey_core::time::Timestamp;
use hearthkey_store::change::Change;
use hearthkey_store::inventory::SealedValue;
use hearthkey_store::registry::Registry;
use hearthkey_store::vault::CredentialPlace;
use hearthkey_store::vault_change::VaultWrite;
use zeroize::Zeroizing;

use crate::auth::caller::Caller;
use crate::auth::local_code::{Needed, Shown};
use crate::auth::permit::Permit;
use crate::state::failure::Failure;
use crate::state::locked;
use crate::vault::Vault;
use crate::vault::credentials::{named, not_active, object};
use crate::vault::guarding::tier_of_authority;

/// Values in one request at most.
const NAMES_MAX: usize = 100;
/// What values are obtained for.
const USES: [&str; 3] = ["reveal", "run", "render"];

/// A value on its way out, once its record is durable.
pub(crate) struct Opened {
    pub(crate) id: CredentialId,
    pub(crate) sealed: SealedValue,
    pub(crate) value: Secret,
}

fn not_live(id: &CredentialId, sealed: &SealedValue) -> Failure {
    Failure::refused(
        &format!(
            "version {} of {} is {}",
            sealed.version, id.name, sealed.version_state
        ),
        "Use the current version, or roll back to this one. On the command line: `hearthkey credential rollback`.",
    )
}

impl Vault {
    /// Gives out values, each recorded, all or none.
    pub(crate) async fn reveal(
        &self,
        caller: &Caller,
        environment: &str,
        request: RevealRequest,
    ) -> Result<Revealed, Failure> {
        let RevealRequest {
            names,
            r#use,
            reason,
            version,
            second_factor,
        } = request;
        if names.is_empty() || names.len() > NAMES_MAX {
            let why = format!(
                "{} credentials are requested; 1 to {NAMES_MAX} are possible",
                names.len()
            );
            return Err(Failure::invalid(&why));
        }
        if !USES.contains(&r#use.as_str()) {
            return Err(Failure::invalid(&"the use is reveal, run or render"));
        }
        if version.is_some() && names.len() > 1 {
            return Err(Failure::invalid(&"a version belongs to one credential"));
        }
        let reason = reason
            .as_deref()
            .map(|text| checked_text("reason", text))
            .transpose()?;
        let now = self.ctx.now();
        let mut opened = Vec::with_capacity(names.len());
        for name in &names {
            let id = named(environment, name)?;
            let found = self.opened_for(caller, &id, version, now).await?;
            if r#use == "reveal" && reason.is_none() {
                self.needs_no_reason(caller, &found, now).await?;
            }
            opened.push(found);
        }
        let is_critical = |opened: &&Opened| opened.sealed.tier == Tier::Critical;
        let critical = opened.iter().find(is_critical).map(|opened| &opened.id);
        let shown = self.shown_for(caller, critical, second_factor).await?;
        let mut change = Change::default();
        for given in &opened {
            let mut entry = Entry::new(now, caller.actor(), "credential.read", object(&given.id))
                .with("use", r#use.clone())
                .with("version", given.sealed.version);
            entry.reason.clone_from(&reason);
            change = self.used(change.entry(entry), given, &caller.actor(), now);
        }
        let change = self.noticing(change, &caller.actor(), opened.len(), now);
        // Only what is on the disk as given may be given.
        self.auth.commit_shown(change, shown).await?;
        for given in &opened {
            self.is_still_given(&given.id, given.sealed.version)?;
        }
        let given = |opened: Opened| Given {
            name: opened.id.name.to_string(),
            version: opened.sealed.version,
            remote_id: opened.sealed.remote_id,
            value: SecretValue::new(Zeroizing::new(opened.value.expose().to_vec())),
        };
        Ok(Revealed {
            values: opened.into_iter().map(given).collect(),
        })
    }

    /// Whether a value may be shown without a reason: a critical one is not, and the refusal is recorded.
    async fn needs_no_reason(
        &self,
        caller: &Caller,
        Opened { id, sealed, .. }: &Opened,
        now: Timestamp,
    ) -> Result<(), Failure> {
        if sealed.tier != Tier::Critical {
            return Ok(());
        }
        let entry = Entry::new(now, caller.actor(), "credential.refuse", object(id))
            .ended(Outcome::Refused, "no_reason");
        self.record_refused(caller, "no_reason", entry).await;
        Err(Failure::refused(
            &format!(
                "the credential {} is critical: revealing it needs a reason",
                id.name
            ),
            "Give a reason. On the command line: `--reason WHY`, or `hearthkey credential run`, which gives it to one program only.",
        )
        .titled("A reason is needed."))
    }

    /// The code that is shown for a critical value, if one is given out.
    pub(super) async fn shown_for(
        &self,
        caller: &Caller,
        critical: Option<&CredentialId>,
        second_factor: Option<SecondFactor>,
    ) -> Result<Option<Shown>, Failure> {
        let Some(id) = critical else {
            return Ok(None);
        };
        let needed = Needed {
            act: Act::CredentialReveal,
            environment: Some(&id.environment),
            why: &format!("the credential {} is critical", id.name),
        };
        self.auth.shown_here(caller, needed, second_factor).await
    }

    /// Opens a value for a caller who may read it. The tier that the caller must reach is the one read with the value.
    async fn opened_for(
        &self,
        caller: &Caller,
        id: &CredentialId,
        version: Option<u32>,
        now: Timestamp,
    ) -> Result<Opened, Failure> {
        self.is_granted(caller, Action::Read, id).await?;
        let sealed = self
            .ctx
            .store()
            .read(|registry| registry.sealed_value(id, version))?;
        let Some(sealed) = sealed else {
            self.permitted(caller, Action::Read, id).await?;
            return Err(self.no_value(id, version));
        };
        let sealed = self.with_effective_tier(id, sealed)?;
        self.reached(caller, Action::Read, id, sealed.tier).await?;
        self.open_sealed(id, sealed, now)
    }

    /// Whether the caller's grants or role say that it may; a refusal is recorded.
    async fn is_granted(
        &self,
        caller: &Caller,
        action: Action,
        id: &CredentialId,
    ) -> Result<(), Failure> {
        let granted = caller.may(action, id);
        if granted.is_err() {
            let entry = Entry::new(
                self.ctx.now(),
                caller.actor(),
                "credential.refuse",
                object(id),
            )
            .ended(Outcome::Refused, "not_granted")
            .with("action", action.as_str());
            self.record_refused(caller, "not_granted", entry).await;
        }
        granted
    }

    /// Leave for the caller; a refusal is recorded. Only who may is told whether there is such an environment.
    pub(crate) async fn permitted(
        &self,
        caller: &Caller,
        action: Action,
        id: &CredentialId,
    ) -> Result<Permit, Failure> {
        self.is_granted(caller, action, id).await?;
        self.environment(id.environment.as_str())?;
        // Whatever it is now, in use or not: what comes after it represents the same.
        let known = self.ctx.store().read(|registry| registry.credential(id))?;
        let tier = match known {
            Some(known) => {
                let tier = self.tier_of(&known)?;
                self.reached(caller, action, id, tier).await?;
                tier
            }
            None => Tier::Standard,
        };
        caller.permitted_with(action, id, tier)
    }

    /// Whether the caller reaches a credential of that tier; a refusal is recorded.
    pub(crate) async fn reached(
        &self,
        caller: &Caller,
        action: Action,
        id: &CredentialId,
        tier: Tier,
    ) -> Result<(), Failure> {
        let reached = caller.reaches(action, id, tier);
        if reached.is_err() {
            let entry = Entry::new(
                self.ctx.now(),
                caller.actor(),
                "credential.refuse",
                object(id),
            )
            .ended(Outcome::Refused, "critical")
            .with("action", action.as_str());
            self.record_refused(caller, "critical", entry).await;
        }
        reached
    }

    /// What a bridge makes with a critical authority reaches as far as that does: no pattern asks for it.
    pub(crate) async fn reaches_authority(
        &self,
        caller: &Caller,
        action: Action,
        id: &CredentialId,
    ) -> Result<(), Failure> {
        if caller.is_named(action, id) {
            return Ok(());
        }
        let reached = match self.tier_of_authority(id)? {
            Some(tier) => self.reached(caller, action, id, tier).await,
            None => Ok(()),
        };
        reached.map_err(|mut failure| {
            failure.0.detail = format!(
                "The authority that makes the values of {} is critical: a pattern does not include it.",
                id.name
            );
            failure
        })
    }

    /// The tier of the credential by which a credential's bridge is asked, if there is one.
    pub(super) fn tier_of_authority(&self, id: &CredentialId) -> Result<Option<Tier>, Failure> {
        self.tier_of_authority_of(id.name.bridge(), id)
    }

    /// The tier by which the credential is judged by which a bridge in a credential's environment is asked, if that is
    /// another one.
    fn tier_of_authority_of(
        &self,
        bridge: &str,
        id: &CredentialId,
    ) -> Result<Option<Tier>, Failure> {
        let tier = |registry: &Registry<'_>| tier_of_authority(registry, bridge, id);
        Ok(self.ctx.store().read(tier)?)
    }

    /// A place of use is notified of rotations by the authority of its bridge: no pattern has a critical one speak.
    pub(super) async fn reaches_places(
        &self,
        caller: &Caller,
        action: Action,
        (id, places): (&CredentialId, &[String]),
    ) -> Result<(), Failure> {
        if caller.is_named(action, id) {
            return Ok(());
        }
        for place in places {
            if let Some(tier) = self.tier_of_authority_of(place, id)? {
                let reached = self.reached(caller, action, id, tier).await;
                reached.map_err(|mut failure| {
                    failure.0.detail = format!(
                        "{place} is notified of rotations by a critical authority: a pattern does not include it."
                    );
                    failure
                })?;
            }
        }
        Ok(())
    }

    /// Writes a refusal down; of a service, each kind once a minute.
    async fn record_refused(&self, caller: &Caller, why: &'static str, mut entry: Entry) {
        if let Ok(service) = caller.service() {
            let (id, address) = (&service.token.id, service.address.ip());
            let entered =
                locked(&self.auth.tokens.attempts).enter(Some(id), why, address, self.ctx.now());
            match entered {
                None => return,
                Some(0) => {}
                Some(omitted) => entry = entry.with("omitted_before", omitted),
            }
        }
        self.ctx.record(entry).await;
    }

    /// Opens a value that may be given out, in memory.
    pub(crate) fn open_value(
        &self,
        id: &CredentialId,
        version: Option<u32>,
        now: Timestamp,
    ) -> Result<Opened, Failure> {
        let Some(sealed) = self
            .ctx
            .store()
            .read(|registry| registry.sealed_value(id, version))?
        else {
            return Err(self.no_value(id, version));
        };
        let sealed = self.with_effective_tier(id, sealed)?;
        self.open_sealed(id, sealed, now)
    }

    /// Whether a value that was read before its record was written may be given still: its credential may have gone out of
    /// use while the disk, or a bridge, was waited for.
    pub(super) fn is_still_given(&self, id: &CredentialId, version: u32) -> Result<(), Failure> {
        // In this order: an end that is not pending any more is in the registry by then.
        let is_ending = self.ctx.endings().is_pending(&object(id));
        let sealed = self
            .ctx
            .store()
            .read(|registry| registry.sealed_value(id, Some(version)))?;
        match sealed.filter(|sealed| sealed.state == State::Active && !is_ending) {
            None => Err(not_active(id)),
            Some(sealed) if !sealed.version_state.is_live() => Err(not_live(id, &sealed)),
            Some(_) => Ok(()),
        }
    }

    fn open_sealed(
        &self,
        id: &CredentialId,
        sealed: SealedValue,
        now: Timestamp,
    ) -> Result<Opened, Failure> {
        if sealed.state != State::Active || self.ctx.endings().is_pending(&object(id)) {
            return Err(not_active(id));
        }
        if self.ends_at(id, &sealed)?.is_some_and(|ends| ends <= now) {
            return Err(Failure::refused(
                &format!(
                    "the credential {} in {} has expired",
                    id.name, id.environment
                ),
                "Rotate it, or set a later end. On the command line: `hearthkey credential rotate`, `hearthkey credential change --expires`.",
            ));
        }
        if !sealed.version_state.is_live() {
            return Err(not_live(id, &sealed));
        }
        let place = CredentialPlace::of(id, sealed.version);
        let value = self
            .ctx
            .store()
            .vault()
            .open_credential(&place, &sealed.sealed);
        Ok(Opened {
            id: id.clone(),
            value: value.map_err(|error| Failure::unopened(&error))?,
            sealed,
        })
    }

    /// Until when a value is given out. That of the value before, while it lives on, is known to the rotation alone.
    fn ends_at(
        &self,
        id: &CredentialId,
        sealed: &SealedValue,
    ) -> Result<Option<Timestamp>, Failure> {
        let before = match sealed.version_state {
            VersionState::Previous => self.ctx.store().read(|registry| registry.rotation(id))?,
            _ => None,
        };
        let before = before.and_then(|rotation| rotation.other_expires_at);
        Ok([sealed.expires_at, before].into_iter().flatten().min())
    }

    fn no_value(&self, id: &CredentialId, version: Option<u32>) -> Failure {
        let known = match self.credential(id) {
            Ok(known) => known,
            Err(failure) => return failure,
        };
        if known.credential.state != State::Active {
            return not_active(id);
        }
        if let Some(location) = known.credential.location {
            return Failure::refused(
                &format!("the value of {} is not in this vault", id.name),
                &format!("It is stored here: {location}."),
            );
        }
        match version {
            Some(version) => Failure::not_found("version", &format!("{version} of {id}")),
            None => Failure::refused(
                &format!("the credential {} has no value", id.name),
                "Rotate it to give it one. On the command line: `hearthkey credential rotate`; `hearthkey credential show` lists its versions.",
            ),
        }
    }

    /// Counts a gift.
    pub(in crate::vault) fn used(
        &self,
        change: Change,
        given: &Opened,
        by: &Actor,
        at: Timestamp,
    ) -> Change {
        change.vault(VaultWrite::Used {
            credential: given.id.clone(),
            version: given.sealed.version,
            by: by.name.clone(),
            at,
        })
    }

    /// Adds to the records of a change what is unusual about it.
    pub(in crate::vault) fn noticing(
        &self,
        mut change: Change,
        actor: &Actor,
        count: usize,
        now: Timestamp,
    ) -> Change {
        let address = actor.address.as_deref();
        let noticed = locked(&self.habits).notice(&actor.name, address, count, now);
        if !noticed.unusual.is_empty() {
            let words: Vec<&str> = noticed.unusual.iter().map(|what| what.as_str()).collect();
            change.entries = change
                .entries
                .into_iter()
                .map(|entry| entry.with("unusual", words.clone()))
                .collect();
        }
        for fact in noticed.learned {
            change = change.vault(VaultWrite::Habit(actor.name.clone(), fact, now));
        }
        change
    }
}
