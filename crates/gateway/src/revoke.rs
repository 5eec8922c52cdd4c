//! An operator takes a device back: the second of the two journeys.
//!
//! Durable first, then out of the access, then its sessions cut. Only if the disk does not take
//! it is the device cut all the same; that is said, and tried again until it is durable.

use std::time::Duration;

use hearthkey_api::Revoked;
use hearthkey_core::access::CertificateAccess;
use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::certificate::{Certificate, CertificateState, RevocationReason};
use hearthkey_core::claim::ClaimState;
use hearthkey_core::device::{Change as StateChange, DeviceState};
use hearthkey_core::id::{DeviceId, Fingerprint};
use hearthkey_core::time::Span;
use hearthkey_store::change::{Change, Effect, Write};
use hearthkey_store::journal::Revocation;
use hearthkey_store::registry::{ReadError, Registry};

use crate::clock::Stopwatch;
use crate::home::{Home, locked};
use crate::lifecycle::refused_for;
use crate::problem::Failure;

/// How long a revocation waits for the disk before the device is cut all the same.
const DISK_PATIENCE: Duration = Duration::from_secs(2);

/// A revocation that holds in memory but not yet on the disk.
#[derive(Clone)]
pub(crate) struct PendingRevocation {
    pub(crate) actor: Actor,
    pub(crate) revocation: Revocation,
    pub(crate) from: DeviceState,
    pub(crate) to: DeviceState,
    /// Whether the journal has it already.
    pub(crate) journaled: bool,
}

impl PendingRevocation {
    fn change(&self, environment: &hearthkey_core::id::EnvironmentName) -> Change {
        let Revocation {
            device,
            certificates,
            reason,
            at,
            ..
        } = &self.revocation;
        let action = match self.to {
            DeviceState::Retired => "device.retire",
            _ => "device.revoke",
        };
        let entry = Entry::new(*at, self.actor.clone(), action, format!("device:{device}"))
            .because(reason.as_str())
            .with("certificates_revoked", certificates.len());
        Change::record(entry)
            .write(Write::DeviceState {
                device: device.clone(),
                from: self.from,
                to: self.to,
            })
            .write(Write::RevokeCertificates(device.clone(), *reason, *at))
            .write(Write::CloseClaims(device.clone()))
            .write(Write::Effect(Effect::Crl(environment.clone())))
    }
}

impl Home {
    /// Revokes or retires a device: every certificate taken back, every session cut, every claim
    /// closed.
    pub(crate) async fn revoke(
        &self,
        actor: Actor,
        device: &DeviceId,
        reason: RevocationReason,
        change: StateChange,
    ) -> Result<Revoked, Failure> {
        let watch = Stopwatch::start();
        let _turn = self.turns.of(device).await;
        let known = self.known(device)?;
        let from = known.device.state;
        let to = change
            .decide(from)
            .map_err(|refusal| refused_for(device, &refusal))?;
        let certificates = self
            .store
            .read(|registry| registry.certificates_of(device, u32::MAX))?;
        let now = self.now();
        let unrevoked = |c: &&Certificate| c.state != CertificateState::Revoked;
        let revocation = Revocation {
            device: device.clone(),
            certificates: certificates
                .iter()
                .filter(unrevoked)
                .map(|c| c.fingerprint)
                .collect(),
            keys: match reason {
                RevocationReason::KeyCompromise => certificates.iter().map(|c| c.key).collect(),
                _ => Vec::new(),
            },
            reason,
            at: now,
        };
        let mut pending = PendingRevocation {
            actor,
            revocation,
            from,
            to,
            journaled: false,
        };
        let durable = self.make_durable(&mut pending).await;
        let all = certificates.iter().map(|c| c.fingerprint);
        self.take_out(&pending, all);
        let dropped = self.broker.drop_device(device);
        let latency_us = watch.elapsed_us();
        let certificates_revoked = pending.revocation.certificates.len();
        if !durable {
            locked(&self.pending_revocations).push(pending);
        }
        self.access_mut().forget_claims(device);
        self.owe_notice(device);
        let (broker, device_id) = (self.broker.clone(), device.clone());
        tokio::spawn(async move { broker.forget(&device_id).await });
        Ok(Revoked {
            device: device.to_string(),
            certificates_revoked,
            sessions_dropped: dropped.sessions,
            latency_us,
            durable,
        })
    }

    /// Whether a revocation got onto the disk: into the journal and into the registry.
    async fn make_durable(&self, pending: &mut PendingRevocation) -> bool {
        if !pending.journaled {
            match tokio::task::block_in_place(|| self.store.journal(&pending.revocation)) {
                Ok(()) => pending.journaled = true,
                Err(error) => tracing::error!(%error, "the journal could not be written"),
            }
        }
        self.make_durable_in_registry(pending).await && pending.journaled
    }

