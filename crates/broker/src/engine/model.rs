//! Random clients against the engine and against a plain model of the specification: whatever they do, both must be seen to
//! do the same. The model keeps lists and looks through all of them each time; it uses nothing of routes, trees or windows
//! of bytes.

mod acts;
mod plain;

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::engine::testing::{Client, Heard, Hello, Room, Say, WillSaid};
use crate::limits::Limits;

use acts::{Act, CLIENTS, FILTERS, TOPICS, acts};
use plain::{Message, Model, Reader, Will, life};

/// The engine and the model side by side.
struct Both {
    room: Room,
    model: Model,
    clients: BTreeMap<usize, Client>,
    /// Messages of each client's side that wait for its answer: the answer and the identifier.
    unanswered: BTreeMap<usize, Vec<(u8, u16)>>,
    last_qos_2: BTreeMap<usize, (usize, Vec<u8>, u16)>,
    count: u16,
}

impl Both {
    fn new() -> Self {
        Self {
            room: Room::new(&Limits::default()),
            model: Model::default(),
            clients: BTreeMap::new(),
            unanswered: BTreeMap::new(),
            last_qos_2: BTreeMap::new(),
            count: 0,
        }
    }

    fn number(&mut self) -> u16 {
        self.count = self.count % 60_000 + 1;
        self.count
    }

    /// Speaks the wills that are due, as the edge does at once.
    fn speak_wills(&mut self) {
        let now = self.room.now_ms;
        let mut due = self.room.engine.due_wills(now);
        due.sort_by(|a, b| a.key.cmp(&b.key));
        for will in due {
            let device = will.key.owner.device().unwrap().to_string();
            let voice = crate::engine::Voice::Own(Room::rights(&device));
            let epoch = self.room.access.epoch().now();
            assert!(self.room.engine.speak(&will, voice, epoch, now));
        }
        self.model.speak_wills();
    }

    /// Every client receives what the model predicts; `first` are the answers that one client gets before that.
    fn compare(&mut self, who: Option<usize>, first: Vec<Heard>) {
        let mut first = Some(first);
        for at in 0..CLIENTS.len() {
            let Some(client) = self.clients.get_mut(&at) else {
                continue;
            };
            let mut heard = self.room.hear(client);
            for heard in &mut heard {
                if let Heard::Publish(published) = heard {
                    published.ids.sort_unstable();
                }
            }
            let mut expected = match who == Some(at) {
                true => first.take().unwrap_or_default(),
                false => Vec::new(),
            };
            expected.extend(self.model.send(at, &heard));
            assert_eq!(heard, expected, "client {at}");
            let unanswered = self.unanswered.entry(at).or_default();
            for heard in heard {
                match heard {
                    Heard::Publish(published) if published.qos > 0 => {
                        unanswered.push((3 + published.qos, published.id));
                    }
                    Heard::Ack(6, id, _) => unanswered.push((7, id)),
                    _ => {}
                }
            }
        }
        if let Some(who) = who.filter(|who| !self.clients.contains_key(who)) {
            assert!(
                first.is_none_or(|first| first.is_empty()),
                "client {who} is gone"
            );
        }
    }

    fn act(&mut self, act: &Act) {
        match act.clone() {
            Act::Connect {
                who,
                v5,
                clean,
                expiry_s,
                receive_max,
                will,
            } => self.connect(who, (v5, clean, expiry_s, receive_max), will),
            Act::Subscribe {
                who,
                filter,
                options,
                id,
            } => self.subscribe(who, FILTERS[filter], options, id),
            Act::Unsubscribe { who, filter } => self.unsubscribe(who, FILTERS[filter]),
            Act::Publish {
                who,
                topic,
                qos,
                retain,
                empty,
                expiry_s,
            } => self.publish(who, TOPICS[topic], (qos, retain, empty, expiry_s)),
            Act::Again { who } => self.again(who),
            Act::Release { who } => self.release(who),
            Act::Acknowledge { who, which } => self.acknowledge(who, which),
            Act::Leave { who } => self.end(who, false),
            Act::Lose { who } => self.end(who, true),
            Act::Wait { ms } => {
                self.room.now_ms += ms;
                self.model.now += ms;
                self.room.engine.tick(self.room.now_ms);
                self.model.pass_time();
                self.speak_wills();
                self.compare(None, Vec::new());
            }
        }
    }

