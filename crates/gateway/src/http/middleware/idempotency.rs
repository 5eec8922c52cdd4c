//! The same answer to the same request: a client that did not receive it may retry, and nothing is made twice
//! (draft-ietf-httpapi-idempotency-key-header-07).
//!
//! Answers are kept in memory, for they may hold a secret that is shown once. A home that was sealed or started anew has
//! forgotten them.

use crate::http::answered::{Answer, Asked, Repeats};
use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hearthkey_api::{BODY_MAX_BYTES, code};
use hearthkey_core::id::Fingerprint;
use hearthkey_core::time::{Span, Timestamp};
use zeroize::Zeroizing;

use crate::auth::caller::Caller;
use crate::http::gateway::Gateway;
use crate::state::failure::Failure;
use crate::state::locked;

/// The header that names a request.
pub(crate) const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The header of an answer that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// How long an answer is kept.
const KEPT: Span = Span::hours(1);
/// Answers that are kept for one caller. The oldest makes way.
const PER_CALLER_MAX: usize = 64;
/// The longest key, in bytes.
pub(crate) const KEY_MAX_BYTES: usize = 128;
/// The largest answer that is kept.
const ANSWER_MAX_BYTES: usize = 64 * 1024;

impl Answer {
    fn again(&self) -> Response {
        let mut response = (self.status, self.body.to_vec()).into_response();
        *response.headers_mut() = self.headers.clone();
        let yes = HeaderValue::from_static("true");
        response.headers_mut().insert(REPLAYED, yes);
        response
    }
}

/// What is known of a request's key.
enum Known {
    Nothing,
    Answered(Arc<Answer>),
    Underway,
    OfAnother,
    /// Every place of the caller is taken by a request that is being worked on.
    Full,
}

/// Looks a request up, and takes note of one that is new.
fn note(repeats: &Repeats, caller: &str, key: &str, request: Fingerprint, now: Timestamp) -> Known {
    let mut repeats = locked(repeats);
    repeats.retain(|_, asked| {
        asked.retain(|one| now.since(one.at).as_ms() < KEPT.as_ms());
        !asked.is_empty()
    });
    let asked = repeats.entry(caller.to_owned()).or_default();
    if let Some(before) = asked.iter().find(|before| before.key == key) {
        return match &before.answer {
            _ if before.request != request => Known::OfAnother,
            Some(answer) => Known::Answered(Arc::clone(answer)),
            None => Known::Underway,
        };
    }
    if asked.len() >= PER_CALLER_MAX {
        // What is being worked on keeps its place: without it, it could be done twice.
        match asked.iter().position(|one| one.answer.is_some()) {
            Some(oldest) => asked.remove(oldest),
            None => return Known::Full,
        };
    }
    asked.push_back(Asked {
        key: key.to_owned(),
        request,
        at: now,
        answer: None,
    });
    Known::Nothing
}

/// Keeps what came of a request, or forgets the request if nothing did.
fn settle(repeats: &Repeats, caller: &str, key: &str, answer: Option<Answer>) {
    let mut repeats = locked(repeats);
    let Some(asked) = repeats.get_mut(caller) else {
        return;
    };
    match answer {
        Some(answer) => {
            if let Some(one) = asked.iter_mut().find(|one| one.key == key) {
                one.answer = Some(Arc::new(answer));
            }
        }
        // An answer that was given stays.
        None => asked.retain(|one| one.key != key || one.answer.is_some()),
    }
}

/// Answers a creation that was asked for before as it was answered then.
pub(crate) async fn once(
    State(gateway): State<Arc<Gateway>>,
    request: Request,
    next: Next,
) -> Response {
    let pattern = request.extensions().get::<MatchedPath>();
    let policy = pattern.and_then(|one| gateway.table().policy(request.method(), one.as_str()));
    let creates = policy.is_some_and(|policy| policy.creates);
    let key = request.headers().get(&KEY).filter(|_| creates).cloned();
    let caller = request.extensions().get::<Caller>().map(Caller::identity);
    let (Some(key), Some(caller), Ok(served)) = (key, caller, gateway.served()) else {
        return next.run(request).await;
    };
    let Some(key) = key.to_str().ok().filter(|key| is_key(key)) else {
        let why = format!("an Idempotency-Key has 1 to {KEY_MAX_BYTES} visible ASCII characters");
        return Failure::invalid(&why).into_response();
    };
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_MAX_BYTES).await else {
        return Failure::invalid(&"the body is cut short, or too long").into_response();
    };
    let asked = fingerprint(parts.uri.path(), &body);
    match note(&served.repeats, &caller, key, asked, served.home.ctx.now()) {
        Known::Answered(answer) => return answer.again(),
        Known::Underway => return underway().into_response(),
        Known::OfAnother => return of_another().into_response(),
        Known::Full => return too_many().into_response(),
        Known::Nothing => {}
    }
    let underway_now = Underway {
        repeats: &served.repeats,
        caller: &caller,
        key,
    };
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    if !response.status().is_success() {
        return response;
    }
    let (parts, body) = response.into_parts();
    match to_bytes(body, ANSWER_MAX_BYTES).await {
        Ok(body) => {
            let answer = Answer {
                status: parts.status,
                headers: parts.headers.clone(),
                body: Zeroizing::new(body.to_vec()),
            };
            underway_now.settle(answer);
            Response::from_parts(parts, Body::from(body))
        }
        Err(error) => Failure::internal(&error).into_response(),
    }
}

