//! Two machines under one identity: the first sign of a copied key.
//!
//! Somebody with a copy of a device's key takes its session, the device takes it back, and so on. One machine can look like
//! that, too: it connects again before its lost connection is noticed, it gets another address, its firmware changes. So what
//! counts is that *both come back*: a machine that has moved on is not seen under its old address again.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

mod apart;

pub use apart::APART_WITHIN;

use apart::Comings;

use crate::finding::{Finding, FindingKind, RemedyAction, RemedyKind, Severity};
use crate::id::DeviceId;
use crate::ja4::Ja4;
use crate::posture::Each;
use crate::time::{Span, Timestamp};

/// Two machines that have both come back within this time are two.
pub const ALTERNATING_WITHIN: Span = Span::minutes(10);
/// So often a machine that was gone has to be back within that time: one that moves there and back is one.
const COMEBACKS: usize = 2;
/// So many takeovers within a minute are not a client that connects again, wherever they come from.
pub const TAKEOVERS_PER_MINUTE: u32 = 5;
/// Sessions that have been there side by side for so long, from two addresses, are of two machines: a connection that is
/// dead is noticed earlier.
pub const BESIDE_FOR: Span = Span::minutes(5);
/// What did not happen again for so long is nothing to act on any more.
pub const REMEMBERED_FOR: Span = Span::days(7);
/// A device is put on record again after this time at the earliest.
pub const TOLD_AGAIN: Span = Span::minutes(10);

/// Devices that are watched. One more forgets the one that was quiet longest.
const WATCHED_MAX: usize = 1_024;
/// Places where a device was seen that are remembered.
const SEEN_MAX: usize = 8;
/// What is remembered of one device, at most, in bytes: its places, its finding with a client id of 256 bytes, its name.
#[cfg(test)]
const DEVICE_MAX_BYTES: usize = 2_048;
/// Findings that are kept across a restart.
const KEPT_MAX: usize = 64;
/// A client id is cut to this length, in bytes.
const CLIENT_ID_MAX_BYTES: usize = 256;

/// Where a connection comes from, as far as the network tells machines apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The address.
    pub address: IpAddr,
    /// The kind of TLS client, if its ClientHello could be read.
    pub ja4: Option<Ja4>,
}

impl Machine {
    /// Whether they may be one. A host may use IPv4 and IPv6 by turns, and those cannot be compared.
    fn may_be(&self, other: &Self) -> bool {
        let same_program = match (self.ja4, other.ja4) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        let comparable = self.address.is_ipv4() == other.address.is_ipv4();
        same_program && (!comparable || self.address == other.address)
    }
}

/// A machine connected as a device while another connection of that device was there.
#[derive(Debug, Clone)]
pub struct Meeting {
    /// The device.
    pub device: DeviceId,
    /// The client id that it connected with.
    pub client_id: String,
    /// The machine that was there.
    pub earlier: Machine,
    /// When something was last seen that.
    pub heard_at: Timestamp,
    /// The one that came.
    pub later: Machine,
    /// How often that happened since the last report: 1 or more.
    pub times: u32,
}

/// What is known of one device.
#[derive(Debug)]
struct Watched {
    /// Machines in the order in which they were seen, none twice in a row.
    seen: VecDeque<(Timestamp, Machine)>,
    minute_from: Timestamp,
    in_minute: u32,
    last_at: Timestamp,
    told_at: Option<Timestamp>,
}

/// Two machines that seem to use one identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedIdentity {
    /// The device.
    pub device: DeviceId,
    /// The client id of the later one.
    pub client_id: String,
    /// The two; the same twice where they cannot be distinguished.
    pub machines: [Machine; 2],
    /// Takeovers within the last minute.
    pub takeovers: u32,
    /// Whether they connected by turns without having been seen to meet.
    #[serde(default)]
    pub apart: bool,
    /// When it was last seen.
    pub last_at: Timestamp,
}

