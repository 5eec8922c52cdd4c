//! How often somebody may fail to log in: by where they come from, and by whom they say they are.
//!
//! An attempt is counted as a failure before it is judged, and taken out of the count if it was none: so many guesses at
//! once share one budget.
//!
//! A name counts whether anybody has it or not, so that waiting tells nothing. Passkeys are not
//! slowed by a name: they name nobody before they have proven who they are.

use std::collections::HashMap;
use std::net::IpAddr;

use hearthkey_broker::origin;
use hearthkey_core::id::Fingerprint;
use hearthkey_core::time::{Span, Timestamp};

/// Failures of one IPv4 address or IPv6 /64 in the window.
const PER_ORIGIN_MAX: u32 = 20;
/// Failures for one name in the window.
const PER_NAME_MAX: u32 = 10;
/// Ceremonies that one origin may begin in the window.
const BEGUN_MAX: u32 = 60;
/// The window.
const WINDOW: Span = Span::minutes(5);
/// Origins and names that are counted. What comes from more waits until the window is over.
const COUNTED_MAX: usize = 8192;

/// An attempt that counts as a failure as long as it is not given back.
#[derive(Debug)]
pub(crate) struct Attempt {
    window: i64,
    origin: IpAddr,
    name: Option<Fingerprint>,
}

/// The failures of the current window.
#[derive(Default)]
pub(crate) struct Throttle {
    window: i64,
    origins: HashMap<IpAddr, u32>,
    names: HashMap<Fingerprint, u32>,
    begun: HashMap<IpAddr, u32>,
}

fn full<K: std::hash::Hash + Eq>(counts: &HashMap<K, u32>, key: &K, max: u32) -> bool {
    match counts.get(key) {
        Some(count) => *count >= max,
        None => counts.len() >= COUNTED_MAX,
    }
}

fn take_one<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, u32>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// The name as it is counted: what a stranger types is not kept.
pub(crate) fn counted(name: &str) -> Fingerprint {
    Fingerprint::of(name.to_lowercase().as_bytes())
}

impl Throttle {
    fn turn(&mut self, now: Timestamp) {
        let window = now.as_ms() / WINDOW.as_ms();
        if window != self.window {
            *self = Self {
                window,
                ..Self::default()
            };
        }
    }

    /// Whether an address has to wait.
    pub(crate) fn holds(&mut self, address: IpAddr, now: Timestamp) -> bool {
        self.turn(now);
        full(&self.origins, &origin(address), PER_ORIGIN_MAX)
    }

    /// Counts an attempt as a failure, before it is judged; none if this address, or this name, has to wait.
    pub(crate) fn attempt(
        &mut self,
        address: IpAddr,
        name: Option<&str>,
        now: Timestamp,
    ) -> Option<Attempt> {
        let (origin, name) = (origin(address), name.map(counted));
        if self.holds(address, now) {
            return None;
        }
        let is_held = |name: &Fingerprint| full(&self.names, name, PER_NAME_MAX);
        if name.as_ref().is_some_and(is_held) {
            return None;
        }
        *self.origins.entry(origin).or_default() += 1;
        if let Some(name) = name {
            *self.names.entry(name).or_default() += 1;
        }
        Some(Attempt {
            window: self.window,
            origin,
            name,
        })
    }

    /// Takes an attempt out of the count: it was none in vain.
    pub(crate) fn give_back(&mut self, attempt: Attempt) {
        if attempt.window != self.window {
            return;
        }
        take_one(&mut self.origins, &attempt.origin);
        if let Some(name) = attempt.name {
            take_one(&mut self.names, &name);
        }
    }

    /// Counts a ceremony that begins; false if there were too many.
    pub(crate) fn may_begin(&mut self, address: IpAddr, now: Timestamp) -> bool {
        self.turn(now);
        let origin = origin(address);
        if full(&self.begun, &origin, BEGUN_MAX) {
            return false;
        }
        *self.begun.entry(origin).or_default() += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    #[test]
    fn a_name_waits_after_ten_failures_from_anywhere_whether_anybody_has_it_or_not() {
        let mut throttle = Throttle::default();
        let now = Timestamp::from_s(0);
        for n in 0..PER_NAME_MAX {
            assert!(throttle.attempt(address(n), Some("Anna"), now).is_some());
        }
        assert!(throttle.attempt(address(99), Some("anna"), now).is_none());
        assert!(throttle.attempt(address(99), Some("bert"), now).is_some());
        let passkey = throttle.attempt(address(99), None, now);
        assert!(passkey.is_some(), "a passkey names nobody");
        let later = now.after(WINDOW);
        assert!(throttle.attempt(address(99), Some("anna"), later).is_some());
    }

    #[test]
    fn an_address_waits_after_twenty_failures_whatever_it_tries() {
        let mut throttle = Throttle::default();
        let now = Timestamp::from_s(0);
        for n in 0..PER_ORIGIN_MAX {
            let name = n.to_string();
            assert!(throttle.attempt(address(1), Some(&name), now).is_some());
        }
        assert!(throttle.holds(address(1), now));
        assert!(throttle.attempt(address(1), None, now).is_none());
        assert!(!throttle.holds(address(2), now));
    }

    #[test]
    fn attempts_under_way_count_as_failures_until_they_are_given_back() {
        let mut throttle = Throttle::default();
        let now = Timestamp::from_s(0);
        let mut under_way: Vec<Attempt> = (0..PER_NAME_MAX)
            .map(|n| throttle.attempt(address(n), Some("anna"), now).unwrap())
            .collect();
        assert!(throttle.attempt(address(50), Some("anna"), now).is_none());
        let refused = throttle.origins.get(&address(50));
        assert_eq!(refused, None, "what was not judged counts nowhere");
        throttle.give_back(under_way.pop().unwrap());
        assert!(throttle.attempt(address(50), Some("anna"), now).is_some());
        // One of the window before is no credit in this one.
        let later = now.after(WINDOW);
        assert!(throttle.attempt(address(50), Some("anna"), later).is_some());
        throttle.give_back(under_way.pop().unwrap());
        assert_eq!(throttle.names.get(&counted("anna")), Some(&1));
    }

    #[test]
    fn a_flood_from_everywhere_is_bounded() {
        let mut throttle = Throttle::default();
        let now = Timestamp::from_s(0);
        for n in 0..20_000 {
            throttle.attempt(address(n), Some(&n.to_string()), now);
            throttle.may_begin(address(n), now);
        }
        assert_eq!(throttle.origins.len(), COUNTED_MAX);
        assert_eq!(throttle.names.len(), COUNTED_MAX);
        assert_eq!(throttle.begun.len(), COUNTED_MAX);
    }
}
