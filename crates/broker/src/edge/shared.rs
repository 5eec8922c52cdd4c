//! What every task of the broker shares.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use hearthkey_core::access::{Access, Admitted, DoorRefusal, Epoch, RENEWAL_CLIENT_ID};
use hearthkey_core::certificate::CertificateState;
use hearthkey_core::id::{ClaimId, Fingerprint};
use hearthkey_core::time::Timestamp;
use tokio::sync::{Semaphore, watch};

use crate::edge::hall::Hall;
use crate::edge::sessions::Sessions;
use crate::engine::{Engine, Identity};
use crate::event::EventSender;
use crate::gate::Gate;
use crate::limits::Limits;

/// About what a connection takes without its messages.
const CONNECTION_BYTES: usize = 32 * 1024;

pub(crate) struct Shared {
    pub(crate) limits: Limits,
    pub(crate) access: Arc<RwLock<Access>>,
    pub(crate) epoch: Epoch,
    pub(crate) now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    pub(crate) busy: Bytes,
    pub(crate) events: EventSender,
    pub(crate) gate: Arc<Gate>,
    /// One permit for each claim's connection.
    pub(crate) claims: Arc<Semaphore>,
    /// How many connections each claim has.
    pub(crate) by_claim: Mutex<HashMap<ClaimId, usize>>,
    pub(crate) sessions: Arc<Sessions>,
    /// The home.
    pub(crate) hall: Arc<Hall>,
    /// Bytes of packets that are not complete.
    pub(crate) incoming: AtomicUsize,
    pub(crate) stopping: watch::Receiver<bool>,
}

impl Shared {
    pub(crate) fn of_claims(&self) -> MutexGuard<'_, HashMap<ClaimId, usize>> {
        self.by_claim.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A room beside the home, with the same bounds.
    pub(crate) fn room(&self) -> Arc<Hall> {
        let bounds = self.hall.with(|engine, _| *engine.bounds());
        Hall::new(Engine::new(bounds, self.epoch.clone()), self.events.clone())
    }

    /// Judges a certificate, shown under a client id, by the access and the time as they are now.
    pub(crate) fn admit(
        &self,
        certificate: &Fingerprint,
        client_id: &str,
    ) -> Result<Admitted, DoorRefusal> {
        let now = (self.now)();
        let admitted = self
            .access
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .admit(certificate, now)?;
        Ok(match client_id {
            RENEWAL_CLIENT_ID => admitted.renewing_only(),
            _ => admitted,
        })
    }

    /// Whether a certificate was never seen on a connection before.
    pub(crate) fn is_new(&self, certificate: &Fingerprint) -> bool {
        let access = self.access.read().unwrap_or_else(PoisonError::into_inner);
        let known = access.certificate(certificate);
        known.is_some_and(|known| known.state == CertificateState::Issued)
    }

    /// The same, as an engine keeps it: with the count of changes from before it was asked.
    pub(crate) fn judge(
        &self,
        certificate: &Fingerprint,
        client_id: &str,
    ) -> Result<(Admitted, Identity), DoorRefusal> {
        let epoch = self.epoch.now();
        let admitted = self.admit(certificate, client_id)?;
        let identity = Identity {
            certificate: Some(*certificate),
            admission: admitted.admission,
            rights: Arc::clone(&admitted.rights),
            epoch,
        };
        Ok((admitted, identity))
    }

    /// Whether a connection without a certificate may be expected.
    pub(crate) fn expects_a_guest(&self) -> bool {
        let now = (self.now)();
        self.access
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .bell(now)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// About what connections and messages take at this moment.
    pub(crate) fn held_bytes(&self) -> usize {
        self.hall.with(|engine, _| engine.held_bytes())
            + self.incoming.load(Ordering::Relaxed)
            + self.gate.connections() * CONNECTION_BYTES
    }
}

/// What one connection holds of the bytes of packets that are not complete. It is given back with this value.
pub(crate) struct Incoming<S: Deref<Target = Shared>> {
    shared: S,
    /// What all connections of its device hold, if it has one.
    of_device: Option<Arc<AtomicUsize>>,
    held: usize,
}

impl<S: Deref<Target = Shared>> Incoming<S> {
    /// Nothing yet, of nobody's share.
    pub(crate) fn new(shared: S) -> Self {
        Self::of(shared, None)
    }

    /// Nothing yet, of a device's share.
    pub(crate) fn of(shared: S, of_device: Option<Arc<AtomicUsize>>) -> Self {
        Self {
            shared,
            of_device,
            held: 0,
        }
    }

    /// What its bytes count against, and how many may be held there.
    fn bounds(&self) -> impl Iterator<Item = (&AtomicUsize, usize)> {
        let limits = &self.shared.limits;
        let home = (&self.shared.incoming, limits.incoming_total_max_bytes);
        let device = self.of_device.as_deref();
        let device = device.map(|held| (held, limits.incoming_device_max_bytes));
        [Some(home), device].into_iter().flatten()
    }

    /// Holds so many bytes, in place of what was held before. False, and nothing is changed, if its device or the home has no
    /// room for more.
    pub(crate) fn hold(&mut self, bytes: usize) -> bool {
        let Some(more) = bytes.checked_sub(self.held) else {
            self.give_back(self.held - bytes);
            self.held = bytes;
            return true;
        };
        let mut fits = true;
        for (held, max) in self.bounds() {
            fits &= held.fetch_add(more, Ordering::Relaxed) + more <= max;
        }
        fits |= more == 0;
        match fits {
            true => self.held = bytes,
            false => self.give_back(more),
        }
        fits
    }

    fn give_back(&self, bytes: usize) {
        for (held, _) in self.bounds() {
            held.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

impl<S: Deref<Target = Shared>> Drop for Incoming<S> {
    fn drop(&mut self) {
        self.give_back(self.held);
    }
}
