//! Which refusals are written down in full, and which are counted: nobody makes the log grow by being refused.
//!
//! The first of a kind is written down at once. Further ones are counted, and one record a minute says how many they were.
//! A kind stays known while it goes on, so that a flood is one record a minute however long it lasts.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};

use crate::id::{DeviceId, Fingerprint};
use crate::time::Timestamp;

/// Of one kind, the different refusals that are written down in full, for as long as it goes on.
pub const IN_FULL_PER_KIND: usize = 16;
/// Refusals of strangers that are written down in full in a minute, and kinds whose count has a record of its own.
pub const OF_STRANGERS_MAX: usize = 20;
/// The same for devices, which have shown who they are.
pub const OF_DEVICES_MAX: usize = 60;
/// Kinds that are told apart at a time, of strangers and of devices. What is beyond is counted together.
const KINDS_MAX: usize = 1024;
/// Different refusals of one kind, and different sources beyond the kinds, that are told apart.
const DIFFERENT_MAX: usize = 32;
/// Length of an example.
const EXAMPLE_CHARS_MAX: usize = 200;
const MINUTE_S: i64 = 60;

/// Who was refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Somebody who has not shown who they are, by the prefix of the address; nothing where there is no address.
    Stranger(Option<IpAddr>),
    /// A device that has shown its certificate and holds its key.
    Device(DeviceId),
}

impl Source {
    /// A stranger at an address: a whole IPv4 address, because the neighbors in a home's /24 are other machines and one of
    /// them may be the attacker's; an IPv6 /64, because one machine has all of it.
    pub fn stranger(address: Option<IpAddr>) -> Self {
        Self::Stranger(address.map(|address| match address.to_canonical() {
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            v4 => v4,
        }))
    }
}

/// What makes two refusals the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    /// Who was refused.
    pub source: Source,
    /// The action of its record, as in `door.enter`.
    pub action: &'static str,
    /// Why, in a fixed word: nothing that the other side can choose.
    pub reason: &'static str,
}

/// What a record of refusals that were counted says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// The kind; nothing for those of all other kinds together.
    pub kind: Option<Kind>,
    /// How many they were.
    pub count: u64,
    /// How many different certificates, claims, topics or texts they had, or sources where they are of many kinds.
    pub different: usize,
    /// There may have been more different ones.
    pub or_more: bool,
    /// When the first was.
    pub first: Timestamp,
    /// When the last was.
    pub last: Timestamp,
    /// The last of them, in words.
    pub example: String,
}

/// The refusals of the current minute. It holds at most 2,048 kinds.
#[derive(Debug)]
pub struct RefusalTally {
    minute: i64,
    strangers: Pool,
    devices: Pool,
}

impl Default for RefusalTally {
    fn default() -> Self {
        Self {
            minute: 0,
            strangers: Pool::new(OF_STRANGERS_MAX),
            devices: Pool::new(OF_DEVICES_MAX),
        }
    }
}

impl RefusalTally {
    /// What was counted, if the minute is over.
    pub fn turn(&mut self, now: Timestamp) -> Vec<Counted> {
        let minute = now.as_s().div_euclid(MINUTE_S);
        if minute == self.minute {
            return Vec::new();
        }
        let passed = minute.abs_diff(std::mem::replace(&mut self.minute, minute));
        let all = self.take();
        if passed > 1 {
            self.strangers.kinds.clear();
            self.devices.kinds.clear();
        }
        all
    }

    /// What was counted up to now.
    pub fn take(&mut self) -> Vec<Counted> {
        let mut all = self.strangers.take();
        all.append(&mut self.devices.take());
        all
    }

    /// Seconds until something that was counted is to be written down; nothing if there is nothing.
    pub fn due_in_s(&self, now: Timestamp) -> Option<u64> {
        let waits = self.strangers.waits() || self.devices.waits();
        let left = MINUTE_S - now.as_s().rem_euclid(MINUTE_S);
        waits.then(|| u64::try_from(left).unwrap_or_default())
    }

