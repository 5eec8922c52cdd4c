//! The rules of python-dotenv (`dotenv/parser.py`, `dotenv/variables.py`), with interpolation, as it is by default: those
//! of version 1.1, and those of 1.2.4, which are stricter about backslashes and comments. Both are in use.

use zeroize::Zeroizing;

use super::{Taken, Untaken};

/// Whose rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edition {
    /// Version 1.1 and those before it.
    Before,
    /// Version 1.2.4.
    Now,
}

/// Reads the value at the beginning of a text, as both editions do.
pub(super) fn read(text: &str) -> Result<Taken, Untaken> {
    let now = read_as(Edition::Now, text)?;
    match read_as(Edition::Before, text)? == now {
        true => Ok(now),
        false => Err(Untaken::Disputed),
    }
}

fn read_as(edition: Edition, text: &str) -> Result<Taken, Untaken> {
    let body = text.trim_start_matches(is_blank);
    let from = text.len() - body.len();
    let taken = match body.chars().next() {
        None | Some('\n' | '\r') => Taken {
            value: Zeroizing::default(),
            end: from,
        },
        Some(quote @ ('\'' | '"')) => {
            let end = closing(edition, body, quote).ok_or(Untaken::Unclosed)?;
            Taken {
                value: decoded(&body[1..end], quote),
                end: from + end + 1,
            }
        }
        Some('#') if edition == Edition::Now && from > 0 => Taken {
            value: Zeroizing::default(),
            end: from,
        },
        Some(_) => {
            let line = body.split(['\n', '\r']).next().unwrap_or_default();
            let value = without_comment(line);
            Taken {
                value: Zeroizing::new(value.to_owned()),
                end: from + line.len(),
            }
        }
    };
    let behind = text[taken.end..].trim_start_matches(is_blank);
    if !(behind.is_empty() || behind.starts_with(['\n', '\r', '#'])) {
        return Err(Untaken::Leftover);
    }
    if refers(&taken.value) {
        return Err(Untaken::Reference);
    }
    // What is not quoted ends before its comment.
    let end = match body.starts_with(['\'', '"']) {
        true => taken.end,
        false => from + taken.value.len(),
    };
    Ok(Taken { end, ..taken })
}

/// `\s` of Python's `re`, without line ends.
pub(super) fn is_blank(c: char) -> bool {
    c.is_whitespace() && !matches!(c, '\n' | '\r') || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Where the quote is that closes: the first that has no backslash before it. To the older edition, a backslash escapes
/// a quote even if it is escaped itself; and if nothing else closes, the last escaped quote does.
fn closing(edition: Edition, body: &str, quote: char) -> Option<usize> {
    let mut last_escaped = None;
    let mut chars = body.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return Some(at);
        }
        if c == '\\' && edition == Edition::Now {
            chars.next();
        } else if c == '\\'
            && let Some((next, _)) = chars.next_if(|(_, next)| *next == quote)
        {
            last_escaped = Some(next);
        }
    }
    last_escaped
}

fn decoded(inner: &str, quote: char) -> Zeroizing<String> {
    let mut value = Zeroizing::new(String::with_capacity(inner.len()));
    let mut chars = inner.chars().peekable();
    while let Some(c) = chars.next() {
        let escape = chars.peek().copied().and_then(|next| escape(next, quote));
        match escape {
            Some(escaped) if c == '\\' => {
                chars.next();
                value.push(escaped);
            }
            _ => value.push(c),
        }
    }
    value
}

fn escape(next: char, quote: char) -> Option<char> {
    Some(match next {
        '\\' | '\'' => next,
        _ if quote == '\'' => return None,
        '"' => '"',
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        _ => return None,
    })
}

/// A comment begins with blanks and `#`; one at the very beginning of a value belongs to it.
fn without_comment(line: &str) -> &str {
    let hash = line.match_indices('#').find(|(at, _)| {
        let before = line[..*at].chars().next_back();
        before.is_some_and(is_blank)
    });
    let end = hash.map_or(line.len(), |(at, _)| at);
    line[..end].trim_end_matches(is_blank)
}

/// Whether `${name}` or `${name:-else}` is in a value. Quotes do not keep it from being replaced.
fn refers(value: &str) -> bool {
    value.match_indices("${").any(|(at, _)| {
        let rest = &value[at + 2..];
        let name = rest.find([':', '}']).unwrap_or(rest.len());
        match rest[name..].strip_prefix(":-") {
            Some(or_else) => or_else.contains('}'),
            None => rest[name..].starts_with('}'),
        }
    })
}
