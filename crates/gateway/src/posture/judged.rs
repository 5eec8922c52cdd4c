//! What was found about the home as a whole, and how long it is told again.
//!
//! Finding it looks at every device. In a home of thousands it would be the dearest part of every look at the interface,
//! which looks whenever anything happens.

use std::sync::{Arc, Mutex};

use hearthkey_core::finding::Finding;
use hearthkey_core::posture::judge;
use hearthkey_core::time::{Span, Timestamp};
use hearthkey_store::registry::ReadError;

use crate::home::{Home, locked};

/// What was found last.
pub(crate) type Judged = Mutex<Option<(Arc<Vec<Finding>>, Timestamp)>>;

/// How long that is told again: 50 ms for each thousand devices, so that a smaller home is judged anew each time, and one of
/// a hundred thousand every five seconds.
fn told_again_for(devices: u64) -> Span {
    Span::ms(i64::try_from(devices / 1000 * 50).unwrap_or(i64::MAX))
}

impl Home {
    /// What is found about the home as a whole.
    pub(crate) fn judged(&self, now: Timestamp) -> Result<Arc<Vec<Finding>>, ReadError> {
        // Whoever comes meanwhile waits for the same answer.
        let mut last = locked(&self.judged);
        if let Some((found, until)) = last.as_ref()
            && now < *until
        {
            return Ok(Arc::clone(found));
        }
        let devices = self.store.read(|registry| registry.device_count())?;
        let found = Arc::new(judge(&self.facts(now)?, now));
        *last = Some((Arc::clone(&found), now.after(told_again_for(devices))));
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_home_is_judged_each_time_and_a_large_one_every_few_seconds() {
        assert_eq!(told_again_for(999), Span::ms(0));
        assert_eq!(told_again_for(10_000), Span::ms(500));
        assert_eq!(told_again_for(100_000), Span::s(5));
    }
}
