//! Undoing encodings: every stretch of a text that may be encoded is decoded, and looked through again.
//!
//! Decoding the text instead of encoding the values finds a value anywhere within an encoded text: base64
//! at each of the three alignments (`user:value` too), wrapped over lines, hexadecimal digits in either case, percent-
//! encoding of whichever characters.

mod block;
mod entities;
mod escaped;
mod letters;
mod numbers;
mod percent;
mod places;
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
            Way::Base64(phase) => {
                letters::nth_kept(source, phase + position / 3 * 4 + position % 3)
            }
            Way::Hex(phase) => letters::nth_kept(source, phase + position * 2),
            Way::Units(unit) => nth_unit(source, position, unit),
            Way::Numbers(form) => numbers::nth(source, form, position),
            Way::Block(style) => block::nth(source, style, position),
        };
        self.range.start + within
    }
}

const NONE: u8 = 0xff;
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

/// Hands over every decoded stretch that can hold at least `shortest` bytes.
pub(super) fn pieces(
    text: &[u8],
    shortest: usize,
    room: &mut Room,
    visit: &mut dyn FnMut(&Piece<'_>),
) {
    letters::pieces(text, shortest, room, visit);
    percent::pieces(text, shortest, room, visit);
    escaped::pieces(text, shortest, room, visit);
    quoted::pieces(text, shortest, room, visit);
    entities::pieces(text, shortest, room, visit);
    numbers::pieces(text, shortest, room, visit);
    block::pieces(text, shortest, room, visit);
    wide(text, shortest, room, visit);
}

/// One decoded character: its bytes, how many there are, and how many bytes of the source they took.
type Unit = ([u8; 4], usize, usize);

/// An encoding of single characters.
struct Units {
    encoding: Encoding,
    /// What begins with none of these bytes is plain.
    signs: [u8; 2],
    unit: fn(&[u8]) -> Unit,
}

fn plain(byte: u8) -> Unit {
    ([byte, 0, 0, 0], 1, 1)
}

/// One decoded character that took some bytes of the source.
fn character(c: char, taken: usize) -> Unit {
    let mut bytes = [0; 4];
    let length = c.encode_utf8(&mut bytes).len();
    (bytes, length, taken)
}

fn decode_units(source: &[u8], way: &Units, bytes: &mut Vec<u8>) {
    let mut at = 0;
    bytes.clear();
    while let Some(rest) = source.get(at..) {
        let [one, other] = way.signs;
        let plain = memchr::memchr2(one, other, rest).unwrap_or(rest.len());
        bytes.extend_from_slice(&rest[..plain]);
        at += plain;
        if at == source.len() {
            break;
        }
        let (made, length, taken) = (way.unit)(&source[at..]);
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

/// Decodes a stretch unit by unit.
fn units(
    text: &[u8],
    range: Range<usize>,
    way: &Units,
    shortest: usize,
    room: &mut Room,
    visit: &mut dyn FnMut(&Piece<'_>),
) {
    decode_units(&text[range.clone()], way, &mut room.bytes);
    if room.bytes.len() >= shortest {
        visit(&Piece {
            encoding: way.encoding,
            bytes: &room.bytes,
            range,
            way: Way::Units(way.unit),
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
