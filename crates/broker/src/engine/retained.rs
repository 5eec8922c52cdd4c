//! Retained messages: the last one of each topic, bounded in number and bytes, read with cursors that follow the reader.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound as End;
use std::sync::Arc;

use bytes::Bytes;
use hearthkey_core::id::DeviceId;

use crate::engine::parcel::Parcel;
use crate::engine::subscriptions::Options;
use crate::engine::topics::{common_prefix, is_wild, matches};
use crate::protocol::Filter;

/// How much may be retained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RetainedBounds {
    pub(crate) messages_max: usize,
    pub(crate) bytes_max: usize,
    pub(crate) message_max_bytes: usize,
}

/// Which bound a retained message would break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetainedFull {
    /// The message alone is too long.
    Message,
    /// The device that publishes it has retained as much as it may.
    Device,
    /// The home has.
    Home,
}

#[derive(Debug)]
struct Kept {
    parcel: Arc<Parcel>,
    /// Who published it; the gateway if nobody.
    owner: Option<DeviceId>,
    /// Counts what was retained before it.
    number: u64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Share {
    messages: usize,
    bytes: usize,
}

/// What is retained.
#[derive(Debug, Default)]
pub(crate) struct Retained {
    kept: BTreeMap<Bytes, Kept>,
    all: Share,
    shares: HashMap<DeviceId, Share>,
    expiring: BTreeSet<(u64, Bytes)>,
    number: u64,
    /// Topics that have changed since they were written down.
    changed: BTreeSet<Bytes>,
}

/// A reader of what is retained under one filter. It remembers where it is and nothing else, so that it costs the
/// same for ten messages and for ten thousand.
#[derive(Debug, Clone)]
pub(crate) struct Cursor {
    pub(crate) filter: Filter,
    pub(crate) options: Options,
    /// Messages from here on reach the subscription by themselves.
    before: u64,
    after: Option<Bytes>,
}

/// What a cursor found.
#[derive(Debug)]
pub(crate) enum Step {
    Found(Arc<Parcel>),
    /// It has looked at as much as it may for now.
    Spent,
    /// Nothing is left.
    Over,
}

impl Retained {
    pub(crate) fn get(&self, topic: &[u8]) -> Option<&Arc<Parcel>> {
        self.kept.get(topic).map(|kept| &kept.parcel)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.all.bytes
    }

    /// All that is retained.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn parcels(&self) -> impl Iterator<Item = &Arc<Parcel>> {
        self.kept.values().map(|kept| &kept.parcel)
    }

    /// Retains a message in place of the one of its topic. An empty payload only removes it (MQTT 5 §3.3.1.3).
    ///
    /// The gateway's own messages (no owner) are not bounded.
    pub(crate) fn set(
        &mut self,
        parcel: &Arc<Parcel>,
        owner: Option<(&DeviceId, RetainedBounds)>,
        home: RetainedBounds,
    ) -> Result<(), RetainedFull> {
        let topic = parcel.message.topic.bytes();
        if parcel.message.payload.is_empty() {
            self.remove(topic);
            return Ok(());
        }
        let old = self.old(topic);
        if let Some((device, bounds)) = owner {
            self.fits(parcel, device, bounds, home, old)?;
        }
        self.remove(topic);
        self.number += 1;
        let owner = owner.map(|(device, _)| device.clone());
        self.count(owner.as_ref(), parcel.bytes());
        if let Some(end) = parcel.expires_ms {
            self.expiring.insert((end, topic.clone()));
        }
        self.changed.insert(topic.clone());
        let kept = Kept {
            parcel: Arc::clone(parcel),
            owner,
            number: self.number,
        };
        self.kept.insert(topic.clone(), kept);
        Ok(())
    }

    fn old(&self, topic: &[u8]) -> (usize, Option<DeviceId>) {
        let old = self.kept.get(topic);
        (
            old.map_or(0, |kept| kept.parcel.bytes()),
            old.and_then(|kept| kept.owner.clone()),
        )
    }

    fn fits(
        &self,
        parcel: &Parcel,
        device: &DeviceId,
        bounds: RetainedBounds,
        home: RetainedBounds,
        (old, owner): (usize, Option<DeviceId>),
    ) -> Result<(), RetainedFull> {
        if parcel.message.len_bytes() > bounds.message_max_bytes.min(home.message_max_bytes) {
            return Err(RetainedFull::Message);
        }
        let room = |share: Share, (old, replaced): (usize, usize), bounds: RetainedBounds| {
            share.messages - replaced < bounds.messages_max
                && share.bytes - old + parcel.bytes() <= bounds.bytes_max
        };
        let share = self.shares.get(device).copied().unwrap_or_default();
        let its = match owner.as_ref() == Some(device) {
            true => (old, 1),
            false => (0, 0),
        };
        if !room(share, its, bounds) {
            return Err(RetainedFull::Device);
        }
        let replaced = (old, usize::from(old > 0));
        match room(self.all, replaced, home) {
            true => Ok(()),
            false => Err(RetainedFull::Home),
        }
    }

