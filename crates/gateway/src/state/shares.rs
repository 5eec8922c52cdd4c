//! Places that callers share: each has some of its own, so that none holds all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::response::Response;

use crate::state::lock::locked;

/// The places, and who holds them.
pub(crate) struct Shares {
    in_all_max: usize,
    per_caller_max: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    in_all: usize,
    by_caller: HashMap<String, usize>,
}

/// A place, until it is dropped.
pub(crate) struct Share {
    shares: Arc<Shares>,
    caller: String,
}

impl Shares {
    /// So many places in all, and so many for one caller.
    pub(crate) fn new(in_all_max: usize, per_caller_max: usize) -> Arc<Self> {
        Arc::new(Self {
            in_all_max,
            per_caller_max,
            taken: Mutex::default(),
        })
    }

    /// A place for a caller, unless all are taken, or all of theirs.
    pub(crate) fn enter(self: &Arc<Self>, caller: String) -> Option<Share> {
        let mut taken = locked(&self.taken);
        let own = taken.by_caller.get(&caller).copied().unwrap_or_default();
        if taken.in_all >= self.in_all_max || own >= self.per_caller_max {
            return None;
        }
        taken.in_all += 1;
        taken.by_caller.insert(caller.clone(), own + 1);
        Some(Share {
            shares: Arc::clone(self),
            caller,
        })
    }
}

/// A place that is held until the answer has been taken, or given up.
#[derive(Clone)]
pub(crate) struct UntilTaken {
    _share: Arc<Share>,
}

impl Share {
    /// Holds the place as long as its caller leaves the answer with the gateway.
    pub(crate) fn until_taken(self, response: &mut Response) {
        let _share = Arc::new(self);
        response.extensions_mut().insert(UntilTaken { _share });
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = locked(&self.shares.taken);
        taken.in_all -= 1;
        if let Some(own) = taken.by_caller.get_mut(&self.caller) {
            *own -= 1;
            if *own == 0 {
                taken.by_caller.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_caller_holds_every_place_and_none_is_left_behind() {
        let shares = Shares::new(3, 2);
        let enter = |caller: &str| shares.enter(caller.to_owned());
        let both: Vec<_> = (0..2).map(|_| enter("token:ci").unwrap()).collect();
        assert!(enter("token:ci").is_none(), "its share is taken");
        let other = enter("person:ada").unwrap();
        assert!(enter("person:ada").is_none(), "all are taken");
        drop(both);
        assert!(enter("token:ci").is_some());
        drop(other);
        let taken = locked(&shares.taken);
        assert!(taken.by_caller.is_empty() && taken.in_all == 0);
    }
}
