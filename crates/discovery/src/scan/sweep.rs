//! One pass over one text of any length, in bounded memory.
//!
//! The text goes through a buffer. Its end is kept for the next round, so that nothing is missed at a border: the
//! overlap is six times the longest marked value, which holds it in two encodings within one another, and more than
//! any rule's reach. A find counts in the round in which it begins before the overlap.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, ErrorKind, Read};
use std::ops::Range;

use super::decode::{self, Room};
use super::disjoint::Disjoint;
use super::gap::Gap;
use super::leak::{At, What};
use super::matcher::{Matcher, Sighting};
use super::rules::{BEFORE_BYTES, Match, Patterns, REACH_MAX_BYTES, RULES, excerpt};

/// How much is read in one round, in bytes.
const ROUND_BYTES: usize = 1024 * 1024;
/// What is kept before the overlap, so that patterns see what precedes a match.
const LEAD_BYTES: usize = 2 * BEFORE_BYTES;
/// The shortest text in UTF-16 in which known forms are looked for, in bytes of UTF-8.
const WIDE_MIN_BYTES: usize = 16;
/// The most finds of one value or rule in one text; more tell nothing new.
const SAME_MAX: u64 = 100;

/// How much of a text's beginning is kept, in bytes: what tells a kind of file.
const HEAD_BYTES: usize = 512;

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
    /// How many finds are beyond the bound and not reported one by one: by rule, and without one for own values.
    pub more: BTreeMap<Option<String>, u64>,
    /// What the text begins with.
    pub head: Head,
    /// Why the text could not be read to its end.
    pub cut: Option<io::Error>,
}

/// The first bytes of a text.
#[derive(Debug, Default)]
pub(super) struct Head(Vec<u8>);

/// What compressed files begin with.
const COMPRESSED: [(&[u8], &str); 13] = [
    (b"PK\x03\x04", "zip"),
    (b"\x1f\x8b", "gzip"),
    (b"\x1f\x9d", "compress"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
    (b"%PDF-", "PDF"),
    (b"# v2 git bundle\n", "git bundle"),
    (b"# v3 git bundle\n", "git bundle"),
    (b"PACK\0\0\0", "git pack"),
];

impl Head {
    /// Why a file that begins so holds more than was read, if it does.
    pub(super) fn gap(&self) -> Option<(Gap, String)> {
        if self
            .0
            .starts_with(b"version https://git-lfs.github.com/spec/")
        {
            let why = "its content is in Git LFS: run git lfs pull and scan again";
            return Some((Gap::Lfs, why.to_owned()));
        }
        let (_, kind) = COMPRESSED
            .iter()
            .find(|(magic, _)| self.0.starts_with(magic))?;
        let why = format!("it is compressed ({kind}): unpack it and scan what comes out");
        Some((Gap::Archive, why))
    }
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

    /// Reads a text to its end, or to where it cannot be read. `told` gets the number of bytes read, at most every MiB.
    pub(super) fn sweep(&mut self, text: &mut dyn Read, told: &mut dyn FnMut(u64)) -> Swept {
        let mut swept = Swept::default();
        let mut counts: HashMap<String, u64> = HashMap::new();
        let mut origin = Origin::default();
        let (mut lead, mut filled) = (0, 0);
        loop {
            let (read, cut) = fill(text, &mut self.buffer[filled..]);
            if swept.bytes == 0 {
                let head = filled + read.min(HEAD_BYTES);
                swept.head = Head(self.buffer[filled..head].to_vec());
            }
            filled += read;
            swept.bytes += read as u64;
            told(swept.bytes);
            let last = filled < self.buffer.len() || cut.is_some();
            swept.cut = cut;
            let end = if last { filled } else { filled - self.overlap };
            self.round(filled, lead..end, &origin, &mut counts, &mut swept);
            if last {
                return swept;
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
        range: Range<usize>,
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
        // One secret in one place is reported once, as plainly written as it was seen.
        sightings.sort_by_key(|one| (one.encodings.len(), one.start));
        let matcher = &self.matcher;
        let mut seen: HashMap<&str, Disjoint> = HashMap::new();
        sightings.retain(|one| {
            let of_label = seen.entry(matcher.label(one.mark)).or_default();
            of_label.take(one.start..one.start + matcher.length(one.mark))
        });
        sightings.sort_by_key(|one| one.start);
        let known = match &self.patterns {
            Some(patterns) => known_forms(patterns, text, &mut self.rooms[0]),
            None => Vec::new(),
        };
        let plain: Vec<&Sighting> = sightings
            .iter()
            .filter(|one| one.encodings.is_empty())
            .collect();
        let longest = matcher.longest();
        let own = |found: &Match| {
            let first = plain.partition_point(|one| one.start + longest <= found.start);
            plain[first..]
                .iter()
                .take_while(|one| one.start < found.end)
                .any(|one| found.start < one.start + matcher.length(one.mark))
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
                let rule = match what {
                    What::Own { .. } => None,
                    What::Rule { id, .. } => Some(id),
                };
                *swept.more.entry(rule).or_default() += 1;
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
            Raw::Rule(Match {
                rule,
                start,
                end,
                decoded,
            }) => {
                let rule = &RULES[rule];
                let what = What::Rule {
                    id: rule.id.clone(),
                    name: rule.name.clone(),
                    excerpt: excerpt(rule, decoded.as_deref().unwrap_or(&text[start..end])),
                };
                (format!("rule {}", rule.id), what)
            }
        }
    }
}

/// Known forms in a text, and in what of it is UTF-16.
fn known_forms(patterns: &Patterns, text: &[u8], room: &mut Room) -> Vec<Match> {
    let mut known = patterns.look(text);
    decode::wide(text, WIDE_MIN_BYTES, room, &mut |piece| {
        known.extend(patterns.look(piece.bytes).into_iter().map(|found| Match {
            start: piece.origin(text, found.start),
            end: piece.origin(text, found.end),
            decoded: Some(piece.bytes[found.start..found.end].to_vec()),
            ..found
        }));
    });
    known
}

/// Reads until the buffer is full, the text ends or reading fails.
fn fill(text: &mut dyn Read, buffer: &mut [u8]) -> (usize, Option<io::Error>) {
    let mut filled = 0;
    while filled < buffer.len() {
        match text.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (filled, Some(error)),
        }
    }
    (filled, None)
}
