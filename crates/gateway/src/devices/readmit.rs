//! A restored home lets a device in again whose certificate it does not know: one by one, by a person, for a new key.
//!
//! The certificate was signed by a CA of this home after the backup, and the journal that was given does not have it. Until
//! a person confirms its device, it gives nothing. Then it gives a connection that may renew and do nothing else, and the
//! certificate that follows is like any other. What the home knows to be over is not brought back this way.

use std::net::SocketAddr;

use hearthkey_api as api;
use hearthkey_core::access::{DeviceAccess, Stranger};
use hearthkey_core::audit::Entry;
use hearthkey_core::certificate::{BACKDATE, Certificate, CertificateState, RenewalWindow};
use hearthkey_core::device::{Device, DeviceState};
use hearthkey_core::id::{DeviceId, Fingerprint};
use hearthkey_core::posture::Named;
use hearthkey_core::role::Act;
use hearthkey_core::time::Timestamp;
use hearthkey_pki::Leaf;
use hearthkey_store::change::{Change, Write};
use hearthkey_store::registry::{ReadError, Registry};

use crate::auth::caller::Caller;
use crate::auth::local_code::Needed;
use crate::devices::Devices;
use crate::state::failure::Failure;

/// The setting that names the certificates that may do no more than renew.
const READMITTED: &str = "readmitted";

/// The certificates that may do no more than renew.
pub(crate) fn readmitted(registry: &Registry<'_>) -> Result<Vec<Fingerprint>, ReadError> {
    let text = registry.setting(READMITTED)?;
    Ok(text
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default())
}

/// A certificate that waits, with what it says.
struct Found {
    certificate: Fingerprint,
    stranger: Stranger,
    leaf: Leaf,
}

impl Found {
    fn of((certificate, stranger): (Fingerprint, Stranger)) -> Option<Self> {
        let leaf = Leaf::read(&stranger.der)?;
        Some(Self {
            certificate,
            stranger,
            leaf,
        })
    }

    /// The certificate as the registry is to have it: the first of a lineage of its own.
    fn to_certificate(&self) -> Certificate {
        let leaf = &self.leaf;
        let issued_at = leaf.not_before.after(BACKDATE);
        Certificate {
            fingerprint: self.certificate,
            serial: leaf.serial,
            device: leaf.device.clone(),
            environment: leaf.environment.clone(),
            key: leaf.key,
            lineage: leaf.serial,
            generation: 0,
            state: CertificateState::Active,
            not_before: leaf.not_before,
            not_after: leaf.not_after,
            window: RenewalWindow::of(&leaf.device, issued_at, leaf.not_after),
            issued_at,
        }
    }
}

impl Devices {
    /// Whether a certificate may do no more than renew.
    pub(crate) fn renews_only(&self, certificate: &Fingerprint) -> bool {
        let access = self.ctx.access();
        let known = access.certificate(certificate);
        known.is_some_and(|known| known.renews_only)
    }

    /// A client came with a certificate that waits, and has shown to hold its key.
    pub(crate) fn came_unknown(&self, certificate: &Fingerprint, address: SocketAddr) {
        let now = self.ctx.now();
        self.ctx
            .access()
            .strangers()
            .came(certificate, now, address);
    }

    fn waiting_here(&self) -> Vec<Found> {
        let here = self.ctx.access().strangers().here();
        here.into_iter().filter_map(Found::of).collect()
    }

    /// The devices that wait, for findings.
    pub(crate) fn waiting_names(&self) -> Named {
        let mut names: Vec<String> = Vec::new();
        for found in self.waiting_here() {
            names.push(found.leaf.device.to_string());
        }
        // They come sorted.
        names.dedup();
        let mut named = Named::default();
        names.into_iter().for_each(|name| named.add(name));
        named
    }

