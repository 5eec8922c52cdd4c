//! The handle by which the gateway runs the broker.

use std::collections::HashSet;
use std::convert::Infallible;
use std::io;
use std::iter;
use std::net::SocketAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use hearthkey_core::access::{Access, Epoch};
use hearthkey_core::device::DeviceState;
use hearthkey_core::id::{DeviceId, Fingerprint};
use hearthkey_core::time::Timestamp;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::edge::accept::accept;
use crate::edge::hall::Hall;
use crate::edge::sessions::{Dropped, SessionInfo};
use crate::edge::shared::Shared;
use crate::edge::{keeper, socket};
use crate::engine::bounds::Bounds;
use crate::engine::session::Owner;
use crate::engine::{Engine, Moment, Verdict};
use crate::event::{EventSender, Events};
use crate::gate::{Gate, Places};
use crate::limits::Limits;
use crate::state::{StateChanges, StateRow};

/// Retained messages that are looked at at a time.
const RETAINED_AT_ONCE: usize = 256;

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
    /// Events since the start that were not reported to the gateway, because too many were waiting.
    pub unreported: u64,
}

/// A running broker. Clones are handles to the same one; [`Broker::stop`] by any of them ends it.
/// Dropping every handle without that only closes the listener: sessions stay until they leave.
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
    keeping_time: JoinHandle<()>,
    sweeping: JoinHandle<()>,
    handing_over: JoinHandle<()>,
}

/// The clock.
type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

fn shared(
    engine: Engine,
    (limits, access, epoch, now): (Limits, Arc<RwLock<Access>>, Epoch, Now),
    events: EventSender,
    stopping: watch::Receiver<bool>,
) -> Arc<Shared> {
    Arc::new(Shared {
        gate: Gate::new(Places {
            in_all_max: limits.connections_max,
            per_network_max: limits.connections_per_network_max,
            per_address_max: limits.connections_per_address_max,
        }),
        claims: Arc::new(Semaphore::new(limits.claim_connections_max)),
        hall: Hall::new(engine, events.clone()),
        limits,
        access,
        epoch,
        now,
        busy: Bytes::new(),
        events,
        sessions: Arc::default(),
        by_claim: Mutex::default(),
        incoming: AtomicUsize::new(0),
        stopping,
    })
}

impl Broker {
    /// A broker that nobody can connect to: no listener, no tasks, no state that is handed over. Use cases are tried with it.
    pub fn unreachable(
        access: Arc<RwLock<Access>>,
        now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    ) -> Self {
        let (_, stopping) = watch::channel(false);
        let limits = Limits::default();
        let (events, _) =
            EventSender::new(limits.events_max, limits.event_wait(), stopping.clone());
        let epoch = access
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .epoch();
        let engine = Engine::new(Bounds::new(&limits), epoch.clone());
        Self {
            shared: shared(engine, (limits, access, epoch, now), events, stopping),
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            running: Arc::default(),
        }
    }

