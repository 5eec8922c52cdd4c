//! The places of a listener: counted before TLS, where a connection is still cheap.
//!
//! Three bounds hold at once, because each alone can be walked around. An address (an IPv6 /64: what one host can choose
//! from) has few places. A network (an IPv4 /24, an IPv6 /48: what one household or one attacker can usually send from) has
//! fewer than all, so that a newcomer from elsewhere finds room even while every connection of that network is in use.
//! And where a bound is reached, a newcomer takes the place of a connection that has not shown who it is: a home's devices
//! and an attacker in that home share one network, and over IPv6 one /64, so refusing newcomers would lock out the devices.
//!
//! The connection that gives way is within the bound that is reached, of the network with the most places, there of the
//! address with the most, and there the one that was used longest ago. It gives way only to a newcomer that holds no more, so a caller that connects again and
//! again takes the places of its own connections. A connection that has shown who it is keeps its place; where one caller
//! may have many connections, some of them do, as long as that caller is let in.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// How many connections a listener takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places {
    /// In all.
    pub in_all_max: usize,
    /// From one IPv4 /24 or one IPv6 /48.
    pub per_network_max: usize,
    /// From one IPv4 address or one IPv6 /64.
    pub per_address_max: usize,
}

/// Counts the connections of one listener.
pub struct Gate {
    places: Places,
    held: Mutex<Held>,
    /// Counts uses, so that the longest unused connection is known without a clock.
    uses: AtomicU64,
}

#[derive(Default)]
struct Held {
    connections: HashMap<u64, Arc<Holder>>,
    by_address: HashMap<IpAddr, usize>,
    by_network: HashMap<IpAddr, usize>,
    /// Connections that keep their places, by who has shown to be at their other side.
    by_caller: HashMap<String, usize>,
    /// The same, by where they come from.
    kept_at: HashMap<IpAddr, usize>,
    numbered: u64,
}

/// A connection that has a place.
struct Holder {
    number: u64,
    address: IpAddr,
    network: IpAddr,
    last_use: AtomicU64,
    is_known: AtomicBool,
    /// Who keeps the place, where callers may keep some each. It changes under the lock of what is held.
    caller: Mutex<Option<String>>,
    gives_way: Notify,
}

/// A place that a connection holds as long as this lives, or until it gives way.
pub struct Place(Mark);

/// Notes how the connection of a place is used.
#[derive(Clone)]
pub struct Mark {
    gate: Arc<Gate>,
    holder: Arc<Holder>,
}

impl Mark {
    /// Notes that the connection is used now.
    pub fn used(&self) {
        let use_now = self.gate.uses.fetch_add(1, Ordering::Relaxed);
        self.holder.last_use.store(use_now, Ordering::Relaxed);
    }

    /// Notes that the other side has proven who it is: the place is not taken for a newcomer from here on. False if it
    /// has been taken.
    pub fn known(&self) -> bool {
        let held = self.gate.held();
        let is_held = held.connections.contains_key(&self.holder.number);
        self.holder.is_known.store(is_held, Ordering::Relaxed);
        is_held
    }

    /// The same where the other side is a caller who may have many connections: so many of theirs keep their places, and
    /// three quarters of the places of their address, so that no number of callers holds all of them. False if this one has
    /// been taken.
    pub fn known_as(&self, caller: &str, kept_max: usize) -> bool {
        let mut held = self.gate.held();
        let is_held = held.connections.contains_key(&self.holder.number);
        if !is_held || self.holder.is_known.load(Ordering::Relaxed) {
            return is_held;
        }
        let (kept, kept_here) = held.kept(caller, self.holder.address);
        let here_max = self.gate.places.per_address_max.div_ceil(4) * 3;
        let may_keep = kept < kept_max && kept_here < here_max;
        if may_keep {
            self.holder.keep_for(Some(caller.to_owned()));
            held.by_caller.insert(caller.to_owned(), kept + 1);
            held.kept_at.insert(self.holder.address, kept_here + 1);
            self.holder.is_known.store(true, Ordering::Relaxed);
        }
        true
    }

    /// Notes that the holder of the place has lost access: from now on it may go to a newcomer.
    pub fn forget(&self) {
        let mut held = self.gate.held();
        self.holder.is_known.store(false, Ordering::Relaxed);
        held.forget_caller(&self.holder);
    }
}

