//! What the gateway owes a session that lasts: messages that were promised and not taken yet.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::exact::Said;
use crate::soak::rounds;

/// The second between two writes, and another for the disk of a busy machine.
pub const GRACE: Duration = Duration::from_secs(2);

/// The grace that is asserted. In `make test` the machine does other things at the same time: how far a busy disk is behind is
/// no fault there, and order and completeness are all that is looked at. `make soak` holds the second.
fn asserted_grace() -> Duration {
    GRACE * u32::try_from(rounds(10, 1)).unwrap()
}

/// Messages to one session, by their numbers.
#[derive(Debug, Default)]
pub struct Line {
    /// The last that was sent.
    pub last: u64,
    /// When their publisher had the acknowledgement, since the last death.
    pub promised: BTreeMap<u64, Instant>,
    /// When their receiver acknowledged them.
    pub taken: BTreeMap<u64, Instant>,
    /// The last that came over the present connection.
    pub previous: u64,
    /// The last that came since the last death.
    newest: u64,
    pub lost: usize,
    pub again: usize,
}

impl Line {
    /// Takes note of a message: in order, and again only if it was taken within the grace before a death.
    pub fn take(&mut self, said: &Said, died: Option<Instant>) {
        let number = said.text().parse().unwrap();
        assert!(
            number > self.previous,
            "{number} came after {}",
            self.previous
        );
        self.previous = number;
        if died.is_some() {
            self.newest = self.newest.max(number);
        }
        if let Some(before) = self.taken.insert(number, Instant::now()) {
            let may = died.is_some_and(|died| before + asserted_grace() > died);
            assert!(may, "{number} came again: {said:?}");
            self.again += 1;
        }
    }

    /// Compares what came since a death with what was promised before it.
    pub fn check(&mut self, what: &str, died: Instant) {
        for (number, since) in std::mem::take(&mut self.promised) {
            if self.taken.contains_key(&number) {
                continue;
            }
            self.lost += 1;
            let before = died - since;
            assert!(
                before < asserted_grace(),
                "{what}: {number} is lost, {before:?} before the death"
            );
            // What is lost is the newest.
            assert!(
                number > self.newest,
                "{what}: {number} is lost, {} is not",
                self.newest
            );
        }
        self.newest = 0;
    }
}
