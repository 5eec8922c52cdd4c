//! Quotes within quotes: `'a'\''b'` and `'a'"'"'b'` of shells, `'a''b'` of YAML and SQL, `"a""b"` of CSV; and `$$` and
//! `%%`, by which Compose files, systemd units and INI files write one of each.

use super::places::neighbours;
use super::{Encoding, Piece, Room, Unit, Units, lines, plain, units};

const SHELL: [&[u8]; 2] = [b"'\\''", b"'\"'\"'"];

const fn way(sign: u8, unit: fn(&[u8]) -> Unit) -> Units {
    Units {
        encoding: Encoding::Quoted,
        signs: [sign, sign],
        unit,
    }
}

const OF_SHELLS: Units = way(b'\'', shell_unit);
const SINGLE: Units = way(b'\'', single_unit);
const DOUBLE: Units = way(b'"', double_unit);
const DOLLARS: Units = way(b'$', dollar_unit);
const PERCENTS: Units = way(b'%', percent_unit);

/// Hands over every stretch with such quotes. Each of them has two quotes side by side, or one of the others twice.
pub(super) fn pieces(
    text: &[u8],
    shortest: usize,
    room: &mut Room,
    visit: &mut dyn FnMut(&Piece<'_>),
) {
    let mut go = |sign: usize, done: &mut usize, quote: u8, way: &Units| {
        if sign >= *done {
            let range = lines(text, *done, sign, |line| is_open(line, quote));
            *done = range.end;
            units(text, range, way, shortest, room, visit);
        }
    };
    let (mut shell, mut single, mut double) = (0, 0, 0);
    let (mut dollar, mut percent) = (0, 0);
    let mut from = 0;
    while let Some(sign) = neighbours(text, from, are_signs) {
        from = sign + 1;
        match text[sign] {
            b'$' => go(sign, &mut dollar, b'"', &DOLLARS),
            b'%' => go(sign, &mut percent, b'"', &PERCENTS),
            b'\'' => {
                // The first way of shells has its two at its end, the second at its beginning.
                let before = sign.checked_sub(2);
                let before = before.filter(|at| text[*at..].starts_with(SHELL[0]));
                let here = text[sign..].starts_with(SHELL[1]).then_some(sign);
                for sign in before.into_iter().chain(here) {
                    go(sign, &mut shell, b'\'', &OF_SHELLS);
                }
                if sign >= single && is_doubled(text, sign) {
                    go(sign, &mut single, b'\'', &SINGLE);
                }
            }
            _ if sign >= double && is_doubled(text, sign) => {
                go(sign, &mut double, b'"', &DOUBLE);
            }
            _ => {}
        }
    }
}

/// Whether two bytes are quotes, or the same of the others.
fn are_signs(one: u8, two: u8) -> bool {
    let quote = |byte: u8| (byte == b'\'') | (byte == b'"');
    (quote(one) & quote(two)) | ((one == two) & ((one == b'$') | (one == b'%')))
}

/// Whether a quote stays open on a line.
fn is_open(line: &[u8], quote: u8) -> bool {
    let quotes = memchr::memchr_iter(quote, line).count();
    // One of the quotes in each of a shell's ways is a part of the value.
    let literal = if quote == b'\'' {
        let ways = SHELL
            .iter()
            .map(|way| memchr::memmem::find_iter(line, way).count());
        ways.sum()
    } else {
        0
    };
    (quotes - literal) % 2 == 1
}

/// Whether a quote is doubled here, and the two are not an empty text of a program: `x = ""`, `f('', 1)`.
fn is_doubled(text: &[u8], at: usize) -> bool {
    if text.get(at + 1) != Some(&text[at]) {
        return false;
    }
    let before = text[..at].iter().rev();
    let before = before
        .clone()
        .find(|byte| !matches!(byte, b' ' | b'\t'))
        .copied();
    let opens = matches!(
        before,
        None | Some(
            b'=' | b'('
                | b'['
                | b'{'
                | b','
                | b':'
                | b'\n'
                | b'!'
                | b'?'
                | b'+'
                | b'<'
                | b'>'
                | b'|'
                | b'&'
        )
    );
    let after = text.get(at + 2).copied();
    let closes = matches!(
        after,
        None | Some(
            b' ' | b',' | b')' | b']' | b'}' | b';' | b':' | b'\n' | b'\r' | b'.' | b'>' | b'/'
        )
    );
    !(opens && closes)
}

fn shell_unit(rest: &[u8]) -> Unit {
    match SHELL.iter().find(|way| rest.starts_with(way)) {
        Some(way) => ([b'\'', 0, 0, 0], 1, way.len()),
        None => rest.first().map_or(([0; 4], 0, 1), |byte| plain(*byte)),
    }
}

fn doubled(rest: &[u8], quote: u8) -> Unit {
    match rest {
        [first, second, ..] if *first == quote && *second == quote => ([quote, 0, 0, 0], 1, 2),
        [first, ..] => plain(*first),
        [] => ([0; 4], 0, 1),
    }
}

fn single_unit(rest: &[u8]) -> Unit {
    doubled(rest, b'\'')
}

fn double_unit(rest: &[u8]) -> Unit {
    doubled(rest, b'"')
}

fn dollar_unit(rest: &[u8]) -> Unit {
    doubled(rest, b'$')
}

fn percent_unit(rest: &[u8]) -> Unit {
    doubled(rest, b'%')
}