impl Holder {
    /// Sets who keeps the place, and gives who kept it before.
    fn keep_for(&self, caller: Option<String>) -> Option<String> {
        let mut kept_for = self.caller.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *kept_for, caller)
    }
}

impl Place {
    /// A handle to note uses with, which holds no place.
    pub fn mark(&self) -> Mark {
        self.0.clone()
    }

    /// Resolves when the place has gone to a newcomer: the connection ends now.
    pub async fn given_away(&self) {
        self.0.holder.gives_way.notified().await;
    }
}

impl Gate {
    /// A gate with so many places.
    pub fn new(places: Places) -> Arc<Self> {
        Arc::new(Self {
            places,
            held: Mutex::default(),
            uses: AtomicU64::new(0),
        })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more connection, if there is one, or if another connection gives way.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let (address, network) = (origin(address), network(address));
        let mut held = self.held();
        let (here, nearby) = held.counts(address, network);
        let is_full = here >= self.places.per_address_max;
        let is_crowded = nearby >= self.places.per_network_max;
        if is_full || is_crowded || held.connections.len() >= self.places.in_all_max {
            let may_give = |holder: &Holder| match (is_full, is_crowded) {
                (true, _) => holder.address == address,
                (false, true) => holder.network == network,
                (false, false) => true,
            };
            let giving = held.giving_way((nearby, here), may_give)?;
            held.remove(&giving);
            giving.gives_way.notify_one();
        }
        held.numbered += 1;
        let holder = Arc::new(Holder {
            number: held.numbered,
            address,
            network,
            last_use: AtomicU64::new(self.uses.fetch_add(1, Ordering::Relaxed)),
            is_known: AtomicBool::new(false),
            caller: Mutex::default(),
            gives_way: Notify::new(),
        });
        held.add(&holder);
        drop(held);
        let gate = Arc::clone(self);
        Some(Place(Mark { gate, holder }))
    }

    /// Connections that have been let in since the start.
    pub(crate) fn entered(&self) -> u64 {
        self.held().numbered
    }

    pub(crate) fn connections(&self) -> usize {
        self.held().connections.len()
    }
}

impl Held {
    fn counts(&self, address: IpAddr, network: IpAddr) -> (usize, usize) {
        let here = self.by_address.get(&address).copied();
        let nearby = self.by_network.get(&network).copied();
        (here.unwrap_or_default(), nearby.unwrap_or_default())
    }

    /// How many connections of a caller, and of an address, keep their places.
    fn kept(&self, caller: &str, address: IpAddr) -> (usize, usize) {
        let kept = self.by_caller.get(caller).copied();
        let kept_here = self.kept_at.get(&address).copied();
        (kept.unwrap_or_default(), kept_here.unwrap_or_default())
    }

    fn add(&mut self, holder: &Arc<Holder>) {
        *self.by_address.entry(holder.address).or_default() += 1;
        *self.by_network.entry(holder.network).or_default() += 1;
        self.connections.insert(holder.number, Arc::clone(holder));
    }

    fn remove(&mut self, holder: &Holder) {
        if self.connections.remove(&holder.number).is_none() {
            return;
        }
        count_down(&mut self.by_address, &holder.address);
        count_down(&mut self.by_network, &holder.network);
        self.forget_caller(holder);
    }

    fn forget_caller(&mut self, holder: &Holder) {
        if let Some(caller) = holder.keep_for(None) {
            count_down(&mut self.by_caller, &caller);
            count_down(&mut self.kept_at, &holder.address);
        }
    }

    /// The connection that gives way to a newcomer whose network and address hold so many places, if one does.
    fn giving_way(
        &self,
        newcomer: (usize, usize),
        may_give: impl Fn(&Holder) -> bool,
    ) -> Option<Arc<Holder>> {
        let weight = |holder: &Holder| {
            let (here, nearby) = self.counts(holder.address, holder.network);
            (nearby, here)
        };
        self.connections
            .values()
            .filter(|holder| may_give(holder))
            .filter(|holder| !holder.is_known.load(Ordering::Relaxed))
            .max_by_key(|holder| {
                let last_use = holder.last_use.load(Ordering::Relaxed);
                (weight(holder), Reverse(last_use))
            })
            .filter(|holder| weight(holder) >= newcomer)
            .cloned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Mark { gate, holder } = &self.0;
        gate.held().remove(holder);
    }
}

