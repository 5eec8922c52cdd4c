//! A credential is added, with its first value or the place where that is stored.

use std::sync::Arc;

use hearthkey_api::{CredentialChanged, CredentialRequest};
use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::credential::{
    Action, Credential, CredentialId, Custody, Kind, Origin, Provenance, State, Tier,
    check_not_own, checked_text, checked_texts,
};
use hearthkey_core::role::Act;
use hearthkey_core::secret::Secret;
use hearthkey_core::time::Timestamp;
use hearthkey_store::CommitError;
use hearthkey_store::change::Change;
use hearthkey_store::inventory::KnownCredential;
use hearthkey_store::vault_change::VaultWrite;

use crate::auth::caller::Caller;
use crate::auth::local_code::code_does_not_fit;
use crate::auth::permit::Permit;
use crate::devices::lifecycle::still_ending;
use crate::state::failure::Failure;
use crate::vault::credentials::{ended_already, object, parsed};
use crate::vault::guarding::{may_replace_itself, may_say_scopes};
use crate::vault::{Vault, making, views};

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
        let mut first = None;
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
            let shared = self.shared_with(&id, &version)?;
            if !shared.is_empty() {
                entry = entry.with("shared_with", shared.clone());
                // A service does not learn what else exists, or whether it guessed right.
                let may_know = actor.sees_the_whole_home();
                warnings.extend(may_know.then(|| is_shared(&id, &shared)));
            }
            entry = entry.with("version", version.version);
            first = Some(VaultWrite::Version(id.clone(), version));
        }
        let tier = credential.tier;
        let mut change = Change::record(entry).vault(VaultWrite::Add(credential));
        if let Some(first) = first {
            change = change.vault(first);
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
        let kind = given_kind(&request.kind)?;
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
}

/// The kind of a credential that is given; of an unknown one, those that may be given are named.
fn given_kind(text: &str) -> Result<Kind, Failure> {
    text.parse().map_err(|_| {
        let text: String = text.chars().take(40).collect();
        Failure::invalid(&format!(
            "{text:?} is an unknown kind of credential: use one of password, api-token, api-key, wifi-key, zigbee-key, \
             encryption-key, signing-key, other"
        ))
    })
}

fn is_shared(id: &CredentialId, holders: &[String]) -> String {
    format!(
        "The same value is in {}. Rotate it so that each has its own. On the command line: `hearthkey credential rotate {} --env {} --from-file FILE`.",
        holders.join(", "),
        id.name,
        id.environment
    )
}
