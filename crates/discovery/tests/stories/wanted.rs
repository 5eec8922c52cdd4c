//! What the stories look for.

use std::path::Path;

use hearthkey_core::secret::Secret;
use hearthkey_discovery::scan::{Leak, MarkKey, Marked, Marks, Scan, Scanner, What, mark};

/// A value with every difficulty: it needs percent-encoding, escaping, and both special base64 characters.
pub const VALUE: &str = "h~7>Qz\"?p/ö+w&Kd%x";
pub const LABEL: &str = "home/hue/api-key v3";

pub fn marks(values: &[(&str, &[u8])]) -> Marks {
    let mut marks = Marks::new(MarkKey::from_random([42; 32]), values.len());
    for (label, value) in values {
        let value = Secret::new(value.to_vec().into()).unwrap();
        assert_eq!(mark(&mut marks, label, &value), Marked::Yes);
    }
    // As it reaches the scanner.
    Marks::from_text(&marks.to_text()).unwrap()
}

/// A scanner for one value, without rules.
pub fn scanner(value: &str) -> Scanner {
    Scanner::new(marks(&[(LABEL, value.as_bytes())]), false)
}

/// A scanner with only the rules.
pub fn rules() -> Scanner {
    Scanner::new(marks(&[]), true)
}

pub fn tree(scanner: &mut Scanner, path: &Path) -> Scan {
    scanner.tree(path, &mut |_| {}).unwrap()
}

/// Label or rule, and encodings.
pub fn told(leak: &Leak) -> String {
    match &leak.what {
        What::Own { label, encodings } => {
            let words: Vec<&str> = encodings.iter().map(|encoding| encoding.as_str()).collect();
            format!("{label} {}", words.join("+")).trim_end().to_owned()
        }
        What::Rule { id, .. } => id.clone(),
    }
}

/// Bytes that look random and are the same each time.
pub fn noise(mut seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        bytes.extend_from_slice(&seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Random letters and digits.
pub fn token(seed: u64, length: usize) -> String {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    noise(seed, length)
        .iter()
        .map(|byte| char::from(LETTERS[usize::from(*byte) % 62]))
        .collect()
}
