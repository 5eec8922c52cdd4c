//! An operator opens a claim, or approves the key that came with one. It closes when they may open it no more.

use crate::auth::permit::Permit;
use hearthkey_api::{ClaimOpened, ClaimRequest as Asked};
use hearthkey_core::access::DeviceAccess;
use hearthkey_core::audit::Entry;
use hearthkey_core::claim::{Claim, ClaimRequest, ClaimSecret, ClaimState, HomeTrees, open};
use hearthkey_core::device::Device;
use hearthkey_core::id::{ClaimId, DeviceId, Fingerprint};
use hearthkey_core::person::HERE;
use hearthkey_core::role::{Act, Mandate};
use hearthkey_core::time::Timestamp;
use hearthkey_store::CommitError;
use hearthkey_store::change::{Change, Write};
use hearthkey_store::keys::random;
use hearthkey_store::registry::{ReadError, Registry};

use crate::auth::caller::Caller;
use crate::devices::Devices;
use crate::devices::lifecycle::still_ending;
use crate::state::endings::{End, Ending};
use crate::state::failure::Failure;

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Failure> {
    text.parse().map_err(|error| Failure::invalid(&error))
}

fn read(asked: &Asked) -> Result<ClaimRequest, Failure> {
    Ok(ClaimRequest {
        device: parse(&asked.device)?,
        environment: parse(&asked.environment)?,
        profile: parse(&asked.profile)?,
        owner: asked.owner.clone(),
        purpose: asked.purpose.clone(),
        lifetime: parse(&asked.lifetime)?,
    })
}

/// A claim that is closed in memory.
struct ClaimEnd {
    claim: ClaimId,
    entry: Entry,
}

impl End for ClaimEnd {
    fn object(&self) -> String {
        self.entry.object.clone()
    }

    fn kind(&self) -> String {
        "close".into()
    }

    fn change(&self) -> Change {
        Change::record(self.entry.clone()).write(Write::CloseClaim(self.claim.clone()))
    }

    fn holds(&self, registry: &Registry<'_>) -> Result<bool, ReadError> {
        let claim = registry.claim(&self.claim)?;
        Ok(claim.is_none_or(|claim| claim.state != ClaimState::Open))
    }
}

impl Devices {
    /// Closes the open claims of a person or a token who may open them no more: in memory at once, and written down then. All
    /// of theirs if they may do nothing any more.
    pub(crate) fn close_claims_of(
        &self,
        permit: &Permit,
        opener: &str,
        mandate: Option<&Mandate>,
    ) -> Vec<Ending> {
        let may_open = |device: &DeviceAccess| {
            mandate.is_some_and(|left| left.permits(Act::DeviceClaim, &device.environment))
        };
        self.close_claims(permit, |claim, device| {
            claim.may_be_of(opener) && !device.is_some_and(may_open)
        })
    }

    /// Closes open claims: in memory at once, and written down then.
    fn close_claims(
        &self,
        permit: &Permit,
        which: impl Fn(&Claim, Option<&DeviceAccess>) -> bool,
    ) -> Vec<Ending> {
        let closed = self.ctx.access_mut().close_claims(which);
        let begun = closed.into_iter().map(|claim| {
            let object = format!("claim:{claim}");
            let entry = Entry::new(
                self.ctx.now(),
                permit.actor().clone(),
                "claim.close",
                object,
            );
            self.ctx.endings().begin(ClaimEnd { claim, entry })
        });
        begun.collect()
    }

    /// Opens a claim. Its secret is in the answer and nowhere else.
    pub(crate) async fn open_claim(
        &self,
        caller: &Caller,
        asked: &Asked,
    ) -> Result<ClaimOpened, Failure> {
        let opened = self.write_claim(caller, asked).await?;
        self.auth.is_still_in(caller).inspect_err(|_| {
            // Who opens it was sent away while the disk was waited for: their claims were closed before this one was there.
            let permit = Permit::of_gateway(Act::DeviceClaim);
            drop(self.close_claims(&permit, |claim, _| claim.id.as_str() == opened.claim));
        })?;
        Ok(opened)
    }

