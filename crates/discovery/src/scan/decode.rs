//! Undoing encodings: every stretch of a text that may be encoded is decoded, and looked through again.
//!
//! Decoding the text instead of encoding the values finds a value wherever it stands within an encoded text: base64
//! at each of the three alignments (`user:value` too), wrapped over lines, hexadecimal digits in either case, percent-
//! encoding of whichever characters.

use std::fmt;
use std::ops::Range;

/// A way of writing bytes as other bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encoding {
    /// RFC 4648 §4 or §5, in one line or wrapped at 16 characters or more.
    Base64,
    /// RFC 4648 §8, in either case, without separators.
    Hex,
    /// RFC 3986 §2.1, and forms in which `+` is a space.
    Percent,
    /// Backslashes as in JSON (RFC 8259 §7) and many languages.
    Escaped,
    /// UTF-16 of either byte order, for values of Latin-1 characters.
    Utf16,
}

impl Encoding {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Base64 => "base64",
            Self::Hex => "hex",
            Self::Percent => "percent",
            Self::Escaped => "escaped",
            Self::Utf16 => "utf-16",
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Memory for decoding that is used again and again.
#[derive(Debug, Default)]
pub(super) struct Room {
    kept: Vec<u8>,
    bytes: Vec<u8>,
}

/// A decoded stretch of a text.
pub(super) struct Piece<'a> {
    pub encoding: Encoding,
    pub bytes: &'a [u8],
    range: Range<usize>,
    /// Base64 and hex: characters that are skipped at the beginning. Percent: 1 if `+` is a space.
    phase: usize,
}

impl Piece<'_> {
    /// Where in the text the decoded byte at a position comes from.
    pub(super) fn origin(&self, text: &[u8], position: usize) -> usize {
        let source = &text[self.range.clone()];
        let within = match self.encoding {
            Encoding::Base64 => nth_kept(source, self.phase + position / 3 * 4 + position % 3),
            Encoding::Hex => nth_kept(source, self.phase + position * 2),
            Encoding::Utf16 => position * 2,
            Encoding::Percent => nth_unit(source, position, |rest| percent_unit(rest, false)),
            Encoding::Escaped => nth_unit(source, position, escaped_unit),
        };
        self.range.start + within
    }
}

const NONE: u8 = 0xff;
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

/// The four bits of each hexadecimal digit.
const NIBBLES: [u8; 256] = {
    let mut table = [NONE; 256];
    let mut n = 0u8;
    while n < 16 {
        let lower = if n < 10 { b'0' + n } else { b'a' + n - 10 };
        table[lower as usize] = n;
        table[lower.to_ascii_uppercase() as usize] = n;
        n += 1;
    }
    table
};

fn is_base64(byte: u8) -> bool {
    SEXTETS[usize::from(byte)] != NONE
}

