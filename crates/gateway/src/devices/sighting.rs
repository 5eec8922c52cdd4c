//! A device was seen: the proof that a certificate has arrived, and the end of its predecessor.

use std::net::SocketAddr;

use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::certificate::{Certificate, CertificateState, SECOND_SLOT};
use hearthkey_core::id::{DeviceId, Fingerprint};
use hearthkey_core::time::Timestamp;
use hearthkey_store::change::{Change, Write};

use crate::devices::Devices;
use crate::state::{device_actor, locked};

impl Devices {
    /// A device has a session now.
    pub(crate) fn has_come(&self, device: &DeviceId) {
        locked(&self.lately_connected).insert(device.clone());
    }

    /// A session was opened: noted, once a second at most.
    pub(crate) fn seen(&self, device: &DeviceId, address: SocketAddr) {
        locked(&self.sightings).insert(device.clone(), (self.ctx.now(), address));
    }

    /// A session was opened with a certificate. The first one makes it active and supersedes what it succeeds.
    pub(crate) async fn arrived(
        &self,
        device: &DeviceId,
        certificate: Fingerprint,
        address: SocketAddr,
        connection: u64,
    ) {
        let first = self
            .ctx
            .access()
            .certificate(&certificate)
            .is_some_and(|known| known.state == CertificateState::Issued);
        if first {
            let actor = device_actor(device, address, connection);
            self.activate(device, certificate, actor, self.ctx.now())
                .await;
        }
    }

    async fn activate(
        &self,
        device: &DeviceId,
        fingerprint: Fingerprint,
        actor: Actor,
        now: Timestamp,
    ) {
        let _turn = self.ctx.turns().of(device).await;
        let certificates = self
            .ctx
            .store()
            .read(|registry| registry.certificates_of(device, 16))
            .unwrap_or_default();
        let Some(arrived) = certificates.iter().find(|c| c.fingerprint == fingerprint) else {
            return;
        };
        if arrived.state != CertificateState::Issued {
            return;
        }
        let earlier: Vec<Fingerprint> = certificates
            .iter()
            .filter(|c| precedes(c, arrived))
            .map(|c| c.fingerprint)
            .collect();
        let entry = Entry::new(
            now,
            actor,
            "certificate.activate",
            format!("device:{device}"),
        )
        .with("certificate_sha256", fingerprint.to_string())
        .with("superseded", earlier.len());
        let mut change = Change::record(entry).write(Write::CertificateState(
            device.clone(),
            fingerprint,
            CertificateState::Active,
        ));
        for earlier in &earlier {
            change = change.write(supersede(device, *earlier));
        }
        if let Err(error) = self.ctx.commit(change).await {
            // Tried again at the next connection: the certificate is still `issued`.
            tracing::warn!(%error, %device, "a first connection could not be recorded");
            return;
        }
        self.ctx
            .access_mut()
            .set_certificate_state(&fingerprint, CertificateState::Active);
        self.end_predecessors(&earlier);
        self.trust.owe_notice(device);
    }

    /// Supersedes certificates whose successor was issued a day ago and never seen.
    pub(crate) async fn end_second_slots(&self, now: Timestamp) {
        let over: Vec<(Fingerprint, DeviceId)> = locked(&self.second_slots)
            .iter()
            .filter(|(_, (_, since))| now > since.after(SECOND_SLOT))
            .map(|(fingerprint, (device, _))| (*fingerprint, device.clone()))
            .collect();
        for (fingerprint, device) in over {
            // Out first, and written down then, now or in a minute.
            self.end_in_memory(&fingerprint);
            let _turn = self.ctx.turns().of(&device).await;
            let object = format!("device:{device}");
            let entry = Entry::new(now, Actor::gateway(), "certificate.supersede", object)
                .because("second_slot_over")
                .with("certificate_sha256", fingerprint.to_string());
            let change = Change::record(entry).write(supersede(&device, fingerprint));
            if self.ctx.commit(change).await.is_ok() {
                self.end_predecessors(&[fingerprint]);
                self.trust.owe_notice(&device);
            }
        }
    }

    fn end_predecessors(&self, earlier: &[Fingerprint]) {
        for fingerprint in earlier {
            self.end_in_memory(fingerprint);
            locked(&self.second_slots).remove(fingerprint);
        }
    }

    fn end_in_memory(&self, fingerprint: &Fingerprint) {
        self.ctx
            .access_mut()
            .set_certificate_state(fingerprint, CertificateState::Superseded);
        self.ctx.broker().drop_certificate(fingerprint);
    }

    /// Writes down who was seen since the last time.
    pub(crate) async fn note_sightings(&self) {
        let seen = std::mem::take(&mut *locked(&self.sightings));
        if seen.is_empty() {
            return;
        }
        let writes = seen
            .into_iter()
            .map(|(device, (at, address))| Write::Seen {
                device,
                at,
                address: address.to_string(),
            })
            .collect();
        if let Err(error) = self
            .ctx
            .commit(Change {
                writes,
                ..Change::default()
            })
            .await
        {
            tracing::warn!(%error, "sightings could not be noted");
        }
    }
}

fn precedes(earlier: &Certificate, arrived: &Certificate) -> bool {
    earlier.lineage == arrived.lineage
        && earlier.generation < arrived.generation
        && matches!(
            earlier.state,
            CertificateState::Issued | CertificateState::Active
        )
}

fn supersede(device: &DeviceId, fingerprint: Fingerprint) -> Write {
    Write::CertificateState(device.clone(), fingerprint, CertificateState::Superseded)
}
