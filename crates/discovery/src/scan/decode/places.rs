//! Where in a text something may stand. Most of a text is passed over without a question about each byte.

use std::ops::Range;

use super::NONE;

/// The next stretch of at least `least` characters of an alphabet. The text is passed over in steps of that length: a
/// stretch that long cannot hide between two steps. Words are as long as a step is, so that what stands at one says
/// little; it is asked about with what stands a quarter of a step, a half and three quarters before and after it, of
/// which a stretch has four in a row. No branch hangs on each answer alone.
pub(super) fn stretch(
    text: &[u8],
    from: usize,
    least: usize,
    alphabet: &[u8; 256],
) -> Option<Range<usize>> {
    let within = |byte: &&u8| alphabet[usize::from(**byte)] != NONE;
    let quarter = least / 4;
    let mut at = from;
    loop {
        let middle = at + least - 1;
        if let Some(around) = text.get(middle - 3 * quarter..=middle + 3 * quarter) {
            let row = (0..7).fold(0u32, |row, place| {
                row << 1 | u32::from(within(&&around[place * quarter]))
            });
            if row & row >> 1 & row >> 2 & row >> 3 & 0b1111 == 0 {
                at += least;
                continue;
            }
        }
        if !within(&text.get(middle)?) {
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
