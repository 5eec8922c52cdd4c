//! Zigbee2MQTT's keys: a list of numbers in its files, hexadecimal digits in many others.

use std::fmt::Write;

use zeroize::Zeroizing;

/// Bytes of a network key.
pub const NETWORK_KEY_BYTES: usize = 16;
/// Bytes of an extended PAN id.
pub const EXT_PAN_ID_BYTES: usize = 8;

/// Writes a network key as `[7, 3, …]`: from 32 hexadecimal digits, or from a list of 16 numbers.
pub fn network_key(value: &str) -> Option<Zeroizing<String>> {
    list(value, NETWORK_KEY_BYTES)
}

/// Writes an extended PAN id as `[7, 3, …]`: from 16 hexadecimal digits, or from a list of 8 numbers.
pub fn ext_pan_id(value: &str) -> Option<Zeroizing<String>> {
    list(value, EXT_PAN_ID_BYTES)
}

/// Writes a PAN id as a decimal number: from such a number, or from `0x` and hexadecimal digits.
pub fn pan_id(value: &str) -> Option<Zeroizing<String>> {
    let number = number(value.trim()).and_then(|number| u16::try_from(number).ok())?;
    Some(Zeroizing::new(number.to_string()))
}

/// Reads numbers from 0 to 255 as hexadecimal digits: what [`network_key`] writes, read back.
pub fn digits<'a>(numbers: impl Iterator<Item = &'a str>) -> Option<Zeroizing<String>> {
    let mut digits = Zeroizing::new(String::with_capacity(2 * NETWORK_KEY_BYTES));
    for part in numbers {
        let byte = number(part.trim()).and_then(|number| u8::try_from(number).ok())?;
        let _ = write!(digits, "{byte:02x}");
        if digits.len() > 2 * NETWORK_KEY_BYTES {
            return None;
        }
    }
    Some(digits)
}

/// Reads a list in square brackets as hexadecimal digits.
pub fn read_list(text: &str) -> Option<Zeroizing<String>> {
    let inner = text.trim().strip_prefix('[')?.strip_suffix(']')?;
    digits(inner.split(','))
}

fn list(value: &str, bytes: usize) -> Option<Zeroizing<String>> {
    let value = value.trim();
    let read = read_list(value);
    let digits = read.as_ref().map_or(value, |digits| digits.as_str());
    let digits = digits.strip_prefix("0x").unwrap_or(digits);
    if digits.len() != 2 * bytes || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut text = Zeroizing::new(String::with_capacity(5 * bytes + 2));
    text.push('[');
    for at in (0..digits.len()).step_by(2) {
        if at > 0 {
            text.push_str(", ");
        }
        let byte = u8::from_str_radix(&digits[at..at + 2], 16).ok()?;
        let _ = write!(text, "{byte}");
    }
    text.push(']');
    Some(text)
}

fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_hexdigit()) => {
            u32::from_str_radix(digits, 16).ok()
        }
        Some(_) => None,
        None if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok(),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_written_as_numbers_from_each_of_its_forms() {
        let list = "[7, 3, 5, 71, 9, 11, 13, 15, 0, 2, 4, 6, 8, 10, 12, 255]";
        let digits = "07030547090b0d0f00020406080a0cff";
        for form in [digits, list, &digits.to_uppercase(), &format!("0x{digits}")] {
            assert_eq!(&**network_key(form).unwrap(), list, "{form}");
        }
        assert_eq!(&**read_list(list).unwrap(), digits);
        assert_eq!(
            &**ext_pan_id("dddddddddddddddd").unwrap(),
            "[221, 221, 221, 221, 221, 221, 221, 221]"
        );
        assert_eq!(&**pan_id("0x1a62").unwrap(), "6754");
        for other in [
            "",
            "[1, 2]",
            &digits[1..],
            &format!("{digits}00"),
            "[256]",
            "GENERATE",
            "ÄÖ",
        ] {
            assert!(network_key(other).is_none(), "{other}");
        }
        assert!(pan_id("+1").is_none() && pan_id("65536").is_none());
        assert!(digits_of("+1,2").is_none());
    }

    fn digits_of(text: &str) -> Option<Zeroizing<String>> {
        digits(text.split(','))
    }
}