/// Which devices seem to be two machines.
#[derive(Debug, Default)]
pub struct SharedIdentities {
    watched: HashMap<DeviceId, Watched>,
    comings: Comings,
    found: HashMap<DeviceId, SharedIdentity>,
}

impl Watched {
    fn new(now: Timestamp) -> Self {
        Self {
            seen: VecDeque::new(),
            minute_from: now,
            in_minute: 0,
            last_at: now,
            told_at: None,
        }
    }

    fn see(&mut self, machine: Machine, at: Timestamp) {
        match self.seen.back_mut() {
            Some((last_at, last)) if last.may_be(&machine) => {
                *last_at = at.max(*last_at);
                last.ja4 = last.ja4.or(machine.ja4);
            }
            // What was received before the newest is known already.
            Some((last_at, _)) if at < *last_at => {}
            _ => self.seen.push_back((at, machine)),
        }
        if self.seen.len() > SEEN_MAX {
            self.seen.pop_front();
        }
    }

    fn count(&mut self, times: u32, now: Timestamp) {
        if now.since(self.minute_from) >= Span::minutes(1) {
            (self.minute_from, self.in_minute) = (now, 0);
        }
        self.in_minute = self.in_minute.saturating_add(times);
        self.last_at = now;
    }

    /// The two machines that come back by turns, if there are two.
    fn alternating(&self, now: Timestamp) -> Option<[Machine; 2]> {
        let since = now.before(ALTERNATING_WITHIN);
        let recent: Vec<&Machine> = self
            .seen
            .iter()
            .filter(|(at, _)| *at >= since)
            .map(|(_, machine)| machine)
            .collect();
        let comes_back = |(at, machine): (usize, &&Machine)| {
            let before = recent.get(..at.saturating_sub(1)).unwrap_or_default();
            before.iter().any(|earlier| earlier.may_be(machine))
        };
        let comebacks = recent
            .iter()
            .enumerate()
            .filter(|it| comes_back(*it))
            .count();
        match recent.as_slice() {
            [.., first, second] if comebacks >= COMEBACKS => Some([**first, **second]),
            _ => None,
        }
    }
}

impl SharedIdentities {
    /// Takes note of a meeting. Returns what is to be put on record now, if anything is.
    pub fn meet(&mut self, meeting: Meeting, now: Timestamp) -> Option<SharedIdentity> {
        self.make_room(&meeting.device, now);
        let watched = self
            .watched
            .entry(meeting.device.clone())
            .or_insert_with(|| Watched::new(now));
        watched.see(meeting.earlier, meeting.heard_at.min(now));
        watched.see(meeting.later, now);
        watched.count(meeting.times, now);
        let two = watched.alternating(now);
        if two.is_none() && watched.in_minute < TAKEOVERS_PER_MINUTE {
            return None;
        }
        let found = SharedIdentity {
            machines: two.unwrap_or([meeting.later, meeting.later]),
            takeovers: watched.in_minute,
            client_id: clipped(meeting.client_id),
            device: meeting.device.clone(),
            last_at: now,
            apart: false,
        };
        // Two machines are not taken for two programs again because one of them was quicker this time.
        let known = self.found.get(&meeting.device);
        let were_alike = known.is_some_and(|its| its.machines[0] == its.machines[1]);
        let is_told = !(were_alike && two.is_some())
            && watched
                .told_at
                .is_some_and(|told| now.since(told) < TOLD_AGAIN);
        let (machines, apart) = match known {
            Some(known) if two.is_none() && now.since(known.last_at) < REMEMBERED_FOR => {
                (known.machines, known.apart)
            }
            _ => (found.machines, false),
        };
        let found = SharedIdentity {
            machines,
            apart,
            ..found
        };
        if !is_told {
            watched.told_at = Some(now);
        }
        self.make_room_for_finding(&meeting.device);
        self.found.insert(meeting.device, found.clone());
        (!is_told).then_some(found)
    }

