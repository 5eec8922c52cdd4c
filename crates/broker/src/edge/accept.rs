//! From a TCP connection to a client with a name: bounds, TLS, CONNECT.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use hearthkey_core::id::Fingerprint;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::Accept;
use tokio_rustls::server::TlsStream;

use crate::edge::arrived::Arrived;
use crate::edge::farewell::farewell;
use crate::edge::handshake;
use crate::edge::hello::{self, HelloError};
use crate::edge::shared::{Incoming, Shared};
use crate::edge::socket::SharedTcp;
use crate::edge::{claim, device, short_records};
use crate::event::{Refusal, Who};
use crate::gate::Place;
use crate::limits::Limits;
use crate::protocol::{Decoder, DecoderLimits};

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

/// The certificate by which the registry has a device. That it verifies, and that its key is
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
) -> Result<Box<Arrived>, (Option<Who>, Refusal)> {
    let (tcp, cut) = SharedTcp::new(tcp);
    let mut shown = None;
    let handshake = async {
        let (rest, ja4) = short_records::begin(tcp, config).await?;
        let tls = watched(rest, &mut shown).await;
        tls.map(|tls| (tls, ja4))
            .map_err(|(error, tcp)| (error, Some(tcp)))
    };
    let (mut tls, ja4) = match timeout(shared.limits.handshake_timeout(), handshake).await {
        Ok(Ok(done)) => done,
        Ok(Err((error, tcp))) => {
            // The alert is on its way. In TLS 1.3 the client's CONNECT is too, and a socket that
            // closes on it would answer with a reset, which may cost the client the alert.
            if let Some(tcp) = tcp {
                farewell(tcp, &[]).await;
            }
            let refusal = Refusal::Handshake(handshake::why(&error));
            return Err((shown.map(Who::Certificate), refusal));
        }
        Err(_) => return Err((None, Refusal::Timeout)),
    };
    let (tcp, session) = tls.get_mut();
    tcp.acknowledge();
    session.set_buffer_limit(Some(TLS_BUFFER_BYTES));
    let mut decoder = decoder(&shared.limits, certificate(&tls).is_some());
    let mut input = BytesMut::new();
    let counted = Incoming::new(shared);
    let reading = hello::read(&mut tls, &mut decoder, &mut input, counted);
    match timeout(shared.limits.connect_timeout(), reading).await {
        Ok(Ok(connect)) => Ok(Box::new(Arrived {
            tls,
            cut,
            address,
            ja4,
            connect,
            decoder,
            input,
        })),
        Ok(Err(error)) => {
            let mut packet = BytesMut::new();
            if let HelloError::Violation(violation) = &error {
                decoder.refuse(violation, false, &mut packet);
            }
            farewell(tls, &packet).await;
            Err((None, Refusal::Connect(error.to_string())))
        }
        Err(_) => Err((None, Refusal::Timeout)),
    }
}

/// Reads a client's packets, CONNECT first: a longer one from a client that has shown a certificate.
fn decoder(limits: &Limits, has_certificate: bool) -> Decoder {
    Decoder::new(DecoderLimits {
        connect_max_bytes: match has_certificate {
            true => limits.connect_packet_max_bytes,
            false => limits.connect_claim_max_bytes,
        },
        packet_max_bytes: limits.packet_max_bytes,
        topic_alias_max: limits.topic_alias_max,
    })
}

/// Bytes that TLS holds for a client that does not take them.
const TLS_BUFFER_BYTES: usize = 32 * 1024;
