//! Percent-encoding: `%41`, and `+` for a space, as forms have it.

use super::{Encoding, NIBBLES, NONE, Piece, Room, Unit, Units, plain, units};

const PERCENT: Units = Units {
    encoding: Encoding::Percent,
    signs: [b'%', b'%'],
    unit: percent_unit,
};
const FORM: Units = Units {
    encoding: Encoding::Percent,
    signs: [b'%', b'+'],
    unit: form_unit,
};

/// Hands over every stretch with such signs. It holds no blank, so it ends at one.
pub(super) fn pieces(
    text: &[u8],
    shortest: usize,
    room: &mut Room,
    visit: &mut dyn FnMut(&Piece<'_>),
) {
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
        units(text, start..end, &PERCENT, shortest, room, visit);
        if text[start..end].contains(&b'+') {
            units(text, start..end, &FORM, shortest, room, visit);
        }
    }
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
