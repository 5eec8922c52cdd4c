//! What a measurement finds.

use serde::Serialize;
use serde_json::Value;

/// How long something took, in microseconds.
#[derive(Debug, Serialize)]
pub struct Latency {
    /// Half of all took no longer.
    pub p50: u64,
    /// 99 of 100 took no longer.
    pub p99: u64,
    /// The longest.
    pub max: u64,
}

impl Latency {
    /// What these say; nothing if there are none.
    pub fn of(mut us: Vec<u64>) -> Option<Self> {
        us.sort_unstable();
        let at = |share: usize| {
            us.get((us.len() * share / 100).min(us.len().saturating_sub(1)))
                .copied()
        };
        Some(Self {
            p50: at(50)?,
            p99: at(99)?,
            max: us.last().copied()?,
        })
    }
}

/// What one measurement found, before it is put beside its parameters.
pub struct Found {
    /// How many there were.
    pub operations: f64,
    /// How long they took.
    pub seconds: f64,
    /// The server's CPU.
    pub cpu_us: u64,
    /// How long each took.
    pub latency: Option<Latency>,
    /// What else there is to know.
    pub details: Value,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_all_took_no_longer_than_its_percentile() {
        let latency = Latency::of((1..=200).rev().collect()).unwrap();
        assert_eq!((latency.p50, latency.p99, latency.max), (101, 199, 200));
        assert!(Latency::of(Vec::new()).is_none());
    }
}
