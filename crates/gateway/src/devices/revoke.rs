//! An operator takes a device back: the second of the two journeys.
//!
//! Out of the access first, then all of its sessions are cut (`Broker::drop_device`), then the journal and the registry are written
//! at the same time ([`crate::state::write_down`]); what is not written yet is pending in [`crate::state::endings`].

use crate::auth::permit::Permit;
use crate::state::Ctx;
use hearthkey_core::role::Act;
use std::sync::Arc;
use std::sync::{PoisonError, RwLock};

use hearthkey_core::access::{Access, CertificateAccess};
use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::certificate::{Certificate, CertificateState, RevocationReason};
use hearthkey_core::claim::ClaimState;
use hearthkey_core::device::{Change as StateChange, DeviceState};
use hearthkey_core::id::{DeviceId, EnvironmentName};
use hearthkey_core::time::Span;
use hearthkey_store::Store;
use hearthkey_store::change::{Change, Effect, Write};
use hearthkey_store::journal::Revocation;
use hearthkey_store::registry::{ReadError, Registry};

use crate::devices::Devices;
use crate::devices::refused::refused_for;
use crate::state::clock::Stopwatch;
use crate::state::endings::{Announced, End, Ending, all_in_time};
use crate::state::failure::Failure;

/// A device that is out, and whose end is being written down.
pub(crate) struct Out {
    pub(crate) device: DeviceId,
    pub(crate) state: DeviceState,
    pub(crate) certificates_revoked: usize,
    pub(crate) sessions_dropped: usize,
    pub(crate) latency_us: u64,
    pub(crate) ending: Ending,
}

/// A device that is out for good, and whose end is not handed over yet. It is pending as long as this lives.
pub(crate) struct TakenOut<'a> {
    device: DeviceId,
    environment: EnvironmentName,
    actor: Actor,
    to: DeviceState,
    announced: Announced<'a>,
    sessions_dropped: usize,
    latency_us: u64,
}

/// A device that is suspended, retired or revoked in memory.
pub(crate) struct DeviceCut {
    ctx: Arc<Ctx>,
    device: DeviceId,
    to: DeviceState,
    entry: Entry,
    /// For good: what is taken back with it, and where its CRL belongs.
    lasting: Option<(Revocation, EnvironmentName)>,
    /// Whether the journal has it already.
    journaled: bool,
}

impl DeviceCut {
    /// A suspension, with its record.
    pub(crate) fn suspension(ctx: &Arc<Ctx>, device: &DeviceId, entry: Entry) -> Self {
        Self {
            ctx: Arc::clone(ctx),
            device: device.clone(),
            to: DeviceState::Suspended,
            entry,
            lasting: None,
            journaled: true,
        }
    }

    fn lasting(
        ctx: &Arc<Ctx>,
        actor: Actor,
        to: DeviceState,
        (revocation, environment): (Revocation, EnvironmentName),
        certificates_revoked: usize,
    ) -> Self {
        let action = match to {
            DeviceState::Retired => "device.retire",
            _ => "device.revoke",
        };
        let device = revocation.device.clone();
        let entry = Entry::new(revocation.at, actor, action, format!("device:{device}"))
            .because(revocation.reason.as_str())
            .with("certificates_revoked", certificates_revoked);
        Self {
            ctx: Arc::clone(ctx),
            device,
            to,
            entry,
            lasting: Some((revocation, environment)),
            journaled: false,
        }
    }
}

impl End for DeviceCut {
    fn object(&self) -> String {
        format!("device:{}", self.device)
    }

    fn kind(&self) -> String {
        let reason = self.entry.reason.as_deref().unwrap_or_default();
        format!("{} {reason}", self.to.as_str())
    }

    fn revocation(&self) -> Option<&Revocation> {
        let revocation = self.lasting.as_ref().map(|(revocation, _)| revocation);
        revocation.filter(|_| !self.journaled)
    }

    fn is_journaled(&self) -> bool {
        self.lasting.is_some() && self.journaled
    }

