//! The one place of these stories that reads a clock: to measure, never to wait.

use std::time::{Duration, Instant};

/// How long something takes, and what comes of it.
#[expect(clippy::disallowed_methods, reason = "a measurement")]
pub fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let made = work();
    (start.elapsed(), made)
}
