//! Character references of HTML and XML: named, decimal and hexadecimal.

use super::{Encoding, Piece, Room, Unit, Units, character, lines, plain, units};

/// The longest reference that is known, in bytes after its `&`.
const LONGEST: usize = 12;

/// Names of ASCII characters (HTML, "Named character references"), each before its character.
const NAMES: [(&str, char); 48] = [
    ("amp", '&'),
    ("AMP", '&'),
    ("lt", '<'),
    ("LT", '<'),
    ("gt", '>'),
    ("GT", '>'),
    ("quot", '"'),
    ("QUOT", '"'),
    ("apos", '\''),
    ("excl", '!'),
    ("num", '#'),
    ("dollar", '$'),
    ("percnt", '%'),
    ("lpar", '('),
    ("rpar", ')'),
    ("ast", '*'),
    ("midast", '*'),
    ("plus", '+'),
    ("comma", ','),
    ("period", '.'),
    ("sol", '/'),
    ("colon", ':'),
    ("semi", ';'),
    ("equals", '='),
    ("quest", '?'),
    ("commat", '@'),
    ("lsqb", '['),
    ("lbrack", '['),
    ("bsol", '\\'),
    ("rsqb", ']'),
    ("rbrack", ']'),
    ("Hat", '^'),
    ("lowbar", '_'),
    ("grave", '`'),
    ("lcub", '{'),
    ("lbrace", '{'),
    ("verbar", '|'),
    ("vert", '|'),
    ("VerticalLine", '|'),
    ("rcub", '}'),
    ("rbrace", '}'),
    ("Tab", '\t'),
    ("NewLine", '\n'),
    ("euro", '€'),
    ("ndash", '–'),
    ("mdash", '—'),
    ("hellip", '…'),
    ("tilde", '˜'),
];

/// Names of the characters from U+00A0 on, in order.
const LATIN: &str = "nbsp iexcl cent pound curren yen brvbar sect uml copy ordf laquo not shy reg macr deg plusmn sup2 \
    sup3 acute micro para middot cedil sup1 ordm raquo frac14 frac12 frac34 iquest Agrave Aacute Acirc Atilde Auml \
    Aring AElig Ccedil Egrave Eacute Ecirc Euml Igrave Iacute Icirc Iuml ETH Ntilde Ograve Oacute Ocirc Otilde Ouml \
    times Oslash Ugrave Uacute Ucirc Uuml Yacute THORN szlig agrave aacute acirc atilde auml aring aelig ccedil egrave \
    eacute ecirc euml igrave iacute icirc iuml eth ntilde ograve oacute ocirc otilde ouml divide oslash ugrave uacute \
    ucirc uuml yacute thorn yuml";

const REFERENCES: Units = Units {
    encoding: Encoding::Entities,
    signs: [b'&', b'&'],
    unit,
};

/// Hands over every line with a reference in it.
pub(super) fn pieces(
    text: &[u8],
    shortest: usize,
    room: &mut Room,
    visit: &mut dyn FnMut(&Piece<'_>),
) {
    let mut done = 0;
    for sign in memchr::memchr_iter(b'&', text) {
        if sign < done || reference(&text[sign..]).is_none() {
            continue;
        }
        let range = lines(text, done, sign, |_| false);
        done = range.end;
        units(text, range, &REFERENCES, shortest, room, visit);
    }
}

fn unit(rest: &[u8]) -> Unit {
    let plainly = || rest.first().map_or(([0; 4], 0, 1), |byte| plain(*byte));
    reference(rest).unwrap_or_else(plainly)
}

fn reference(rest: &[u8]) -> Option<Unit> {
    let [b'&', inner @ ..] = rest else {
        return None;
    };
    if !inner
        .first()
        .is_some_and(|byte| *byte == b'#' || byte.is_ascii_alphabetic())
    {
        return None;
    }
    let length = 1 + inner[1..]
        .iter()
        .take(LONGEST)
        .position(|byte| !byte.is_ascii_alphanumeric())?;
    if inner[length] != b';' {
        return None;
    }
    let name = str::from_utf8(&inner[..length]).ok()?;
    let c = match name.strip_prefix('#') {
        Some(number) => {
            let code = match number.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)?
        }
        None => named(name)?,
    };
    Some(character(c, length + 2))
}

fn named(name: &str) -> Option<char> {
    let known = NAMES.iter().find(|(known, _)| *known == name);
    known.map(|(_, c)| *c).or_else(|| {
        let at = LATIN
            .split_ascii_whitespace()
            .position(|known| known == name)?;
        char::from_u32(0xa0 + u32::try_from(at).ok()?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_decoded_as_their_standard_says() {
        let text = "&amp;&#39;&#x27;&quot;&auml;&yuml;&euro;&#128512;";
        let mut out = Vec::new();
        super::super::decode_units(text.as_bytes(), &REFERENCES, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "&''\"äÿ€😀");
        for text in ["&;", "&x", "&#;", "&nosuch;", "a && b;"] {
            assert!(reference(text.as_bytes()).is_none(), "{text}");
        }
    }
}