    /// Restores what the last run left and begins to accept connections.
    pub async fn start(config: Config) -> Result<(Self, Events, StateChanges), StartError> {
        let (listener, address) = listen(config.listener).map_err(StartError::Listener)?;
        let (stop, stopping) = watch::channel(false);
        let limits = &config.limits;
        let (events, received) =
            EventSender::new(limits.events_max, limits.event_wait(), stopping.clone());
        let (changes, changed) = mpsc::channel(limits.state_batches_max.max(1));
        let (finish, finished) = oneshot::channel();
        let epoch = config
            .access
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .epoch();
        let mut engine = Engine::new(Bounds::new(limits), epoch.clone());
        restore(&mut engine, config.restored, (config.now)());
        let facts = (config.limits, config.access, epoch, config.now);
        let mut shared = shared(engine, facts, events, stopping);
        if let Some(shared) = Arc::get_mut(&mut shared) {
            shared.busy = config.busy;
        }
        // Before anybody comes: what may no longer be delivered is not waited with.
        shared.recheck();
        let (alive, ended) = mpsc::channel(1);
        let running = Running {
            stopping: stop,
            finish,
            alive: ended,
            accepting: tokio::spawn(accept(Arc::clone(&shared), listener, config.tls, alive)),
            keeping_time: tokio::spawn(keeper::keep_time(Arc::clone(&shared))),
            sweeping: tokio::spawn(keeper::sweep(Arc::clone(&shared))),
            handing_over: tokio::spawn(keeper::hand_over(Arc::clone(&shared), changes, finished)),
        };
        let broker = Self {
            shared,
            address,
            running: Arc::new(Mutex::new(Some(running))),
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
    ///
    /// Waits for no connection. When it returns, nothing more is taken from the device or given to it.
    pub fn drop_device(&self, device: &DeviceId) -> Dropped {
        let dropped = self.shared.sessions.cut_device(device);
        let owner = Owner::Device(device.clone());
        self.shared.cut_in_all_rooms(
            |its, _| *its == owner,
            self.shared.sessions.rooms_of(device),
        );
        dropped
    }

    /// Shuts every socket that was opened with a certificate.
    pub fn drop_certificate(&self, certificate: &Fingerprint) -> Dropped {
        let dropped = self
            .shared
            .sessions
            .cut(|session| session.certificate == *certificate);
        self.shared.cut_in_all_rooms(
            |_, its| its == Some(*certificate),
            self.shared.sessions.rooms(),
        );
        dropped
    }

    /// Drops a device's sessions and purges what is stored for it: subscriptions, queues, wills.
    pub async fn forget(&self, device: &DeviceId) -> Dropped {
        let dropped = self.drop_device(device);
        let owner = Owner::Device(device.clone());
        self.shared
            .hall
            .with(|engine, now_ms| engine.forget(&owner, |_| true, now_ms));
        dropped
    }

    /// Drops every session that the access no longer admits as it was, and takes away every
    /// subscription that is no longer allowed. The broker does so by itself once in
    /// `Limits::sweep_period_s`, because certificates expire; call it when rights have changed.
    pub async fn recheck(&self) -> Rechecked {
        self.shared.recheck()
    }

    /// Forgets what devices have retained where they may not publish any more. Subscribers are not notified: the next reader finds
    /// nothing.
    pub async fn forget_unfounded(&self, may_publish: impl Fn(&DeviceId, &str) -> bool) {
        let hall = &self.shared.hall;
        let mut after = None;
        loop {
            let looked_at =
                hall.with(|engine, _| engine.retained_of_devices(after.as_ref(), RETAINED_AT_ONCE));
            let Some((last, _)) = looked_at.last() else {
                return;
            };
            after = Some(last.clone());
            for (topic, device) in looked_at {
                let is_founded =
                    str::from_utf8(&topic).is_ok_and(|topic| may_publish(&device, topic));
                if !is_founded {
                    hall.with(|engine, _| engine.forget_retained(&topic, &device));
                }
            }
            // Others have their turn.
            tokio::task::yield_now().await;
        }
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
        for hall in iter::once(Arc::clone(&self.shared.hall)).chain(rooms.unwrap_or_default()) {
            let payload = payload.clone();
            hall.with(|engine, now_ms| engine.publish_own(topic, payload, retain, now_ms));
        }
        Ok(())
    }

    /// Whether a message is retained on a topic.
    pub fn is_retained(&self, topic: &str) -> bool {
        self.shared
            .hall
            .with(|engine, _| engine.retained_on(topic).is_some())
    }

    /// The payload that is retained on a topic.
    pub async fn retained(&self, topic: &str) -> Option<Bytes> {
        self.shared.hall.with(|engine, _| engine.retained_on(topic))
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
        let halls = iter::once(Arc::clone(&self.shared.hall)).chain(self.shared.sessions.rooms());
        for hall in halls {
            hall.with(|engine, now_ms| engine.close(now_ms));
        }
        let half = self.shared.limits.stop_timeout() / 2;
        if timeout(half, running.alive.recv()).await.is_err() {
            // Those that do not take their goodbye.
            self.shared.sessions.cut(|_| true);
            if timeout(half, running.alive.recv()).await.is_err() {
                tracing::warn!("some connections did not end in time");
            }
        }
        let ended =
            async { tokio::join!(running.accepting, running.keeping_time, running.sweeping) };
        if timeout(half, ended).await.is_err() {
            tracing::warn!("the broker's own tasks did not end in time");
        }
        // An error means that the task has ended: nobody took its changes.
        let _ = running.finish.send(());
        if timeout(half * 2, running.handing_over).await.is_err() {
            tracing::error!("the last state was not taken in time and is lost");
        }
    }
}

/// Takes up what the last run left.
fn restore(engine: &mut Engine, rows: Vec<StateRow>, now: Timestamp) {
    let home_s = now.as_s();
    let unreadable = engine.restore(rows, Moment { now_ms: 0, home_s });
    if unreadable > 0 {
        tracing::warn!(
            unreadable,
            "rows of an earlier run could not be read and were dropped"
        );
    }
}

fn listen(listener: std::net::TcpListener) -> io::Result<(TcpListener, SocketAddr)> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    socket::prepare(&listener);
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

impl Shared {
    /// Ends sessions in the home and in rooms of their own, after their sockets were shut.
    fn cut_in_all_rooms(
        &self,
        fits: impl Fn(&Owner, Option<Fingerprint>) -> bool,
        rooms: Vec<Arc<Hall>>,
    ) {
        for hall in iter::once(Arc::clone(&self.hall)).chain(rooms) {
            hall.with(|engine, now_ms| {
                engine.cut(|key, its| fits(&key.owner, its.certificate), now_ms);
            });
        }
    }

    /// The state of a device, by the access as it is now.
    fn verdict(&self, device: &DeviceId, bounds: &Bounds) -> Verdict {
        let access = self.access.read().unwrap_or_else(PoisonError::into_inner);
        match access.device(device) {
            Some(known) if known.state == DeviceState::Active => Verdict::Active {
                rights: known.rights(device),
                bounds: bounds.of(known.profile.room, known.profile.sessions_max),
            },
            Some(known) if !known.state.is_over() => Verdict::ShutOut,
            _ => Verdict::Over,
        }
    }

    /// Judges every session anew, live or left behind.
    pub(crate) fn recheck(&self) -> Rechecked {
        // Judged without the table's lock: the gateway may drop sessions while it holds the access.
        let mut failed = self.sessions.all();
        failed.retain(|session| {
            !self
                .admit(&session.certificate, &session.client_id)
                .is_ok_and(|now| now.admission == session.admission)
        });
        let failed: HashSet<u64> = failed.iter().map(|session| session.connection).collect();
        let dropped = self
            .sessions
            .cut(|session| failed.contains(&session.connection));
        if !failed.is_empty() {
            self.hall
                .with(|engine, now_ms| engine.cut_connections(&failed, now_ms));
        }
        let mut subscriptions = 0;
        let (standings, bounds) = self
            .hall
            .with(|engine, _| (engine.standings(), *engine.bounds()));
        for standing in standings {
            let Some(device) = standing.owner.device() else {
                continue;
            };
            let verdict = self.verdict(device, &bounds);
            subscriptions += self
                .hall
                .with(|engine, now_ms| engine.restrict(standing.at, &verdict, now_ms));
        }
        Rechecked {
            dropped,
            subscriptions,
        }
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
