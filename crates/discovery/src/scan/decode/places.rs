//! Where in a text something may stand. Most of a text is passed over without a question about each byte.

use std::ops::Range;

use super::NONE;

/// The next stretch of at least `least` characters of an alphabet. The text is passed over in steps of that length: a
/// stretch that long cannot hide between two steps.
pub(super) fn stretch(
    text: &[u8],
    from: usize,
    least: usize,
    alphabet: &[u8; 256],
) -> Option<Range<usize>> {
    let within = |byte: &&u8| alphabet[usize::from(**byte)] != NONE;
    let mut at = from;
    loop {
        let middle = at + least - 1;
        let probe = text.get(middle)?;
        let passed = match least {
            28.. => is_alone::<43>(text, middle, alphabet),
            16.. => is_alone::<25>(text, middle, alphabet),
            8.. => is_alone::<13>(text, middle, alphabet),
            _ => false,
        };
        if passed || !within(&probe) {
            at += least;
            continue;
        }
        let start = middle - text[at..middle].iter().rev().take_while(within).count();
        let end = middle + text[middle..].iter().take_while(within).count();
        if end - start >= least {
            return Some(start..end);
        }
        at = end + 1;
    }
}

/// Whether what is at a place belongs to no stretch of an alphabet that is four sixths of `SPAN` long.
///
/// Words of a text are about as long as a step is, so that one character says little, and a branch on it is taken by
/// chance. A long stretch has four in a row of seven places around the middle, a sixth of the span from one another.
fn is_alone<const SPAN: usize>(text: &[u8], middle: usize, alphabet: &[u8; 256]) -> bool {
    let around = middle
        .checked_sub(SPAN / 2)
        .and_then(|from| text.get(from..));
    let Some(around) = around.and_then(|around| around.first_chunk::<SPAN>()) else {
        return false;
    };
    let mut row = 0u32;
    for place in 0..7 {
        let byte = around[place * (SPAN / 6)];
        row = row << 1 | u32::from(alphabet[usize::from(byte)] != NONE);
    }
    row & row >> 1 & row >> 2 & row >> 3 == 0
}

/// How many neighbours are asked about at once.
const TOGETHER: usize = 32;

/// The next place from which on two neighbouring bytes fulfil a condition.
pub(super) fn neighbours(
    text: &[u8],
    from: usize,
    fulfil: impl Fn(u8, u8) -> bool,
) -> Option<usize> {
    let mut at = from;
    while let Some(part) = text.get(at..)?.first_chunk::<{ TOGETHER + 1 }>() {
        let mut any = false;
        for place in 0..TOGETHER {
            any |= fulfil(part[place], part[place + 1]);
        }
        if any {
            break;
        }
        at += TOGETHER;
    }
    let mut rest = text[at..].windows(2);
    rest.position(|two| fulfil(two[0], two[1]))
        .map(|place| at + place)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::NIBBLES;
    use super::*;

    proptest! {
        #[test]
        fn every_stretch_is_met_wherever_it_stands(
            parts in prop::collection::vec((0..60usize, 1..4usize), 0..12),
            least in 4..40usize,
        ) {
            let mut text = Vec::new();
            let mut long = Vec::new();
            for (length, gap) in parts {
                if length >= least {
                    long.push(text.len()..text.len() + length);
                }
                text.extend((0..length).map(|_| b'a'));
                text.extend((0..gap).map(|_| b'-'));
            }
            let mut found = Vec::new();
            let mut from = 0;
            while let Some(range) = stretch(&text, from, least, &NIBBLES) {
                from = range.end;
                found.push(range);
            }
            prop_assert_eq!(found, long);
        }

        #[test]
        fn every_two_neighbours_are_met(text in prop::collection::vec(0..6u8, 0..120)) {
            let sought = |one: u8, two: u8| one == 1 && two == 2;
            let all = text.windows(2).enumerate();
            let all: Vec<usize> = all.filter(|(_, two)| sought(two[0], two[1])).map(|(at, _)| at).collect();
            let mut found = Vec::new();
            let mut from = 0;
            while let Some(at) = neighbours(&text, from, sought) {
                from = at + 1;
                found.push(at);
            }
            prop_assert_eq!(found, all);
        }
    }
}
