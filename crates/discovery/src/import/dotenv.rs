//! `.env` files: `NAME=value` lines, as python-dotenv and Docker Compose read them ([`crate::dialect::dotenv`]).
//!
//! `export` before a name, comments and quotes are understood; a quoted value may run over several lines. Variables are
//! not expanded: what refers to one is left.

use std::collections::HashMap;

use zeroize::Zeroizing;

use crate::dialect::dotenv::{self, Untaken};

use super::form::is_random;
use super::settings::{Collected, Named};
use super::{LINE_MAX_BYTES, ReadError};

/// What a line gives.
enum Entry<'a> {
    Nothing,
    Left(&'a str, &'static str),
    /// Its name and its value.
    Set(&'a str, Zeroizing<String>),
}

pub(super) fn read(text: &str, collected: &mut Collected) -> Result<(), ReadError> {
    let text = Zeroizing::new(text.replace("\r\n", "\n"));
    let mut entries = Vec::new();
    let mut last = HashMap::new();
    let mut rest = text.as_str();
    let mut line = 1u32;
    while !rest.is_empty() {
        let (first, after) = rest.split_once('\n').unwrap_or((rest, ""));
        if first.len() > LINE_MAX_BYTES {
            return Err(
                collected.malformed(line, "the line is longer than 64 KiB: this is no .env file")
            );
        }
        let (entry, lines) = entry(first, rest, line, collected)?;
        match &entry {
            Entry::Set(name, ..) => {
                last.insert(*name, line);
            }
            Entry::Left(name, _) if is_name(name) => {
                last.insert(*name, line);
            }
            _ => {}
        }
        entries.push((line, entry));
        rest = match lines {
            0 => after,
            lines => rest
                .splitn(lines + 2, '\n')
                .nth(lines + 1)
                .unwrap_or_default(),
        };
        line += lines as u32 + 1;
    }
    for (line, entry) in entries {
        let (name, value) = match entry {
            Entry::Nothing => continue,
            Entry::Left(name, why) => (name, Err(why)),
            Entry::Set(name, value) => (name, Ok(value)),
        };
        match (last.get(name).copied().filter(|last| *last != line), value) {
            (Some(last), Ok(_)) => {
                collected.leave(
                    name,
                    line,
                    &format!("it is set again in line {last}, which is in force"),
                )?;
            }
            (_, Err(why)) => collected.leave(name, line, why)?,
            (None, Ok(value)) => collected.consider(named(name, line), &value, None)?,
        }
    }
    Ok(())
}

/// The entry that begins on a line, and how many more lines it takes in.
fn entry<'a>(
    first: &'a str,
    rest: &'a str,
    line: u32,
    collected: &Collected,
) -> Result<(Entry<'a>, usize), ReadError> {
    let left = |name, why| Ok((Entry::Left(name, why), 0));
    let statement = first.trim();
    if statement.is_empty() || statement.starts_with('#') {
        return Ok((Entry::Nothing, 0));
    }
    let Some((before, behind)) = first.split_once('=') else {
        return match statement.split_once(':') {
            Some((name, _)) if is_name(name) => left(
                name,
                "it is written with a colon, which only Docker Compose reads: write NAME=value",
            ),
            _ => left("a line without =", "it gives no value"),
        };
    };
    let name = before.trim();
    let name = match name.strip_prefix("export") {
        Some(after) if after.starts_with([' ', '\t']) => after.trim(),
        _ => name,
    };
    // The last line of a key that was pasted over several lines ends with = as well.
    let padding = behind.trim().trim_start_matches('=').is_empty();
    let constant = name.contains('_') && !name.bytes().any(|b| b.is_ascii_lowercase());
    if padding
        && !constant
        && (is_random(name) || !is_name(name))
        && !name.contains(char::is_whitespace)
    {
        return left(
            "a line without a name",
            "it looks like a part of a longer value: quote that value",
        );
    }
    if let Some((name, _)) = name.split_once(':')
        && is_name(name.trim())
    {
        return left(
            name,
            "it is written with a colon, which only Docker Compose reads: write NAME=value",
        );
    }
    if !is_name(name) {
        return Err(collected.malformed(
            line,
            "what is before = is no name: use letters, digits and _",
        ));
    }
    value(name, &rest[before.len() + 1..], line, collected)
}

fn value<'a>(
    name: &'a str,
    text: &str,
    line: u32,
    collected: &Collected,
) -> Result<(Entry<'a>, usize), ReadError> {
    let first = text.split('\n').next().unwrap_or_default();
    if first.trim().starts_with("-----BEGIN ") {
        let end = text.split('\n').position(|line| line.contains("-----END "));
        return Ok(match end {
            // In one line, as it would be for every reader.
            Some(0) => (
                Entry::Left(
                    name,
                    "it is a key in one line, which nothing reads: quote it, with its line breaks",
                ),
                0,
            ),
            end => (
                Entry::Left(
                    name,
                    "it is a key over several lines, of which readers take the first only: quote it",
                ),
                end.unwrap_or_default(),
            ),
        });
    }
    match dotenv::read(text) {
        Ok(taken) if takes_in_entries(&text[..taken.end]) => Ok((
            Entry::Left(
                name,
                "its quotes take in the lines after it, which look like entries: close the quote, or take it in by hand",
            ),
            text[..taken.end].matches('\n').count(),
        )),
        Ok(taken) => {
            let lines = text[..taken.end].matches('\n').count();
            Ok((Entry::Set(name, taken.value), lines))
        }
        Err(Untaken::Unclosed) => {
            Err(collected.malformed(line, "a quote is opened and not closed: close it"))
        }
        Err(Untaken::Leftover) if !first.trim_start()[1..].contains(&first.trim_start()[..1]) => {
            Err(collected.malformed(line, "a quote is opened and not closed: close it"))
        }
        Err(why) => Ok((Entry::Left(name, said(why)), 0)),
    }
}

/// What is said of a value that is not taken.
fn said(why: Untaken) -> &'static str {
    match why {
        Untaken::Unclosed => "a quote is opened and not closed: close it",
        Untaken::Leftover => "text follows the closing quote: quote the whole value",
        Untaken::Reference => {
            "it refers to a value that is kept elsewhere, or has a $ that readers replace: put it in single quotes if it is the value"
        }
        Untaken::Comment => "it is empty, with a comment that some readers take for the value",
        Untaken::Disputed => {
            "python-dotenv and Docker Compose read it as two different values: put it in single quotes"
        }
    }
}

/// Whether a quoted value of several lines has some that look like entries, as after a quote that was not closed.
fn takes_in_entries(quoted: &str) -> bool {
    !quoted.contains("-----BEGIN ")
        && quoted.split('\n').skip(1).any(|line| {
            let line = line.trim();
            let line = line.strip_prefix("export ").unwrap_or(line);
            line.split_once('=').is_some_and(|(name, _)| {
                is_name(name) && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            })
        })
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