    /// Takes note of a connection that met no other. Returns what is to be put on record now, if anything is: once, and again
    /// when it was forgotten.
    pub fn come(
        &mut self,
        device: &DeviceId,
        client_id: &str,
        machine: Machine,
        now: Timestamp,
    ) -> Option<SharedIdentity> {
        let machines = self.comings.come(device, machine, now)?;
        let is_known = |known: &&mut SharedIdentity| now.since(known.last_at) < REMEMBERED_FOR;
        if let Some(known) = self.found.get_mut(device).filter(is_known) {
            // That they have met says more.
            if known.apart {
                (known.machines, known.last_at) = (machines, now);
            }
            return None;
        }
        self.make_room_for_finding(device);
        let found = SharedIdentity {
            device: device.clone(),
            client_id: clipped(client_id.to_owned()),
            machines,
            takeovers: 0,
            last_at: now,
            apart: true,
        };
        self.found.insert(device.clone(), found.clone());
        Some(found)
    }

    /// Forgets what is old, and, if there is no room for another device, the one that was quiet longest.
    fn make_room(&mut self, newcomer: &DeviceId, now: Timestamp) {
        if self.watched.len() < WATCHED_MAX || self.watched.contains_key(newcomer) {
            return;
        }
        self.found
            .retain(|_, found| now.since(found.last_at) < REMEMBERED_FOR);
        let quiet = self.watched.iter().min_by_key(|(_, its)| its.last_at);
        if let Some(device) = quiet.map(|(device, _)| device.clone()) {
            self.forget(&device);
        }
    }

    /// Forgets the finding that was seen last longest ago, if there is no room for another.
    fn make_room_for_finding(&mut self, newcomer: &DeviceId) {
        if self.found.len() < WATCHED_MAX || self.found.contains_key(newcomer) {
            return;
        }
        let oldest = self.found.values().min_by_key(|found| found.last_at);
        if let Some(device) = oldest.map(|found| found.device.clone()) {
            self.found.remove(&device);
        }
    }

    /// Forgets a device: it has a new key. False if there was no finding about it.
    pub fn forget(&mut self, device: &DeviceId) -> bool {
        self.watched.remove(device);
        self.comings.forget(device);
        self.found.remove(device).is_some()
    }

    /// What there is to act on, in the order of devices: of those that may come in.
    pub fn findings(&self, may_come_in: impl Fn(&DeviceId) -> bool, now: Timestamp) -> Each {
        let mut recent: Vec<_> = self.found.values().collect();
        recent.retain(|found| {
            now.since(found.last_at) < REMEMBERED_FOR && may_come_in(&found.device)
        });
        recent.sort_by(|a, b| a.device.cmp(&b.device));
        let mut each = Each::default();
        for found in recent {
            each.add(|| found.device.to_string(), || found.finding());
        }
        each
    }

    /// The newest findings, to be kept across a restart: JSON.
    pub fn to_json(&self) -> Vec<u8> {
        let mut newest: Vec<_> = self.found.values().collect();
        newest.sort_by_key(|found| std::cmp::Reverse(found.last_at));
        newest.truncate(KEPT_MAX);
        serde_json::to_vec(&newest).unwrap_or_default()
    }

    /// Takes up what was kept. What cannot be read is nothing.
    pub fn from_json(json: &[u8]) -> Self {
        let kept: Vec<SharedIdentity> = serde_json::from_slice(json).unwrap_or_default();
        let found = kept.into_iter().take(KEPT_MAX);
        Self {
            found: found.map(|its| (its.device.clone(), its)).collect(),
            ..Self::default()
        }
    }
}

