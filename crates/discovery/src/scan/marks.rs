//! Marks: what a scanner needs to recognize the vault's values without having them.
//!
//! A mark is the value's length, the place of one window of 8 bytes in it, a few bits of a keyed hash of that window,
//! and an HMAC-SHA256 over label and value. The scanner hashes every window of a text; where the bits agree, it
//! computes the HMAC, and only that decides.
//!
//! **What a holder of the marks can do.** The marks carry their key, or the scanner could not use them. A holder of
//! them can try guesses: each guess of a value costs one HMAC, and the window's bits (12 to 24, fewer the fewer values
//! there are) sort out wrong guesses sooner, which makes guessing up to 2^bits times cheaper. A random key of 128 bits
//! stays out of reach; a password that is in a list of passwords does not. So marks are a secret of their own:
//! hand them to one scan, over a protected channel, and drop them. The key is fresh for each scan so that marks of two
//! scans cannot be compared, and so that guesses made against one are of no use against another. The label goes into
//! the HMAC, so equal values under two labels need two guesses and are not seen to be equal.
//!
//! Marks hold nothing but the value itself: encodings are undone by the scanner. Marks of every encoding would reveal
//! the bits of a window several times over, and windows of encoded text cover so few bytes that each could be guessed
//! by itself.

use std::fmt;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hearthkey_core::secret::{Secret, VALUE_MAX_BYTES};
use hmac::{Hmac, Mac};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

/// The shortest value that is looked for, in bytes. Shorter ones stand in too many texts by chance.
pub const VALUE_MIN_BYTES: usize = 8;
/// The most marks of one scan.
pub const MARKS_MAX: usize = 100_000;
/// The longest label, in bytes.
pub const LABEL_MAX_BYTES: usize = 255;

/// Bytes of the window that is hashed.
pub(super) const WINDOW_BYTES: usize = 8;
/// The fewest different bytes in a window: zeros and dashes fill files of themselves.
const WINDOW_DISTINCT_MIN: usize = 4;
const TEXT_MAX_BYTES: usize = 64 * 1024 * 1024;
const HEAD: &str = "hearthkey-marks 1";

/// The key of one scan: 32 random bytes, fresh each time.
#[derive(Clone)]
pub struct MarkKey(Zeroizing<[u8; 32]>);

impl MarkKey {
    /// The key made of 32 random bytes.
    pub fn from_random(random: [u8; 32]) -> Self {
        Self(Zeroizing::new(random))
    }

    pub(super) fn mac(&self) -> Hmac<Sha256> {
        // HMAC takes keys of every length.
        Hmac::new_from_slice(&self.0[..]).unwrap_or_else(|_| unreachable!("HMAC takes any key"))
    }

    /// The numbers of the window's hash.
    pub(super) fn window_key(&self) -> WindowKey {
        let bytes = self.mac().chain_update(b"window").finalize().into_bytes();
        let number = |at: usize| {
            bytes[at..at + 8]
                .iter()
                .fold(0, |n, byte| n << 8 | u64::from(*byte))
        };
        WindowKey {
            mask: number(0),
            factors: [number(8) | 1, number(16) | 1],
        }
    }
}

/// The numbers of one scan's window hash.
#[derive(Clone, Copy)]
pub(super) struct WindowKey {
    mask: u64,
    factors: [u64; 2],
}

impl fmt::Debug for MarkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MarkKey(…)")
    }
}

/// What became of a value that was to be marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marked {
    /// It will be found wherever it is.
    Yes,
    /// It has fewer than [`VALUE_MIN_BYTES`] bytes: it would be found by chance, so it is not looked for.
    TooShort,
    /// No 8 bytes of it hold 4 different ones: it is a row of the same, and is not looked for.
    TooPlain,
    /// The label is empty, longer than [`LABEL_MAX_BYTES`] or has control characters; nothing was marked.
    BadLabel,
    /// There are [`MARKS_MAX`] marks already; nothing was marked.
    Full,
}

