//! The one room where the agent reads the time and draws chance. Rules take both as arguments.

use crate::moment::Moment;

/// The time by the machine's own clock.
#[allow(
    clippy::disallowed_methods,
    reason = "the agent's only reading of the clock; every rule takes the time as an argument"
)]
pub fn now() -> Moment {
    let since_epoch = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    Moment::from_unix_s(i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX))
}

/// A number that nobody else draws, to spread devices apart in time. Not a key.
pub(crate) fn chance() -> u64 {
    let mut bytes = [0; 8];
    // Without entropy the spread is lost, nothing else: all devices would take the start of their window.
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        return 0;
    }
    u64::from_le_bytes(bytes)
}
