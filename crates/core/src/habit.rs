//! What is usual for a principal that obtains secrets: from which addresses, at which hours, how many.
//!
//! Nothing is refused here. What is unusual is recorded with the act, so that rules can see it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::time::{Span, Timestamp};

/// Principals that are remembered at most; beyond it, new ones are always unusual.
const PRINCIPALS_MAX: usize = 10_000;
/// Facts that are remembered of one principal at most: 24 hours, the rest addresses.
const FACTS_MAX: usize = 256;
/// Until a principal has been known for this long, every hour is as good as another.
const LEARNING: Span = Span::days(7);
/// The span in which gifts are counted.
const BULK_SPAN: Span = Span::minutes(1);
/// Gifts within that span from which on they are a bulk read.
pub const BULK_FROM: usize = 20;

/// Something that is unusual about an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unusual {
    /// The principal is known, and was never seen at this address.
    NewAddress,
    /// The principal has been known for a week, and was never seen at this hour (UTC) or beside it.
    OddHour,
    /// Many values within a minute.
    Bulk,
}

impl Unusual {
    /// The word in the audit record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NewAddress => "new_address",
            Self::OddHour => "odd_hour",
            Self::Bulk => "bulk",
        }
    }
}

/// What was noticed about an act.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Noticed {
    /// What is unusual.
    pub unusual: Vec<Unusual>,
    /// What is now known of the principal and was not before: to be stored.
    pub learned: Vec<String>,
}

#[derive(Debug, Default)]
struct Principal {
    since: Timestamp,
    facts: BTreeSet<String>,
    recent: VecDeque<Timestamp>,
}

/// What is known of every principal.
#[derive(Debug, Default)]
pub struct Habits(BTreeMap<String, Principal>);

fn hour_of(now: Timestamp) -> i64 {
    now.as_s() / 3600 % 24
}

fn hour_fact(hour: i64) -> String {
    format!("hour:{:02}", hour.rem_euclid(24))
}

impl Habits {
    /// Takes up what was stored.
    pub fn recall(&mut self, principal: String, fact: String, first_seen: Timestamp) {
        if self.0.len() >= PRINCIPALS_MAX && !self.0.contains_key(&principal) {
            return;
        }
        let known = self.0.entry(principal).or_insert_with(|| Principal {
            since: first_seen,
            ..Principal::default()
        });
        known.since = known.since.min(first_seen);
        known.facts.insert(fact);
    }

    /// Notices that a principal obtains `count` values.
    pub fn notice(
        &mut self,
        principal: &str,
        address: Option<&str>,
        count: usize,
        now: Timestamp,
    ) -> Noticed {
        let mut noticed = Noticed::default();
        // The port of a network address says nothing about the place.
        let place = address.map_or("local", |address| {
            address.rsplit_once(':').map_or(address, |(host, _)| host)
        });
        let (place, hour) = (format!("address:{place}"), hour_of(now));
        if self.0.len() >= PRINCIPALS_MAX && !self.0.contains_key(principal) {
            noticed.unusual.push(Unusual::NewAddress);
            return noticed;
        }
        let is_new = !self.0.contains_key(principal);
        let known = self
            .0
            .entry(principal.to_owned())
            .or_insert_with(|| Principal {
                since: now,
                ..Principal::default()
            });
        if !is_new && !known.facts.contains(&place) {
            noticed.unusual.push(Unusual::NewAddress);
        }
        let beside = (-1..=1).any(|step| known.facts.contains(&hour_fact(hour + step)));
        if now.since(known.since) >= LEARNING && !beside {
            noticed.unusual.push(Unusual::OddHour);
        }
        while known
            .recent
            .front()
            .is_some_and(|first| now.since(*first) >= BULK_SPAN)
        {
            known.recent.pop_front();
        }
        // More than the threshold need not be remembered to know that it is passed.
        known
            .recent
            .extend(std::iter::repeat_n(now, count.min(BULK_FROM)));
        while known.recent.len() > 2 * BULK_FROM {
            known.recent.pop_front();
        }
        if known.recent.len() >= BULK_FROM {
            noticed.unusual.push(Unusual::Bulk);
        }
        for fact in [place, hour_fact(hour)] {
            if known.facts.len() < FACTS_MAX && known.facts.insert(fact.clone()) {
                noticed.learned.push(fact);
            }
        }
        noticed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noon(day: i64) -> Timestamp {
        Timestamp::from_s(day * 86_400 + 12 * 3600)
    }

    #[test]
    fn the_first_place_is_usual_and_every_other_is_new_once() {
        let mut habits = Habits::default();
        let first = habits.notice("token:ci", Some("10.0.0.1:5000"), 1, noon(0));
        assert_eq!(first.unusual, []);
        assert_eq!(first.learned, ["address:10.0.0.1", "hour:12"]);
        let same = habits.notice("token:ci", Some("10.0.0.1:6000"), 1, noon(0));
        assert_eq!(same, Noticed::default());
        let other = habits.notice("token:ci", Some("[fd00::2]:6000"), 1, noon(0));
        assert_eq!(other.unusual, [Unusual::NewAddress]);
        let again = habits.notice("token:ci", Some("[fd00::2]:6001"), 1, noon(0));
        assert_eq!(again.unusual, []);
    }

    #[test]
    fn an_hour_is_odd_when_a_week_has_not_seen_it_or_its_neighbors() {
        let mut habits = Habits::default();
        habits.notice("uid:0", None, 1, noon(0));
        let early = noon(3).after(Span::hours(12));
        assert_eq!(habits.notice("uid:0", None, 1, early).unusual, []);
        let beside = noon(8).after(Span::hours(1));
        assert_eq!(habits.notice("uid:0", None, 1, beside).unusual, []);
        let odd = noon(8).after(Span::hours(6));
        assert_eq!(
            habits.notice("uid:0", None, 1, odd).unusual,
            [Unusual::OddHour]
        );
    }

    #[test]
    fn what_was_stored_is_known_after_a_restart() {
        let mut habits = Habits::default();
        habits.recall("uid:0".into(), "address:local".into(), noon(0));
        habits.recall("uid:0".into(), "hour:12".into(), noon(1));
        assert_eq!(habits.notice("uid:0", None, 1, noon(9)), Noticed::default());
        let night = noon(9).after(Span::hours(12));
        assert_eq!(
            habits.notice("uid:0", None, 1, night).unusual,
            [Unusual::OddHour]
        );
    }

    #[test]
    fn many_values_within_a_minute_are_a_bulk_read_at_once_or_one_by_one() {
        let mut habits = Habits::default();
        let many = habits.notice("a", None, BULK_FROM, noon(0));
        assert_eq!(many.unusual, [Unusual::Bulk]);
        for n in 0..BULK_FROM {
            let noticed = habits.notice("b", None, 1, noon(0).after(Span::s(2 * n as i64)));
            assert_eq!(
                noticed.unusual.contains(&Unusual::Bulk),
                n + 1 == BULK_FROM,
                "{n}"
            );
        }
        let later = habits.notice("b", None, 1, noon(0).after(Span::minutes(3)));
        assert_eq!(later.unusual, []);
    }
}
