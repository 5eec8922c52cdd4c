//! Failed attempts with tokens: how many an address has, and which are written down.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use hearthkey_broker::origin;
use hearthkey_core::id::{Fingerprint, TokenId};
use hearthkey_core::time::Timestamp;

/// Failed attempts of one IPv4 address or IPv6 /64 in a minute. After that it is not listened to
/// for the rest of the minute.
pub(crate) const PER_ORIGIN_MAX: u32 = 30;
/// Origins that are counted in a minute. What comes from more is counted together.
const ORIGINS_MAX: usize = 4096;
/// Different refusals that are written down in a minute, of those who are known. The rest is counted.
const RECORDED_MAX: usize = 240;
/// The same of strangers, who could otherwise make the log grow for good.
const OF_STRANGERS_MAX: usize = 20;
/// Of those, from one IPv4 address or IPv6 /64.
const RECORDED_PER_ORIGIN_MAX: u32 = 10;

/// Whom a refusal is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum About {
    /// Nobody that is known, or was named.
    Nobody,
    /// A token.
    Token(TokenId),
    /// Somebody in a session, or a name on the gateway's own machine.
    Known(Fingerprint),
    /// A name that was typed, whether anybody has it or not: its hash, because people type passwords into the wrong field.
    Name(Fingerprint),
}

impl About {
    /// Whether it comes from somebody who has shown nothing yet.
    fn is_strangers(&self) -> bool {
        matches!(self, Self::Nobody | Self::Name(_))
    }
}

