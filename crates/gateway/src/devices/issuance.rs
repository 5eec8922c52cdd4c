//! What enrollment and renewal share: from a signed order to a certificate in the device's hands.

use bytes::Bytes;
use hearthkey_broker::Reply;
use hearthkey_core::access::{CertificateAccess, Cuts};
use hearthkey_core::certificate::{Certificate, IssuanceOrder};
use hearthkey_core::id::{DeviceId, EnvironmentName, Fingerprint};
use hearthkey_core::rejection::{Code, Rejection};
use hearthkey_core::time::Timestamp;
use hearthkey_pki::{IssueError, Issued};
use hearthkey_store::CommitError;
use hearthkey_store::registry::ReadError;

use crate::devices::Devices;
use crate::devices::csr_request::{Accepted, CsrRequest};

/// How often a decision is made anew because the facts changed under it.
pub(crate) const DECISIONS_MAX: usize = 4;

/// What a request came to.
pub(crate) type Outcome = Result<Vec<u8>, Rejection>;

/// The code for a change that could not be made durable.
pub(crate) fn code_of(error: &CommitError) -> Code {
    match error {
        CommitError::Sealed => Code::GatewaySealed,
        CommitError::Conflict | CommitError::Changed => Code::RateLimited,
        CommitError::Unfit(_)
        | CommitError::Unavailable(_)
        | CommitError::Unknown(_)
        | CommitError::ReadOnly(_) => Code::StorageUnavailable,
    }
}

/// The refusal for facts that could not be read.
pub(crate) fn unreadable(error: &ReadError) -> Rejection {
    tracing::error!(%error, "the facts could not be read");
    Code::StorageUnavailable.into()
}

impl Devices {
    /// When the CA ends that signs for an environment; at once, if there is none.
    pub(crate) fn issuer_ends(&self, environment: &EnvironmentName) -> Timestamp {
        let issuer = self.ctx.issuer(environment);
        issuer.map_or(Timestamp::from_s(0), |issuer| {
            issuer.certificate().not_after
        })
    }

    /// Signs an order with the issuing CA of its environment.
    pub(crate) fn sign(&self, order: IssuanceOrder) -> Result<Issued, Rejection> {
        let Some(issuer) = self.ctx.issuer(order.environment()) else {
            tracing::error!(environment = %order.environment(), "no issuing CA");
            return Err(Code::StorageUnavailable.into());
        };
        issuer.sign(order).map_err(|error| {
            tracing::error!(%error, "a certificate could not be signed");
            match error {
                IssueError::OutlivesItsCa { .. } => Code::IssuerEnded.into(),
                _ => Code::StorageUnavailable.into(),
            }
        })
    }

    /// Lets a certificate in that is durable now, and was issued by a decision that saw these cuts.
    pub(crate) fn let_in(&self, certificate: &Certificate, seen: Cuts) {
        self.let_in_as(certificate, seen, false);
    }

    /// The same, to renew and to do nothing else.
    pub(crate) fn let_in_for_renewal(&self, certificate: &Certificate, seen: Cuts) {
        self.let_in_as(certificate, seen, true);
    }

    fn let_in_as(&self, certificate: &Certificate, seen: Cuts, renews_only: bool) {
        let access = CertificateAccess {
            device: certificate.device.clone(),
            state: certificate.state,
            not_after: certificate.not_after,
            renews_only,
        };
        self.ctx
            .access_mut()
            .let_in(certificate.fingerprint, access, seen);
    }

    /// The answer that carries a certificate.
    pub(crate) fn answer(
        &self,
        request: &CsrRequest,
        certificate: &Certificate,
        der: &[u8],
    ) -> Vec<u8> {
        request.answer(Accepted {
            certificate,
            der,
            issuer_pem: self.trust.issuer_pem(&certificate.environment, der),
            trust_bundle: self.trust.trust_bundle(),
        })
    }

    /// The answer that carries a certificate that was issued before.
    pub(crate) fn redeliver(
        &self,
        request: &CsrRequest,
        device: &DeviceId,
        fingerprint: &Fingerprint,
    ) -> Outcome {
        let seen = self.ctx.access().cuts(device);
        let found = self.ctx.store().read(|registry| {
            let certificate = registry.certificate(device, fingerprint)?;
            Ok(certificate.zip(registry.certificate_der(device, fingerprint)?))
        });
        match found {
            Ok(Some((certificate, der))) => {
                if self.ctx.access().certificate(fingerprint).is_none() {
                    self.let_in(&certificate, seen);
                }
                Ok(self.answer(request, &certificate, &der))
            }
            Ok(None) => Err(Code::ClaimUsed.into()),
            Err(error) => Err(unreadable(&error)),
        }
    }
}

/// Whether a request has to wait for a person.
pub(crate) fn is_held(outcome: &Outcome) -> bool {
    matches!(outcome, Err(rejection) if rejection.code == Code::ApprovalRequired)
}

/// Answers a device.
pub(crate) async fn send(reply: &Reply, outcome: Outcome) {
    let delivered = match outcome {
        Ok(payload) => reply.accepted(Bytes::from(payload)).await,
        Err(rejection) => reply.rejected(Bytes::from(rejection.to_json())).await,
    };
    tracing::debug!(?delivered, "answered");
}
