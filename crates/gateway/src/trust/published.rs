//! What the gateway tells everybody: roots, CRLs, checkpoints; and each device: its notice.

use crate::trust::crl::PublishedCrl;
use std::sync::Arc;

use bytes::Bytes;
use hearthkey_core::certificate::{Certificate, CertificateState};
use hearthkey_core::device::DeviceState;
use hearthkey_core::id::{DeviceId, EnvironmentName, Fingerprint, hex};
use hearthkey_core::time::{Span, Timestamp};
use hearthkey_core::topic::hearthkey as topics;
use hearthkey_pki::{
    CaCertificate, CaRole, CrlError, RevokedEntry, check_crl, crl_life, crl_pem, is_issued_by,
};
use hearthkey_store::change::Write;
use hearthkey_store::registry::{KnownDevice, ReadError, RevokedCertificate};
use serde::Serialize;

use crate::state::locked;
use crate::trust::Trust;
use crate::trust::authority::{TrustError, issuing, load_authority, name_of};
use crate::trust::formers::{Former, formers};

/// How long a CRL is good for. It is made anew on every revocation and at half its life.
const CRL_LIFE: Span = Span::days(7);
/// How long the root's is good for. It is empty, and the root's key is used as seldom as possible: it is kept, and made
/// anew at half its life.
const ROOT_CRL_LIFE: Span = Span::days(90);
/// The registry's name of the root's CRL.
pub(crate) const ROOT_CRL: &str = "root_crl";

/// The certificates of a device that a renewal looks at: the newest few are enough, because
/// only a live one can be presented.
pub(crate) const LOOKED_AT: u32 = 16;

