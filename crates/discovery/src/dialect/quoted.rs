//! A text in double quotes that is the same text to YAML (1.1 §9.1 and 1.2 §7.3.1), JSON (RFC 8259 §7) and TOML (1.0).
//!
//! JSON's escapes are a part of those of the other two. What one of the three does not take as it is, is escaped:
//! control characters, line separators (line breaks in YAML 1.1), the byte order mark, and what is no character.

use std::fmt::Write;

use zeroize::Zeroizing;

/// Writes a value in double quotes. Every text can be written.
pub fn write(value: &str) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(room(value)));
    text.push('"');
    push_escaped(&mut text, value, |_| false);
    text.push('"');
    text
}

/// Reads a text in double quotes, and nothing behind it.
pub fn read(text: &str) -> Option<Zeroizing<String>> {
    serde_json::from_str::<String>(text)
        .ok()
        .map(Zeroizing::new)
}

/// JSON text as one that YAML 1.1 reads alike. Outside of strings JSON has no character that needs an escape.
pub fn json_for_yaml(json: &str) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(room(json)));
    for c in json.chars() {
        if is_hostile(c) && !c.is_ascii_whitespace() {
            push_unicode(&mut text, c);
        } else {
            text.push(c);
        }
    }
    text
}

/// Other ways in which programs write such a text: in ASCII only, with `\/`, with `\u0026` for `&`, in single quotes as
/// YAML has them, and as a literal string of TOML.
pub(super) fn others(value: &str) -> Vec<Zeroizing<String>> {
    let escaped = |also: fn(char) -> bool| {
        let mut text = Zeroizing::new(String::with_capacity(room(value)));
        text.push('"');
        push_escaped(&mut text, value, also);
        text.push('"');
        text
    };
    let ascii = escaped(|c| !c.is_ascii());
    let html = escaped(|c| matches!(c, '&' | '<' | '>' | '\''));
    let slashes = Zeroizing::new(write(value).replace('/', "\\/"));
    let single = Zeroizing::new(format!("'{}'", value.replace('\'', "''")));
    let mut all = vec![ascii, html, slashes, single];
    if !value.contains(['\'', '\n', '\r']) {
        all.push(Zeroizing::new(format!("'{value}'")));
    }
    all
}

/// The longest that a text can become: every byte as `\u0000`.
fn room(value: &str) -> usize {
    value.len() * 6 + 2
}

fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
        || (c as u32) & 0xfffe == 0xfffe
        || ('\u{fdd0}'..='\u{fdef}').contains(&c)
}

fn push_escaped(text: &mut String, value: &str, also: fn(char) -> bool) {
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            c if is_hostile(c) || also(c) => push_unicode(text, c),
            c => text.push(c),
        }
    }
}

/// JSON escapes what does not fit into 16 bits as two surrogates, which neither YAML nor TOML takes: such a character
/// stays as it is.
fn push_unicode(text: &mut String, c: char) {
    match u16::try_from(c as u32) {
        Ok(unit) => {
            let _ = write!(text, "\\u{unit:04x}");
        }
        Err(_) => text.push(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_format_would_not_take_as_it_is_is_escaped() {
        let value = "a\"b\\c\n\r\t\0\u{7f}\u{85}\u{2028}\u{feff}é😀";
        let text = write(value);
        assert_eq!(
            &**text,
            "\"a\\\"b\\\\c\\n\\r\\t\\u0000\\u007f\\u0085\\u2028\\ufeffé😀\""
        );
        assert_eq!(&**read(&text).unwrap(), value);
        assert!(read("\"a\" b").is_none());
        assert_eq!(
            &**json_for_yaml("{\"a\": \"b\u{85}\"}"),
            "{\"a\": \"b\\u0085\"}"
        );
    }
}
