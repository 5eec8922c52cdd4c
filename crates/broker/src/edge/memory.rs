//! Memory that connections and messages no longer need goes back to the system.
//!
//! glibc keeps what was freed for the next one who asks, in pages between what is still in use. After a flood that is most
//! of what the flood took, for ever: it is asked to let go of it, once what is held has fallen.

/// A fall by less than this is not worth the walk through the heap.
const FALL_BYTES: usize = 8 * 1024 * 1024;
/// Between two walks, and from a walk to the one behind it, for what others held on its behalf.
const PAUSE_MS: u64 = 5_000;

/// How much is held, as it rises and falls.
#[derive(Debug, Default)]
pub(crate) struct Tide {
    high: usize,
    last_ms: Option<u64>,
    /// One more walk is owed.
    is_owed: bool,
}

impl Tide {
    /// Takes note of how many bytes are held now. True if it has fallen so far that they are to be given back.
    pub(crate) fn ebbs(&mut self, held: usize, now_ms: u64) -> bool {
        self.high = self.high.max(held);
        if self.last_ms.is_some_and(|last| now_ms < last + PAUSE_MS) {
            return false;
        }
        let has_fallen = self.high - held >= FALL_BYTES;
        if !has_fallen && !self.is_owed {
            return false;
        }
        (self.high, self.last_ms, self.is_owed) = (held, Some(now_ms), has_fallen);
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
}

/// Other allocators give back by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn give_back() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_when_what_is_held_has_fallen_and_once_more() {
        let mut tide = Tide::default();
        let mib = 1024 * 1024;
        let fall = FALL_BYTES / mib;
        for (now_ms, held, ebbs) in [
            (0, 1, false),
            (1, 40, false),
            (2, 40 - fall + 1, false),
            (3, 40 - fall, true),
            (4, 0, false),
            (3 + PAUSE_MS, 0, true),
            (3 + 2 * PAUSE_MS, 0, true),
            (3 + 3 * PAUSE_MS, 0, false),
            (4 + 4 * PAUSE_MS, 30, false),
        ] {
            assert_eq!(tide.ebbs(held * mib, now_ms), ebbs, "{now_ms}");
        }
    }
}
