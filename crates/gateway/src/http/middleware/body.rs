//! The body of a request, read whole once its caller may ask: in a bounded time, up to a bounded size.

use std::time::Duration;

use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use hearthkey_api::code;
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
    let body = match timeout(BODY_TIMEOUT, to_bytes(body, max_bytes)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return Err(unfit_body(max_bytes)),
        Err(_) => return Err(slow_body()),
    };
    Ok(Request::from_parts(parts, Body::from(body)))
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
