//! Whether anything goes on on a connection: a request is being answered, or an answer is being taken.
//!
//! A connection is idle in every other case: silent, with half a head, with nothing but PING and SETTINGS, or with an
//! answer that its client does not read. HTTP/1.1 and HTTP/2 are judged alike.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use tokio::time::sleep;

use crate::state::clock::Stopwatch;
use crate::state::locked;
use crate::state::shares::UntilTaken;

/// From the end of the handshake, or of the last answer, to the end of a request's head, and between two parts of an
/// answer: a slow head, an idle connection and a client that does not read are the same. Then the connection is closed.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// How long one answer may lie untaken, whatever else goes on on its connection: longer, because over HTTP/2 many share
/// a slow line. Then the connection is closed.
const UNTAKEN_TIMEOUT: Duration = Duration::from_secs(30);

/// The part of an answer that counts as progress once it is taken, in bytes. A slower client than this in the idle
/// time is one that does not read.
const PART_BYTES: usize = 16 * 1024;

/// What goes on on one connection.
pub(crate) struct Activity {
    since: Stopwatch,
    at_work: AtomicUsize,
    /// When anything last happened, in microseconds since the connection began.
    last_us: AtomicU64,
    untaken: Mutex<Untaken>,
}

/// The answers that are not taken to their end.
#[derive(Default)]
struct Untaken {
    numbered: u64,
    /// When something was last taken of each, in microseconds since the connection began.
    last_us: HashMap<u64, u64>,
}

/// A request that is being answered.
pub(crate) struct Work(Arc<Activity>);

impl Activity {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            since: Stopwatch::start(),
            at_work: AtomicUsize::new(0),
            last_us: AtomicU64::new(0),
            untaken: Mutex::default(),
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

    /// How long the answer has lain that has lain longest.
    fn untaken_for(&self) -> Duration {
        let untaken = locked(&self.untaken);
        let oldest = untaken.last_us.values().min().copied();
        let now = self.since.elapsed_us();
        Duration::from_micros(oldest.map_or(0, |last| now.saturating_sub(last)))
    }

    /// Resolves once nothing has gone on for so long, or an answer lies untaken.
    pub(crate) async fn idle(&self) {
        self.idle_for(IDLE_TIMEOUT, UNTAKEN_TIMEOUT).await;
    }

    async fn idle_for(&self, limit: Duration, untaken_limit: Duration) {
        loop {
            let left = limit.saturating_sub(self.quiet_for());
            let left = left.min(untaken_limit.saturating_sub(self.untaken_for()));
            if left.is_zero() {
                return;
            }
            sleep(left).await;
        }
    }
}

impl Work {
    /// The answer, whose body counts as activity while it is taken, and holds meanwhile what is to be held until then.
    pub(crate) fn answer(&self, mut response: Response) -> hyper::Response<Answer> {
        let held = response.extensions_mut().remove::<UntilTaken>();
        response.map(|body| self.body(body, held))
    }

    fn body(&self, body: Body, held: Option<UntilTaken>) -> Answer {
        let mut untaken = locked(&self.0.untaken);
        untaken.numbered += 1;
        let number = untaken.numbered;
        untaken.last_us.insert(number, self.0.since.elapsed_us());
        drop(untaken);
        Answer {
            body,
            rest: Bytes::new(),
            activity: Arc::clone(&self.0),
            number,
            _held: held,
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
    number: u64,
    _held: Option<UntilTaken>,
}

impl Answer {
    /// Notes that its client takes more of it.
    fn takes_more(&self) {
        self.activity.happened();
        let now = self.activity.since.elapsed_us();
        let mut untaken = locked(&self.activity.untaken);
        untaken.last_us.insert(self.number, now);
    }

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
        self.takes_more();
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
        let mut untaken = locked(&self.activity.untaken);
        untaken.last_us.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use http_body_util::BodyExt;
    use hyper::body::Body as _;

    use super::*;
    use crate::state::shares::Shares;

    const LIMIT: Duration = Duration::from_millis(40);

    #[tokio::test]
    async fn a_connection_on_which_nothing_goes_on_is_idle_after_its_time() {
        let activity = Activity::new();
        activity.idle_for(LIMIT, LIMIT).await;
        assert!(activity.since.elapsed_us() >= 40_000);
    }

    #[tokio::test]
    async fn a_connection_is_not_idle_while_a_request_is_answered_nor_right_after() {
        let activity = Activity::new();
        let work = activity.begin();
        let idle = tokio::time::timeout(4 * LIMIT, activity.idle_for(LIMIT, LIMIT));
        assert!(idle.await.is_err());
        let begun = activity.since.elapsed_us();
        drop(work);
        activity.idle_for(LIMIT, LIMIT).await;
        assert!(activity.since.elapsed_us() >= begun + 40_000);
    }

    #[tokio::test]
    async fn an_answer_that_lies_untaken_ends_its_connection_whatever_else_goes_on() {
        let (activity, long) = (Activity::new(), 1000 * LIMIT);
        let other = activity.begin();
        let mut answer = activity
            .begin()
            .body(Body::from(vec![0; 2 * PART_BYTES]), None);
        // As long as it is taken, or has been, the connection goes on.
        answer.frame().await.unwrap().unwrap();
        let idle = tokio::time::timeout(LIMIT / 2, activity.idle_for(long, long));
        assert!(idle.await.is_err());
        activity.idle_for(long, LIMIT).await;
        answer.frame().await.unwrap().unwrap();
        drop(answer);
        let idle = tokio::time::timeout(4 * LIMIT, activity.idle_for(long, LIMIT));
        assert!(idle.await.is_err());
        drop(other);
    }

    #[tokio::test]
    async fn an_answer_holds_the_place_of_its_caller_until_it_is_taken() {
        let places = Shares::new(1, 1);
        let enter = || places.enter("token:ci".to_owned());
        let mut response = "an answer".into_response();
        enter().unwrap().until_taken(&mut response);
        let answer = Activity::new().begin().answer(response);
        assert!(enter().is_none());
        let taken = answer.into_body().collect().await.unwrap();
        assert_eq!(&taken.to_bytes()[..], b"an answer");
        assert!(enter().is_some());
    }

    #[tokio::test]
    async fn an_answer_comes_in_parts_and_is_what_it_was() {
        let text: Vec<u8> = (0..PART_BYTES * 2 + 7).map(|n| n as u8).collect();
        let work = Activity::new().begin();
        let mut answer = work.body(Body::from(text.clone()), None);
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
