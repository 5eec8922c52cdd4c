//! A session: what belongs to one client of one identity, and the connection that serves it, if there is one.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Waker;

use bytes::BytesMut;
use hearthkey_core::access::Admission;
use hearthkey_core::id::{ClaimId, DeviceId, Fingerprint};
use hearthkey_core::ja4::Ja4;
use hearthkey_core::posture::shared_identity::Machine;
use hearthkey_core::profile::Rights;

use crate::engine::arena::Place;
use crate::engine::outbox::Outbox;
use crate::engine::retained::{Cursor, RetainedBounds};
use crate::engine::subscriptions::Options;
use crate::protocol::{Encoder, Filter, OutgoingAliases, PacketId, Text, Version, Will};

/// Whose a session is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Owner {
    Device(DeviceId),
    Claim(ClaimId),
}

impl Owner {
    pub(crate) fn device(&self) -> Option<&DeviceId> {
        match self {
            Self::Device(device) => Some(device),
            Self::Claim(_) => None,
        }
    }
}

/// A session's name: any client id, in the namespace of its owner.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) owner: Owner,
    pub(crate) client_id: Box<str>,
}

/// Who speaks on a connection, and what they may do.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// None for a claim.
    pub(crate) certificate: Option<Fingerprint>,
    pub(crate) admission: Admission,
    pub(crate) rights: Arc<Rights>,
    /// The count of changes before this was judged.
    pub(crate) epoch: u64,
}

/// How much one session may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionBounds {
    /// The longest packet that is read.
    pub(crate) packet_max_bytes: usize,
    pub(crate) subscriptions_max: usize,
    /// Bytes on their way to the session.
    pub(crate) queue_max_bytes: usize,
    /// Messages that wait while it is away.
    pub(crate) queue_messages_max: usize,
    pub(crate) retained: RetainedBounds,
    /// Sessions that the device may leave behind.
    pub(crate) stored_max: usize,
}

/// One session on one connection. It finds nothing once the connection has lost the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Handle {
    pub(crate) session: Place,
    pub(crate) connection: u64,
}

/// A session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) key: Key,
    pub(crate) identity: Identity,
    pub(crate) bounds: SessionBounds,
    /// The book of its device.
    pub(crate) book: Place,
    /// Its connection, while it has one.
    pub(crate) link: Option<Box<Link>>,
    /// How long it outlives its connection; `u32::MAX` for ever, 0 not at all.
    pub(crate) expiry_s: u32,
    /// When it is over, while it is away.
    pub(crate) ends_ms: Option<u64>,
    /// Since when it is away.
    pub(crate) away_since_ms: u64,
    pub(crate) subscriptions: HashMap<Text, Held>,
    pub(crate) outbox: Outbox,
    /// QoS 2 messages that were received and are not released: how often each came over this connection, or [`RESTORED`].
    pub(crate) received: HashMap<PacketId, u8>,
    pub(crate) cursors: VecDeque<Cursor>,
    pub(crate) will: Option<Box<Will>>,
    /// Its device was shut out: nothing is kept for it until it is let in again.
    pub(crate) is_silenced: bool,
    /// What has been written down of it.
    pub(crate) written: Written,
}

/// In place of how often a QoS 2 message came: an earlier run wrote it down, and perhaps not that it was released.
pub(crate) const RESTORED: u8 = u8::MAX;

/// A subscription of one session.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) filter: Filter,
    pub(crate) options: Options,
}

/// What the gateway's database has of a session.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Something has changed since.
    pub(crate) is_stale: bool,
    /// Its own row is not as it is now.
    pub(crate) head_is_stale: bool,
    pub(crate) head: bool,
    /// The numbers of its messages, in order.
    pub(crate) messages: VecDeque<u64>,
    /// The numbers of messages with their identifier, and whether it is only to be released.
    pub(crate) flights: HashMap<u64, (PacketId, bool)>,
    pub(crate) received: HashSet<PacketId>,
}

/// The connection of a session.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) connection: u64,
    pub(crate) address: SocketAddr,
    pub(crate) ja4: Option<Ja4>,
    pub(crate) encoder: Encoder,
    pub(crate) aliases: OutgoingAliases,
    /// QoS 1 and 2 messages under way to the client.
    pub(crate) window: usize,
    /// Answers that wait to be sent.
    pub(crate) control: BytesMut,
    /// Called when there is something to send.
    pub(crate) waker: Option<Waker>,
    /// The connection looks after itself: it need not be called.
    pub(crate) is_awake: bool,
    /// One and a half times the client's keep alive; 0 if it wants none.
    pub(crate) silence_max_ms: u64,
    pub(crate) heard_ms: u64,
    /// A mosquitto bridge.
    pub(crate) is_bridge: bool,
}

impl Link {
    /// Where it comes from, as far as the network tells machines apart.
    pub(crate) fn machine(&self) -> Machine {
        Machine {
            address: self.address.ip(),
            ja4: self.ja4,
        }
    }
}

impl Session {
    /// A session that has nothing yet, and ends with its connection.
    pub(crate) fn new(key: Key, identity: Identity, bounds: SessionBounds, book: Place) -> Self {
        Self {
            key,
            identity,
            bounds,
            book,
            link: None,
            expiry_s: 0,
            ends_ms: None,
            away_since_ms: 0,
            subscriptions: HashMap::new(),
            outbox: Outbox::default(),
            received: HashMap::new(),
            cursors: VecDeque::new(),
            will: None,
            is_silenced: false,
            written: Written::default(),
        }
    }

    /// Whether it outlives its connection.
    pub(crate) fn is_lasting(&self) -> bool {
        self.expiry_s > 0
    }

    pub(crate) fn version(&self) -> Option<Version> {
        self.link.as_ref().map(|link| link.encoder.version())
    }

    /// Notes that a message of it has come or gone.
    pub(crate) fn touch(&mut self) -> bool {
        !std::mem::replace(&mut self.written.is_stale, true)
    }
}
