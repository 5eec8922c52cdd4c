//! The lines of the journal: JSON with this home's HMAC after a tab.
//!
//! `{"seq":7,"prev":"…","at":"…","log":40,"event":{…}}` is a line of a chain: `prev` is the HMAC of the line before it, so
//! that no line can be taken out between two others unseen. `log` is how many records the audit log had. A line that begins
//! with `{"device":` is a revocation by itself: as earlier versions wrote them, and as they are kept when their line of the
//! chain is dropped.

use std::collections::HashSet;

use hearthkey_core::id::{Fingerprint, hex};
use hearthkey_core::time::Timestamp;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::journal::event::Event;
use crate::journal::revocation::Revocation;
use crate::keys::DerivedKey;

/// A line of the chain, without its HMAC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its number, one more than that of the line before it.
    pub seq: u64,
    /// The HMAC of the line before it; zeros if none is known.
    pub prev: Fingerprint,
    /// When.
    pub at: Timestamp,
    /// How many records the audit log had.
    pub log: u64,
    /// What happened.
    pub event: Event,
}

/// A line of the chain with its HMAC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chained {
    /// What it says.
    pub entry: Entry,
    /// Its HMAC.
    pub tag: Fingerprint,
    /// All of it as it was written, without its end.
    pub text: String,
}

/// What a journal held when it was opened.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// The revocations, oldest first: those by themselves, and those of the chain.
    pub revocations: Vec<Revocation>,
    /// Those by themselves.
    pub loose: Vec<Revocation>,
    /// The chain, in the order of the file.
    pub chain: Vec<Chained>,
    /// Lines that do not carry this home's HMAC: altered, or cut short.
    pub foreign_lines: usize,
    /// Lines that carry this home's HMAC and say what this program does not know: a newer one has written them.
    pub newer_lines: usize,
    /// Whether the last line lacks its end.
    pub unterminated: bool,
    /// Whether the file was not there.
    pub missing: bool,
}

/// A place in a chain where lines are lacking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Break {
    /// The time of the last line before it.
    pub from: Timestamp,
    /// The time of the first line after it.
    pub to: Timestamp,
}

/// Where lines are lacking in a chain. A run that begins names the last line before it, wherever that was.
pub fn breaks(chain: &[Chained]) -> Vec<Break> {
    let tags: HashSet<&Fingerprint> = chain.iter().map(|line| &line.tag).collect();
    let lacks = |pair: &&[Chained]| match pair[1].entry.event {
        Event::Begun {} => !tags.contains(&pair[1].entry.prev),
        _ => pair[1].entry.prev != pair[0].tag || pair[1].entry.seq != pair[0].entry.seq + 1,
    };
    let broken = chain.windows(2).filter(lacks);
    let each = broken.map(|pair| Break {
        from: pair[0].entry.at,
        to: pair[1].entry.at,
    });
    each.collect()
}

/// A revocation as a line by itself, with its end.
pub(crate) fn written(key: &DerivedKey, revocation: &Revocation) -> serde_json::Result<String> {
    let json = serde_json::to_string(revocation)?;
    let tag = tag(key, &json);
    Ok(format!("{json}\t{tag}\n"))
}

/// A line of the chain, with its end; and its HMAC.
pub(crate) fn chained(
    key: &DerivedKey,
    entry: &Entry,
) -> serde_json::Result<(String, Fingerprint)> {
    let json = serde_json::to_string(entry)?;
    let tag = Fingerprint(mac(key, json.as_bytes()).finalize().into_bytes().into());
    Ok((format!("{json}\t{}\n", hex(&tag.0)), tag))
}

pub(super) fn tag(key: &DerivedKey, json: &str) -> String {
    hex(&mac(key, json.as_bytes()).finalize().into_bytes())
}