    /// The devices that wait where the caller may see devices.
    pub(crate) fn waiting_devices(&self, caller: &Caller) -> Result<api::WaitingList, Failure> {
        let mut devices = Vec::new();
        for found in self.waiting_here() {
            let leaf = &found.leaf;
            let Some(came) = found.stranger.came else {
                continue;
            };
            if caller.permit(Act::DeviceRead, &leaf.environment).is_err() {
                continue;
            }
            let state = self.ctx.access().device(&leaf.device).map(|its| its.state);
            devices.push(api::WaitingDevice {
                device: leaf.device.to_string(),
                environment: leaf.environment.to_string(),
                certificate_sha256: found.certificate.to_string(),
                key_sha256: leaf.key.to_string(),
                issued_at: leaf.not_before.after(BACKDATE).to_string(),
                not_after: leaf.not_after.to_string(),
                first_came_at: came.first.to_string(),
                last_came_at: came.last.to_string(),
                address: came.address.to_string(),
                state: state.map(|state| state.as_str().to_owned()),
            });
        }
        Ok(api::WaitingList { devices })
    }

    /// Lets one device in again, for a new key.
    pub(crate) async fn readmit(
        &self,
        caller: &Caller,
        device: &DeviceId,
        request: api::ReadmitRequest,
    ) -> Result<DeviceState, Failure> {
        let found = self.the_one(caller, device, request.certificate_sha256.as_deref())?;
        let environment = found.leaf.environment.clone();
        let needed = Needed {
            act: Act::DeviceReadmit,
            environment: Some(&environment),
            why: "the home does not know whether this device was revoked after the backup",
        };
        let second_factor = request.second_factor.clone();
        let shown = self.auth.shown_here(caller, needed, second_factor).await?;
        let actor = caller
            .permitted(Act::DeviceReadmit)?
            .actor_in(Act::DeviceReadmit, &environment)?
            .clone();
        let _turn = self.ctx.turns().of(device).await;
        let seen = self.ctx.access().cuts(device);
        let now = self.ctx.now();
        let new = self.as_it_is_to_be(&found, &request, now)?;
        let certificate = found.to_certificate();
        let mut only: Vec<Fingerprint> = self.ctx.store().read(readmitted)?;
        only.retain(|one| self.renews_only(one));
        only.push(found.certificate);
        let only = serde_json::to_vec(&only).map_err(|error| Failure::internal(&error))?;
        let address = found.stranger.came.map(|came| came.address.to_string());
        let entry = Entry::new(now, actor, "device.readmit", format!("device:{device}"))
            .with("certificate_sha256", found.certificate.to_string())
            .with("key_sha256", certificate.key.to_string())
            .with("issued_at", certificate.issued_at.to_string())
            .with("address", address.unwrap_or_default())
            .with("was_known", new.is_none());
        let mut change = Change::record(entry);
        change.writes.extend(new.clone().map(Write::Device));
        let lineage = certificate.lineage;
        let change = change
            .write(Write::StillActive(device.clone()))
            .write(Write::Certificate(certificate, found.stranger.der.clone()))
            .write(Write::SupersedeOtherLineages(device.clone(), lineage))
            .write(Write::AskRotation(device.clone(), now))
            .write(Write::Setting(READMITTED, only));
        let earlier = self.live_certificates(device)?;
        self.auth.commit_shown(change, shown).await?;
        self.let_in_again(&found, new, (earlier, seen))
    }

    /// The certificate with which a device waits. What lies beyond the caller's reach is not there.
    fn the_one(
        &self,
        caller: &Caller,
        device: &DeviceId,
        certificate: Option<&str>,
    ) -> Result<Found, Failure> {
        let certificate: Option<Fingerprint> = match certificate {
            Some(text) => Some(text.parse().map_err(|error| Failure::invalid(&error))?),
            None => None,
        };
        let mut all = self.waiting_here();
        all.retain(|found| {
            let environment = &found.leaf.environment;
            found.leaf.device == *device
                && certificate.is_none_or(|its| its == found.certificate)
                && caller.permit(Act::DeviceReadmit, environment).is_ok()
        });
        let is_more = all.len() > 1;
        let Some(one) = all.pop().filter(|_| !is_more) else {
            return Err(match is_more {
                true => Failure::refused(
                    &format!("the device {device} waits with more than one certificate"),
                    "Look at the list, and name the one that came last from where the device is. On the command line: `hearthkey device waiting`, then `--certificate SHA256`.",
                ),
                false => Failure::not_found("waiting device", device),
            });
        };
        Ok(one)
    }