fn count_down<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// What an address counts as: a host has one IPv4 address, but a whole /64 of IPv6.
pub fn origin(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

/// The network of an address: its IPv4 /24, or its IPv6 /48, which is the most that a site is usually given.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0).into()
        }
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            Ipv4Addr::new(a, b, c, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn gate(in_all_max: usize, per_network_max: usize, per_address_max: usize) -> Arc<Gate> {
        Gate::new(Places {
            in_all_max,
            per_network_max,
            per_address_max,
        })
    }

    fn enter(gate: &Arc<Gate>, text: &str) -> Option<Place> {
        gate.enter(text.parse().unwrap())
    }

    fn is_given_away(place: &Place) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        pin!(place.given_away()).poll(&mut context).is_ready()
    }

    #[test]
    fn an_address_has_few_places_and_they_come_back() {
        let gate = gate(8, 8, 2);
        let first = enter(&gate, "2001:db8::1").unwrap();
        let second = enter(&gate, "2001:db8::2").unwrap();
        assert!(first.mark().known() && second.mark().known());
        assert!(enter(&gate, "2001:db8::3").is_none(), "the same /64");
        let _third = enter(&gate, "192.0.2.1").unwrap();
        drop(first);
        assert!(enter(&gate, "2001:db8::3").is_some());
        assert!(enter(&gate, "::ffff:192.0.2.1").is_some());
        assert_eq!(gate.connections(), 2);
    }

    #[test]
    fn one_network_leaves_room_for_another_even_if_all_its_connections_are_known() {
        let gate = gate(4, 3, 2);
        let mut held = Vec::new();
        for host in ["192.0.2.1", "192.0.2.1", "192.0.2.2"] {
            let place = enter(&gate, host).unwrap();
            assert!(place.mark().known());
            held.push(place);
        }
        assert!(enter(&gate, "192.0.2.3").is_none(), "its network is full");
        assert!(enter(&gate, "198.51.100.1").is_some());
        // An IPv6 site is a network too, with many /64.
        let sites = self::gate(4, 3, 2);
        for host in ["2001:db8:1:1::1", "2001:db8:1:2::1", "2001:db8:1:3::1"] {
            let place = enter(&sites, host).unwrap();
            assert!(place.mark().known());
            held.push(place);
        }
        assert!(enter(&sites, "2001:db8:1:4::1").is_none());
        assert!(enter(&sites, "2001:db8:2:1::1").is_some());
    }

    #[test]
    fn a_newcomer_of_the_same_address_takes_the_place_of_who_is_not_known() {
        // A home's devices and an attacker among them share one /64.
        let gate = gate(8, 8, 2);
        let device = enter(&gate, "2001:db8::1").unwrap();
        assert!(device.mark().known());
        let silent = enter(&gate, "2001:db8::bad").unwrap();
        let elsewhere = enter(&gate, "192.0.2.1").unwrap();
        let newcomer = enter(&gate, "2001:db8::2").unwrap();
        assert!(is_given_away(&silent));
        assert!(!is_given_away(&device) && !is_given_away(&elsewhere));
        assert!(newcomer.mark().known());
        assert!(enter(&gate, "2001:db8::3").is_none(), "both are known");
    }

    #[test]
    fn a_newcomer_of_the_same_network_takes_the_place_of_who_holds_the_most() {
        let gate = gate(8, 4, 3);
        let few = enter(&gate, "192.0.2.1").unwrap();
        let many: Vec<Place> = (0..3).map(|_| enter(&gate, "192.0.2.2").unwrap()).collect();
        // The first of them is used again, so the second was used longest ago.
        many[0].mark().used();
        let newcomer = enter(&gate, "192.0.2.3").unwrap();
        assert!(is_given_away(&many[1]) && !is_given_away(&many[0]) && !is_given_away(&few));
        assert_eq!(gate.connections(), 4);
        drop(many);
        assert_eq!(gate.connections(), 2, "a place is given back once");
        drop((few, newcomer));
        assert_eq!(gate.connections(), 0);
    }

    #[test]
    fn of_networks_the_largest_gives_way_and_who_comes_again_takes_its_own_places() {
        let gate = gate(4, 3, 3);
        let large: Vec<Place> = (1..4)
            .map(|n| enter(&gate, &format!("192.0.2.{n}")).unwrap())
            .collect();
        let small = enter(&gate, "198.51.100.1").unwrap();
        let newcomer = enter(&gate, "203.0.113.1").unwrap();
        assert!(is_given_away(&large[0]) && !is_given_away(&small));
        let another = enter(&gate, "203.0.113.1");
        assert!(another.is_some(), "it still holds less than the largest");
        assert!(is_given_away(&large[1]));
        let again = enter(&gate, "203.0.113.1").unwrap();
        assert!(is_given_away(&newcomer) && !is_given_away(&small));
        drop((small, again));
    }

    #[test]
    fn who_is_known_does_not_give_way() {
        let gate = gate(2, 2, 2);
        let first = enter(&gate, "192.0.2.1").unwrap();
        let second = enter(&gate, "192.0.2.1").unwrap();
        assert!(first.mark().known());
        let known = enter(&gate, "198.51.100.1").unwrap();
        assert!(!is_given_away(&first) && is_given_away(&second));
        assert!(!second.mark().known(), "it has no place any more");
        assert!(known.mark().known());
        assert!(enter(&gate, "203.0.113.1").is_none());
    }

    #[test]
    fn of_one_caller_with_many_connections_some_keep_their_places() {
        let gate = gate(8, 8, 4);
        let enter = || self::enter(&gate, "192.0.2.1").unwrap();
        let many: Vec<Place> = (0..4).map(|_| enter()).collect();
        for place in &many {
            assert!(place.mark().known_as("token:ci", 2));
        }
        let other = enter();
        assert!(is_given_away(&many[2]) && !is_given_away(&many[0]));
        assert!(!many[2].mark().known_as("token:ci", 2), "it has no place");
        assert!(other.mark().known_as("person:ada", 2));
        let again = enter();
        assert!(is_given_away(&many[3]) && !is_given_away(&other));
        // Of those that are left, one comes back to the caller.
        drop(many);
        assert!(again.mark().known_as("token:ci", 2));
        assert_eq!(gate.held().by_caller.len(), 2);
        drop((other, again));
        assert!(gate.held().by_caller.is_empty() && gate.held().kept_at.is_empty());
    }

    #[test]
    fn the_places_of_a_caller_who_is_forgotten_go_to_newcomers_and_count_no_more() {
        let gate = gate(8, 8, 2);
        let enter = || self::enter(&gate, "192.0.2.1");
        let kept: Vec<Place> = (0..2).filter_map(|_| enter()).collect();
        assert!(kept.iter().all(|place| place.mark().known_as("token:1", 2)));
        assert!(kept.iter().all(|place| !is_given_away(place)));
        kept[0].mark().forget();
        assert_eq!(
            gate.held().kept("token:1", kept[0].0.holder.address),
            (1, 1)
        );
        let newcomer = enter().unwrap();
        assert!(is_given_away(&kept[0]) && !is_given_away(&kept[1]));
        // A caller that authenticates again keeps it again.
        assert!(newcomer.mark().known_as("token:2", 2));
        newcomer.mark().forget();
        newcomer.mark().forget();
        assert!(newcomer.mark().known_as("token:2", 2));
        assert_eq!(gate.held().kept("token:2", kept[1].0.holder.address).0, 1);
        drop((kept, newcomer));
        assert!(gate.held().by_caller.is_empty() && gate.held().kept_at.is_empty());
    }

    #[test]
    fn no_number_of_callers_holds_every_place_of_their_address() {
        let gate = gate(8, 8, 4);
        let many: Vec<Place> = (0..4).map(|_| enter(&gate, "192.0.2.1").unwrap()).collect();
        for (number, place) in many.iter().enumerate() {
            assert!(place.mark().known_as(&format!("token:{number}"), 2));
        }
        let other = enter(&gate, "192.0.2.1").unwrap();
        assert!(is_given_away(&many[3]));
        // A device's place is its own.
        assert!(other.mark().known());
        assert!(enter(&gate, "192.0.2.1").is_none());
    }
}
