//! What every task of the broker shares.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use hearthkey_core::access::{Access, Admitted, DoorRefusal, Epoch};
use hearthkey_core::id::Fingerprint;
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
    pub(crate) sessions: Arc<Sessions>,
    /// The home.
    pub(crate) hall: Arc<Hall>,
    /// Bytes of packets that are not complete.
    pub(crate) incoming: AtomicUsize,
    pub(crate) stopping: watch::Receiver<bool>,
}

impl Shared {
    /// A room beside the home, with the same bounds.
    pub(crate) fn room(&self) -> Arc<Hall> {
        let bounds = self.hall.with(|engine, _| *engine.bounds());
        Hall::new(Engine::new(bounds, self.epoch.clone()), self.events.clone())
    }

    /// Judges a certificate by the access and the time as they are now.
    pub(crate) fn admit(&self, certificate: &Fingerprint) -> Result<Admitted, DoorRefusal> {
        let now = (self.now)();
        self.access
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .admit(certificate, now)
    }

    /// The same, as an engine keeps it: with the count of changes from before it was asked.
    pub(crate) fn judge(
        &self,
        certificate: &Fingerprint,
    ) -> Result<(Admitted, Identity), DoorRefusal> {
        let epoch = self.epoch.now();
        let admitted = self.admit(certificate)?;
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

    /// Takes room for a packet that is not complete. False if there is none.
    pub(crate) fn take_incoming(&self, bytes: usize) -> bool {
        let before = self.incoming.fetch_add(bytes, Ordering::Relaxed);
        let fits = before + bytes <= self.limits.incoming_total_max_bytes;
        if !fits {
            self.give_back_incoming(bytes);
        }
        fits
    }

    /// About what connections and messages take at this moment.
    pub(crate) fn held_bytes(&self) -> usize {
        self.hall.with(|engine, _| engine.held_bytes())
            + self.incoming.load(Ordering::Relaxed)
            + self.gate.connections() * CONNECTION_BYTES
    }

    pub(crate) fn give_back_incoming(&self, bytes: usize) {
        self.incoming.fetch_sub(bytes, Ordering::Relaxed);
    }
}
