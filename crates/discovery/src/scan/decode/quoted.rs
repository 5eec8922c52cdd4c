//! Quotes within quotes: `'a'\''b'` and `'a'"'"'b'` of shells, `'a''b'` of YAML and SQL, `"a""b"` of CSV; and `$$` and
//! `%%`, by which Compose files, systemd units and INI files write one of each.

use super::{Encoding, Piece, Room, Unit, lines, plain, units};

const SHELL: [&[u8]; 2] = [b"'\\''", b"'\"'\"'"];

/// Hands over every stretch with such quotes.
pub(super) fn pieces(
    text: &[u8],
    shortest: usize,
    room: &mut Room,
    visit: &mut dyn FnMut(&Piece<'_>),
) {
    let mut go = |sign: usize, done: &mut usize, quote: u8, unit: fn(&[u8]) -> Unit| {
        let range = lines(text, *done, sign, |line| is_open(line, quote));
        *done = range.end;
        units(text, range, Encoding::Quoted, unit, shortest, room, visit);
    };
    let (mut shell, mut single, mut double) = (0, 0, 0);
    for sign in memchr::memchr2_iter(b'\'', b'"', text) {
        match text[sign] {
            b'\'' if sign >= shell && SHELL.iter().any(|way| text[sign..].starts_with(way)) => {
                go(sign, &mut shell, b'\'', shell_unit);
            }
            b'\'' if sign >= single && is_doubled(text, sign) => {
                go(sign, &mut single, b'\'', single_unit);
            }
            b'"' if sign >= double && is_doubled(text, sign) => {
                go(sign, &mut double, b'"', double_unit);
            }
            _ => {}
        }
    }
    let mut done = 0;
    for sign in memchr::memmem::find_iter(text, b"$$") {
        if sign >= done {
            go(sign, &mut done, b'"', dollar_unit);
        }
    }
    done = 0;
    for sign in memchr::memmem::find_iter(text, b"%%") {
        if sign >= done {
            go(sign, &mut done, b'"', percent_unit);
        }
    }
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
