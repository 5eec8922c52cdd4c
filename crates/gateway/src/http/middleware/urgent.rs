//! Requests that end access: each caller has places of their own for them, so that nothing that others wait for, at a bridge
//! or for the disk, keeps a revocation from being answered.

use std::sync::Arc;

use axum::http::StatusCode;
use hearthkey_api::code;

use crate::http::policy::{Ends, Policy};
use crate::state::failure::Failure;
use crate::state::shares::Shares;

/// Requests that end access, of one caller at a time. One more is answered 503. On a disk that hangs, each is answered
/// after two seconds.
const PER_CALLER_MAX: usize = 256;

/// Whose places a request takes, if it ends access. What waits for a bridge has others than what waits for nothing.
pub(crate) fn places_of(policy: Option<&Policy>, caller: &str) -> Option<String> {
    Some(match policy?.ends? {
        Ends::Before => format!("{caller} before it ends something"),
        Ends::Access => caller.to_owned(),
        Ends::AtBridge => format!("{caller} at bridges"),
    })
}

/// For one request more than a caller has places.
pub(crate) fn too_many_ends() -> Failure {
    Failure::new(
        StatusCode::SERVICE_UNAVAILABLE,
        code::BUSY,
        "Too many of your requests that end access are in progress.",
        format!("{PER_CALLER_MAX} are in progress. This one was not started."),
        "Try again in a second, or name many devices in one request.",
    )
}

/// The places for these requests: of all callers together there are as many as they come.
pub(crate) fn urgent() -> Arc<Shares> {
    Shares::new(usize::MAX, PER_CALLER_MAX)
}

#[cfg(test)]
mod tests {
    use hearthkey_core::role::Act;

    use super::*;
    use crate::http::policy::act;

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
    fn what_waits_for_a_bridge_takes_no_place_of_a_revocation() {
        let plain = act(Act::DeviceChange).anywhere();
        let revoke = places_of(Some(&plain.ends_access()), "token:ci");
        assert_eq!(revoke.as_deref(), Some("token:ci"));
        let lease = places_of(Some(&plain.ends_at_bridge()), "token:ci");
        assert!(lease.is_some() && lease != revoke);
        assert_eq!(places_of(Some(&plain), "token:ci"), None);
        assert_eq!(places_of(None, "token:ci"), None);
    }
}
