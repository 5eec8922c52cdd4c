//! What a person reads when something fails: what, why, and what to do about it.

use serde::Serialize;

/// An error in a person's words. Each part is one sentence without its full stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// What did not happen.
    pub what: String,
    /// Why it did not.
    pub why: String,
    /// What to do now.
    pub remedy: String,
}

impl Explanation {
    pub(crate) fn new(
        what: impl Into<String>,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            what: what.into(),
            why: why.into(),
            remedy: remedy.into(),
        }
    }
}

/// An error that can say what to do about it.
pub trait Explain: std::error::Error {
    /// The three sentences for a person.
    fn explain(&self) -> Explanation;
}

/// Text from the other side of a wire, made fit for a terminal and a log: no control characters, at most 500 characters.
pub(crate) fn printable(text: &str) -> String {
    const LONGEST_CHARS: usize = 500;
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(LONGEST_CHARS)
        .collect()
}

/// An operating system's error text without the number that the standard library appends to it.
pub(crate) fn without_number(text: &str) -> &str {
    text.rsplit_once(" (os error ")
        .map_or(text, |(words, _)| words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_the_wire_cannot_steer_a_terminal() {
        assert_eq!(printable("a\x1b[2Jb\nc"), "a [2Jb c");
        assert_eq!(printable(&"x".repeat(900)).len(), 500);
    }
}
