//! How often a device was met by another of its connections, and how much of that is told.

/// So many are reported within the time below; more are counted in the next report.
const TOLD_MAX: u32 = 8;
const WINDOW_MS: u64 = 10_000;

/// How often that was reported for one device lately.
#[derive(Debug, Default)]
pub(crate) struct Meetings {
    since_ms: u64,
    told: u32,
    untold: u32,
}

impl Meetings {
    /// Counts one. Returns how many there were since the last that was told, if this one is to be told.
    pub(crate) fn count(&mut self, now_ms: u64) -> Option<u32> {
        if now_ms >= self.since_ms + WINDOW_MS {
            (self.since_ms, self.told) = (now_ms, 0);
        }
        self.untold = self.untold.saturating_add(1);
        if self.told >= TOLD_MAX {
            return None;
        }
        self.told += 1;
        Some(std::mem::take(&mut self.untold))
    }

    /// Whether nothing is to be remembered any more.
    pub(crate) fn is_over(&self, now_ms: u64) -> bool {
        now_ms >= self.since_ms + WINDOW_MS
    }
}
