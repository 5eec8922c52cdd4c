//! How much services report.

use std::collections::HashMap;

use hearthkey_core::time::Timestamp;

/// Findings that one service may report in an hour.
pub(super) const REPORTS_MAX: u32 = 100;
/// How much each service has reported in the present hour.
#[derive(Default)]
pub(crate) struct Reports {
    hour: i64,
    of: HashMap<String, u32>,
}

impl Reports {
    /// Whether one more is taken.
    pub(super) fn takes(&mut self, reporter: &str, now: Timestamp) -> bool {
        let hour = now.as_s() / 3600;
        if hour != self.hour {
            *self = Self {
                hour,
                of: HashMap::new(),
            };
        }
        let count = self.of.entry(reporter.to_owned()).or_default();
        *count += 1;
        *count <= REPORTS_MAX
    }
}