    async fn make_durable_in_registry(&self, pending: &PendingRevocation) -> bool {
        let environment = match self.known(&pending.revocation.device) {
            Ok(known) => known.device.environment,
            Err(_) => return false,
        };
        let commit = self.commit_with_effects(pending.change(&environment));
        match tokio::time::timeout(DISK_PATIENCE, commit).await {
            Ok(Ok(_)) => true,
            Ok(Err(error)) => {
                tracing::error!(%error, "a revocation is not durable yet");
                false
            }
            Err(_) => false,
        }
    }

    fn take_out(&self, pending: &PendingRevocation, all: impl Iterator<Item = Fingerprint>) {
        let mut access = self.access_mut();
        access.set_device_state(&pending.revocation.device, pending.to);
        for fingerprint in all {
            access.set_certificate_state(&fingerprint, CertificateState::Revoked);
        }
        for key in &pending.revocation.keys {
            access.refuse_key(*key);
        }
    }

    /// Tries again what could not be made durable. Called by the schedule. A revocation is counted
    /// as pending until it is durable, also while it is tried.
    pub(crate) async fn retry_revocations(&self) {
        let waiting = locked(&self.pending_revocations).len();
        for _ in 0..waiting {
            let Some(mut pending) = locked(&self.pending_revocations).first().cloned() else {
                return;
            };
            let turn = self.turns.of(&pending.revocation.device).await;
            let durable = self.make_durable(&mut pending).await;
            drop(turn);
            let mut list = locked(&self.pending_revocations);
            list.remove(0);
            if !durable {
                list.push(pending);
            }
        }
    }
}

/// Replaying the journal: what was written down outside the database holds, whatever the
/// database says.
impl Home {
    pub(crate) async fn replay_revocations(&self) {
        for revocation in &self.replay {
            self.replay_revocation(revocation).await;
        }
    }

    async fn replay_revocation(&self, revocation: &Revocation) {
        for key in &revocation.keys {
            self.access_mut().refuse_key(*key);
        }
        let Ok(found) = self.store.read(|registry| Found::of(registry, revocation)) else {
            return;
        };
        if !found.knows_all {
            tracing::warn!(device = %revocation.device, "the registry did not know of a revocation");
            self.keep_out(revocation);
        }
        let Some(from) = found.state.filter(|_| !found.holds && !found.began_anew) else {
            return;
        };
        let to = match revocation.reason {
            RevocationReason::CessationOfOperation => DeviceState::Retired,
            _ => DeviceState::Revoked,
        };
        let pending = PendingRevocation {
            actor: Actor::gateway(),
            revocation: revocation.clone(),
            from,
            to,
            journaled: true,
        };
        let device = &revocation.device;
        self.access_mut().set_device_state(device, to);
        if !self.make_durable_in_registry(&pending).await {
            tracing::error!(%device, "a replayed revocation holds in memory only");
        }
        self.access_mut().forget_claims(device);
    }

    /// Keeps certificates out that the registry may not even know.
    fn keep_out(&self, revocation: &Revocation) {
        let mut access = self.access_mut();
        for fingerprint in &revocation.certificates {
            let revoked = CertificateAccess {
                device: revocation.device.clone(),
                state: CertificateState::Revoked,
                not_after: revocation.at.after(LIFE_MAX),
            };
            access.set_certificate(*fingerprint, revoked);
        }
    }
}

/// What the registry makes of a revocation in the journal.
struct Found {
    /// Where the device stands, if it is known.
    state: Option<DeviceState>,
    /// Whether the registry has every certificate as revoked.
    knows_all: bool,
    /// Whether the revocation holds as far as the registry knows the device.
    holds: bool,
    /// Whether the device has had a claim or a certificate since: what was revoked is another life.
    began_anew: bool,
}

impl Found {
    fn of(registry: &Registry<'_>, revocation: &Revocation) -> Result<Self, ReadError> {
        let Revocation {
            device,
            certificates,
            at,
            ..
        } = revocation;
        let state = registry.device(device)?.map(|known| known.device.state);
        let each = certificates
            .iter()
            .map(|fingerprint| registry.certificate(device, fingerprint));
        let each = each.collect::<Result<Vec<_>, _>>()?;
        let revoked = |c: &Certificate| c.state == CertificateState::Revoked;
        let claims = registry.claims_of(device)?;
        let newest = registry.certificates_of(device, 1)?;
        let claimable = claims.iter().any(|c| c.state == ClaimState::Open);
        let ended = matches!(state, Some(DeviceState::Revoked | DeviceState::Retired));
        Ok(Self {
            state,
            knows_all: state.is_some() && each.iter().all(|c| c.as_ref().is_some_and(revoked)),
            holds: ended && !claimable && each.iter().flatten().all(revoked),
            began_anew: claims.iter().any(|c| c.opened_at > *at)
                || newest.iter().any(|c| c.issued_at > *at),
        })
    }
}

/// No certificate lives longer.
const LIFE_MAX: Span = Span::days(398);