    async fn write_claim(&self, caller: &Caller, asked: &Asked) -> Result<ClaimOpened, Failure> {
        let request = read(asked)?;
        caller.permit(Act::DeviceClaim, &request.environment)?;
        let _turn = self.ctx.turns().of(&request.device).await;
        let _trees = self.trees.read().await;
        let object = format!("device:{}", request.device);
        // In this order: see `resume` in `lifecycle.rs`.
        let seen = self.ctx.access().cuts(&request.device);
        let newest = self.ctx.newest_about(&object)?;
        if !self.ctx.endings().settled(&object).await {
            return Err(still_ending(&object));
        }
        let existing = self
            .ctx
            .store()
            .read(|registry| registry.device(&request.device))?;
        let existing = existing.map(|known| known.device);
        let elsewhere = |device: &&Device| {
            caller
                .permit(Act::DeviceClaim, &device.environment)
                .is_err()
        };
        if existing.as_ref().filter(elsewhere).is_some() {
            let why = format!("the name {} is taken", request.device);
            return Err(Failure::refused(&why, "Choose another name.").titled("The name is taken."));
        }
        let is_narrowed = self
            .ctx
            .access()
            .device(&request.device)
            .is_some_and(|known| known.narrowing.is_some());
        if is_narrowed {
            // A new claim gives it all that its profile grants.
            caller.permit(Act::DeviceApprove, &request.environment)?;
        }
        let (environments, profiles) = (self.environment_names(), self.ctx.all_profiles());
        let trees = HomeTrees {
            environments: &environments,
            profiles: &profiles,
        };
        let profile = self.ctx.profile(&request.profile);
        let now = self.ctx.now();
        let device = open(&request, existing.as_ref(), trees, profile.as_deref(), now)?;
        let has_moved = existing.is_some_and(|its| its.environment != device.environment);

        let secret = ClaimSecret::from_random(*random::<16>());
        let id = ClaimId::from_random(*random::<8>());
        let (secret_hash, lifetime) = (secret.hash(), request.lifetime);
        let claim = Claim {
            opened_by: Some(caller.id().unwrap_or_else(|| HERE.to_owned())),
            ..Claim::opened(id, device.id.clone(), secret_hash, now, lifetime)
        };
        let entry = Entry::new(
            now,
            caller.actor(),
            "claim.open",
            format!("claim:{}", claim.id),
        )
        .with("device", device.id.as_str())
        .with("environment", device.environment.as_str())
        .with("profile", device.profile.as_str())
        .with("owner", device.owner.as_str())
        .with("purpose", device.purpose.as_str())
        .with("expires_at", claim.expires_at.to_string());
        let change = Change::record(entry)
            .write(Write::Device(device.clone()))
            .write(Write::OpenClaim(claim.clone()))
            // What cuts the device off meanwhile comes after this in the registry, or ends it.
            .expecting(object, newest);
        match self.ctx.commit(change).await {
            Ok(_) => {}
            Err(CommitError::Changed) => return Err(CommitError::Conflict.into()),
            Err(error @ CommitError::Unknown(_)) if !self.is_open(&claim.id) => {
                return Err(error.into());
            }
            Err(CommitError::Unknown(_)) => {}
            Err(error) => return Err(error.into()),
        }
        // Read again: it may have been replaced while the claim was being committed.
        let profile = self.ctx.profile(&device.profile).or(profile);
        let profile = profile.ok_or_else(|| Failure::not_found("profile", &request.profile))?;
        let known = DeviceAccess::new(device.state, device.environment, &profile);
        if !self.ctx.access_mut().readmit(known, claim.clone(), seen) {
            return Err(CommitError::Conflict.into());
        }
        if has_moved {
            // What it said in the other environment is not said here.
            let others = |its: &DeviceId, _: &str| *its != claim.device;
            self.ctx.broker().forget_unfounded(others).await;
        }
        Ok(self.claim_opened(asked, &claim, &secret))
    }

    /// Whether the registry has a claim as open.
    fn is_open(&self, claim: &ClaimId) -> bool {
        let found = self.ctx.store().read(|registry| registry.claim(claim));
        matches!(found, Ok(Some(claim)) if claim.state == ClaimState::Open)
    }

    fn claim_opened(&self, asked: &Asked, claim: &Claim, secret: &ClaimSecret) -> ClaimOpened {
        let host = self.ctx.hosts().first().cloned().unwrap_or_default();
        let port = self.ctx.broker().local_addr().port();
        let root_key = self.ctx.root().spki_sha256.to_string();
        let secret = secret.reveal();
        let (id, device) = (&claim.id, &claim.device);
        let bracketed = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.clone()
        };
        let uri = format!(
            "hearthkey://claim?host={bracketed}&port={port}&claim={id}&secret={}&device={device}&root={root_key}",
            secret.as_str()
        );
        ClaimOpened {
            claim: id.to_string(),
            secret: secret.to_string(),
            device: device.to_string(),
            environment: asked.environment.clone(),
            profile: asked.profile.clone(),
            host,
            port,
            root_sha256: self.ctx.root().fingerprint().to_string(),
            root_key_sha256: root_key,
            expires_at: claim.expires_at.to_string(),
            uri,
        }
    }

    /// Approves the key that a device has presented with its open claim, and answers the device
    /// if it is still there.
    pub(crate) async fn approve(
        &self,
        permit: &Permit,
        device: &DeviceId,
        key: Fingerprint,
    ) -> Result<(), Failure> {
        let actor = self.author(permit, Act::DeviceApprove, device)?;
        let turn = self.ctx.turns().of(device).await;
        let claims = self
            .ctx
            .store()
            .read(|registry| registry.claims_of(device))?;
        let now = self.ctx.now();
        let waits = |claim: &&Claim| is_waiting(claim, key, now);
        let Some(claim) = claims.iter().find(waits) else {
            if claims.iter().any(|claim| claim.approved_key == Some(key)) {
                return Err(Failure::refused(
                    &format!("the key {key} of {device} is approved already"),
                    "The device gets its certificate when it asks with that key while its claim is open. If it has one, nothing needs to be done.",
                )
                .titled("The key is approved already."));
            }
            let why = format!("no open claim of {device} waits with the key {key}");
            return Err(Failure::refused(
                &why,
                &format!(
                    "Compare the SHA-256 that the device shows with the one that the gateway shows. On the command line: \
                     `hearthkey device show {device}`."
                ),
            ));
        };
        let entry = Entry::new(now, actor, "device.approve", format!("device:{device}"))
            .with("claim", claim.id.as_str())
            .with("key_sha256", key.to_string());
        let write = Write::ApproveKey(claim.id.clone(), key);
        self.ctx.commit(Change::record(entry).write(write)).await?;
        self.ctx
            .access_mut()
            .amend_claim(&claim.id, |claim| claim.approved_key = Some(key));
        drop(turn);
        self.answer_waiting(&claim.id).await;
        Ok(())
    }
}

fn is_waiting(claim: &Claim, key: Fingerprint, now: Timestamp) -> bool {
    claim.state == ClaimState::Open && now < claim.expires_at && claim.presented_key == Some(key)
}
