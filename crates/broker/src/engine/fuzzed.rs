//! Any sequence of bytes as acts of several clients, of the gateway and of the clock, and what must hold after each of them.
//!
//! The model compares what clients see with the specification; this compares the engine with itself: what it counts is
//! what is there, what is there is within its bounds, and nothing is left when all have gone. `cfg(fuzzing)` hands it to
//! the fuzzer, the tests give it random bytes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use hearthkey_core::device::DeviceState;

use crate::engine::bounds::Bounds;
use crate::engine::outbox::Entry;
use crate::engine::session::Owner;
use crate::engine::testing::{Client, Heard, Hello, Room, Say, WillSaid};
use crate::engine::weight::weight;
use crate::engine::{Departure, Engine, Moment, Progress, Voice};
use crate::limits::Limits;
use crate::protocol::QoS;
use crate::state::{StateChange, StateKind, StateRow};

const CLIENTS: [(&str, &str); 5] = [
    ("d1", "x"),
    ("d1", "y"),
    ("d2", "x"),
    ("d3", "z"),
    ("d3", "w"),
];
const TOPICS: [&str; 8] = ["a", "a/b", "a/b/c", "b", "b/x", "c/", "a//b", "forbidden"];
const FILTERS: [&str; 10] = [
    "a",
    "a/#",
    "a/+",
    "a/+/c",
    "+/b",
    "b/#",
    "c/+",
    "$share/g/a/#",
    "$share/g/b/+",
    "a//+",
];

/// Bounds that are reached at once.
fn limits() -> Limits {
    Limits {
        packet_max_bytes: 8 * 1024,
        queue_messages_max: 12,
        queue_max_bytes: 6 * 1024,
        queues_device_max_bytes: 9 * 1024,
        queues_total_max_bytes: 14 * 1024,
        outbound_inflight_max: 3,
        receive_max: 3,
        half_done_max: 5,
        subscriptions_max: 6,
        subscriptions_device_max_bytes: 8 * 1024,
        subscriptions_total_max_bytes: 10 * 1024,
        retained_device_messages_max: 4,
        retained_device_max_bytes: 5 * 1024,
        retained_messages_max: 6,
        retained_message_max_bytes: 3 * 1024,
        retained_total_max_bytes: 8 * 1024,
        session_expiry_max_s: 20,
        publishes_per_s_max: 50,
        ..Limits::default()
    }
}