    fn count(&mut self, owner: Option<&DeviceId>, bytes: usize) {
        self.all.messages += 1;
        self.all.bytes += bytes;
        if let Some(device) = owner {
            let share = self.shares.entry(device.clone()).or_default();
            share.messages += 1;
            share.bytes += bytes;
        }
    }

    /// Removes what is retained on a topic.
    pub(crate) fn remove(&mut self, topic: &[u8]) {
        let Some((text, kept)) = self.kept.remove_entry(topic) else {
            return;
        };
        let bytes = kept.parcel.bytes();
        self.all.messages -= 1;
        self.all.bytes -= bytes;
        if let Some(device) = &kept.owner
            && let Some(share) = self.shares.get_mut(device)
        {
            share.messages -= 1;
            share.bytes -= bytes;
            if share.messages == 0 {
                self.shares.remove(device);
            }
        }
        if let Some(end) = kept.parcel.expires_ms {
            self.expiring.remove(&(end, text.clone()));
        }
        self.changed.insert(text);
    }

    /// Removes what has expired.
    pub(crate) fn expire(&mut self, now_ms: u64) {
        while let Some((_, topic)) = self.expiring.first().filter(|(end, _)| *end <= now_ms) {
            let topic = topic.clone();
            self.remove(&topic);
        }
    }

    /// At most so many of the topics that have changed since this was last called.
    pub(crate) fn take_changed(&mut self, max: usize) -> Vec<Bytes> {
        std::iter::from_fn(|| self.changed.pop_first())
            .take(max)
            .collect()
    }

    pub(crate) fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Who published what is retained on a topic.
    pub(crate) fn owner(&self, topic: &[u8]) -> Option<&DeviceId> {
        self.kept.get(topic)?.owner.as_ref()
    }

    /// The topics behind one, so many of them, and the devices that published on them.
    pub(crate) fn owned(&self, after: Option<&Bytes>, count: usize) -> Vec<(Bytes, DeviceId)> {
        let from = after.map_or(End::Unbounded, |topic| End::Excluded(&topic[..]));
        let behind = self.kept.range::<[u8], _>((from, End::Unbounded));
        let owned = behind.filter_map(|(topic, kept)| Some((topic.clone(), kept.owner.clone()?)));
        owned.take(count).collect()
    }

    /// Removes what is retained on a topic, if a device published it.
    pub(crate) fn disown(&mut self, topic: &[u8], owner: &DeviceId) {
        if self.owner(topic) == Some(owner) {
            self.remove(topic);
        }
    }

    /// A cursor over what is retained now; none if there is nothing for it.
    pub(crate) fn cursor(&self, filter: &Filter, options: Options) -> Option<Cursor> {
        let inner = filter.inner().as_bytes();
        if self.kept.is_empty() || !is_wild(inner) && self.get(inner).is_none() {
            return None;
        }
        Some(Cursor {
            filter: filter.clone(),
            options,
            before: self.number,
            after: None,
        })
    }

