//! The files that witness what an open store holds: its anchor is written, compared, and put aside when a person has accepted that
//! it does not fit; its journal is compared with the registry; what was missing at the start is noted.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::Ordering;

use hearthkey_core::certificate::RevocationReason;
use hearthkey_core::device::DeviceState;
use hearthkey_core::id::{DeviceId, Fingerprint};
use hearthkey_core::posture::witness::{Anchor, JournalGaps};
use hearthkey_core::time::{Span, Timestamp};

use crate::anchor::{ANCHOR_FILE, UNANCHORED_FILE};
use crate::change::Change;
use crate::devices::TakenBack;
use crate::journal::{Chained, Event, Issued, Journal, Revocation};
use crate::log::{SignedCheckpoint, open_checkpoint};
use crate::registry::ReadError;
use crate::store::{Store, locked};
use crate::writer::CommitError;

/// What is durable is in the journal within so long, unless the machine is stopped.
const WRITTEN_WITHIN: Span = Span::minutes(10);

impl Store {
    /// That the journal was missing is in the database now.
    pub fn note_missing_journal(&self) -> std::io::Result<()> {
        self.journal.anew_is_noted()
    }

    /// That the anchor was missing is in the database now.
    pub fn note_missing_anchor(&self) -> std::io::Result<()> {
        self.dir.remove(UNANCHORED_FILE)
    }

    /// Revocations in the registry that the journal lacks.
    pub fn journal_gaps(&self) -> Result<JournalGaps, ReadError> {
        let mut gaps = JournalGaps {
            missing: !self.journal.is_there(),
            lost: self.journal.has_lost(),
            ..JournalGaps::default()
        };
        let lines = self.unjournaled(Timestamp::default())?;
        let mut devices: Vec<DeviceId> = lines.into_iter().map(|line| line.device).collect();
        // They come sorted.
        devices.dedup();
        for device in devices {
            gaps.unwritten.add(device.to_string());
        }
        Ok(gaps)
    }

    /// The lines that the journal lacks, sorted by their devices. One of which the registry does not know when it was gets
    /// this moment.
    pub fn unjournaled(&self, now: Timestamp) -> Result<Vec<Revocation>, ReadError> {
        let (over, taken_back) = self.read(|registry| {
            Ok((
                registry.devices_that_are_over()?,
                registry.certificates_taken_back()?,
            ))
        })?;
        Ok(lacking(&self.journal, over, taken_back, now))
    }

    /// What was given shortly before the home was stopped and is not in the journal: durable here, and the machine stopped
    /// before the line was. A journal that says nothing yet lacks nothing.
    pub fn unjournaled_issues(&self, chain: &[Chained]) -> Result<Vec<Event>, ReadError> {
        let (Some(first), Some(newest)) = (chain.first(), chain.last()) else {
            return Ok(Vec::new());
        };
        let since = newest.entry.at.before(WRITTEN_WITHIN).max(first.entry.at);
        let known: HashSet<&Fingerprint> = chain
            .iter()
            .filter_map(|line| match &line.entry.event {
                Event::Issued(issued) => Some(issued.fingerprint()),
                _ => None,
            })
            .collect();
        let mut events = Vec::new();
        for (device, certificate, der) in self.read(|registry| registry.issued_since(since))? {
            if known.contains(&certificate.fingerprint) {
                continue;
            }
            events.push(Event::Named(device.clone()));
            if device.state == DeviceState::Active {
                events.push(Event::State {
                    from: DeviceState::Pending,
                    to: DeviceState::Active,
                    of: device.id,
                });
            }
            events.push(Event::Issued(Box::new(Issued::of(&certificate, &der))));
        }
        Ok(events)
    }

