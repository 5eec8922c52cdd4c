//! YAML as a flat list of scalars with their paths, tags and lines.
//!
//! The parser gives events, so nothing recurses and no alias is ever expanded: a bomb of aliases is a short list of
//! aliases here. Depth and number of events are bounded. [`super::quoted`] is the writer.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Tag};
use zeroize::Zeroizing;

/// The deepest nesting.
pub const DEPTH_MAX: usize = 32;
/// The most events of one file.
const EVENTS_MAX: usize = 200_000;
/// The most bytes that are read again after a tab was replaced.
const AGAIN_MAX_BYTES: usize = 64 * 1024 * 1024;
/// The longest key that is kept, in characters.
const KEY_MAX_CHARS: usize = 80;

/// One scalar of a document.
pub struct Scalar {
    /// The keys that lead to it; an element of a sequence has its number.
    pub path: Vec<String>,
    /// Its text.
    pub text: Zeroizing<String>,
    /// Its tag without `!`, if it has one of its own: `secret`, `include`, `lambda`; `!binary` for one of YAML's own.
    pub tag: Option<String>,
    /// Whether it is in quotes or in a block: then it is a text, whatever it looks like.
    pub quoted: bool,
    /// Whether it is an alias: its text is elsewhere.
    pub alias: bool,
    /// The line of the same key later in the file, which is the one in force.
    pub set_again: Option<u32>,
    /// The line, counted from 1.
    pub line: u32,
}

impl Scalar {
    /// Its path with dots.
    pub fn name(&self) -> String {
        self.path.join(".")
    }

    /// Its last key that is no number.
    pub fn key(&self) -> &str {
        let named = self
            .path
            .iter()
            .rev()
            .find(|key| key.parse::<usize>().is_err());
        named.map_or("", String::as_str)
    }

    /// Its first key.
    pub fn section(&self) -> &str {
        self.path.first().map_or("", String::as_str)
    }

    /// Whether a reader of YAML 1.1 (Home Assistant, ESPHome) takes the text for another than the one that is written:
    /// `0123` is 83 to it, and `12:30` is 750.
    pub fn is_read_as_another(&self) -> bool {
        !self.quoted && self.tag.is_none() && !self.alias && is_number_of_another_form(&self.text)
    }
}

/// Why a text cannot be read as YAML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotYaml {
    /// The line, counted from 1.
    pub line: u32,
    /// What is wrong, and what to do.
    pub what: &'static str,
}

/// Every scalar of a document, in its order. A tab behind the colon of a key is a blank, as libyaml has it.
pub fn read(text: &str) -> Result<Vec<Scalar>, NotYaml> {
    // Quoted or not, readers of YAML 1.1 fold them to blanks, or begin a line.
    if let Some(at) = text.find(['\u{85}', '\u{2028}', '\u{2029}']) {
        return Err(NotYaml {
            line: number(text[..at].matches('\n').count() + 1),
            what: "a character here is a line break to some readers and none to others: write it as \\u0085, \\u2028 or \\u2029 in double quotes",
        });
    }
    let mut text = Cow::Borrowed(text);
    let mut again = 0;
    loop {
        let (line, valid) = match scalars(&text) {
            Err(Broken::AtLine(line)) => (
                line,
                "this is not valid YAML: correct the file and try again",
            ),
            Err(Broken::Refused(refused)) => return Err(refused),
            Ok(found) => return Ok(found),
        };
        again += text.len();
        match without_tab(&text, line).filter(|_| again <= AGAIN_MAX_BYTES) {
            Some(other) => text = Cow::Owned(other),
            None => return Err(NotYaml { line, what: valid }),
        }
    }
}

/// Why reading has ended early.
enum Broken {
    /// Not YAML to the parser, at this line.
    AtLine(u32),
    Refused(NotYaml),
}

impl From<ScanError> for Broken {
    fn from(error: ScanError) -> Self {
        Self::AtLine(number(error.marker().line()))
    }
}

