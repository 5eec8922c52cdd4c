//! One pass over one text of any length, in bounded memory.
//!
//! The text goes through a buffer. Its end is kept for the next round, so that nothing is missed at a border: the
//! overlap is six times the longest marked value, which holds it in two encodings within one another, and more than
//! any rule's reach. A find counts in the round in which it begins before the overlap.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read};

use super::decode::Room;
use super::leak::{At, What};
use super::matcher::{Matcher, Sighting};
use super::rules::{BEFORE_BYTES, Match, Patterns, REACH_MAX_BYTES, RULES, excerpt};

/// How much is read in one round, in bytes.
const ROUND_BYTES: usize = 1024 * 1024;
/// What is kept before the overlap, so that patterns see what stands before a match.
const LEAD_BYTES: usize = 2 * BEFORE_BYTES;
/// The most finds of one value or rule in one text; more tell nothing new.
const SAME_MAX: u64 = 100;

/// What is looked for, and the memory for it.
pub(super) struct Sweeper {
    matcher: Matcher,
    patterns: Option<Patterns>,
    buffer: Vec<u8>,
    rooms: [Room; 2],
    overlap: usize,
}

/// A find in one text.
#[derive(Debug)]
pub(super) struct Find {
    pub what: What,
    pub at: At,
    /// How many of the same stand before it in the text.
    pub number: u64,
}

/// What one pass has found.
#[derive(Debug, Default)]
pub(super) struct Swept {
    pub finds: Vec<Find>,
    pub bytes: u64,
    /// Finds beyond the bound, which are not told one by one.
    pub more: u64,
}

/// Where the buffer begins in the text.
#[derive(Default)]
struct Origin {
    offset: u64,
    line: u64,
    column: u64,
}

impl Origin {
    /// Moves over some bytes.
    fn pass(&mut self, bytes: &[u8]) {
        let lines = memchr::memchr_iter(b'\n', bytes).count() as u64;
        let rest = match memchr::memrchr(b'\n', bytes) {
            Some(last) => {
                self.column = 0;
                &bytes[last + 1..]
            }
            None => bytes,
        };
        self.line += lines;
        self.column += rest.iter().filter(|byte| **byte & 0xc0 != 0x80).count() as u64;
        self.offset += bytes.len() as u64;
    }

    fn at(&self) -> At {
        At {
            line: self.line + 1,
            column: self.column + 1,
            offset: self.offset,
        }
    }
}

/// Something in the buffer, before it is counted and placed.
enum Raw {
    Own(Sighting),
    Rule(Match),
}

impl Raw {
    fn start(&self) -> usize {
        match self {
            Self::Own(sighting) => sighting.start,
            Self::Rule(found) => found.start,
        }
    }
}

impl Sweeper {
    pub(super) fn new(matcher: Matcher, patterns: Option<Patterns>) -> Self {
        let overlap = LEAD_BYTES + 2 * REACH_MAX_BYTES + 6 * matcher.longest();
        Self {
            matcher,
            patterns,
            buffer: vec![0; ROUND_BYTES + overlap],
            rooms: Default::default(),
            overlap,
        }
    }

    /// Reads a text to its end. `told` hears how many bytes were read, at most every MiB; an error of it ends the pass.
    pub(super) fn sweep(
        &mut self,
        text: &mut dyn Read,
        told: &mut dyn FnMut(u64),
    ) -> io::Result<Swept> {
        let mut swept = Swept::default();
        let mut counts: HashMap<String, u64> = HashMap::new();
        let mut origin = Origin::default();
        let (mut lead, mut filled) = (0, 0);
        loop {
            let read = fill(text, &mut self.buffer[filled..])?;
            filled += read;
            swept.bytes += read as u64;
            told(swept.bytes);
            let last = filled < self.buffer.len();
            let end = if last { filled } else { filled - self.overlap };
            self.round(filled, lead..end, &origin, &mut counts, &mut swept);
            if last {
                return Ok(swept);
            }
            let next = end - LEAD_BYTES;
            origin.pass(&self.buffer[..next]);
            self.buffer.copy_within(next..filled, 0);
            (lead, filled) = (LEAD_BYTES, filled - next);
        }
    }

    /// Looks at what the buffer holds, and takes what begins within a range of it.
    fn round(
        &mut self,
        filled: usize,
        range: std::ops::Range<usize>,
        origin: &Origin,
        counts: &mut HashMap<String, u64>,
        swept: &mut Swept,
    ) {
        let text = &self.buffer[..filled];
        // The holes of a sparse file.
        if text.iter().all(|byte| *byte == 0) {
            return;
        }
        let mut sightings = Vec::new();
        self.matcher.look(text, &mut self.rooms, &mut sightings);
        // One secret in one place is told of once, as plainly written as it was seen.
        sightings.sort_by_key(|one| (one.start, one.encodings.len()));
        let mut seen: Vec<(usize, &str)> = Vec::new();
        let matcher = &self.matcher;
        sightings.retain(|one| {
            let same = (one.start, matcher.label(one.mark));
            seen.retain(|(start, _)| *start == one.start);
            let new = !seen.contains(&same);
            seen.push(same);
            new
        });
        let known = self
            .patterns
            .as_ref()
            .map(|patterns| patterns.look(text))
            .unwrap_or_default();
        let own = |found: &Match| {
            let plain = sightings.iter().filter(|one| one.encodings.is_empty());
            plain.into_iter().any(|one| {
                one.start < found.end && found.start < one.start + matcher.length(one.mark)
            })
        };
        // What the vault's own value explains needs no rule.
        let known: Vec<Match> = known.into_iter().filter(|found| !own(found)).collect();
        let mut raw: Vec<Raw> = sightings
            .into_iter()
            .map(Raw::Own)
            .chain(known.into_iter().map(Raw::Rule))
            .collect();
        raw.retain(|one| range.contains(&one.start()));
        raw.sort_by_key(Raw::start);
        let mut at = Origin { ..*origin };
        let mut passed = 0;
        for one in raw {
            let start = one.start();
            at.pass(&text[passed..start]);
            passed = start;
            let (key, what) = self.name(one, text);
            let count = counts.entry(key).or_default();
            let number = *count;
            *count += 1;
            if number < SAME_MAX {
                swept.finds.push(Find {
                    what,
                    at: at.at(),
                    number,
                });
            } else {
                swept.more += 1;
            }
        }
    }

    /// What a find is called, and by what it is counted.
    fn name(&self, one: Raw, text: &[u8]) -> (String, What) {
        match one {
            Raw::Own(Sighting {
                mark, encodings, ..
            }) => {
                let label = self.matcher.label(mark).to_owned();
                let words: Vec<&str> = encodings.iter().map(|encoding| encoding.as_str()).collect();
                (
                    format!("own {} {label}", words.join(" ")),
                    What::Own { label, encodings },
                )
            }
            Raw::Rule(Match { rule, start, end }) => {
                let rule = &RULES[rule];
                let what = What::Rule {
                    id: rule.id.clone(),
                    name: rule.name.clone(),
                    excerpt: excerpt(rule, &text[start..end]),
                };
                (format!("rule {}", rule.id), what)
            }
        }
    }
}

/// Reads until the buffer is full or the text ends.
fn fill(text: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match text.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
