//! The live sessions: who is in, by which certificate, and how to end it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hearthkey_core::access::Admission;
use hearthkey_core::id::{DeviceId, Fingerprint};
use hearthkey_core::time::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::edge::hall::Hall;
use crate::edge::socket::Cut;

/// A live session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// The connection's number, unique in this process.
    pub connection: u64,
    /// The device.
    pub device: DeviceId,
    /// The certificate that it showed.
    pub certificate: Fingerprint,
    /// How far it was let in, at the time.
    pub admission: Admission,
    /// Its client id.
    pub client_id: String,
    /// Where it came from.
    pub address: SocketAddr,
    /// Since when.
    pub since: Timestamp,
}

/// What dropping sessions did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    /// Sockets that were shut down.
    pub sessions: usize,
    /// How long it took until the last of them was.
    pub elapsed_us: u64,
}

impl Dropped {
    fn since(started: Instant, sessions: usize) -> Self {
        let elapsed_us = started.elapsed().as_micros().try_into().unwrap_or(u64::MAX);
        Self {
            sessions,
            elapsed_us,
        }
    }
}

struct Entry {
    info: SessionInfo,
    cut: Arc<Cut>,
    /// It has been judged for the last time before its CONNACK.
    is_served: bool,
    /// The room it has for itself, if it is not in the home.
    room: Option<Arc<Hall>>,
}

/// What the connections of one device share.
#[derive(Default)]
struct OfDevice {
    connections: Vec<u64>,
    /// Bytes of their packets that are not complete.
    incoming: Arc<AtomicUsize>,
}

/// The live sessions by the numbers of their connections, and those numbers by device.
#[derive(Default)]
struct Table {
    entries: HashMap<u64, Entry>,
    devices: HashMap<DeviceId, OfDevice>,
}

impl Table {
    /// Puts a session in; gives what it shares with the others of its device.
    fn insert(&mut self, entry: Entry) -> Arc<AtomicUsize> {
        let info = &entry.info;
        let of_device = self.devices.entry(info.device.clone()).or_default();
        of_device.connections.push(info.connection);
        let incoming = Arc::clone(&of_device.incoming);
        self.entries.insert(info.connection, entry);
        incoming
    }

    fn remove(&mut self, info: &SessionInfo) {
        self.entries.remove(&info.connection);
        if let Some(of_device) = self.devices.get_mut(&info.device) {
            of_device.connections.retain(|n| *n != info.connection);
            if of_device.connections.is_empty() {
                self.devices.remove(&info.device);
            }
        }
    }

    fn of(&self, device: &DeviceId) -> impl Iterator<Item = &Entry> {
        let numbers = self.devices.get(device).map(|its| &its.connections);
        let numbers = numbers.into_iter().flatten();
        numbers.filter_map(|number| self.entries.get(number))
    }
}

/// The table of live sessions. One is in it before it is judged for the last time, so that a call that ends it finds it, and until
/// its task has ended; it is shown in between, as long as its socket is not shut.
#[derive(Default)]
pub(crate) struct Sessions {
    table: Mutex<Table>,
    next: AtomicU64,
    /// Counts comings and goings.
    changed: watch::Sender<u64>,
}

impl Entry {
    fn is_shown(&self) -> bool {
        self.is_served && !self.cut.is_done()
    }
}

/// A device that has all its sessions: so many.
pub(crate) struct Full(pub(crate) u16);

/// Connections of a device that only renew. A new one ends the others; these are places until that is done.
const RENEWALS_MAX: u16 = 4;

