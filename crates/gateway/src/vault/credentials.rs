//! A credential is added, described and shown.

use crate::auth::permit::Permit;
use hearthkey_core::role::Act;
use std::sync::Arc;

use hearthkey_api::{CredentialChange, CredentialChanged, CredentialInFull, CredentialRequest};
use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::credential::{
    Action, Credential, CredentialId, CredentialName, Custody, InvalidFacts, Kind, Origin,
    Provenance, State, Tier, VersionState, WHOLE_HOME, check_not_own, checked_text, checked_texts,
};
use hearthkey_core::id::EnvironmentName;
use hearthkey_core::secret::Secret;
use hearthkey_core::time::Timestamp;
use hearthkey_store::CommitError;
use hearthkey_store::change::Change;
use hearthkey_store::inventory::KnownCredential;
use hearthkey_store::vault::CredentialPlace;
use hearthkey_store::vault_change::{NewVersion, VaultWrite};

use crate::auth::caller::Caller;
use crate::auth::local_code::code_does_not_fit;
use crate::devices::lifecycle::still_ending;
use crate::state::failure::Failure;
use crate::vault::Vault;
use crate::vault::guarding::{may_replace_itself, may_say_scopes};
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

/// Where a new credential's value comes from.
enum Source {
    Given {
        value: Secret,
        remote_id: Option<String>,
    },
    Elsewhere(String),
    /// The gateway makes it.
    Made(Secret),
    /// The bridge makes it, in a rotation that begins with nothing.
    FromBridge,
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

    /// Adds a credential.
    pub(crate) async fn add_credential(
        self: &Arc<Self>,
        caller: &Caller,
        mut request: CredentialRequest,
    ) -> Result<CredentialChanged, Failure> {
        let second_factor = request.second_factor.take();
        let mut shown = None;
        let (now, actor) = (self.ctx.now(), caller.actor());
        let generate = request.generate;
        self.may_name_remote(caller, request.remote_id.as_deref())?;
        let (mut credential, mut source) = self.read_request(&actor, request, now)?;
        may_replace_itself(caller, &credential)?;
        may_say_scopes(caller, &credential)?;
        let told = (&credential.id, credential.used_by.as_slice());
        self.reaches_places(caller, Action::Write, told).await?;
        if generate {
            source = self.source_of_generated(&credential).await?;
            if let Source::FromBridge = source {
                self.reaches_authority(caller, Action::Write, &credential.id)
                    .await?;
                let judged = self.as_critical_as_its_authority(caller, &credential, second_factor);
                shown = judged.await?;
            }
            credential.provenance.origin = match source {
                Source::FromBridge => Origin::Minted,
                _ => Origin::Generated,
            };
        }
        let id = credential.id.clone();
        if !self.ctx.endings().settled(&object(&id)).await {
            return Err(still_ending(&object(&id)));
        }
        let turn = self.credential_turns.of(&id).await;
        self.may_follow_earlier(caller, &credential).await?;
        let mut entry = Entry::new(now, actor.clone(), "credential.add", object(&id))
            .with("kind", credential.kind.as_str())
            .with("tier", credential.tier.as_str())
            .with("owner", credential.owner.clone())
            .with("purpose", credential.purpose.clone())
            .with("origin", credential.provenance.origin.as_str());
        let mut writes = Vec::new();
        let mut warnings: Vec<String> = ended_already(&credential, now).into_iter().collect();
        let given = match &source {
            Source::Given { value, remote_id } => Some((value, remote_id.clone())),
            Source::Made(value) => Some((value, None)),
            Source::Elsewhere(_) | Source::FromBridge => None,
        };
        if let Some((value, remote_id)) = given {
            let mut version =
                self.new_version(&id, self.next_version(&id)?, value, &actor.name, now)?;
            version.origin = credential.provenance.origin;
            self.refuse_remote_of_another(&id, remote_id.as_deref())?;
            version.remote_id = remote_id;
            let mut shared = self.shared_with(&id, &version)?;
            if !shared.is_empty() {
                entry = entry.with("shared_with", shared.clone());
                if !actor.sees_the_whole_home() {
                    // It does not learn what else exists, or whether it guessed right.
                    shared.clear();
                }
            }
            if !shared.is_empty() {
                warnings.push(format!(
                    "The same value is in {}. Rotate it so that each has its own. On the command line: `hearthkey credential rotate {} --env {}`.",
                    shared.join(", "),
                    id.name,
                    id.environment
                ));
            }
            entry = entry.with("version", version.version);
            writes.push(VaultWrite::Version(id.clone(), version));
        }
        let tier = credential.tier;
        let mut change = Change::record(entry).vault(VaultWrite::Add(credential));
        for write in writes {
            change = change.vault(write);
        }
        let is_shown = shown.is_some();
        let cut = self.cut_of_earlier(&actor, &id, tier)?;
        match self.auth.commit_shown(change, shown).await {
            Err(CommitError::Conflict) if is_shown => return Err(code_does_not_fit()),
            Err(CommitError::Conflict) => {
                let why = format!(
                    "there is a credential {} in {} already",
                    id.name, id.environment
                );
                let remedy = "Choose another name, rotate the existing one, or retire it first. On the command line: `hearthkey credential rotate`.";
                return Err(Failure::refused(&why, remedy));
            }
            committed => committed?,
        };
        drop(turn);
        warnings.extend(self.end_what_was_cut(&actor, &id, cut).await);
        let known = self.credential(&id)?;
        if let Source::FromBridge = source {
            self.begin_first(actor, &known).await?;
        }
        Ok(CredentialChanged {
            credential: views::credential(&self.credential(&id)?, now),
            warnings,
        })
    }