    fn lasts(&self) -> bool {
        self.is_journaled()
    }

    fn change(&self) -> Change {
        let change = Change::record(self.entry.clone()).write(Write::CutOff {
            device: self.device.clone(),
            to: self.to,
        });
        let Some((Revocation { reason, at, .. }, environment)) = &self.lasting else {
            return change;
        };
        change
            .write(Write::RevokeCertificates(self.device.clone(), *reason, *at))
            .write(Write::CloseClaims(self.device.clone()))
            .write(Write::Effect(Effect::Crl(environment.clone())))
    }

    fn holds(&self, registry: &Registry<'_>) -> Result<bool, ReadError> {
        let state = registry
            .device(&self.device)?
            .map(|known| known.device.state);
        let certificates = registry.certificates_of(&self.device, u32::MAX)?;
        let revoked = |c: &Certificate| c.state == CertificateState::Revoked;
        Ok(match state {
            // What the registry does not know needs no end in it.
            None => true,
            Some(state) if state.is_over() => certificates.iter().all(revoked),
            Some(state) => state == self.to,
        })
    }

    fn written(&self) {
        let Some((revocation, _)) = &self.lasting else {
            return;
        };
        let certificates = self
            .ctx
            .store()
            .read(|registry| registry.certificates_of(&self.device, u32::MAX));
        let certificates = match certificates {
            Ok(all) => all,
            Err(error) => {
                tracing::error!(%error, "the certificates of a revoked device could not be read");
                return;
            }
        };
        let compromised = revocation.reason == RevocationReason::KeyCompromise;
        // One that was being issued when the device was cut off is not among those that the journal has got.
        let mut late = Revocation {
            certificates: Vec::new(),
            keys: Vec::new(),
            ..revocation.clone()
        };
        {
            let mut access = self.ctx.access_mut();
            let revoked = |c: &Certificate| c.state == CertificateState::Revoked;
            for certificate in certificates.into_iter().filter(revoked) {
                let is_late = !revocation.certificates.contains(&certificate.fingerprint);
                if is_late {
                    late.certificates.push(certificate.fingerprint);
                }
                if compromised {
                    access.refuse_key(certificate.key);
                    late.keys.extend(is_late.then_some(certificate.key));
                }
            }
        }
        if !late.certificates.is_empty() {
            self.ctx.endings().begin(Unjournaled(late));
        }
    }
}

impl Devices {
    /// Revokes or retires a device: every session cut, every certificate taken back, every claim closed. No lock is taken
    /// and nothing is waited for.
    pub(crate) fn revoke(
        &self,
        permit: &Permit,
        device: &DeviceId,
        (reason, change): (RevocationReason, StateChange),
        arrived: Stopwatch,
    ) -> Result<Out, Failure> {
        let taken = self.take_out(permit, device, change, arrived)?;
        Ok(self.hand_over(taken, reason))
    }

