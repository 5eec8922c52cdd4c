//! A claim sends a CSR: the first of the two journeys.

use crate::trust::published::LOOKED_AT;
use std::net::SocketAddr;

use hearthkey_core::access::{Cuts, DeviceAccess};
use hearthkey_core::audit::{Actor, Entry, Outcome as Ended};
use hearthkey_core::certificate::CertificateState;
use hearthkey_core::claim::{Claim, ClaimState, ClaimUse};
use hearthkey_core::device::DeviceState;
use hearthkey_core::enrollment::{Decision, Facts, decide};
use hearthkey_core::id::{ClaimId, DeviceId};
use hearthkey_core::rejection::Code;
use hearthkey_core::time::Timestamp;
use hearthkey_pki::Issued;
use hearthkey_store::CommitError;
use hearthkey_store::change::{Change, Write};

use crate::devices::Devices;
use crate::devices::csr_request::{self, CsrRequest};
use crate::devices::issuance::{DECISIONS_MAX, Outcome, code_of};
use crate::state::new_serial;

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

impl Devices {
    /// Reads a CSR, decides, and answers. Every refusal is recorded.
    pub(crate) async fn enroll(
        &self,
        guest: &Guest<'_>,
        payload: &[u8],
        oversized: bool,
    ) -> Outcome {
        let outcome = match csr_request::read(payload, oversized) {
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
                let entry = guest.entry(self.ctx.now());
                self.ctx
                    .record(entry.ended(ended, rejection.code.as_str()))
                    .await;
            }
        }
        outcome
    }

    async fn enroll_key(&self, guest: &Guest<'_>, request: &CsrRequest) -> Outcome {
        let device = self
            .ctx
            .access()
            .claim(guest.claim)
            .map(|c| c.device.clone());
        let Some(device) = device else {
            return Err(Code::ClaimUnknown.into());
        };
        let _turn = self.ctx.turns().of(&device).await;
        for _ in 0..DECISIONS_MAX {
            match self.enroll_once(guest, request).await {
                Err(CommitError::Conflict | CommitError::Changed) => {
                    self.reread(guest.claim, &device);
                }
                // The claim may be used up: if so, the next try fetches what was issued.
                Err(error @ CommitError::Unknown(_)) => {
                    self.reread(guest.claim, &device);
                    return Err(code_of(&error).into());
                }
                Ok(outcome) => return outcome,
                Err(error) => return Err(code_of(&error).into()),
            }
        }
        Err(Code::RateLimited.into())
    }

    /// Takes the facts from the registry again: a change whose end could not be seen, because the
    /// disk failed under it, may have become durable all the same.
    fn reread(&self, claim: &ClaimId, device: &DeviceId) {
        let seen = self.ctx.access().cuts(device);
        let facts = self.ctx.store().read(|registry| {
            let facts = registry.claim(claim)?.zip(registry.device(device)?);
            Ok(facts.zip(Some(registry.certificates_of(device, LOOKED_AT)?)))
        });
        match facts {
            Ok(Some(((claim, known), certificates))) => {
                for ended in certificates.iter().filter(|c| c.state.is_over()) {
                    self.ctx
                        .access_mut()
                        .set_certificate_state(&ended.fingerprint, ended.state);
                    self.ctx.broker().drop_certificate(&ended.fingerprint);
                }
                let mut access = self.ctx.access_mut();
                // What is cut off in memory stays so, whatever the disk says.
                let uncut = !access.cuts(device).is_cut_since(seen);
                let state = access.device(device).map(|device| device.state);
                if uncut && state == Some(DeviceState::Pending) {
                    access.set_device_state(device, known.device.state);
                }
                if uncut && state.is_some_and(|state| !state.is_over()) {
                    access.expect(claim);
                }
            }
            Ok(None) => self.ctx.access_mut().forget_claims(device),
            Err(error) => tracing::error!(%error, "the facts of a claim could not be read"),
        }
    }

    async fn enroll_once(
        &self,
        guest: &Guest<'_>,
        request: &CsrRequest,
    ) -> Result<Outcome, CommitError> {
        let (now, clock_trusted) = self.ctx.clock().now_and_trust();
        let Some((claim, device, key_compromised, seen)) = self.facts_of(guest.claim, request)
        else {
            return Ok(Err(Code::ClaimUnknown.into()));
        };
        let facts = Facts {
            claim: &claim,
            device: &device,
            key_compromised,
            issuer_ends: self.issuer_ends(&device.environment),
            clock_trusted,
        };
        match decide(&facts, request.key.clone(), new_serial(), now) {
            Decision::Refuse(code) => Ok(Err(code.into())),
            Decision::Redeliver(fingerprint) => {
                Ok(self.redeliver(request, &claim.device, &fingerprint))
            }
            Decision::Hold => self.hold(guest, &claim, request, now).await,
            Decision::Issue(order) => match self.sign(order) {
                Ok(issued) => self
                    .take_in(guest, request, (&device, seen), issued, now)
                    .await
                    .map(Ok),
                Err(rejection) => Ok(Err(rejection)),
            },
        }
    }

    fn facts_of(
        &self,
        claim: &ClaimId,
        request: &CsrRequest,
    ) -> Option<(Claim, DeviceAccess, bool, Cuts)> {
        let access = self.ctx.access();
        let claim = access.claim(claim)?;
        let device = access.device(&claim.device)?;
        let compromised = access.is_compromised(&request.key.fingerprint);
        let seen = access.cuts(&claim.device);
        Some((claim.clone(), device.clone(), compromised, seen))
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
            self.ctx.commit(Change::record(entry).write(write)).await?;
            self.ctx
                .access_mut()
                .amend_claim(&claim.id, |claim| claim.presented_key = Some(key));
        }
        Ok(Err(Code::ApprovalRequired.into()))
    }

    /// Commits the certificate, then lets it be accepted, then answers.
    async fn take_in(
        &self,
        guest: &Guest<'_>,
        request: &CsrRequest,
        (device, seen): (&DeviceAccess, Cuts),
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
            .with("device", certificate.device.as_str())
            .with("environment", certificate.environment.as_str())
            .with("profile", device.profile.name.as_str())
            .with("serial", certificate.serial.to_string())
            .with("certificate_sha256", certificate.fingerprint.to_string())
            .with("key_sha256", certificate.key.to_string())
            .with("key_type", request.key.key_type.as_str())
            .with("not_after", certificate.not_after.to_string())
            .with("about", request.about.to_value());
        let mut change = Change::record(entry)
            .write(Write::UseClaim(guest.claim.clone(), used))
            .write(Write::Certificate(certificate.clone(), der.clone()))
            .write(Write::Activate {
                device: certificate.device.clone(),
                from: device.state,
            });
        // Only a device that is enrolled already has certificates that end now.
        let mut earlier = Vec::new();
        if device.state == DeviceState::Active {
            let id = &certificate.device;
            earlier = self
                .live_certificates(id)
                .map_err(|error| CommitError::Unavailable(error.to_string()))?;
            let end = Write::SupersedeOtherLineages(id.clone(), certificate.lineage);
            change = change.write(end);
        }
        self.ctx.commit(change).await?;
        {
            let mut access = self.ctx.access_mut();
            for fingerprint in &earlier {
                access.set_certificate_state(fingerprint, CertificateState::Superseded);
            }
            // Unless it was cut off while this was being committed: then it stays out.
            access.activate(&certificate.device, seen);
            access.amend_claim(guest.claim, |claim| {
                (claim.state, claim.used) = (ClaimState::Used, Some(used));
            });
        }
        self.let_in(&certificate, seen);
        for fingerprint in &earlier {
            self.ctx.broker().drop_certificate(fingerprint);
        }
        if !earlier.is_empty() {
            self.trust.owe_notice(&certificate.device);
        }
        let answer = self.answer(request, &certificate, &der);
        self.forget_signs(&certificate.device).await;
        Ok(answer)
    }
}
