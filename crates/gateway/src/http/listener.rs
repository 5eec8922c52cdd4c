//! The HTTPS listener: bounds, TLS and HTTP/1.1 around the one router.
//!
//! It accepts by itself, as the MQTT listener does, because what matters here comes before HTTP: places
//! are counted before TLS, a handshake has its own time, and every new one takes the newest
//! certificate while the connections there are go on. HTTP itself is hyper's: HTTP/2 with clients that
//! asks for it by ALPN, which browsers do, and HTTP/1.1 with everybody else.

use crate::auth::peer::Peer;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hearthkey_broker::{Gate, Place, Places};
use hearthkey_core::id::Fingerprint;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt;

use crate::auth::known::Known;
use crate::http::activity::{Activity, IDLE_TIMEOUT};
use crate::http::closing::Closing;

/// Connections. For one more, one on which nobody has logged in or shown a token gives way, or it is closed before TLS:
/// see `broker/gate.rs`. A quarter is left for other networks than the one that sends the most.
const CONNECTIONS: Places = Places {
    in_all_max: 512,
    per_network_max: 384,
    per_address_max: 64,
};
/// From accept to the end of the TLS handshake. Then the socket is closed.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest head of a request. A longer one is answered 431.
const HEAD_MAX_BYTES: usize = 16 * 1024;
/// Lines in the head of a request. More are answered 431.
const HEAD_LINES_MAX: usize = 64;
/// Requests that are under way on one HTTP/2 connection. One more is refused (RFC 9113 §5.1.2).
const STREAMS_MAX: u32 = 32;
/// Streams that a client has reset and whose answers are still there. One more ends the connection.
const RESET_MAX: usize = 64;
/// What is kept of answers that a client has not taken yet, for each HTTP/2 stream, in bytes.
const UNSENT_MAX_BYTES: usize = 64 * 1024;
/// How often an HTTP/2 connection is asked whether anybody is there, and how long for an answer.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may be used. Then it takes no more requests, and ends after the answers it is giving.
const LIFE: Duration = Duration::from_secs(60 * 60);
/// How long an answer may still take when a connection, or the listener, is to end.
const FAREWELL: Duration = Duration::from_secs(5);
/// The same when nothing was going on.
pub(crate) const IDLE_FAREWELL: Duration = Duration::from_secs(1);
/// After a failed accept (no descriptors left, mostly) the loop rests this long.
pub(crate) const REST: Duration = Duration::from_millis(100);

/// The listener, bound and not yet serving.
pub(crate) struct Listener {
    tcp: TcpListener,
    tls: watch::Receiver<Arc<ServerConfig>>,
    stopping: watch::Receiver<bool>,
}

impl Listener {
    pub(crate) fn new(
        tcp: TcpListener,
        tls: watch::Receiver<Arc<ServerConfig>>,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        Self { tcp, tls, stopping }
    }

    /// Serves until the home closes, and then until every answer that was begun is given.
    pub(crate) async fn serve(self, app: Router) {
        let Self {
            tcp,
            tls,
            mut stopping,
        } = self;
        let gate = Gate::new(CONNECTIONS);
        let (alive, mut ended) = mpsc::channel::<Infallible>(1);
        loop {
            let accepted = tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => break,
                accepted = tcp.accept() => accepted,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(REST).await;
                    continue;
                }
            };
            let Some(place) = gate.enter(address.ip()) else {
                tracing::debug!(%address, "too many connections");
                continue;
            };
            let connection = Connection {
                stopping: stopping.clone(),
                address,
                place,
                _alive: alive.clone(),
            };
            let config = Arc::clone(&tls.borrow());
            tokio::spawn(connection.serve(stream, config, app.clone()));
        }
        // The port is free for the next gateway of the home.
        drop((tcp, alive));
        while ended.recv().await.is_some() {}
    }
}

struct Connection {
    stopping: watch::Receiver<bool>,
    address: SocketAddr,
    place: Place,
    _alive: mpsc::Sender<Infallible>,
}

impl Connection {
    async fn serve(mut self, tcp: TcpStream, config: Arc<ServerConfig>, app: Router) {
        let _ = tcp.set_nodelay(true);
        let handshake = TlsAcceptor::from(config).accept(tcp);
        let tls = tokio::select! {
            _ = self.stopping.wait_for(|stop| *stop) => return,
            () = self.place.given_away() => return,
            tls = timeout(HANDSHAKE_TIMEOUT, handshake) => tls,
        };
        match tls {
            Ok(Ok(tls)) => self.speak(tls, app).await,
            Ok(Err(error)) => {
                tracing::debug!(address = %self.address, %error, "a handshake failed");
            }
            Err(_) => tracing::debug!(address = %self.address, "a handshake took too long"),
        }
    }

