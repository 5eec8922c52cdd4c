//! The Unix socket: bounds and HTTP/1.1 around the one router, for callers on the gateway's own machine.
//!
//! Descriptors are what all listeners share. So connections are counted here too, and one on which nothing goes on is
//! closed: a program that leaves its connections open takes none from devices.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::pin;

use axum::extract::{Extension, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Router, middleware};
use hearthkey_api::BODY_MAX_BYTES;
use hearthkey_broker::{Gate, Mark, Place, Places};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use crate::auth::caller::Caller;
use crate::http::activity::Activity;
use crate::http::busy::busy;
use crate::http::listener::{IDLE_FAREWELL, REST, http1};
use crate::http::middleware::body::whole;
use crate::http::middleware::drain_body::linger;
use crate::http::middleware::run_to_end::to_the_end;

/// Connections. For one more, one on which nothing is being answered gives way, or it is closed. A quarter is left for
/// other users than the one who has the most, so that root is let in.
const CONNECTIONS: Places = Places {
    in_all_max: 256,
    per_network_max: 192,
    per_address_max: 192,
};

/// Who is at the other end of the socket, as the kernel says.
#[derive(Clone, Copy)]
struct Peer(UCred);

/// Serves until it is aborted. Requests that were begun are answered all the same.
pub(crate) async fn serve(socket: UnixListener, app: Router) {
    let app = surrounded(app);
    let gate = Gate::new(CONNECTIONS);
    loop {
        let stream = match socket.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection on the socket could not be accepted");
                sleep(REST).await;
                continue;
            }
        };
        // The socket's mode lets in its owner and its group; root needs no leave.
        let Ok(credentials) = stream.peer_cred() else {
            tracing::warn!("the system does not say who has connected to the socket");
            continue;
        };
        let Some(place) = gate.enter(place_of(credentials.uid())) else {
            let uid = credentials.uid();
            tracing::debug!(uid, "too many connections on the socket");
            continue;
        };
        tokio::spawn(speak(stream, Peer(credentials), place, app.clone()));
    }
}

/// The router, with what surrounds every request here.
fn surrounded(app: Router) -> Router {
    app.layer(middleware::from_fn(name_caller))
        .layer(middleware::from_fn(linger))
        .layer(middleware::from_fn(to_the_end))
}

/// A user counts as a network of their own.
fn place_of(uid: u32) -> IpAddr {
    let [a, b, c, d] = uid.to_be_bytes();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    Ipv6Addr::new(0xfd00, high, low, 0, 0, 0, 0, 0).into()
}

async fn speak(stream: UnixStream, peer: Peer, place: Place, app: Router) {
    let (activity, mark) = (Activity::new(), place.mark());
    let answer = hyper::service::service_fn(|mut request: hyper::Request<Incoming>| {
        mark.used();
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(mark.clone());
        let (work, answer) = (activity.begin(), app.clone().oneshot(request));
        let mark = mark.clone();
        async move {
            let response = answer.await?;
            mark.forget();
            Ok::<_, Infallible>(work.answer(response))
        }
    });
    let mut serving = pin!(http1().serve_connection(TokioIo::new(stream), answer));
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = place.given_away() => return,
        () = activity.idle() => {
            serving.as_mut().graceful_shutdown();
            timeout(IDLE_FAREWELL, serving).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection on the socket failed");
    }
}

async fn name_caller(
    Extension(Peer(credentials)): Extension<Peer>,
    Extension(mark): Extension<Mark>,
    mut request: Request,
    next: Next,
) -> Response {
    let caller = Caller::Local {
        uid: credentials.uid(),
        pid: credentials.pid(),
    };
    request.extensions_mut().insert(caller);
    match whole(request, BODY_MAX_BYTES).await {
        // Who is being answered keeps the place, and nobody whose body is still coming.
        Ok(request) if mark.known() => next.run(request).await,
        Ok(_) => busy().into_response(),
        Err(failure) => failure.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::mpsc;

    use super::*;

    async fn health() -> &'static str {
        "well"
    }

    fn gate() -> Arc<Gate> {
        Gate::new(Places {
            in_all_max: 4,
            per_network_max: 2,
            per_address_max: 2,
        })
    }

    /// A connection of a user, as the program of that user has it.
    fn connect(gate: &Arc<Gate>, uid: u32) -> Option<UnixStream> {
        connect_to(Router::new().route("/health", get(health)), gate, uid)
    }

    fn connect_to(app: Router, gate: &Arc<Gate>, uid: u32) -> Option<UnixStream> {
        let place = gate.enter(place_of(uid))?;
        let (theirs, ours) = UnixStream::pair().unwrap();
        let peer = Peer(ours.peer_cred().unwrap());
        tokio::spawn(speak(ours, peer, place, app));
        Some(theirs)
    }

    async fn ask(stream: &mut UnixStream) -> bool {
        let request = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n";
        let mut answer = [0; 1024];
        stream.write_all(request).await.is_ok()
            && matches!(stream.read(&mut answer).await, Ok(n) if answer[..n].ends_with(b"well"))
    }

    async fn is_closed(stream: &mut UnixStream) -> bool {
        matches!(stream.read(&mut [0; 64]).await, Ok(0) | Err(_))
    }

    #[tokio::test]
    async fn idle_connections_give_way_to_newcomers_of_the_same_user_and_of_others() {
        let gate = gate();
        let mut idle = connect(&gate, 1000).unwrap();
        let mut half = connect(&gate, 1000).unwrap();
        half.write_all(b"GET /health HT").await.unwrap();
        let mut third = connect(&gate, 1000).unwrap();
        assert!(ask(&mut third).await);
        assert!(is_closed(&mut idle).await);
        // The one that was answered is used longest ago no more.
        let mut fourth = connect(&gate, 1000).unwrap();
        assert!(is_closed(&mut half).await);
        assert!(ask(&mut fourth).await && ask(&mut third).await);
        let mut root = connect(&gate, 0).unwrap();
        assert!(ask(&mut root).await);
    }

    #[tokio::test]
    async fn whoever_has_not_sent_the_body_of_a_request_yet_gives_way() {
        let (begun, mut heads) = mpsc::unbounded_channel();
        let notice = move |request: Request, next: Next| {
            let _ = begun.send(());
            next.run(request)
        };
        let app = surrounded(Router::new().route("/health", get(health)));
        let app = app.layer(middleware::from_fn(notice));
        let gate = gate();
        let connect = || connect_to(app.clone(), &gate, 1000);
        let mut slow = connect().unwrap();
        let mut other = connect().unwrap();
        for stream in [&mut slow, &mut other] {
            let head = b"POST /health HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n";
            stream.write_all(head).await.unwrap();
            heads.recv().await.unwrap();
        }
        let mut newcomer = connect().unwrap();
        assert!(is_closed(&mut slow).await);
        assert!(ask(&mut newcomer).await);
    }

    #[test]
    fn each_user_has_places_of_their_own() {
        assert_ne!(place_of(0), place_of(1));
        assert_ne!(place_of(1), place_of(1 << 16));
    }
}
