//! YAML as a flat list of scalars with their paths, tags and lines.
//!
//! The parser gives events, so nothing recurses and no alias is ever expanded: a bomb of aliases is a short list of
//! aliases here. Depth and number of events are bounded.

use saphyr_parser::{Event, Parser, ScalarStyle};
use zeroize::Zeroizing;

use super::settings::Collected;
use super::{DEPTH_MAX, ReadError};

/// The most events of one file.
const EVENTS_MAX: usize = 200_000;

/// One scalar of a document.
pub(super) struct Scalar {
    /// The keys that lead to it; an element of a sequence has its number.
    pub path: Vec<String>,
    /// Its text.
    pub text: Zeroizing<String>,
    /// Its tag without `!`, if it has one of its own: `secret`, `include`, `lambda`.
    pub tag: Option<String>,
    /// Whether it stands in quotes or in a block: then it is a text, whatever it looks like.
    pub quoted: bool,
    /// Whether it is an alias: its text is elsewhere.
    pub alias: bool,
    /// The line, counted from 1.
    pub line: u32,
}

impl Scalar {
    /// Its path with dots.
    pub(super) fn name(&self) -> String {
        self.path.join(".")
    }

    /// Its last key that is no number.
    pub(super) fn key(&self) -> &str {
        let named = self
            .path
            .iter()
            .rev()
            .find(|key| key.parse::<usize>().is_err());
        named.map_or("", String::as_str)
    }
}

/// A mapping or a sequence that is open.
enum Open {
    Mapping { key: Option<String> },
    Sequence { next: usize },
}

/// Every scalar of the first document, in its order.
pub(super) fn scalars(text: &str, collected: &Collected) -> Result<Vec<Scalar>, ReadError> {
    let mut open: Vec<Open> = Vec::new();
    let mut found = Vec::new();
    for (count, event) in Parser::new_from_str(text).enumerate() {
        let (event, span) = event.map_err(|error| {
            collected.malformed(
                number(error.marker().line()),
                "this is not valid YAML: correct the file and try again",
            )
        })?;
        let line = number(span.start.line());
        if count > EVENTS_MAX || open.len() > DEPTH_MAX {
            return Err(collected.malformed(
                line,
                "this YAML is nested too deeply or has too many parts to be a configuration",
            ));
        }
        let (text, tag, quoted, alias) = match event {
            Event::MappingStart(..) => {
                enter(&mut open);
                open.push(Open::Mapping { key: None });
                continue;
            }
            Event::SequenceStart(..) => {
                enter(&mut open);
                open.push(Open::Sequence { next: 0 });
                continue;
            }
            Event::MappingEnd | Event::SequenceEnd => {
                open.pop();
                leave(&mut open);
                continue;
            }
            Event::DocumentEnd => break,
            Event::Scalar(text, style, _, tag) => {
                let tag = tag
                    .filter(|tag| tag.handle == "!")
                    .map(|tag| tag.suffix.clone());
                (
                    Zeroizing::new(text.into_owned()),
                    tag,
                    style != ScalarStyle::Plain,
                    false,
                )
            }
            Event::Alias(_) => (Zeroizing::new(String::new()), None, false, true),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => {
                continue;
            }
        };
        if let Some(Open::Mapping { key: key @ None }) = open.last_mut() {
            *key = Some(text.chars().take(80).collect());
            continue;
        }
        enter(&mut open);
        found.push(Scalar {
            path: path_of(&open),
            text,
            tag,
            quoted,
            alias,
            line,
        });
        leave(&mut open);
    }
    Ok(found)
}

/// A value begins: an element counts, and a mapping as a key has no name.
fn enter(open: &mut [Open]) {
    match open.last_mut() {
        Some(Open::Sequence { next }) => *next += 1,
        Some(Open::Mapping { key: key @ None }) => *key = Some("?".to_owned()),
        _ => {}
    }
}

/// A value has ended: the next scalar of a mapping is a key.
fn leave(open: &mut [Open]) {
    if let Some(Open::Mapping { key }) = open.last_mut() {
        *key = None;
    }
}

fn path_of(open: &[Open]) -> Vec<String> {
    let keys = open.iter().map(|open| match open {
        Open::Mapping { key } => key.clone().unwrap_or_default(),
        Open::Sequence { next } => (next - 1).to_string(),
    });
    keys.collect()
}

fn number(line: usize) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}

/// Why a scalar holds no value of its own, if so.
pub(super) fn elsewhere(scalar: &Scalar) -> Option<&'static str> {
    match scalar.tag.as_deref() {
        _ if scalar.alias => Some("it is a YAML alias: import the place that it points to"),
        Some("secret") => Some("it refers to secrets.yaml: import that file"),
        Some("env_var") => Some("it refers to a variable of the environment"),
        Some(tag) if tag.starts_with("include") => {
            Some("it refers to another file: import that file")
        }
        Some("lambda") => Some("it is code, not a value"),
        Some(_) | None if !scalar.quoted && matches!(scalar.text.as_str(), "" | "~" | "null") => {
            Some("it is empty")
        }
        _ => None,
    }
}
