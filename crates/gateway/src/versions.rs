//! The version of a thing, for whoever changes it after having looked (RFC 9110 §13.1.1).
//!
//! Everything that is decided about a thing is recorded, so the number of the newest record about it stands for what was
//! decided when somebody looked. It is the `ETag` of the thing; a write that carries it as `If-Match` is refused once
//! there is a newer one. What is merely seen, like the last address of a device, makes no version.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hearthkey_api::code;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::home::Home;
use crate::problem::Failure;
use crate::run::Gateway;

/// The paths of things, and what the audit log calls them.
pub(crate) const THINGS: [(&str, &str); 4] = [
    ("/api/v1/devices/{id}", "device"),
    ("/api/v1/tokens/{name}", "token"),
    ("/api/v1/profiles/{name}", "profile"),
    (
        "/api/v1/environments/{environment}/credentials/{bridge}/{key}",
        "credential",
    ),
];

/// The thing that a path is about, if its things have versions. The pattern is the one that the router found.
fn thing_at(pattern: &str, path: &str) -> Option<String> {
    let (root, kind) = THINGS.iter().find(|(root, _)| {
        let rest = pattern.strip_prefix(root);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })?;
    let values: Vec<&str> = root
        .split('/')
        .zip(path.split('/'))
        .filter(|(name, _)| name.starts_with('{'))
        .map(|(_, value)| value)
        .collect();
    Some(format!("{kind}:{}", values.join("/")))
}

/// Things share this many turns.
const TURNS: usize = 64;

/// Whose write rests on a version is alone with the thing; the others are beside one another.
pub(crate) struct Versions(Vec<RwLock<()>>);

/// Held until a write is done.
pub(crate) type Turn<'a> = (
    Option<RwLockReadGuard<'a, ()>>,
    Option<RwLockWriteGuard<'a, ()>>,
);

impl Versions {
    pub(crate) fn new() -> Self {
        Self((0..TURNS).map(|_| RwLock::new(())).collect())
    }

    fn of(&self, thing: &str) -> &RwLock<()> {
        let mut hasher = DefaultHasher::new();
        thing.hash(&mut hasher);
        let turn = usize::try_from(hasher.finish() % TURNS as u64).unwrap_or_default();
        &self.0[turn]
    }
}

impl Home {
    /// The version of a thing: 0 as long as nothing was decided about it. The log's record 0 is about the home.
    fn version_of(&self, thing: &str) -> Result<u64, Failure> {
        let newest = self
            .store
            .read(|registry| registry.newest_record_about(thing))?;
        Ok(newest.unwrap_or(0))
    }

    /// The turn to write a thing, if it still has a version that the request expects.
    pub(crate) async fn turn_to_write(
        &self,
        thing: &str,
        headers: &HeaderMap,
    ) -> Result<Turn<'_>, Failure> {
        let lock = self.versions.of(thing);
        if !headers.contains_key(header::IF_MATCH) {
            return Ok((Some(lock.read().await), None));
        }
        let turn = lock.write().await;
        match expects(headers, self.version_of(thing)?) {
            true => Ok((None, Some(turn))),
            false => Err(changed(thing)),
        }
    }
}

/// Whether `If-Match` names this version, or any.
fn expects(headers: &HeaderMap, version: u64) -> bool {
    let tag = tag_of(version);
    let mut named = headers
        .get_all(header::IF_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    named.any(|one| one.trim() == "*" || one.trim() == tag)
}

fn tag_of(version: u64) -> String {
    format!("\"{version}\"")
}

/// Tells the version of what is shown, and holds writes to the one they expect.
pub(crate) async fn versioned(
    State(gateway): State<Arc<Gateway>>,
    request: Request,
    next: Next,
) -> Response {
    let pattern = request.extensions().get::<MatchedPath>();
    let thing = pattern.and_then(|pattern| thing_at(pattern.as_str(), request.uri().path()));
    let (Some(thing), Ok(home)) = (thing, gateway.home()) else {
        return next.run(request).await;
    };
    if *request.method() == Method::POST {
        return match home.turn_to_write(&thing, request.headers()).await {
            Ok(_turn) => next.run(request).await,
            Err(failure) => failure.into_response(),
        };
    }
    // Before it is shown, so that the version is never newer than what was seen.
    let version = home.version_of(&thing);
    let mut response = next.run(request).await;
    if response.status().is_success()
        && let Ok(version) = version
        && let Ok(tag) = HeaderValue::from_str(&tag_of(version))
    {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

fn changed(thing: &str) -> Failure {
    Failure::new(
        StatusCode::PRECONDITION_FAILED,
        code::CHANGED_MEANWHILE,
        "It has changed since you looked.",
        format!("What If-Match names is not the newest version of {thing}. Nothing was done."),
        "Look at it again, and decide anew.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_below_a_thing_is_about_it() {
        let credential = "/api/v1/environments/{environment}/credentials/{bridge}/{key}/change";
        let path = "/api/v1/environments/lab/credentials/hue/api-key/change";
        assert_eq!(
            thing_at(credential, path).as_deref(),
            Some("credential:lab/hue/api-key")
        );
        let device = thing_at("/api/v1/devices/{id}", "/api/v1/devices/lamp");
        assert_eq!(device.as_deref(), Some("device:lamp"));
        for (pattern, path) in [
            ("/api/v1/devices", "/api/v1/devices"),
            ("/api/v1/tokens/self", "/api/v1/tokens/self"),
            ("/api/v1/devices/summary", "/api/v1/devices/summary"),
        ] {
            assert_eq!(thing_at(pattern, path), None);
        }
    }

    #[test]
    fn a_version_is_expected_by_its_tag_or_by_a_star() {
        let expecting = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_MATCH, HeaderValue::from_static(value));
            expects(&headers, 7)
        };
        for good in ["\"7\"", "*", "\"5\", \"7\""] {
            assert!(expecting(good), "{good}");
        }
        // RFC 9110 §13.1.1 compares strongly: a weak tag is none.
        for bad in ["7", "\"6\"", "W/\"7\"", "\"77\"", ""] {
            assert!(!expecting(bad), "{bad}");
        }
    }
}
