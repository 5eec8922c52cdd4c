//! The lines of the journal: one revocation each, as JSON with this home's HMAC after a tab.

use hearthkey_core::certificate::RevocationReason;
use hearthkey_core::id::{DeviceId, Fingerprint, hex};
use hearthkey_core::time::Timestamp;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::keys::DerivedKey;

/// One revocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// The device.
    pub device: DeviceId,
    /// The certificates that were taken back with it.
    pub certificates: Vec<Fingerprint>,
    /// The keys that are never certified again, if it was a compromise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<Fingerprint>,
    /// Why.
    pub reason: RevocationReason,
    /// When.
    pub at: Timestamp,
}

/// What a journal held when it was opened.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// The revocations, oldest first.
    pub revocations: Vec<Revocation>,
    /// Lines that do not carry this home's HMAC: altered, or cut short.
    pub foreign_lines: usize,
    /// Lines that carry this home's HMAC and say what this program does not know: a newer one has written them.
    pub newer_lines: usize,
    /// Whether the last line lacks its end.
    pub unterminated: bool,
    /// Whether the file was not there.
    pub missing: bool,
}

/// A revocation as a line, with its end.
pub(crate) fn written(key: &DerivedKey, revocation: &Revocation) -> serde_json::Result<String> {
    let json = serde_json::to_string(revocation)?;
    let tag = tag(key, &json);
    Ok(format!("{json}\t{tag}\n"))
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
        replay.revocations.extend(line.ours);
    }
    replay
}

/// How a line of ours begins.
pub(super) const BEGIN: &[u8] = br#"{"device":"#;
/// The digits of a line's HMAC.
const TAG_DIGITS: usize = 64;

fn mac(key: &DerivedKey, message: &[u8]) -> Hmac<Sha256> {
    // HMAC takes keys of every length, so this cannot fail.
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key.bytes())
        .unwrap_or_else(|_| unreachable!("HMAC takes keys of every length"));
    mac.update(message);
    mac
}

/// What a line holds.
#[derive(Default)]
struct Content {
    ours: Vec<Revocation>,
    /// How many of a newer program's there are.
    newer: usize,
    /// Whether there is anything else in it.
    others: bool,
}

/// What somebody, or a disk, has put before or after a line of ours, or in place of the end between two, takes nothing from
/// it.
fn read_line(key: &DerivedKey, line: &[u8]) -> Content {
    let windows = line.windows(BEGIN.len()).enumerate();
    let begins = windows.filter(|(_, part)| *part == BEGIN);
    let mut begins: Vec<usize> = begins.map(|(at, _)| at).collect();
    begins.push(line.len());
    if begins[0] > 0 {
        // A newer program may begin its lines otherwise.
        begins.insert(0, 0);
    }
    let mut content = Content::default();
    for ends in begins.windows(2) {
        let Some((json, after)) = read_one(key, &line[ends[0]..ends[1]]) else {
            content.others = true;
            continue;
        };
        match serde_json::from_slice(json) {
            Ok(revocation) => content.ours.push(revocation),
            Err(_) => content.newer += 1,
        }
        content.others |= !after.is_empty();
    }
    content
}

/// The JSON with this home's HMAC with which a text begins, and what comes after the two.
fn read_one<'a>(key: &DerivedKey, text: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    // Our JSON has no tab in it.
    let tab = text.iter().position(|byte| *byte == b'\t')?;
    let (json, tagged) = (&text[..tab], &text[tab + 1..]);
    let (tag, after) = tagged.split_at_checked(TAG_DIGITS)?;
    let tag = hearthkey_core::id::unhex::<32>(std::str::from_utf8(tag).ok()?)?;
    mac(key, json).verify_slice(&tag).ok()?;
    Some((json, after))
}
