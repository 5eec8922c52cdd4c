//! Lists of numbers, one for each byte: `[1, 0x0b, 255]` and `- 11` on lines of their own, as Zigbee2MQTT has keys; and
//! pairs of hexadecimal digits with something between them: `4f:0a:3b`.

use super::places::stretch;
use super::{Encoding, NIBBLES, NONE, Piece, Room, Way};

/// How each number is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Decimal, or hexadecimal after `0x`.
    Counted,
    /// Two hexadecimal digits.
    Pair,
}

/// The shortest list that is looked at, in characters: `1,2,3,4,5,6,7,8`.
const LEAST: usize = 15;

/// Characters that such a list is made of.
const ALPHABET: [u8; 256] = {
    let mut table = [NONE; 256];
    let others = b" \t\r\n,:-[]xX";
    let mut at = 0;
    while at < 256 {
        if NIBBLES[at] != NONE {
            table[at] = 0;
        }
        at += 1;
    }
    at = 0;
    while at < others.len() {
        table[others[at] as usize] = 1;
        at += 1;
    }
    table
};

/// Hands over every list that may hold enough bytes.
pub(super) fn pieces(
    text: &[u8],
    shortest: usize,
    room: &mut Room,
    visit: &mut dyn FnMut(&Piece<'_>),
) {
    // A digit each, and something between two.
    let least = LEAST.max(2 * shortest - 1);
    let mut at = 0;
    while let Some(range) = stretch(text, at, least, &ALPHABET) {
        at = range.end;
        // Most such stretches are indentation.
        let digits = text[range.clone()].iter();
        let digits = digits.filter(|byte| ALPHABET[usize::from(**byte)] == 0);
        if digits.count() < shortest {
            continue;
        }
        for form in [Form::Counted, Form::Pair] {
            let source = &text[range.clone()];
            let mut lists = Lists {
                source,
                form,
                at: 0,
            };
            while let Some((start, end)) = lists.next_list(shortest, &mut room.bytes) {
                visit(&Piece {
                    encoding: Encoding::Numbers,
                    bytes: &room.bytes,
                    range: range.start + start..range.start + end,
                    way: Way::Numbers(form),
                });
            }
        }
    }
}

/// Where the number at a position begins.
pub(super) fn nth(source: &[u8], form: Form, position: usize) -> usize {
    let mut words = Words { source, at: 0 };
    let numbers = std::iter::from_fn(|| words.next()).filter(|word| value(word.1, form).is_some());
    numbers.map(|word| word.0).nth(position).unwrap_or_default()
}

struct Lists<'a> {
    source: &'a [u8],
    form: Form,
    at: usize,
}

impl Lists<'_> {
    /// The next row of at least so many numbers.
    fn next_list(&mut self, shortest: usize, bytes: &mut Vec<u8>) -> Option<(usize, usize)> {
        bytes.clear();
        let mut words = Words {
            source: self.source,
            at: self.at,
        };
        let (mut start, mut end) = (0, 0);
        loop {
            let word = words.next();
            let number = word.and_then(|word| value(word.1, self.form).map(|value| (word, value)));
            match number {
                Some(((at, word), value)) => {
                    if bytes.is_empty() {
                        start = at;
                    }
                    end = at + word.len();
                    bytes.push(value);
                }
                None => {
                    self.at = words.at;
                    if bytes.len() >= shortest {
                        return Some((start, end));
                    }
                    bytes.clear();
                    word?;
                }
            }
        }
    }
}

/// Words between separators, each with its place.
struct Words<'a> {
    source: &'a [u8],
    at: usize,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<(usize, &'a [u8])> {
        let separator =
            |byte: &u8| ALPHABET[usize::from(*byte)] == 1 && !matches!(byte, b'x' | b'X');
        let rest = &self.source[self.at.min(self.source.len())..];
        let start = rest.iter().position(|byte| !separator(byte))?;
        let length = rest[start..]
            .iter()
            .position(separator)
            .unwrap_or(rest.len() - start);
        let at = self.at + start;
        self.at = at + length;
        Some((at, &self.source[at..at + length]))
    }
}

fn value(word: &[u8], form: Form) -> Option<u8> {
    let hex = |digits: &[u8]| match digits {
        [one] if NIBBLES[usize::from(*one)] != NONE => Some(NIBBLES[usize::from(*one)]),
        [high, low] => {
            let (high, low) = (NIBBLES[usize::from(*high)], NIBBLES[usize::from(*low)]);
            (high != NONE && low != NONE).then_some(high << 4 | low)
        }
        _ => None,
    };
    match (form, word) {
        (Form::Counted, [b'0', b'x' | b'X', digits @ ..]) => hex(digits),
        (Form::Counted, _) if word.len() <= 3 => str::from_utf8(word).ok()?.parse().ok(),
        (Form::Pair, [_, _]) => hex(word),
        _ => None,
    }
}
