//! Who may come in: the live facts that the TLS verifier and the broker enforce.
//!
//! [`Access`] is small enough to stay in memory. What gives access is changed here after it is
//! durable; what ends access is changed here first, and written down then. It holds the
//! certificates that could still connect and those that must get the reason why they cannot, and
//! the claims that are still of use. What enrollment decides on is here: no decision about a
//! client waits for the disk.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use crate::certificate::CertificateState;
use crate::claim::{Claim, ClaimState};
use crate::device::DeviceState;
use crate::id::{ClaimId, DeviceId, EnvironmentName, Fingerprint};
use crate::profile::{Availability, Profile, Rights};
use crate::right::Narrowing;
use crate::room::Room;
use crate::time::{Span, Timestamp};

mod epoch;
mod strangers;

pub use epoch::Epoch;
pub use strangers::{Blind, Came, STRANGERS_MAX, Stranger, Strangers};

/// What is known of a device at the listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceAccess {
    /// Its state.
    pub state: DeviceState,
    /// The environment it belongs to.
    pub environment: EnvironmentName,
    /// The kind of device it is.
    pub profile: Arc<Profile>,
    /// What is kept of the profile's rights; everything if none.
    pub narrowing: Option<Arc<Narrowing>>,
    /// Made of the profile when the device first comes, and kept.
    rights: OnceLock<Arc<Rights>>,
    cuts: Cuts,
}

/// How often a device has been cut off. A decision that gives access names the cuts that it saw, so that it never undoes
/// one that came between the decision and its commit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cuts {
    /// Suspensions, retirements and revocations.
    all: u32,
    /// Retirements and revocations alone.
    lasting: u32,
    /// Changes of what its rights are narrowed to.
    narrowings: u32,
}

impl Cuts {
    /// Whether the device has been cut off since `seen`.
    pub fn is_cut_since(self, seen: Self) -> bool {
        (self.all, self.lasting) != (seen.all, seen.lasting)
    }

    /// Whether what its rights are narrowed to has changed since `seen`.
    pub fn is_narrowed_since(self, seen: Self) -> bool {
        self.narrowings != seen.narrowings
    }
}

impl DeviceAccess {
    /// What is known of a device under its profile.
    pub fn new(state: DeviceState, environment: EnvironmentName, profile: &Arc<Profile>) -> Self {
        Self {
            state,
            environment,
            profile: Arc::clone(profile),
            narrowing: None,
            rights: OnceLock::new(),
            cuts: Cuts::default(),
        }
    }

    /// The same, narrowed.
    pub fn narrowed(self, narrowing: Option<Arc<Narrowing>>) -> Self {
        Self {
            narrowing,
            rights: OnceLock::new(),
            ..self
        }
    }

    /// What the device may publish and subscribe.
    pub fn rights(&self, id: &DeviceId) -> Arc<Rights> {
        let make = || {
            let granted = self.profile.rights(id, &self.environment);
            match &self.narrowing {
                Some(narrowing) => granted.narrowed(narrowing).into(),
                None => granted.into(),
            }
        };
        Arc::clone(self.rights.get_or_init(make))
    }

    /// Where the gateway says that this device is gone, and in which words: only where the profile still lets the
    /// device publish there.
    pub fn availability(&self, id: &DeviceId) -> Option<Availability> {
        let availability = self.profile.availability_of(id, &self.environment)?;
        self.rights(id)
            .publish_place(&availability.topic)
            .map(|_| availability)
    }
}

/// How long after its expiry a certificate is known at the listener: at least the longest grace. Until
/// then its device learns that it has expired or was revoked, and not that it is unknown.
pub const REMEMBERED: Span = Span::days(365);

/// What is known of a certificate at the listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateAccess {
    /// The device it names.
    pub device: DeviceId,
    /// Its state.
    pub state: CertificateState,
    /// The last moment it is valid.
    pub not_after: Timestamp,
    /// Whether it may do no more than renew: a person has let its device in again after a restore, for a new key.
    pub renews_only: bool,
}

/// What an admitted session may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// All that the profile says.
    Full,
    /// Renew, and nothing else: the certificate has expired and is within grace, or the connection asked for no more.
    RenewalOnly,
}

