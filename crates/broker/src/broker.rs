//! The handle by which the gateway runs the broker.

use std::collections::HashSet;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use hearthkey_core::access::{Access, Admitted, DoorRefusal};
use hearthkey_core::id::{DeviceId, Fingerprint};
use hearthkey_core::time::Timestamp;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::accept::accept;
use crate::event::{EventSender, Events};
use crate::gate::{Gate, Places};
use crate::ledger::Ledger;
use crate::library::{Engine, is_of};
use crate::limits::Limits;
use crate::restore::restore;
use crate::sessions::{Dropped, SessionInfo, Sessions};
use crate::snapshot::Snapshotter;
use crate::state::{StateChanges, StateRow};

/// What the broker needs to run.
pub struct Config {
    /// The bound socket.
    pub listener: std::net::TcpListener,
    /// The TLS configuration for new connections; a new one takes effect at once. It must allow
    /// no resumption, and ask for client certificates.
    pub tls: watch::Receiver<Arc<ServerConfig>>,
    /// The live facts. The gateway writes them; no lock is held while the broker waits.
    pub access: Arc<RwLock<Access>>,
    /// The clock.
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Every bound.
    pub limits: Limits,
    /// The payload of the `rejected` answer when the gateway cannot take a request.
    pub busy: Bytes,
    /// Every row that the last run handed over.
    pub restored: Vec<StateRow>,
}

/// Why the broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The listener.
    #[error("the MQTT listener cannot be used")]
    Listener(#[source] io::Error),
    /// The rows of the last run.
    #[error("the sessions of the last run cannot be restored: {0}")]
    Restore(String),
}

/// Why the gateway may not publish something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Not one of the gateway's own topics.
    #[error("the gateway publishes trust and notices only, not {0:?}")]
    NotOurs(String),
    /// Longer than any packet may be.
    #[error("the payload has {0} bytes, more than a packet may have")]
    TooLong(usize),
}

/// What judging all sessions anew did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rechecked {
    /// Sessions that may not go on.
    pub dropped: Dropped,
    /// Subscriptions that are not allowed any more, of live sessions and of stored ones.
    pub subscriptions: usize,
}

/// Numbers for the status page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Connections, from before TLS.
    pub connections: usize,
    /// Live sessions of devices.
    pub sessions: usize,
    /// Events since the start that the gateway was not told of, because too many waited.
    pub unreported: u64,
}

/// What every task of the broker shares.
pub(crate) struct Shared {
    pub(crate) limits: Limits,
    pub(crate) access: Arc<RwLock<Access>>,
    pub(crate) now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    pub(crate) busy: Bytes,
    pub(crate) events: EventSender,
    pub(crate) gate: Arc<Gate>,
    /// One permit per claim connection.
    pub(crate) claims: Arc<Semaphore>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) stopping: watch::Receiver<bool>,
}

