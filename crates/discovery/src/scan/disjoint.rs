//! Ranges of a text, none of which overlaps another.

use std::collections::BTreeMap;
use std::ops::Range;

/// The ranges that were taken so far: each one's end by its start.
#[derive(Debug, Default)]
pub(super) struct Disjoint(BTreeMap<usize, usize>);

impl Disjoint {
    /// Takes a range, unless it overlaps one that was taken before.
    pub(super) fn take(&mut self, range: Range<usize>) -> bool {
        let before = self.0.range(..range.end).next_back();
        let free = before.is_none_or(|(_, end)| *end <= range.start);
        if free {
            self.0.insert(range.start, range.end);
        }
        free
    }
}
