//! What a value looks like, whatever its name is.

/// Whether a text has the form of a UUID (RFC 9562 §4): services and devices have such names.
pub(super) fn is_uuid(text: &str) -> bool {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit())
}

/// Whether a value looks generated: one long word of letters and digits with much variety.
pub(super) fn is_random(value: &str) -> bool {
    let value = value.trim();
    let plausible = |b: u8| b.is_ascii_alphanumeric() || b"+/=_-.".contains(&b);
    if !(20..=4096).contains(&value.len()) || !value.bytes().all(plausible) || is_uuid(value) {
        return false;
    }
    // Topics and paths are words in small letters.
    let words = value.contains(['/', '_', '.']) && !value.bytes().any(|b| b.is_ascii_uppercase());
    let constant = value.contains('_') && !value.bytes().any(|b| b.is_ascii_lowercase());
    if words || constant {
        return false;
    }
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let letters = value.bytes().filter(u8::is_ascii_alphabetic).count();
    digits >= 3 && letters >= 3 && bits_per_byte(value.as_bytes()) >= 3.3
}

/// The Shannon entropy of the bytes' frequencies.
fn bits_per_byte(bytes: &[u8]) -> f64 {
    let mut counts = [0u32; 256];
    for byte in bytes {
        counts[usize::from(*byte)] += 1;
    }
    let total = bytes.len() as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) / total)
        .map(|share| -share * share.log2())
        .sum()
}