fn clipped(mut text: String) -> String {
    let mut end = text.len().min(CLIENT_ID_MAX_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

impl SharedIdentity {
    fn finding(&self) -> Finding {
        let (device, [first, second]) = (&self.device, &self.machines);
        if self.apart {
            return self.finding_apart();
        }
        if first == second {
            return about(device, Severity::Medium, "").saying(
                format!(
                    "Two programs at {} seem to use the identity of {device}: its session was taken over {} times within a minute, last at {}.",
                    first.address, self.takeovers, self.last_at
                ),
                format!(
                    "If both are yours, give each its own identity, or each its own client id and their profile a sessions_max above 1. \
                     If there is only one, its network keeps losing the connection. If neither explains it: {}",
                    cut_off(device)
                ),
            );
        }
        let apart = match first.address == second.address {
            true => format!(
                "both at {}, with different TLS programs ({} and {})",
                first.address,
                program(first),
                program(second)
            ),
            false if first.ja4 != second.ja4 => format!(
                "{} and {}, with different TLS programs ({} and {})",
                first.address,
                second.address,
                program(first),
                program(second)
            ),
            false => format!("{} and {}", first.address, second.address),
        };
        about(device, Severity::High, "").saying(
            format!(
                "Two machines alternate in using the identity of {device}: {apart}, last at {}.",
                self.last_at
            ),
            format!(
                "Find out which of the two is the device. If you do not recognize the other, the key of {device} was copied: {} \
                 If both are yours, give each its own identity.",
                cut_off(device)
            ),
        )
    }
}

impl SharedIdentity {
    fn finding_apart(&self) -> Finding {
        let (device, [first, second]) = (&self.device, &self.machines);
        about(device, Severity::Medium, "apart").saying(
            format!(
                "The identity of {device} may be used by two machines that connect by turns: {} and {}, with different TLS programs ({} and {}), last at {}.",
                first.address,
                second.address,
                program(first),
                program(second),
                self.last_at
            ),
            format!(
                "See which of the two is the device. If you know both, give each an identity of its own. If you do not know one, the \
                 key of {device} was perhaps copied: {}",
                cut_off(device)
            ),
        )
    }
}

fn about(device: &DeviceId, severity: Severity, mark: &str) -> Finding {
    let object = format!("device:{device}");
    let finding = Finding::new(FindingKind::SharedIdentity, severity, object.clone(), mark);
    finding.solved_by(RemedyAction::new(RemedyKind::Suspend, object))
}

fn program(machine: &Machine) -> String {
    machine
        .ja4
        .map_or_else(|| "unknown".into(), |its| its.to_string())
}

fn cut_off(device: &DeviceId) -> String {
    format!(
        "suspend it at once, revoke it because its key is compromised, and give the device a new claim. This finding ends \
         seven days after it was last seen, and with a new claim. On the command line: `hearthkey device suspend {device}`, \
         then revoke it with `--reason key-compromise`."
    )
}

/// A live session, as it is compared with others of its device.
#[derive(Debug, Clone)]
pub struct Present {
    /// The device.
    pub device: DeviceId,
    /// Where it is connected from.
    pub address: IpAddr,
    /// Since when.
    pub since: Timestamp,
}

/// Devices whose sessions have been there side by side for [`BESIDE_FOR`] from two addresses: where a profile allows several
/// sessions, nobody throws anybody out. It goes away with one of the sessions. They are added to `each`.
pub fn side_by_side(mut sessions: Vec<Present>, now: Timestamp, mut each: Each) -> Each {
    sessions.retain(|session| now.since(session.since) >= BESIDE_FOR);
    sessions.sort_by(|a, b| (&a.device, a.address).cmp(&(&b.device, b.address)));
    for group in sessions.chunk_by(|a, b| a.device == b.device) {
        let differ = |a: &&Present, b: &Present| {
            a.address.is_ipv4() == b.address.is_ipv4() && a.address != b.address
        };
        let two = group
            .iter()
            .find_map(|a| Some((a, group.iter().find(|b| differ(&a, b))?)));
        let Some((first, second)) = two else { continue };
        let device = &first.device;
        each.add(
            || device.to_string(),
            || {
                about(device, Severity::High, "beside").saying(
                    format!(
                        "{device} is connected from two addresses at the same time: {} and {}.",
                        first.address, second.address
                    ),
                    format!(
                        "If both are yours, give each its own identity, so that each can be revoked alone. If you do not recognize one of them, the key of {device} was copied: {}",
                        cut_off(device)
                    ),
                )
            },
        );
    }
    each
}

#[cfg(test)]
mod tests;
