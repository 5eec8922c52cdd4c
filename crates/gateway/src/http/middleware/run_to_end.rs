//! What surrounds every request to the API.

use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::state::clock::Stopwatch;
use crate::state::failure::Failure;

/// When the head of a request was there.
#[derive(Clone, Copy)]
pub(crate) struct Arrived(pub(crate) Stopwatch);

/// What was begun is finished, also if the caller has disconnected: between a commit and what follows from
/// it in memory there is no way out. The first of all layers, so that it notes when the request arrived.
pub(crate) async fn to_the_end(mut request: axum::extract::Request, next: Next) -> Response {
    let arrived = Arrived(Stopwatch::start());
    request.extensions_mut().get_or_insert(arrived);
    match tokio::spawn(next.run(request)).await {
        Ok(response) => response,
        Err(error) => Failure::internal(&error).into_response(),
    }
}

/// Turns the framework's own refusals (bad JSON, wrong method, body too large) into problems.
pub(crate) async fn as_problems(request: axum::extract::Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let ours = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/problem"));
    if !status.is_client_error() || ours {
        return response;
    }
    let why = status
        .canonical_reason()
        .unwrap_or("it was refused")
        .to_lowercase();
    let mut failure = Failure::invalid(&why);
    failure.0.status = status.as_u16();
    failure.into_response()
}

#[cfg(test)]
mod tests {
    use std::future::IntoFuture;
    use std::sync::Arc;
    use std::time::Duration;

    use axum::Router;
    use axum::middleware::from_fn;
    use axum::routing::post;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::Notify;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn what_was_begun_is_done_also_if_whoever_asked_has_gone() {
        let (begun, gate, done) = <(Arc<Notify>, Arc<Notify>, Arc<Notify>)>::default();
        let (first, middle, last) = (Arc::clone(&begun), Arc::clone(&gate), Arc::clone(&done));
        let work = async move || {
            first.notify_one();
            middle.notified().await;
            last.notify_one();
        };
        let app = Router::new()
            .route("/", post(work))
            .layer(from_fn(to_the_end));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(axum::serve(listener, app).into_future());
        let mut client = TcpStream::connect(address).await.unwrap();
        let request = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n";
        client.write_all(request).await.unwrap();
        begun.notified().await;
        client.shutdown().await.unwrap();
        let nothing = client.read(&mut [0; 1]).await.unwrap();
        assert_eq!(nothing, 0, "the server has let go of the connection");
        gate.notify_one();
        let patience = Duration::from_secs(20);
        timeout(patience, done.notified()).await.unwrap();
    }
}
