//! What waits for a disk, on a thread of its own; and what became of the last attempt.

use std::sync::Arc;
use std::time::Duration;

use hearthkey_core::time::Timestamp;
use hearthkey_store::Store;
use hearthkey_store::backup::BackupError;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::state::Ctx;

/// How long a home that closes waits for the thread, which looks after each step whether it should end.
const END_WITHIN: Duration = Duration::from_secs(5);

/// What became of attempts since the home opened.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    /// Since when one is going on.
    pub(super) since: Option<Timestamp>,
    /// When the last one failed that was begun by time.
    pub(super) failed_at: Option<Timestamp>,
    /// The failure that was recorded last, and when.
    pub(super) recorded: Option<(String, Timestamp)>,
}

/// Does work that waits for a disk on a thread of its own. It is handed the store, and what says whether to go on.
pub(super) async fn aside<T: Send + 'static>(
    ctx: &Arc<Ctx>,
    work: impl FnOnce(&Store, &mut dyn FnMut() -> bool) -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    let (reply, mut answer) = oneshot::channel();
    let (its, stopping) = (Arc::clone(ctx), ctx.stopping().subscribe());
    let begun = std::thread::Builder::new()
        .name("backup".into())
        .spawn(move || {
            let mut goes_on = || {
                // Others on this core go first.
                std::thread::yield_now();
                !*stopping.borrow()
            };
            let done = work(its.store(), &mut goes_on);
            drop(its);
            // Nobody may be waiting any more.
            let _ = reply.send(done);
        });
    begun.map_err(BackupError::Home)?;
    let mut stopping = ctx.stopping().subscribe();
    let done = tokio::select! {
        done = &mut answer => Some(done),
        _ = stopping.wait_for(|stop| *stop) => None,
    };
    let done = match done {
        Some(done) => Some(done),
        None => timeout(END_WITHIN, answer).await.ok(),
    };
    match done {
        Some(Ok(done)) => done,
        // The thread panicked, or hangs in the place while the home closes.
        _ => Err(BackupError::Stopped),
    }
}
