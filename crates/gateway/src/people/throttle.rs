//! How often somebody may fail to log in: by where they come from, and by whom they say they are.
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

/// The name as it is counted: what a stranger types is not kept.
fn counted(name: &str) -> Fingerprint {
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

    /// Whether whoever comes from here, or as this, has to wait.
    pub(crate) fn holds(&mut self, address: IpAddr, name: Option<&str>, now: Timestamp) -> bool {
        self.turn(now);
        full(&self.origins, &origin(address), PER_ORIGIN_MAX)
            || name.is_some_and(|name| full(&self.names, &counted(name), PER_NAME_MAX))
    }

    /// Counts a failure.
    pub(crate) fn failed(&mut self, address: IpAddr, name: Option<&str>, now: Timestamp) {
        self.turn(now);
        *self.origins.entry(origin(address)).or_default() += 1;
        if let Some(name) = name {
            *self.names.entry(counted(name)).or_default() += 1;
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
            assert!(!throttle.holds(address(n), Some("anna"), now));
            throttle.failed(address(n), Some("Anna"), now);
        }
        assert!(throttle.holds(address(99), Some("anna"), now));
        assert!(!throttle.holds(address(99), Some("bert"), now));
        assert!(
            !throttle.holds(address(99), None, now),
            "a passkey names nobody"
        );
        assert!(!throttle.holds(address(99), Some("anna"), now.after(WINDOW)));
    }

    #[test]
    fn an_address_waits_after_twenty_failures_whatever_it_tries() {
        let mut throttle = Throttle::default();
        let now = Timestamp::from_s(0);
        for n in 0..PER_ORIGIN_MAX {
            throttle.failed(address(1), Some(&n.to_string()), now);
        }
        assert!(throttle.holds(address(1), None, now));
        assert!(!throttle.holds(address(2), None, now));
    }

    #[test]
    fn a_flood_from_everywhere_is_bounded() {
        let mut throttle = Throttle::default();
        let now = Timestamp::from_s(0);
        for n in 0..20_000 {
            if !throttle.holds(address(n), None, now) {
                throttle.failed(address(n), None, now);
            }
            throttle.may_begin(address(n), now);
        }
        assert_eq!(throttle.origins.len(), COUNTED_MAX);
        assert_eq!(throttle.begun.len(), COUNTED_MAX);
    }
}