/// The text with one more tab replaced: the first one that separates a key or a dash from its value, in the line that
/// the parser could not read or in the one before.
fn without_tab(text: &str, line: u32) -> Option<String> {
    let mut from = 0;
    let mut lines = Vec::new();
    for (number, part) in (1..).zip(text.split_inclusive('\n')) {
        if number > line {
            break;
        }
        if number + 1 >= line {
            lines.push(from..from + part.len());
        }
        from += part.len();
    }
    lines.into_iter().rev().find_map(|range| {
        let at = range.start + separating_tab(&text[range])?;
        let mut other = text.to_owned();
        other.replace_range(at..=at, " ");
        Some(other)
    })
}

/// Where the first tab behind `key:` or `-` is in a line.
fn separating_tab(line: &str) -> Option<usize> {
    let mut quote = None;
    let mut separated = true;
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') if separated => quote = Some(c),
            (None, '#') if separated => return None,
            (None, '\t') if separated && at > 0 => return Some(at),
            _ => {}
        }
        separated = match c {
            ':' | '-' | ',' | '[' | '{' | '?' => true,
            ' ' | '\t' => separated,
            _ => false,
        };
    }
    None
}

/// A mapping or a sequence that is open.
enum Open {
    Mapping {
        key: Option<String>,
        /// The index of the value of each key among what was found, and its line.
        seen: HashMap<String, Range<usize>>,
        /// Where the value of the open key begins, and its line.
        from: usize,
        line: u32,
    },
    Sequence {
        next: usize,
    },
}

fn scalars(text: &str) -> Result<Vec<Scalar>, Broken> {
    let mut open: Vec<Open> = Vec::new();
    let mut found: Vec<Scalar> = Vec::new();
    let mut documents = 0;
    for (count, event) in Parser::new_from_str(text).enumerate() {
        let (event, span) = event?;
        let line = number(span.start.line());
        let refused = |what| Err(Broken::Refused(NotYaml { line, what }));
        if count > EVENTS_MAX || open.len() > DEPTH_MAX {
            return refused(
                "this YAML is nested too deeply or has too many parts to be a configuration",
            );
        }
        let (text, tag, plain, alias) = match event {
            Event::MappingStart(..) => {
                enter(&mut open);
                open.push(Open::Mapping {
                    key: None,
                    seen: HashMap::new(),
                    from: 0,
                    line: 0,
                });
                continue;
            }
            Event::SequenceStart(..) => {
                enter(&mut open);
                open.push(Open::Sequence { next: 0 });
                continue;
            }
            Event::MappingEnd | Event::SequenceEnd => {
                open.pop();
                leave(&mut open, &mut found);
                continue;
            }
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    return refused(
                        "a second document begins here, and readers of configurations take one: split the file",
                    );
                }
                continue;
            }
            Event::Scalar(text, style, _, tag) => {
                let (tag, is_text) = tag.as_deref().map_or((None, false), own_tag);
                let plain = style == ScalarStyle::Plain && !is_text;
                (Zeroizing::new(text.into_owned()), tag, plain, false)
            }
            Event::Alias(_) => (Zeroizing::default(), None, true, true),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => continue,
        };
        if let Some(Open::Mapping {
            key: key @ None,
            from,
            line: at,
            ..
        }) = open.last_mut()
        {
            *key = Some(text.chars().take(KEY_MAX_CHARS).collect());
            (*from, *at) = (found.len(), line);
            continue;
        }
        enter(&mut open);
        found.push(Scalar {
            path: path_of(&open),
            text,
            tag,
            quoted: !plain,
            alias,
            set_again: None,
            line,
        });
        leave(&mut open, &mut found);
    }
    merge(&mut found);
    Ok(found)
}

/// A key of the mapping itself is in force before one that is merged into it by `<<`.
fn merge(found: &mut [Scalar]) {
    let merged = |path: &[String]| path.iter().position(|key| key == "<<");
    if !found.iter().any(|scalar| merged(&scalar.path).is_some()) {
        return;
    }
    let own: HashMap<Vec<String>, u32> = found
        .iter()
        .filter(|scalar| merged(&scalar.path).is_none())
        .map(|scalar| (scalar.path.clone(), scalar.line))
        .collect();
    for scalar in found {
        let Some(at) = merged(&scalar.path) else {
            continue;
        };
        let mut path = scalar.path.clone();
        path.remove(at);
        if path.get(at).is_some_and(|key| key.parse::<u32>().is_ok()) {
            path.remove(at);
        }
        if let Some(line) = own.get(&path) {
            scalar.set_again.get_or_insert(*line);
        }
    }
}

