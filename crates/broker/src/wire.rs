//! Reading MQTT bytes without ever panicking: a cursor, variable integers, MQTT 5 properties.

/// A place in some bytes. Every read is `None` when the bytes run out.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    pub(crate) fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(n)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take(4)
            .map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
    }

    /// Two bytes of length, then that many bytes.
    pub(crate) fn binary(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(length.into())
    }

    /// A UTF-8 string without NUL (MQTT 5 §1.5.4).
    pub(crate) fn string(&mut self) -> Option<&'a str> {
        let text = std::str::from_utf8(self.binary()?).ok()?;
        (!text.contains('\0')).then_some(text)
    }

    /// A variable byte integer of at most four bytes (MQTT 5 §1.5.5).
    pub(crate) fn varint(&mut self) -> Option<usize> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// The value of an MQTT 5 property, skipped (MQTT 5 §2.2.2.2).
    fn skip_property_value(&mut self, id: u8) -> Option<()> {
        match id {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2a => self.take(1).map(drop),
            0x13 | 0x21 | 0x22 | 0x23 => self.take(2).map(drop),
            0x02 | 0x11 | 0x18 | 0x27 => self.take(4).map(drop),
            0x0b => self.varint().map(drop),
            0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => self.binary().map(drop),
            0x26 => {
                self.binary()?;
                self.binary().map(drop)
            }
            _ => None,
        }
    }
}

/// One MQTT 5 property as it stands in the bytes.
pub(crate) struct Property<'a> {
    /// Its identifier (MQTT 5 §2.2.2.2).
    pub(crate) id: u8,
    /// Identifier and value.
    pub(crate) whole: &'a [u8],
}

impl<'a> Property<'a> {
    /// The value alone.
    pub(crate) fn value(&self) -> Cursor<'a> {
        Cursor::new(&self.whole[1..])
    }
}

/// The properties in a property block, whose length has been read. `None` if one is malformed.
pub(crate) fn properties(block: &[u8]) -> Option<Vec<Property<'_>>> {
    let mut cursor = Cursor::new(block);
    let mut found = Vec::new();
    while !cursor.is_at_end() {
        let start = cursor.position();
        let id = cursor.byte()?;
        cursor.skip_property_value(id)?;
        found.push(Property {
            id,
            whole: &block[start..cursor.position()],
        });
    }
    Some(found)
}

/// Appends a variable byte integer. Larger values than MQTT knows do not occur: every caller
/// writes the length of a packet that it has read from four such bytes, or of a shorter one.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: usize) {
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            out.push(byte);
            return;
        }
        out.push(byte | 0x80);
    }
}

/// Appends a string with its two bytes of length, cut at a character so that it fits.
pub(crate) fn put_string(out: &mut Vec<u8>, text: &str) {
    let mut end = text.len().min(usize::from(u16::MAX));
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    out.extend_from_slice(&(end as u16).to_be_bytes());
    out.extend_from_slice(&text.as_bytes()[..end]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_integer_survives_and_a_fifth_byte_is_refused() {
        for value in [
            0,
            1,
            127,
            128,
            16_383,
            16_384,
            2_097_151,
            2_097_152,
            268_435_455,
        ] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            assert_eq!(Cursor::new(&bytes).varint(), Some(value));
        }
        assert_eq!(Cursor::new(&[0xff, 0xff, 0xff, 0xff, 0x01]).varint(), None);
        assert_eq!(Cursor::new(&[0x80]).varint(), None);
    }

    #[test]
    fn a_property_that_runs_past_its_block_is_malformed() {
        assert!(properties(&[0x1f, 0, 5, b'a']).is_none());
        assert!(properties(&[0x55, 0]).is_none());
        assert_eq!(
            properties(&[0x01, 1, 0x26, 0, 1, b'k', 0, 0])
                .unwrap()
                .len(),
            2
        );
    }
}
