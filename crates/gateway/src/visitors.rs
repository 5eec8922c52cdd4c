//! Requests of people who have not logged in yet: they have places of their own, so that no number of them keeps others
//! from being answered, and a refusal takes the same time whatever it is about.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hearthkey_broker::{Gate, Places};
use tokio::time::sleep;

use crate::body::whole;
use crate::guard::busy;
use crate::people::Visitor;
use crate::problem::Failure;

/// Requests of visitors at a time, with their bodies. For one more, one whose body has not come yet gives way, or it is
/// answered 503.
const VISITS: Places = Places {
    in_all_max: 128,
    per_network_max: 96,
    per_address_max: 64,
};
/// The longest body of a visitor's request: an attestation is a few kilobytes.
const BODY_MAX_BYTES: usize = 32 * 1024;
/// How long a refusal takes at least, counted from the request's head: longer than a password is stretched and a record
/// is written on most machines, so that neither shows. The work itself is the same for every name besides.
const REFUSED_AFTER: Duration = Duration::from_millis(400);

/// The places of visitors.
pub(crate) struct Visits(Arc<Gate>);

impl Visits {
    pub(crate) fn new() -> Self {
        Self(Gate::new(VISITS))
    }

    /// Answers a visitor.
    pub(crate) async fn answer(&self, visitor: &Visitor, request: Request, next: Next) -> Response {
        let soonest = sleep(REFUSED_AFTER);
        let answer = self.attempt(visitor, request, next).await;
        let answer = answer.unwrap_or_else(IntoResponse::into_response);
        let status = answer.status();
        if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS {
            soonest.await;
        }
        answer
    }

    async fn attempt(
        &self,
        visitor: &Visitor,
        request: Request,
        next: Next,
    ) -> Result<Response, Failure> {
        let place = self.0.enter(visitor.address.ip()).ok_or_else(busy)?;
        let request = tokio::select! {
            request = whole(request, BODY_MAX_BYTES) => request?,
            () = place.given_away() => return Err(busy()),
        };
        if !place.mark().known() {
            return Err(busy());
        }
        Ok(next.run(request).await)
    }
}