/// A tag as it is reported, and whether it makes a text of what has it.
fn own_tag(tag: &Tag) -> (Option<String>, bool) {
    match (tag.handle.as_str(), tag.suffix.as_str()) {
        ("!", "") => (None, true),
        ("!", suffix) => (Some(suffix.to_owned()), false),
        (_, suffix) => match suffix.strip_prefix("tag:yaml.org,2002:").unwrap_or(suffix) {
            "str" => (None, true),
            "int" | "float" | "bool" | "null" => (None, false),
            other => (Some(format!("!{other}")), false),
        },
    }
}

/// A value begins: an element counts, and a mapping as a key has no name.
fn enter(open: &mut [Open]) {
    match open.last_mut() {
        Some(Open::Sequence { next }) => *next += 1,
        Some(Open::Mapping {
            key: key @ None, ..
        }) => *key = Some("?".to_owned()),
        _ => {}
    }
}

/// A value has ended: the next scalar of a mapping is a key. Of a key that comes again, what was found first is not in
/// force.
fn leave(open: &mut [Open], found: &mut [Scalar]) {
    let Some(Open::Mapping {
        key,
        seen,
        from,
        line,
    }) = open.last_mut()
    else {
        return;
    };
    let Some(key) = key.take().filter(|key| key != "<<" && key != "?") else {
        return;
    };
    if let Some(before) = seen.insert(key, *from..found.len()) {
        for scalar in &mut found[before] {
            scalar.set_again.get_or_insert(*line);
        }
    }
}

fn path_of(open: &[Open]) -> Vec<String> {
    let keys = open.iter().map(|open| match open {
        Open::Mapping { key, .. } => key.clone().unwrap_or_default(),
        Open::Sequence { next } => (next - 1).to_string(),
    });
    keys.collect()
}

fn number(line: usize) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}

