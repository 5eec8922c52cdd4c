//! What the broker tells the gateway.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hearthkey_core::access::{Admission, DoorRefusal};
pub use hearthkey_core::bound::Bound;
use hearthkey_core::door::ClaimLoginRefusal;
use hearthkey_core::id::{ClaimId, DeviceId, Fingerprint};
use hearthkey_core::ja4::Ja4;
use hearthkey_core::posture::shared_identity::Machine;
use tokio::sync::{mpsc, oneshot, watch};
use zeroize::Zeroizing;

use crate::Reply;

/// Something that happened at the listener or in a session.
#[derive(Debug)]
pub enum Event {
    /// A connection without a certificate says that it holds a claim. Answer it soon: see
    /// `Limits::claim_answer_timeout_ms`. Nothing about it has been checked but its shape.
    ClaimPresented {
        /// The claim it names.
        claim: ClaimId,
        /// The secret it showed.
        secret: Zeroizing<Vec<u8>>,
        /// Where it came from.
        address: SocketAddr,
        /// Where the answer goes. Dropping it counts as [`ClaimAnswer::Unavailable`].
        answer: oneshot::Sender<ClaimAnswer>,
    },
    /// An admitted claim sent a CSR.
    EnrollmentRequested {
        /// The claim.
        claim: ClaimId,
        /// The request.
        request: Request,
    },
    /// A device sent the CSR of its next key.
    RenewalRequested {
        /// The device.
        device: DeviceId,
        /// The certificate of its session.
        certificate: Fingerprint,
        /// How far that certificate was let in, judged at this request.
        admission: Admission,
        /// The request.
        request: Request,
    },
    /// A device said which trust bundle it uses now.
    TrustAcknowledged {
        /// The device.
        device: DeviceId,
        /// The certificate of its session.
        certificate: Fingerprint,
        /// The request; its payload is the bundle's SHA-256.
        request: Request,
    },
    /// A device said what its clock shows.
    ClockSaid {
        /// The device.
        device: DeviceId,
        /// How far its certificate was let in.
        admission: Admission,
        /// The request; its payload is JSON.
        request: Request,
    },
    /// A session was admitted and has its CONNACK.
    SessionOpened {
        /// The device.
        device: DeviceId,
        /// The certificate that it showed.
        certificate: Fingerprint,
        /// How far it was let in.
        admission: Admission,
        /// Its client id.
        client_id: String,
        /// Where it came from.
        address: SocketAddr,
        /// The kind of TLS client that it is, if its ClientHello could be read.
        ja4: Option<Ja4>,
        /// The connection's number, unique in this process.
        connection: u64,
        /// To be sent once the device's notice is that of its present state: the session's own subscriptions wait for
        /// it, a second at most. Nothing where nobody could receive an older one: none is retained, the session has no
        /// subscription to it yet, and the certificate was seen before.
        settled: Option<oneshot::Sender<()>>,
    },
    /// A session has subscribed to its device's notice.
    NoticeWanted {
        /// The device.
        device: DeviceId,
    },
    /// A session that was announced has ended.
    SessionClosed {
        /// The device.
        device: DeviceId,
        /// The certificate that it showed.
        certificate: Fingerprint,
        /// Its client id.
        client_id: String,
        /// Where it came from.
        address: SocketAddr,
        /// The connection's number.
        connection: u64,
        /// How it ended.
        end: SessionEnd,
    },
    /// A device connected while another connection of it was there, which was taken over for that or keeps the new one out. At
    /// most eight in ten seconds for a device.
    MachinesMet {
        /// The device.
        device: DeviceId,
        /// The client id of the later connection, cut to 256 bytes.
        client_id: String,
        /// Where the earlier connection came from.
        earlier: Machine,
        /// How long ago something was last seen that.
        heard_ago_ms: u64,
        /// Where the later one comes from.
        later: Machine,
        /// How often that happened since it was last told.
        times: u32,
    },
    /// Somebody was refused something. These are dropped and counted when too many wait.
    Refused {
        /// Where it came from; nothing where a device is away.
        address: Option<SocketAddr>,
        /// Who it is, as far as that is known.
        who: Option<Who>,
        /// What was refused, and why.
        why: Refusal,
    },
}

/// A request that wants an answer.
#[derive(Debug)]
pub struct Request {
    /// The connection's number, unique in this process.
    pub connection: u64,
    /// Where it came from.
    pub address: SocketAddr,
    /// What was sent: untrusted bytes, empty if they were too many.
    pub payload: Bytes,
    /// Whether more than `Limits::request_max_bytes` were sent.
    pub oversized: bool,
    /// Where the answer goes.
    pub reply: Reply,
}

/// What the gateway says to a claim's secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimAnswer {
    /// It is right: the claim may enroll.
    Admitted,
    /// It is wrong, or there is no such claim, or it is used, expired or locked.
    Refused,
    /// It cannot be judged now.
    Unavailable,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEnd {
    /// The client said goodbye.
    Left,
    /// The connection was lost or broke the protocol.
    Lost,
    /// A newer connection with the same client id took the session over.
    TakenOver,
    /// The gateway dropped it.
    Dropped,
    /// The broker is stopping.
    Stopped,
}