/// Bytes as numbers; zeros behind their end.
struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    fn next(&mut self) -> usize {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        usize::from(*first)
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.next() % of.len()]
    }

    fn bytes(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

struct World {
    room: Room,
    clients: HashMap<usize, Client>,
    rows: BTreeMap<(StateKind, String), Vec<u8>>,
}

/// Does what the bytes say.
///
/// # Panics
///
/// If something does not hold that must.
pub fn run(bytes: &[u8]) {
    let mut world = World {
        room: Room::new(&limits()),
        clients: HashMap::new(),
        rows: BTreeMap::new(),
    };
    let mut choices = Choices(bytes);
    while !choices.0.is_empty() {
        world.act(&mut choices);
        check(&world.room.engine);
        let engine = &mut world.room.engine;
        drop((
            engine.take_calls(),
            engine.take_notes(),
            engine.take_asked(),
        ));
    }
    world.end();
}

impl World {
    fn act(&mut self, choices: &mut Choices<'_>) {
        let kind = choices.next();
        let who = choices.next() % CLIENTS.len();
        match kind % 16 {
            0 | 1 => self.connect(who, choices),
            2 | 3 => self.subscribe(who, choices),
            4..=7 => self.publish(who, choices),
            8 | 9 => self.acknowledge(who, choices),
            10 => {
                let n = choices.next() % 64;
                let bytes = choices.bytes(n);
                self.with(who, |room, client| room.send(client, bytes));
            }
            11 => self.hear(who),
            12 => self.end_one(who, choices),
            13 => self.pass_time(choices),
            14 => self.shut_out(who, choices),
            _ => self.write_down(choices),
        }
    }

    /// Does something with a client that is connected; it is gone if that ended its connection.
    fn with(&mut self, who: usize, act: impl FnOnce(&mut Room, &mut Client) -> Progress) {
        let Some(client) = self.clients.get_mut(&who) else {
            return;
        };
        self.room.engine.keep_identity(client.at);
        match act(&mut self.room, client) {
            Progress::Over(_) => drop(self.clients.remove(&who)),
            Progress::Gone => self.hear(who),
            _ => {}
        }
    }

    fn connect(&mut self, who: usize, choices: &mut Choices<'_>) {
        let (device, client_id) = CLIENTS[who];
        let flags = choices.next();
        let will = (flags & 8 != 0).then(|| WillSaid {
            topic: choices.one(&TOPICS[..6]),
            payload: vec![b'w'; choices.next() * 8],
            qos: choices.next() as u8 % 3,
            retain: flags & 16 != 0,
            delay_s: choices.next() as u32 % 4,
        });
        let hello = Hello {
            v5: flags & 1 != 0,
            clean: flags & 2 != 0,
            expiry_s: choices.one(&[0, 5, u32::MAX]),
            receive_max: choices.next() as u16 % 5,
            alias_max: 0,
            packet_max: choices.one(&[0, 64, 600]),
            keep_alive_s: choices.one(&[0, 2]),
            will,
        };
        // The client that had the session is notified.
        let client = self.room.connect(device, client_id, &hello);
        if self.clients.contains_key(&who) {
            self.hear(who);
        }
        self.clients.insert(who, client);
    }

    fn subscribe(&mut self, who: usize, choices: &mut Choices<'_>) {
        let filter = choices.one(&FILTERS);
        let options = choices.next() as u8;
        let id = (options & 64 != 0).then_some(7);
        let is_shared = filter.starts_with('$');
        // No Local with a shared subscription is a protocol error, and the decoder's to see.
        let no_local = if is_shared { 0 } else { options & 4 };
        let retain_handling = (options >> 4 & 3) % 3;
        let options = (options % 3) | no_local | (options & 8) | (retain_handling << 4);
        let leaves = choices.next().is_multiple_of(4);
        self.with(who, |room, client| {
            if leaves {
                room.unsubscribe(client, 3, filter);
                return Progress::All;
            }
            let (options, id) = match client.v5 {
                true => (options, id),
                false => (options % 3, None),
            };
            room.subscribe(client, 3, &[(filter, options)], id)
        });
    }

    fn publish(&mut self, who: usize, choices: &mut Choices<'_>) {
        let topic = choices.one(&TOPICS);
        let flags = choices.next();
        let payload = vec![b'p'; choices.next() * 12];
        let qos = (flags % 3) as u8;
        let expiry_s = (flags & 64 != 0).then(|| choices.next() as u32 % 4);
        let id = 1 + choices.next() as u16 % 8;
        self.with(who, |room, client| {
            let say = Say {
                topic,
                payload: &payload,
                qos,
                retain: flags & 16 != 0,
                dup: qos > 0 && flags & 32 != 0,
                id,
                expiry_s: expiry_s.filter(|_| client.v5),
                properties: &[],
            };
            room.publish(client, &say)
        });
    }

    fn acknowledge(&mut self, who: usize, choices: &mut Choices<'_>) {
        let kind = 4 + choices.next() as u8 % 4;
        let id = 1 + choices.next() as u16 % 12;
        self.with(who, |room, client| room.acknowledge(client, kind, id));
    }

    /// What a client is sent is well-formed, and nothing comes twice under one identifier at a time.
    fn hear(&mut self, who: usize) {
        let Some(client) = self.clients.get_mut(&who) else {
            return;
        };
        self.room.engine.keep_identity(client.at);
        let heard = self.room.hear(client);
        let is_sent = |heard: &&Heard| matches!(heard, Heard::Publish(its) if its.qos > 0);
        let sent: Vec<_> = heard.iter().filter(is_sent).collect();
        let ids = sent.iter().map(|heard| match heard {
            Heard::Publish(its) => its.id,
            _ => 0,
        });
        assert_eq!(ids.collect::<HashSet<_>>().len(), sent.len(), "{heard:?}");
        if !self.room.engine.has(client.at) {
            self.clients.remove(&who);
        }
    }

    fn end_one(&mut self, who: usize, choices: &mut Choices<'_>) {
        let leaves = choices.next().is_multiple_of(3);
        self.with(who, |room, client| match leaves {
            true => room.send(client, &[0xe0, 0]),
            false => {
                room.lose(client);
                Progress::Over(Departure::Lost)
            }
        });
    }

    fn pass_time(&mut self, choices: &mut Choices<'_>) {
        self.room.now_ms += choices.next() as u64 * 40;
        let now_ms = self.room.now_ms;
        self.room.engine.tick(now_ms);
        // A will can be what ends the connection of somebody who does not read, whose will is due then.
        for _ in 0..=CLIENTS.len() {
            for will in self.room.engine.due_wills(now_ms) {
                let device = will.key.owner.device().map(ToString::to_string);
                let voice = Voice::Own(Room::rights(&device.unwrap_or_default()));
                let epoch = self.room.access.epoch().now();
                assert!(self.room.engine.speak(&will, voice, epoch, now_ms));
            }
        }
        assert!(!self.room.engine.has_due_wills(now_ms));
    }

    /// Rights change; perhaps the device is shut out, and perhaps forgotten.
    fn shut_out(&mut self, who: usize, choices: &mut Choices<'_>) {
        let how = choices.next() % 4;
        let (device, _) = CLIENTS[who];
        let now_ms = self.room.now_ms;
        self.room.access.set_device_state(
            &device.parse().expect("a device id"),
            DeviceState::Suspended,
        );
        let owner = Owner::Device(device.parse().expect("a device id"));
        match how {
            0 => {
                let topic = "hearthkey/v1/trust/bundle";
                let payload = Bytes::from(vec![b't'; choices.next()]);
                self.room.engine.publish_own(topic, payload, true, now_ms);
            }
            1 => {}
            _ => {
                // Who had lost it before is still to be told.
                let engine = &self.room.engine;
                self.clients.retain(|_, client| engine.has(client.at));
                self.room.engine.cut(|key, _| key.owner == owner, now_ms);
            }
        }
        if how == 3 {
            self.room.engine.forget(&owner, |_| true, now_ms);
            assert!(self.room.engine.sessions_of(&owner).is_empty());
        }
        if how >= 2 {
            let room = &mut self.room;
            self.clients.retain(|who, client| {
                let is_its = CLIENTS[*who].0 == device;
                if is_its {
                    assert!(!room.engine.has(client.at));
                    assert_eq!(room.hear(client), [], "nothing after it was shut out");
                }
                !is_its
            });
        }
    }

    /// What has changed is written down; perhaps the gateway is killed then, and another one takes up what was written.
    fn write_down(&mut self, choices: &mut Choices<'_>) {
        let how = choices.next();
        let at = self.moment();
        let batches = if how & 1 == 0 {
            usize::MAX
        } else {
            1 + how / 64
        };
        for _ in 0..batches {
            let changes = self.room.engine.take_changes(1 + how / 32, true, at);
            if changes.is_empty() {
                break;
            }
            for change in changes {
                match change {
                    StateChange::Put(row) => drop(self.rows.insert((row.kind, row.key), row.value)),
                    StateChange::Delete { kind, key } => drop(self.rows.remove(&(kind, key))),
                }
            }
        }
        if how & 2 == 0 {
            return;
        }
        let is_all = batches == usize::MAX;
        let before = lasting(&self.room.engine, self.room.now_ms);
        let rows = self.rows.iter().map(|((kind, key), value)| StateRow {
            kind: *kind,
            key: key.clone(),
            value: value.clone(),
        });
        let mut engine = Engine::new(Bounds::new(&limits()), self.room.access.epoch());
        engine.restore(rows.collect(), at);
        if is_all {
            same(&before, &lasting(&engine, self.room.now_ms));
        }
        self.room.engine = engine;
        self.clients.clear();
    }

    fn moment(&self) -> Moment {
        Moment {
            now_ms: self.room.now_ms,
            home_s: 1_000_000 + (self.room.now_ms / 1000) as i64,
        }
    }

    /// When all have gone, nothing is left of them.
    fn end(mut self) {
        let now_ms = self.room.now_ms;
        for (device, _) in CLIENTS {
            let owner = Owner::Device(device.parse().expect("a device id"));
            self.room.engine.forget(&owner, |_| true, now_ms);
        }
        let engine = &self.room.engine;
        check(engine);
        assert_eq!(engine.sessions.iter().count(), 0);
        assert_eq!(engine.subscription_bytes, 0);
        assert!(engine.subscriptions.is_empty());
        assert_eq!(engine.meter.bytes(), engine.retained.bytes());
    }
}

/// What a restart must not change: each session's subscriptions, its messages in their order, and identifiers.
#[derive(Debug, PartialEq, Eq)]
struct Lasting {
    subscriptions: usize,
    messages: Vec<u64>,
    flights: Vec<(u16, bool)>,
    received: usize,
}

/// Every session that lasts, and whether it does not end in a moment: times are written down in seconds.
fn lasting(engine: &Engine, now_ms: u64) -> BTreeMap<String, (Lasting, bool)> {
    let lives = |entry: &Entry| entry.qos != QoS::AtMostOnce && entry.parcel.expires_ms.is_none();
    let sessions = engine.sessions.iter().map(|(_, session)| session);
    let sessions = sessions.filter(|session| session.is_lasting());
    let mut all = BTreeMap::new();
    for session in sessions {
        let (waiting, flights) = (session.outbox.waiting(), session.outbox.flights());
        let flights = flights.filter(|its| its.entry.as_ref().is_none_or(lives));
        let waiting = waiting.filter(|its| lives(its));
        let its = Lasting {
            subscriptions: session.subscriptions.len(),
            messages: waiting.map(|its| its.number).collect(),
            flights: flights
                .map(|its| (its.id.get(), its.is_released()))
                .collect(),
            received: session.received.len(),
        };
        let stays = session.ends_ms.is_none_or(|end| end > now_ms + 4_000);
        all.insert(format!("{:?}", session.key), (its, stays));
    }
    all
}

fn same(before: &BTreeMap<String, (Lasting, bool)>, after: &BTreeMap<String, (Lasting, bool)>) {
    for (key, (its, stays)) in before {
        match after.get(key) {
            Some((restored, _)) => assert_eq!(its, restored, "a restart changed {key}"),
            None => assert!(!stays, "a restart has lost {key}"),
        }
    }
    assert!(after.keys().all(|key| before.contains_key(key)));
}

/// What must hold between two acts.
fn check(engine: &Engine) {
    let bounds = &engine.bounds;
    let mut parcels = HashMap::new();
    let mut books: HashMap<_, (usize, usize, usize)> = HashMap::new();
    for (at, session) in engine.sessions.iter() {
        assert_eq!(engine.keys.get(&session.key), Some(&at));
        let outbox = &session.outbox;
        let flying = outbox.flights().filter_map(|flight| flight.entry.as_ref());
        let entries: Vec<_> = flying.chain(outbox.waiting()).collect();
        let bytes: usize = entries.iter().map(|entry| entry.bytes()).sum();
        assert_eq!(bytes, outbox.bytes(), "{:?}", session.key);
        // One message that is longer than all room passes, too; and one that is retained.
        let most = session.bounds.queue_max_bytes + bounds.retained.message_max_bytes + 1024;
        assert!(bytes <= most || entries.len() <= 1, "{bytes}");
        let ids: HashSet<_> = outbox.flights().map(|flight| flight.id).collect();
        assert_eq!(ids.len(), outbox.flights().count(), "one identifier twice");
        assert!(session.received.len() <= bounds.half_done_max + 1);
        for entry in entries {
            parcels.insert(Arc::as_ptr(&entry.parcel), entry.parcel.bytes());
        }
        let weights = session.subscriptions.values();
        let weights: usize = weights.map(|held| weight(&held.filter)).sum();
        let book = books.entry(session.book).or_default();
        *book = (book.0 + bytes, book.1 + weights, book.2 + 1);
    }
    for (at, (queued, subscribed, sessions)) in &books {
        let book = engine.books.get(*at).expect("the book of a session");
        let counted = (
            book.queue_bytes,
            book.subscription_bytes,
            book.sessions.len(),
        );
        assert_eq!(counted, (*queued, *subscribed, *sessions));
        assert!(*subscribed <= bounds.subscriptions_device_max_bytes);
    }
    let subscribed: usize = books.values().map(|book| book.1).sum();
    assert_eq!(subscribed, engine.subscription_bytes);
    assert!(subscribed <= bounds.subscriptions_max_bytes);
    assert_eq!(engine.keys.len(), engine.sessions.iter().count());
    for parcel in engine.retained.parcels() {
        parcels.insert(Arc::as_ptr(parcel), parcel.bytes());
    }
    assert_eq!(parcels.values().sum::<usize>(), engine.meter.bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]
        #[test]
        fn whatever_happens_the_engine_counts_what_it_holds_and_holds_no_more_than_it_may(
            bytes in prop::collection::vec(any::<u8>(), 0..600)
        ) {
            super::run(&bytes);
        }
    }
}
