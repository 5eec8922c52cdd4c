//! What this process writes to the disk, as the kernel counts it.

use hearthkey_api::Written;

use crate::state::clock::Stopwatch;

/// Counts from when the gateway started.
pub(crate) struct WrittenMeter {
    since: Stopwatch,
    /// What the process had written by then.
    before: u64,
}

impl WrittenMeter {
    pub(crate) fn start() -> Self {
        Self {
            since: Stopwatch::start(),
            before: sent_to_disk().unwrap_or_default(),
        }
    }

    /// What was written since; none where the system does not count that.
    pub(crate) fn so_far(&self) -> Option<Written> {
        Some(Written {
            bytes: sent_to_disk()?.saturating_sub(self.before),
            seconds: self.since.elapsed_us() / 1_000_000,
        })
    }
}

/// The bytes that this process caused to be sent to the storage (Linux, proc(5): `write_bytes`).
fn sent_to_disk() -> Option<u64> {
    counted(&std::fs::read_to_string("/proc/self/io").ok()?)
}

fn counted(text: &str) -> Option<u64> {
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_to_the_disk_is_told_from_what_is_written_anywhere() {
        let text =
            "rchar: 1\nwchar: 22\nread_bytes: 3\nwrite_bytes: 4096\ncancelled_write_bytes: 5\n";
        assert_eq!(counted(text), Some(4096));
        assert_eq!(counted("wchar: 22\n"), None);
    }
}