/// Numbers of YAML 1.1 whose text is not the one that they are shown with: octal, hexadecimal and binary ones, those
/// with `_`, base 60, signs, and fractions that end in zeros.
fn is_number_of_another_form(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return false;
    }
    let all = |text: &str, of: fn(&u8) -> bool| !text.is_empty() && text.bytes().all(|b| of(&b));
    let number = |b: &u8| b.is_ascii_digit() || *b == b'_';
    if let Some(digits) = digits.strip_prefix("0x") {
        return all(digits, |b| b.is_ascii_hexdigit() || *b == b'_');
    }
    if let Some(digits) = digits.strip_prefix("0b") {
        return all(digits, |b| matches!(b, b'0' | b'1' | b'_'));
    }
    let octal = digits.len() > 1
        && digits.starts_with('0')
        && all(digits, |b| matches!(b, b'0'..=b'7' | b'_'));
    let mut parts = digits.split(':');
    let sexagesimal = digits.contains(':')
        && parts
            .next()
            .is_some_and(|first| all(first, number) && !first.starts_with('0'))
        && parts.all(|part| {
            let whole = part.split('.').next().unwrap_or_default();
            part.len() >= whole.len()
                && matches!(whole.len(), 1 | 2)
                && part.parse::<f64>().is_ok_and(|n| n < 60.0)
        });
    let grouped = digits.contains('_') && !digits.starts_with('0') && all(digits, number);
    let signed = text.starts_with('+') && all(digits, number);
    let fraction = digits.split_once('.').is_some_and(|(whole, rest)| {
        let plain = whole.bytes().all(|b| number(&b)) && rest.bytes().all(|b| number(&b));
        let shown = whole.len() == 1 || !whole.starts_with('0') && !whole.is_empty();
        let exact = shown && !digits.contains('_') && digits.len() < 16 && !rest.is_empty();
        plain && !(exact && (rest == "0" || !rest.ends_with('0')))
    });
    let exponent = digits.contains(['e', 'E'])
        && digits.contains('.')
        && digits.contains(['+', '-'])
        && digits.parse::<f64>().is_ok();
    octal || sexagesimal || grouped || signed || fraction || exponent
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<(String, String)> {
        let found = read(text).unwrap_or_else(|why| panic!("{}: {}", why.line, why.what));
        found
            .iter()
            .map(|scalar| (scalar.name(), scalar.text.to_string()))
            .collect()
    }

    #[test]
    fn a_tab_behind_a_colon_is_a_blank_and_one_in_a_value_is_kept() {
        let text = "a:\tplain\nb: \tplain\nc:\t\t'x\ty' # c\nd:\n  - \te\n  -\tf\ng: |\n  h:\tkept\ni: [j,\tk]\nl: m\t\nn:\t# o\n";
        let expected = [
            ("a", "plain"),
            ("b", "plain"),
            ("c", "x\ty"),
            ("d.0", "e"),
            ("d.1", "f"),
            ("g", "h:\tkept\n"),
            ("i.0", "j"),
            ("i.1", "k"),
            ("l", "m"),
            ("n", ""),
        ];
        let found = texts(text);
        let found: Vec<(&str, &str)> = found
            .iter()
            .map(|(a, b)| (a.as_str(), b.as_str()))
            .collect();
        assert_eq!(found, expected);
        let many: String = (0..900).map(|n| format!("key{n}:\tvalue\n")).collect();
        assert_eq!(texts(&many).len(), 900);
        assert!(read("\ta: b\n\tc: d\n").is_err());
    }

    #[test]
    fn of_a_key_that_comes_again_the_last_is_in_force() {
        let found = read("a: 1\nb:\n  c: 2\n  c: 3\nb: 4\nd: 5\n").unwrap_or_default();
        let lines: Vec<(String, Option<u32>)> = found
            .iter()
            .map(|scalar| (scalar.name(), scalar.set_again))
            .collect();
        assert_eq!(
            lines,
            [
                ("a".to_owned(), None),
                ("b.c".to_owned(), Some(4)),
                ("b.c".to_owned(), Some(5)),
                ("b".to_owned(), None),
                ("d".to_owned(), None),
            ]
        );
    }

    #[test]
    fn what_is_merged_is_in_force_only_where_the_mapping_has_nothing_of_its_own() {
        let text = "a:\n  b: 1\n  <<: {b: 2, c: 3}\nd:\n  <<: [{b: 4}]\n  b: 5\n";
        let found = read(text).unwrap_or_default();
        let again: Vec<Option<u32>> = found.iter().map(|scalar| scalar.set_again).collect();
        assert_eq!(again, [None, Some(2), None, Some(6), None]);
    }

    #[test]
    fn a_character_that_only_some_readers_take_for_a_line_break_is_refused() {
        for c in ['\u{85}', '\u{2028}', '\u{2029}'] {
            let line = read(&format!("a: b\nc: 'd{c}e'\n"))
                .err()
                .map(|why| why.line);
            assert_eq!(line, Some(2));
        }
        assert_eq!(texts("a: \"\\u2028\"\n")[0].1, "\u{2028}");
    }

    #[test]
    fn a_second_document_is_refused_and_a_mark_before_the_first_is_not() {
        assert_eq!(texts("---\na: b\n...\n").len(), 1);
        assert_eq!(read("a: b\n---\nc: d\n").err().map(|why| why.line), Some(2));
    }

    #[test]
    fn a_number_that_readers_show_otherwise_is_known() {
        for text in [
            "0123",
            "0x1F",
            "1_000",
            "12:30",
            "190:20:30",
            "+5",
            "1.10",
            "1.5e+3",
            "0b11",
            "00.5",
            ".5",
        ] {
            assert!(is_number_of_another_form(text), "{text}");
        }
        for text in [
            "0", "123", "0891", "1.5", "-4", "1.0", "10.25", "abc", "12:ab", "1.2.3", "08:15", "",
        ] {
            assert!(!is_number_of_another_form(text), "{text}");
        }
    }
}
