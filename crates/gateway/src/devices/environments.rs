//! Environments: trust zones, each with an issuing CA of its own.

use std::sync::{Arc, PoisonError};

use hearthkey_api::EnvironmentRequest;
use hearthkey_core::audit::Entry;
use hearthkey_core::id::EnvironmentName;
use hearthkey_core::role::Act;
use hearthkey_pki::CaRole;
use hearthkey_store::change::{Change, Write};

use crate::auth::caller::Caller;
use crate::auth::local_code::Needed;
use crate::devices::Devices;
use crate::state::failure::Failure;
use crate::state::new_serial;
use crate::trust::authority::issuing;
use crate::trust::authority::{keep_authority, load_authority};

/// Environments in one home at most.
const ENVIRONMENTS_MAX: usize = 64;

impl Devices {
    /// The environments, in order.
    pub(crate) fn environments(&self) -> Vec<String> {
        let names = self.environment_names();
        names.iter().map(ToString::to_string).collect()
    }

    /// The environments' names, in order.
    pub(crate) fn environment_names(&self) -> Vec<EnvironmentName> {
        let issuers = self
            .ctx
            .issuers()
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let mut names: Vec<EnvironmentName> = issuers.keys().cloned().collect();
        names.sort_unstable();
        names
    }

    /// Adds an environment with an issuing CA of its own.
    pub(crate) async fn add_environment(
        &self,
        caller: &Caller,
        EnvironmentRequest {
            name,
            second_factor,
        }: EnvironmentRequest,
    ) -> Result<(), Failure> {
        let permit = caller.permitted(Act::EnvironmentAdd)?;
        let name: EnvironmentName = name.parse().map_err(|error| Failure::invalid(&error))?;
        // Two requests at the same moment are compared with one another.
        let _trees = self.trees.write().await;
        if self.ctx.issuer(&name).is_some() {
            let why = format!("there is already an environment {name}");
            return Err(Failure::refused(&why, "Choose another name."));
        }
        if self.environments().len() >= ENVIRONMENTS_MAX {
            let why = format!("a home has {ENVIRONMENTS_MAX} environments at most");
            return Err(Failure::refused(&why, "Use an existing one."));
        }
        let mut with_it = self.environment_names();
        with_it.push(name.clone());
        if let Some(taken) = self.newly_taken(&self.ctx.all_profiles(), &with_it)? {
            return Err(Failure::refused(
                &taken,
                "Give the environment another name, or retire that device first.",
            ));
        }
        let needed = Needed {
            act: Act::EnvironmentAdd,
            environment: None,
            why: "the root signs a CA for an environment",
        };
        let shown = self.auth.shown_here(caller, needed, second_factor).await?;
        let now = self.ctx.now();
        let root =
            load_authority(self.ctx.store(), "root").map_err(|error| Failure::internal(&error))?;
        let authority = root
            .new_issuing(&name, new_serial(), now)
            .map_err(|error| Failure::internal(&error))?;
        let object = format!("environment:{name}");
        let entry = Entry::new(now, permit.actor().clone(), "environment.add", object).with(
            "ca_sha256",
            authority.certificate().fingerprint().to_string(),
        );
        let mut change = Change::record(entry).write(Write::Environment(name.clone(), now));
        let (place, vault) = (issuing(&name), self.ctx.store().vault());
        change
            .writes
            .extend(keep_authority(vault, (&place, 1), &authority, now));
        self.auth.commit_shown(change, shown).await?;
        self.ctx
            .issuers()
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.clone(), Arc::new(authority));
        self.forget_unfounded_retained().await;
        self.trust
            .renew_tls()
            .await
            .map_err(|error| Failure::internal(&error))?;
        let writes = self.trust.publish_crl(&CaRole::Issuing(name)).await;
        self.ctx
            .commit(Change {
                writes,
                ..Change::default()
            })
            .await?;
        Ok(())
    }
}