    /// The device as it is to be, if the home does not know it; or why it may not come in.
    fn as_it_is_to_be(
        &self,
        found: &Found,
        request: &api::ReadmitRequest,
        now: Timestamp,
    ) -> Result<Option<Device>, Failure> {
        let leaf = &found.leaf;
        let device = &leaf.device;
        let known = self.ctx.store().read(|registry| registry.device(device))?;
        let Some(mut known) = known else {
            return self.new_device(leaf, request, now).map(Some);
        };
        self.lay_cuts_over(&mut known);
        let state = known.device.state;
        let (why, remedy) = match state {
            _ if self.ctx.access().is_compromised(&leaf.key) => (
                "its key was revoked as compromised".to_owned(),
                "Open a new claim if the device is to come back: it gets a new key then.",
            ),
            DeviceState::Active if known.device.environment == leaf.environment => return Ok(None),
            DeviceState::Active => (
                format!(
                    "it belongs to {}, and the certificate to {}",
                    known.device.environment, leaf.environment
                ),
                "Open a new claim for it in the environment where it belongs.",
            ),
            DeviceState::Suspended => (
                "it is suspended".to_owned(),
                "Resume it first, if it is to come back. On the command line: `hearthkey device resume`.",
            ),
            state => (
                format!("it is {}", state.as_str()),
                "Open a new claim if the device is to come back: it gets a new key then.",
            ),
        };
        Err(Failure::refused(
            &format!("the device {device} is not let in again: {why}"),
            remedy,
        ))
    }

    fn new_device(
        &self,
        leaf: &Leaf,
        request: &api::ReadmitRequest,
        now: Timestamp,
    ) -> Result<Device, Failure> {
        let (Some(profile), Some(owner), Some(purpose)) =
            (&request.profile, &request.owner, &request.purpose)
        else {
            let why = format!(
                "the home does not know the device {} at all: it was enrolled after the backup",
                leaf.device
            );
            return Err(Failure::refused(
                &why,
                "Say what it is: its profile, its owner and its purpose. On the command line: `--profile PROFILE --owner WHO --purpose WHY`.",
            ));
        };
        let profile = profile.parse().map_err(|error| Failure::invalid(&error))?;
        if self.ctx.profile(&profile).is_none() {
            return Err(Failure::not_found("profile", &profile));
        }
        Ok(Device {
            id: leaf.device.clone(),
            state: DeviceState::Active,
            environment: leaf.environment.clone(),
            profile,
            owner: owner.clone(),
            purpose: purpose.clone(),
            created_at: now,
        })
    }

    /// What is durable comes in: for a new key, and no further.
    fn let_in_again(
        &self,
        found: &Found,
        new: Option<Device>,
        (earlier, seen): (Vec<Fingerprint>, hearthkey_core::access::Cuts),
    ) -> Result<DeviceState, Failure> {
        let device = &found.leaf.device;
        if let Some(new) = new
            && let Some(profile) = self.ctx.profile(&new.profile)
        {
            let its = DeviceAccess::new(new.state, new.environment, &profile);
            self.ctx.access_mut().set_device(new.id, its);
        }
        {
            let mut access = self.ctx.access_mut();
            for fingerprint in &earlier {
                access.set_certificate_state(fingerprint, CertificateState::Superseded);
            }
            access.strangers().forget_all_of(device);
        }
        self.let_in_for_renewal(&found.to_certificate(), seen);
        for fingerprint in &earlier {
            self.ctx.broker().drop_certificate(fingerprint);
        }
        self.trust.owe_notice(device);
        self.standing(device)
    }
}
