//! The one room where the agent reads the time and draws chance. Rules take both as arguments.

use rtime_clock::adjtime::{Timex, adjtimex};

use crate::fingerprint::Fingerprint;
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

/// That the clock is not synchronized (linux/timex.h).
const STA_UNSYNC: i32 = 0x0040;

/// Whether the kernel says that the machine's clock is synchronized: `adjtimex` (adjtimex(2)) without modes, which changes nothing
/// and needs no capability. None where it is not allowed.
pub(crate) fn synchronized() -> Option<bool> {
    let mut timex = Timex::new();
    adjtimex(&mut timex).ok()?;
    Some(timex.0.status & STA_UNSYNC == 0)
}

/// What tells this machine from others until it is started again: 32 hexadecimal digits, from which its boot id cannot be found out.
pub(crate) fn machine() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let digest = Fingerprint::of(format!("hearthkey/machine/v1\n{}", boot.trim()).as_bytes());
    digest.to_string().get(..32).map(str::to_owned)
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
