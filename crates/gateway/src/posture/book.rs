//! What was found last.

use std::sync::{Arc, Mutex};

use hearthkey_core::finding::Finding;
use tokio::sync::{Notify, watch};

/// What was found last, and who wants to know.
#[derive(Default)]
pub(crate) struct Judged {
    pub(super) last: Mutex<Option<Last>>,
    /// Held by the task that judges.
    pub(super) turn: Mutex<()>,
    /// Somebody has looked since.
    pub(super) looked: Notify,
    /// How often something else was found than before.
    pub(crate) changes: watch::Sender<u64>,
}

/// What was found, in a home of so many devices.
#[derive(Clone)]
pub(super) struct Last {
    pub(super) found: Arc<Vec<Finding>>,
    pub(super) devices: u64,
}