    /// Enters a refusal. True if it is to be written down in full, otherwise it was counted. `said` is all that it says,
    /// and tells it from others of its kind.
    pub fn enter(&mut self, kind: Kind, said: &str, now: Timestamp) -> bool {
        match kind.source {
            Source::Stranger(_) => self.strangers.enter(kind, said, now),
            Source::Device(_) => self.devices.enter(kind, said, now),
        }
    }
}

#[derive(Debug)]
struct Pool {
    records_max: usize,
    in_full: usize,
    kinds: HashMap<Kind, Count>,
    beyond: Count,
}

impl Pool {
    fn new(records_max: usize) -> Self {
        Self {
            records_max,
            in_full: 0,
            kinds: HashMap::new(),
            beyond: Count::default(),
        }
    }

    fn waits(&self) -> bool {
        // A kind that was seen in full only is to be forgotten, which nobody waits for.
        self.beyond.count > 0 || self.kinds.values().any(|count| count.count > 0)
    }

    fn enter(&mut self, kind: Kind, said: &str, now: Timestamp) -> bool {
        if self.kinds.len() >= KINDS_MAX && !self.kinds.contains_key(&kind) {
            let source = format!("{:?}", kind.source);
            self.beyond.tell_apart(Fingerprint::of(source.as_bytes()));
            self.beyond.add(said, now);
            return false;
        }
        let count = self.kinds.entry(kind).or_default();
        count.goes_on = true;
        let is_new = count.tell_apart(Fingerprint::of(said.as_bytes()));
        if is_new && count.different.len() <= IN_FULL_PER_KIND && self.in_full < self.records_max {
            self.in_full += 1;
            return true;
        }
        count.add(said, now);
        false
    }

    fn take(&mut self) -> Vec<Counted> {
        self.in_full = 0;
        let mut all = Vec::new();
        self.kinds.retain(|kind, count| {
            if count.count > 0 {
                all.push(count.taken(Some(kind.clone())));
            }
            std::mem::take(&mut count.goes_on)
        });
        // The loudest have records of their own.
        all.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.kind.cmp(&b.kind)));
        let rest = all.split_off(all.len().min(self.records_max));
        for counted in rest {
            let source = counted
                .kind
                .map(|kind| format!("{:?}", kind.source))
                .unwrap_or_default();
            self.beyond.tell_apart(Fingerprint::of(source.as_bytes()));
            self.beyond.merge(
                counted.count,
                (counted.first, counted.last),
                counted.example,
            );
        }
        if self.beyond.count > 0 {
            all.push(std::mem::take(&mut self.beyond).taken(None));
        }
        all
    }
}

#[derive(Debug, Default)]
struct Count {
    different: BTreeSet<Fingerprint>,
    or_more: bool,
    count: u64,
    times: Option<(Timestamp, Timestamp)>,
    example: String,
    /// It was seen in this minute.
    goes_on: bool,
}

impl Count {
    /// Whether it is one that was not seen before, as far as that is remembered.
    fn tell_apart(&mut self, one: Fingerprint) -> bool {
        if self.different.len() < DIFFERENT_MAX {
            return self.different.insert(one);
        }
        self.or_more |= !self.different.contains(&one);
        false
    }

    fn add(&mut self, said: &str, now: Timestamp) {
        self.merge(
            1,
            (now, now),
            said.chars().take(EXAMPLE_CHARS_MAX).collect(),
        );
    }

    fn merge(&mut self, count: u64, (first, last): (Timestamp, Timestamp), example: String) {
        self.count = self.count.saturating_add(count);
        let (begun, ended) = self.times.unwrap_or((first, last));
        self.times = Some((begun.min(first), ended.max(last)));
        self.example = example;
    }

