//! UTF-16 of either byte order (RFC 2781).
//!
//! Nearly every text has characters of Latin-1 in it, of which one byte is zero. A stretch goes on over others as long
//! as such a zero comes again soon.

use std::ops::Range;

use super::{Encoding, Piece, Room, Unit, Way, character, plain};

/// How many characters beyond Latin-1 may follow one another.
const OTHERS_MAX: usize = 64;

/// How many characters of Latin-1 a stretch must have: bytes of programs have zeros, too.
const LATINS_MIN: usize = 4;

/// Hands over every stretch that may be UTF-16 of at least so many bytes.
pub(in super::super) fn pieces(
    text: &[u8],
    shortest: usize,
    room: &mut Room,
    visit: &mut dyn FnMut(&Piece<'_>),
) {
    let mut from = 0;
    while let Some(zero) = memchr::memchr(0, &text[from..]).map(|at| from + at) {
        // A zero after a character is the high byte of little-endian, one before it that of big-endian.
        let after = zero > from && text[zero - 1] != 0;
        let little = if after {
            run(text, zero - 1, from, 1)
        } else {
            None
        };
        let big = run(text, zero, from, 0);
        let end = [&little, &big].into_iter().flatten().map(|range| range.end);
        let next = end.max().unwrap_or_default().max(zero + 1);
        for (range, unit) in [(little, little_unit as fn(&[u8]) -> Unit), (big, big_unit)] {
            if let Some(range) = range {
                decode(&text[range.clone()], unit, &mut room.bytes);
                if room.bytes.len() >= shortest {
                    visit(&Piece {
                        encoding: Encoding::Utf16,
                        bytes: &room.bytes,
                        range,
                        way: Way::Units(unit),
                    });
                }
            }
        }
        // A row of zeros is passed over at once, but for the last, which may belong to what follows.
        let zeros = text[next..].iter().take_while(|byte| **byte == 0).count();
        from = next + zeros.saturating_sub(1);
    }
}

fn decode(source: &[u8], unit: fn(&[u8]) -> Unit, bytes: &mut Vec<u8>) {
    let mut at = 0;
    bytes.clear();
    while at < source.len() {
        let (made, length, taken) = unit(&source[at..]);
        bytes.extend_from_slice(&made[..length]);
        at += taken;
    }
}

/// The stretch of characters around the first one, whose zero is at `high` of each two bytes. None if it has too few
/// characters of Latin-1.
fn run(text: &[u8], first: usize, from: usize, high: usize) -> Option<Range<usize>> {
    let latin = |pair: &[u8]| pair[high] == 0 && pair[1 - high] != 0;
    let mut end = first;
    let (mut others, mut latins) = (0, 0);
    for (at, pair) in text[first..].chunks_exact(2).enumerate() {
        if latin(pair) {
            others = 0;
            latins += 1;
            end = first + at * 2 + 2;
        } else if others == OTHERS_MAX || !is_usual(pair[high]) {
            break;
        } else {
            others += 1;
        }
    }
    if latins < LATINS_MIN {
        return None;
    }
    // Characters beyond Latin-1 at either end.
    let more = text[end..].chunks_exact(2).take(OTHERS_MAX);
    end += 2 * more.take_while(|pair| is_usual(pair[high])).count();
    let before = text[from..first].rchunks_exact(2).take(OTHERS_MAX);
    let start = first - 2 * before.take_while(|pair| is_usual(pair[high])).count();
    Some(start..end)
}

/// Whether a high byte is one of scripts in use, of punctuation or of a surrogate.
fn is_usual(high: u8) -> bool {
    matches!(high, 1..=0x11 | 0x1e..=0x26 | 0x30..=0x33 | 0x4e..=0x9f | 0xac..=0xdf | 0xfe..)
}

fn unit(rest: &[u8], read: fn([u8; 2]) -> u16) -> Unit {
    let at = |place: usize| Some(read([*rest.get(place)?, *rest.get(place + 1)?]));
    let Some(first) = at(0) else {
        return rest.first().map_or(([0; 4], 0, 1), |byte| plain(*byte));
    };
    let both = [Some(first), at(2)];
    match char::decode_utf16(both.into_iter().flatten()).next() {
        Some(Ok(c)) => character(c, 2 * c.len_utf16()),
        _ => ([b'?', 0, 0, 0], 1, 2),
    }
}

fn little_unit(rest: &[u8]) -> Unit {
    unit(rest, u16::from_le_bytes)
}

fn big_unit(rest: &[u8]) -> Unit {
    unit(rest, u16::from_be_bytes)
}
