//! What is to be written down: which sessions have changed, which have ended.

use std::collections::HashSet;

use bytes::Bytes;

use crate::engine::arena::Place;
use crate::engine::session::{Key, Written};
use crate::state::StateKind;

/// What is to be written down.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(super) stale: Vec<Place>,
    pub(super) ended: Vec<(Key, Written)>,
    /// Rows that belong to nothing.
    pub(super) strays: Vec<(StateKind, String)>,
    pub(super) retained_written: HashSet<Bytes>,
}

impl Ledger {
    pub(super) fn stale(&mut self, at: Place) {
        self.stale.push(at);
    }

    pub(super) fn ended(&mut self, key: Key, written: Written) {
        self.ended.push((key, written));
    }
}
