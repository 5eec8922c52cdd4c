//! From a TCP connection to a client with a name: bounds, TLS, CONNECT.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hearthkey_core::id::Fingerprint;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};

use crate::broker::Shared;
use crate::connack::{Code, encode, farewell};
use crate::connect::{self, Connect, ConnectError, Version};
use crate::event::{Refusal, Who, clipped};
use crate::gate::Place;
use crate::stream::{Cut, SharedTcp};
use crate::{claim, device};

/// A client that has sent a complete CONNECT and waits for an answer.
pub(crate) struct Arrival {
    pub(crate) tls: TlsStream<SharedTcp>,
    pub(crate) cut: Arc<Cut>,
    pub(crate) address: SocketAddr,
    pub(crate) connect: Connect,
}

/// Why an arrival is turned away, and in which words.
pub(crate) struct Denied {
    pub(crate) code: Code,
    pub(crate) who: Option<Who>,
    pub(crate) why: Refusal,
}

impl Arrival {
    /// Reports the refusal, tells the client, and closes.
    pub(crate) async fn refuse(self: Box<Self>, shared: &Shared, denied: Denied) {
        let Denied { code, who, why } = denied;
        let Connect {
            version,
            packet_max_bytes,
            ..
        } = self.connect;
        let packet = encode(version, code, &why.to_string(), packet_max_bytes);
        shared.events.refused(self.address, who, why);
        farewell(self.tls, &packet).await;
    }
}

/// After a failed accept (no descriptors left, mostly) the loop rests this long.
const REST: Duration = Duration::from_millis(100);

/// Accepts until the broker stops. Never waits for anything but the next connection.
pub(crate) async fn accept(
    shared: Arc<Shared>,
    listener: TcpListener,
    tls: watch::Receiver<Arc<ServerConfig>>,
    alive: mpsc::Sender<Infallible>,
) {
    let mut stopping = shared.stopping.clone();
    loop {
        let accepted = tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            accepted = listener.accept() => accepted,
        };
        let (tcp, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(REST).await;
                continue;
            }
        };
        let Some(place) = shared.gate.enter(address.ip()) else {
            shared
                .events
                .refused(address, None, Refusal::TooManyConnections);
            continue;
        };
        let (shared, config, alive) = (
            Arc::clone(&shared),
            Arc::clone(&tls.borrow()),
            alive.clone(),
        );
        tokio::spawn(async move {
            serve(shared, tcp, address, config, &place).await;
            drop((place, alive));
        });
    }
}

async fn serve(
    shared: Arc<Shared>,
    tcp: TcpStream,
    address: SocketAddr,
    config: Arc<ServerConfig>,
    place: &Place,
) {
    let mut stopping = shared.stopping.clone();
    let greeted = tokio::select! {
        _ = stopping.wait_for(|stop| *stop) => return,
        () = place.given_away() => Err((None, Refusal::TooManyConnections)),
        // Each step on the heap, and gone with its end: a session lives long, a handshake does not.
        greeted = Box::pin(greet(&shared, tcp, address, config)) => greeted,
    };
    match greeted {
        Ok(arrival) => match certificate(&arrival.tls) {
            Some(certificate) => {
                if place.mark().known() {
                    Box::pin(device::serve(shared, arrival, certificate)).await;
                }
            }
            None => tokio::select! {
                // Until the claim's secret is right.
                () = place.given_away() => {
                    shared.events.refused(address, None, Refusal::TooManyConnections);
                }
                () = Box::pin(claim::serve(Arc::clone(&shared), arrival, place.mark())) => {}
            },
        },
        Err((who, refusal)) => shared.events.refused(address, who, refusal),
    }
}

/// The certificate by which the registry knows a device. That it verifies, and that its key is
/// there, was for TLS to see.
fn certificate(tls: &TlsStream<SharedTcp>) -> Option<Fingerprint> {
    let (_, connection) = tls.get_ref();
    connection
        .peer_certificates()?
        .first()
        .map(|leaf| Fingerprint::of(leaf))
}

thread_local! {
    /// The certificate that was refused in the step of a handshake that this thread is taking.
    static REFUSED: Cell<Option<Fingerprint>> = const { Cell::new(None) };
}

/// For the verifier of the TLS configuration to say which certificate it refuses: the error that
/// TLS ends with does not tell.
pub fn certificate_refused(certificate: Fingerprint) {
    REFUSED.set(Some(certificate));
}

/// A handshake that notes the certificate it was refused for.
async fn watched(
    handshake: Accept<SharedTcp>,
    shown: &mut Option<Fingerprint>,
) -> Result<TlsStream<SharedTcp>, (io::Error, SharedTcp)> {
    let mut handshake = handshake.into_fallible();
    poll_fn(|cx| {
        REFUSED.take();
        let step = Pin::new(&mut handshake).poll(cx);
        *shown = REFUSED.take().or(*shown);
        step
    })
    .await
}

async fn greet(
    shared: &Shared,
    tcp: TcpStream,
    address: SocketAddr,
    config: Arc<ServerConfig>,
) -> Result<Box<Arrival>, (Option<Who>, Refusal)> {
    let (tcp, cut) = SharedTcp::new(tcp);
    let mut shown = None;
    let handshake = watched(TlsAcceptor::from(config).accept(tcp), &mut shown);
    let mut tls = match timeout(shared.limits.handshake_timeout(), handshake).await {
        Ok(Ok(tls)) => tls,
        Ok(Err((error, tcp))) => {
            // The alert is on its way. In TLS 1.3 the client's CONNECT is too, and a socket that
            // closes on it would answer with a reset, which may cost the client the alert.
            farewell(tcp, &[]).await;
            let refusal = Refusal::Handshake(clipped(&error.to_string()));
            return Err((shown.map(Who::Certificate), refusal));
        }
        Err(_) => return Err((None, Refusal::Timeout)),
    };
    tls.get_ref().0.acknowledge();
    let reading = connect::read(&mut tls, shared.limits.connect_packet_max_bytes);
    match timeout(shared.limits.connect_timeout(), reading).await {
        Ok(Ok(connect)) => Ok(Box::new(Arrival {
            tls,
            cut,
            address,
            connect,
        })),
        Ok(Err(error)) => {
            if let ConnectError::Version(version) = error {
                let speaks = if version > 5 {
                    Version::V5
                } else {
                    Version::V311
                };
                let packet = encode(speaks, Code::UnsupportedVersion, &error.to_string(), None);
                farewell(tls, &packet).await;
            }
            Err((None, Refusal::Connect(error.to_string())))
        }
        Err(_) => Err((None, Refusal::Timeout)),
    }
}