#[derive(Clone)]
pub(super) struct Mark {
    pub label: Box<str>,
    pub length: usize,
    pub offset: usize,
    pub tag: u32,
    pub proof: [u8; 32],
}

/// The marks of one scan, with their key.
///
/// Written as text, and by serde as a string of that text. First line: `hearthkey-marks 1`, the bits of a window's
/// hash and the key. Each further line: length, the window's place, its bits (hexadecimal), the HMAC (base64url), and
/// the label.
#[derive(Clone)]
pub struct Marks {
    pub(super) key: MarkKey,
    pub(super) bits: u32,
    pub(super) marks: Vec<Mark>,
}

impl fmt::Debug for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Marks({} of them)", self.marks.len())
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        self.proof.zeroize();
    }
}

impl Marks {
    /// No marks yet. `expected` is about how many values will be marked: the fewer, the less each mark reveals.
    pub fn new(key: MarkKey, expected: usize) -> Self {
        let log = usize::BITS - expected.max(1).leading_zeros();
        Self {
            key,
            bits: (log + 8).clamp(12, 24),
            marks: Vec::new(),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.marks.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// The marks as text, key included.
    pub fn to_text(&self) -> Zeroizing<String> {
        let labels: usize = self.marks.iter().map(|mark| mark.label.len() + 80).sum();
        let mut text = Zeroizing::new(String::with_capacity(labels + 100));
        let key = Zeroizing::new(URL_SAFE_NO_PAD.encode(&self.key.0[..]));
        let _ = writeln!(*text, "{HEAD} {} {}", self.bits, *key);
        for Mark {
            label,
            length,
            offset,
            tag,
            proof,
        } in &self.marks
        {
            let proof = URL_SAFE_NO_PAD.encode(proof);
            let _ = writeln!(*text, "{length} {offset} {tag:x} {proof} {label}");
        }
        text
    }

    /// Reads marks. Everything is checked before any of it is used.
    pub fn from_text(text: &str) -> Result<Self, InvalidMarks> {
        if text.len() > TEXT_MAX_BYTES {
            return Err(InvalidMarks { line: 1 });
        }
        let mut lines = text.lines();
        let first = lines
            .next()
            .and_then(head)
            .ok_or(InvalidMarks { line: 1 })?;
        let (key, bits) = first;
        let mut marks = Vec::new();
        for (index, line) in lines.enumerate() {
            let mark = read_mark(line, bits).filter(|_| index < 2 * MARKS_MAX);
            marks.push(mark.ok_or(InvalidMarks { line: index + 2 })?);
        }
        Ok(Self { key, bits, marks })
    }

    /// The labels of the marks that were made of this very value, blanks and line ends around it left out.
    pub fn labels_of(&self, value: &[u8]) -> Vec<&str> {
        let value = value.trim_ascii();
        let same = self.marks.iter().filter(|mark| {
            mark.length == value.len() && mark.proof == proof(self.key.mac(), &mark.label, value)
        });
        same.map(|mark| &*mark.label).collect()
    }

    fn push(&mut self, label: &str, value: &[u8]) -> Marked {
        if value.len() < VALUE_MIN_BYTES {
            return Marked::TooShort;
        }
        let Some(offset) = best_window(value) else {
            return Marked::TooPlain;
        };
        let window = &value[offset..offset + WINDOW_BYTES];
        let window = window
            .iter()
            .rev()
            .fold(0u64, |n, byte| n << 8 | u64::from(*byte));
        let tag = tag(self.key.window_key(), self.bits, window);
        let proof = proof(self.key.mac(), label, value);
        self.marks.push(Mark {
            label: label.into(),
            length: value.len(),
            offset,
            tag,
            proof,
        });
        Marked::Yes
    }
}

/// Marks a value. `label` is how a leak will be reported: `home/hue/api-key v3`.
///
/// Blanks and line ends around the value are left out: a key is leaked without its last newline, too.
///
/// A value that is itself written in hexadecimal digits is marked as the bytes that they stand for, too, so that it
/// is found in either case of letters; so are a list of numbers and the private key of a PEM text, which is found
/// however its lines are broken.
pub fn mark(marks: &mut Marks, label: &str, value: &Secret) -> Marked {
    if !is_label(label) {
        return Marked::BadLabel;
    }
    if marks.marks.len() >= MARKS_MAX {
        return Marked::Full;
    }
    let value = value.expose().trim_ascii();
    let marked = marks.push(label, value);
    if marked == Marked::Yes
        && let Some(bytes) = unhex(value)
            .or_else(|| unlist(value))
            .or_else(|| private_key(value))
    {
        marks.push(label, &bytes);
    }
    marked
}

fn unhex(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() / 2));
    for pair in text.chunks(2) {
        let digit = |at: usize| pair.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        bytes.push((digit(0)? << 4 | digit(1)?) as u8);
    }
    Some(bytes)
}

