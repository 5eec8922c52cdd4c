//! How fast a device may publish: so much a second, and ten times that at once. One that is faster is not read for a while.

/// How fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    pub(crate) messages_per_s: u32,
    pub(crate) bytes_per_s: u64,
}

/// After a rest, this many seconds' worth pass at once.
const BURST_S: u64 = 10;

/// What a device has used of its pace.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bucket {
    /// When it would be empty again, for messages and for bytes, in microseconds of the engine's time.
    messages_us: u64,
    bytes_us: u64,
}

impl Bucket {
    /// Whether the full burst would pass again.
    pub(crate) fn is_rested(&self, now_ms: u64) -> bool {
        self.messages_us.max(self.bytes_us) <= now_ms.saturating_mul(1000)
    }

    /// Until when nothing is read: more has passed than passes at once.
    pub(crate) fn rests_until(&self, now_ms: u64) -> Option<u64> {
        let full_us = now_ms.saturating_mul(1000) + BURST_S * 1_000_000;
        let over_us = self.messages_us.max(self.bytes_us).saturating_sub(full_us);
        (over_us > 0).then(|| now_ms + over_us.div_ceil(1000))
    }

    /// Counts a message that was read. Returns until when nothing is read, if that was too fast.
    pub(crate) fn take(&mut self, bytes: usize, pace: Pace, now_ms: u64) -> Option<u64> {
        let now_us = now_ms.saturating_mul(1000);
        let message_us = 1_000_000 / u64::from(pace.messages_per_s.max(1));
        let bytes_us = (bytes as u64).saturating_mul(1_000_000) / pace.bytes_per_s.max(1);
        self.messages_us = self.messages_us.max(now_us).saturating_add(message_us);
        self.bytes_us = self.bytes_us.max(now_us).saturating_add(bytes_us);
        self.rests_until(now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_pace_holds() {
        let pace = Pace {
            messages_per_s: 100,
            bytes_per_s: 1_000_000,
        };
        let mut bucket = Bucket::default();
        for _ in 0..1_000 {
            assert_eq!(bucket.take(10, pace, 5), None);
        }
        assert_eq!(bucket.take(10, pace, 5), Some(15));
        assert_eq!(bucket.take(10, pace, 25), None);
        let mut bucket = Bucket::default();
        assert_eq!(bucket.take(10_000_000, pace, 0), None);
        assert_eq!(bucket.take(500_000, pace, 0), Some(500));
    }
}
