//! Whether anything has changed since somebody looked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the changes of what devices and certificates may do. A caller that keeps a result of [`Access`](super::Access) keeps the count
/// that it had *before* it asked, and asks again when the count has moved.
#[derive(Debug, Clone, Default)]
pub struct Epoch(Arc<AtomicU64>);

impl Epoch {
    /// How many changes there were.
    pub fn now(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    pub(super) fn moved(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}
