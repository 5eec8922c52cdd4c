//! A body that nobody reads is still taken in for a moment, and thrown away.
//!
//! Over HTTP/2 an answer that comes before its request has ended resets the stream, and clients that
//! are still sending take the reset for a failure and lose the answer.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, SizeHint};
use tokio::time::timeout;

/// What is thrown away of one body at most, in bytes.
const DISCARDED_MAX_BYTES: usize = 64 * 1024;
/// How long.
const DISCARDED_FOR: Duration = Duration::from_secs(1);

/// The body of a request over HTTP/2.
pub(crate) struct Lingering {
    body: Option<Body>,
}

impl Lingering {
    pub(crate) fn around(body: Body) -> Body {
        if body.is_end_stream() {
            return body;
        }
        Body::new(Self { body: Some(body) })
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
        let rest = self.body.take().filter(|body| !body.is_end_stream());
        if let Some((body, runtime)) = rest.zip(tokio::runtime::Handle::try_current().ok()) {
            runtime.spawn(timeout(DISCARDED_FOR, discard(body)));
        }
    }
}

async fn discard(mut body: Body) {
    let mut discarded = 0;
    while let Some(Ok(frame)) = body.frame().await {
        discarded += frame.data_ref().map_or(0, Bytes::len);
        if discarded > DISCARDED_MAX_BYTES {
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

    #[tokio::test]
    async fn a_body_that_is_dropped_is_taken_in_up_to_its_bound() {
        let (sender, receiver) = mpsc::unbounded_channel();
        drop(Lingering::around(Body::new(Coming(receiver))));
        let chunk = Bytes::from(vec![0; DISCARDED_MAX_BYTES / 2]);
        for _ in 0..3 {
            sender.send(chunk.clone()).unwrap();
        }
        sender.closed().await;
    }

    #[tokio::test]
    async fn a_body_that_is_read_is_what_was_sent() {
        let body = Lingering::around(Body::from("abc"));
        let read = axum::body::to_bytes(body, 10).await.unwrap();
        assert_eq!(&read[..], b"abc");
    }
}
