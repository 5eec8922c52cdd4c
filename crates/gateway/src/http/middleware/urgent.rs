//! Requests that end access: each caller has places of their own for them, so that nothing that others wait for, at a bridge
//! or for the disk, keeps a revocation from being answered.

use std::sync::Arc;

use axum::http::{Method, StatusCode};
use hearthkey_api::code;

use crate::state::failure::Failure;
use crate::state::shares::Shares;

/// Requests that end access, of one caller at a time. One more is answered 503. On a disk that hangs, each is answered
/// after two seconds.
const PER_CALLER_MAX: usize = 256;

/// What ends access, or seals the home.
const ENDS: [&str; 12] = [
    "/api/v1/devices/bulk",
    "/api/v1/devices/{id}/narrow",
    "/api/v1/devices/{id}/revoke",
    "/api/v1/devices/{id}/retire",
    "/api/v1/devices/{id}/suspend",
    "/api/v1/people/me/passkeys/{id}/end",
    "/api/v1/people/{name}/change",
    "/api/v1/people/{name}/end",
    "/api/v1/seal",
    "/api/v1/session/end",
    "/api/v1/sessions/{id}/end",
    "/api/v1/tokens/{name}/revoke",
];

/// What ends the use of values, and may wait for a bridge.
const ENDS_AT_BRIDGES: [&str; 4] = [
    "/api/v1/environments/{environment}/bridges/{name}/disconnect",
    "/api/v1/environments/{environment}/credentials/{bridge}/{key}/retire",
    "/api/v1/leases/{lease}/end",
    "/api/v1/projects/{place}/retire",
];

/// What the interface asks before it ends access: who is logged in, and what an act would end.
const PRECEDES: [(Method, &str); 2] = [
    (Method::GET, "/api/v1/session"),
    (Method::POST, "/api/v1/devices/preview"),
];

/// Whose places a request takes, if it ends access. What waits for a bridge has others than what waits for nothing.
pub(crate) fn places_of(method: &Method, pattern: &str, caller: &str) -> Option<String> {
    if PRECEDES
        .iter()
        .any(|(its, path)| method == its && pattern == *path)
    {
        return Some(format!("{caller} before it ends something"));
    }
    if *method != Method::POST {
        return None;
    }
    match (ENDS.contains(&pattern), ENDS_AT_BRIDGES.contains(&pattern)) {
        (true, _) => Some(caller.to_owned()),
        (_, true) => Some(format!("{caller} at bridges")),
        (false, false) => None,
    }
}

/// For one request more than a caller has places.
pub(crate) fn too_many_ends() -> Failure {
    Failure::new(
        StatusCode::SERVICE_UNAVAILABLE,
        code::BUSY,
        "Too many of your requests that end access are being worked on.",
        format!("{PER_CALLER_MAX} have no answer yet. This one was not begun."),
        "Ask again in a second, or name many devices in one request.",
    )
}

/// The places for these requests: of all callers together there are as many as they come.
pub(crate) fn urgent() -> Arc<Shares> {
    Shares::new(usize::MAX, PER_CALLER_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_caller_has_places_of_their_own() {
        let urgent = urgent();
        let enter = |caller: &str| urgent.enter(caller.to_owned());
        let all: Vec<_> = (0..PER_CALLER_MAX).map(|_| enter("token:ci")).collect();
        assert!(all.iter().all(Option::is_some));
        assert!(enter("token:ci").is_none());
        assert!(enter("person:ada").is_some());
        drop(all);
        assert!(enter("token:ci").is_some());
    }

    #[test]
    fn each_of_these_requests_is_in_the_contract() {
        let contract = serde_json::to_value(crate::openapi()).unwrap();
        for pattern in ENDS.iter().chain(&ENDS_AT_BRIDGES) {
            assert!(contract["paths"][pattern]["post"].is_object(), "{pattern}");
        }
        for (method, pattern) in PRECEDES {
            let method = method.as_str().to_lowercase();
            assert!(contract["paths"][pattern][method].is_object(), "{pattern}");
        }
    }

    #[test]
    fn what_waits_for_a_bridge_takes_no_place_of_a_revocation() {
        let post = |pattern| places_of(&Method::POST, pattern, "token:ci");
        let revoke = post("/api/v1/devices/{id}/revoke");
        assert_eq!(revoke.as_deref(), Some("token:ci"));
        let lease = post("/api/v1/leases/{lease}/end");
        assert!(lease.is_some() && lease != revoke);
        assert_eq!(post("/api/v1/claims"), None);
        assert_eq!(places_of(&Method::GET, "/api/v1/seal", "token:ci"), None);
    }
}