    /// The first half of it, which reads nothing: the device is out, and its sessions are cut.
    pub(crate) fn take_out(
        &self,
        permit: &Permit,
        device: &DeviceId,
        change: StateChange,
        arrived: Stopwatch,
    ) -> Result<TakenOut<'_>, Failure> {
        let environment = self.environment_of(device)?;
        let actor = self.author(permit, Act::DeviceChange, device)?;
        let to = change
            .decide(self.standing(device)?)
            .map_err(|refusal| refused_for(device, &refusal))?;
        let announced = {
            let mut access = self.ctx.access_mut();
            access.cut_off(device, to);
            self.ctx.endings().announce(format!("device:{device}"))
        };
        let dropped = self.ctx.broker().drop_device(device);
        Ok(TakenOut {
            device: device.clone(),
            environment,
            actor,
            to,
            announced,
            sessions_dropped: dropped.sessions,
            latency_us: arrived.elapsed_us(),
        })
    }

    /// The second half: its certificates are taken back, and all of it is handed over to be written down.
    pub(crate) fn hand_over(&self, taken: TakenOut<'_>, reason: RevocationReason) -> Out {
        let TakenOut {
            device,
            environment,
            actor,
            to,
            announced,
            sessions_dropped,
            latency_us,
        } = taken;
        let (revocation, certificates_revoked) = self.take_back_certificates(&device, reason);
        let cut = DeviceCut::lasting(
            &self.ctx,
            actor,
            to,
            (revocation, environment),
            certificates_revoked,
        );
        let ending = self.ctx.endings().begin(cut);
        drop(announced);
        self.leaves_nothing(&device);
        Out {
            device,
            state: to,
            certificates_revoked,
            sessions_dropped,
            latency_us,
            ending,
        }
    }

    /// What the broker keeps for a device that is gone, or would say for it, is forgotten.
    fn leaves_nothing(&self, device: &DeviceId) {
        self.trust.owe_notice(device);
        let (broker, device) = (self.ctx.broker().clone(), device.clone());
        tokio::spawn(async move { broker.forget(&device).await });
    }

    /// Takes the certificates of a device back in memory, and its keys where somebody else may hold them. If the registry
    /// cannot be read, its state alone keeps the device out. Returns all of them for the journal, which may have lost some,
    /// and how many were not taken back before.
    fn take_back_certificates(
        &self,
        device: &DeviceId,
        reason: RevocationReason,
    ) -> (Revocation, usize) {
        let certificates = self
            .ctx
            .store()
            .read(|registry| registry.certificates_of(device, u32::MAX));
        let certificates = certificates.unwrap_or_else(|error| {
            tracing::error!(%error, %device, "the certificates of a revoked device could not be read");
            Vec::new()
        });
        let mut revocation = Revocation {
            device: device.clone(),
            certificates: Vec::new(),
            keys: Vec::new(),
            reason,
            at: self.ctx.now(),
        };
        let mut taken_back = 0;
        let mut access = self.ctx.access_mut();
        for certificate in certificates {
            revocation.certificates.push(certificate.fingerprint);
            if certificate.state != CertificateState::Revoked {
                taken_back += 1;
            }
            if reason == RevocationReason::KeyCompromise {
                access.refuse_key(certificate.key);
                revocation.keys.push(certificate.key);
            }
            let fingerprint = &certificate.fingerprint;
            access.set_certificate_state(fingerprint, CertificateState::Revoked);
        }
        (revocation, taken_back)
    }
}

/// A revocation of the journal that the registry does not have, and that holds in memory now.
pub(crate) struct Replayed {
    revocation: Revocation,
    environment: EnvironmentName,
    to: DeviceState,
}

/// Applies the journal to who may come in: what was written down outside the database holds, whatever the database says, and
/// before anybody is let in. Returns the ends that the registry does not have.
pub(crate) fn replayed(
    store: &Store,
    access: &RwLock<Access>,
    journal: &[Revocation],
) -> Vec<Replayed> {
    let each = journal.iter();
    each.filter_map(|revocation| replay(store, access, revocation))
        .collect()
}

fn replay(store: &Store, access: &RwLock<Access>, revocation: &Revocation) -> Option<Replayed> {
    let changing = || access.write().unwrap_or_else(PoisonError::into_inner);
    for key in &revocation.keys {
        changing().refuse_key(*key);
    }
    let found = match store.read(|registry| Found::of(registry, revocation)) {
        Ok(found) => found,
        Err(error) => {
            tracing::error!(%error, device = %revocation.device, "a revocation cannot be compared with the registry");
            keep_out(&mut changing(), revocation);
            return None;
        }
    };
    if !found.knows_all {
        tracing::warn!(device = %revocation.device, "the registry did not know of a revocation");
        keep_out(&mut changing(), revocation);
    }
    let environment = found
        .environment
        .filter(|_| !found.holds && !found.began_anew)?;
    let to = match revocation.reason {
        RevocationReason::CessationOfOperation => DeviceState::Retired,
        _ => DeviceState::Revoked,
    };
    changing().cut_off(&revocation.device, to);
    Some(Replayed {
        revocation: revocation.clone(),
        environment,
        to,
    })
}

