//! The client's one look at a clock: when a proof was made.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970-01-01T00:00:00Z, as this machine has it. A gateway that has it otherwise asks
/// for a nonce, and goes by that.
#[allow(clippy::disallowed_methods)] // This is the clock.
pub(crate) fn machine_time_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
