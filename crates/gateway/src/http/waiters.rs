//! Places for those who wait for what happens.

use std::sync::Arc;

use crate::auth::caller::Caller;
use crate::state::shares::{Share, Shares};

/// The same of one caller: tabs of a browser, mostly. One who has gone counts until the wait is over.
pub(super) const PER_CALLER_MAX: usize = 16;
/// Who waits at a time, of people, of services, and of those on the gateway's own machine. One more is answered 503.
pub(super) const WAITING_MAX: usize = 128;
/// The places for those who wait. Each kind has its own, so that no number of tokens keeps a person from hearing what
/// happens.
pub(crate) struct Waiters {
    people: Arc<Shares>,
    services: Arc<Shares>,
    here: Arc<Shares>,
}

impl Waiters {
    pub(crate) fn new() -> Self {
        let places = || Shares::new(WAITING_MAX, PER_CALLER_MAX);
        Self {
            people: places(),
            services: places(),
            here: places(),
        }
    }

    pub(super) fn enter(&self, caller: &Caller) -> Option<Share> {
        let places = match caller {
            Caller::Person(_) => &self.people,
            Caller::Service(_) => &self.services,
            Caller::Desktop | Caller::Local { .. } => &self.here,
        };
        places.enter(caller.identity())
    }
}

#[cfg(test)]
mod tests {
    use crate::auth::caller::tests::service;

    use super::*;

    #[test]
    fn services_that_wait_take_no_place_of_whoever_is_no_service() {
        let waiters = Waiters::new();
        let here = Caller::Local { uid: 0, pid: None };
        let ci = service(&["*:list"]);
        let all: Vec<_> = (0..PER_CALLER_MAX).map(|_| waiters.enter(&ci)).collect();
        assert!(all.iter().all(Option::is_some) && waiters.enter(&ci).is_none());
        assert!(waiters.enter(&here).is_some());
        assert_eq!(Arc::strong_count(&waiters.people), 1, "no place of people");
    }
}