    /// Moves a cursor to its next message, looking at `budget` messages at most.
    pub(crate) fn next(&self, cursor: &mut Cursor, budget: &mut usize) -> Step {
        let inner = cursor.filter.inner().as_bytes();
        if !is_wild(inner) {
            let first = cursor.after.is_none();
            let kept = self.kept.get(inner);
            cursor.after = Some(cursor.filter.text().bytes().clone());
            return match kept.filter(|kept| first && kept.number <= cursor.before) {
                Some(kept) => Step::Found(Arc::clone(&kept.parcel)),
                None => Step::Over,
            };
        }
        let prefix = common_prefix(inner);
        let from = match &cursor.after {
            Some(topic) => End::Excluded(&topic[..]),
            None => End::Included(prefix),
        };
        for (topic, kept) in self.kept.range::<[u8], _>((from, End::Unbounded)) {
            if !topic.starts_with(prefix) {
                return Step::Over;
            }
            if *budget == 0 {
                return Step::Spent;
            }
            *budget -= 1;
            if kept.number <= cursor.before && matches(inner, topic) {
                cursor.after = Some(topic.clone());
                return Step::Found(Arc::clone(&kept.parcel));
            }
            cursor.after = Some(topic.clone());
        }
        Step::Over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::parcel::{Meter, Terms};
    use crate::protocol::{Message, Properties, QoS, Text};

    const HOME: RetainedBounds = RetainedBounds {
        messages_max: 10_000,
        bytes_max: 10_000_000,
        message_max_bytes: 1_000,
    };

    fn parcel(topic: &str, payload: &[u8], expires_ms: Option<u64>) -> Arc<Parcel> {
        let message = Message {
            topic: Text::try_from(topic).unwrap(),
            payload: payload.to_vec().into(),
            properties: Properties::default(),
        };
        let terms = Terms {
            qos: QoS::AtLeastOnce,
            retain: true,
            expires_ms,
        };
        Parcel::new(message, terms, &Meter::default())
    }

    fn cursor(retained: &Retained, filter: &str) -> Option<Cursor> {
        let options = Options {
            qos: QoS::AtMostOnce,
            no_local: false,
            retain_as_published: false,
            id: None,
        };
        let filter = Filter::parse(Text::try_from(filter).unwrap()).unwrap();
        retained.cursor(&filter, options)
    }

    fn all(retained: &Retained, filter: &str, budget: usize) -> Vec<String> {
        let mut found = Vec::new();
        let Some(mut cursor) = cursor(retained, filter) else {
            return found;
        };
        loop {
            let mut left = budget;
            match retained.next(&mut cursor, &mut left) {
                Step::Found(parcel) => found.push(parcel.message.topic.to_string()),
                Step::Spent => {}
                Step::Over => return found,
            }
        }
    }

    #[test]
    fn a_cursor_finds_each_message_once_however_little_it_looks_at_a_time() {
        let mut retained = Retained::default();
        for topic in ["a", "a/b", "a/b/c", "a-b", "b/x", "$x/y", "a/c"] {
            retained
                .set(&parcel(topic, b"x", None), None, HOME)
                .unwrap();
        }
        for (filter, expected) in [
            ("#", vec!["a", "a-b", "a/b", "a/b/c", "a/c", "b/x"]),
            ("a/#", vec!["a", "a/b", "a/b/c", "a/c"]),
            ("a/+", vec!["a/b", "a/c"]),
            ("+/x", vec!["b/x"]),
            ("a/b", vec!["a/b"]),
            ("$x/#", vec!["$x/y"]),
            ("nothing", vec![]),
            ("z/+", vec![]),
        ] {
            for budget in [1, 2, 100] {
                assert_eq!(
                    all(&retained, filter, budget),
                    expected,
                    "{filter} {budget}"
                );
            }
        }
    }

    #[test]
    fn what_is_retained_after_a_cursor_was_made_is_not_found_by_it() {
        let mut retained = Retained::default();
        retained
            .set(&parcel("a/1", b"old", None), None, HOME)
            .unwrap();
        retained
            .set(&parcel("a/2", b"old", None), None, HOME)
            .unwrap();
        let mut cursor = cursor(&retained, "a/+").unwrap();
        retained
            .set(&parcel("a/1", b"new", None), None, HOME)
            .unwrap();
        retained
            .set(&parcel("a/3", b"new", None), None, HOME)
            .unwrap();
        let mut budget = 100;
        let Step::Found(found) = retained.next(&mut cursor, &mut budget) else {
            panic!("one is left")
        };
        assert_eq!(found.message.topic.as_str(), "a/2");
        assert!(matches!(
            retained.next(&mut cursor, &mut budget),
            Step::Over
        ));
    }

    #[test]
    fn bounds_hold_for_a_device_and_for_the_home_and_replacing_takes_no_more_room() {
        let mut retained = Retained::default();
        let device: DeviceId = "lamp".parse().unwrap();
        let other: DeviceId = "hall".parse().unwrap();
        let few = RetainedBounds {
            messages_max: 2,
            ..HOME
        };
        let mut set = |topic: &str, bytes: usize, device: &DeviceId, home: RetainedBounds| {
            retained.set(
                &parcel(topic, &vec![1; bytes], None),
                Some((device, few)),
                home,
            )
        };
        assert_eq!(set("a", 10, &device, HOME), Ok(()));
        assert_eq!(set("b", 10, &device, HOME), Ok(()));
        assert_eq!(set("c", 10, &device, HOME), Err(RetainedFull::Device));
        assert_eq!(set("b", 11, &device, HOME), Ok(()));
        assert_eq!(set("b", 1_001, &device, HOME), Err(RetainedFull::Message));
        assert_eq!(set("b", 10, &other, few), Ok(()));
        assert_eq!(set("c", 10, &device, few), Err(RetainedFull::Home));
        assert_eq!(set("a", 0, &other, few), Ok(()));
        assert_eq!(set("c", 10, &device, few), Ok(()));
        assert_eq!(retained.all.messages, 2);
        assert_eq!(retained.owner(b"b"), Some(&other));
        let (b, c) = (Bytes::from_static(b"b"), Bytes::from_static(b"c"));
        assert_eq!(retained.owned(None, 1), [(b.clone(), other.clone())]);
        assert_eq!(retained.owned(Some(&b), 9), [(c, device.clone())]);
        retained.disown(b"b", &device);
        assert_eq!(retained.owner(b"b"), Some(&other));
        retained.disown(b"b", &other);
        assert_eq!((retained.owner(b"b"), retained.all.messages), (None, 1));
    }

    #[test]
    fn what_expires_is_gone_and_every_change_is_told_once() {
        let mut retained = Retained::default();
        retained
            .set(&parcel("a", b"x", Some(5)), None, HOME)
            .unwrap();
        retained.set(&parcel("b", b"x", None), None, HOME).unwrap();
        assert_eq!(retained.take_changed(10).len(), 2);
        retained.expire(4);
        assert!(!retained.has_changed());
        retained.expire(5);
        assert_eq!(retained.take_changed(10), ["a"]);
        assert!(retained.get(b"a").is_none() && retained.get(b"b").is_some());
        retained.remove(b"b");
        assert_eq!((retained.all.messages, retained.bytes()), (0, 0));
    }
}
