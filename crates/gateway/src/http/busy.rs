//! More requests than there are places.

use axum::http::StatusCode;
use hearthkey_api::code;

use crate::state::failure::Failure;

/// Requests that are worked on at a time, beside those that end access. One more is answered 503.
pub(crate) const REQUESTS_MAX: usize = 64;

/// For one request more.
pub(crate) fn busy() -> Failure {
    Failure::new(
        StatusCode::SERVICE_UNAVAILABLE,
        code::BUSY,
        "The gateway is busy.",
        format!("It handles {REQUESTS_MAX} requests at a time."),
        "Try again in a second.",
    )
}
