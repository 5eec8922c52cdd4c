//! Devices that have reached a bound lately: one finding for each device and bound.

use std::collections::HashMap;

use crate::bound::Bound;
use crate::finding::{Finding, FindingKind, Severity};
use crate::id::DeviceId;
use crate::posture::Each;
use crate::time::{Span, Timestamp};

/// A bound that was not reached again for so long is nothing to act on any more.
pub const REMEMBERED_FOR: Span = Span::hours(24);
/// Pairs of a device and a bound that are remembered; each takes about 150 bytes. One more forgets the oldest.
const REMEMBERED_MAX: usize = 1_024;

/// How often a device reached a bound, counted once a minute at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reached {
    first_at: Timestamp,
    last_at: Timestamp,
    times: u32,
}

/// Which devices have reached which bounds.
#[derive(Debug, Default)]
pub struct Overloads(HashMap<(DeviceId, Bound), Reached>);

impl Overloads {
    /// Takes note that a device has reached a bound.
    pub fn reach(&mut self, device: &DeviceId, bound: Bound, now: Timestamp) {
        let key = (device.clone(), bound);
        if let Some(reached) = self.0.get_mut(&key) {
            (reached.last_at, reached.times) = (now, reached.times.saturating_add(1));
            return;
        }
        self.forget_old(now);
        if self.0.len() >= REMEMBERED_MAX {
            let oldest = self.0.iter().min_by_key(|(_, reached)| reached.last_at);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.0.remove(&oldest);
            }
        }
        let reached = Reached {
            first_at: now,
            last_at: now,
            times: 1,
        };
        self.0.insert(key, reached);
    }

    /// Forgets what did not happen again for [`REMEMBERED_FOR`].
    fn forget_old(&mut self, now: Timestamp) {
        self.0
            .retain(|_, reached| now.since(reached.last_at) < REMEMBERED_FOR);
    }

    /// Forgets a device.
    pub fn forget(&mut self, device: &DeviceId) {
        self.0.retain(|(its, _), _| its != device);
    }

    /// What there is to act on, in the order of devices.
    pub fn findings(&self, now: Timestamp) -> Each {
        let mut recent: Vec<_> = self.0.iter().collect();
        recent.retain(|(_, reached)| now.since(reached.last_at) < REMEMBERED_FOR);
        recent.sort_by(|a, b| a.0.cmp(b.0));
        let mut each = Each::default();
        for ((device, bound), reached) in recent {
            let name = || format!("{device} ({})", bound.name());
            each.add(name, || finding(device, *bound, reached));
        }
        each
    }
}

fn finding(device: &DeviceId, bound: Bound, reached: &Reached) -> Finding {
    let object = format!("device:{device}");
    let finding = Finding::new(
        FindingKind::BoundReached,
        Severity::Medium,
        object,
        bound.name(),
    );
    let when = match reached.times {
        1 => format!("at {}", reached.last_at),
        _ => format!(
            "again and again from {} to {}",
            reached.first_at, reached.last_at
        ),
    };
    finding.saying(
        format!("{device}: {bound} ({when})."),
        format!(
            "This finding ends a day after it last happened. {}",
            bound.remedy().replace("DEVICE", device.as_str())
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::posture::EACH_MAX;

    fn at(s: i64) -> Timestamp {
        Timestamp::from_s(1_000_000 + s)
    }

    fn device(name: &str) -> DeviceId {
        name.parse().unwrap()
    }

    #[test]
    fn one_device_and_bound_is_one_finding_until_a_day_after_it_last_happened() {
        let mut overloads = Overloads::default();
        let lamp = device("lamp");
        overloads.reach(&lamp, Bound::Packet, at(0));
        let found = overloads.findings(at(0)).first;
        assert_eq!(
            found[0].what,
            "lamp: sent a packet that is too long: the connection was ended (at 1970-01-12T13:46:40Z)."
        );
        assert!(found[0].remedy.contains("[room] packet_max_bytes"));
        overloads.reach(&lamp, Bound::Packet, at(3_600));
        overloads.reach(&lamp, Bound::Pace, at(3_600));
        overloads.reach(&device("door"), Bound::Pace, at(3_600));
        let later = overloads.findings(at(3_600)).first;
        assert_eq!(later.len(), 3);
        let packet = later.iter().find(|one| one.id == found[0].id).unwrap();
        assert!(packet.what.contains("again and again"), "{}", packet.what);
        let pace = later.iter().find(|one| one.object == "device:door");
        assert!(
            pace.unwrap()
                .remedy
                .contains("`hearthkey device suspend door`")
        );
        let day = REMEMBERED_FOR.as_s();
        assert_eq!(overloads.findings(at(3_599 + day)).first.len(), 3);
        assert_eq!(overloads.findings(at(3_600 + day)).first, []);
        overloads.forget(&lamp);
        assert_eq!(overloads.findings(at(3_600)).first.len(), 1);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_oldest_gives_way() {
        let mut overloads = Overloads::default();
        for n in 0..REMEMBERED_MAX + 10 {
            overloads.reach(&device(&format!("d-{n:05}")), Bound::Pace, at(n as i64));
        }
        assert_eq!(overloads.0.len(), REMEMBERED_MAX);
        let found = overloads.findings(at(2_000));
        assert_eq!(found.first[0].object, "device:d-00010");
        assert_eq!(found.first.len(), EACH_MAX);
        assert_eq!(found.rest.count, (REMEMBERED_MAX - EACH_MAX) as u64);
        overloads.reach(&device("new"), Bound::Pace, at(200_000));
        assert_eq!(overloads.0.len(), 1);
    }
}
