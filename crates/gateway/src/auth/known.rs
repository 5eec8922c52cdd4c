//! Who keeps the place of a connection: an authenticated caller, for as long as the caller has access.

use std::sync::{Arc, Mutex};

use hearthkey_broker::Mark;

use crate::auth::Auth;
use crate::auth::caller::Caller;
use crate::state::locked;

/// Connections of one caller that keep their places when all are taken: see `broker/gate.rs`.
const KEPT_PER_CALLER_MAX: usize = 16;

/// What is known of the other side of a connection.
#[derive(Clone)]
pub(crate) struct Known {
    mark: Mark,
    caller: Arc<Mutex<Option<Caller>>>,
}

impl Known {
    /// Nothing yet, of the connection that has this place.
    pub(crate) fn nobody(mark: Mark) -> Self {
        Self {
            mark,
            caller: Arc::default(),
        }
    }

    /// Notes that the connection is used now.
    pub(crate) fn used(&self) {
        self.mark.used();
    }

    /// Notes that a caller has shown who they are: the connection keeps its place, among those of the one who showed it
    /// last.
    pub(crate) fn shown(&self, caller: &Caller) {
        let mut known = locked(&self.caller);
        let identity = caller.identity();
        if known.as_ref().is_some_and(|one| one.identity() != identity) {
            self.mark.forget();
        }
        // A connection that has lost its place meanwhile is being closed already.
        self.mark.known_as(&identity, KEPT_PER_CALLER_MAX);
        *known = Some(caller.clone());
    }

    /// A caller without access keeps no place, whatever is requested on the connection without authentication.
    pub(crate) fn look_again(&self, home: &Auth) {
        let mut known = locked(&self.caller);
        let is_over = |caller: &Caller| home.may_still_ask(caller).is_err();
        if known.as_ref().is_some_and(is_over) {
            self.mark.forget();
            *known = None;
        }
    }
}