/// The client id under which a device with any good certificate only renews, beside a session of its own.
pub const RENEWAL_CLIENT_ID: &str = "hearthkey-renew";

/// A certificate that was let in, and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// The device.
    pub device: DeviceId,
    /// Its environment.
    pub environment: EnvironmentName,
    /// How far it was let in.
    pub admission: Admission,
    /// What it may publish and subscribe.
    pub rights: Arc<Rights>,
    /// Sessions at a time.
    pub sessions_max: u16,
    /// The bounds of its profile.
    pub room: Room,
}

impl Admitted {
    /// The same device on a connection that may renew and do nothing else.
    pub fn renewing_only(self) -> Self {
        let rights = Arc::new(Rights::renewal_only(&self.device));
        Self {
            admission: Admission::RenewalOnly,
            rights,
            ..self
        }
    }
}

/// Why a certificate was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum DoorRefusal {
    /// No such certificate was issued here, or it is long gone.
    #[error("the certificate is not known to this home")]
    UnknownCertificate,
    /// It, or its device, has been revoked or retired.
    #[error("the certificate has been revoked")]
    Revoked,
    /// A successor has taken its place.
    #[error("the certificate has been superseded by a newer one")]
    Superseded,
    /// The device is suspended.
    #[error("the device is suspended")]
    Suspended,
    /// This home has issued it, and lost that in a restore.
    #[error(
        "the certificate is from after the backup that this home was restored from: its device waits until a person confirms it"
    )]
    Waiting,
    /// Expired, and its grace has run out or never applied.
    #[error("the certificate has expired")]
    Expired,
}

/// The live facts.
#[derive(Debug, Default)]
pub struct Access {
    devices: HashMap<DeviceId, DeviceAccess>,
    certificates: HashMap<Fingerprint, CertificateAccess>,
    claims: HashMap<ClaimId, Claim>,
    compromised_keys: HashSet<Fingerprint>,
    strangers: Strangers,
    epoch: Epoch,
}

impl Access {
    /// Certificates that wait for a person.
    pub fn strangers(&self) -> &Strangers {
        &self.strangers
    }

    /// The count of changes, to be compared without a lock.
    pub fn epoch(&self) -> Epoch {
        self.epoch.clone()
    }

    /// Whether a certificate may come in now, as whom, and how far.
    pub fn admit(
        &self,
        certificate: &Fingerprint,
        now: Timestamp,
    ) -> Result<Admitted, DoorRefusal> {
        let Some(known) = self.certificates.get(certificate) else {
            return Err(match self.strangers.waits(certificate) {
                true => DoorRefusal::Waiting,
                false => DoorRefusal::UnknownCertificate,
            });
        };
        if known.state == CertificateState::Revoked {
            // Also if the registry has forgotten the device: the journal has not.
            return Err(DoorRefusal::Revoked);
        }
        let device = self
            .devices
            .get(&known.device)
            .ok_or(DoorRefusal::UnknownCertificate)?;
        match (device.state, known.state) {
            (DeviceState::Revoked | DeviceState::Retired, _) | (_, CertificateState::Revoked) => {
                return Err(DoorRefusal::Revoked);
            }
            (_, CertificateState::Superseded) => return Err(DoorRefusal::Superseded),
            (DeviceState::Suspended | DeviceState::Pending, _) => {
                return Err(DoorRefusal::Suspended);
            }
            (DeviceState::Active, CertificateState::Issued | CertificateState::Active) => {}
        }
        let is_in_life = now <= known.not_after;
        let (admission, rights) = if is_in_life && !known.renews_only {
            (Admission::Full, device.rights(&known.device))
        } else if now <= known.not_after.after(device.profile.grace()) {
            // A successor ends this when it is seen, not before: its answer may have been lost.
            (
                Admission::RenewalOnly,
                Arc::new(Rights::renewal_only(&known.device)),
            )
        } else {
            return Err(DoorRefusal::Expired);
        };
        Ok(Admitted {
            device: known.device.clone(),
            environment: device.environment.clone(),
            admission,
            rights,
            sessions_max: device.profile.sessions_max,
            room: device.profile.room,
        })
    }

