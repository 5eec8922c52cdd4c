//! The version of a thing, for callers who change it after reading it (RFC 9110 §13.1.1).
//!
//! Everything that is decided about a thing is recorded, so the number of the newest record about it represents what was
//! decided when somebody looked. It is the `ETag` of the thing; a write that carries it as `If-Match` is refused once
//! there is a newer one. What is merely seen, like the last address of a device, or refused, makes no version.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hearthkey_api::code;
use hearthkey_store::change::Expected;

use crate::home::Home;
use crate::http::gateway::Gateway;
use crate::state::expected;
use crate::state::failure::Failure;

/// What a request expects of a thing, if it expects anything and finds it so; or why it is refused. The version of a
/// thing is 0 as long as nothing was decided about it: the log's record 0 is about the home.
pub(crate) fn expected_by(
    home: &Home,
    thing: &str,
    headers: &HeaderMap,
) -> Result<Option<Expected>, Failure> {
    if !headers.contains_key(header::IF_MATCH) {
        return Ok(None);
    }
    let newest = home.ctx.newest_about(thing)?;
    match expects(headers, newest.unwrap_or(0)) {
        Matched::Any => Ok(None),
        Matched::Version => Ok(Some(Expected {
            object: thing.to_owned(),
            newest,
        })),
        Matched::No => Err(changed(thing)),
    }
}

/// Whether a version is one that `If-Match` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Matched {
    /// Any version is good.
    Any,
    /// It is, and only it.
    Version,
    /// It is not.
    No,
}

/// Whether `If-Match` names this version, or any.
fn expects(headers: &HeaderMap, version: u64) -> Matched {
    let tag = tag_of(version);
    let named = headers
        .get_all(header::IF_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let mut matched = Matched::No;
    for one in named.map(str::trim) {
        match one {
            "*" => return Matched::Any,
            one if one == tag => matched = Matched::Version,
            _ => continue,
        }
    }
    matched
}

fn tag_of(version: u64) -> String {
    format!("\"{version}\"")
}

/// Tells the version of what is shown, and holds writes to the one they expect: before they begin, and again within the
/// transaction of their first change. No lock is held, so that no request waits for another.
pub(crate) async fn versioned(
    State(gateway): State<Arc<Gateway>>,
    request: Request,
    next: Next,
) -> Response {
    let pattern = request.extensions().get::<MatchedPath>();
    let thing = pattern.and_then(|pattern| {
        let thing = gateway.table().thing(pattern.as_str())?;
        Some(thing.at(pattern.as_str(), request.uri().path()))
    });
    let (Some(thing), Ok(home)) = (thing, gateway.home()) else {
        return next.run(request).await;
    };
    if let Err(failure) = written_plainly(&thing) {
        return failure.into_response();
    }
    if *request.method() == Method::POST {
        return match expected_by(&home, &thing, request.headers()) {
            Ok(Some(expected)) => expected::resting_on(expected, next.run(request)).await,
            Ok(None) => next.run(request).await,
            Err(failure) => failure.into_response(),
        };
    }
    // Before it is shown, so that the version is never newer than what was seen.
    let version = home.ctx.newest_about(&thing).map(Option::unwrap_or_default);
    let mut response = next.run(request).await;
    if response.status().is_success()
        && let Ok(version) = version
        && let Ok(tag) = HeaderValue::from_str(&tag_of(version))
    {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// Whether a path names a thing without escapes. No name needs one, and with one it would be looked for in the log, and judged,
/// as another name than the handler reads.
fn written_plainly(thing: &str) -> Result<(), Failure> {
    match thing.contains('%') {
        false => Ok(()),
        true => Err(Failure::invalid(
            &"a name in a path has letters, digits, - and _, and no escapes",
        )),
    }
}

fn changed(thing: &str) -> Failure {
    Failure::new(
        StatusCode::PRECONDITION_FAILED,
        code::CHANGED_MEANWHILE,
        "It has changed since you looked.",
        format!("If-Match does not name the newest version of {thing}. Nothing was done."),
        "Look at it again, then decide.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_expected_by_its_tag_or_by_a_star() {
        let expecting = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_MATCH, HeaderValue::from_static(value));
            expects(&headers, 7)
        };
        for good in ["\"7\"", "\"5\", \"7\""] {
            assert_eq!(expecting(good), Matched::Version, "{good}");
        }
        assert_eq!(expecting("\"5\", *"), Matched::Any);
        // RFC 9110 §13.1.1 compares strongly: a weak tag is none.
        for bad in ["7", "\"6\"", "W/\"7\"", "\"77\"", ""] {
            assert_eq!(expecting(bad), Matched::No, "{bad}");
        }
    }

    #[test]
    fn a_name_with_an_escape_is_no_other_spelling_of_a_thing() {
        assert!(written_plainly("credential:lab/hue/api-key").is_ok());
        for escaped in ["credential:lab/hue/%61pi-key", "device:%2E%2E"] {
            let Failure(refused) = written_plainly(escaped).unwrap_err();
            assert_eq!(refused.status, 400, "{escaped}");
        }
    }
}
