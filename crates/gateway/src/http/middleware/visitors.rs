//! Requests of people who have not logged in yet: they have places of their own, so that no number of them keeps others
//! from being answered, and a refusal takes the same time whatever it is about.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hearthkey_broker::{Gate, Places};
use tokio::time::{Sleep, sleep};

use crate::auth::sessions::Visitor;
use crate::auth::throttle::HELD_FOR;
use crate::http::busy::busy;
use crate::http::middleware::body::whole;
use crate::state::failure::Failure;

/// Requests of visitors at a time, with their bodies. For one more, one whose body has not come yet gives way, or it is
/// answered 503.
const VISITS: Places = Places {
    in_all_max: 128,
    per_network_max: 96,
    per_address_max: 64,
};
/// The longest body of a visitor's request: an attestation is a few kilobytes.
const BODY_MAX_BYTES: usize = 32 * 1024;
/// How long a refusal takes at least, counted from when the whole request was there: longer than a password is stretched and a
/// record is written on most machines, so that neither shows. The work itself is the same for every name besides.
const REFUSED_AFTER: Duration = Duration::from_millis(400);

/// The places of visitors.
pub(crate) struct Visits(Arc<Gate>);

impl Visits {
    pub(crate) fn new() -> Self {
        Self(Gate::new(VISITS))
    }

    /// Answers a visitor. An answer that is early waits without a place, so that no number of them takes any.
    pub(crate) async fn answer(&self, visitor: &Visitor, request: Request, next: Next) -> Response {
        let from_head = Waits::begun();
        let (answer, waits) = match self.attempt(visitor, request, next).await {
            Ok((answer, from_body)) => (answer, from_body),
            Err(failure) => (failure.into_response(), from_head),
        };
        match answer.status() {
            StatusCode::TOO_MANY_REQUESTS => waits.held.await,
            status if status.is_client_error() => waits.refused.await,
            _ => {}
        }
        answer
    }

    /// The answer, and when it is given to somebody who is refused or has to wait.
    async fn attempt(
        &self,
        visitor: &Visitor,
        request: Request,
        next: Next,
    ) -> Result<(Response, Waits), Failure> {
        let place = self.0.enter(visitor.address.ip()).ok_or_else(busy)?;
        let request = tokio::select! {
            request = whole(request, BODY_MAX_BYTES) => request?,
            () = place.given_away() => return Err(busy()),
        };
        if !place.mark().known() {
            return Err(busy());
        }
        let waits = Waits::begun();
        Ok((next.run(request).await, waits))
    }
}

/// When answers are given, however early there is one.
struct Waits {
    /// To somebody who is refused.
    refused: Sleep,
    /// To somebody who has to wait.
    held: Sleep,
}

impl Waits {
    fn begun() -> Self {
        Self {
            refused: sleep(REFUSED_AFTER),
            held: sleep(HELD_FOR),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::net::SocketAddr;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use axum::Router;
    use axum::body::{Body, Bytes, HttpBody};
    use axum::middleware::from_fn;
    use axum::routing::get;
    use hyper::body::Frame;
    use tokio::task::JoinSet;
    use tokio::time::timeout;
    use tower::ServiceExt;

    use super::*;

    /// A body that ends late, with nothing in it.
    struct Late(Pin<Box<Sleep>>);

    impl HttpBody for Late {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.0.as_mut().poll(context).map(|()| None)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_to_wait_takes_no_place_meanwhile_and_is_told_at_one_moment() {
        let visits = Arc::new(Visits::new());
        let visitor = Visitor {
            address: SocketAddr::from(([192, 0, 2, 1], 1)),
            authority: "localhost".into(),
            agent: String::new(),
        };
        let answer = move |request: Request, next: Next| {
            let (visits, visitor) = (Arc::clone(&visits), visitor.clone());
            async move { visits.answer(&visitor, request, next).await }
        };
        // A name that is not judged, and one that is.
        let judged = || async {
            sleep(HELD_FOR / 2).await;
            StatusCode::TOO_MANY_REQUESTS
        };
        let app = Router::new()
            .route("/held", get(|| async { StatusCode::TOO_MANY_REQUESTS }))
            .route("/judged", get(judged))
            .route("/refused", get(|| async { StatusCode::UNAUTHORIZED }))
            .layer(from_fn(answer));
        let sent = |path: &'static str, body: Body| {
            let app = app.clone();
            async move {
                let request = Request::get(path).body(body).unwrap();
                app.oneshot(request).await.unwrap().status()
            }
        };
        let asked = |path| sent(path, Body::empty());
        let mut all = JoinSet::new();
        for n in 0..1000 {
            all.spawn(asked(if n % 20 == 0 { "/judged" } else { "/held" }));
        }
        let moment = Duration::from_millis(10);
        let early = timeout(HELD_FOR - moment, all.join_next()).await;
        assert!(early.is_err(), "{early:?}");
        let told = timeout(2 * moment, all.join_all()).await.unwrap();
        let held = |status: &StatusCode| *status == StatusCode::TOO_MANY_REQUESTS;
        assert!(told.iter().all(held), "{told:?}");
        let early = timeout(REFUSED_AFTER - moment, asked("/refused")).await;
        assert!(early.is_err(), "{early:?}");
        // Who sends the body late sees no more of what is done.
        let late = Late(Box::pin(sleep(REFUSED_AFTER)));
        let early = timeout(
            2 * REFUSED_AFTER - moment,
            sent("/refused", Body::new(late)),
        );
        assert!(early.await.is_err());
    }
}