impl Shared {
    /// Judges a certificate by the access and the time as they are now.
    pub(crate) fn admit(&self, certificate: &Fingerprint) -> Result<Admitted, DoorRefusal> {
        let now = (self.now)();
        self.access
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .admit(certificate, now)
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

    /// Judges every session anew, live or stored.
    async fn recheck(&self) -> Rechecked {
        // Judged without the table's lock: the gateway may drop sessions while it holds the access.
        let mut failed = self.sessions.all();
        failed.retain(|session| {
            !self
                .admit(&session.certificate)
                .is_ok_and(|now| now.admission == session.admission)
        });
        let failed: HashSet<u64> = failed.iter().map(|session| session.connection).collect();
        let dropped = self
            .sessions
            .cut(|session| failed.contains(&session.connection));
        let mut subscriptions = 0;
        for client_id in self.engine.stored_sessions().await {
            let rights = {
                let access = self.access.read().unwrap_or_else(PoisonError::into_inner);
                let id = client_id.split('.').next().and_then(|id| id.parse().ok());
                id.and_then(|id: DeviceId| Some(access.device(&id)?.rights(&id)))
            };
            let Some(rights) = rights else { continue };
            let mut lost: Vec<String> = Vec::new();
            for (filter, _) in self.engine.subscriptions(&client_id).await {
                if !rights.may_subscribe(&filter) {
                    lost.push(filter);
                }
            }
            if !lost.is_empty() {
                self.engine.unsubscribe(&client_id, &lost).await;
                self.ledger.session_changed(&client_id);
                subscriptions += lost.len();
            }
        }
        Rechecked {
            dropped,
            subscriptions,
        }
    }
}

/// A running broker. Clones are handles to the same one; [`Broker::stop`] by any of them ends it.
/// Dropping every handle without that only closes the door: sessions stay until they leave.
#[derive(Clone)]
pub struct Broker {
    shared: Arc<Shared>,
    address: SocketAddr,
    running: Arc<Mutex<Option<Running>>>,
}

struct Running {
    stopping: watch::Sender<bool>,
    finish: oneshot::Sender<()>,
    /// Ends when the last connection's task has.
    alive: mpsc::Receiver<Infallible>,
    accepting: JoinHandle<()>,
    sweeping: JoinHandle<()>,
    snapshotting: JoinHandle<()>,
}

/// How long `forget` waits for a session's handler to let go of it.
const LETTING_GO: Duration = Duration::from_secs(3);

impl Broker {
    /// Restores what the last run left and begins to accept connections.
    pub async fn start(config: Config) -> Result<(Self, Events, StateChanges), StartError> {
        let Config {
            listener,
            tls,
            access,
            now,
            limits,
            busy,
            restored,
        } = config;
        let (listener, address) = listen(listener).map_err(StartError::Listener)?;
        let ledger = Ledger::new(&limits);
        let engine = Arc::new(Engine::new(&limits, &ledger));
        let known = restore(&engine, &ledger, restored, limits.session_expiry_max_s)
            .await
            .map_err(|error| StartError::Restore(error.to_string()))?;

        let (stop, stopping) = watch::channel(false);
        let (events, received) =
            EventSender::new(limits.events_max, limits.event_wait(), stopping.clone());
        let (changes, changed) = mpsc::channel(limits.state_batches_max.max(1));
        let (finish, finished) = oneshot::channel();
        let (account, bounds) = (Arc::clone(&ledger), limits.clone());
        let snapshotter = Snapshotter::new(Arc::clone(&engine), account, bounds, changes, known);
        let gate = Gate::new(Places {
            in_all_max: limits.connections_max,
            per_network_max: limits.connections_per_network_max,
            per_address_max: limits.connections_per_address_max,
        });
        let claims = Arc::new(Semaphore::new(limits.claim_connections_max));
        let sessions = Arc::default();
        let shared = Arc::new(Shared {
            limits,
            access,
            now,
            busy,
            events,
            gate,
            claims,
            sessions,
            ledger,
            engine,
            stopping,
        });
        let (alive, ended) = mpsc::channel(1);
        let running = Running {
            stopping: stop,
            finish,
            alive: ended,
            accepting: tokio::spawn(accept(Arc::clone(&shared), listener, tls, alive)),
            sweeping: tokio::spawn(sweep(Arc::clone(&shared))),
            snapshotting: tokio::spawn(snapshotter.run(finished)),
        };
        let running = Arc::new(Mutex::new(Some(running)));
        let broker = Self {
            shared,
            address,
            running,
        };
        Ok((broker, received, StateChanges(changed)))
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The live sessions, in no order.
    pub fn sessions(&self) -> Vec<SessionInfo> {
        self.shared.sessions.all()
    }

    /// How many sessions are live.
    pub fn session_count(&self) -> usize {
        self.shared.sessions.count()
    }

    /// Counts the comings and goings of sessions since the start.
    pub fn session_changes(&self) -> watch::Receiver<u64> {
        self.shared.sessions.changes()
    }

    /// A device's live sessions.
    pub fn sessions_of(&self, device: &DeviceId) -> Vec<SessionInfo> {
        self.shared.sessions.of(device)
    }

    /// Numbers for the status page.
    pub fn counters(&self) -> Counters {
        Counters {
            connections: self.shared.gate.connections(),
            sessions: self.shared.sessions.count(),
            unreported: self.shared.events.unreported(),
        }
    }

    /// Shuts every socket of a device. Take the device out of the access first, or it comes back.
    pub fn drop_device(&self, device: &DeviceId) -> Dropped {
        self.shared
            .sessions
            .cut(|session| session.device == *device)
    }

    /// Shuts every socket that was opened with a certificate.
    pub fn drop_certificate(&self, certificate: &Fingerprint) -> Dropped {
        self.shared
            .sessions
            .cut(|session| session.certificate == *certificate)
    }

    /// Drops a device's sessions and purges what is stored for it: subscriptions, queues, wills.
    pub async fn forget(&self, device: &DeviceId) -> Dropped {
        let dropped = self.drop_device(device);
        let its = |session: &SessionInfo| session.device == *device;
        if timeout(LETTING_GO, self.shared.sessions.none_left(its))
            .await
            .is_err()
        {
            tracing::warn!(%device, "purged a session that its handler still holds");
        }
        for client_id in self.shared.engine.stored_sessions().await {
            if is_of(&client_id, device) {
                self.shared.engine.purge(&client_id).await;
                self.shared.ledger.session_changed(&client_id);
            }
        }
        dropped
    }

    /// Drops every session that the access no longer admits as it was, and takes away every
    /// subscription that is no longer allowed. The broker does so by itself once in
    /// `Limits::sweep_period_s`, because certificates expire; call it when rights have changed.
    pub async fn recheck(&self) -> Rechecked {
        self.shared.recheck().await
    }

    /// Publishes trust material or a notice, QoS 1.
    pub async fn publish(
        &self,
        topic: &str,
        payload: Bytes,
        retain: bool,
    ) -> Result<(), PublishError> {
        if !is_gateways(topic) {
            return Err(PublishError::NotOurs(topic.chars().take(80).collect()));
        }
        if payload.len() + topic.len() + 16 > self.shared.limits.packet_max_bytes {
            return Err(PublishError::TooLong(payload.len()));
        }
        let rooms = noticed(topic).map(|device| self.shared.sessions.rooms_of(&device));
        let engine = &self.shared.engine;
        engine
            .publish(topic, payload, retain, &rooms.unwrap_or_default())
            .await;
        Ok(())
    }

    /// Whether a message is retained on a topic.
    pub fn is_retained(&self, topic: &str) -> bool {
        self.shared.ledger.is_retained(topic)
    }

    /// The payload that is retained on a topic.
    pub async fn retained(&self, topic: &str) -> Option<Bytes> {
        let messages = self.shared.engine.router.get_retained_messages(topic).await;
        messages
            .into_iter()
            .find(|message| *message.topic_name == *topic)
            .map(|message| message.payload.clone())
    }

    /// Ends the broker: no new connections, a goodbye to every session, the last state handed
    /// over. Keep taking [`StateChanges`] until it has ended. Returns when all is done, or when
    /// twice `Limits::stop_timeout_ms` have gone by; a second call returns at once.
    pub async fn stop(self) {
        let running = self
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(mut running) = running else { return };
        running.stopping.send_replace(true);
        self.shared.engine.shut_down();
        let half = self.shared.limits.stop_timeout() / 2;
        if timeout(half, running.alive.recv()).await.is_err() {
            // Those that do not take their goodbye.
            self.shared.sessions.cut(|_| true);
            if timeout(half, running.alive.recv()).await.is_err() {
                tracing::warn!("some connections did not end in time");
            }
        }
        let ended = async { tokio::join!(running.accepting, running.sweeping) };
        if timeout(half, ended).await.is_err() {
            tracing::warn!("the broker's own tasks did not end in time");
        }
        // An error means that the snapshotter has ended: nobody took its changes.
        let _ = running.finish.send(());
        if timeout(half * 2, running.snapshotting).await.is_err() {
            tracing::error!("the last state was not taken in time and is lost");
        }
    }
}

fn listen(listener: std::net::TcpListener) -> io::Result<(TcpListener, SocketAddr)> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Whether the gateway speaks on a topic: trust, and notices to one device.
pub(crate) fn is_gateways(topic: &str) -> bool {
    let trust = topic.strip_prefix("hearthkey/v1/trust/");
    noticed(topic).is_some()
        || trust.is_some_and(|rest| !rest.is_empty() && !rest.contains(['+', '#', '\0']))
}

/// The device that a notice is for.
fn noticed(topic: &str) -> Option<DeviceId> {
    let rest = topic.strip_prefix("hearthkey/v1/devices/")?;
    rest.strip_suffix("/notice")?.parse().ok()
}

async fn sweep(shared: Arc<Shared>) {
    let mut period = interval(shared.limits.sweep_period());
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stopping = shared.stopping.clone();
    loop {
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            _ = period.tick() => {}
        }
        shared.engine.sweep().await;
        shared.recheck().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_speaks_on_its_own_topics_only() {
        for ours in [
            "hearthkey/v1/trust/bundle",
            "hearthkey/v1/devices/lamp/notice",
        ] {
            assert!(is_gateways(ours), "{ours}");
        }
        for other in [
            "hearthkey/v1/trust/",
            "hearthkey/v1/trust/#",
            "hearthkey/v1/devices/lamp/renew/accepted",
            "hearthkey/v1/devices/a/b/notice",
            "home/lamp",
        ] {
            assert!(!is_gateways(other), "{other}");
        }
    }
}