    /// Who makes the value of a credential that is being added.
    async fn source_of_generated(&self, credential: &Credential) -> Result<Source, Failure> {
        let bridge = self.bridge_of(&credential.id)?;
        if bridge.is_some_and(|bridge| bridge.abilities.mint) {
            return Ok(Source::FromBridge);
        }
        Ok(Source::Made(making::make(credential.kind).await?))
    }

    fn read_request(
        &self,
        actor: &Actor,
        request: CredentialRequest,
        now: Timestamp,
    ) -> Result<(Credential, Source), Failure> {
        let id = self.credential_id(&request.environment, &request.name)?;
        let kind: Kind = parsed(&request.kind)?;
        check_not_own(&id.name, kind)?;
        let expires_at = request.expires_at.as_deref().map(parsed).transpose()?;
        let (source, origin) = match (request.value, request.location, request.generate) {
            (None, None, true) => (Source::FromBridge, Origin::Generated),
            (Some(value), None, false) => {
                let value = Secret::new(value.into_bytes());
                let value = value.map_err(|error| Failure::invalid(&error))?;
                let imported = request.imported_from.is_some();
                let origin = if imported {
                    Origin::Imported
                } else {
                    Origin::Entered
                };
                let remote_id = request.remote_id.as_deref();
                let remote_id = remote_id
                    .map(|text| checked_text("remote id", text))
                    .transpose()?;
                (Source::Given { value, remote_id }, origin)
            }
            (None, Some(location), false) => {
                let location = checked_text("location", &location)?;
                (Source::Elsewhere(location), Origin::Recorded)
            }
            _ => {
                return Err(Failure::invalid(
                    &"a credential has either a value, or a location elsewhere, or a value that the gateway makes",
                ));
            }
        };
        let location = match &source {
            Source::Elsewhere(location) => Some(location.clone()),
            _ => None,
        };
        let source_text = request.imported_from.as_deref();
        let source_text = source_text
            .map(|text| checked_text("source", text))
            .transpose()?;
        let credential = Credential {
            id,
            kind,
            owner: checked_text("owner", &request.owner)?,
            purpose: checked_text("purpose", &request.purpose)?,
            tier: parsed::<Tier>(&request.tier)?,
            custody: if location.is_some() {
                Custody::External
            } else {
                Custody::Vault
            },
            location,
            provenance: Provenance {
                origin,
                source: source_text,
                by: actor.name.clone(),
                address: actor.address.clone(),
                at: now,
            },
            state: State::Active,
            rotation: views::policy(&request.rotation)?,
            used_by: checked_texts("place of use", &request.used_by)?,
            scopes: checked_texts("scope", &request.scopes)?,
            expires_at,
        };
        Ok((credential, source))
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
                    "Rotate it. On the command line: `hearthkey credential rotate`.",
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
        if let Some(rotation) = request.rotation {
            credential.rotation = views::policy(&rotation)?;
            let text = serde_json::to_value(&rotation).unwrap_or_default();
            entry = entry.with("rotation", text);
        }
        let second_factor = self
            .judge_change(caller, &before, &credential, shown)
            .await?;
        let mut warnings: Vec<String> = ended_already(&credential, now).into_iter().collect();
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
            let cut = self.cut_naming_critical(&Permit::following(&actor, Act::TokenEnd), id)?;
            warnings.extend(self.end_what_was_cut(&actor, id, cut).await);
        }
        Ok(CredentialChanged {
            credential: views::credential(&self.credential(id)?, now),
            warnings,
        })
    }

    /// Takes out the tokens that were made for what stood under this name before, when a critical credential takes it over:
    /// before the new value is there.
    fn cut_of_earlier(
        &self,
        actor: &Actor,
        id: &CredentialId,
        tier: Tier,
    ) -> Result<Vec<String>, Failure> {
        let earlier = self.ctx.store().read(|registry| registry.credential(id))?;
        let was_less = |known: &KnownCredential| {
            known.credential.state != State::Active && known.credential.tier != Tier::Critical
        };
        match earlier.is_some_and(|known| tier == Tier::Critical && was_less(&known)) {
            true => self.cut_naming_critical(&Permit::following(actor, Act::TokenEnd), id),
            false => Ok(Vec::new()),
        }
    }

    /// Ends what tokens that were taken out had borrowed, and says which they were.
    async fn end_what_was_cut(
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
                "{} is critical from now on. Tokens that named it without a second factor are revoked; create them again: {}.",
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
fn ended_already(credential: &Credential, now: Timestamp) -> Option<String> {
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
        &format!("{name} is one of the home's own keys or certificates"),
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
