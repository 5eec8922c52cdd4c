//! How often somebody may guess a password or a code: by whom they say they are, and by where they come from.
//!
//! An attempt is counted as a failure before it is judged, and taken out of the count if it was none: so many guesses at
//! once share one budget. A name counts whether anybody has it or not, so that waiting tells nothing.
//!
//! A name has few guesses, because a password may be known and a code has six digits. A network has twice
//! as many: behind one address or in one IPv6 /64 a stranger may sit beside everybody of the home. Nothing is
//! counted for what nobody can guess: passkeys, invitations and recovery codes have 100 random bits and more.
//!
//! A person in a session, somebody on the gateway's own machine, and a name in a network from where it has logged in, have
//! budgets of their own: a stranger who fails with a name elsewhere keeps nobody from logging in where they usually do, to
//! take a lost device back. Such a name counts for its network and its name as well until others have to wait: else what is
//! left of the network's budget would tell who there is.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use hearthkey_broker::origin;
use hearthkey_core::id::Fingerprint;
use hearthkey_core::person::{PEOPLE_MAX, SESSIONS_MAX};
use hearthkey_core::time::{Span, Timestamp};

/// Failures of one IPv4 address or IPv6 /64 in the window.
const PER_ORIGIN_MAX: u32 = 20;
/// Failures for one name in the window.
const PER_NAME_MAX: u32 = 10;
/// The window.
const WINDOW: Span = Span::minutes(5);
/// When a caller who has to wait gets that answer, counted from when the whole request was there. A name that is judged all the
/// same gets the same answer at the same moment: it is longer than that may take.
pub(crate) const HELD_FOR: Duration = Duration::from_millis(1500);
/// How long a name is judged, and its failure written down, where everybody else has to wait.
pub(crate) const JUDGED_WITHIN: Duration = Duration::from_millis(1100);
/// Origins and names that are counted. What comes from more waits until the window is over.
const COUNTED_MAX: usize = 8192;
/// Addresses that are remembered of one name for a login that succeeded; its oldest is forgotten, and none of others.
const FAMILIAR_PER_NAME_MAX: usize = SESSIONS_MAX;
/// The same of all names: nobody but a person of the home logs in.
const FAMILIAR_MAX: usize = PEOPLE_MAX * FAMILIAR_PER_NAME_MAX;

