//! What the journal holds beyond a backup is done again in the restored home: a backup and its journal are the home as it was.

use std::collections::{BTreeSet, HashSet};

use hearthkey_core::backup::shipped::Position;
use hearthkey_core::id::{DeviceId, EnvironmentName, ProfileName};
use hearthkey_core::posture::backups::{Brought, Hole};
use hearthkey_core::time::Timestamp;
use hearthkey_store::change::{Change, Write};
use hearthkey_store::journal::{Break, Chained, Event, breaks};
use hearthkey_store::registry::{ReadError, Registry};
use hearthkey_store::{CommitError, Store};

use crate::backups::ship::{COVERED, position};

/// Writes that are committed at once.
const BATCH: usize = 500;

/// What came of a replay.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    /// Devices that renewed after the backup.
    pub(super) renewed: BTreeSet<DeviceId>,
    /// Devices that were enrolled after it.
    pub(super) enrolled: BTreeSet<DeviceId>,
    /// Devices that were suspended after it.
    pub(super) suspended: BTreeSet<DeviceId>,
    /// Devices, and others, of an environment or a profile that the backup does not have.
    pub(super) left_out: BTreeSet<String>,
    /// Where lines are lacking, from the backup on.
    pub(super) holes: Vec<Break>,
    /// Whether the journal goes on from the backup: then everything between its holes is known.
    pub(super) goes_on: bool,
    /// When the oldest line of it was written.
    pub(super) from: Option<Timestamp>,
    /// When the newest line of it was written.
    pub(super) to: Option<Timestamp>,
    /// How many records the log had then.
    pub(super) log: u64,
}

/// Why a journal is not replayed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReplayError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// What the registry has to have for a write to be of use.
struct Known {
    environments: HashSet<EnvironmentName>,
    profiles: HashSet<String>,
    devices: HashSet<DeviceId>,
}

impl Known {
    fn of(registry: &Registry<'_>) -> Result<Self, ReadError> {
        let mut devices = HashSet::new();
        let mut after = String::new();
        loop {
            let page = registry.devices(&after, 1000)?;
            let Some(last) = page.last() else { break };
            after = last.device.id.to_string();
            devices.extend(page.into_iter().map(|known| known.device.id));
        }
        Ok(Self {
            environments: registry.environments()?.into_iter().collect(),
            profiles: registry.profile_names()?.into_iter().collect(),
            devices,
        })
    }

    /// Whether all is there that an event needs; and what it names is known from now on.
    fn takes(&mut self, event: &Event) -> bool {
        let has = |profile: &ProfileName| self.profiles.contains(profile.as_str());
        match event {
            Event::Profile { name, .. } => {
                self.profiles.insert(name.to_string());
                true
            }
            Event::Named(device) => {
                let fits = self.environments.contains(&device.environment) && has(&device.profile);
                if fits {
                    self.devices.insert(device.id.clone());
                }
                fits
            }
            Event::Issued(issued) => self.devices.contains(issued.device()),
            _ => true,
        }
    }
}

/// Replays the chain of a journal from where the database of the backup holds everything.
pub(super) async fn replay(store: &Store, chain: Vec<Chained>) -> Result<Replayed, ReplayError> {
    let covered = store.read(|registry| position(registry, COVERED))?;
    let mut known = store.read(Known::of)?;
    let after = covered.map_or(0, |covered| covered.seq);
    let mut replayed = Replayed {
        goes_on: covered.is_some(),
        ..Replayed::default()
    };
    let mut chain = chain;
    // This restore's own beginning says nothing of before.
    let is_own = |line: &Chained| matches!(line.entry.event, Event::Begun {});
    while chain.last().is_some_and(is_own) {
        chain.pop();
    }
    chain.retain(|line| line.entry.seq > after);
    replayed.look(&chain, covered);
    let mut writes: Vec<Write> = Vec::new();
    for line in chain {
        let event = line.entry.event;
        if !known.takes(&event) {
            replayed.left_out.insert(what(&event));
            continue;
        }
        replayed.count(&event);
        let again = event.writes().into_iter();
        writes.extend(again.map(|write| Write::Again(Box::new(write))));
        if writes.len() >= BATCH {
            commit(store, std::mem::take(&mut writes)).await?;
        }
    }
    commit(store, writes).await?;
    Ok(replayed)
}

async fn commit(store: &Store, writes: Vec<Write>) -> Result<(), CommitError> {
    if writes.is_empty() {
        return Ok(());
    }
    let change = Change {
        writes,
        ..Change::default()
    };
    store.commit(change.journaled()).await.map(drop)
}

fn what(event: &Event) -> String {
    match event {
        Event::Named(device) => device.id.to_string(),
        Event::Issued(issued) => issued.device().to_string(),
        _ => "something".into(),
    }
}

/// Names that are told at most.
const NAMED_MAX: usize = 20;

impl Replayed {
    /// What the home keeps of it; none of a journal that has no chain. One that does not go on from the backup lacks what
    /// was between the two.
    pub(super) fn brought(&self, backup_at: Timestamp) -> Option<Brought> {
        if !self.goes_on && self.to.is_none() {
            return None;
        }
        let count = |devices: &BTreeSet<DeviceId>| devices.len() as u64;
        let holes = self.holes.iter().map(|hole| Hole {
            from: hole.from,
            to: hole.to,
        });
        let before = (!self.goes_on).then_some(Hole {
            from: backup_at,
            to: self.from.unwrap_or(backup_at),
        });
        Some(Brought {
            renewed: count(&self.renewed),
            enrolled: count(&self.enrolled),
            suspended: count(&self.suspended),
            left_out: self.left_out.iter().take(NAMED_MAX).cloned().collect(),
            holes: before.into_iter().chain(holes).collect(),
        })
    }

    /// Where lines are lacking: within the chain, and between it and the backup.
    fn look(&mut self, chain: &[Chained], covered: Option<Position>) {
        self.holes = breaks(chain);
        if let (Some(covered), Some(first)) = (covered, chain.first()) {
            let is_next = first.entry.prev == covered.tag;
            let is_first = covered.seq == 0 && matches!(first.entry.event, Event::Begun {});
            if !is_next && !is_first {
                let hole = Break {
                    from: covered.at,
                    to: first.entry.at,
                };
                self.holes.insert(0, hole);
            }
        }
        self.from = chain.first().map(|line| line.entry.at);
        if let Some(newest) = chain.last() {
            (self.to, self.log) = (Some(newest.entry.at), newest.entry.log);
        }
    }

    fn count(&mut self, event: &Event) {
        match event {
            Event::Issued(issued) if issued.generation() == 0 => {
                self.enrolled.insert(issued.device().clone());
            }
            Event::Issued(issued) => {
                self.renewed.insert(issued.device().clone());
            }
            Event::Suspended { of } => {
                self.suspended.insert(of.clone());
            }
            Event::State { from, of, .. } if from.as_str() == "suspended" => {
                self.suspended.remove(of);
            }
            _ => {}
        }
    }
}