/// A request that is being worked on. If it is not settled, whatever happened, it may be asked again.
struct Underway<'a> {
    repeats: &'a Repeats,
    caller: &'a str,
    key: &'a str,
}

impl Underway<'_> {
    fn settle(self, answer: Answer) {
        settle(self.repeats, self.caller, self.key, Some(answer));
    }
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        settle(self.repeats, self.caller, self.key, None);
    }
}

fn is_key(key: &str) -> bool {
    (1..=KEY_MAX_BYTES).contains(&key.len()) && key.chars().all(|c| c.is_ascii_graphic())
}

/// All creations are POSTs.
fn fingerprint(path: &str, body: &Bytes) -> Fingerprint {
    Fingerprint::of(&[path.as_bytes(), b"\n", body].concat())
}

fn underway() -> Failure {
    Failure::new(
        StatusCode::CONFLICT,
        code::CONFLICT,
        "The same request is still in progress.",
        "An earlier one with the same Idempotency-Key is still in progress.",
        "Try again in a second.",
    )
}

fn too_many() -> Failure {
    Failure::new(
        StatusCode::TOO_MANY_REQUESTS,
        code::RATE_LIMITED,
        "Too many of your requests are in progress.",
        format!("{PER_CALLER_MAX} with an Idempotency-Key are in progress."),
        "Try again in a second.",
    )
}

fn of_another() -> Failure {
    Failure::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        code::KEY_REUSED,
        "The Idempotency-Key belongs to another request.",
        "It was used with another path or body within the last hour.",
        "Use a new key for each new request.",
    )
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;

    use super::*;

    const ASKED: Fingerprint = Fingerprint([1; 32]);

    fn answer(text: &str) -> Answer {
        Answer {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Zeroizing::new(text.as_bytes().to_vec()),
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_s(seconds)
    }

    #[test]
    fn a_request_is_new_then_underway_then_answered_as_before() {
        let repeats = Repeats::default();
        let look = |caller| note(&repeats, caller, "k", ASKED, at(0));
        assert!(matches!(look("person:anna"), Known::Nothing));
        assert!(matches!(look("person:anna"), Known::Underway));
        assert!(
            matches!(look("person:udo"), Known::Nothing),
            "keys are each caller's own"
        );
        settle(&repeats, "person:anna", "k", Some(answer("made")));
        let Known::Answered(kept) = look("person:anna") else {
            panic!("it was answered");
        };
        assert_eq!(kept.body.as_slice(), b"made");
        assert_eq!(kept.again().headers()[REPLAYED], "true");
    }

    #[test]
    fn a_key_belongs_to_one_request_for_an_hour() {
        let repeats = Repeats::default();
        let look = |request, now| note(&repeats, "uid:0", "k", request, now);
        assert!(matches!(look(ASKED, at(0)), Known::Nothing));
        let other = Fingerprint([2; 32]);
        assert!(matches!(look(other, at(3599)), Known::OfAnother));
        assert!(matches!(look(other, at(3600)), Known::Nothing));
    }

    #[test]
    fn what_was_refused_may_be_asked_again() {
        let repeats = Repeats::default();
        let look = || note(&repeats, "uid:0", "k", ASKED, at(0));
        assert!(matches!(look(), Known::Nothing));
        settle(&repeats, "uid:0", "k", None);
        assert!(matches!(look(), Known::Nothing));
    }

    #[test]
    fn the_oldest_answer_of_too_many_makes_way_and_no_request_that_is_worked_on() {
        let repeats = Repeats::default();
        for n in 0..PER_CALLER_MAX {
            note(&repeats, "uid:0", &n.to_string(), ASKED, at(0));
        }
        assert!(matches!(
            note(&repeats, "uid:0", "more", ASKED, at(0)),
            Known::Full
        ));
        settle(&repeats, "uid:0", "0", Some(answer("made")));
        note(&repeats, "uid:0", "more", ASKED, at(0));
        settle(&repeats, "uid:0", "more", Some(answer("made")));
        assert_eq!(locked(&repeats)["uid:0"].len(), PER_CALLER_MAX);
        assert!(matches!(
            note(&repeats, "uid:0", "0", ASKED, at(0)),
            Known::Nothing
        ));
    }

    #[test]
    fn a_key_is_short_and_visible() {
        assert!(is_key("a") && is_key(&"k".repeat(128)));
        for bad in ["", "a b", "ä", &"k".repeat(129)] {
            assert!(!is_key(bad), "{bad}");
        }
    }
}