/// Why there is no CRL.
#[derive(Debug, thiserror::Error)]
enum CrlFailure {
    #[error(transparent)]
    Home(#[from] TrustError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Crl(#[from] CrlError),
}

/// The CRL of a CA that signed before.
struct FormerCrl {
    /// The CA's SubjectKeyIdentifier.
    ski: Vec<u8>,
    der: Vec<u8>,
}

/// A device's renewal window, as it is told.
#[derive(Serialize)]
struct Notice {
    renew_after: String,
    renew_before: String,
    trust_bundle_sha256: String,
    reason: &'static str,
}

/// Where a CA's CRL is retained.
fn topic_of(ca: &CaRole) -> String {
    match ca {
        CaRole::Root => topics::ROOT_CRL.into(),
        CaRole::Server => topics::SERVER_CRL.into(),
        CaRole::Issuing(environment) => topics::crl(environment),
    }
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

impl Trust {
    /// The roots to trust, in PEM.
    pub(crate) fn trust_bundle(&self) -> String {
        self.ctx.root().pem()
    }

    async fn publish(&self, topic: &str, payload: impl Into<Bytes>) {
        if let Err(error) = self.ctx.broker().publish(topic, payload.into(), true).await {
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
        self.ctx.outbox().notify_one();
    }

    /// A session listens to a notice. It follows from the registry and is not kept across
    /// restarts, so that it may have to be made first.
    pub(crate) fn ensure_notice(&self, device: &DeviceId) {
        if !self.ctx.broker().is_retained(&topics::notice(device)) {
            self.owe_notice(device);
        }
    }

    /// Publishes a device's renewal window, retained; nothing for a device that is gone. What is
    /// retained already is not said again. One notice of a device at a time, so that an older one
    /// never comes after a newer one.
    pub(crate) async fn publish_notice(&self, device: &DeviceId) {
        let _turn = self.notice_turns.of(device).await;
        let facts = self.ctx.store().read(|registry| {
            let certificates = registry.certificates_of(device, LOOKED_AT)?;
            Ok(registry.device(device)?.zip(in_use(certificates)))
        });
        match facts {
            Ok(facts) => {
                let notice = facts.and_then(|(known, in_use)| self.notice(&known, &in_use));
                let topic = topics::notice(device);
                let retained = self.ctx.broker().retained(&topic).await;
                let notice = notice.unwrap_or_default();
                if retained.unwrap_or_default() != notice {
                    self.publish(&topic, notice).await;
                }
            }
            Err(error) => {
                tracing::error!(%error, %device, "a notice is pending: its facts could not be read");
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

    /// Publishes a CA's CRL, retained, made anew unless it is the root's and the one that is kept will do. Returns what
    /// is to be written down with whatever made it necessary.
    pub(crate) async fn publish_crl(&self, ca: &CaRole) -> Vec<Write> {
        let now = self.ctx.now();
        let kept = match ca {
            CaRole::Root => self.kept_root_crl(now),
            _ => None,
        };
        let (crl, writes) = match kept {
            Some(kept) => (kept, Vec::new()),
            None => match tokio::task::block_in_place(|| self.new_crl(ca, now)) {
                Ok(made) => made,
                Err(error) => {
                    tracing::error!(%error, ca = name_of(ca), "the CRL could not be made");
                    return Vec::new();
                }
            },
        };
        self.publish(&topic_of(ca), crl.der.clone()).await;
        locked(&self.crls).insert(ca.clone(), crl);
        if let CaRole::Issuing(environment) = ca {
            self.publish_former_crls(environment, now).await;
        }
        writes
    }

    /// Publishes the CRLs of the CAs that signed for an environment before: the same list under the same number, signed with
    /// their keys, for who holds a certificate of theirs.
    async fn publish_former_crls(&self, environment: &EnvironmentName, now: Timestamp) {
        let made = tokio::task::block_in_place(|| self.former_crls(environment, now));
        let made = made.unwrap_or_else(|error| {
            tracing::error!(%error, %environment, "the CRLs of earlier CAs could not be made");
            Vec::new()
        });
        for FormerCrl { ski, der } in &made {
            let topic = topics::former_crl(environment, &hex(ski));
            self.publish(&topic, der.clone()).await;
        }
        let ders = made.into_iter().map(|crl| crl.der).collect();
        locked(&self.former_crls).insert(environment.clone(), ders);
    }

    fn former_crls(
        &self,
        environment: &EnvironmentName,
        now: Timestamp,
    ) -> Result<Vec<FormerCrl>, CrlFailure> {
        let formers = formers(self.ctx.store())?;
        let mut made = Vec::new();
        for former in formers.iter().filter(|one| one.environment == *environment) {
            let (number, revoked) = self.ctx.store().read(|registry| {
                let signs = registry.authority(&issuing(environment))?;
                let number = signs.map_or(0, |(_, number)| number) + 1;
                Ok((number, registry.revoked(environment, now)?))
            })?;
            let authority = load_authority(self.ctx.store(), &former.name)?;
            let next = now.after(CRL_LIFE);
            let der = authority.crl(number, entries(revoked), now, next)?;
            made.push(FormerCrl {
                ski: former.certificate.ski.clone(),
                der,
            });
        }
        Ok(made)
    }

    /// Takes the CRL of a CA back that nobody needs any more.
    pub(crate) async fn withdraw_crl_of(&self, former: &Former) {
        let ski = hex(&former.certificate.ski);
        let topic = topics::former_crl(&former.environment, &ski);
        self.publish(&topic, Bytes::new()).await;
        let now = self.ctx.now();
        self.publish_former_crls(&former.environment, now).await;
    }

    /// Every CRL of an environment in PEM: that of the CA that signs, then those of the CAs before it.
    pub(crate) fn crls_in_pem(&self, environment: &EnvironmentName) -> Option<String> {
        let signs = self.crl_of(&CaRole::Issuing(environment.clone()))?;
        let before = locked(&self.former_crls);
        let before = before.get(environment).into_iter().flatten();
        Some(
            std::iter::once(&signs)
                .chain(before)
                .map(|der| crl_pem(der))
                .collect(),
        )
    }

    /// The certificate of the CA that signed a device's certificate, in PEM; empty if that CA is forgotten.
    pub(crate) fn issuer_pem(&self, environment: &EnvironmentName, der: &[u8]) -> String {
        let signs = self.ctx.issuer(environment);
        let signs = signs.map(|issuer| issuer.certificate().clone());
        let signed = |ca: &CaCertificate| is_issued_by(der, ca);
        if let Some(ca) = signs.filter(signed) {
            return ca.pem();
        }
        let before = formers(self.ctx.store()).unwrap_or_default();
        let before = before.into_iter().map(|former| former.certificate);
        before
            .filter(signed)
            .map(|ca| ca.pem())
            .next()
            .unwrap_or_default()
    }

    /// The root's CRL as it was last written down, if that is still to be used.
    fn kept_root_crl(&self, now: Timestamp) -> Option<PublishedCrl> {
        let der = self.ctx.store().read(|registry| registry.setting(ROOT_CRL));
        let der = der.ok()??;
        check_crl(&der, self.ctx.root()).ok()?;
        let (at, next) = crl_life(&der)?;
        let kept = PublishedCrl { der, at, next };
        (!kept.is_stale(now)).then_some(kept)
    }

    /// A CRL with the next number, and what counts that number up. Those of the root and the server CA are empty: what
    /// they have signed is replaced and never taken back.
    fn new_crl(
        &self,
        ca: &CaRole,
        now: Timestamp,
    ) -> Result<(PublishedCrl, Vec<Write>), CrlFailure> {
        let name = name_of(ca);
        let number = self
            .ctx
            .store()
            .read(|registry| registry.authority(&name))?;
        let number = number.map_or(0, |(_, number)| number) + 1;
        let (authority, revoked, life) = match ca {
            CaRole::Issuing(environment) => (
                self.ctx.issuer(environment),
                self.ctx
                    .store()
                    .read(|registry| registry.revoked(environment, now))?,
                CRL_LIFE,
            ),
            CaRole::Server => (None, Vec::new(), CRL_LIFE),
            CaRole::Root => (None, Vec::new(), ROOT_CRL_LIFE),
        };
        let authority = match authority {
            Some(issuer) => issuer,
            None => Arc::new(load_authority(self.ctx.store(), &name)?),
        };
        let next = now.after(life);
        let der = authority.crl(number, entries(revoked), now, next)?;
        let mut writes = vec![Write::CrlNumber(name)];
        if *ca == CaRole::Root {
            writes.push(Write::Setting(ROOT_CRL, der.clone()));
        }
        Ok((PublishedCrl { der, at: now, next }, writes))
    }

    /// A CA's CRL in DER, as it was last published.
    pub(crate) fn crl_of(&self, ca: &CaRole) -> Option<Vec<u8>> {
        locked(&self.crls).get(ca).map(|crl| crl.der.clone())
    }

    /// The CAs whose CRL has reached half its life.
    pub(crate) fn stale_crls(&self, now: Timestamp) -> Vec<CaRole> {
        let crls = locked(&self.crls);
        let stale = crls.iter().filter(|(_, crl)| crl.is_stale(now));
        // What could not be made when the home was opened is made now.
        let missing = [CaRole::Root, CaRole::Server].into_iter();
        let missing = missing.filter(|ca| !crls.contains_key(ca));
        stale.map(|(ca, _)| ca.clone()).chain(missing).collect()
    }
}

fn entries(revoked: Vec<RevokedCertificate>) -> impl Iterator<Item = RevokedEntry> {
    revoked.into_iter().map(|revoked| RevokedEntry {
        serial: revoked.serial,
        at: revoked.at,
        reason: revoked.reason,
    })
}

/// Whether an operator has asked for a rotation that this certificate has not answered yet.
pub(crate) fn asked_to_rotate(known: &KnownDevice, certificate: &Certificate) -> bool {
    known
        .rotate_asked_at
        .is_some_and(|asked| asked > certificate.issued_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crl_is_made_anew_at_half_its_life_and_where_it_has_not_begun() {
        let at = Timestamp::from_s(1_000_000_000);
        let next = at.after(ROOT_CRL_LIFE);
        let crl = PublishedCrl {
            der: Vec::new(),
            at,
            next,
        };
        assert!(!crl.is_stale(at));
        assert!(!crl.is_stale(at.after(Span::days(45))));
        assert!(crl.is_stale(at.after(Span::days(46))));
        assert!(crl.is_stale(at.before(Span::minutes(1))));
    }
}