    async fn speak(mut self, tls: TlsStream<TcpStream>, app: Router) {
        let certificate = tls.get_ref().1.peer_certificates();
        let peer = Peer {
            address: self.address,
            certificate: certificate
                .and_then(|chain| chain.first())
                .map(|leaf| Fingerprint::of(leaf)),
        };
        let (activity, known) = (Activity::new(), Known::nobody(self.place.mark()));
        let goes_on = Arc::clone(&activity);
        let answer = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
            known.used();
            request.extensions_mut().insert(peer);
            request.extensions_mut().insert(known.clone());
            let (work, answer) = (goes_on.begin(), app.clone().oneshot(request));
            async move {
                let response = answer.await?;
                Ok::<_, Infallible>(work.answer(response))
            }
        });
        let speaks_h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
        let tls = TokioIo::new(Closing::around(tls));
        let ended = match speaks_h2 {
            true => {
                let serving = http2::Builder::new(TokioExecutor::new())
                    .timer(TokioTimer::new())
                    .max_concurrent_streams(STREAMS_MAX)
                    .max_pending_accept_reset_streams(RESET_MAX)
                    .max_local_error_reset_streams(RESET_MAX)
                    .max_header_list_size(HEAD_MAX_BYTES as u32)
                    .max_send_buf_size(UNSENT_MAX_BYTES)
                    .keep_alive_interval(PING_EVERY)
                    .keep_alive_timeout(PING_TIMEOUT)
                    .serve_connection(tls, answer);
                self.see_through(pin!(serving), |it| it.graceful_shutdown(), &activity)
                    .await
            }
            false => {
                let serving = http1().serve_connection(tls, answer);
                self.see_through(pin!(serving), |it| it.graceful_shutdown(), &activity)
                    .await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(address = %self.address, %error, "a connection ended badly");
        }
    }

    /// Lets a connection be served until it is over. What is being answered when it has been used for long enough is
    /// answered.
    async fn see_through<S: Future<Output = hyper::Result<()>>>(
        &mut self,
        mut serving: Pin<&mut S>,
        take_no_more: impl Fn(Pin<&mut S>),
        activity: &Activity,
    ) -> hyper::Result<()> {
        let over = tokio::select! {
            ended = serving.as_mut() => return ended,
            farewell = self.until_over(activity) => Some(farewell),
            () = sleep(LIFE) => None,
        };
        take_no_more(serving.as_mut());
        let farewell = match over {
            Some(farewell) => farewell,
            None => tokio::select! {
                ended = serving.as_mut() => return ended,
                farewell = self.until_over(activity) => farewell,
            },
        };
        timeout(farewell, serving).await.unwrap_or(Ok(()))
    }

    /// Resolves when the home closes, when the connection is idle, or gives way to another; gives the time for what is
    /// under way.
    async fn until_over(&mut self, activity: &Activity) -> Duration {
        tokio::select! {
            _ = self.stopping.wait_for(|stop| *stop) => FAREWELL,
            () = activity.idle() => IDLE_FAREWELL,
            () = self.place.given_away() => Duration::ZERO,
        }
    }
}

/// HTTP/1.1 with the bounds of every listener.
pub(crate) fn http1() -> http1::Builder {
    let mut http1 = http1::Builder::new();
    http1
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .max_buf_size(HEAD_MAX_BYTES)
        .max_headers(HEAD_LINES_MAX);
    http1
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_being_answered_when_the_time_of_a_connection_is_up_is_answered() {
        let (_stop, stopping) = watch::channel(false);
        let (alive, _ended) = mpsc::channel(1);
        let address: SocketAddr = "192.0.2.1:50000".parse().unwrap();
        let mut connection = Connection {
            stopping,
            address,
            place: Gate::new(CONNECTIONS).enter(address.ip()).unwrap(),
            _alive: alive,
        };
        let activity = Activity::new();
        let work = activity.begin();
        let (no_more, told) = oneshot::channel();
        let (answered, answer) = oneshot::channel();
        tokio::spawn(async move {
            told.await.unwrap();
            sleep(10 * FAREWELL).await;
            drop(work);
            answered.send(()).unwrap();
        });
        let is_given = Cell::new(false);
        let serving = pin!(async {
            answer.await.unwrap();
            is_given.set(true);
            Ok(())
        });
        let no_more = Cell::new(Some(no_more));
        let ended = connection.see_through(
            serving,
            |_| no_more.take().unwrap().send(()).unwrap(),
            &activity,
        );
        assert!(ended.await.is_ok());
        assert!(is_given.get() && no_more.take().is_none());
    }
}