    /// Writes the newest checkpoint into the anchor file.
    pub fn write_anchor(&self) -> std::io::Result<()> {
        if locked(&self.read_only).is_some() {
            return Ok(());
        }
        let newest = self.checkpoints.borrow().clone();
        if self.anchor_is_ahead(newest.as_deref()) {
            return Err(std::io::Error::other(
                "the anchor file is ahead of the log, and is left as evidence",
            ));
        }
        match newest {
            Some(checkpoint) => {
                self.dir.replace(ANCHOR_FILE, &checkpoint.note)?;
                self.anchored.store(checkpoint.size, Ordering::Relaxed);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Whether the anchor file is of this home and has seen more than the log holds: then one of the two is not what it was.
    fn anchor_is_ahead(&self, newest: Option<&SignedCheckpoint>) -> bool {
        let Ok(Some(note)) = self.dir.read(ANCHOR_FILE) else {
            return false;
        };
        let anchor = open_checkpoint(&note, &self.vkey);
        anchor.is_ok_and(|anchor| anchor.size > newest.map_or(0, |newest| newest.size))
    }

    /// How the anchor file compares with the log now. While there is an incident, it is not written, and that is said there.
    pub fn anchor(&self) -> Result<Anchor, ReadError> {
        let newest = self.checkpoints.borrow().clone();
        let (Some(newest), None) = (newest, self.incident()) else {
            return Ok(Anchor::Current);
        };
        let Ok(Some(note)) = self.dir.read(ANCHOR_FILE) else {
            return Ok(Anchor::Missing(self.anchored.load(Ordering::Relaxed)));
        };
        let foreign = Anchor::Foreign(self.anchored.load(Ordering::Relaxed));
        let Ok(anchor) = open_checkpoint(&note, &self.vkey) else {
            return Ok(foreign);
        };
        let is_other = anchor.size == newest.size && anchor.root != newest.root;
        if anchor.size > newest.size || is_other {
            return Ok(foreign);
        }
        if anchor.size == newest.size {
            return Ok(Anchor::Current);
        }
        let since = self.read(|registry| registry.record_time(anchor.size))?;
        Ok(since.map_or(Anchor::Current, Anchor::Behind))
    }

    /// A person has looked at the incident: once that is on record, the log goes on from where it
    /// is. The old anchor stays beside the new one, as evidence.
    pub async fn accept_incident(&self, record: Change) -> Result<(), CommitError> {
        let writer = locked(&self.writer).clone();
        writer.ok_or(CommitError::Sealed)?.commit(record).await?;
        // Somebody else may have accepted it first. Until it is put aside, nothing is written over it.
        let is_read_only = locked(&self.read_only).is_some();
        if is_read_only && self.dir.has(ANCHOR_FILE).unwrap_or_default() {
            let moved = self.dir.rename(ANCHOR_FILE, "checkpoint.anchor.refuted");
            if let Err(error) = moved {
                tracing::error!(%error, "the refuted anchor could not be put aside");
            }
        }
        locked(&self.read_only).take();
        if let Err(error) = self.write_anchor() {
            tracing::error!(%error, "the anchor file could not be written");
        }
        Ok(())
    }
}

/// What of the devices that are over, and of the certificates that were taken back, is to be written into the journal.
fn lacking(
    journal: &Journal,
    over: Vec<(DeviceId, DeviceState)>,
    taken_back: Vec<TakenBack>,
    now: Timestamp,
) -> Vec<Revocation> {
    let mut lines: BTreeMap<(DeviceId, Timestamp), Revocation> = BTreeMap::new();
    for one in taken_back {
        if journal.holds_certificate(&one.certificate) {
            continue;
        }
        let line = lines.entry((one.device.clone(), one.at));
        let line = line.or_insert_with(|| empty_line(one.device, one.reason, one.at));
        line.certificates.push(one.certificate);
        if one.reason == RevocationReason::KeyCompromise {
            line.keys.push(one.key);
        }
    }
    for (device, state) in over {
        let mut known = lines.range((device.clone(), Timestamp::default())..);
        let is_known = known.next().is_some_and(|((its, _), _)| *its == device);
        if is_known || journal.holds(&device) {
            continue;
        }
        let reason = match state {
            DeviceState::Retired => RevocationReason::CessationOfOperation,
            _ => RevocationReason::Unspecified,
        };
        lines.insert((device.clone(), now), empty_line(device, reason, now));
    }
    lines.into_values().collect()
}

fn empty_line(device: DeviceId, reason: RevocationReason, at: Timestamp) -> Revocation {
    Revocation {
        device,
        certificates: Vec::new(),
        keys: Vec::new(),
        reason,
        at,
    }
}

#[cfg(test)]
mod tests {
    use hearthkey_core::id::HomeId;

    use super::*;
    use crate::keys::RootKey;

    #[tokio::test]
    async fn what_the_journal_lacks_of_a_second_life_is_known_by_its_certificate() {
        let place = tempfile::tempdir().unwrap();
        let home: HomeId = "home-1".parse().unwrap();
        let (journal, _) = Journal::open(place.path(), &RootKey::generate(), &home).unwrap();
        let id = |name: &str| -> DeviceId { name.parse().unwrap() };
        let (at, now) = (Timestamp::from_s(10), Timestamp::from_s(20));
        let compromise = RevocationReason::KeyCompromise;
        let taken_back = || {
            let all = [("lamp", 1), ("lamp", 2), ("plug", 3)].into_iter();
            let each = all.map(|(name, number)| TakenBack {
                device: id(name),
                certificate: Fingerprint([number; 32]),
                key: Fingerprint([number + 10; 32]),
                reason: compromise,
                at,
            });
            each.collect::<Vec<_>>()
        };
        let line = |name, numbers: &[u8]| Revocation {
            certificates: numbers.iter().map(|n| Fingerprint([*n; 32])).collect(),
            keys: numbers.iter().map(|n| Fingerprint([n + 10; 32])).collect(),
            ..empty_line(id(name), compromise, at)
        };
        journal.append(line("lamp", &[1])).await.unwrap();
        // The plug has been admitted again since; the hall never had a certificate.
        let over = || {
            let retired = (id("hall"), DeviceState::Retired);
            vec![retired, (id("lamp"), DeviceState::Revoked)]
        };
        let hall = empty_line(id("hall"), RevocationReason::CessationOfOperation, now);
        let lines = lacking(&journal, over(), taken_back(), now);
        assert_eq!(lines, [hall, line("lamp", &[2]), line("plug", &[3])]);
        for line in lines {
            journal.append(line).await.unwrap();
        }
        assert!(lacking(&journal, over(), taken_back(), now).is_empty());
    }
}
