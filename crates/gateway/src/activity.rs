//! Whether anything goes on on a connection: a request is being answered, or an answer is being taken.
//!
//! A connection is idle in every other case: silent, with half a head, with nothing but PING and SETTINGS, or with an
//! answer that its client does not read. HTTP/1.1 and HTTP/2 are judged alike.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use hyper::body::{Frame, SizeHint};
use tokio::time::sleep;

use crate::clock::Stopwatch;

/// From the end of the handshake, or of the last answer, to the end of a request's head, and between two parts of an
/// answer: a slow head, an idle connection and a client that does not read are the same. Then the connection is closed.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// The part of an answer that counts as progress once it is taken, in bytes. A slower client than this in the idle
/// time is one that does not read.
const PART_BYTES: usize = 16 * 1024;

/// What goes on on one connection.
pub(crate) struct Activity {
    since: Stopwatch,
    at_work: AtomicUsize,
    /// When anything last happened, in microseconds since the connection began.
    last_us: AtomicU64,
}

/// A request that is being answered.
pub(crate) struct Work(Arc<Activity>);

impl Activity {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            since: Stopwatch::start(),
            at_work: AtomicUsize::new(0),
            last_us: AtomicU64::new(0),
        })
    }

    fn happened(&self) {
        let now = self.since.elapsed_us();
        self.last_us.store(now, Ordering::Relaxed);
    }

    /// A request has come, and is being answered as long as this lives.
    pub(crate) fn begin(self: &Arc<Self>) -> Work {
        self.at_work.fetch_add(1, Ordering::Relaxed);
        Work(Arc::clone(self))
    }

    fn quiet_for(&self) -> Duration {
        if self.at_work.load(Ordering::Relaxed) > 0 {
            return Duration::ZERO;
        }
        let last = self.last_us.load(Ordering::Relaxed);
        Duration::from_micros(self.since.elapsed_us().saturating_sub(last))
    }

    /// Resolves once nothing has gone on for so long.
    pub(crate) async fn idle_for(&self, limit: Duration) {
        loop {
            let left = limit.saturating_sub(self.quiet_for());
            if left.is_zero() {
                return;
            }
            sleep(left).await;
        }
    }
}

impl Work {
    /// The body of the answer, which counts as activity while it is taken.
    pub(crate) fn answer(&self, body: Body) -> Answer {
        Answer {
            body,
            rest: Bytes::new(),
            activity: Arc::clone(&self.0),
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.0.happened();
        self.0.at_work.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of an answer, in parts that are small enough to show whether it is being taken.
pub(crate) struct Answer {
    body: Body,
    rest: Bytes,
    activity: Arc<Activity>,
}

impl Answer {
    fn part(&mut self) -> Frame<Bytes> {
        let length = self.rest.len().min(PART_BYTES);
        Frame::data(self.rest.split_to(length))
    }
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.activity.happened();
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(self.part())));
        }
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let Poll::Ready(Some(Ok(frame))) = polled else {
            return polled;
        };
        match frame.into_data() {
            Ok(data) => {
                self.rest = data;
                Poll::Ready(Some(Ok(self.part())))
            }
            Err(other) => Poll::Ready(Some(Ok(other))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + rest);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.activity.happened();
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use hyper::body::Body as _;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(40);

    #[tokio::test]
    async fn a_connection_on_which_nothing_goes_on_is_idle_after_its_time() {
        let activity = Activity::new();
        activity.idle_for(LIMIT).await;
        assert!(activity.since.elapsed_us() >= 40_000);
    }

    #[tokio::test]
    async fn a_connection_is_not_idle_while_a_request_is_answered_nor_right_after() {
        let activity = Activity::new();
        let work = activity.begin();
        let idle = tokio::time::timeout(4 * LIMIT, activity.idle_for(LIMIT));
        assert!(idle.await.is_err());
        let begun = activity.since.elapsed_us();
        drop(work);
        activity.idle_for(LIMIT).await;
        assert!(activity.since.elapsed_us() >= begun + 40_000);
    }

    #[tokio::test]
    async fn an_answer_comes_in_parts_and_is_what_it_was() {
        let text: Vec<u8> = (0..PART_BYTES * 2 + 7).map(|n| n as u8).collect();
        let work = Activity::new().begin();
        let mut answer = work.answer(Body::from(text.clone()));
        assert_eq!(answer.size_hint().exact(), Some(text.len() as u64));
        let mut lengths = Vec::new();
        let mut taken = Vec::new();
        while let Some(frame) = answer.frame().await {
            let data = frame.unwrap().into_data().unwrap();
            lengths.push(data.len());
            taken.extend_from_slice(&data);
            let left = (text.len() - taken.len()) as u64;
            assert_eq!(answer.size_hint().exact(), Some(left));
        }
        assert!(answer.is_end_stream());
        assert_eq!(lengths, [PART_BYTES, PART_BYTES, 7]);
        assert_eq!(taken, text);
    }
}
