//! Measures how long something took, for people to read.

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

    /// As [`Stopwatch::elapsed`], in milliseconds.
    pub fn elapsed_ms(self) -> f64 {
        self.elapsed().as_secs_f64() * 1000.0
    }
}