    /// Whether somebody without a certificate is expected: the claim window.
    pub fn bell(&self, now: Timestamp) -> bool {
        self.claims.values().any(|claim| now < claim.bell_until())
    }

    /// Sets what is known of a device. How often it was cut off is kept.
    pub fn set_device(&mut self, id: DeviceId, mut access: DeviceAccess) {
        self.epoch.moved();
        access.cuts = self.cuts(&id);
        self.devices.insert(id, access);
    }

    /// How often a device has been cut off.
    pub fn cuts(&self, id: &DeviceId) -> Cuts {
        self.devices
            .get(id)
            .map(|device| device.cuts)
            .unwrap_or_default()
    }

    /// Cuts a known device off: suspends, retires or revokes it. With a lasting cut, its open claims are forgotten.
    pub fn cut_off(&mut self, id: &DeviceId, to: DeviceState) {
        self.epoch.moved();
        let Some(device) = self.devices.get_mut(id) else {
            return;
        };
        // Who is out for good is not only kept out for now.
        if to.is_over() || !device.state.is_over() {
            device.state = to;
        }
        device.cuts.all = device.cuts.all.wrapping_add(1);
        if to.is_over() {
            device.cuts.lasting = device.cuts.lasting.wrapping_add(1);
            self.forget_claims(id);
            self.strangers.forget_all_of(id);
        }
    }

    /// Makes a known device active by a decision that saw these cuts. Returns false, and changes nothing, if it has been
    /// cut off since.
    pub fn activate(&mut self, id: &DeviceId, seen: Cuts) -> bool {
        self.epoch.moved();
        match self.devices.get_mut(id) {
            Some(device) if !device.cuts.is_cut_since(seen) => {
                device.state = DeviceState::Active;
                true
            }
            _ => false,
        }
    }

    /// Expects a client with a new claim for a device, by a decision that saw these cuts. Returns false, and changes nothing,
    /// if the device has been cut off since. What has been taken of its rights since stays taken.
    pub fn readmit(&mut self, access: DeviceAccess, claim: Claim, seen: Cuts) -> bool {
        let now = self.cuts(&claim.device);
        if now.is_cut_since(seen) {
            return false;
        }
        let in_force = self.device(&claim.device);
        let in_force = in_force.and_then(|known| known.narrowing.clone());
        let narrowing = in_force.filter(|_| now.is_narrowed_since(seen));
        self.set_device(claim.device.clone(), access.narrowed(narrowing));
        self.expect(claim);
        true
    }

    /// Lets in a certificate that was issued by a decision that saw these cuts. If its device has been retired or revoked
    /// since, the certificate is known as revoked.
    pub fn let_in(&mut self, fingerprint: Fingerprint, mut access: CertificateAccess, seen: Cuts) {
        let device = self.devices.get(&access.device);
        let holds = device
            .is_some_and(|device| device.cuts.lasting == seen.lasting && !device.state.is_over());
        if !holds {
            access.state = CertificateState::Revoked;
        }
        self.set_certificate(fingerprint, access);
    }

    /// Replaces a profile: every device under it gets its rights.
    pub fn set_profile(&mut self, profile: &Arc<Profile>) {
        self.epoch.moved();
        let under = |known: &&mut DeviceAccess| known.profile.name == profile.name;
        for known in self.devices.values_mut().filter(under) {
            let (narrowing, cuts) = (known.narrowing.take(), known.cuts);
            *known = DeviceAccess::new(known.state, known.environment.clone(), profile)
                .narrowed(narrowing);
            known.cuts = cuts;
        }
    }

    /// Narrows a device's rights, or gives it all that its profile grants.
    pub fn narrow(&mut self, id: &DeviceId, narrowing: Option<Arc<Narrowing>>) {
        self.epoch.moved();
        if let Some(device) = self.devices.get_mut(id) {
            device.narrowing = narrowing;
            device.rights = OnceLock::new();
            device.cuts.narrowings = device.cuts.narrowings.wrapping_add(1);
        }
    }

    /// Sets the state of a known device.
    pub fn set_device_state(&mut self, id: &DeviceId, state: DeviceState) {
        self.epoch.moved();
        if let Some(device) = self.devices.get_mut(id) {
            device.state = state;
        }
    }

