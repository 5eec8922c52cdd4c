//! Strict reading of DER (X.690 §8, §10): every byte belongs to an element that was expected.

use x509_parser::der_parser::asn1_rs::{Any, FromDer};

/// The identifier octet of a SEQUENCE.
pub(crate) const SEQUENCE: u8 = 0x30;
/// The identifier octet of an INTEGER.
pub(crate) const INTEGER: u8 = 0x02;
/// The identifier octet of a BIT STRING.
const BIT_STRING: u8 = 0x03;
/// The identifier octet of a constructed, context-specific `[0]`.
pub(crate) const CONTEXT_0: u8 = 0xa0;

/// One element: identifier, length and content.
#[derive(Clone, Copy)]
pub(crate) struct Element<'a> {
    /// The whole element.
    pub raw: &'a [u8],
    /// Its content alone.
    pub content: &'a [u8],
}

impl<'a> Element<'a> {
    /// The one element that these bytes are, if they are one of this kind and nothing more.
    pub fn only(bytes: &'a [u8], identifier: u8) -> Option<Self> {
        let [element] = elements(bytes)?;
        element.expect(identifier)
    }

    /// This element, if it is of this kind.
    pub fn expect(self, identifier: u8) -> Option<Self> {
        (self.raw.first() == Some(&identifier)).then_some(self)
    }

    /// Exactly `N` elements inside a SEQUENCE.
    pub fn sequence_of<const N: usize>(self) -> Option<[Element<'a>; N]> {
        elements(self.expect(SEQUENCE)?.content)
    }

    /// The bytes of a BIT STRING of whole octets (X.690 §8.6).
    pub fn bits(self) -> Option<&'a [u8]> {
        match self.expect(BIT_STRING)?.content {
            [0, bits @ ..] => Some(bits),
            _ => None,
        }
    }

    /// The magnitude of a positive INTEGER in its shortest form (X.690 §8.3).
    pub fn positive_integer(self) -> Option<&'a [u8]> {
        match self.expect(INTEGER)?.content {
            [0, high, ..] if *high < 0x80 => None,
            [0, magnitude @ ..] if !magnitude.is_empty() => Some(magnitude),
            [first, ..] if (1..0x80).contains(first) => Some(self.content),
            _ => None,
        }
    }
}

/// Exactly `N` elements, one after another, and nothing after them.
fn elements<'a, const N: usize>(mut bytes: &'a [u8]) -> Option<[Element<'a>; N]> {
    let mut found = [Element {
        raw: &[],
        content: &[],
    }; N];
    for element in &mut found {
        let (rest, any) = Any::from_der(bytes).ok()?;
        let raw = bytes.get(..bytes.len() - rest.len())?;
        if raw.len() - any.data.len() != header_bytes(any.data.len()) {
            return None;
        }
        *element = Element {
            raw,
            content: any.data,
        };
        bytes = rest;
    }
    bytes.is_empty().then_some(found)
}

/// One identifier octet and the length in its shortest form (X.690 §10.1).
fn header_bytes(content_bytes: usize) -> usize {
    match content_bytes {
        0..0x80 => 2,
        0x80..0x100 => 3,
        0x100..0x1_0000 => 4,
        0x1_0000..0x100_0000 => 5,
        _ => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_with_anything_after_it_is_not_read() {
        assert!(Element::only(&[0x30, 0x00], SEQUENCE).is_some());
        assert!(Element::only(&[0x30, 0x00, 0x00], SEQUENCE).is_none());
        assert!(Element::only(&[0x30, 0x01], SEQUENCE).is_none());
        assert!(Element::only(&[], SEQUENCE).is_none());
    }

    #[test]
    fn a_length_has_its_shortest_form() {
        assert!(Element::only(&[0x30, 1, 5], SEQUENCE).is_some());
        assert!(Element::only(&[0x30, 0x81, 1, 5], SEQUENCE).is_none());
        assert!(Element::only(&[0x30, 0x80, 0, 0], SEQUENCE).is_none());
        for (content, header) in [(0x80, vec![0x81, 0x80]), (0x100, vec![0x82, 1, 0])] {
            let body = vec![0; content];
            let good = [&[0x30][..], &header, &body].concat();
            assert!(Element::only(&good, SEQUENCE).is_some(), "{content}");
            let long = [
                &[0x30, 0x83, 0, (content >> 8) as u8, content as u8][..],
                &body,
            ]
            .concat();
            assert!(Element::only(&long, SEQUENCE).is_none(), "{content}");
        }
    }

    #[test]
    fn an_integer_is_positive_and_in_its_shortest_form() {
        let read = |bytes: &'static [u8]| {
            Element::only(bytes, INTEGER).and_then(Element::positive_integer)
        };
        assert_eq!(read(&[2, 1, 3]), Some(&[3][..]));
        assert_eq!(read(&[2, 2, 0, 0x80]), Some(&[0x80][..]));
        for bad in [
            &[2, 0][..],
            &[2, 1, 0],
            &[2, 1, 0x80],
            &[2, 2, 0, 3],
            &[2, 2, 0, 0],
        ] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}
