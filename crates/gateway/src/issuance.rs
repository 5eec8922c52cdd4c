//! What enrollment and renewal share: from a signed order to a certificate in the device's hands.

use hearthkey_core::access::{CertificateAccess, Cuts};
use hearthkey_core::certificate::{Certificate, IssuanceOrder};
use hearthkey_core::id::{DeviceId, Fingerprint};
use hearthkey_core::rejection::{Code, Rejection};
use hearthkey_pki::Issued;
use hearthkey_store::CommitError;
use hearthkey_store::registry::ReadError;

use crate::home::Home;
use crate::request::{Accepted, CsrRequest};

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

impl Home {
    /// Signs an order with the issuing CA of its environment.
    pub(crate) fn sign(&self, order: IssuanceOrder) -> Result<Issued, Rejection> {
        let Some(issuer) = self.issuer(order.environment()) else {
            tracing::error!(environment = %order.environment(), "no issuing CA");
            return Err(Code::StorageUnavailable.into());
        };
        issuer.sign(order).map_err(|error| {
            tracing::error!(%error, "a certificate could not be signed");
            Code::StorageUnavailable.into()
        })
    }

    /// Lets a certificate in that is durable now, and was issued by a decision that saw these cuts.
    pub(crate) fn let_in(&self, certificate: &Certificate, seen: Cuts) {
        let access = CertificateAccess {
            device: certificate.device.clone(),
            state: certificate.state,
            not_after: certificate.not_after,
        };
        self.access_mut()
            .let_in(certificate.fingerprint, access, seen);
    }

    /// The answer that carries a certificate.
    pub(crate) fn answer(
        &self,
        request: &CsrRequest,
        certificate: &Certificate,
        der: &[u8],
    ) -> Vec<u8> {
        let issuer = self.issuer(&certificate.environment);
        request.answer(Accepted {
            certificate,
            der,
            issuer_pem: issuer
                .map(|issuer| issuer.certificate().pem())
                .unwrap_or_default(),
            trust_bundle: self.trust_bundle(),
        })
    }

    /// The answer that carries a certificate that was issued before.
    pub(crate) fn redeliver(
        &self,
        request: &CsrRequest,
        device: &DeviceId,
        fingerprint: &Fingerprint,
    ) -> Outcome {
        let seen = self.access().cuts(device);
        let found = self.store.read(|registry| {
            let certificate = registry.certificate(device, fingerprint)?;
            Ok(certificate.zip(registry.certificate_der(device, fingerprint)?))
        });
        match found {
            Ok(Some((certificate, der))) => {
                if self.access().certificate(fingerprint).is_none() {
                    self.let_in(&certificate, seen);
                }
                Ok(self.answer(request, &certificate, &der))
            }
            Ok(None) => Err(Code::ClaimUsed.into()),
            Err(error) => Err(unreadable(&error)),
        }
    }
}
