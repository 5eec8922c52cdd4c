//! `.env` files: `NAME=value` lines, as Docker Compose and most loaders read them.
//!
//! `export` before a name, comments, single quotes (taken literally) and double quotes (with `\n`, `\"`, `\\`, `\$`)
//! are understood. A quoted value may run over several lines. Variables are not expanded.

use zeroize::Zeroizing;

use super::judge::is_random;
use super::settings::{Collected, Named};
use super::{LINE_MAX_BYTES, ReadError};

pub(super) fn read(text: &str, collected: &mut Collected) -> Result<(), ReadError> {
    let mut rest = text;
    let mut line = 1u32;
    while !rest.is_empty() {
        let (first, after) = rest.split_once('\n').unwrap_or((rest, ""));
        if first.len() > LINE_MAX_BYTES {
            return Err(
                collected.malformed(line, "the line is longer than 64 KiB: this is no .env file")
            );
        }
        let entry = first.trim();
        if entry.is_empty() || entry.starts_with('#') {
            (rest, line) = (after, line + 1);
            continue;
        }
        let Some((name, _)) = first.split_once('=') else {
            collected.leave("a line without =", line, "it gives no value")?;
            (rest, line) = (after, line + 1);
            continue;
        };
        let value_at = &rest[name.len() + 1..];
        let name = name.trim().strip_prefix("export ").unwrap_or(name).trim();
        // The last line of a key that was pasted over several lines ends with = as well.
        if is_random(name) {
            collected.leave(
                "a line without a name",
                line,
                "it looks like a part of a longer value: quote that value",
            )?;
            (rest, line) = (after, line + 1);
            continue;
        }
        if !is_name(name) {
            return Err(collected.malformed(
                line,
                "what stands before = is no name: use letters, digits and _",
            ));
        }
        let (value, taken) = value(value_at).ok_or_else(|| {
            collected.malformed(line, "a quote is opened and not closed: close it")
        })?;
        collected.consider(named(name, line), &value, None)?;
        let lines = value_at[..taken].matches('\n').count();
        rest = &value_at[taken..];
        let (_, after) = rest.split_once('\n').unwrap_or((rest, ""));
        (rest, line) = (after, line + 1 + lines as u32);
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// `HUE_API_KEY` belongs to the bridge `hue`.
fn named(name: &str, line: u32) -> Named<'_> {
    let (bridge, key) = match name.split_once('_') {
        Some((bridge, key)) if !bridge.is_empty() && !key.is_empty() => (bridge, key),
        _ => ("env", name),
    };
    Named {
        what: name,
        bridge,
        key,
        line,
    }
}

/// The value at the beginning of a text, and how many bytes it takes there.
fn value(text: &str) -> Option<(Zeroizing<String>, usize)> {
    let blank = text.len() - text.trim_start_matches([' ', '\t']).len();
    let body = &text[blank..];
    let (value, taken) = match body.as_bytes().first() {
        Some(b'\'') => {
            let end = body[1..].find('\'')?;
            (Zeroizing::new(body[1..=end].to_owned()), end + 2)
        }
        Some(b'"') => double_quoted(body)?,
        _ => {
            let line = body.split('\n').next().unwrap_or_default();
            let end = line
                .find(" #")
                .or_else(|| line.find("\t#"))
                .unwrap_or(line.len());
            (Zeroizing::new(line[..end].trim().to_owned()), line.len())
        }
    };
    Some((value, blank + taken))
}

fn double_quoted(body: &str) -> Option<(Zeroizing<String>, usize)> {
    let mut value = Zeroizing::new(String::with_capacity(body.len().min(LINE_MAX_BYTES)));
    let mut chars = body.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, at + 1)),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                c @ ('"' | '\\' | '$' | '\'') => value.push(c),
                c => value.extend(['\\', c]),
            },
            c => value.push(c),
        }
    }
    None
}
