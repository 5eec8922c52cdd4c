//! What a person sees of the registry.

use std::collections::{BTreeMap, BTreeSet};

use hearthkey_api::{
    CertificateView, ClaimView, DevicePage, DeviceSummary, DeviceView, SessionView,
};
use hearthkey_core::access::DeviceAccess;
use hearthkey_core::certificate::Certificate;
use hearthkey_core::claim::{Claim, ClaimState};
use hearthkey_core::id::{DeviceId, EnvironmentName};
use hearthkey_core::time::Timestamp;
use hearthkey_store::devices::{DeviceFilter, DeviceSlice, SortBy};
use hearthkey_store::registry::KnownDevice;

use crate::devices::Devices;
use crate::state::failure::Failure;

/// Certificates that are shown of one device.
const CERTIFICATES_SHOWN: u32 = 50;

fn certificate_view(certificate: &Certificate) -> CertificateView {
    CertificateView {
        serial: certificate.serial.to_string(),
        state: certificate.state.as_str().into(),
        not_before: certificate.not_before.to_string(),
        not_after: certificate.not_after.to_string(),
        renew_after: certificate.window.renew_after.to_string(),
        sha256: certificate.fingerprint.to_string(),
        key_sha256: certificate.key.to_string(),
        generation: certificate.generation,
    }
}

fn claim_view(claim: &Claim, now: Timestamp) -> ClaimView {
    let state = match claim.state {
        ClaimState::Open if claim.expires_at <= now => "expired",
        state => state.as_str(),
    };
    ClaimView {
        claim: claim.id.to_string(),
        state: state.into(),
        opened_at: claim.opened_at.to_string(),
        expires_at: claim.expires_at.to_string(),
        presented_key: claim.presented_key.map(|key| key.to_string()),
    }
}

impl Devices {
    /// How many devices there are.
    pub(crate) fn device_count(&self) -> u64 {
        self.ctx
            .store()
            .read(|registry| registry.device_count())
            .unwrap_or_default()
    }

    /// A page of devices.
    pub(crate) fn device_page(
        &self,
        filter: &DeviceFilter,
        slice: &DeviceSlice,
    ) -> Result<DevicePage, Failure> {
        let first = slice.after.is_empty() && slice.offset == 0;
        let (page, total) = self.ctx.store().read(|registry| {
            let page = registry.devices_like(filter, slice)?;
            let total = match first {
                true => Some(registry.count_devices_like(filter)?),
                false => None,
            };
            Ok((page, total))
        })?;
        let full = page.len() == slice.limit as usize;
        let devices: Vec<DeviceView> = page
            .iter()
            .map(|(known, newest)| self.device_view(known, newest.as_slice()))
            .collect();
        let in_order = slice.sort == SortBy::Id && !slice.descending;
        let next = devices.last().filter(|_| full && in_order);
        Ok(DevicePage {
            next: next.map(|last| last.id.clone()),
            total,
            devices,
        })
    }

    /// The devices that have a live session.
    pub(crate) fn connected_devices(&self) -> Vec<String> {
        let sessions = self.ctx.broker().sessions();
        let names: BTreeSet<String> = sessions
            .into_iter()
            .map(|session| session.device.to_string())
            .collect();
        names.into_iter().collect()
    }

    /// How many devices there are of each kind, in some environments or in all.
    pub(crate) fn device_summary(&self, environments: Option<&[EnvironmentName]>) -> DeviceSummary {
        let connected = self.ctx.broker().sessions();
        let connected: BTreeSet<&DeviceId> = connected.iter().map(|one| &one.device).collect();
        let access = self.ctx.access();
        let reached = |known: &DeviceAccess| {
            environments.is_none_or(|these| these.contains(&known.environment))
        };
        let mut groups = BTreeMap::<_, u64>::new();
        for (_, known) in access.devices().filter(|(_, known)| reached(known)) {
            let kind = (
                &known.environment,
                &known.profile.name,
                known.state.as_str(),
            );
            *groups.entry(kind).or_default() += 1;
        }
        let connected = connected.into_iter().filter_map(|id| access.device(id));
        let mut summary = DeviceSummary {
            connected: connected.filter(|known| reached(known)).count() as u64,
            ..DeviceSummary::default()
        };
        for ((environment, profile, state), count) in groups {
            summary.total += count;
            let name = |text: &str| text.to_owned();
            *summary.by_state.entry(name(state)).or_default() += count;
            *summary
                .by_environment
                .entry(name(environment.as_str()))
                .or_default() += count;
            *summary
                .by_profile
                .entry(name(profile.as_str()))
                .or_default() += count;
        }
        summary
    }

    /// One device with all that is known of it.
    pub(crate) fn device_in_full(&self, device: &DeviceId) -> Result<DeviceView, Failure> {
        let known = self.known(device)?;
        let (certificates, claims) = self.ctx.store().read(|registry| {
            let certificates = registry.certificates_of(device, CERTIFICATES_SHOWN)?;
            Ok((certificates, registry.claims_of(device)?))
        })?;
        let now = self.ctx.now();
        Ok(DeviceView {
            certificates: certificates.iter().map(certificate_view).collect(),
            claims: claims.iter().map(|claim| claim_view(claim, now)).collect(),
            ..self.device_view(&known, &certificates)
        })
    }

    fn device_view(&self, known: &KnownDevice, certificates: &[Certificate]) -> DeviceView {
        let device = &known.device;
        let sessions = self.ctx.broker().sessions_of(&device.id);
        // What was seen in the last second is not in the registry yet.
        let recent = sessions.iter().max_by_key(|session| session.since);
        let seen_at = known.last_seen_at.max(recent.map(|session| session.since));
        let address = recent.map(|session| session.address.to_string());
        DeviceView {
            id: device.id.to_string(),
            state: self.state_of(device).as_str().into(),
            environment: device.environment.to_string(),
            profile: device.profile.to_string(),
            owner: device.owner.clone(),
            purpose: device.purpose.clone(),
            created_at: device.created_at.to_string(),
            certificate: certificates.first().map(certificate_view),
            sessions: sessions
                .iter()
                .map(|session| SessionView {
                    client_id: session.client_id.clone(),
                    address: session.address.to_string(),
                    since: session.since.to_string(),
                    certificate_sha256: session.certificate.to_string(),
                })
                .collect(),
            last_seen_at: seen_at.map(|at| at.to_string()),
            last_address: address.or_else(|| known.last_address.clone()),
            trust_bundle_sha256: known.trust_bundle.map(|bundle| bundle.to_string()),
            certificates: Vec::new(),
            claims: Vec::new(),
        }
    }
}