/// What a journal of this content holds.
pub(crate) fn read(key: &DerivedKey, content: &[u8]) -> Replay {
    let mut replay = Replay {
        unterminated: content.last().is_some_and(|last| *last != b'\n'),
        ..Replay::default()
    };
    for line in content.split(|byte| *byte == b'\n') {
        let line = read_line(key, line.trim_ascii_end());
        if line.ours.len() + line.newer > 1 || line.others {
            replay.foreign_lines += 1;
        }
        replay.newer_lines += line.newer;
        for ours in line.ours {
            match ours {
                Ours::Loose(revocation) => {
                    replay.revocations.push(revocation.clone());
                    replay.loose.push(revocation);
                }
                Ours::Chained(line) => {
                    replay.revocations.extend(line.entry.event.revocation());
                    replay.chain.push(*line);
                }
            }
        }
    }
    replay
}

/// How a revocation by itself begins.
pub(super) const BEGIN: &[u8] = br#"{"device":"#;
/// How a line of the chain begins.
const CHAINED: &[u8] = br#"{"seq":"#;
/// The digits of a line's HMAC.
const TAG_DIGITS: usize = 64;

fn mac(key: &DerivedKey, message: &[u8]) -> Hmac<Sha256> {
    // HMAC takes keys of every length, so this cannot fail.
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key.bytes())
        .unwrap_or_else(|_| unreachable!("HMAC takes keys of every length"));
    mac.update(message);
    mac
}

/// A line of this home.
enum Ours {
    Loose(Revocation),
    Chained(Box<Chained>),
}

/// What a line holds.
#[derive(Default)]
struct Content {
    ours: Vec<Ours>,
    /// How many of a newer program's there are.
    newer: usize,
    /// Whether there is anything else in it.
    others: bool,
}

/// What somebody, or a disk, has put before or after a line of ours, or in place of the end between two, takes nothing from
/// it.
fn read_line(key: &DerivedKey, line: &[u8]) -> Content {
    let is_begin = |at: &usize| line[*at..].starts_with(BEGIN) || line[*at..].starts_with(CHAINED);
    let mut begins: Vec<usize> = (0..line.len()).filter(is_begin).collect();
    begins.push(line.len());
    if begins[0] > 0 {
        // A newer program may begin its lines otherwise.
        begins.insert(0, 0);
    }
    let mut content = Content::default();
    for ends in begins.windows(2) {
        let Some(one) = read_one(key, &line[ends[0]..ends[1]]) else {
            content.others = true;
            continue;
        };
        match one.parse() {
            Some(ours) => content.ours.push(ours),
            None => content.newer += 1,
        }
        content.others |= !one.after.is_empty();
    }
    content
}

/// JSON with this home's HMAC.
struct Tagged<'a> {
    json: &'a str,
    tag: Fingerprint,
    after: &'a [u8],
}

impl Tagged<'_> {
    fn parse(&self) -> Option<Ours> {
        if !self.json.as_bytes().starts_with(CHAINED) {
            return serde_json::from_str(self.json).ok().map(Ours::Loose);
        }
        let entry = serde_json::from_str(self.json).ok()?;
        Some(Ours::Chained(Box::new(Chained {
            entry,
            tag: self.tag,
            text: format!("{}\t{}", self.json, hex(&self.tag.0)),
        })))
    }
}

/// The JSON with this home's HMAC with which a text begins, and what comes after the two.
fn read_one<'a>(key: &DerivedKey, text: &'a [u8]) -> Option<Tagged<'a>> {
    // Our JSON has no tab in it.
    let tab = text.iter().position(|byte| *byte == b'\t')?;
    let (json, tagged) = (&text[..tab], &text[tab + 1..]);
    let (tag, after) = tagged.split_at_checked(TAG_DIGITS)?;
    let tag = hearthkey_core::id::unhex::<32>(std::str::from_utf8(tag).ok()?)?;
    mac(key, json).verify_slice(&tag).ok()?;
    Some(Tagged {
        json: std::str::from_utf8(json).ok()?,
        tag: Fingerprint(tag),
        after,
    })
}
