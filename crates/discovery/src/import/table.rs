//! CSV (RFC 4180) with a header. `name` and `value` are required; `kind`, `owner`, `purpose` and `tier` are known.

use hearthkey_core::secret::Secret;

use super::judge::KINDS;
use super::settings::{Collected, unfit};
use super::{Found, ReadError};

const COLUMNS: [&str; 6] = ["name", "value", "kind", "owner", "purpose", "tier"];
/// The longest owner, purpose or tier, in characters.
const NOTE_MAX_CHARS: usize = 500;

pub(super) fn read(text: &str, collected: &mut Collected) -> Result<(), ReadError> {
    if let Err((line, what)) = check_quotes(text) {
        return Err(collected.malformed(line, what));
    }
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::Headers)
        .from_reader(text.as_bytes());
    let header = reader
        .headers()
        .map_err(|_| collected.malformed(1, "the header cannot be read"))?
        .clone();
    let places = places(&header).map_err(|what| collected.malformed(1, what))?;
    let mut record = csv::StringRecord::new();
    loop {
        let line = u32::try_from(reader.position().line()).unwrap_or(u32::MAX);
        match reader.read_record(&mut record) {
            Ok(false) => return Ok(()),
            Ok(true) => {}
            Err(_) => {
                return Err(collected.malformed(
                    line,
                    "the row has not as many fields as the header: quote fields with commas",
                ));
            }
        }
        let line = record
            .position()
            .map_or(line, |at| u32::try_from(at.line()).unwrap_or(u32::MAX));
        let field = |column: usize| {
            places[column]
                .and_then(|at| record.get(at))
                .unwrap_or_default()
        };
        row(line, &field, collected)?;
    }
}

/// Refuses what would take in text of other fields: the reader itself is content with every quote.
fn check_quotes(text: &str) -> Result<(), (u32, &'static str)> {
    let (mut line, mut opened) = (1, 0);
    let (mut quoted, mut begins) = (false, true);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted => {
                if chars.next_if_eq(&'"').is_some() {
                    continue;
                }
                quoted = false;
                if chars
                    .peek()
                    .is_some_and(|next| !matches!(next, ',' | '\n' | '\r'))
                {
                    return Err((
                        opened,
                        "text follows the closing quote of a field: double each quote within a field",
                    ));
                }
            }
            '"' if begins => (quoted, opened) = (true, line),
            ' ' if begins && chars.peek() == Some(&'"') => {
                return Err((
                    line,
                    "there is a blank before the quote of a field: remove it, or the quote belongs to the value",
                ));
            }
            _ => {}
        }
        begins = !quoted && matches!(c, ',' | '\n' | '\r');
        line += u32::from(c == '\n');
    }
    match quoted {
        true => Err((
            opened,
            "a quote is opened in this row and not closed: close it",
        )),
        false => Ok(()),
    }
}

/// Where each known column is in the file.
fn places(header: &csv::StringRecord) -> Result<[Option<usize>; 6], &'static str> {
    let mut places = [None; 6];
    for (at, column) in header.iter().enumerate() {
        let known = COLUMNS
            .iter()
            .position(|known| column.eq_ignore_ascii_case(known));
        let known = known.ok_or("the header has a column that is not known: use name, value, kind, owner, purpose, tier")?;
        if places[known].replace(at).is_some() {
            return Err("the header names a column twice: remove one");
        }
    }
    match (places[0], places[1]) {
        (Some(_), Some(_)) => Ok(places),
        _ => Err("the header needs the columns name and value"),
    }
}

fn row<'a>(
    line: u32,
    field: &dyn Fn(usize) -> &'a str,
    collected: &mut Collected,
) -> Result<(), ReadError> {
    let name = field(0).trim();
    if name.is_empty() {
        return collected.leave(
            "a row without a name",
            line,
            "it has no name: write one like hue/api-key",
        );
    }
    let kind = match field(2).trim() {
        "" => "other",
        text => match KINDS.iter().find(|kind| **kind == text) {
            Some(kind) => kind,
            None => {
                let kinds = KINDS.join(", ");
                return collected.leave(
                    name,
                    line,
                    &format!("its kind is not known: use one of {kinds}"),
                );
            }
        },
    };
    if let Some(why) = crate::placeholder::reason(field(1)) {
        return collected.leave(name, line, why);
    }
    let value = match Secret::text(field(1)) {
        Ok(value) => value,
        Err(error) => return collected.leave(name, line, unfit(error)),
    };
    let note = |text: &str| {
        (!text.trim().is_empty()).then(|| text.trim().chars().take(NOTE_MAX_CHARS).collect())
    };
    let (owner, purpose, tier) = (note(field(3)), note(field(4)), note(field(5)));
    let suggested = collected.name(name);
    collected.push(Found {
        suggested,
        kind,
        value,
        line,
        note: None,
        owner,
        purpose,
        tier,
    })
}