    /// Its record; what was told apart stays known.
    fn taken(&mut self, kind: Option<Kind>) -> Counted {
        let none = Timestamp::from_s(0);
        let (first, last) = self.times.take().unwrap_or((none, none));
        Counted {
            kind,
            count: std::mem::take(&mut self.count),
            different: self.different.len(),
            or_more: self.or_more,
            first,
            last,
            example: std::mem::take(&mut self.example),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: i64) -> Timestamp {
        Timestamp::from_s(s)
    }

    fn kind(address: &str) -> Kind {
        Kind {
            source: Source::stranger(Some(address.parse().unwrap())),
            action: "door.enter",
            reason: "handshake",
        }
    }

    #[test]
    fn a_flood_that_lasts_is_one_record_in_full_and_one_a_minute() {
        let mut tally = RefusalTally::default();
        let (mut in_full, mut counted) = (0, Vec::new());
        // 200 a second for ten minutes.
        for n in 0..120_000_i64 {
            let now = at(600 + n / 200);
            counted.append(&mut tally.turn(now));
            in_full += u32::from(tally.enter(kind("192.0.2.1"), "no certificate", now));
        }
        counted.append(&mut tally.take());
        assert_eq!((in_full, counted.len()), (1, 10));
        let all: u64 = counted.iter().map(|counted| counted.count).sum();
        assert_eq!(all, 119_999, "nothing is lost");
        let second = &counted[1];
        assert_eq!((second.first, second.last), (at(660), at(719)));
        assert_eq!((second.count, second.different), (12_000, 1));
        assert_eq!(second.example, "no certificate");
    }

    #[test]
    fn what_has_rested_for_a_minute_is_written_down_in_full_again() {
        let mut tally = RefusalTally::default();
        assert!(tally.turn(at(600)).is_empty());
        assert!(tally.enter(kind("192.0.2.1"), "x", at(600)));
        assert!(!tally.enter(kind("192.0.2.1"), "x", at(601)));
        assert_eq!(tally.due_in_s(at(601)), Some(59));
        assert_eq!(tally.turn(at(660)).len(), 1);
        assert_eq!(tally.due_in_s(at(660)), None);
        assert!(tally.turn(at(720)).is_empty());
        assert!(tally.enter(kind("192.0.2.1"), "x", at(720)));
        assert!(tally.turn(at(9000)).is_empty());
        assert!(
            tally.enter(kind("192.0.2.1"), "x", at(9000)),
            "nobody looked meanwhile"
        );
    }

    #[test]
    fn few_certificates_of_one_prefix_are_told_in_full_and_many_are_counted() {
        let mut tally = RefusalTally::default();
        let in_full = (0..100)
            .filter(|n| tally.enter(kind("2001:db8::1"), &format!("certificate {n}"), at(600)))
            .count();
        assert_eq!(in_full, IN_FULL_PER_KIND);
        let counted = tally.take();
        assert_eq!(
            (counted[0].count, counted[0].different),
            (84, DIFFERENT_MAX)
        );
        assert!(counted[0].or_more);
        let other = kind("2001:db8::ffff");
        assert!(
            !tally.enter(other, "certificate 0", at(600)),
            "the same /64"
        );
    }

    #[test]
    fn a_flood_from_everywhere_is_bounded_and_takes_no_room_of_devices() {
        let mut tally = RefusalTally::default();
        let mut in_full = 0;
        for n in 0..100_000_u32 {
            let from = IpAddr::from((0x0a00_0000 + n).to_be_bytes());
            let kind = kind(&from.to_string());
            in_full += usize::from(tally.enter(kind, "no certificate", at(600)));
        }
        assert_eq!(in_full, OF_STRANGERS_MAX);
        assert_eq!(tally.strangers.kinds.len(), KINDS_MAX);
        let lamp = Kind {
            source: Source::Device("lamp".parse().unwrap()),
            ..kind("192.0.2.1")
        };
        assert!(tally.enter(lamp, "its own", at(600)));
        let counted = tally.take();
        assert_eq!(counted.len(), OF_STRANGERS_MAX + 1);
        let rest = counted.last().unwrap();
        assert!(rest.kind.is_none() && rest.or_more);
        let all: u64 = counted.iter().map(|counted| counted.count).sum();
        assert_eq!(all, 100_000 - OF_STRANGERS_MAX as u64);
    }
}