    fn connect(
        &mut self,
        who: usize,
        (v5, clean, expiry_s, receive_max): (bool, bool, u32, u16),
        will: Option<(usize, u8, bool, u32)>,
    ) {
        let number = self.number();
        let (device, client_id) = CLIENTS[who];
        let said = will.map(|(topic, qos, retain, delay_s)| WillSaid {
            topic: TOPICS[topic],
            payload: format!("will {number}").into_bytes(),
            qos,
            retain,
            delay_s,
        });
        let hello = Hello {
            v5,
            clean,
            expiry_s,
            receive_max,
            will: said.clone(),
            ..Hello::default()
        };
        let new = self.room.connect(device, client_id, &hello);
        self.replace(who, new);
        let will = said.map(|said| Will {
            message: Message {
                topic: said.topic,
                payload: said.payload,
                qos: said.qos,
                retain: said.retain,
                ends: None,
            },
            delay_s: if v5 { said.delay_s } else { 0 },
        });
        // In MQTT 3.1.1 the session lives as long as the gateway lets it, or not at all.
        let longest = Limits::default().session_expiry_max_s;
        let expiry_s = match (v5, clean) {
            (true, _) => expiry_s.min(longest),
            (false, true) => 0,
            (false, false) => longest,
        };
        let window = if v5 { usize::from(receive_max) } else { 1_024 };
        let resumes = self
            .model
            .connect(who, clean, expiry_s, ((v5, window), will));
        let answer = Heard::Connack {
            present: resumes,
            code: 0,
        };
        self.compare(Some(who), vec![answer]);
    }

    /// A client has a new connection. The one before, if there was one, is told.
    fn replace(&mut self, who: usize, new: Client) {
        self.unanswered.remove(&who);
        if let Some(mut old) = self.clients.insert(who, new) {
            let told = self.room.hear(&mut old);
            let expected: &[Heard] = match old.v5 {
                true => &[Heard::Disconnect(0x8e)],
                false => &[],
            };
            assert_eq!(told, expected, "the connection before is told");
        }
    }

    fn subscribe(&mut self, who: usize, filter: &'static str, options: u8, id: Option<u32>) {
        let number = self.number();
        let Some(client) = self.clients.get_mut(&who) else {
            return;
        };
        let (options, id) = match client.v5 {
            true => (options, id),
            false => (options & 3, None),
        };
        self.room
            .subscribe(client, number, &[(filter, options)], id);
        let Some(session) = self.model.sessions.get_mut(&who) else {
            return;
        };
        let qos = options & 3;
        let flags = (qos, options & 4 > 0, options & 8 > 0, id);
        let is_new = session.subscriptions.insert(filter, flags).is_none();
        if options >> 4 == 0 || options >> 4 == 1 && is_new {
            session.readers.retain(|reader| reader.filter != filter);
            let is_wild = filter.contains(['+', '#']);
            let kept = &self.model.retained;
            if kept.contains_key(filter) || is_wild && !kept.is_empty() {
                session.readers.push(Reader {
                    filter,
                    before: self.model.retained_count,
                    after: None,
                    qos,
                    id,
                });
            }
        }
        self.compare(Some(who), vec![Heard::Suback(number, vec![qos])]);
    }

    fn unsubscribe(&mut self, who: usize, filter: &'static str) {
        let number = self.number();
        let Some(client) = self.clients.get_mut(&who) else {
            return;
        };
        let v5 = client.v5;
        self.room.unsubscribe(client, number, filter);
        let Some(session) = self.model.sessions.get_mut(&who) else {
            return;
        };
        let was_there = session.subscriptions.remove(filter).is_some();
        session.readers.retain(|reader| reader.filter != filter);
        let codes = match (v5, was_there) {
            (false, _) => vec![],
            (true, true) => vec![0],
            (true, false) => vec![0x11],
        };
        self.compare(Some(who), vec![Heard::Unsuback(number, codes)]);
    }

