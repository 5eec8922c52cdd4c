//! A credential is described and shown.

use std::sync::Arc;

use hearthkey_api::{CredentialChange, CredentialChanged, CredentialInFull};
use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::credential::{
    Credential, CredentialId, CredentialName, Custody, InvalidFacts, Origin, State, Tier,
    VersionState, WHOLE_HOME, checked_text, checked_texts,
};
use hearthkey_core::id::EnvironmentName;
use hearthkey_core::role::Act;
use hearthkey_core::secret::Secret;
use hearthkey_core::time::Timestamp;
use hearthkey_store::CommitError;
use hearthkey_store::change::Change;
use hearthkey_store::inventory::KnownCredential;
use hearthkey_store::vault::CredentialPlace;
use hearthkey_store::vault_change::{NewVersion, VaultWrite};

use crate::auth::caller::Caller;
use crate::auth::local_code::code_does_not_fit;
use crate::auth::permit::Permit;
use crate::state::failure::Failure;
use crate::vault::Vault;
use crate::vault::{making, views};

impl From<InvalidFacts> for Failure {
    fn from(error: InvalidFacts) -> Self {
        Self::invalid(&error)
    }
}

pub(crate) fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
    text: &str,
) -> Result<T, Failure> {
    text.parse()
        .map_err(|error: T::Err| Failure::invalid(&error))
}

/// What a credential is called in the audit log.
pub(crate) fn object(id: &CredentialId) -> String {
    format!("credential:{id}")
}

/// A credential's name in an environment, whether there are such or not: what is said of it before a caller is judged.
pub(crate) fn named(environment: &str, name: &str) -> Result<CredentialId, Failure> {
    let name: CredentialName = parsed(name)?;
    if environment == WHOLE_HOME && name.is_own() {
        return Err(keeps_itself(&name));
    }
    Ok(CredentialId {
        environment: parsed(environment)?,
        name,
    })
}

impl Vault {
    /// An environment of this home.
    pub(crate) fn environment(&self, name: &str) -> Result<EnvironmentName, Failure> {
        let environment: EnvironmentName = parsed(name)?;
        match self.ctx.issuer(&environment) {
            Some(_) => Ok(environment),
            None => Err(Failure::not_found("environment", &environment)),
        }
    }

    /// A credential's name in an environment of this home.
    pub(crate) fn credential_id(
        &self,
        environment: &str,
        name: &str,
    ) -> Result<CredentialId, Failure> {
        let id = named(environment, name)?;
        self.environment(id.environment.as_str())?;
        Ok(id)
    }

    /// A credential that there is.
    pub(crate) fn credential(&self, id: &CredentialId) -> Result<KnownCredential, Failure> {
        let known = self.ctx.store().read(|registry| registry.credential(id))?;
        let mut known = known.ok_or_else(|| match id.name.is_own() {
            true => keeps_itself(&id.name),
            false => Failure::not_found("credential", id),
        })?;
        // One that is out of use is so, whether or not the registry has it yet.
        if known.credential.state == State::Active && self.ctx.endings().is_pending(&object(id)) {
            known.credential.state = State::Retired;
        }
        Ok(known)
    }

    /// A new value's row, sealed under the environment's newest epoch.
    pub(crate) fn new_version(
        &self,
        id: &CredentialId,
        version: u32,
        value: &Secret,
        by: &str,
        at: Timestamp,
    ) -> Result<NewVersion, Failure> {
        let epoch = self
            .ctx
            .store()
            .read(|registry| registry.kek_epoch(&id.environment))?;
        let place = CredentialPlace::of(id, version);
        let vault = self.ctx.store().vault();
        Ok(NewVersion {
            version,
            state: VersionState::Current,
            fingerprint: vault.fingerprint(value),
            bytes: value.expose().len(),
            origin: Origin::Entered,
            remote_id: None,
            at,
            by: by.to_owned(),
            sealed: vault.seal_credential(&place, epoch.unwrap_or(1), value),
        })
    }

