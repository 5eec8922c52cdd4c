//! What stands before every request over HTTPS: its name, its origin, its bearer, its bounds.
//!
//! The order is the point. Nothing is looked up for a request under a strange name, no body is read
//! for a stranger, and no handler runs that is not open to services.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hearthkey_api::{BODY_MAX_BYTES, code};
use hearthkey_core::proof::Asked;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::caller::Caller;
use crate::home::Home;
use crate::host::{Hosts, Misdirected};
use crate::https::Peer;
use crate::problem::Failure;
use crate::service_routes::{Open, elsewhere, is_in_environment, not_for_services, open_to};

/// Requests that are worked on at a time. One more is answered 503.
const REQUESTS_MAX: usize = 64;
/// How long the body of a request may take to come. Then it is answered 408.
const BODY_TIMEOUT: Duration = Duration::from_secs(15);

/// What every request is judged by.
pub(crate) struct Front {
    home: Arc<Home>,
    hosts: Hosts,
    places: Semaphore,
}

impl Front {
    pub(crate) fn new(home: Arc<Home>, hosts: Hosts) -> Arc<Self> {
        let places = Semaphore::new(REQUESTS_MAX);
        Arc::new(Self {
            home,
            hosts,
            places,
        })
    }

    async fn answer(&self, request: Request, next: Next) -> Result<Response, Response> {
        let refuse = IntoResponse::into_response;
        let named = self.hosts.authority(request.headers(), request.uri());
        let authority = named.map_err(|why| refuse(misdirected(why)))?;
        let is_write = !matches!(*request.method(), Method::GET | Method::HEAD);
        if is_write && request.headers().contains_key(header::ORIGIN) {
            return Err(refuse(cross_origin()));
        }
        let pattern = request.extensions().get::<MatchedPath>().cloned();
        let pattern = pattern.as_ref().map(MatchedPath::as_str);
        let open = open_to(request.method(), pattern);
        if open == Open::Everybody {
            let _place = self.places.try_acquire().map_err(|_| refuse(busy()))?;
            return Ok(next.run(bare(request)).await);
        }
        let errand = match open {
            Open::Service(errand) => errand,
            _ => hearthkey_core::bearer::Errand::Use,
        };
        let peer = request.extensions().get::<Peer>().copied();
        let peer = peer.ok_or_else(|| refuse(Failure::internal(&"a request without a peer")))?;
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let asked = Asked {
            method: method.as_str(),
            authority: &authority,
            path: &path,
        };
        let service = self
            .home
            .hear(peer, request.headers(), asked, errand)
            .await
            .map_err(IntoResponse::into_response)?;
        let forbidden = match pattern {
            // A path that nobody serves is no overreach, and the answer says so.
            None => None,
            Some(_) if open == Open::Nobody => Some(not_for_services()),
            Some(pattern) if !is_in_environment(pattern, &path, &service.token) => {
                Some(elsewhere(&service.token))
            }
            Some(_) => None,
        };
        let response = match forbidden {
            Some(failure) => failure.into_response(),
            None => {
                let mut request = whole(request).await.map_err(refuse)?;
                // Not before its body is there: a slow one would keep others from their places.
                let _place = self.places.try_acquire().map_err(|_| refuse(busy()))?;
                request
                    .extensions_mut()
                    .insert(Caller::Service(service.clone()));
                next.run(request).await
            }
        };
        if response.status() == StatusCode::FORBIDDEN {
            self.home.record_overreach(&service, asked).await;
        }
        Ok(response)
    }
}

/// Judges a request, and puts what every answer has onto its answer.
pub(crate) async fn guard(
    State(front): State<Arc<Front>>,
    request: Request,
    next: Next,
) -> Response {
    let answer = front.answer(request, next).await;
    let mut response = answer.unwrap_or_else(|refused| refused);
    dress(response.headers_mut());
    response
}

/// Nothing is kept, guessed, framed or embedded. Strict-Transport-Security is left out on purpose:
/// it would hold for every port of the host, and so lock a browser out of whatever else the same
/// machine serves in plain HTTP; here no plain HTTP is spoken in the first place.
fn dress(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(
        "cross-origin-resource-policy",
        HeaderValue::from_static("same-origin"),
    );
    headers.remove(header::SERVER);
}

/// The request without its body, for what everybody may ask.
fn bare(request: Request) -> Request {
    request.map(|_| Body::empty())
}

/// The request with its whole body, if that comes in time and is not too large.
async fn whole(request: Request) -> Result<Request, Failure> {
    let (parts, body) = request.into_parts();
    let body = match timeout(BODY_TIMEOUT, to_bytes(body, BODY_MAX_BYTES)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return Err(unfit_body()),
        Err(_) => return Err(slow_body()),
    };
    Ok(Request::from_parts(parts, Body::from(body)))
}

fn misdirected(why: Misdirected) -> Failure {
    let detail = match why {
        Misdirected::Unnamed => "It names no host, or more than one.",
        Misdirected::Stranger => "It names a host or port that is not this gateway's.",
    };
    Failure::new(
        StatusCode::MISDIRECTED_REQUEST,
        code::MISDIRECTED,
        "The request is not for this gateway.",
        detail,
        "Use a name that the gateway was started with as --host, and its port.",
    )
}

fn cross_origin() -> Failure {
    Failure::new(
        StatusCode::FORBIDDEN,
        code::CROSS_ORIGIN,
        "A page in a browser may not do this.",
        "The request has an Origin header, and this gateway serves no pages.",
        "Ask from a program, without that header.",
    )
}

fn busy() -> Failure {
    Failure::new(
        StatusCode::SERVICE_UNAVAILABLE,
        code::BUSY,
        "The gateway is busy.",
        format!("It works on {REQUESTS_MAX} requests at a time."),
        "Ask again in a second.",
    )
}

fn unfit_body() -> Failure {
    Failure::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        code::INVALID,
        "The request cannot be understood.",
        format!("Its body is cut short, or longer than {BODY_MAX_BYTES} bytes."),
        "Send less.",
    )
}

fn slow_body() -> Failure {
    Failure::new(
        StatusCode::REQUEST_TIMEOUT,
        code::TIMED_OUT,
        "The request did not come in time.",
        format!("Its body may take {} seconds.", BODY_TIMEOUT.as_secs()),
        "Send it faster.",
    )
}
