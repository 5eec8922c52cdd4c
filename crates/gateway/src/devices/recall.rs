//! Certificates that were forgotten in memory by a time that home time has left.

use hearthkey_core::access::{CertificateAccess, REMEMBERED};
use hearthkey_core::time::Timestamp;
use hearthkey_store::registry::ReadError;

use crate::devices::Devices;

impl Devices {
    /// Recalls the certificates that are remembered at this time. What is known of one stays as it is.
    pub(crate) fn recall_certificates(&self, now: Timestamp) -> Result<(), ReadError> {
        let mut missing = Vec::new();
        self.ctx.store().read(|registry| {
            registry.each_certificate_since(now.before(REMEMBERED), |certificate| {
                if self
                    .ctx
                    .access()
                    .certificate(&certificate.fingerprint)
                    .is_none()
                {
                    missing.push(certificate);
                }
            })
        })?;
        let mut access = self.ctx.access_mut();
        for certificate in missing {
            // It may have been issued or revoked meanwhile.
            if access.certificate(&certificate.fingerprint).is_none() {
                access.set_certificate(
                    certificate.fingerprint,
                    CertificateAccess {
                        device: certificate.device,
                        state: certificate.state,
                        not_after: certificate.not_after,
                        renews_only: false,
                    },
                );
            }
        }
        Ok(())
    }
}