    /// The number of a credential's next version.
    pub(crate) fn next_version(&self, id: &CredentialId) -> Result<u32, Failure> {
        let versions = self.ctx.store().read(|registry| registry.versions(id))?;
        Ok(versions.first().map_or(1, |newest| newest.version + 1))
    }

    /// Other credentials that hold the same value, in words.
    pub(crate) fn shared_with(
        &self,
        id: &CredentialId,
        version: &NewVersion,
    ) -> Result<Vec<String>, Failure> {
        let holders = self
            .ctx
            .store()
            .read(|registry| registry.holders_of(&version.fingerprint))?;
        Ok(holders
            .iter()
            .filter(|holder| *holder != id)
            .map(ToString::to_string)
            .collect())
    }

    /// Changes what people said of a credential.
    pub(crate) async fn describe_credential(
        self: &Arc<Self>,
        caller: &Caller,
        id: &CredentialId,
        mut request: CredentialChange,
    ) -> Result<CredentialChanged, Failure> {
        let turn = self.credential_turns.of(id).await;
        let before = self.credential(id)?.credential;
        let mut credential = before.clone();
        let (now, actor) = (self.ctx.now(), caller.actor());
        let shown = request.second_factor.take();
        let mut entry = Entry::new(now, actor.clone(), "credential.describe", object(id));
        if request.location.is_some() || request.replaced {
            if credential.custody != Custody::External {
                return Err(Failure::refused(
                    &format!("the value of {} is stored in this vault", id.name),
                    &format!(
                        "Rotate it. On the command line: `hearthkey credential rotate {} --env {} --from-file FILE`.",
                        id.name, id.environment
                    ),
                ));
            }
            if let Some(location) = request.location {
                let location = checked_text("place where it is stored", &location)?;
                entry = entry.with("location", location.clone());
                credential.location = Some(location);
            }
            if request.replaced {
                credential.provenance.at = now;
                credential.provenance.by.clone_from(&actor.name);
                entry = entry.with("replaced", true);
            }
        }
        if let Some(owner) = request.owner {
            credential.owner = checked_text("owner", &owner)?;
            entry = entry.with("owner", credential.owner.clone());
        }
        if let Some(purpose) = request.purpose {
            credential.purpose = checked_text("purpose", &purpose)?;
            entry = entry.with("purpose", credential.purpose.clone());
        }
        if let Some(tier) = request.tier {
            credential.tier = parsed(&tier)?;
            entry = entry.with("tier", credential.tier.as_str());
        }
        if let Some(places) = request.used_by {
            credential.used_by = checked_texts("place of use", &places)?;
            entry = entry.with("used_by", credential.used_by.clone());
        }
        if let Some(scopes) = request.scopes {
            credential.scopes = checked_texts("scope", &scopes)?;
            entry = entry.with("scopes", credential.scopes.clone());
        }
        if let Some(ends) = request.expires_at {
            let ends = Some(ends).filter(|text| !text.is_empty());
            credential.expires_at = ends.as_deref().map(parsed).transpose()?;
            entry = entry.with("expires_at", ends);
        }
        let asks_for_schedule = request.rotation.is_some();
        if let Some(rotation) = request.rotation {
            credential.rotation = views::policy(&rotation)?;
            let text = serde_json::to_value(&rotation).unwrap_or_default();
            entry = entry.with("rotation", text);
        }
        let second_factor = self
            .judge_change(caller, &before, &credential, shown)
            .await?;
        let mut warnings: Vec<String> = ended_already(&credential, now).into_iter().collect();
        if asks_for_schedule && credential.rotation.automatic {
            warnings.extend(self.cannot_rotate_itself(&credential)?);
        }
        let is_raised = credential.tier == Tier::Critical && before.tier != Tier::Critical;
        let has_code = second_factor.is_some();
        let change = Change::record(entry).vault(VaultWrite::Describe(credential));
        match self.auth.commit_shown(change, second_factor).await {
            Err(CommitError::Conflict) if has_code => return Err(code_does_not_fit()),
            Err(CommitError::Conflict) => return Err(not_active(id)),
            committed => committed?,
        }
        drop(turn);
        if is_raised {
            let permit = Permit::following(&actor, Act::TokenEnd);
            let mut cut = self.cut_naming_critical(&permit, id)?;
            for made in self.made_critical_by(id)? {
                cut.extend(self.cut_naming_critical(&permit, &made)?);
            }
            warnings.extend(self.end_what_was_cut(&actor, id, cut).await);
        }
        Ok(CredentialChanged {
            credential: views::credential(&self.credential(id)?, now),
            warnings,
        })
    }

