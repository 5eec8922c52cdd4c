//! A device sends the CSR of its next key over its own session.

use crate::trust::published::{LOOKED_AT, asked_to_rotate};
use std::net::SocketAddr;

use hearthkey_core::access::Cuts;
use hearthkey_core::audit::{Entry, Outcome as Ended};
use hearthkey_core::certificate::Certificate;
use hearthkey_core::id::{DeviceId, Fingerprint};
use hearthkey_core::rejection::Code;
use hearthkey_core::renewal::{Decision, Facts, decide};
use hearthkey_core::time::Timestamp;
use hearthkey_pki::Issued;
use hearthkey_store::CommitError;
use hearthkey_store::change::{Change, Write};

use crate::devices::Devices;
use crate::devices::csr_request::{self, CsrRequest};
use crate::devices::issuance::{DECISIONS_MAX, Outcome, code_of, unreadable};
use crate::state::{device_actor, locked, new_serial};

/// Who asks, with what, from where.
pub(crate) struct Renewer<'a> {
    pub(crate) device: &'a DeviceId,
    pub(crate) certificate: Fingerprint,
    pub(crate) address: SocketAddr,
    pub(crate) connection: u64,
}

impl Renewer<'_> {
    fn entry(&self, now: Timestamp) -> Entry {
        let actor = device_actor(self.device, self.address, self.connection);
        Entry::new(
            now,
            actor,
            "device.renew",
            format!("device:{}", self.device),
        )
        .with("presented_sha256", self.certificate.to_string())
    }
}

impl Devices {
    /// Reads a CSR, decides, and answers. Every refusal is recorded.
    pub(crate) async fn renew(
        &self,
        renewer: &Renewer<'_>,
        payload: &[u8],
        oversized: bool,
    ) -> Outcome {
        let outcome = match csr_request::read(payload, oversized) {
            Ok(request) => self.renew_key(renewer, &request).await,
            Err(refusal) => Err(Code::from(refusal).into()),
        };
        if let Err(rejection) = &outcome {
            let entry = renewer.entry(self.ctx.now());
            self.ctx
                .record(entry.ended(Ended::Refused, rejection.code.as_str()))
                .await;
        }
        outcome
    }

    async fn renew_key(&self, renewer: &Renewer<'_>, request: &CsrRequest) -> Outcome {
        let _turn = self.ctx.turns().of(renewer.device).await;
        for _ in 0..DECISIONS_MAX {
            match self.renew_once(renewer, request).await {
                Err(CommitError::Conflict | CommitError::Changed) => {}
                Ok(outcome) => return outcome,
                Err(error) => return Err(code_of(&error).into()),
            }
        }
        Err(Code::RateLimited.into())
    }

    async fn renew_once(
        &self,
        renewer: &Renewer<'_>,
        request: &CsrRequest,
    ) -> Result<Outcome, CommitError> {
        let seen = self.ctx.access().cuts(renewer.device);
        let facts = self.ctx.store().read(|registry| {
            let device = registry.device(renewer.device)?;
            let certificates = registry.certificates_of(renewer.device, LOOKED_AT)?;
            let key = &request.key.fingerprint;
            let used_before = registry.has_had_key(renewer.device, key)?;
            Ok(device.map(|device| (device, certificates, used_before)))
        });
        let (mut known, certificates, key_used_before) = match facts {
            Ok(Some(facts)) => facts,
            Ok(None) => return Ok(Err(Code::DeviceRevoked.into())),
            Err(error) => return Ok(Err(unreadable(&error))),
        };
        self.lay_cuts_over(&mut known);
        let presented = certificates
            .iter()
            .find(|c| c.fingerprint == renewer.certificate);
        let (Some(presented), Some(profile)) = (presented, self.ctx.profile(&known.device.profile))
        else {
            return Ok(Err(Code::DeviceRevoked.into()));
        };
        let follows = |c: &&Certificate| {
            c.lineage == presented.lineage && c.generation == presented.generation + 1
        };
        let (now, clock_trusted) = self.ctx.clock().now_and_trust();
        let facts = Facts {
            device: &known.device,
            profile: &profile,
            presented,
            successor: certificates.iter().find(follows),
            key_used_before,
            key_compromised: self.ctx.access().is_compromised(&request.key.fingerprint),
            readmitted: self.renews_only(&presented.fingerprint),
            rotate_now: asked_to_rotate(&known, presented),
            issuer_ends: self.issuer_ends(&known.device.environment),
            clock_trusted,
        };
        match decide(&facts, request.key.clone(), new_serial(), now) {
            Decision::Refuse(rejection) => Ok(Err(rejection)),
            Decision::Redeliver(fingerprint) => {
                Ok(self.redeliver(request, renewer.device, &fingerprint))
            }
            Decision::Clone => {
                self.suspend_clones(renewer, request, now).await;
                Ok(Err(Code::DeviceSuspended.into()))
            }
            Decision::Issue(order) => match self.sign(order) {
                Ok(issued) => self
                    .succeed(renewer, request, (presented, seen), issued, now)
                    .await
                    .map(Ok),
                Err(rejection) => Ok(Err(rejection)),
            },
        }
    }

    /// Commits the successor, then admits it beside its predecessor, then answers.
    async fn succeed(
        &self,
        renewer: &Renewer<'_>,
        request: &CsrRequest,
        (presented, seen): (&Certificate, Cuts),
        issued: Issued,
        now: Timestamp,
    ) -> Result<Vec<u8>, CommitError> {
        let Issued { der, certificate } = issued;
        let entry = renewer
            .entry(now)
            .with("serial", certificate.serial.to_string())
            .with("generation", certificate.generation)
            .with("certificate_sha256", certificate.fingerprint.to_string())
            .with("key_sha256", certificate.key.to_string())
            .with("not_after", certificate.not_after.to_string())
            .with("about", request.about.to_value());
        let change = Change::record(entry)
            .write(Write::StillActive(renewer.device.clone()))
            .write(Write::Certificate(certificate.clone(), der.clone()));
        self.ctx.commit(change).await?;
        self.let_in(&certificate, seen);
        locked(&self.second_slots).insert(presented.fingerprint, (renewer.device.clone(), now));
        self.trust.owe_notice(renewer.device);
        Ok(self.answer(request, &certificate, &der))
    }

    async fn suspend_clones(&self, renewer: &Renewer<'_>, request: &CsrRequest, now: Timestamp) {
        let entry = renewer
            .entry(now)
            .ended(Ended::Alert, "clone_detected")
            .with("key_sha256", request.key.fingerprint.to_string());
        let device = renewer.device;
        // The answer goes out first; the session ends with the next look at the access.
        self.cut_for_now(device, entry).durable_in_time().await;
        self.trust.owe_notice(device);
    }
}