/// Hands over every decoded stretch that can hold at least `shortest` bytes.
pub(super) fn pieces(
    text: &[u8],
    shortest: usize,
    room: &mut Room,
    visit: &mut dyn FnMut(&Piece<'_>),
) {
    letters(text, shortest, room, visit);
    percent(text, shortest, room, visit);
    escaped(text, shortest, room, visit);
    utf16(text, shortest, room, visit);
}

/// The next stretch of at least `least` characters of an alphabet. Most of a text is passed over in steps of that
/// length: a stretch that long cannot hide between two steps.
fn stretch(text: &[u8], from: usize, least: usize, alphabet: &[u8; 256]) -> Option<Range<usize>> {
    let within = |byte: &&u8| alphabet[usize::from(**byte)] != NONE;
    let mut at = from;
    while let Some(probe) = text.get(at + least - 1) {
        if !within(&probe) {
            at += least;
            continue;
        }
        let end = at + least - 1;
        let start = end - text[at..end].iter().rev().take_while(within).count();
        let end = end + text[end..].iter().take_while(within).count();
        if end - start >= least {
            return Some(start..end);
        }
        at = end + 1;
    }
    None
}

/// Base64, and hexadecimal digits, which are base64 characters too.
fn letters(text: &[u8], shortest: usize, room: &mut Room, visit: &mut dyn FnMut(&Piece<'_>)) {
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
                phase,
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
                    phase,
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

fn nth_kept(source: &[u8], n: usize) -> usize {
    let mut kept = source
        .iter()
        .enumerate()
        .filter(|(_, byte)| is_base64(**byte));
    kept.nth(n).map_or(0, |(at, _)| at)
}

/// One decoded character: its bytes, how many there are, and how many bytes of the source they took.
type Unit = ([u8; 4], usize, usize);

fn plain(byte: u8) -> Unit {
    ([byte, 0, 0, 0], 1, 1)
}

fn percent_unit(rest: &[u8], plus_is_space: bool) -> Unit {
    match rest {
        [b'%', high, low, ..]
            if NIBBLES[usize::from(*high)] != NONE && NIBBLES[usize::from(*low)] != NONE =>
        {
            (
                [
                    NIBBLES[usize::from(*high)] << 4 | NIBBLES[usize::from(*low)],
                    0,
                    0,
                    0,
                ],
                1,
                3,
            )
        }
        [b'+', ..] if plus_is_space => plain(b' '),
        [byte, ..] => plain(*byte),
        [] => ([0; 4], 0, 1),
    }
}

fn escaped_unit(rest: &[u8]) -> Unit {
    let number = |digits: &[u8]| {
        digits
            .iter()
            .try_fold(0u32, |n, digit| match NIBBLES[usize::from(*digit)] {
                NONE => None,
                nibble => Some(n << 4 | u32::from(nibble)),
            })
    };
    let short = |byte: u8| ([byte, 0, 0, 0], 1, 2);
    match rest {
        [b'\\', b'n', ..] => short(b'\n'),
        [b'\\', b'r', ..] => short(b'\r'),
        [b'\\', b't', ..] => short(b'\t'),
        [b'\\', byte @ (b'"' | b'\\' | b'/' | b'\'' | b'$'), ..] => short(*byte),
        [b'\\', b'x', digits @ ..] if digits.len() >= 2 => match number(&digits[..2]) {
            Some(byte) => ([byte as u8, 0, 0, 0], 1, 4),
            None => plain(b'\\'),
        },
        [b'\\', b'u', digits @ ..] if digits.len() >= 4 => {
            match number(&digits[..4]).and_then(char::from_u32) {
                Some(c) => {
                    let mut bytes = [0; 4];
                    let length = c.encode_utf8(&mut bytes).len();
                    (bytes, length, 6)
                }
                None => plain(b'\\'),
            }
        }
        [byte, ..] => plain(*byte),
        [] => ([0; 4], 0, 1),
    }
}

fn decode_units(source: &[u8], bytes: &mut Vec<u8>, unit: impl Fn(&[u8]) -> Unit) {
    let mut at = 0;
    bytes.clear();
    while at < source.len() {
        let (made, length, taken) = unit(&source[at..]);
        bytes.extend_from_slice(&made[..length]);
        at += taken;
    }
}

fn nth_unit(source: &[u8], position: usize, unit: impl Fn(&[u8]) -> Unit) -> usize {
    let (mut at, mut made) = (0, 0);
    while at < source.len() {
        let (_, length, taken) = unit(&source[at..]);
        if made + length > position {
            break;
        }
        (at, made) = (at + taken, made + length);
    }
    at
}

/// Percent-encoding holds no blank, so a stretch ends at one.
fn percent(text: &[u8], shortest: usize, room: &mut Room, visit: &mut dyn FnMut(&Piece<'_>)) {
    let graphic = |byte: &u8| byte.is_ascii_graphic() || *byte >= 0x80;
    let mut done = 0;
    for sign in memchr::memchr_iter(b'%', text) {
        if sign < done || percent_unit(&text[sign..], false).2 == 1 {
            continue;
        }
        let start = sign
            - text[done..sign]
                .iter()
                .rev()
                .take_while(|byte| graphic(byte))
                .count();
        let end = sign + text[sign..].iter().take_while(|byte| graphic(byte)).count();
        done = end;
        let source = &text[start..end];
        for phase in 0..=usize::from(source.contains(&b'+')) {
            decode_units(source, &mut room.bytes, |rest| {
                percent_unit(rest, phase == 1)
            });
            if room.bytes.len() >= shortest {
                visit(&Piece {
                    encoding: Encoding::Percent,
                    bytes: &room.bytes,
                    range: start..end,
                    phase,
                });
            }
        }
    }
}

/// An escaped text stands on one line.
fn escaped(text: &[u8], shortest: usize, room: &mut Room, visit: &mut dyn FnMut(&Piece<'_>)) {
    let mut done = 0;
    for sign in memchr::memchr_iter(b'\\', text) {
        if sign < done || escaped_unit(&text[sign..]).2 == 1 {
            continue;
        }
        let start =
            memchr::memrchr(b'\n', &text[done..sign]).map_or(done, |before| done + before + 1);
        let end = memchr::memchr(b'\n', &text[sign..]).map_or(text.len(), |after| sign + after);
        done = end;
        decode_units(&text[start..end], &mut room.bytes, escaped_unit);
        if room.bytes.len() >= shortest {
            visit(&Piece {
                encoding: Encoding::Escaped,
                bytes: &room.bytes,
                range: start..end,
                phase: 0,
            });
        }
    }
}

/// Every second byte is zero. Both byte orders look the same from the first byte that is not.
fn utf16(text: &[u8], shortest: usize, room: &mut Room, visit: &mut dyn FnMut(&Piece<'_>)) {
    let mut at = 0;
    while let Some(zero) = memchr::memchr(0, &text[at..]).map(|zero| at + zero) {
        let start = if zero > at {
            zero - 1
        } else {
            zero + text[zero..].iter().take_while(|byte| **byte == 0).count()
        };
        let pairs = text[start..]
            .chunks_exact(2)
            .take_while(|pair| pair[0] != 0 && pair[1] == 0)
            .count();
        let half = text.get(start + pairs * 2).is_some_and(|byte| *byte != 0);
        let end = start + pairs * 2 + usize::from(half);
        if pairs + usize::from(half) >= shortest {
            room.bytes.clear();
            room.bytes.extend(text[start..end].iter().step_by(2));
            visit(&Piece {
                encoding: Encoding::Utf16,
                bytes: &room.bytes,
                range: start..end,
                phase: 0,
            });
        }
        at = (start + pairs * 2).max(zero + 1);
    }
}
