//! How many may stand at the door: counted before TLS, where a connection is still cheap.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Counts connections by origin and in all. Handshakes have no queue of their own: whoever is
/// silent in one would make everybody else wait. Other listeners may have one too.
pub struct Gate {
    counts: Mutex<Counts>,
    in_all_max: usize,
    per_origin_max: usize,
}

#[derive(Default)]
struct Counts {
    in_all: usize,
    by_origin: HashMap<IpAddr, usize>,
}

/// A place that a connection holds as long as it lives.
pub struct Place {
    gate: Arc<Gate>,
    origin: IpAddr,
}

impl Gate {
    /// A gate with so many places, in all and for one origin.
    pub fn new(in_all_max: usize, per_origin_max: usize) -> Arc<Self> {
        Arc::new(Self {
            counts: Mutex::default(),
            in_all_max,
            per_origin_max,
        })
    }

    /// A place for one more connection, if there is one.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let origin = origin(address);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.in_all >= self.in_all_max {
            return None;
        }
        let here = counts.by_origin.entry(origin).or_default();
        if *here >= self.per_origin_max {
            return None;
        }
        *here += 1;
        counts.in_all += 1;
        Some(Place {
            gate: Arc::clone(self),
            origin,
        })
    }

    pub(crate) fn connections(&self) -> usize {
        self.counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .in_all
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self
            .gate
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        counts.in_all = counts.in_all.saturating_sub(1);
        if let Some(here) = counts.by_origin.get_mut(&self.origin) {
            *here = here.saturating_sub(1);
            if *here == 0 {
                counts.by_origin.remove(&self.origin);
            }
        }
    }
}

/// Whom an address counts for: a host has one IPv4 address, but a whole /64 of IPv6.
pub fn origin(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_origin_cannot_take_every_place_and_places_come_back() {
        let gate = Gate::new(3, 2);
        let enter = |text: &str| gate.enter(text.parse().unwrap());
        let first = enter("2001:db8::1").unwrap();
        let _second = enter("2001:db8::2").unwrap();
        assert!(enter("2001:db8::3").is_none(), "the same /64");
        let _third = enter("192.0.2.1").unwrap();
        assert!(enter("192.0.2.2").is_none(), "full");
        drop(first);
        assert!(enter("::ffff:192.0.2.1").is_some());
        assert_eq!(gate.connections(), 2);
    }
}
