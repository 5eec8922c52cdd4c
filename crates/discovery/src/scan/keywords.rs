//! Where the rules' keywords stand in a text, in either case.
//!
//! An automaton takes one byte after another, and each step waits for the one before. So it only starts where the first
//! three bytes of a keyword may stand, and stops as soon as it is back where it began; what lies between is passed
//! over by a filter whose questions do not wait for one another.

use std::ops::Range;

use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::dfa::DFA;
use aho_corasick::{Anchored, BuildError, MatchError};

/// How much of a keyword the filter reads, in bytes. No keyword is shorter.
const BEGIN_BYTES: usize = 3;
/// Bits of the filter: 4 KiB.
const FILTER_BITS: u32 = 15;
/// How many places are asked about at once, and the bytes that are read for them: one more than they stand in.
const TOGETHER: usize = 8;
const PART_BYTES: usize = TOGETHER + BEGIN_BYTES;

/// Keywords, prepared for looking.
pub(super) struct Keywords {
    automaton: DFA,
    start: StateID,
    filter: Box<[u64; 1 << (FILTER_BITS - 6)]>,
}

/// Why there can be no such keywords.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadKeywords {
    #[error("a keyword is shorter than three bytes")]
    Short,
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    Start(#[from] MatchError),
}

impl Keywords {
    pub(super) fn new(words: &[&str]) -> Result<Self, BadKeywords> {
        let mut filter = Box::new([0u64; 1 << (FILTER_BITS - 6)]);
        for word in words {
            let begin = word
                .as_bytes()
                .get(..BEGIN_BYTES)
                .ok_or(BadKeywords::Short)?;
            let place = place([begin[0], begin[1], begin[2], 0]);
            filter[place >> 6] |= 1 << (place & 63);
        }
        let automaton = DFA::builder()
            .ascii_case_insensitive(true)
            .prefilter(false)
            .build(words)?;
        Ok(Self {
            start: automaton.start_state(Anchored::No)?,
            automaton,
            filter,
        })
    }

    /// Hands over every keyword in a text, overlapping ones too: its number and where it is, in order of their ends.
    pub(super) fn each(&self, text: &[u8], visit: &mut dyn FnMut(usize, Range<usize>)) {
        let mut at = 0;
        while let Some(first) = self.candidate(text, at) {
            at = first;
            let mut state = self.start;
            while let Some(byte) = text.get(at) {
                state = self.automaton.next_state(Anchored::No, state, *byte);
                at += 1;
                if state == self.start {
                    break;
                }
                if self.automaton.is_match(state) {
                    for index in 0..self.automaton.match_len(state) {
                        let word = self.automaton.match_pattern(state, index);
                        let length = self.automaton.pattern_len(word);
                        visit(word.as_usize(), at - length..at);
                    }
                }
            }
        }
    }

    /// The next place where a keyword may begin.
    fn candidate(&self, text: &[u8], from: usize) -> Option<usize> {
        let mut at = from;
        while let Some(part) = text[at..].first_chunk::<PART_BYTES>() {
            let mut any = 0;
            for begin in part.windows(BEGIN_BYTES + 1) {
                any |= self.filtered(begin);
            }
            if any & 1 == 1 {
                let first = part
                    .windows(BEGIN_BYTES + 1)
                    .position(|begin| self.filtered(begin) & 1 == 1);
                return first.map(|place| at + place);
            }
            at += TOGETHER;
        }
        // The automaton takes the few that are left.
        (text.len() >= at + BEGIN_BYTES).then_some(at)
    }

    /// What the filter says of the beginning of some bytes, in the lowest bit.
    fn filtered(&self, begin: &[u8]) -> u64 {
        let place = begin.first_chunk().map_or(0, |bytes| place(*bytes));
        self.filter[place >> 6] >> (place & 63)
    }
}

/// The filter's bit for the first three of four bytes, letters in either case.
fn place(bytes: [u8; 4]) -> usize {
    let begin = u32::from_le_bytes(bytes) & 0x00df_dfdf;
    (begin.wrapping_mul(0x9e37_79b1) >> (32 - FILTER_BITS)) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_are_found_as_a_look_at_every_place_finds_them(text in "[abcABC_ -]{0,200}") {
            let words = ["abc", "bca", "a_b", "ABCA", "c-a", "bcab", "abc"];
            let keywords = Keywords::new(&words).unwrap();
            let mut found = Vec::new();
            keywords.each(text.as_bytes(), &mut |word, range| found.push((range.end, range.start, word)));
            let mut all = Vec::new();
            for (number, word) in words.iter().enumerate() {
                for start in 0..(text.len() + 1).saturating_sub(word.len()) {
                    let end = start + word.len();
                    if text[start..end].eq_ignore_ascii_case(word) {
                        all.push((end, start, number));
                    }
                }
            }
            all.sort_unstable();
            prop_assert_eq!(found, all);
        }
    }

    #[test]
    fn a_keyword_that_the_filter_cannot_know_is_refused() {
        assert!(matches!(Keywords::new(&["ab"]), Err(BadKeywords::Short)));
    }
}
