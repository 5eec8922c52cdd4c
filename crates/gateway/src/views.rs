//! What a person sees of the registry.

use hearthkey_api::{CertificateView, ClaimView, DevicePage, DeviceView, PAGE_MAX, SessionView};
use hearthkey_core::certificate::Certificate;
use hearthkey_core::claim::Claim;
use hearthkey_core::id::DeviceId;
use hearthkey_store::registry::KnownDevice;

use crate::home::Home;
use crate::problem::Failure;

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

fn claim_view(claim: &Claim) -> ClaimView {
    ClaimView {
        claim: claim.id.to_string(),
        state: claim.state.as_str().into(),
        opened_at: claim.opened_at.to_string(),
        expires_at: claim.expires_at.to_string(),
        presented_key: claim.presented_key.map(|key| key.to_string()),
    }
}

impl Home {
    /// A page of devices.
    pub(crate) fn device_page(&self, after: &str, limit: u32) -> Result<DevicePage, Failure> {
        let limit = limit.clamp(1, PAGE_MAX);
        let page = self.store.read(|registry| {
            let devices = registry.devices(after, limit)?;
            let newest = |known: &KnownDevice| registry.certificates_of(&known.device.id, 1);
            let certificates = devices.iter().map(newest).collect::<Result<Vec<_>, _>>()?;
            Ok(devices.into_iter().zip(certificates).collect::<Vec<_>>())
        })?;
        let full = page.len() == limit as usize;
        let devices: Vec<DeviceView> = page
            .iter()
            .map(|(known, certificates)| self.device_view(known, certificates))
            .collect();
        let next = devices.last().filter(|_| full).map(|last| last.id.clone());
        Ok(DevicePage { devices, next })
    }

    /// One device with all that is known of it.
    pub(crate) fn device_in_full(&self, device: &DeviceId) -> Result<DeviceView, Failure> {
        let known = self.known(device)?;
        let (certificates, claims) = self.store.read(|registry| {
            let certificates = registry.certificates_of(device, CERTIFICATES_SHOWN)?;
            Ok((certificates, registry.claims_of(device)?))
        })?;
        Ok(DeviceView {
            certificates: certificates.iter().map(certificate_view).collect(),
            claims: claims.iter().map(claim_view).collect(),
            ..self.device_view(&known, &certificates)
        })
    }

    fn device_view(&self, known: &KnownDevice, certificates: &[Certificate]) -> DeviceView {
        let device = &known.device;
        let sessions = self.broker.sessions_of(&device.id);
        // What was seen in the last second is not in the registry yet.
        let recent = sessions.iter().max_by_key(|session| session.since);
        let seen_at = known.last_seen_at.max(recent.map(|session| session.since));
        let address = recent.map(|session| session.address.to_string());
        DeviceView {
            id: device.id.to_string(),
            state: device.state.as_str().into(),
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