/// The bytes of a list of numbers, as Zigbee2MQTT has keys: `[1, 0x0b, 255]`.
fn unlist(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let inner = text.strip_prefix(b"[")?.strip_suffix(b"]")?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(inner.len() / 2));
    for number in str::from_utf8(inner).ok()?.split(',') {
        let number = number.trim();
        let byte = match number.strip_prefix("0x") {
            Some(digits) => u8::from_str_radix(digits, 16),
            None => number.parse(),
        };
        bytes.push(byte.ok()?);
    }
    Some(bytes)
}

/// The bytes of the first private key of a PEM text (RFC 7468).
fn private_key(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let text = str::from_utf8(text).ok()?;
    let (_, body) = text.split_once("PRIVATE KEY-----")?;
    let (body, _) = body.split_once("-----END")?;
    let digits = Zeroizing::new(
        body.chars()
            .filter(|c| !c.is_ascii_whitespace())
            .collect::<String>(),
    );
    STANDARD.decode(&*digits).map(Zeroizing::new).ok()
}

fn is_label(label: &str) -> bool {
    (1..=LABEL_MAX_BYTES).contains(&label.len()) && !label.chars().any(char::is_control)
}

/// The last window with the most different bytes: tokens of one maker begin alike and end differently.
fn best_window(value: &[u8]) -> Option<usize> {
    let distinct = |window: &[u8]| {
        let mut seen = [0u64; 4];
        window
            .iter()
            .for_each(|byte| seen[usize::from(byte >> 6)] |= 1 << (byte & 63));
        seen.iter()
            .map(|bits| bits.count_ones() as usize)
            .sum::<usize>()
    };
    let windows = value.windows(WINDOW_BYTES).enumerate();
    let (offset, most) = windows
        .map(|(at, window)| (at, distinct(window)))
        .max_by_key(|(_, distinct)| *distinct)?;
    (most >= WINDOW_DISTINCT_MIN).then_some(offset)
}

/// The bits of a window's hash.
pub(super) fn tag(key: WindowKey, bits: u32, window: u64) -> u32 {
    (spread(key, window) >> (64 - bits)) as u32
}

/// Two multiplications: after one alone, texts of letters still meet values of letters too often. That they can be
/// undone does not matter, since only the first bits are ever told.
pub(super) fn spread(key: WindowKey, window: u64) -> u64 {
    let once = (window ^ key.mask).wrapping_mul(key.factors[0]);
    (once ^ once >> 32).wrapping_mul(key.factors[1])
}

/// The HMAC that decides.
pub(super) fn proof(mac: Hmac<Sha256>, label: &str, value: &[u8]) -> [u8; 32] {
    let length = (label.len() as u64).to_be_bytes();
    mac.chain_update(b"value")
        .chain_update(length)
        .chain_update(label)
        .chain_update(value)
        .finalize()
        .into_bytes()
        .into()
}

/// A text that holds no marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "line {line} of the marks cannot be read: ask the gateway for marks again, with the same version of hearthkey"
)]
pub struct InvalidMarks {
    /// The line, counted from 1.
    pub line: usize,
}

