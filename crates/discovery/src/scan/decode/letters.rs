//! Base64, and hexadecimal digits, which are base64 characters too.

use std::ops::Range;

use super::places::stretch;
use super::{Encoding, NIBBLES, NONE, Piece, Room, Way};

/// The shortest line that may be a wrapped one, in characters. Encoders wrap at 60 to 76.
const WRAPPED_LINE_MIN: usize = 16;

/// The six bits of each base64 character, of both alphabets.
const SEXTETS: [u8; 256] = {
    let mut table = [NONE; 256];
    let mut n = 0u8;
    while n < 64 {
        let c = match n {
            0..26 => b'A' + n,
            26..52 => b'a' + n - 26,
            52..62 => b'0' + n - 52,
            62 => b'+',
            _ => b'/',
        };
        table[c as usize] = n;
        n += 1;
    }
    table[b'-' as usize] = 62;
    table[b'_' as usize] = 63;
    table
};

fn is_base64(byte: u8) -> bool {
    SEXTETS[usize::from(byte)] != NONE
}

/// Hands over every stretch of either that may hold enough bytes.
pub(super) fn pieces(
    text: &[u8],
    shortest: usize,
    room: &mut Room,
    visit: &mut dyn FnMut(&Piece<'_>),
) {
    let least = (shortest * 4).div_ceil(3);
    let mut at = 0;
    while let Some(first) = stretch(text, at, least.min(WRAPPED_LINE_MIN), &SEXTETS) {
        let mut kept = first.len();
        let mut line = first.len();
        at = first.end;
        while line >= WRAPPED_LINE_MIN
            && let Some(next) = after_break(text, at)
        {
            line = text[next..]
                .iter()
                .take_while(|byte| is_base64(**byte))
                .count();
            (at, kept) = (next + line, kept + line);
        }
        if kept >= least {
            run(text, first.start..at, shortest, room, visit);
        }
    }
}

/// Where a wrapped line goes on, if one is wrapped here.
fn after_break(text: &[u8], at: usize) -> Option<usize> {
    let rest = text.get(at..)?;
    let rest = rest
        .strip_prefix(b"\r")
        .unwrap_or(rest)
        .strip_prefix(b"\n")?;
    let blank = rest
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t'))
        .count();
    let next = text.len() - rest.len() + blank;
    text.get(next)
        .is_some_and(|byte| is_base64(*byte))
        .then_some(next)
}

fn run(
    text: &[u8],
    range: Range<usize>,
    shortest: usize,
    room: &mut Room,
    visit: &mut dyn FnMut(&Piece<'_>),
) {
    let Room { kept, bytes } = room;
    kept.clear();
    let mut lines = text[range.clone()].split(|byte| !is_base64(*byte));
    lines.by_ref().for_each(|line| kept.extend_from_slice(line));
    for phase in 0..4 {
        from_base64(kept.get(phase..).unwrap_or_default(), bytes);
        if bytes.len() >= shortest {
            visit(&Piece {
                encoding: Encoding::Base64,
                bytes,
                range: range.clone(),
                way: Way::Base64(phase),
            });
        }
    }
    let mut at = 0;
    while let Some(digits) = stretch(kept, at, shortest * 2, &NIBBLES) {
        at = digits.end;
        for phase in digits.start..digits.start + 2 {
            from_hex(&kept[phase..digits.end], bytes);
            if bytes.len() >= shortest {
                visit(&Piece {
                    encoding: Encoding::Hex,
                    bytes,
                    range: range.clone(),
                    way: Way::Hex(phase),
                });
            }
        }
    }
}

fn from_base64(characters: &[u8], bytes: &mut Vec<u8>) {
    let sextet = |byte: u8| u32::from(SEXTETS[usize::from(byte)]);
    let groups = characters.chunks_exact(4);
    let tail = groups.remainder();
    bytes.clear();
    bytes.resize(groups.len() * 3, 0);
    for (group, made) in groups.zip(bytes.chunks_exact_mut(3)) {
        let bits = sextet(group[0]) << 18
            | sextet(group[1]) << 12
            | sextet(group[2]) << 6
            | sextet(group[3]);
        made.copy_from_slice(&bits.to_be_bytes()[1..]);
    }
    // Two characters more are one byte, three are two; one is none.
    let bits = tail
        .iter()
        .enumerate()
        .fold(0, |bits, (at, byte)| bits | sextet(*byte) << (18 - 6 * at));
    bytes.extend_from_slice(&bits.to_be_bytes()[1..][..tail.len().saturating_sub(1)]);
}

fn from_hex(digits: &[u8], bytes: &mut Vec<u8>) {
    let pairs = digits.chunks_exact(2);
    bytes.clear();
    bytes.extend(
        pairs.map(|pair| NIBBLES[usize::from(pair[0])] << 4 | NIBBLES[usize::from(pair[1])]),
    );
}

/// The place of the character at a position, others left out.
pub(super) fn nth_kept(source: &[u8], n: usize) -> usize {
    let mut kept = source
        .iter()
        .enumerate()
        .filter(|(_, byte)| is_base64(**byte));
    kept.nth(n).map_or(0, |(at, _)| at)
}
