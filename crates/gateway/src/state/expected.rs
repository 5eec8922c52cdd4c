//! What the request at hand expects of the thing it changes (`If-Match`, RFC 9110 §13.1.1): a precondition of its commit.
//!
//! The expectation is that of a task: the middleware that reads the header sets it, and the commit that the request leads
//! to lays it down in its change, however many use cases lie between.

use std::sync::atomic::{AtomicBool, Ordering};

use hearthkey_core::audit::Entry;
use hearthkey_store::change::{Change, Expected};
use hearthkey_store::registry::ReadError;

use crate::state::Ctx;

tokio::task_local! {
    /// What the request at hand expects.
    static EXPECTATION: Expectation;
}

/// A version that a request rests on.
struct Expectation {
    expected: Expected,
    /// Whether a change that rests on it has been committed: what follows rests on that change.
    met: AtomicBool,
}

/// Lays down in a change what the request at hand expects, if the change is about that. Returns whether it did: then call
/// [`met`] once the change is committed.
pub(crate) fn expect(change: &mut Change) -> bool {
    let laid_down = EXPECTATION.try_with(|asked| {
        let about = |entry: &Entry| entry.object == asked.expected.object;
        let rests = !asked.met.load(Ordering::Relaxed) && change.entries.iter().any(about);
        if rests {
            change.expects = Some(asked.expected.clone());
        }
        rests
    });
    laid_down.unwrap_or_default()
}

/// Whether the request at hand rests on a version.
pub(crate) fn is_expected() -> bool {
    EXPECTATION.try_with(|_| ()).is_ok()
}

/// What the request at hand expects has been met by a change that is committed now.
pub(crate) fn met() {
    // Outside of a request there is nothing to meet.
    let _ = EXPECTATION.try_with(|asked| asked.met.store(true, Ordering::Relaxed));
}

/// Runs a request that rests on a version.
pub(crate) async fn resting_on<T>(expected: Expected, request: impl Future<Output = T>) -> T {
    let met = AtomicBool::new(false);
    EXPECTATION
        .scope(Expectation { expected, met }, request)
        .await
}

impl Ctx {
    /// The newest record about a thing.
    pub(crate) fn newest_about(&self, thing: &str) -> Result<Option<u64>, ReadError> {
        self.store()
            .read(|registry| registry.newest_record_about(thing))
    }
}
