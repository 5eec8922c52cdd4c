//! What was found about the home as a whole, and when it is looked for again.
//!
//! Finding it looks at every device. In a home of thousands that would be the dearest part of every look at the interface,
//! which looks whenever anything happens. So there it is done beside the requests, after somebody has looked and once in a
//! while; callers that wait for events are notified when the findings change.

use crate::posture::book::Last;
use std::sync::Arc;
use std::time::Duration;

use hearthkey_core::finding::Finding;
use hearthkey_core::posture::judge;
use hearthkey_core::time::Timestamp;
use hearthkey_store::registry::ReadError;
use tokio::time::sleep;

use crate::posture::Posture;
use crate::state::aside::aside;
use crate::state::locked;

/// From so many devices on a home is judged beside the requests; a smaller one with each.
const LARGE: u64 = 1000;
/// A large home is judged this often also while nobody looks, so that the first answer is not old.
const AT_LEAST_EVERY: Duration = Duration::from_secs(60);

/// How long a home rests after it was judged: 50 ms for each thousand devices, so that one of a hundred thousand is judged
/// every five seconds while somebody looks.
fn rest_after(devices: u64) -> Duration {
    Duration::from_millis(devices / 1000 * 50)
}

/// Judges a large home anew, until it closes.
pub(crate) async fn keep_judging(home: Arc<Posture>) {
    let mut stopping = home.ctx.stopping().subscribe();
    loop {
        let devices = tokio::task::block_in_place(|| home.judge_if_large());
        let rested_and_wanted = async {
            sleep(rest_after(devices)).await;
            tokio::select! {
                () = home.judged.looked.notified() => {}
                () = sleep(AT_LEAST_EVERY) => {}
            }
        };
        tokio::select! {
            () = rested_and_wanted => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
    }
}

impl Posture {
    /// What is found about the home as a whole: now in a small one, and a little before in a large one.
    pub(crate) fn judged(&self, now: Timestamp) -> Result<Arc<Vec<Finding>>, ReadError> {
        if let Some(found) = self.found_in_large() {
            self.judged.looked.notify_one();
            return Ok(found);
        }
        // Files are looked at, and the caller before this one may be waiting for one.
        aside(|| {
            let _turn = locked(&self.judged.turn);
            // A large home that has just been opened was judged while this waited.
            match self.found_in_large() {
                Some(found) => Ok(found),
                None => Ok(self.judge_whole(now)?.found),
            }
        })
    }

    fn found_in_large(&self) -> Option<Arc<Vec<Finding>>> {
        let last = locked(&self.judged.last);
        let large = last.as_ref().filter(|last| last.devices >= LARGE)?;
        Some(Arc::clone(&large.found))
    }

    fn judge_whole(&self, now: Timestamp) -> Result<Last, ReadError> {
        let devices = self.ctx.store().read(|registry| registry.device_count())?;
        let found = Arc::new(judge(&self.facts(now)?, now));
        let last = Last { found, devices };
        *locked(&self.judged.last) = Some(last.clone());
        Ok(last)
    }

    /// Judges the home if it is large, and notifies waiting callers when the findings have changed; gives the
    /// number of its devices.
    fn judge_if_large(&self) -> u64 {
        let devices = self.ctx.store().read(|registry| registry.device_count());
        let devices = devices.unwrap_or_default();
        if devices < LARGE {
            return devices;
        }
        let before = self.found_in_large();
        let _turn = locked(&self.judged.turn);
        match self.judge_whole(self.ctx.now()) {
            Ok(last) if before.is_some_and(|before| before != last.found) => {
                self.judged.changes.send_modify(|changes| *changes += 1);
            }
            Ok(_) => {}
            Err(error) => {
                // The next reader gets the error, not the earlier findings.
                *locked(&self.judged.last) = None;
                tracing::error!(%error, "the home could not be judged");
            }
        }
        devices
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_larger_home_rests_longer_before_it_is_judged_again() {
        assert_eq!(rest_after(999), Duration::ZERO);
        assert_eq!(rest_after(10_000), Duration::from_millis(500));
        assert_eq!(rest_after(100_000), Duration::from_secs(5));
    }
}