/// Who was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// A device, known by its certificate.
    Device(DeviceId),
    /// A certificate that was not admitted.
    Certificate(Fingerprint),
    /// A claim; before its secret was judged, no more than somebody who named it.
    Claim(ClaimId),
}

/// What was refused, and why. Texts from the client are hostile and cut to 256 bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No place before TLS: too many connections, from there or in all.
    #[error("too many connections")]
    TooManyConnections,
    /// TLS failed.
    #[error("the TLS handshake failed: {0}")]
    Handshake(String),
    /// TLS or CONNECT took too long.
    #[error("no complete CONNECT in time")]
    Timeout,
    /// The first packet was not a CONNECT that can be read.
    #[error("{0}")]
    Connect(String),
    /// The certificate.
    #[error(transparent)]
    Certificate(#[from] DoorRefusal),
    /// A connection without a certificate that is no claim either.
    #[error(transparent)]
    ClaimLogin(#[from] ClaimLoginRefusal),
    /// A connection without a certificate while none is expected.
    #[error("no claim is open")]
    NoBell,
    /// The gateway refused the claim.
    #[error("the claim or its secret is wrong")]
    ClaimSecret,
    /// The gateway could not judge the claim, or is stopping.
    #[error("the gateway cannot answer now")]
    Unavailable,
    /// More sessions than the profile allows.
    #[error("the device has {0} sessions already")]
    TooManySessions(u16),
    /// A will on a topic that it may not publish.
    #[error("may not leave a will on {0:?}")]
    Will(String),
    /// It broke the rules of MQTT; the connection was ended.
    #[error("broke the rules of MQTT: {0}")]
    Protocol(String),
    /// It reached a bound; reported at most once a minute for each device and bound.
    #[error(transparent)]
    Bound(#[from] Bound),
    /// A publish. MQTT 5 clients get 0x87; 3.1.1 has no word for it.
    #[error("may not publish to {0:?}")]
    Publish(String),
    /// A subscribe.
    #[error("may not subscribe to {0:?}")]
    Subscribe(String),
}

/// The receiving end of [`Event`]s.
#[derive(Debug)]
pub struct Events {
    receiver: mpsc::Receiver<Event>,
    stopping: watch::Receiver<bool>,
}

impl Events {
    /// The next event; `None` when the broker has been stopped and no event is left.
    pub async fn recv(&mut self) -> Option<Event> {
        let stopped = async { drop(self.stopping.wait_for(|stop| *stop).await) };
        tokio::select! {
            biased;
            event = self.receiver.recv() => return event,
            () = stopped => {}
        }
        // Sessions that end now still say so. The senders live as long as the broker's handles.
        tokio::time::timeout(LAST_EVENTS, self.receiver.recv())
            .await
            .ok()
            .flatten()
    }
}

/// After the broker was asked to stop, events are awaited this long.
const LAST_EVENTS: Duration = Duration::from_secs(1);

/// The sending end.
#[derive(Clone)]
pub(crate) struct EventSender {
    sender: mpsc::Sender<Event>,
    /// Refusals leave this much room for events that matter.
    reserve: usize,
    wait: Duration,
    unreported: Arc<AtomicU64>,
}

/// The gateway takes no events fast enough.
#[derive(Debug)]
pub(crate) struct GatewayBusy;

impl EventSender {
    pub(crate) fn new(
        capacity: usize,
        wait: Duration,
        stopping: watch::Receiver<bool>,
    ) -> (Self, Events) {
        let capacity = capacity.max(2);
        let (sender, receiver) = mpsc::channel(capacity);
        let unreported = Arc::default();
        (
            Self {
                sender,
                reserve: capacity / 2,
                wait,
                unreported,
            },
            Events { receiver, stopping },
        )
    }

    /// Sends an event that matters, waiting for room up to the bound.
    pub(crate) async fn send(&self, event: Event) -> Result<(), GatewayBusy> {
        self.sender
            .send_timeout(event, self.wait)
            .await
            .map_err(|_| {
                self.unreported.fetch_add(1, Ordering::Relaxed);
                GatewayBusy
            })
    }

    /// Reports a refusal if there is room, or counts it.
    pub(crate) fn refused(
        &self,
        address: impl Into<Option<SocketAddr>>,
        who: Option<Who>,
        why: Refusal,
    ) {
        let address = address.into();
        tracing::debug!(?address, ?who, %why, "refused");
        let room = self.sender.capacity() > self.reserve;
        if !room
            || self
                .sender
                .try_send(Event::Refused { address, who, why })
                .is_err()
        {
            self.unreported.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Reports what is not waited for, if there is room, or counts it.
    pub(crate) fn offer(&self, event: Event) {
        match event {
            Event::Refused { address, who, why } => self.refused(address, who, why),
            event => {
                if self.sender.try_send(event).is_err() {
                    self.unreported.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// How many events were not reported since the start.
    pub(crate) fn unreported(&self) -> u64 {
        self.unreported.load(Ordering::Relaxed)
    }
}

/// A text from a client, cut to a length that an event may carry.
pub(crate) fn clipped(text: &str) -> String {
    let mut end = text.len().min(256);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
