//! Wills that are not spoken yet.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use hearthkey_core::id::Fingerprint;
use hearthkey_core::profile::{Availability, Rights};

use crate::engine::session::Key;
use crate::protocol::Will;

/// A will that is not spoken yet.
#[derive(Debug)]
pub(crate) struct Pending {
    /// Nothing where the device left none: then only the gateway may have something to say.
    pub(crate) will: Option<Box<Will>>,
    pub(crate) certificate: Option<Fingerprint>,
    pub(crate) at_ms: u64,
    /// The gateway has ended the connection: if the device is back before this is spoken, nothing is said.
    pub(crate) is_cut: bool,
    /// Of a connection of an earlier run: a device that comes back in time takes it back.
    pub(crate) is_restored: bool,
    pub(super) number: u64,
}

/// What is to be judged before a will is spoken.
#[derive(Debug, Clone)]
pub(crate) struct DueWill {
    pub(crate) key: Key,
    pub(crate) certificate: Option<Fingerprint>,
    pub(super) number: u64,
}

/// In whose words a will is spoken.
#[derive(Debug, Clone)]
pub(crate) enum Voice {
    /// In the device's, as far as these rights go.
    Own(Arc<Rights>),
    /// In the gateway's, where its profile has a place for that: the connection's identity is no longer admitted.
    Gateway {
        availability: Option<Availability>,
        /// The device itself has been shut out.
        is_shut_out: bool,
    },
}

#[derive(Debug, Default)]
pub(crate) struct Wills {
    pub(super) pending: HashMap<Key, Pending>,
    number: u64,
    /// One has come that may be due at once.
    pub(super) is_new: bool,
    /// Sessions whose will has changed since it was written down.
    pub(crate) changed: HashSet<Key>,
    pub(crate) written: HashSet<Key>,
}

impl Wills {
    pub(crate) fn get(&self, key: &Key) -> Option<&Pending> {
        self.pending.get(key)
    }

    pub(crate) fn put(&mut self, key: Key, mut pending: Pending) {
        self.number += 1;
        self.is_new = true;
        pending.number = self.number;
        self.changed.insert(key.clone());
        self.pending.insert(key, pending);
    }

    pub(crate) fn take(&mut self, key: &Key) -> Option<Pending> {
        let taken = self.pending.remove(key)?;
        self.changed.insert(key.clone());
        Some(taken)
    }

    pub(crate) fn next_ms(&self) -> Option<u64> {
        self.pending.values().map(|pending| pending.at_ms).min()
    }
}

impl Pending {
    pub(crate) fn new(
        will: Option<Box<Will>>,
        certificate: Option<Fingerprint>,
        at_ms: u64,
    ) -> Self {
        Self {
            will,
            certificate,
            at_ms,
            is_cut: false,
            is_restored: false,
            number: 0,
        }
    }
}
