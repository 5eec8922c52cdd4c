//! Undoing encodings: every stretch of a text that may be encoded is decoded, and looked through again.
//!
//! Decoding the text instead of encoding the values finds a value wherever it stands within an encoded text: base64
//! at each of the three alignments (`user:value` too), wrapped over lines, hexadecimal digits in either case, percent-
//! encoding of whichever characters.

mod block;
mod entities;
mod escaped;
mod numbers;
mod quoted;
mod wide;

use std::fmt;
use std::ops::Range;

pub(super) use wide::pieces as wide;

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
    /// UTF-16 of either byte order, with or without a byte order mark.
    Utf16,
    /// Quotes as shells, YAML, CSV and SQL have them within quotes, and doubled `$` and `%`.
    Quoted,
    /// Character references of HTML and XML.
    Entities,
    /// A list of numbers, one for each byte.
    Numbers,
    /// A block of YAML: indented, or folded.
    Block,
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
            Self::Quoted => "quoted",
            Self::Entities => "entities",
            Self::Numbers => "numbers",
            Self::Block => "block",
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
    way: Way,
}

/// How the places in a decoded stretch belong to those in the text.
#[derive(Clone, Copy)]
enum Way {
    /// Characters of base64 that are skipped at the beginning.
    Base64(usize),
    /// Digits that are skipped at the beginning.
    Hex(usize),
    /// One unit after another.
    Units(fn(&[u8]) -> Unit),
    /// Numbers of a form.
    Numbers(numbers::Form),
    /// Lines of a block.
    Block(block::Style),
}

impl Piece<'_> {
    /// Where in the text the decoded byte at a position comes from.
    pub(super) fn origin(&self, text: &[u8], position: usize) -> usize {
        let source = &text[self.range.clone()];
        let within = match self.way {
            Way::Base64(phase) => nth_kept(source, phase + position / 3 * 4 + position % 3),
            Way::Hex(phase) => nth_kept(source, phase + position * 2),
            Way::Units(unit) => nth_unit(source, position, unit),
            Way::Numbers(form) => numbers::nth(source, form, position),
            Way::Block(style) => block::nth(source, style, position),
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
    escaped::pieces(text, shortest, room, visit);
    quoted::pieces(text, shortest, room, visit);
    entities::pieces(text, shortest, room, visit);
    numbers::pieces(text, shortest, room, visit);
    block::pieces(text, shortest, room, visit);
    wide(text, shortest, room, visit);
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

fn percent_unit(rest: &[u8]) -> Unit {
    match rest {
        [b'%', high, low, ..]
            if NIBBLES[usize::from(*high)] != NONE && NIBBLES[usize::from(*low)] != NONE =>
        {
            let byte = NIBBLES[usize::from(*high)] << 4 | NIBBLES[usize::from(*low)];
            ([byte, 0, 0, 0], 1, 3)
        }
        [byte, ..] => plain(*byte),
        [] => ([0; 4], 0, 1),
    }
}

fn form_unit(rest: &[u8]) -> Unit {
    match rest {
        [b'+', ..] => plain(b' '),
        _ => percent_unit(rest),
    }
}

/// One decoded character that took some bytes of the source.
fn character(c: char, taken: usize) -> Unit {
    let mut bytes = [0; 4];
    let length = c.encode_utf8(&mut bytes).len();
    (bytes, length, taken)
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
        if sign < done || percent_unit(&text[sign..]).2 == 1 {
            continue;
        }
        let before = text[done..sign].iter().rev();
        let start = sign - before.take_while(|byte| graphic(byte)).count();
        let end = sign + text[sign..].iter().take_while(|byte| graphic(byte)).count();
        done = end;
        units(
            text,
            start..end,
            Encoding::Percent,
            percent_unit,
            shortest,
            room,
            visit,
        );
        if text[start..end].contains(&b'+') {
            units(
                text,
                start..end,
                Encoding::Percent,
                form_unit,
                shortest,
                room,
                visit,
            );
        }
    }
}

/// Decodes a stretch unit by unit.
fn units(
    text: &[u8],
    range: Range<usize>,
    encoding: Encoding,
    unit: fn(&[u8]) -> Unit,
    shortest: usize,
    room: &mut Room,
    visit: &mut dyn FnMut(&Piece<'_>),
) {
    decode_units(&text[range.clone()], &mut room.bytes, unit);
    if room.bytes.len() >= shortest {
        visit(&Piece {
            encoding,
            bytes: &room.bytes,
            range,
            way: Way::Units(unit),
        });
    }
}

/// The most lines of one quoted text that are taken together, before and after the line that asks for it.
const QUOTED_LINES_MAX: usize = 64;

/// The lines around a place: its own and, where a quote stays open on it, those up to where it is closed. What is no
/// UTF-8 ends a line, too: only texts are written so.
fn lines(text: &[u8], done: usize, at: usize, open: impl Fn(&[u8]) -> bool) -> Range<usize> {
    let begin = |at: usize| memchr::memrchr(b'\n', &text[done..at]).map_or(done, |n| done + n + 1);
    let end = |at: usize| memchr::memchr(b'\n', &text[at..]).map_or(text.len(), |n| at + n);
    let own = readable(text, begin(at)..end(at), at);
    if !open(&text[own.clone()]) {
        return own;
    }
    let mut range = own.clone();
    for _ in 0..QUOTED_LINES_MAX {
        if range.start <= done || text[range.start - 1] != b'\n' {
            break;
        }
        let before = begin(range.start - 1)..range.start - 1;
        range.start = before.start;
        if open(&text[before]) {
            break;
        }
    }
    for _ in 0..QUOTED_LINES_MAX {
        if text.get(range.end) != Some(&b'\n') {
            break;
        }
        let after = range.end + 1..end(range.end + 1);
        range.end = after.end;
        if open(&text[after]) {
            break;
        }
    }
    range
}

/// The part of a line around a place that is UTF-8. Bytes of programs and pictures are passed over by it at once.
fn readable(text: &[u8], line: Range<usize>, at: usize) -> Range<usize> {
    let end = match str::from_utf8(&text[at..line.end]) {
        Ok(_) => line.end,
        Err(error) => at + error.valid_up_to(),
    };
    let before = &text[line.start..at];
    if str::from_utf8(before).is_ok() {
        return line.start..end;
    }
    let mut kept = before;
    loop {
        let ascii = kept.iter().rev().take_while(|byte| byte.is_ascii());
        kept = &kept[..kept.len() - ascii.count()];
        let character = (2..=4).find_map(|length| {
            let from = kept.len().checked_sub(length)?;
            let one = str::from_utf8(&kept[from..]).ok()?;
            (one.chars().count() == 1).then_some(from)
        });
        match character {
            Some(from) => kept = &kept[..from],
            None => return line.start + kept.len()..end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_where_it_is_no_text() {
        let text = b"a\nbc\xff d\xc3\xa4\xe2\x82\xac\\e\xf0\x9f\x98\x80 f\xc3\ng";
        let at = text.iter().position(|byte| *byte == b'\\').unwrap();
        let own = lines(text, 0, at, |_| false);
        assert_eq!(
            &text[own.clone()],
            " d\u{e4}\u{20ac}\\e\u{1f600} f".as_bytes()
        );
        assert_eq!(lines(text, 0, at, |_| true), own);
        assert_eq!(lines(b"x\n\\a\ny", 0, 2, |_| true), 0..6);
    }
}
