//! The one clock. Everything else receives the time as an argument.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use hearthkey_core::time::Timestamp;
use hearthkey_core::trusted_time::{Reading, TrustedTime};
use rustix::time::{ClockId, clock_gettime};

/// Home time: see [`hearthkey_core::trusted_time`].
pub(crate) struct Clock {
    time: Mutex<TrustedTime>,
    read: Box<dyn Fn() -> Reading + Send + Sync>,
}

impl Clock {
    pub(crate) fn start(last_durable: Option<Timestamp>) -> Self {
        Self::of(Box::new(read), last_durable)
    }

    fn of(read: Box<dyn Fn() -> Reading + Send + Sync>, last_durable: Option<Timestamp>) -> Self {
        let time = Mutex::new(TrustedTime::start(read(), last_durable));
        Self { time, read }
    }

    /// A clock that is set by hand, and believed: both clocks of the machine show this many milliseconds.
    #[cfg(test)]
    pub(crate) fn by_hand(ms: std::sync::Arc<std::sync::atomic::AtomicI64>) -> Self {
        let read = move || {
            let ms = ms.load(std::sync::atomic::Ordering::Relaxed);
            Reading {
                wall: Timestamp::from_ms(ms),
                monotonic_ms: ms,
            }
        };
        Self::of(Box::new(read), None)
    }

    fn time(&self) -> MutexGuard<'_, TrustedTime> {
        self.time.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Home time.
    pub(crate) fn now(&self) -> Timestamp {
        self.time().now((self.read)())
    }

    /// Home time, and whether it follows the machine's clock.
    pub(crate) fn now_and_trust(&self) -> (Timestamp, bool) {
        let mut time = self.time();
        let now = time.now((self.read)());
        (now, time.is_trusted())
    }

    /// Since when home time does not follow the machine's clock, if it does not.
    pub(crate) fn doubted_since(&self) -> Option<Timestamp> {
        let mut time = self.time();
        time.now((self.read)());
        time.doubted_since()
    }

    /// A person has confirmed the machine's clock.
    pub(crate) fn confirm(&self) -> Timestamp {
        self.time().confirm((self.read)())
    }
}

/// The machine's clock, for a home that does not exist yet.
pub(crate) fn machine_time() -> Timestamp {
    read().wall
}

#[allow(clippy::disallowed_methods)] // This is the clock.
fn read() -> Reading {
    let wall = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis());
    // Counts the time asleep too, so that waking up is not mistaken for a jump.
    let running = clock_gettime(ClockId::Boottime);
    Reading {
        wall: Timestamp::from_ms(i64::try_from(wall).unwrap_or(i64::MAX)),
        monotonic_ms: running.tv_sec.saturating_mul(1000) + running.tv_nsec / 1_000_000,
    }
}

/// Measures how long something took.
#[derive(Clone, Copy)]
pub(crate) struct Stopwatch(rustix::time::Timespec);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(clock_gettime(ClockId::Monotonic))
    }

    pub(crate) fn elapsed_us(&self) -> u64 {
        let now = clock_gettime(ClockId::Monotonic);
        let us = (now.tv_sec - self.0.tv_sec) * 1_000_000 + (now.tv_nsec - self.0.tv_nsec) / 1000;
        u64::try_from(us).unwrap_or_default()
    }
}