    /// That a credential is scheduled to rotate by itself and cannot, if it cannot as things are.
    pub(super) fn cannot_rotate_itself(
        &self,
        credential: &Credential,
    ) -> Result<Option<String>, Failure> {
        let made_here =
            making::can_make(credential.kind) && credential.provenance.origin == Origin::Generated;
        let bridge = self.bridge_of(&credential.id)?;
        let can = made_here || bridge.is_some_and(|bridge| bridge.abilities.mint);
        Ok((!can).then(|| {
            format!(
                "{} does not rotate by itself: no connected bridge can create a value of it. When it is due, that is a finding.",
                credential.id.name
            )
        }))
    }

    /// Ends what tokens that were taken out had borrowed, and says which they were.
    pub(super) async fn end_what_was_cut(
        self: &Arc<Self>,
        actor: &Actor,
        id: &CredentialId,
        cut: Vec<String>,
    ) -> Option<String> {
        // What cannot be ended now ends in its time.
        self.end_leases_in_time(cut.clone(), &Permit::following(actor, Act::CredentialLease))
            .await;
        (!cut.is_empty()).then(|| {
            format!(
                "{} is critical from now on. Tokens that named it, or what it has made, without a second factor are revoked; create them again: {}.",
                id.name,
                cut.join(", ")
            )
        })
    }

    /// One credential with all that is known of it.
    pub(crate) fn credential_in_full(
        &self,
        caller: &Caller,
        id: &CredentialId,
    ) -> Result<CredentialInFull, Failure> {
        let known = self.credential(id)?;
        let (versions, rotations, leases) = self.ctx.store().read(|registry| {
            Ok((
                registry.versions(id)?,
                registry.rotations(id, 50)?,
                registry.leases_of(id)?,
            ))
        })?;
        Ok(CredentialInFull {
            credential: views::credential(&known, self.ctx.now()),
            versions: versions.iter().map(views::version).collect(),
            rotations: rotations
                .iter()
                .map(|r| self.rotation_view(id, r))
                .collect(),
            leases: leases.iter().map(views::lease).collect(),
            findings: self.findings_of(caller, &known)?,
        })
    }
}

/// What is said of a credential whose end has passed.
pub(super) fn ended_already(credential: &Credential, now: Timestamp) -> Option<String> {
    let ended = credential.expires_at.filter(|ends| *ends <= now)?;
    let Credential { id, .. } = credential;
    Some(format!(
        "It ended at {ended}, and is not given out. A later end can be set. On the command line: `hearthkey credential change {} --env {} --expires TIME`.",
        id.name, id.environment
    ))
}

/// What the home keeps for itself is shown, and no more is done with it as a credential.
fn keeps_itself(name: &CredentialName) -> Failure {
    let remedy = match name.bridge() {
        "device" => "Manage the device instead. On the command line: `hearthkey device --help`.",
        "token" => "Manage the token instead. On the command line: `hearthkey token --help`.",
        _ => {
            "Only the gateway creates, uses and replaces it. On the command line: `hearthkey credential show`."
        }
    };
    Failure::refused(
        &format!("the credential {name} is one of the home's own keys or certificates"),
        remedy,
    )
}

pub(crate) fn not_active(id: &CredentialId) -> Failure {
    Failure::refused(
        &format!(
            "the credential {} in {} is retired",
            id.name, id.environment
        ),
        "Add it again if it is needed. On the command line: `hearthkey credential add`.",
    )
}