/// Who makes an attempt, and so whose budget it counts in.
#[derive(Debug, Clone, Copy)]
pub(crate) enum By<'a> {
    /// A stranger at an address, who says who they are.
    Stranger(IpAddr, &'a str),
    /// A person in their session, by the person's id.
    Session(&'a str),
    /// Somebody on the gateway's own machine, who says who they are.
    Here(&'a str),
}

/// An attempt that counts as a failure as long as it is not given back.
#[derive(Debug)]
pub(crate) struct Attempt {
    window: i64,
    /// Where it counts for strangers: by its origin and its name.
    stranger: Option<(IpAddr, Fingerprint)>,
    /// Where it counts for those who are known.
    known: Option<Fingerprint>,
}

/// The failures of the current window.
#[derive(Default)]
pub(crate) struct Throttle {
    window: i64,
    origins: HashMap<IpAddr, u32>,
    names: HashMap<Fingerprint, u32>,
    known: HashMap<Fingerprint, u32>,
    /// From where which names have logged in, the latest last.
    familiar: VecDeque<(IpAddr, Fingerprint)>,
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

impl Attempt {
    /// Whether it counts in a budget of its own alone: of a name, because everybody else has to wait there.
    pub(crate) fn is_of_known(&self) -> bool {
        self.stranger.is_none()
    }
}

impl Throttle {
    fn turn(&mut self, now: Timestamp) {
        let window = now.as_ms() / WINDOW.as_ms();
        if window != self.window {
            *self = Self {
                window,
                familiar: std::mem::take(&mut self.familiar),
                ..Self::default()
            };
        }
    }

    /// Counts an attempt as a failure, before it is judged; none if who makes it has to wait.
    pub(crate) fn attempt(&mut self, by: By<'_>, now: Timestamp) -> Option<Attempt> {
        match by {
            By::Stranger(address, name) => self.attempt_of_stranger(address, name, now),
            By::Session(person) => {
                self.attempt_of_known(counted(&format!("session {person}")), now)
            }
            By::Here(name) => self.attempt_of_known(counted(&format!("here {name}")), now),
        }
    }

    fn attempt_of_known(&mut self, who: Fingerprint, now: Timestamp) -> Option<Attempt> {
        self.turn(now);
        if full(&self.known, &who, PER_NAME_MAX) {
            return None;
        }
        Some(self.count(None, Some(who)))
    }

    fn count(
        &mut self,
        stranger: Option<(IpAddr, Fingerprint)>,
        known: Option<Fingerprint>,
    ) -> Attempt {
        if let Some((origin, name)) = stranger {
            *self.origins.entry(origin).or_default() += 1;
            *self.names.entry(name).or_default() += 1;
        }
        if let Some(who) = known {
            *self.known.entry(who).or_default() += 1;
        }
        Attempt {
            window: self.window,
            stranger,
            known,
        }
    }

    fn attempt_of_stranger(
        &mut self,
        address: IpAddr,
        name: &str,
        now: Timestamp,
    ) -> Option<Attempt> {
        let (origin, name) = (origin(address), counted(name));
        self.turn(now);
        let is_held =
            full(&self.origins, &origin, PER_ORIGIN_MAX) || full(&self.names, &name, PER_NAME_MAX);
        let is_familiar = self.familiar.contains(&(origin, name));
        let familiar = is_familiar.then(|| counted(&format!("familiar {origin} {name}")));
        let known = familiar.filter(|who| !full(&self.known, who, PER_NAME_MAX));
        if is_held && known.is_none() {
            return None;
        }
        let stranger = (!is_held).then_some((origin, name));
        Some(self.count(stranger, known))
    }

    /// Takes an attempt out of the count: it was none in vain.
    pub(crate) fn give_back(&mut self, attempt: Attempt) {
        if attempt.window != self.window {
            return;
        }
        if let Some((origin, name)) = attempt.stranger {
            take_one(&mut self.origins, &origin);
            take_one(&mut self.names, &name);
        }
        if let Some(who) = attempt.known {
            take_one(&mut self.known, &who);
        }
    }

    /// A name has logged in from an address: there it has a budget of its own from here on.
    pub(crate) fn remember(&mut self, address: IpAddr, name: &str) {
        let place = (origin(address), counted(name));
        self.familiar.retain(|known| *known != place);
        let mut of_name = (0..self.familiar.len()).filter(|at| self.familiar[*at].1 == place.1);
        let oldest = of_name.next();
        let is_full = of_name.count() + 1 >= FAMILIAR_PER_NAME_MAX;
        if let Some(oldest) = oldest.filter(|_| is_full) {
            self.familiar.remove(oldest);
        } else if self.familiar.len() >= FAMILIAR_MAX {
            self.familiar.pop_front();
        }
        self.familiar.push_back(place);
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
            assert!(
                throttle
                    .attempt(By::Stranger(address(n), "Anna"), now)
                    .is_some()
            );
        }
        assert!(
            throttle
                .attempt(By::Stranger(address(99), "anna"), now)
                .is_none()
        );
        assert!(
            throttle
                .attempt(By::Stranger(address(99), "bert"), now)
                .is_some()
        );
        let later = now.after(WINDOW);
        assert!(
            throttle
                .attempt(By::Stranger(address(99), "anna"), later)
                .is_some()
        );
    }

    #[test]
    fn a_network_waits_after_twenty_failures_and_one_name_there_holds_up_no_other() {
        let mut throttle = Throttle::default();
        let now = Timestamp::from_s(0);
        for _ in 0..2 * PER_ORIGIN_MAX {
            throttle.attempt(By::Stranger(address(1), "held"), now);
        }
        let anna = throttle.attempt(By::Stranger(address(1), "anna"), now);
        assert!(anna.is_some(), "what was not judged counts nowhere");
        for n in 0..PER_ORIGIN_MAX {
            throttle.attempt(By::Stranger(address(1), &n.to_string()), now);
        }
        let held = throttle.attempt(By::Stranger(address(1), "bert"), now);
        assert!(held.is_none());
        let elsewhere = throttle.attempt(By::Stranger(address(2), "bert"), now);
        assert!(elsewhere.is_some());
    }

    #[test]
    fn attempts_under_way_count_as_failures_until_they_are_given_back() {
        let mut throttle = Throttle::default();
        let now = Timestamp::from_s(0);
        let mut under_way: Vec<Attempt> = (0..PER_NAME_MAX)
            .map(|n| {
                throttle
                    .attempt(By::Stranger(address(n), "anna"), now)
                    .unwrap()
            })
            .collect();
        assert!(
            throttle
                .attempt(By::Stranger(address(50), "anna"), now)
                .is_none()
        );
        let refused = throttle.origins.get(&address(50));
        assert_eq!(refused, None, "what was not judged counts nowhere");
        throttle.give_back(under_way.pop().unwrap());
        assert!(
            throttle
                .attempt(By::Stranger(address(50), "anna"), now)
                .is_some()
        );
        // One of the window before is no credit in this one.
        let later = now.after(WINDOW);
        assert!(
            throttle
                .attempt(By::Stranger(address(50), "anna"), later)
                .is_some()
        );
        throttle.give_back(under_way.pop().unwrap());
        assert_eq!(throttle.names.get(&counted("anna")), Some(&1));
    }

    #[test]
    fn whoever_is_known_has_a_budget_that_no_stranger_uses_up() {
        let mut throttle = Throttle::default();
        let now = Timestamp::from_s(0);
        for n in 0..20_000 {
            let name = format!("anna{}", n / 9);
            throttle.attempt(By::Stranger(address(n), "anna"), now);
            throttle.attempt(By::Stranger(address(n), &name), now);
        }
        for by in [By::Session("anna"), By::Here("anna")] {
            let mut under_way: Vec<Attempt> = (0..PER_NAME_MAX)
                .map(|_| throttle.attempt(by, now).unwrap())
                .collect();
            assert!(throttle.attempt(by, now).is_none(), "{by:?}");
            throttle.give_back(under_way.pop().unwrap());
            assert!(throttle.attempt(by, now).is_some(), "{by:?}");
        }
    }

    #[test]
    fn where_a_name_has_logged_in_no_stranger_elsewhere_keeps_it_out() {
        let mut throttle = Throttle::default();
        let now = Timestamp::from_s(0);
        throttle.remember(address(7), "Anna");
        let later = now.after(WINDOW);
        for n in 0..20_000 {
            let name = n.to_string();
            throttle.attempt(By::Stranger(address(n), "anna"), later);
            throttle.attempt(By::Stranger(address(7), &name), later);
        }
        let elsewhere = By::Stranger(address(8), "anna");
        assert!(throttle.attempt(elsewhere, later).is_none());
        // One attempt of the loop came from there.
        let at_home = By::Stranger(address(7), "anna");
        for _ in 1..PER_NAME_MAX {
            let attempt = throttle.attempt(at_home, later).unwrap();
            assert!(attempt.is_of_known(), "nobody else is judged there");
        }
        assert!(throttle.attempt(at_home, later).is_none(), "it is bounded");
    }

    #[test]
    fn what_is_left_of_a_budget_does_not_tell_who_has_logged_in_there() {
        let left = |name: &str| {
            let mut throttle = Throttle::default();
            let now = Timestamp::from_s(0);
            throttle.remember(address(7), "anna");
            for _ in 1..PER_NAME_MAX {
                let attempt = throttle.attempt(By::Stranger(address(7), name), now);
                assert!(!attempt.unwrap().is_of_known());
            }
            let elsewhere = throttle.attempt(By::Stranger(address(8), name), now);
            assert!(elsewhere.is_some());
            let elsewhere = throttle.attempt(By::Stranger(address(8), name), now);
            assert!(elsewhere.is_none(), "both count with the name");
            let judged = |n: &u32| {
                let other = n.to_string();
                let attempt = throttle.attempt(By::Stranger(address(7), &other), now);
                attempt.is_some()
            };
            (0..2 * PER_ORIGIN_MAX).filter(judged).count()
        };
        assert_eq!(left("anna"), 11);
        assert_eq!(left("carlotta"), 11);
    }

    #[test]
    fn whoever_logs_in_from_everywhere_pushes_out_no_place_of_others() {
        let mut throttle = Throttle::default();
        throttle.remember(address(7), "anna");
        for n in 0..20_000 {
            throttle.remember(address(n), "bob");
        }
        assert_eq!(throttle.familiar.len(), 1 + FAMILIAR_PER_NAME_MAX);
        let at_home = (origin(address(7)), counted("anna"));
        assert_eq!(throttle.familiar.front(), Some(&at_home));
        let newest = (origin(address(19_999)), counted("bob"));
        assert_eq!(throttle.familiar.back(), Some(&newest));
    }

    #[test]
    fn a_flood_from_everywhere_is_bounded() {
        let mut throttle = Throttle::default();
        let now = Timestamp::from_s(0);
        for n in 0..20_000 {
            throttle.attempt(By::Stranger(address(n), &n.to_string()), now);
        }
        for n in 0..5_000 {
            throttle.remember(address(n), &n.to_string());
        }
        assert_eq!(throttle.familiar.len(), FAMILIAR_MAX);
        assert_eq!(throttle.origins.len(), COUNTED_MAX);
        assert_eq!(throttle.names.len(), COUNTED_MAX);
    }
}
