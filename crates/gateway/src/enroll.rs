//! A claim sends a CSR: the first of the two journeys.

use std::net::SocketAddr;

use hearthkey_core::audit::{Actor, Entry, Outcome as Ended};
use hearthkey_core::certificate::CertificateState;
use hearthkey_core::claim::{Claim, ClaimUse, REDELIVERY};
use hearthkey_core::device::{Device, DeviceState};
use hearthkey_core::enrollment::{Decision, Facts, decide};
use hearthkey_core::id::ClaimId;
use hearthkey_core::rejection::Code;
use hearthkey_core::time::Timestamp;
use hearthkey_pki::Issued;
use hearthkey_store::CommitError;
use hearthkey_store::change::{Change, Effect, Write};

use crate::home::{Home, new_serial};
use crate::issuance::{DECISIONS_MAX, Outcome, code_of, unreadable};
use crate::request::{self, CsrRequest};

/// Who asks, from where.
pub(crate) struct Guest<'a> {
    pub(crate) claim: &'a ClaimId,
    pub(crate) address: SocketAddr,
    pub(crate) connection: u64,
}

impl Guest<'_> {
    fn entry(&self, now: Timestamp) -> Entry {
        let actor = Actor {
            name: format!("claim:{}", self.claim),
            role: "claim".into(),
            session: Some(self.connection.to_string()),
            address: Some(self.address.to_string()),
        };
        Entry::new(now, actor, "device.enroll", format!("claim:{}", self.claim))
    }
}

impl Home {
    /// Reads a CSR, decides, and answers. Every refusal is recorded.
    pub(crate) async fn enroll(
        &self,
        guest: &Guest<'_>,
        payload: &[u8],
        oversized: bool,
    ) -> Outcome {
        let outcome = match request::read(payload, oversized) {
            Ok(request) => self.enroll_key(guest, &request).await,
            Err(refusal) => Err(Code::from(refusal).into()),
        };
        match &outcome {
            Ok(_) => {}
            // Recorded once, with the key, when it was first presented.
            Err(rejection) if rejection.code == Code::ApprovalRequired => {}
            Err(rejection) => {
                let alert = rejection.code == Code::ClaimUsed;
                let ended = if alert { Ended::Alert } else { Ended::Refused };
                let entry = guest.entry(self.now());
                self.record(entry.ended(ended, rejection.code.as_str()))
                    .await;
            }
        }
        outcome
    }

    async fn enroll_key(&self, guest: &Guest<'_>, request: &CsrRequest) -> Outcome {
        let known = self.access().guest(guest.claim).cloned();
        let Some(device) = known else {
            return Err(Code::ClaimUnknown.into());
        };
        let _turn = self.turns.of(&device).await;
        for _ in 0..DECISIONS_MAX {
            match self.enroll_once(guest, request).await {
                Err(CommitError::Conflict) => {}
                Ok(outcome) => return outcome,
                Err(error) => return Err(code_of(&error).into()),
            }
        }
        Err(Code::RateLimited.into())
    }

    async fn enroll_once(
        &self,
        guest: &Guest<'_>,
        request: &CsrRequest,
    ) -> Result<Outcome, CommitError> {
        let facts = self.store.read(|registry| {
            let claim = registry.claim(guest.claim)?;
            let device = match &claim {
                Some(claim) => registry.device(&claim.device)?,
                None => None,
            };
            Ok(claim.zip(device))
        });
        let (claim, device) = match facts {
            Ok(Some((claim, known))) => (claim, known.device),
            Ok(None) => return Ok(Err(Code::ClaimUnknown.into())),
            Err(error) => return Ok(Err(unreadable(&error))),
        };
        let Some(profile) = self.profile(&device.profile) else {
            return Ok(Err(Code::StorageUnavailable.into()));
        };
        let (now, clock_trusted) = self.clock.now_and_trust();
        let facts = Facts {
            claim: &claim,
            device: &device,
            profile: &profile,
            clock_trusted,
        };
        match decide(&facts, request.key.clone(), new_serial(), now) {
            Decision::Refuse(code) => Ok(Err(code.into())),
            Decision::Redeliver(fingerprint) => {
                Ok(self.redeliver(request, &device.id, &fingerprint))
            }
            Decision::Hold => self.hold(guest, &claim, request, now).await,
            Decision::Issue(order) => match self.sign(order) {
                Ok(issued) => self
                    .take_in(guest, request, &device, issued, now)
                    .await
                    .map(Ok),
                Err(rejection) => Ok(Err(rejection)),
            },
        }
    }

    async fn hold(
        &self,
        guest: &Guest<'_>,
        claim: &Claim,
        request: &CsrRequest,
        now: Timestamp,
    ) -> Result<Outcome, CommitError> {
        let key = request.key.fingerprint;
        if claim.presented_key != Some(key) {
            let entry = guest
                .entry(now)
                .ended(Ended::Held, Code::ApprovalRequired.as_str())
                .with("key_sha256", key.to_string());
            let write = Write::PresentKey(claim.id.clone(), key);
            self.commit(Change::record(entry).write(write)).await?;
        }
        Ok(Err(Code::ApprovalRequired.into()))
    }

    /// Commits the certificate, then lets it open the door, then answers.
    async fn take_in(
        &self,
        guest: &Guest<'_>,
        request: &CsrRequest,
        device: &Device,
        issued: Issued,
        now: Timestamp,
    ) -> Result<Vec<u8>, CommitError> {
        let Issued { der, certificate } = issued;
        let used = ClaimUse {
            key: certificate.key,
            certificate: certificate.fingerprint,
            at: now,
        };
        let entry = guest
            .entry(now)
            .with("device", device.id.as_str())
            .with("environment", device.environment.as_str())
            .with("profile", device.profile.as_str())
            .with("serial", certificate.serial.to_string())
            .with("certificate_sha256", certificate.fingerprint.to_string())
            .with("key_sha256", certificate.key.to_string())
            .with("key_type", request.key.key_type.as_str())
            .with("not_after", certificate.not_after.to_string())
            .with("about", request.about.to_value());
        let change = Change::record(entry)
            .write(Write::UseClaim(guest.claim.clone(), used))
            .write(Write::Certificate(certificate.clone(), der.clone()))
            .write(Write::SupersedeOtherLineages(
                device.id.clone(),
                certificate.lineage,
            ))
            .write(Write::DeviceState {
                device: device.id.clone(),
                from: DeviceState::Pending,
                to: DeviceState::Active,
            })
            .write(Write::Effect(Effect::Notice(device.id.clone())));
        // Only a device that is enrolled already has certificates that end now.
        let earlier = match device.state {
            DeviceState::Active => self.live_certificates(&device.id),
            _ => Vec::new(),
        };
        self.commit_with_effects(change).await?;
        {
            let mut access = self.access_mut();
            for fingerprint in &earlier {
                access.set_certificate_state(fingerprint, CertificateState::Superseded);
            }
            access.set_device_state(&device.id, DeviceState::Active);
            access.ring_for(
                guest.claim.clone(),
                device.id.clone(),
                now.after(REDELIVERY),
            );
        }
        self.let_in(&certificate);
        for fingerprint in &earlier {
            self.broker.drop_certificate(fingerprint);
        }
        Ok(self.answer(request, &certificate, &der))
    }
}
