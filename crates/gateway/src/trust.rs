//! What the gateway tells everybody: roots, CRLs, checkpoints; and each device: its notice.

use bytes::Bytes;
use hearthkey_core::certificate::{Certificate, CertificateState};
use hearthkey_core::device::DeviceState;
use hearthkey_core::id::{DeviceId, EnvironmentName, Fingerprint};
use hearthkey_core::time::{Span, Timestamp};
use hearthkey_core::topic::hearthkey as topics;
use hearthkey_pki::RevokedEntry;
use hearthkey_store::change::Write;
use hearthkey_store::registry::KnownDevice;
use serde::Serialize;

use crate::home::{Home, locked};
use crate::renew::{LOOKED_AT, asked_to_rotate};

/// How long a CRL is good for. It is made anew on every revocation and at half its life.
const CRL_LIFE: Span = Span::days(7);

/// A CRL as it was published.
pub(crate) struct PublishedCrl {
    pub(crate) der: Vec<u8>,
    pub(crate) at: Timestamp,
}

/// A device's renewal window, as it is told.
#[derive(Serialize)]
struct Notice {
    renew_after: String,
    renew_before: String,
    trust_bundle_sha256: String,
    reason: &'static str,
}

/// The registry's name of an environment's issuing CA.
pub(crate) fn issuing(environment: &EnvironmentName) -> String {
    format!("issuing/{environment}")
}

/// The certificate that a device uses, of its newest ones, newest first: while a renewed one has not been seen on a
/// connection, its answer may have been lost, and the one before is still to be renewed.
fn in_use(certificates: Vec<Certificate>) -> Option<Certificate> {
    let mut certificates = certificates.into_iter();
    let newest = certificates.next()?;
    if newest.state != CertificateState::Issued {
        return Some(newest);
    }
    let lineage = newest.lineage;
    let before = certificates
        .find(|earlier| earlier.lineage == lineage && earlier.state == CertificateState::Active);
    Some(before.unwrap_or(newest))
}

impl Home {
    /// The roots to trust, in PEM.
    pub(crate) fn trust_bundle(&self) -> String {
        self.root.pem()
    }

    async fn publish(&self, topic: &str, payload: impl Into<Bytes>) {
        if let Err(error) = self.broker.publish(topic, payload.into(), true).await {
            tracing::error!(%error, topic, "could not be published");
        }
    }

    /// Publishes the trust bundle, retained.
    pub(crate) async fn publish_bundle(&self) {
        self.publish(topics::TRUST_BUNDLE, self.trust_bundle())
            .await;
    }

    /// Publishes the newest checkpoint, retained.
    pub(crate) async fn publish_checkpoint(&self, note: Vec<u8>) {
        self.publish(topics::TRUST_CHECKPOINT, note).await;
    }

    /// A device's renewal window has changed, or the device is gone: its notice is published anew,
    /// soon. Nobody waits for that, because the device may be slow to take it.
    pub(crate) fn owe_notice(&self, device: &DeviceId) {
        locked(&self.owed_notices).insert(device.clone());
        self.outbox.notify_one();
    }

    /// A session listens to a notice. It follows from the registry and is not kept across
    /// restarts, so that it may have to be made first.
    pub(crate) fn ensure_notice(&self, device: &DeviceId) {
        if !self.broker.is_retained(&topics::notice(device)) {
            self.owe_notice(device);
        }
    }

    /// Publishes a device's renewal window, retained; nothing for a device that is gone. What is
    /// retained already is not said again. One notice of a device at a time, so that an older one
    /// never comes after a newer one.
    pub(crate) async fn publish_notice(&self, device: &DeviceId) {
        let _turn = self.notice_turns.of(device).await;
        let facts = self.store.read(|registry| {
            let certificates = registry.certificates_of(device, LOOKED_AT)?;
            Ok(registry.device(device)?.zip(in_use(certificates)))
        });
        match facts {
            Ok(facts) => {
                let notice = facts.and_then(|(known, in_use)| self.notice(&known, &in_use));
                let topic = topics::notice(device);
                let retained = self.broker.retained(&topic).await;
                let notice = notice.unwrap_or_default();
                if retained.unwrap_or_default() != notice {
                    self.publish(&topic, notice).await;
                }
            }
            Err(error) => {
                tracing::error!(%error, %device, "a notice is owed: its facts could not be read");
                // Tried again with the next minute.
                locked(&self.owed_notices).insert(device.clone());
            }
        }
    }

    fn notice(&self, known: &KnownDevice, in_use: &Certificate) -> Option<Vec<u8>> {
        if known.device.state != DeviceState::Active {
            return None;
        }
        let asked = asked_to_rotate(known, in_use);
        let opens = known.rotate_asked_at.filter(|_| asked);
        let notice = Notice {
            renew_after: opens.unwrap_or(in_use.window.renew_after).to_string(),
            renew_before: in_use.window.renew_before.to_string(),
            trust_bundle_sha256: Fingerprint::of(self.trust_bundle().as_bytes()).to_string(),
            reason: if asked { "operator" } else { "scheduled" },
        };
        serde_json::to_vec(&notice).ok()
    }

    /// Makes an environment's CRL anew and publishes it, retained. Returns the write that counts
    /// its number up, to be committed with whatever made it necessary.
    pub(crate) async fn publish_crl(&self, environment: &EnvironmentName) -> Option<Write> {
        let now = self.now();
        let issuer = self.issuer(environment)?;
        let name = issuing(environment);
        let facts = self.store.read(|registry| {
            Ok(registry
                .authority(&name)?
                .zip(Some(registry.revoked(environment, now)?)))
        });
        let ((_, number), revoked) = match facts {
            Ok(facts) => facts?,
            Err(error) => {
                tracing::error!(%error, "the revoked certificates could not be read");
                return None;
            }
        };
        let entries = revoked.into_iter().map(|revoked| RevokedEntry {
            serial: revoked.serial,
            at: revoked.at,
            reason: revoked.reason,
        });
        match issuer.crl(number + 1, entries, now, now.after(CRL_LIFE)) {
            Ok(der) => {
                self.publish(&topics::crl(environment), der.clone()).await;
                locked(&self.crls).insert(environment.clone(), PublishedCrl { der, at: now });
                Some(Write::CrlNumber(name))
            }
            Err(error) => {
                tracing::error!(%error, %environment, "the CRL could not be made");
                None
            }
        }
    }

    /// The environments whose CRL has reached half its life.
    pub(crate) fn stale_crls(&self, now: Timestamp) -> Vec<EnvironmentName> {
        let half = Span::ms(CRL_LIFE.as_ms() / 2);
        let crls = locked(&self.crls);
        crls.iter()
            .filter(|(_, crl)| now > crl.at.after(half))
            .map(|(name, _)| name.clone())
            .collect()
    }
}
