//! What a repository's features use, held against the inventory (R25).

use hearthkey_api::{Manifest, ManifestChecked, ManifestEntry, ManifestVerdict};
use hearthkey_core::credential::{Action, CredentialId, Custody, State};
use hearthkey_core::id::EnvironmentName;
use hearthkey_core::role::Act;
use hearthkey_core::time::Timestamp;
use hearthkey_store::inventory::KnownCredential;

use crate::auth::caller::Caller;
use crate::state::failure::Failure;
use crate::vault::Vault;
use crate::vault::credentials::parsed;
use crate::vault::views;

/// Entries of one manifest at most.
const ENTRIES_MAX: usize = 500;

/// What is wrong with one entry.
#[derive(Default)]
struct Problems {
    problems: Vec<String>,
    remedies: Vec<String>,
}

impl Problems {
    fn add(&mut self, problem: impl Into<String>, remedy: impl Into<String>) {
        self.problems.push(problem.into());
        self.remedies.push(remedy.into());
    }
}

impl Vault {
    /// Checks every entry. A caller learns nothing of credentials that it may not list.
    pub(crate) fn check_manifest(
        &self,
        caller: &Caller,
        manifest: &Manifest,
    ) -> Result<ManifestChecked, Failure> {
        let environment: EnvironmentName = parsed(&manifest.environment)?;
        // Only callers who reach it learn whether there is one.
        match caller.granted_in() {
            Some(own) if *own != environment => {
                let token = &caller.service()?.token;
                return Err(crate::auth::forbidden::elsewhere(token));
            }
            Some(_) => {}
            None => caller.permit(Act::CredentialRead, &environment)?,
        }
        self.environment(environment.as_str())?;
        if manifest.credentials.is_empty() || manifest.credentials.len() > ENTRIES_MAX {
            let why = format!("a manifest names 1 to {ENTRIES_MAX} credentials");
            return Err(Failure::invalid(&why));
        }
        let now = self.ctx.now();
        let mut verdicts = Vec::with_capacity(manifest.credentials.len());
        for entry in &manifest.credentials {
            let found = self.check_entry(caller, &environment, entry, now)?;
            verdicts.push(ManifestVerdict {
                name: entry.name.clone(),
                ok: found.problems.is_empty(),
                problems: found.problems,
                remedies: found.remedies,
            });
        }
        Ok(ManifestChecked {
            ok: verdicts.iter().all(|verdict| verdict.ok),
            credentials: verdicts,
        })
    }

    fn check_entry(
        &self,
        caller: &Caller,
        environment: &EnvironmentName,
        entry: &ManifestEntry,
        now: Timestamp,
    ) -> Result<Problems, Failure> {
        let mut found = Problems::default();
        let name = match entry.name.parse() {
            Ok(name) => name,
            Err(error) => {
                let error: hearthkey_core::credential::InvalidCredentialName = error;
                found.add(error.to_string(), "Correct the manifest.");
                return Ok(found);
            }
        };
        let id = CredentialId {
            environment: environment.clone(),
            name,
        };
        let known = self.ctx.store().read(|registry| registry.credential(&id))?;
        let Some(known) = known.filter(|_| caller.may_list(&id)) else {
            match self.elsewhere(caller, &id)? {
                Some(other) => found.add(
                    format!("it is in {other} and not in {environment}"),
                    format!("Add a separate one to {environment}: environments share no keys."),
                ),
                None => found.add(
                    format!("there is no such credential in {environment}, or this caller may not see it"),
                    format!("Add it, or have the token allow {}:list. On the command line: `hearthkey credential add {} --env {environment}`.", id.name, id.name),
                ),
            }
            return Ok(found);
        };
        let credential = &known.credential;
        let rotate = format!(
            "Rotate it. On the command line: `hearthkey credential rotate {} --env {environment}`.",
            id.name
        );
        if credential.state != State::Active {
            found.add(
                format!("it is {}", credential.state),
                "Remove it from the manifest, or add it again.",
            );
        }
        if credential.owner.trim().is_empty() {
            found.add(
                "it has no owner",
                "Assign an owner. On the command line: `hearthkey credential change --owner`.",
            );
        }
        if credential.custody == Custody::Vault && known.current.is_none() {
            found.add("it has no value", rotate.clone());
        }
        if credential.expires_at.is_some_and(|ends| ends <= now) {
            found.add("it has expired", rotate.clone());
        }
        if let Some(due) = views::credential(&known, now).due {
            found.add(format!("it is due: {due}"), rotate);
        }
        if let Some(declared) = &entry.scopes {
            if known.found_scopes.is_none() && credential.scopes.is_empty() {
                found.add(
                    "its rights are unknown",
                    "Test its bridge, or declare its scopes. On the command line: `hearthkey bridge test`, `hearthkey credential change --scope`.",
                );
            }
            let held = known.found_scopes.as_ref().unwrap_or(&credential.scopes);
            let beyond: Vec<&str> = held
                .iter()
                .filter(|scope| !declared.contains(scope))
                .map(String::as_str)
                .collect();
            if known.privileged || !beyond.is_empty() {
                let what = if known.privileged {
                    "everything".to_owned()
                } else {
                    beyond.join(", ")
                };
                found.add(
                    format!("it has more scopes than declared: {what}"),
                    "Have one with fewer rights issued, or declare the scopes that the feature needs.",
                );
            }
        }
        if let Some(declared) = &entry.actions {
            self.check_actions(caller, &known, declared, &mut found)?;
        }
        Ok(found)
    }

    /// Whether the caller's own grants are those that the manifest declares.
    fn check_actions(
        &self,
        caller: &Caller,
        known: &KnownCredential,
        declared: &[String],
        found: &mut Problems,
    ) -> Result<(), Failure> {
        let declared = declared
            .iter()
            .map(|word| word.parse())
            .collect::<Result<Vec<Action>, _>>();
        let declared = declared.map_err(|error| Failure::invalid(&error))?;
        let id = &known.credential.id;
        let tier = self.tier_of(known)?;
        for action in Action::ALL {
            let may = caller.reaches(*action, id, tier).is_ok();
            if declared.contains(action) && !may {
                found.add(
                    format!("this caller may not {action} it"),
                    format!("Have the token allow {}:{action}.", id.name),
                );
            }
            // Seeing that it exists is what a check needs; an operator may do everything by office.
            let beyond = may && !declared.contains(action) && *action != Action::List;
            if beyond && caller.granted_in().is_some() {
                found.add(
                    format!("this caller may {action} it, which the manifest does not declare"),
                    "Make a token with fewer grants, or declare the action.",
                );
            }
        }
        Ok(())
    }

    /// Another environment that has a credential of this name, if the caller may know.
    fn elsewhere(&self, caller: &Caller, id: &CredentialId) -> Result<Option<String>, Failure> {
        for name in self.devices.environments() {
            let Ok(other) = self.credential_id(&name, id.name.as_str()) else {
                continue;
            };
            if caller.may_list(&other)
                && self
                    .ctx
                    .store()
                    .read(|registry| registry.credential(&other))?
                    .is_some()
            {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }
}