    fn publish(
        &mut self,
        who: usize,
        topic: &'static str,
        (qos, retain, empty, expiry_s): (u8, bool, bool, Option<u32>),
    ) {
        let number = self.number();
        let Some(client) = self.clients.get_mut(&who) else {
            return;
        };
        let Some(session) = self.model.sessions.get_mut(&who) else {
            return;
        };
        if qos == 2 && session.received.len() > 50 {
            return;
        }
        let expiry_s = expiry_s.filter(|_| client.v5);
        let payload = match empty {
            true => Vec::new(),
            false => number.to_string().into_bytes(),
        };
        let say = Say {
            topic,
            payload: &payload,
            qos,
            retain,
            id: number,
            expiry_s,
            ..Say::default()
        };
        self.room.publish(client, &say);
        if qos == 2 {
            session.received.insert(number);
            self.last_qos_2.insert(who, (0, payload.clone(), number));
        }
        let message = Message {
            topic,
            payload,
            qos,
            retain,
            ends: expiry_s.and_then(|seconds| life(self.model.now, seconds)),
        };
        self.model.publish(&message, Some(who));
        let answer = match qos {
            0 => vec![],
            _ => vec![Heard::Ack(3 + qos, number, 0)],
        };
        self.compare(Some(who), answer);
    }

    fn again(&mut self, who: usize) {
        let Some((times, payload, id)) = self.last_qos_2.get_mut(&who) else {
            return;
        };
        let (Some(client), Some(session)) =
            (self.clients.get_mut(&who), self.model.sessions.get(&who))
        else {
            return;
        };
        if *times > 0 || !session.received.contains(id) {
            return;
        }
        *times += 1;
        let (payload, id) = (payload.clone(), *id);
        let say = Say {
            topic: "a",
            payload: &payload,
            qos: 2,
            dup: true,
            id,
            ..Say::default()
        };
        self.room.publish(client, &say);
        self.compare(Some(who), vec![Heard::Ack(5, id, 0)]);
    }

    fn release(&mut self, who: usize) {
        let (Some(client), Some(session)) = (
            self.clients.get_mut(&who),
            self.model.sessions.get_mut(&who),
        ) else {
            return;
        };
        let (id, is_known) = match session.received.pop_first() {
            Some(id) => (id, true),
            None => (9, false),
        };
        self.room.acknowledge(client, 6, id);
        let reason = if is_known || !client.v5 { 0 } else { 0x92 };
        self.compare(Some(who), vec![Heard::Ack(7, id, reason)]);
    }

    fn acknowledge(&mut self, who: usize, which: usize) {
        let Some(client) = self.clients.get_mut(&who) else {
            return;
        };
        let unanswered = self.unanswered.entry(who).or_default();
        if which >= unanswered.len() {
            return;
        }
        let (kind, id) = unanswered.remove(which);
        self.room.acknowledge(client, kind, id);
        let mut answer = Vec::new();
        if let Some(session) = self.model.sessions.get_mut(&who)
            && let Some(at) = session.flights.iter().position(|flight| flight.id == id)
        {
            match kind {
                5 => {
                    session.flights[at].mail = None;
                    answer.push(Heard::Ack(6, id, 0));
                }
                _ => drop(session.flights.remove(at)),
            }
        }
        self.compare(Some(who), answer);
    }

    fn end(&mut self, who: usize, is_lost: bool) {
        let Some(mut client) = self.clients.remove(&who) else {
            return;
        };
        match is_lost {
            true => self.room.lose(&mut client),
            false => drop(self.room.send(&mut client, &[0xe0, 0])),
        }
        self.unanswered.remove(&who);
        self.model.disconnect(who, is_lost);
        self.speak_wills();
        self.compare(None, Vec::new());
    }
}

fn run(acts: &[Act]) {
    let mut both = Both::new();
    for act in acts {
        both.act(act);
    }
}

#[test]
fn random_clients_see_what_a_plain_model_of_the_specification_says() {
    // A sample; `make soak` makes it a million steps.
    let (cases, length) = match std::env::var_os("HEARTHKEY_SOAK") {
        Some(_) => (10_000, 100),
        None => (400, 60),
    };
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    });
    let sequences = prop::collection::vec(acts(), 1..length * 2);
    let done = runner.run(&sequences, |acts| {
        run(&acts);
        Ok(())
    });
    if let Err(error) = done {
        panic!("{error}");
    }
}
