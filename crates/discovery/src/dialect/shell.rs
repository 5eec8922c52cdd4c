//! Words of the POSIX shell (Shell Command Language, §2.2), as `sh`, `dash` and `bash` read them.

use zeroize::Zeroizing;

use super::{AS_BASE64, Unwritable};

/// Writes a value as one word: in single quotes, each single quote of its own as `'\''`.
pub fn write(value: &str) -> Result<Zeroizing<String>, Unwritable> {
    if value.contains('\0') {
        return Err(Unwritable {
            why: "It holds a zero byte, which no variable can",
            instead: AS_BASE64,
        });
    }
    Ok(single_quoted(value, "'\\''"))
}

/// Reads one word that consists of single-quoted parts and quoted single quotes, as [`write()`] and Python's
/// `shlex.quote` write it, and nothing behind it.
///
/// Every other word of a shell may hold expansions, and is not read.
pub fn read(word: &str) -> Option<Zeroizing<String>> {
    let mut value = Zeroizing::new(String::with_capacity(word.len()));
    let mut rest = word;
    if !rest.starts_with('\'') {
        return None;
    }
    while !rest.is_empty() {
        if let Some(after) = rest
            .strip_prefix("\\'")
            .or_else(|| rest.strip_prefix("\"'\""))
        {
            value.push('\'');
            rest = after;
        } else {
            let body = rest.strip_prefix('\'')?;
            let end = body.find('\'')?;
            value.push_str(&body[..end]);
            rest = &body[end + 1..];
        }
    }
    Some(value)
}

/// Other ways in which people and programs quote a value for a shell.
pub(super) fn others(value: &str) -> Vec<Zeroizing<String>> {
    let mut double = Zeroizing::new(String::with_capacity(2 * value.len() + 2));
    double.push('"');
    let mut bare = Zeroizing::new(String::with_capacity(2 * value.len()));
    for c in value.chars() {
        if matches!(c, '"' | '\\' | '$' | '`') {
            double.push('\\');
        }
        double.push(c);
        if !c.is_alphanumeric() && !matches!(c, '_' | '-' | '.' | '/' | ':' | '@' | '%' | '+' | ',')
        {
            bare.push('\\');
        }
        bare.push(c);
    }
    double.push('"');
    vec![single_quoted(value, "'\"'\"'"), double, bare]
}

fn single_quoted(value: &str, quote: &str) -> Zeroizing<String> {
    let quotes = value.matches('\'').count();
    let mut word = Zeroizing::new(String::with_capacity(
        value.len() + quotes * quote.len() + 2,
    ));
    word.push('\'');
    for (index, part) in value.split('\'').enumerate() {
        if index > 0 {
            word.push_str(quote);
        }
        word.push_str(part);
    }
    word.push('\'');
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_read_whole_or_not_at_all() {
        assert_eq!(&**write("it's").unwrap(), r"'it'\''s'");
        assert_eq!(&**read(r"'it'\''s'").unwrap(), "it's");
        assert_eq!(&**read(r#"'it'"'"'s'"#).unwrap(), "it's");
        for other in ["", "a", "'a", "'a'b", "'a' ", "'a'$b", "\"a\"", r"'a'\"] {
            assert!(read(other).is_none(), "{other}");
        }
        assert!(write("a\0b").is_err());
    }
}
