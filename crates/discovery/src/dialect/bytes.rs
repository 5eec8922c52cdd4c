//! Text from the bytes of a file: UTF-8 with or without a mark, and UTF-16 with its mark, as Windows writes both.

use zeroize::Zeroizing;

/// Why bytes are no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotText {
    /// They are not UTF-8 from this byte on.
    Utf8(usize),
    /// They begin with the mark of UTF-16 and are not UTF-16.
    Utf16,
    /// They look like UTF-16 without a mark: every other byte is zero.
    Unmarked,
}

/// The text of a file, without its mark.
pub fn text(bytes: &[u8]) -> Result<Zeroizing<String>, NotText> {
    if let Some(rest) = bytes.strip_prefix(b"\xff\xfe") {
        return utf16(rest, u16::from_le_bytes).ok_or(NotText::Utf16);
    }
    if let Some(rest) = bytes.strip_prefix(b"\xfe\xff") {
        return utf16(rest, u16::from_be_bytes).ok_or(NotText::Utf16);
    }
    if is_unmarked_utf16(bytes) {
        return Err(NotText::Unmarked);
    }
    let mark = if bytes.starts_with(b"\xef\xbb\xbf") {
        3
    } else {
        0
    };
    match std::str::from_utf8(&bytes[mark..]) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(error) => Err(NotText::Utf8(mark + error.valid_up_to())),
    }
}

/// Whether bytes are ASCII in UTF-16 of either byte order, without a mark.
pub fn is_unmarked_utf16(bytes: &[u8]) -> bool {
    let zero_at = |odd: usize| {
        bytes
            .iter()
            .enumerate()
            .all(|(at, byte)| (at % 2 == odd) == (*byte == 0) && byte.is_ascii())
    };
    bytes.len() >= 4 && bytes.len().is_multiple_of(2) && (zero_at(0) || zero_at(1))
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Option<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(bytes.len() / 2 * 3));
    let units = bytes.chunks_exact(2);
    if !units.remainder().is_empty() {
        return None;
    }
    let units = units.map(|pair| unit([pair[0], pair[1]]));
    for c in char::decode_utf16(units) {
        text.push(c.ok()?);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_left_out_and_what_is_no_text_is_refused() {
        assert_eq!(&**text(b"\xef\xbb\xbfab").unwrap(), "ab");
        assert_eq!(&**text(b"\xff\xfea\0\xac\x20").unwrap(), "a€");
        assert_eq!(&**text(b"\xfe\xff\0a").unwrap(), "a");
        assert_eq!(text(b"\xff\xfea"), Err(NotText::Utf16));
        assert_eq!(text(b"\xff\xfe\0\xd8"), Err(NotText::Utf16));
        assert_eq!(text(b"a\0b\0"), Err(NotText::Unmarked));
        assert_eq!(text(b"\0a\0b"), Err(NotText::Unmarked));
        assert_eq!(text(b"ab\xff"), Err(NotText::Utf8(2)));
        assert_eq!(&**text(b"").unwrap(), "");
    }
}
