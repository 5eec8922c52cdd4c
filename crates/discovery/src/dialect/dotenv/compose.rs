//! The rules of Docker Compose v2 (`dotenv/parser.go` and `template/template.go` of compose-spec/compose-go).

use zeroize::Zeroizing;

use super::{Taken, Untaken};

/// Reads the value at the beginning of a text.
pub(super) fn read(text: &str) -> Result<Taken, Untaken> {
    let body = text.trim_start_matches(is_blank);
    let from = text.len() - body.len();
    match body.chars().next() {
        Some(quote @ ('\'' | '"')) => {
            let (inner, end) = quoted(body, quote).ok_or(Untaken::Unclosed)?;
            let behind = body[end..].trim_start_matches(is_blank);
            if !(behind.is_empty() || behind.starts_with(['\n', '#'])) {
                return Err(Untaken::Leftover);
            }
            let value = match quote {
                '"' => expanded(&escapes(&inner))?,
                _ => inner,
            };
            Ok(Taken {
                value,
                end: from + end,
            })
        }
        _ => {
            let line = body.split('\n').next().unwrap_or_default();
            let line = line.split(" #").next().unwrap_or_default().trim_end();
            Ok(Taken {
                value: expanded(line)?,
                end: from + line.len(),
            })
        }
    }
}

/// `isSpace` of parser.go: blanks, no line feed.
fn is_blank(c: char) -> bool {
    matches!(
        c,
        '\t' | '\u{b}' | '\u{c}' | '\r' | ' ' | '\u{85}' | '\u{a0}'
    )
}

/// What is between the quotes, and where the closing one ends. A backslash keeps a quote from closing.
fn quoted(body: &str, quote: char) -> Option<(Zeroizing<String>, usize)> {
    let mut inner = Zeroizing::new(String::with_capacity(body.len()));
    let mut after_backslash = false;
    for (at, c) in body.char_indices().skip(1) {
        if c == quote && !after_backslash {
            return Some((inner, at + c.len_utf8()));
        }
        if c == '\\' && !after_backslash {
            after_backslash = true;
            continue;
        }
        if after_backslash && c != quote {
            inner.push('\\');
        }
        after_backslash = false;
        inner.push(c);
    }
    None
}

/// The escapes of a double-quoted value. `\$` becomes `$$`, which represents `$` in what follows.
fn escapes(inner: &str) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(2 * inner.len()));
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let next = rest.chars().next();
        let escaped = match next {
            Some('a') => Some('\u{7}'),
            Some('b') => Some('\u{8}'),
            Some('f') => Some('\u{c}'),
            Some('n') => Some('\n'),
            Some('r') => Some('\r'),
            Some('t') => Some('\t'),
            Some('v') => Some('\u{b}'),
            Some(c @ ('"' | '\\')) => Some(c),
            _ => None,
        };
        match (escaped, next) {
            (Some(c), _) => {
                text.push(c);
                rest = &rest[1..];
            }
            (None, Some('$')) => {
                text.push_str("$$");
                rest = &rest[1..];
            }
            (None, Some('0')) => {
                let digits = rest[1..]
                    .bytes()
                    .take(3)
                    .take_while(u8::is_ascii_digit)
                    .count();
                let number = &rest[1..1 + digits];
                match u8::from_str_radix(number, 8) {
                    Ok(byte) if digits == 3 => text.push(char::from(byte)),
                    _ => {
                        text.push('\\');
                        text.push_str(number);
                    }
                }
                rest = &rest[1 + digits..];
            }
            _ => text.push('\\'),
        }
    }
    text.push_str(rest);
    text
}

/// `$name` and `${…}` are replaced; `$$` is a `$`.
pub(super) fn expanded(text: &str) -> Result<Zeroizing<String>, Untaken> {
    let mut value = Zeroizing::new(String::with_capacity(text.len()));
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        value.push_str(&rest[..=at]);
        rest = &rest[at + 1..];
        match rest.chars().next() {
            Some('$') => rest = &rest[1..],
            // Without regard to case, where K and ſ are a k and an s, too.
            Some(c)
                if c.is_ascii_alphabetic() || matches!(c, '_' | '{' | '\u{212a}' | '\u{17f}') =>
            {
                return Err(Untaken::Reference);
            }
            _ => {}
        }
    }
    value.push_str(rest);
    Ok(value)
}
