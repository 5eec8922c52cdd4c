//! Work that waits for a file, or takes long: beside the workers of the runtime, which others need meanwhile.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

/// Does it on this thread, in whose place another one works on.
pub(crate) fn aside<T>(work: impl FnOnce() -> T) -> T {
    let flavor = Handle::try_current().map(|runtime| runtime.runtime_flavor());
    match flavor {
        Ok(RuntimeFlavor::MultiThread) => block_in_place(work),
        // One of a single thread has none to give.
        _ => work(),
    }
}
