//! What may be repeated of a bridge's words: little, plain, and no secret.
//!
//! Two nets. [`peer`] is for what a bridge says: one line of printable characters, cut short, without long words, since
//! keys and tokens are long words, known to us or not. [`Scrubber`] is for every text that leaves a connector: it takes
//! out pieces of the secrets that are known, written plainly or in the usual encodings.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use hearthkey_core::id::hex;
use hearthkey_core::secret::Secret;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use zeroize::Zeroizing;

use crate::limits::{ANSWER_MAX_BYTES, QUOTE_MAX_CHARS, WORD_MAX_CHARS};

const CUT: char = '…';
/// The shortest piece of a secret that is taken out. Shorter ones stand in half of all words.
const PIECE_CHARS: usize = 6;

/// A bridge's own words, fit to be shown.
pub(crate) fn peer(text: &str) -> String {
    let mut shown = String::new();
    let bounded: String = text.chars().take(ANSWER_MAX_BYTES).collect();
    let plain = bounded.replace(|c: char| c.is_control() || is_invisible(c), " ");
    for word in plain.split_whitespace() {
        if shown.chars().count() + word.chars().count().min(WORD_MAX_CHARS) > QUOTE_MAX_CHARS {
            shown.push(CUT);
            break;
        }
        if !shown.is_empty() {
            shown.push(' ');
        }
        if word.chars().count() > WORD_MAX_CHARS {
            shown.push(CUT);
        } else {
            shown.push_str(word);
        }
    }
    match shown.is_empty() {
        true => "it gave no reason".to_owned(),
        false => format!("\"{shown}\""),
    }
}

/// A topic, a path or another name whose words are not divided by spaces.
pub(crate) fn topic(name: &str) -> String {
    let plain = |c: &char| !c.is_control() && !is_invisible(*c);
    name.chars().filter(plain).take(QUOTE_MAX_CHARS).collect()
}

/// Marks that change the direction or hide: names that others choose are hostile text.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Takes known secrets out of texts.
pub(crate) struct Scrubber {
    short: Vec<Zeroizing<String>>,
    pieces: HashSet<Vec<char>>,
}

impl Scrubber {
    pub(crate) fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let mut scrubber = Self {
            short: Vec::new(),
            pieces: HashSet::new(),
        };
        for secret in secrets {
            let bytes = secret.expose();
            let plain = Zeroizing::new(String::from_utf8_lossy(bytes).into_owned());
            scrubber.learn(&utf8_percent_encode(&plain, NON_ALPHANUMERIC).to_string());
            scrubber.learn(&STANDARD_NO_PAD.encode(bytes));
            scrubber.learn(&URL_SAFE_NO_PAD.encode(bytes));
            scrubber.learn(&hex(bytes));
            scrubber.learn(&plain.escape_default().to_string());
            scrubber.learn(&plain);
        }
        scrubber
    }

    fn learn(&mut self, form: &str) {
        let form: Vec<char> = form.chars().map(|c| c.to_ascii_lowercase()).collect();
        if form.len() < PIECE_CHARS {
            self.short.push(Zeroizing::new(form.iter().collect()));
        }
        for piece in form.windows(PIECE_CHARS) {
            self.pieces.insert(piece.to_vec());
        }
    }

    /// The text without them.
    pub(crate) fn scrub(&self, text: &str) -> String {
        let chars: Vec<char> = text.chars().collect();
        let lower: Vec<char> = chars.iter().map(|c| c.to_ascii_lowercase()).collect();
        let mut secret = vec![false; chars.len()];
        for (at, piece) in lower.windows(PIECE_CHARS).enumerate() {
            if self.pieces.contains(piece) {
                secret[at..at + PIECE_CHARS].fill(true);
            }
        }
        for word in &self.short {
            let word: Vec<char> = word.chars().collect();
            for at in 0..(lower.len() + 1).saturating_sub(word.len()) {
                if !word.is_empty() && stands_alone(&lower, at, &word) {
                    secret[at..at + word.len()].fill(true);
                }
            }
        }
        let mut shown = String::with_capacity(text.len());
        for (at, c) in chars.iter().enumerate() {
            if !secret[at] {
                shown.push(*c);
            } else if at == 0 || !secret[at - 1] {
                shown.push(CUT);
            }
        }
        shown
    }
}

/// Whether a short secret is here as a word of its own; within longer words it would be chance.
fn stands_alone(text: &[char], at: usize, word: &[char]) -> bool {
    let end = at + word.len();
    text[at..end] == *word
        && !(at > 0 && text[at - 1].is_alphanumeric())
        && !text.get(end).is_some_and(|c| c.is_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridges_words_are_one_short_plain_line_without_anything_that_looks_like_a_key() {
        assert_eq!(
            peer("link button\n not pressed"),
            "\"link button not pressed\""
        );
        assert_eq!(peer(" \u{1b}[2J\u{202e} "), "\"[2J\"");
        assert_eq!(peer(""), "it gave no reason");
        let token = "A9".repeat(20);
        assert_eq!(
            peer(&format!("token {token} is wrong")),
            "\"token … is wrong\""
        );
        assert!(peer(&"so many words ".repeat(1000)).chars().count() <= QUOTE_MAX_CHARS + 4);
    }

    #[test]
    fn a_known_secret_is_taken_out_however_it_is_written() {
        let secret = Secret::text("hunter/2 secret").unwrap();
        let scrubber = Scrubber::new([&secret]);
        let encoded = URL_SAFE_NO_PAD.encode(secret.expose());
        let digits = hex(secret.expose());
        for echo in [
            "hunter/2 secret",
            "HUNTER/2 SECRET",
            "hunter%2F2%20secret",
            &encoded,
            &digits,
        ] {
            let shown = scrubber.scrub(&format!("bad token {echo}!"));
            assert!(shown.starts_with("bad token …"), "{shown}");
            assert!(!shown.contains(echo) && shown.ends_with('!'), "{shown}");
        }
        assert_eq!(
            scrubber.scrub("the hunter/ was half of it"),
            "the … was half of it"
        );
    }

    #[test]
    fn a_short_secret_is_taken_out_where_it_is_a_word_and_not_within_others() {
        let secret = Secret::text("pin").unwrap();
        let scrubber = Scrubber::new([&secret]);
        assert_eq!(
            scrubber.scrub("spinning with pin, PIN"),
            "spinning with …, …"
        );
    }
}
