//! How values are kept: sealed anew under another key-encryption key, and destroyed when their time has come.

use crate::auth::permit::Permit;
use hearthkey_core::role::Act;
use std::sync::Arc;

use hearthkey_api::RewrapView;
use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::credential::{CredentialId, Origin, State, VersionState};
use hearthkey_core::id::EnvironmentName;
use hearthkey_core::rotation::KEPT;
use hearthkey_core::time::Timestamp;
use hearthkey_store::CommitError;
use hearthkey_store::change::Change;
use hearthkey_store::inventory::KnownVersion;
use hearthkey_store::vault_change::VaultWrite;

use crate::state::failure::Failure;
use crate::state::locked;
use crate::vault::Vault;
use crate::vault::credentials::object;
use crate::vault::kept_tier::keep_tier;

/// Values that are sealed anew in one transaction.
const BATCH: u32 = 200;

impl Vault {
    /// Gives an environment a new key-encryption key; its values follow in the background.
    pub(crate) async fn rewrap(
        self: &Arc<Self>,
        permit: &Permit,
        environment: &str,
    ) -> Result<RewrapView, Failure> {
        let environment = self.environment(environment)?;
        let actor = permit
            .actor_in(Act::CredentialRetire, &environment)?
            .clone();
        let (done, total, epoch) = self.rewrapped(&environment)?;
        if done == total {
            let next = epoch + 1;
            let entry = Entry::new(
                self.ctx.now(),
                actor,
                "environment.rewrap",
                format!("environment:{environment}"),
            )
            .with("epoch", next)
            .with("values", total);
            self.ctx
                .commit(
                    Change::record(entry).vault(VaultWrite::KekEpoch(environment.clone(), next)),
                )
                .await?;
        }
        self.reseal(&environment);
        self.rewrap_view(&environment)
    }

    /// How far it is.
    pub(crate) fn rewrap_progress(&self, environment: &str) -> Result<RewrapView, Failure> {
        self.rewrap_view(&self.environment(environment)?)
    }

    fn rewrapped(&self, environment: &EnvironmentName) -> Result<(u64, u64, u32), Failure> {
        Ok(self.ctx.store().read(|registry| {
            let epoch = registry.kek_epoch(environment)?.unwrap_or(1);
            let (done, total) = registry.sealed_under(environment, epoch)?;
            Ok((done, total, epoch))
        })?)
    }

    fn rewrap_view(&self, environment: &EnvironmentName) -> Result<RewrapView, Failure> {
        let (done, total, epoch) = self.rewrapped(environment)?;
        Ok(RewrapView {
            environment: environment.to_string(),
            epoch,
            done,
            total,
        })
    }

    /// Goes on wherever it was interrupted, for every environment.
    pub(crate) fn reseal_all(self: &Arc<Self>) {
        for name in self.devices.environments() {
            if let Ok(environment) = name.parse() {
                self.reseal(&environment);
            }
        }
    }

    /// Seals in the background what lies under an earlier epoch, unless that is being done.
    fn reseal(self: &Arc<Self>, environment: &EnvironmentName) {
        if !locked(&self.resealing).insert(environment.clone()) {
            return;
        }
        let (home, environment) = (Arc::clone(self), environment.clone());
        let mut stopping = home.ctx.stopping().subscribe();
        tokio::spawn(async move {
            let work = async {
                loop {
                    match home.reseal_batch(&environment).await {
                        Ok(true) => {}
                        Ok(false) => return,
                        Err(failure) => {
                            tracing::warn!(%environment, why = failure.0.detail, "values could not be sealed again; retried when the home is unlocked or on request");
                            return;
                        }
                    }
                }
            };
            tokio::select! {
                () = work => {}
                _ = stopping.wait_for(|stop| *stop) => {}
            }
            locked(&home.resealing).remove(&environment);
        });
    }

    /// Seals some values anew; whether there may be more.
    async fn reseal_batch(&self, environment: &EnvironmentName) -> Result<bool, Failure> {
        let (epoch, batch) = self.ctx.store().read(|registry| {
            let epoch = registry.kek_epoch(environment)?.unwrap_or(1);
            Ok((epoch, registry.sealed_before(environment, epoch, BATCH)?))
        })?;
        if batch.is_empty() {
            return Ok(false);
        }
        let vault = self.ctx.store().vault();
        let mut change = Change::default();
        let mut resealed = false;
        for (place, sealed) in batch {
            let value = match vault.open_credential(&place, &sealed) {
                Ok(value) => value,
                // One that is damaged keeps the others from nothing; it stays under its old key.
                Err(error) => {
                    tracing::error!(%error, ?place, "a value cannot be sealed again");
                    continue;
                }
            };
            resealed = true;
            change = change.vault(VaultWrite::Reseal {
                from: sealed.epoch,
                sealed: vault.seal_credential(&place, epoch, &value),
                place,
            });
        }
        if !resealed {
            return Ok(false);
        }
        match self.ctx.commit(change).await {
            // One of them was destroyed meanwhile: the others are looked for again.
            Ok(_) | Err(CommitError::Conflict) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Destroys the data keys of what was replaced or retired long enough ago.
    pub(crate) async fn shred_what_is_due(&self, now: Timestamp) {
        if let Err(failure) = self.shred(now).await {
            tracing::warn!(
                why = failure.0.detail,
                "data keys could not be destroyed yet"
            );
        }
    }

    pub(crate) async fn shred(&self, now: Timestamp) -> Result<(), Failure> {
        loop {
            let due = self
                .ctx
                .store()
                .read(|registry| registry.shreddable(now.before(KEPT), now))?;
            if due.is_empty() {
                break;
            }
            let mut change = Change::default();
            for (id, version) in &due {
                let entry = Entry::new(now, Actor::gateway(), "credential.shred", object(id))
                    .with("version", *version);
                change = self.keeping_tiers(change, id, &due)?;
                change = change
                    .entry(entry)
                    .vault(VaultWrite::Shred(id.clone(), *version));
            }
            self.ctx.commit(change).await?;
        }
        for id in self.ctx.store().read(|registry| registry.shredded(now))? {
            let write = VaultWrite::MoveCredential {
                credential: id,
                from: State::Retired,
                to: State::Destroyed,
                shred_at: None,
            };
            self.ctx.commit(Change::default().vault(write)).await?;
        }
        Ok(())
    }

    /// Adds that what an authority has made keeps its tier when the last value of the authority is destroyed that another one
    /// made: nothing says any more how critical that was.
    fn keeping_tiers(
        &self,
        change: Change,
        id: &CredentialId,
        due: &[(CredentialId, u32)],
    ) -> Result<Change, Failure> {
        let asked_by_it = self.asked_by(id)?;
        if asked_by_it.is_empty() {
            return Ok(change);
        }
        let versions = self.ctx.store().read(|registry| registry.versions(id))?;
        let is_made = |known: &&KnownVersion| {
            known.origin == Origin::Minted && known.state != VersionState::Destroyed
        };
        let goes = |known: &KnownVersion| due.contains(&(id.clone(), known.version));
        let mut made = versions.iter().filter(is_made).peekable();
        Ok(match made.peek().is_some() && made.all(goes) {
            false => change,
            true => asked_by_it.iter().fold(change, |change, (bridge, tier)| {
                keep_tier(change, bridge, *tier)
            }),
        })
    }
}