/// Keeps certificates out that the registry may not even know.
fn keep_out(access: &mut Access, revocation: &Revocation) {
    for fingerprint in &revocation.certificates {
        let revoked = CertificateAccess {
            device: revocation.device.clone(),
            state: CertificateState::Revoked,
            not_after: revocation.at.after(LIFE_MAX),
            renews_only: false,
        };
        access.set_certificate(*fingerprint, revoked);
    }
}

/// A revocation that the registry has and the journal does not, because one of the two was lost.
struct Unjournaled(Revocation);

impl End for Unjournaled {
    fn object(&self) -> String {
        format!("device:{}", self.0.device)
    }

    fn kind(&self) -> String {
        format!("journal {}", self.0.at)
    }

    fn revocation(&self) -> Option<&Revocation> {
        Some(&self.0)
    }

    fn lasts(&self) -> bool {
        true
    }

    fn change(&self) -> Change {
        Change::default()
    }

    fn holds(&self, _: &Registry<'_>) -> Result<bool, ReadError> {
        Ok(true)
    }
}

impl Devices {
    /// Hands over what the journal lacked when the home opened.
    pub(crate) fn write_into_journal_again(&self, lines: Vec<Revocation>) {
        for line in lines {
            self.ctx.endings().begin(Unjournaled(line));
        }
    }

    /// Replays what the journal held at start.
    pub(crate) async fn replay_revocations(&self) {
        let left = replayed(self.ctx.store(), self.ctx.shared_access(), &self.replay);
        self.write_down_replayed(left).await;
    }

    /// Hands over what was replayed in memory, and waits for the disk as long as one answer waits.
    pub(crate) async fn write_down_replayed(&self, replayed: Vec<Replayed>) {
        for one in &replayed {
            self.leaves_nothing(&one.revocation.device);
        }
        let begun = replayed.into_iter().map(|one| {
            let count = one.revocation.certificates.len();
            let whole = (one.revocation, one.environment);
            let mut cut = DeviceCut::lasting(&self.ctx, Actor::gateway(), one.to, whole, count);
            cut.journaled = true;
            self.ctx.endings().begin(cut)
        });
        let mut endings: Vec<Ending> = begun.collect();
        all_in_time(endings.iter_mut()).await;
        if !endings.iter().all(Ending::is_durable) {
            tracing::error!("replayed revocations hold in memory only until the disk takes them");
        }
    }
}

/// What the registry makes of a revocation in the journal.
struct Found {
    /// The device's environment, if it is known.
    environment: Option<EnvironmentName>,
    /// Whether the registry has every certificate as revoked.
    knows_all: bool,
    /// Whether the revocation holds as far as the registry has the device.
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
        let known = registry.device(device)?.map(|known| known.device);
        let state = known.as_ref().map(|device| device.state);
        let each = certificates
            .iter()
            .map(|fingerprint| registry.certificate(device, fingerprint));
        let each = each.collect::<Result<Vec<_>, _>>()?;
        let revoked = |c: &Certificate| c.state == CertificateState::Revoked;
        let claims = registry.claims_of(device)?;
        let newest = registry.certificates_of(device, 1)?;
        let claimable = claims.iter().any(|c| c.state == ClaimState::Open);
        let ended = state.is_some_and(DeviceState::is_over);
        Ok(Self {
            environment: known.map(|device| device.environment),
            knows_all: state.is_some() && each.iter().all(|c| c.as_ref().is_some_and(revoked)),
            holds: ended && !claimable && each.iter().flatten().all(revoked),
            began_anew: claims.iter().any(|c| c.opened_at > *at)
                || newest.iter().any(|c| c.issued_at > *at),
        })
    }
}

/// No certificate lives longer.
const LIFE_MAX: Span = Span::days(398);

#[cfg(test)]
mod tests;