/// A session's place in the table, as long as it lives.
pub(crate) struct Seat {
    sessions: Arc<Sessions>,
    pub(crate) info: SessionInfo,
    /// Bytes of packets that are not complete, of all connections of its device.
    pub(crate) incoming: Arc<AtomicUsize>,
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for a new connection.
    pub(crate) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Registers a session. Sessions with the same client id do not count against the device: the new one takes them over.
    /// Where a device may have one session only, neither does one from the same machine under another client id: some
    /// products make up a new one at each start, and their last connection may not be known to be lost yet. Connections that
    /// only renew stand beside all others, and are counted by themselves.
    pub(crate) fn register(
        self: &Arc<Self>,
        info: SessionInfo,
        cut: Arc<Cut>,
        sessions_max: u16,
    ) -> Result<Seat, Full> {
        let mut table = self.lock();
        let is_full = info.admission == Admission::Full;
        let is_only_one = sessions_max <= 1;
        let gives_way = |e: &Entry| {
            let its = &e.info;
            its.client_id == info.client_id || is_only_one && its.address.ip() == info.address.ip()
        };
        let others = table
            .of(&info.device)
            .filter(|e| e.info.admission == info.admission)
            .filter(|e| !(e.cut.is_done() || is_full && gives_way(e)))
            .count();
        let most = match info.admission {
            Admission::Full => sessions_max.max(1),
            Admission::RenewalOnly => RENEWALS_MAX,
        };
        if others >= usize::from(most) {
            return Err(Full(most));
        }
        let incoming = table.insert(Entry {
            info: info.clone(),
            cut,
            is_served: false,
            room: None,
        });
        drop(table);
        self.changed.send_modify(|count| *count += 1);
        Ok(Seat {
            sessions: Arc::clone(self),
            info,
            incoming,
        })
    }

    /// Notes that a session has been let in.
    pub(crate) fn serve(&self, connection: u64) {
        if let Some(entry) = self.lock().entries.get_mut(&connection) {
            entry.is_served = true;
        }
        self.changed.send_modify(|count| *count += 1);
    }

    /// Notes that a session lives in a room of its own.
    pub(crate) fn lodge(&self, connection: u64, room: &Arc<Hall>) {
        if let Some(entry) = self.lock().entries.get_mut(&connection) {
            entry.room = Some(Arc::clone(room));
        }
    }

    /// The rooms in which sessions of a device live.
    pub(crate) fn rooms_of(&self, device: &DeviceId) -> Vec<Arc<Hall>> {
        let table = self.lock();
        table.of(device).filter_map(|e| e.room.clone()).collect()
    }

    /// The rooms of a device's sessions that came before this one.
    pub(crate) fn rooms_before(&self, info: &SessionInfo) -> Vec<Arc<Hall>> {
        let table = self.lock();
        let earlier = table
            .of(&info.device)
            .filter(|e| e.info.connection < info.connection);
        earlier.filter_map(|e| e.room.clone()).collect()
    }

    /// Every room that a session has for itself.
    pub(crate) fn rooms(&self) -> Vec<Arc<Hall>> {
        self.lock()
            .entries
            .values()
            .filter_map(|e| e.room.clone())
            .collect()
    }

    pub(crate) fn all(&self) -> Vec<SessionInfo> {
        let table = self.lock();
        let live = table.entries.values().filter(|e| e.is_shown());
        live.map(|e| e.info.clone()).collect()
    }

    /// Counts comings and goings.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(crate) fn count(&self) -> usize {
        self.lock()
            .entries
            .values()
            .filter(|e| e.is_shown())
            .count()
    }

    pub(crate) fn of(&self, device: &DeviceId) -> Vec<SessionInfo> {
        let table = self.lock();
        let shown = table.of(device).filter(|e| e.is_shown());
        shown.map(|e| e.info.clone()).collect()
    }

    /// Cuts every session that fits, in the caller's thread. `fits` runs under the table's lock:
    /// it must take no other.
    pub(crate) fn cut(&self, fits: impl Fn(&SessionInfo) -> bool) -> Dropped {
        let started = Instant::now();
        let sessions = cut(self.lock().entries.values().filter(|e| fits(&e.info)));
        Dropped::since(started, sessions)
    }

    /// Cuts every session of a device, in the caller's thread.
    pub(crate) fn cut_device(&self, device: &DeviceId) -> Dropped {
        let started = Instant::now();
        let sessions = cut(self.lock().of(device));
        Dropped::since(started, sessions)
    }

    /// Cuts one session, in the caller's thread.
    pub(crate) fn cut_one(&self, connection: u64) -> Dropped {
        let started = Instant::now();
        let sessions = cut(self.lock().entries.get(&connection).into_iter());
        Dropped::since(started, sessions)
    }
}

/// Shuts the sockets of sessions that have one; how many.
fn cut<'a>(entries: impl Iterator<Item = &'a Entry>) -> usize {
    let live = entries.filter(|e| !e.cut.is_done());
    live.inspect(|e| e.cut.now()).count()
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.sessions.lock().remove(&self.info);
        self.sessions.changed.send_modify(|count| *count += 1);
    }
}
