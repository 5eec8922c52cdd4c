//! Backslashes: of JSON and programs, of double quotes in YAML, TOML and dotenv files, of shells, and lines that are
//! continued after one.

use super::{Encoding, NIBBLES, NONE, Piece, Room, Unit, Units, character, lines, plain, units};

const ESCAPED: Units = Units {
    encoding: Encoding::Escaped,
    signs: [b'\\', b'\\'],
    unit: escaped_unit,
};
/// Where `\xe9` means a character.
const CODE_POINTS: Units = Units {
    unit: code_point_unit,
    ..ESCAPED
};
/// Where `\n` means itself: double quotes of a shell, single ones of dotenv.
const OF_SHELLS: Units = Units {
    unit: shell_unit,
    ..ESCAPED
};

/// Hands over every stretch with backslashes that stand for something else: lines, continued ones together.
pub(super) fn pieces(
    text: &[u8],
    shortest: usize,
    room: &mut Room,
    visit: &mut dyn FnMut(&Piece<'_>),
) {
    let mut done = 0;
    for sign in memchr::memchr_iter(b'\\', text) {
        if sign < done || escaped_unit(&text[sign..]).2 == 1 {
            continue;
        }
        let mut range = lines(text, done, sign, is_open);
        while text.get(range.end) == Some(&b'\n')
            && (text[range.clone()].ends_with(b"\\") || text[range.clone()].ends_with(b"\\\r"))
        {
            let next = &text[range.end + 1..];
            range.end += 1 + memchr::memchr(b'\n', next).unwrap_or(next.len());
        }
        done = range.end;
        units(text, range.clone(), &ESCAPED, shortest, room, visit);
        let source = &text[range.clone()];
        if has(source, 3, is_high) {
            units(text, range.clone(), &CODE_POINTS, shortest, room, visit);
        }
        if has(source, 2, is_literal) && has(source, 2, is_shell) {
            units(text, range, &OF_SHELLS, shortest, room, visit);
        }
    }
}

/// Whether there is a backslash that fulfils a condition together with what follows it, so many bytes in all.
fn has(source: &[u8], length: usize, fulfil: fn(&[u8]) -> bool) -> bool {
    memchr::memchr_iter(b'\\', source).any(|at| source.get(at..at + length).is_some_and(fulfil))
}

/// Whether a quote stays open on a line.
fn is_open(line: &[u8]) -> bool {
    let mut escaped = false;
    let (mut single, mut double) = (false, false);
    for byte in line {
        match byte {
            b'\\' if !escaped => {
                escaped = true;
                continue;
            }
            b'"' if !escaped => double = !double,
            b'\'' if !escaped => single = !single,
            _ => {}
        }
        escaped = false;
    }
    single || double
}

fn is_literal(two: &[u8]) -> bool {
    two[1].is_ascii_alphanumeric() || matches!(two[1], b'\n' | b'\r')
}

fn is_shell(two: &[u8]) -> bool {
    matches!(two, [b'\\', b'"' | b'\\' | b'\'' | b'$' | b'`' | b'\n'])
}

/// `\xe9`: a byte of a text in UTF-8 to some writers, a character to YAML and JavaScript.
fn is_high(three: &[u8]) -> bool {
    matches!(
        three,
        [b'\\', b'x', b'8' | b'9' | b'a'..=b'f' | b'A'..=b'F']
    )
}

fn code_point_unit(rest: &[u8]) -> Unit {
    let code = match rest {
        [b'\\', b'x', high, low, ..] => number(&[*high, *low]).and_then(char::from_u32),
        _ => None,
    };
    code.map_or_else(|| escaped_unit(rest), |c| character(c, 4))
}

fn shell_unit(rest: &[u8]) -> Unit {
    match rest {
        [b'\\', b'\n', ..] => ([0; 4], 0, 2),
        [b'\\', byte, ..] if is_shell(&[b'\\', *byte]) => ([*byte, 0, 0, 0], 1, 2),
        [byte, ..] => plain(*byte),
        [] => ([0; 4], 0, 1),
    }
}

fn number(digits: &[u8]) -> Option<u32> {
    digits
        .iter()
        .try_fold(0u32, |n, digit| match NIBBLES[usize::from(*digit)] {
            NONE => None,
            nibble => Some(n << 4 | u32::from(nibble)),
        })
}

fn escaped_unit(rest: &[u8]) -> Unit {
    let [b'\\', after @ ..] = rest else {
        return rest.first().map_or(([0; 4], 0, 1), |byte| plain(*byte));
    };
    let short = |byte: u8| ([byte, 0, 0, 0], 1, 2);
    match after {
        [b'n', ..] => short(b'\n'),
        [b'r', ..] => short(b'\r'),
        [b't', ..] => short(b'\t'),
        [b'a', ..] => short(7),
        [b'b', ..] => short(8),
        [b'v', ..] => short(11),
        [b'f', ..] => short(12),
        [b'e', ..] => short(27),
        [b'N', ..] => character('\u{85}', 2),
        [b'_', ..] => character('\u{a0}', 2),
        [b'L', ..] => character('\u{2028}', 2),
        [b'P', ..] => character('\u{2029}', 2),
        [b'x', high, low, ..] => match number(&[*high, *low]) {
            Some(byte) => ([byte as u8, 0, 0, 0], 1, 4),
            None => plain(b'\\'),
        },
        [b'u', b'{', ..] => braced(after).unwrap_or(plain(b'\\')),
        [b'u', ..] => four(after).unwrap_or(plain(b'\\')),
        [b'U', ..] => eight(after).unwrap_or(plain(b'\\')),
        [b'0'..=b'7', ..] => octal(after),
        [b'\n', ..] => ([0; 4], 0, 2 + blanks(&after[1..])),
        [b'\r', b'\n', ..] => ([0; 4], 0, 3 + blanks(&after[2..])),
        [byte, ..] if byte.is_ascii_punctuation() || *byte == b' ' => short(*byte),
        _ => plain(b'\\'),
    }
}

fn blanks(rest: &[u8]) -> usize {
    rest.iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t'))
        .count()
}

/// `uXXXX`, and two of them for a character beyond the first plane.
fn four(after: &[u8]) -> Option<Unit> {
    let first = number(after.get(1..5)?)?;
    if let Some(c) = char::from_u32(first) {
        return Some(character(c, 6));
    }
    let [b'\\', b'u', second @ ..] = after.get(5..)? else {
        return None;
    };
    let second = number(second.get(..4)?)?;
    let both = [u16::try_from(first).ok()?, u16::try_from(second).ok()?];
    let c = char::decode_utf16(both).next()?.ok()?;
    Some(character(c, 12))
}

/// `UXXXXXXXX`.
fn eight(after: &[u8]) -> Option<Unit> {
    let c = char::from_u32(number(after.get(1..9)?)?)?;
    Some(character(c, 10))
}

/// `u{X…}`.
fn braced(after: &[u8]) -> Option<Unit> {
    let digits = after.get(2..)?;
    let length = digits.iter().take(7).position(|byte| *byte == b'}')?;
    let c = char::from_u32(number(&digits[..length])?)?;
    Some(character(c, 4 + length))
}

fn octal(after: &[u8]) -> Unit {
    let digits = after
        .iter()
        .take(3)
        .take_while(|byte| matches!(byte, b'0'..=b'7'));
    let length = digits.clone().count();
    let value = digits.fold(0u32, |n, digit| n << 3 | u32::from(digit - b'0'));
    ([value as u8, 0, 0, 0], 1, 1 + length)
}
