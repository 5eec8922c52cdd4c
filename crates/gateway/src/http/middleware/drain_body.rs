//! A body that nobody reads is still taken in for a moment, and thrown away, before its request is answered.
//!
//! An answer that comes before its request has ended costs some clients the answer: they stop sending in the middle, and
//! over HTTP/2 the stream is reset under what they would have read (curl 7.88 does so with every refusal that is fast).
//! Over HTTP/1.1 the connection is closed, and the answer is lost with it, or at least the connection.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{Version, header};
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, SizeHint};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::http::activity::IDLE_TIMEOUT;

/// What is thrown away of one body at most, in bytes: all of one that might have been read, and of a longer one what a
/// person may have sent by mistake.
const DISCARDED_MAX_BYTES: usize = 4 * 1024 * 1024;
/// How long: a busy machine takes its time for as much.
const DISCARDED_FOR: Duration = Duration::from_secs(5);
/// What is thrown away after the answer has gone out, in bytes: a stream that is reset at once takes its answer with it.
const DISCARDED_AFTER_MAX_BYTES: usize = 4 * 1024 * 1024;
/// How long: as long as a connection on which nothing goes on stays, because a client that pauses for some seconds
/// would lose the answer it has not read yet.
const DISCARDED_AFTER_FOR: Duration = IDLE_TIMEOUT;

/// The body of a request.
struct Lingering {
    body: Option<Body>,
    /// Whether its sender waits to be asked for it (RFC 9110 §10.1.1): then the answer comes instead.
    is_held_back: bool,
    end: Option<oneshot::Sender<()>>,
}

/// Lets a request be answered, and its body come to its end before the answer goes out.
pub(crate) async fn linger(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    // Over HTTP/2 nobody is asked for a body: it comes by itself, if later.
    let is_held_back =
        request.version() < Version::HTTP_2 && request.headers().contains_key(header::EXPECT);
    let (parts, body) = request.into_parts();
    let (body, end) = Lingering::around(body, is_held_back);
    let response = next.run(Request::from_parts(parts, body)).await;
    end.reached().await;
    response
}

/// That a body was taken in, or that it was waited for long enough.
struct End(oneshot::Receiver<()>);

impl End {
    /// Resolves once nothing more of the body is waited for. The holder of the body has to drop it first.
    async fn reached(self) {
        // The other end is dropped, and says nothing.
        let _ = self.0.await;
    }
}

impl Lingering {
    /// The body, and its end.
    fn around(body: Body, is_held_back: bool) -> (Body, End) {
        let (end, reached) = oneshot::channel();
        let lingering = Self {
            body: Some(body),
            is_held_back,
            end: Some(end),
        };
        (Body::new(lingering), End(reached))
    }
}

impl hyper::body::Body for Lingering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = self.body.as_mut() else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(body).poll_frame(context);
        self.is_held_back = false;
        if let Poll::Ready(None | Some(Err(_))) = polled {
            self.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let is_held_back = self.is_held_back;
        let rest = self.body.take();
        let rest = rest.filter(|body| !is_held_back && !body.is_end_stream());
        let end = self.end.take();
        if let Some((mut body, runtime)) = rest.zip(tokio::runtime::Handle::try_current().ok()) {
            runtime.spawn(async move {
                // Whether it ended or the time was up: the answer goes out.
                let _ = timeout(DISCARDED_FOR, discard(&mut body, DISCARDED_MAX_BYTES)).await;
                drop(end);
                let after = discard(&mut body, DISCARDED_AFTER_MAX_BYTES);
                let _ = timeout(DISCARDED_AFTER_FOR, after).await;
            });
        }
    }
}

async fn discard(body: &mut Body, max_bytes: usize) {
    let mut discarded = 0;
    while let Some(Ok(frame)) = body.frame().await {
        discarded += frame.data_ref().map_or(0, Bytes::len);
        if discarded > max_bytes {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    struct Coming(mpsc::UnboundedReceiver<Bytes>);

    impl hyper::body::Body for Coming {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            let polled = self.0.poll_recv(context);
            polled.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_dropped_is_taken_in_up_to_its_bound() {
        let (sender, receiver) = mpsc::unbounded_channel();
        let (body, end) = Lingering::around(Body::new(Coming(receiver)), false);
        drop(body);
        let chunk = Bytes::from(vec![0; DISCARDED_MAX_BYTES / 2]);
        for _ in 0..3 {
            sender.send(chunk.clone()).unwrap();
        }
        // The answer goes out, and what comes after it is bounded too.
        end.reached().await;
        sender.closed().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_sender_that_stands_still_for_seconds_finds_its_request_still_open() {
        let (sender, receiver) = mpsc::unbounded_channel::<Bytes>();
        let (body, end) = Lingering::around(Body::new(Coming(receiver)), false);
        drop(body);
        end.reached().await;
        assert!(timeout(IDLE_TIMEOUT / 2, sender.closed()).await.is_err());
        assert!(timeout(IDLE_TIMEOUT, sender.closed()).await.is_ok());
    }

    #[tokio::test]
    async fn an_answer_waits_until_the_body_has_come() {
        let (sender, receiver) = mpsc::unbounded_channel::<Bytes>();
        let (body, end) = Lingering::around(Body::new(Coming(receiver)), false);
        drop(body);
        let mut reached = Box::pin(end.reached());
        let looked = std::future::poll_fn(|context| {
            Poll::Ready(reached.as_mut().poll(context).is_pending())
        });
        assert!(looked.await, "it may still come");
        drop(sender);
        reached.await;
    }

    #[tokio::test]
    async fn a_body_that_is_read_is_what_was_sent() {
        let (body, end) = Lingering::around(Body::from("abc"), false);
        let read = axum::body::to_bytes(body, 10).await.unwrap();
        assert_eq!(&read[..], b"abc");
        end.reached().await;
    }

    #[tokio::test]
    async fn a_body_that_its_sender_holds_back_is_not_asked_for_by_a_refusal() {
        let (sender, receiver) = mpsc::unbounded_channel::<Bytes>();
        let (body, end) = Lingering::around(Body::new(Coming(receiver)), true);
        drop(body);
        end.reached().await;
        assert!(sender.is_closed(), "nobody waits for it");
    }
}
