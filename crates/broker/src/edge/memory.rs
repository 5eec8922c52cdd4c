//! Memory that connections and messages no longer need goes back to the system.
//!
//! glibc keeps what was freed for the next one who asks, in pages between what is still in use. After a flood that is most
//! of what the flood took, for ever: it is asked to let go of it, once what is held has fallen. Handshakes leave as much
//! behind between the sessions that stay, as after a power cut, when all devices come back at once; and so does the start.
//!
//! The program's code is let go of as well. The system maps fifteen pages around each that is run, from its cache, and most of
//! the code that a start runs is never run again: two thirds of what is mapped then. What is needed comes back from the cache.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
use std::ops::Range;

/// A fall by less than this is not worth the walk through the heap.
const FALL_BYTES: usize = 8 * 1024 * 1024;
/// So many connections since the last walk are worth one: each leaves a few KiB.
const ARRIVALS: u64 = 256;
/// Between two walks, and from a walk to the one behind it, for what others held on its behalf.
const PAUSE_MS: u64 = 5_000;

/// How much is held, as it rises and falls.
#[derive(Debug)]
pub(crate) struct Tide {
    high: usize,
    last_ms: u64,
    /// Connections that had come by then.
    arrived: u64,
    /// One more walk is owed.
    is_owed: bool,
}

impl Tide {
    /// From the start, behind which one walk is owed.
    pub(crate) fn rising(now_ms: u64) -> Self {
        Self {
            high: 0,
            last_ms: now_ms,
            arrived: 0,
            is_owed: true,
        }
    }

    /// Takes note of how many bytes are held now, and how many connections have come. True if pages are to be given back.
    pub(crate) fn ebbs(&mut self, held: usize, arrived: u64, now_ms: u64) -> bool {
        self.high = self.high.max(held);
        if now_ms < self.last_ms + PAUSE_MS {
            return false;
        }
        let has_fallen = self.high - held >= FALL_BYTES;
        let have_come = arrived - self.arrived >= ARRIVALS;
        if !(has_fallen || have_come || self.is_owed) {
            return false;
        }
        *self = Self {
            high: held,
            last_ms: now_ms,
            arrived,
            is_owed: has_fallen || have_come,
        };
        true
    }
}

/// Gives back every page that is free. Takes a few milliseconds, so it is not for a task of the runtime.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
pub(crate) fn give_back() {
    // SAFETY: it takes no pointer, and any thread may call it at any time (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
    let here = give_back as *const () as usize;
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    if let Some(code) = maps.lines().find_map(|line| code_around(line, here)) {
        // SAFETY: the range is one mapping of this program's file, private and read-only (proc_pid_maps(5)), so each page that
        // is dropped is read again from the file as it was (madvise(2)).
        unsafe {
            libc::madvise(code.start as *mut _, code.len(), libc::MADV_DONTNEED);
        }
    }
}

/// The mapping that a line of `/proc/self/maps` describes, if it is of code in a file and an address lies in it.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn code_around(line: &str, address: usize) -> Option<Range<usize>> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let is_code = fields.next()? == "r-xp";
    let inode: u64 = fields.nth(2)?.parse().ok()?;
    let number = |text| usize::from_str_radix(text, 16).ok();
    let range = number(start)?..number(end)?;
    (is_code && inode != 0 && range.contains(&address)).then_some(range)
}

/// Other allocators give back by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn give_back() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn code_is_a_mapping_of_a_file_that_may_be_run_and_not_written() {
        let code = "55d0a000-55d0c000 r-xp 0000a000 fe:00 1234   /usr/bin/hearthkey";
        let of = |line: &str| code_around(line, 0x55d0_b123);
        assert_eq!(of(code), Some(0x55d0_a000..0x55d0_c000));
        for other in [
            code.replace("55d0a000", "55d0b124"),
            code.replace("r-xp", "r--p"),
            code.replace("r-xp", "rwxp"),
            code.replace("1234", "0"),
            "garbage".into(),
        ] {
            assert_eq!(of(&other), None, "{other}");
        }
        give_back();
        assert_eq!(of(code), Some(0x55d0_a000..0x55d0_c000), "it goes on");
    }

    #[test]
    fn memory_is_given_back_after_the_start_a_fall_and_many_arrivals_and_once_more() {
        let mut tide = Tide::rising(0);
        let mib = 1024 * 1024;
        let fall = FALL_BYTES / mib;
        for (now_ms, held, arrived, ebbs) in [
            (0, 1, 0, false),
            (PAUSE_MS, 40, 0, true),
            (2 * PAUSE_MS, 40 - fall + 1, 0, false),
            (2 * PAUSE_MS + 1, 40 - fall, 0, true),
            (2 * PAUSE_MS + 2, 0, 0, false),
            (3 * PAUSE_MS + 1, 0, 0, true),
            (4 * PAUSE_MS + 1, 0, 0, true),
            (5 * PAUSE_MS + 1, 0, ARRIVALS - 1, false),
            (5 * PAUSE_MS + 2, 0, ARRIVALS, true),
            (6 * PAUSE_MS + 2, 0, ARRIVALS, true),
            (7 * PAUSE_MS + 2, 0, ARRIVALS, false),
            (8 * PAUSE_MS, 30, ARRIVALS, false),
        ] {
            assert_eq!(tide.ebbs(held * mib, arrived, now_ms), ebbs, "{now_ms}");
        }
    }
}
