//! The body of a request, read whole once its caller may ask: in a bounded time, up to a bounded size.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::StatusCode;
use hearthkey_api::code;
use http_body_util::BodyExt;
use tokio::time::timeout;

use crate::state::failure::Failure;

/// How long the body of a request may take to come. Then it is answered 408.
const BODY_TIMEOUT: Duration = Duration::from_secs(15);

/// The request with its whole body, if that comes in time and is not too large. Nothing waits for it that others wait
/// for too: no place and no lock is held meanwhile.
pub(crate) async fn whole(request: Request, max_bytes: usize) -> Result<Request, Failure> {
    // One that says that it is too large is not asked for.
    if request.body().size_hint().lower() > max_bytes as u64 {
        return Err(unfit_body(max_bytes));
    }
    let (parts, body) = request.into_parts();
    let body = match timeout(BODY_TIMEOUT, in_one_piece(body, max_bytes)).await {
        Ok(Some(body)) => body,
        Ok(None) => return Err(unfit_body(max_bytes)),
        Err(_) => return Err(slow_body()),
    };
    Ok(Request::from_parts(parts, Body::from(body)))
}

/// The bytes of a body, unless it is cut short or longer than it may be. Its sender chooses the parts in which it comes: what
/// is kept meanwhile grows with its bytes alone, for a part of one byte that is kept as a part costs dozens.
async fn in_one_piece(mut body: Body, max_bytes: usize) -> Option<Bytes> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(part) = frame.ok()?.into_data() else {
            continue;
        };
        if part.len() > max_bytes - bytes.len() {
            return None;
        }
        bytes.extend_from_slice(&part);
    }
    Some(bytes.into())
}

/// The request without its body, for what everybody may ask.
pub(crate) fn bare(request: Request) -> Request {
    request.map(|_| Body::empty())
}

fn unfit_body(max_bytes: usize) -> Failure {
    Failure::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        code::INVALID,
        "The request is not valid.",
        format!("Its body is cut short, or longer than {max_bytes} bytes."),
        "Send less.",
    )
}

fn slow_body() -> Failure {
    Failure::new(
        StatusCode::REQUEST_TIMEOUT,
        code::TIMED_OUT,
        "The request took too long.",
        format!("Its body may take {} seconds.", BODY_TIMEOUT.as_secs()),
        "Send it again, faster.",
    )
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll};

    use axum::Error;
    use hyper::body::Frame;

    use super::*;

    /// A part of a body that counts as long as anybody keeps it.
    struct Part(Arc<AtomicUsize>);

    impl AsRef<[u8]> for Part {
        fn as_ref(&self) -> &[u8] {
            b"a"
        }
    }

    impl Drop for Part {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A body that comes in parts of one byte.
    #[derive(Default)]
    struct Crumbs {
        left: usize,
        kept: Arc<AtomicUsize>,
        kept_most: Arc<AtomicUsize>,
    }

    impl hyper::body::Body for Crumbs {
        type Data = Bytes;
        type Error = Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
            if self.left == 0 {
                return Poll::Ready(None);
            }
            self.left -= 1;
            let kept = self.kept.fetch_add(1, Ordering::Relaxed) + 1;
            self.kept_most.fetch_max(kept, Ordering::Relaxed);
            let part = Bytes::from_owner(Part(Arc::clone(&self.kept)));
            Poll::Ready(Some(Ok(Frame::data(part))))
        }
    }

    #[tokio::test]
    async fn what_is_kept_of_a_body_grows_with_its_bytes_and_not_with_its_parts() {
        let crumbs = Crumbs {
            left: 1000,
            ..Crumbs::default()
        };
        let kept_most = Arc::clone(&crumbs.kept_most);
        let request = Request::new(Body::new(crumbs));
        let request = whole(request, 1000).await.unwrap();
        let bytes = request.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(bytes, vec![b'a'; 1000]);
        assert_eq!(kept_most.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_body_that_does_not_say_how_long_it_is_is_read_up_to_its_bound() {
        let crumbs = |left| {
            let crumbs = Crumbs {
                left,
                ..Crumbs::default()
            };
            Request::new(Body::new(crumbs))
        };
        assert!(whole(crumbs(10), 10).await.is_ok());
        let refused = whole(crumbs(11), 10).await.unwrap_err();
        assert_eq!(refused.0.status, StatusCode::PAYLOAD_TOO_LARGE.as_u16());
    }
}