    /// Sets what is known of a certificate. One that is revoked stays revoked.
    pub fn set_certificate(&mut self, fingerprint: Fingerprint, mut access: CertificateAccess) {
        self.epoch.moved();
        if self.is_revoked(&fingerprint) {
            access.state = CertificateState::Revoked;
        }
        self.certificates.insert(fingerprint, access);
    }

    /// Sets the state of a known certificate. One that is revoked stays revoked.
    pub fn set_certificate_state(&mut self, fingerprint: &Fingerprint, state: CertificateState) {
        self.epoch.moved();
        let known = self.certificates.get_mut(fingerprint);
        if let Some(certificate) = known.filter(|c| c.state != CertificateState::Revoked) {
            certificate.state = state;
        }
    }

    /// Leaves a known certificate nothing but to renew.
    pub fn renews_only(&mut self, fingerprint: &Fingerprint) {
        self.epoch.moved();
        if let Some(certificate) = self.certificates.get_mut(fingerprint) {
            certificate.renews_only = true;
        }
    }

    fn is_revoked(&self, fingerprint: &Fingerprint) -> bool {
        self.certificates
            .get(fingerprint)
            .is_some_and(|known| known.state == CertificateState::Revoked)
    }

    /// Expects a client with this claim, for as long as its claim window is open. Wrong secrets that were counted stay so, and a
    /// claim that was closed or locked, whether or not the registry has it yet.
    pub fn expect(&mut self, mut claim: Claim) {
        if let Some(known) = self.claims.get(&claim.id) {
            claim.wrong_tries = claim.wrong_tries.max(known.wrong_tries);
            let is_over = matches!(known.state, ClaimState::Closed | ClaimState::Locked);
            if is_over && claim.state == ClaimState::Open {
                claim.state = known.state;
            }
        }
        self.claims.insert(claim.id.clone(), claim);
    }

    /// A claim with which a client is expected.
    pub fn claim(&self, id: &ClaimId) -> Option<&Claim> {
        self.claims.get(id)
    }

    /// Changes what is known of a claim with which a client is expected.
    pub fn amend_claim(&mut self, id: &ClaimId, amend: impl FnOnce(&mut Claim)) {
        if let Some(claim) = self.claims.get_mut(id) {
            amend(claim);
        }
    }

    /// Closes the open claims of which this holds, with what is known of their devices. Returns which.
    pub fn close_claims(
        &mut self,
        over: impl Fn(&Claim, Option<&DeviceAccess>) -> bool,
    ) -> Vec<ClaimId> {
        let mut closed = Vec::new();
        for claim in self.claims.values_mut() {
            let device = self.devices.get(&claim.device);
            if claim.state == ClaimState::Open && over(claim, device) {
                claim.state = ClaimState::Closed;
                closed.push(claim.id.clone());
            }
        }
        closed
    }

    /// Expects no client for a device any more.
    pub fn forget_claims(&mut self, device: &DeviceId) {
        self.claims.retain(|_, claim| claim.device != *device);
    }

    /// Remembers a key that somebody else may hold: it is never certified again.
    pub fn refuse_key(&mut self, key: Fingerprint) {
        self.compromised_keys.insert(key);
    }

    /// Whether a key has been revoked as compromised.
    pub fn is_compromised(&self, key: &Fingerprint) -> bool {
        self.compromised_keys.contains(key)
    }

    /// Forgets claims that are over and certificates that nobody should come with any more; call it
    /// now and then.
    pub fn sweep(&mut self, now: Timestamp) {
        self.epoch.moved();
        self.claims.retain(|_, claim| now < claim.bell_until());
        self.certificates
            .retain(|_, certificate| now <= certificate.not_after.after(REMEMBERED));
    }

    /// What is known of a device.
    pub fn device(&self, id: &DeviceId) -> Option<&DeviceAccess> {
        self.devices.get(id)
    }

    /// What is known of a certificate.
    pub fn certificate(&self, fingerprint: &Fingerprint) -> Option<&CertificateAccess> {
        self.certificates.get(fingerprint)
    }

    /// Every known device and its state.
    pub fn devices(&self) -> impl Iterator<Item = (&DeviceId, &DeviceAccess)> {
        self.devices.iter()
    }
}

#[cfg(test)]
mod tests;
