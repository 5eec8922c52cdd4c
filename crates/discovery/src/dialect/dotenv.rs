//! `.env` files as python-dotenv and Docker Compose read them.
//!
//! There is no standard. The two most used readers differ in escapes, in `$` and in comments: a value is written only
//! in a form that both take for the same text, and taken only where both do. (`docker run --env-file` has rules of its
//! own, where quotes are a part of the value.)

use zeroize::Zeroizing;

use super::{AS_BASE64, Unwritable};

mod compose;
mod python;

/// What follows the `=` of an entry, and how far it goes.
#[derive(Debug, PartialEq, Eq)]
pub struct Taken {
    /// The value.
    pub value: Zeroizing<String>,
    /// The bytes that it takes, quotes included.
    pub end: usize,
}

/// Why a value cannot be taken. `end` is how far it goes, where that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Untaken {
    /// A quote is opened and not closed.
    #[error("a quote is opened and not closed: close it")]
    Unclosed,
    /// Text follows the closing quote.
    #[error(
        "text follows the closing quote: quote the whole value, or separate a comment with a space"
    )]
    Leftover,
    /// It names another variable.
    #[error("it refers to a value that is kept elsewhere")]
    Reference,
    /// Nothing but a comment follows the name.
    #[error("it is empty, with a comment that some readers take for the value")]
    Comment,
    /// The readers do not agree.
    #[error(
        "python-dotenv and Docker Compose read it as two different values: put it in single quotes"
    )]
    Disputed,
}

/// Writes a value in the first form that every reader takes for this value.
pub fn write(value: &str) -> Result<Zeroizing<String>, Unwritable> {
    let unfit = |why, instead| Err(Unwritable { why, instead });
    if value.contains('\0') {
        return unfit("It holds a zero byte, which no variable can", AS_BASE64);
    }
    match candidates(value)
        .into_iter()
        .find(|form| is_read_as(form, value))
    {
        Some(form) => Ok(form),
        None => unfit(
            "No form of it is the same value to python-dotenv and to Docker Compose, because of a $ or a backslash in it",
            "Write it as base64: {{ hearthkey:NAME | base64 }}, or for a shell: {{ hearthkey:NAME | env }}.",
        ),
    }
}

/// Reads the value at the beginning of a text: what follows the `=` of an entry, and all lines after it.
pub fn read(text: &str) -> Result<Taken, Untaken> {
    let body = text.trim_start_matches(python::is_blank);
    if body.starts_with('#') && body.len() < text.len() {
        return Err(Untaken::Comment);
    }
    let (python, compose) = (python::read(text), compose::read(text));
    match (python, compose) {
        (Ok(one), Ok(other)) if one == other => Ok(one),
        (Ok(_), Ok(_)) => Err(Untaken::Disputed),
        (Err(Untaken::Reference), _) | (_, Err(Untaken::Reference)) => Err(Untaken::Reference),
        // What one of them does not read at all may be a word for a shell.
        (Err(why), _) | (_, Err(why)) => shell_word(text).ok_or(why),
    }
}

/// A text with its `$$` replaced, as Docker Compose reads it in a file of services; an error if it refers to a variable.
pub fn interpolated(text: &str) -> Result<Zeroizing<String>, Untaken> {
    compose::expanded(text)
}

/// A word of several quoted parts, as `render … | env` writes a value with a single quote in it.
fn shell_word(text: &str) -> Option<Taken> {
    let blank = text.len() - text.trim_start_matches([' ', '\t']).len();
    let mut end = blank;
    let mut rest = &text[blank..];
    loop {
        if let Some(body) = rest.strip_prefix('\'') {
            end += body.find('\'')? + 2;
        } else if rest.starts_with("\\'") {
            end += 2;
        } else if rest.starts_with("\"'\"") {
            end += 3;
        } else {
            break;
        }
        rest = &text[end..];
    }
    let behind = rest.split(['\n', '\r']).next().unwrap_or_default();
    if !is_comment(behind) {
        return None;
    }
    let value = super::shell::read(&text[blank..end])?;
    Some(Taken { value, end })
}

/// Whether nothing but blanks, or blanks and a comment, follow a value on its line.
fn is_comment(behind: &str) -> bool {
    let after = behind.trim_start_matches([' ', '\t']);
    after.is_empty() || after.starts_with('#') && after.len() < behind.len()
}

/// The forms in which a value may be written, best first.
pub(super) fn candidates(value: &str) -> Vec<Zeroizing<String>> {
    let quoted = |quote: char, escaped: &[(char, char)]| {
        let mut form = Zeroizing::new(String::with_capacity(2 * value.len() + 2));
        form.push(quote);
        for c in value.chars() {
            match escaped.iter().find(|(from, _)| *from == c) {
                Some((_, to)) => form.extend(['\\', *to]),
                None => form.push(c),
            }
        }
        form.push(quote);
        form
    };
    let plain = Zeroizing::new(value.to_owned());
    vec![
        quoted('\'', &[]),
        quoted('\'', &[('\'', '\'')]),
        quoted('\'', &[('\'', '\''), ('\\', '\\')]),
        quoted('"', &[('"', '"'), ('\\', '\\')]),
        quoted(
            '"',
            &[
                ('"', '"'),
                ('\\', '\\'),
                ('\n', 'n'),
                ('\r', 'r'),
                ('\t', 't'),
            ],
        ),
        plain,
    ]
}

/// Whether each reader takes a form for a value, as the last entry of a file and before others with quotes in them.
fn is_read_as(form: &str, value: &str) -> bool {
    // python-dotenv opens a file as text, where each line end becomes one line feed.
    if form.contains('\r') || form.contains(['\u{feff}']) && !form.starts_with(['\'', '"']) {
        return false;
    }
    ["", "\nA='b'\nC=\"d\"\n", " # it's \"one\"\nA='b'\n"]
        .iter()
        .all(|after| {
            let mut text = Zeroizing::new(String::with_capacity(form.len() + after.len()));
            text.push_str(form);
            text.push_str(after);
            let whole = |taken: Result<Taken, Untaken>| {
                taken.is_ok_and(|taken| taken.end == form.len() && **taken.value == *value)
            };
            whole(python::read(&text)) && whole(compose::read(&text))
        })
}

#[cfg(test)]
mod tests;
