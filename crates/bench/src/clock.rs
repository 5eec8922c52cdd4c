//! Measures how long something took.

use std::time::Duration;

/// A running measurement.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(tokio::time::Instant);

impl Stopwatch {
    /// Begins now.
    pub fn start() -> Self {
        Self(tokio::time::Instant::now())
    }

    /// How long it has been running.
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// As [`Stopwatch::elapsed`], in microseconds.
    pub fn elapsed_us(self) -> u64 {
        self.elapsed().as_micros() as u64
    }
}
