//! An answer with something that stands nowhere else: if nobody takes the answer, nobody has it.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use hyper::body::{Frame, SizeHint};

/// The body of such an answer.
pub(crate) struct Handed<L: FnOnce()> {
    body: Body,
    /// What is done if it is dropped before it was taken to its end.
    lost: Option<L>,
}

impl<L: FnOnce()> Handed<L> {
    pub(crate) fn new(body: Body, lost: L) -> Self {
        let lost = Some(lost);
        Self { body, lost }
    }
}

impl<L: FnOnce() + Unpin> hyper::body::Body for Handed<L> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let is_over = match &polled {
            Poll::Ready(None) => true,
            Poll::Ready(Some(Ok(_))) => self.body.is_end_stream(),
            _ => false,
        };
        if is_over {
            self.lost = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<L: FnOnce()> Drop for Handed<L> {
    fn drop(&mut self) {
        if let Some(lost) = self.lost.take() {
            lost();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn what_nobody_takes_is_lost_and_what_is_taken_is_not() {
        let losses = Arc::new(AtomicU32::new(0));
        let answer = |text: &'static str| {
            let losses = Arc::clone(&losses);
            let lost = move || {
                losses.fetch_add(1, Ordering::Relaxed);
            };
            Body::new(Handed::new(Body::from(text), lost))
        };
        let taken = axum::body::to_bytes(answer("a token"), 100).await.unwrap();
        assert_eq!(&taken[..], b"a token");
        assert_eq!(losses.load(Ordering::Relaxed), 0);
        drop(answer("a token"));
        assert_eq!(losses.load(Ordering::Relaxed), 1);
    }
}