fn head(line: &str) -> Option<(MarkKey, u32)> {
    let (bits, key) = line
        .strip_prefix(HEAD)?
        .strip_prefix(' ')?
        .split_once(' ')?;
    let bits: u32 = bits.parse().ok().filter(|bits| (12..=24).contains(bits))?;
    let key = Zeroizing::new(URL_SAFE_NO_PAD.decode(key).ok()?);
    Some((MarkKey::from_random(key.as_slice().try_into().ok()?), bits))
}

fn read_mark(line: &str, bits: u32) -> Option<Mark> {
    let mut parts = line.splitn(5, ' ');
    let length: usize = parts.next()?.parse().ok()?;
    let offset: usize = parts.next()?.parse().ok()?;
    let tag = u32::from_str_radix(parts.next()?, 16).ok()?;
    let proof = URL_SAFE_NO_PAD.decode(parts.next()?).ok()?;
    let label = parts.next().filter(|label| is_label(label))?;
    let sound = (VALUE_MIN_BYTES..=VALUE_MAX_BYTES).contains(&length)
        && offset <= length - WINDOW_BYTES
        && u64::from(tag) < 1 << bits;
    let proof = proof.as_slice().try_into().ok()?;
    sound.then(|| Mark {
        label: label.into(),
        length,
        offset,
        tag,
        proof,
    })
}

impl Serialize for Marks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_text())
    }
}

impl<'de> Deserialize<'de> for Marks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        Self::from_text(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(values: &[&str]) -> Marks {
        let mut marks = Marks::new(MarkKey::from_random([7; 32]), values.len());
        for value in values {
            assert_eq!(
                mark(&mut marks, value, &Secret::text(value).unwrap()),
                Marked::Yes
            );
        }
        marks
    }

    #[test]
    fn what_cannot_be_looked_for_honestly_is_said_so() {
        let mut marks = Marks::new(MarkKey::from_random([7; 32]), 1);
        let mut try_mark =
            |label: &str, value: &str| mark(&mut marks, label, &Secret::text(value).unwrap());
        assert_eq!(try_mark("a", "1234567"), Marked::TooShort);
        assert_eq!(try_mark("a", "1234567 \n"), Marked::TooShort);
        assert_eq!(try_mark("a", "12121212121212"), Marked::TooPlain);
        assert_eq!(try_mark("", "long enough"), Marked::BadLabel);
        assert_eq!(try_mark("a\nb", "long enough"), Marked::BadLabel);
        assert_eq!(try_mark("a", "12345678"), Marked::Yes);
    }

    #[test]
    fn marks_survive_being_written_and_read_and_hold_no_value() {
        let made = marks(&["correct horse battery", "deadbeefdeadbeef0123"]);
        assert_eq!(made.len(), 3);
        let text = made.to_text();
        let read = Marks::from_text(&text).unwrap();
        assert_eq!(*read.to_text(), *text);
        assert_eq!(format!("{read:?}"), "Marks(3 of them)");
        assert_eq!(
            read.labels_of(b"correct horse battery\n"),
            ["correct horse battery"]
        );
        assert!(read.labels_of(b"correct horse batterz").is_empty());
        let json = serde_json::to_string(&read).unwrap();
        assert_eq!(
            *serde_json::from_str::<Marks>(&json).unwrap().to_text(),
            *text
        );
    }

    #[test]
    fn marks_that_were_tampered_with_are_refused_as_a_whole() {
        let text = marks(&["correct horse battery"]).to_text().to_string();
        let (head, line) = text.trim_end().split_once('\n').unwrap();
        let (_, rest) = line.split_once(' ').unwrap();
        for bad in [
            "".to_owned(),
            "hearthkey-marks 2 12 x".to_owned(),
            head.replace(" 12 ", " 64 "),
            format!("{head}\n7 {rest}"),
            format!("{head}\n99999999 {rest}"),
            format!("{head}\n{}", line.replace(' ', "  ")),
            format!("{head}\n{line}\n\n"),
        ] {
            assert!(Marks::from_text(&bad).is_err(), "{bad}");
        }
    }
}