/// What makes two refusals in one minute the same.
type Refused = (About, &'static str, IpAddr);

/// The attempts of the current minute.
#[derive(Default)]
pub(crate) struct Attempts {
    minute: i64,
    failed: HashMap<IpAddr, u32>,
    elsewhere: u32,
    refused: HashSet<Refused>,
    /// Refusals of strangers that were written down, by where they come from.
    of_strangers: HashMap<IpAddr, u32>,
    omitted: u64,
}

impl Attempts {
    fn turn(&mut self, now: Timestamp) {
        let minute = now.as_s() / 60;
        if minute != self.minute {
            let omitted = self.omitted;
            *self = Self {
                minute,
                omitted,
                ..Self::default()
            };
        }
    }

    /// Where the failures of an address are counted.
    fn counter(&mut self, address: IpAddr) -> &mut u32 {
        let origin = origin(address);
        if self.failed.len() < ORIGINS_MAX || self.failed.contains_key(&origin) {
            self.failed.entry(origin).or_default()
        } else {
            &mut self.elsewhere
        }
    }

    /// Counts an attempt as a failure, before it is judged, so that many at once share one budget; false if the address
    /// has failed too often to be listened to now.
    pub(crate) fn begin(&mut self, address: IpAddr, now: Timestamp) -> bool {
        self.turn(now);
        let failed = self.counter(address);
        let is_heard = *failed < PER_ORIGIN_MAX;
        if is_heard {
            *failed += 1;
        }
        is_heard
    }

    /// Takes an attempt out of the count: it was none in vain.
    pub(crate) fn give_back(&mut self, address: IpAddr, begun: Timestamp) {
        if begun.as_s() / 60 == self.minute {
            let failed = self.counter(address);
            *failed = failed.saturating_sub(1);
        }
    }

    /// Whether a refusal is to be written down, and how many were not since the last one that was.
    /// The same refusal is written down once a minute.
    pub(crate) fn enter(
        &mut self,
        token: Option<&TokenId>,
        code: &'static str,
        address: IpAddr,
        now: Timestamp,
    ) -> Option<u64> {
        let about = token.cloned().map_or(About::Nobody, About::Token);
        self.enter_about(about, code, address, now)
    }

    /// Whether one more refusal is written down in this minute: strangers take no room of those who are known.
    fn has_room(&self, is_strangers: bool, origin: &IpAddr) -> bool {
        let of_strangers = self.of_strangers.values().sum::<u32>() as usize;
        if !is_strangers {
            return self.refused.len() - of_strangers < RECORDED_MAX;
        }
        let from_there = self.of_strangers.get(origin).copied().unwrap_or_default();
        of_strangers < OF_STRANGERS_MAX && from_there < RECORDED_PER_ORIGIN_MAX
    }

    /// The same for a refusal that is about somebody else than a token.
    pub(crate) fn enter_about(
        &mut self,
        about: About,
        code: &'static str,
        address: IpAddr,
        now: Timestamp,
    ) -> Option<u64> {
        self.turn(now);
        let (is_strangers, origin) = (about.is_strangers(), origin(address));
        let refused = (about, code, origin);
        if self.refused.contains(&refused) || !self.has_room(is_strangers, &origin) {
            self.omitted += 1;
            return None;
        }
        self.refused.insert(refused);
        if is_strangers {
            *self.of_strangers.entry(origin).or_default() += 1;
        }
        Some(std::mem::take(&mut self.omitted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_that_has_failed_too_often_waits_for_the_next_minute_and_no_other_does() {
        let mut attempts = Attempts::default();
        let now = Timestamp::from_s(600);
        for _ in 0..PER_ORIGIN_MAX {
            assert!(attempts.begin(address("192.0.2.1"), now));
        }
        assert!(!attempts.begin(address("192.0.2.1"), now));
        assert!(!attempts.begin(address("::ffff:192.0.2.1"), now));
        assert!(attempts.begin(address("192.0.2.2"), now));
        assert!(attempts.begin(address("192.0.2.1"), Timestamp::from_s(660)));
    }

    #[test]
    fn an_attempt_that_was_none_in_vain_is_given_back() {
        let mut attempts = Attempts::default();
        let now = Timestamp::from_s(600);
        for _ in 0..3 * PER_ORIGIN_MAX {
            assert!(attempts.begin(address("192.0.2.1"), now));
            attempts.give_back(address("192.0.2.1"), now);
        }
        for _ in 0..PER_ORIGIN_MAX {
            assert!(attempts.begin(address("192.0.2.1"), now), "all at once");
        }
        assert!(!attempts.begin(address("192.0.2.1"), now));
        let next = Timestamp::from_s(660);
        assert!(attempts.begin(address("192.0.2.1"), next));
        attempts.give_back(address("192.0.2.1"), now);
        assert_eq!(attempts.failed[&address("192.0.2.1")], 1);
    }

    #[test]
    fn the_same_refusal_is_written_down_once_a_minute_and_counted_after_that() {
        let mut attempts = Attempts::default();
        let mut enter = |code, s| attempts.enter(None, code, address("::1"), Timestamp::from_s(s));
        assert_eq!(enter("token_unknown", 600), Some(0));
        assert_eq!(enter("token_unknown", 601), None);
        assert_eq!(enter("token_unknown", 602), None);
        assert_eq!(enter("proof_missing", 603), Some(2));
        assert_eq!(enter("token_unknown", 660), Some(0));
    }

    #[test]
    fn strangers_take_no_room_in_the_log_of_those_who_are_known_nor_of_each_other() {
        let mut attempts = Attempts::default();
        let now = Timestamp::from_s(600);
        let name = |n: u32| Fingerprint::of(&n.to_be_bytes());
        let mut enter = |about, from| attempts.enter_about(about, "password", from, now);
        let of_flood = |n: &u32| enter(About::Name(name(*n)), address("192.0.2.1")).is_some();
        let written = (0..1000).filter(of_flood).count();
        assert_eq!(written, RECORDED_PER_ORIGIN_MAX as usize);
        assert!(enter(About::Name(name(1)), address("192.0.2.2")).is_some());
        for n in 0..10_000_u32 {
            enter(About::Nobody, IpAddr::from(n.to_be_bytes()));
        }
        assert!(enter(About::Known(name(1)), address("192.0.2.1")).is_some());
        let token = TokenId::from_random([7; 8]);
        assert!(enter(About::Token(token), address("192.0.2.1")).is_some());
    }

    #[test]
    fn a_flood_from_everywhere_is_bounded() {
        let mut attempts = Attempts::default();
        let now = Timestamp::from_s(600);
        for n in 0..10_000_u32 {
            let from = IpAddr::from(n.to_be_bytes());
            attempts.begin(from, now);
            attempts.enter(None, "token_unknown", from, now);
        }
        assert_eq!(attempts.failed.len(), ORIGINS_MAX);
        assert_eq!(attempts.refused.len(), OF_STRANGERS_MAX);
        assert_eq!(attempts.omitted, 10_000 - OF_STRANGERS_MAX as u64);
        assert!(!attempts.begin(address("203.0.113.9"), now));
    }
}
