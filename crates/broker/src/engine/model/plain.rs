//! The model: lists, and a look through all of them each time.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::testing::{Heard, Published};
use crate::engine::topics::matches;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Message {
    pub(super) topic: &'static str,
    pub(super) payload: Vec<u8>,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) ends: Option<u64>,
}

#[derive(Debug, Clone)]
pub(super) struct Mail {
    pub(super) message: Message,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) ids: Vec<u32>,
}

/// A message under way.
#[derive(Debug, Clone)]
pub(super) struct Flight {
    pub(super) mail: Option<Mail>,
    /// The identifier that the engine gave it: learned when it is first sent.
    pub(super) id: u16,
    pub(super) sent: bool,
    pub(super) counts: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Reader {
    pub(super) filter: &'static str,
    pub(super) before: u64,
    pub(super) after: Option<&'static str>,
    pub(super) qos: u8,
    pub(super) id: Option<u32>,
}

#[derive(Debug, Clone)]
pub(super) struct Will {
    pub(super) message: Message,
    pub(super) delay_s: u32,
}

#[derive(Debug, Default, Clone)]
pub(super) struct Session {
    pub(super) subscriptions: BTreeMap<&'static str, (u8, bool, bool, Option<u32>)>,
    pub(super) waiting: Vec<Mail>,
    pub(super) flights: Vec<Flight>,
    pub(super) received: BTreeSet<u16>,
    pub(super) readers: Vec<Reader>,
    pub(super) expiry_s: u32,
    pub(super) ends: Option<u64>,
    pub(super) connection: Option<(bool, usize)>,
    pub(super) will: Option<Will>,
}

#[derive(Default)]
pub(super) struct Model {
    pub(super) sessions: BTreeMap<usize, Session>,
    pub(super) retained: BTreeMap<&'static str, (u64, Message)>,
    pub(super) wills: BTreeMap<usize, (u64, Message)>,
    pub(super) retained_count: u64,
    pub(super) now: u64,
}

pub(super) fn life(now: u64, seconds: u32) -> Option<u64> {
    (seconds != u32::MAX).then(|| now + u64::from(seconds) * 1000)
}

impl Model {
    /// A client connects, as a version and with a window, and leaves this to be said. Returns whether its session goes on.
    pub(super) fn connect(
        &mut self,
        who: usize,
        clean: bool,
        expiry_s: u32,
        (connection, will): ((bool, usize), Option<Will>),
    ) -> bool {
        let before = self.sessions.get(&who);
        let resumes = !clean && before.is_some_and(|session| session.expiry_s > 0);
        self.disconnect(who, true);
        if let Some((at, message)) = self.wills.remove(&who)
            && (at <= self.now || !resumes)
        {
            self.publish(&message, Some(who));
        }
        if !resumes {
            self.sessions.remove(&who);
        }
        let session = self.sessions.entry(who).or_default();
        session.connection = Some(connection);
        (session.expiry_s, session.ends, session.will) = (expiry_s, None, will);
        resumes
    }

    pub(super) fn publish(&mut self, message: &Message, from: Option<usize>) {
        if message.retain {
            self.retained.remove(message.topic);
            if !message.payload.is_empty() {
                self.retained_count += 1;
                self.retained
                    .insert(message.topic, (self.retained_count, message.clone()));
            }
        }
        for (who, session) in &mut self.sessions {
            let hears = session.subscriptions.iter().filter(|(filter, options)| {
                matches(filter.as_bytes(), message.topic.as_bytes())
                    && !(options.1 && from == Some(*who))
            });
            let hears: Vec<_> = hears.map(|(_, options)| *options).collect();
            let Some(qos) = hears.iter().map(|options| options.0).max() else {
                continue;
            };
            let qos = qos.min(message.qos);
            if session.connection.is_none() && qos == 0 {
                continue;
            }
            let mut ids: Vec<u32> = hears.iter().filter_map(|options| options.3).collect();
            ids.sort_unstable();
            session.waiting.push(Mail {
                message: message.clone(),
                qos,
                retain: message.retain && hears.iter().any(|options| options.2),
                ids,
            });
        }
    }

    /// What a client is sent now, without identifiers: they are learned.
    pub(super) fn send(&mut self, who: usize, heard: &[Heard]) -> Vec<Heard> {
        let mut expected = Vec::new();
        let mut ids = heard.iter().filter_map(|heard| match heard {
            Heard::Publish(published) if published.qos > 0 && !published.dup => Some(published.id),
            _ => None,
        });
        let now = self.now;
        let Some(session) = self.sessions.get_mut(&who) else {
            return expected;
        };
        let Some((v5, window)) = session.connection else {
            return expected;
        };
        loop {
            let open = session
                .flights
                .iter()
                .filter(|flight| flight.counts)
                .count();
            let unsent = session.flights.iter().position(|flight| !flight.sent);
            if let Some(at) =
                unsent.filter(|at| open < window || session.flights[*at].mail.is_none())
            {
                let flight = &mut session.flights[at];
                let Some(mail) = flight.mail.clone() else {
                    flight.sent = true;
                    expected.push(Heard::Ack(6, flight.id, 0));
                    continue;
                };
                (flight.sent, flight.counts) = (true, true);
                let id = flight.id;
                match shown(&mail, v5, (id, true), now) {
                    Some(published) => expected.push(published),
                    None => drop(session.flights.remove(at)),
                }
                continue;
            }
            // What was sent before comes first; what is retained waits for nobody, unless it needs room itself.
            let next = match session.waiting.first() {
                Some(mail) if unsent.is_none() && (mail.qos == 0 || open < window) => {
                    Some(session.waiting.remove(0))
                }
                _ => None,
            };
            let mail = match next {
                Some(mail) => mail,
                None => match read_on(session, &self.retained, open < window) {
                    Some(mail) => mail,
                    None => return expected,
                },
            };
            if shown(&mail, v5, (0, false), now).is_none() {
                continue;
            }
            let id = match mail.qos {
                0 => 0,
                _ => ids.next().unwrap_or(0),
            };
            expected.extend(shown(&mail, v5, (id, false), now));
            if mail.qos > 0 {
                session.flights.push(Flight {
                    mail: Some(mail),
                    id,
                    sent: true,
                    counts: true,
                });
            }
        }
    }

    pub(super) fn disconnect(&mut self, who: usize, speaks: bool) {
        let now = self.now;
        let Some(session) = self.sessions.get_mut(&who) else {
            return;
        };
        if session.connection.take().is_none() {
            return;
        }
        session.waiting.retain(|mail| mail.qos > 0);
        for flight in &mut session.flights {
            (flight.sent, flight.counts) = (false, false);
        }
        session.ends = life(now, session.expiry_s);
        if let Some(will) = session.will.take().filter(|_| speaks) {
            let delay = will.delay_s.min(session.expiry_s);
            self.wills
                .insert(who, (now + u64::from(delay) * 1000, will.message));
        }
        if session.expiry_s == 0 {
            self.sessions.remove(&who);
        }
    }

    pub(super) fn pass_time(&mut self) {
        let now = self.now;
        self.sessions.retain(|_, session| {
            session.connection.is_some() || session.ends.is_none_or(|end| end > now)
        });
        self.retained
            .retain(|_, (_, message)| message.ends.is_none_or(|end| end > now));
    }

    pub(super) fn speak_wills(&mut self) {
        let due: Vec<usize> = self
            .wills
            .iter()
            .filter(|(_, (at, _))| *at <= self.now)
            .map(|(who, _)| *who)
            .collect();
        for who in due {
            if let Some((_, message)) = self.wills.remove(&who) {
                self.publish(&message, Some(who));
            }
        }
    }
}

/// The next retained message that a client reads, if it may have one more under way.
fn read_on(
    session: &mut Session,
    retained: &BTreeMap<&'static str, (u64, Message)>,
    is_open: bool,
) -> Option<Mail> {
    loop {
        let reader = session.readers.first_mut()?;
        if reader.qos > 0 && !is_open {
            return None;
        }
        let found = retained.iter().find(|(topic, (number, _))| {
            reader.after.is_none_or(|after| after < **topic)
                && *number <= reader.before
                && matches(reader.filter.as_bytes(), topic.as_bytes())
        });
        let Some((topic, (_, message))) = found else {
            session.readers.remove(0);
            continue;
        };
        reader.after = Some(*topic);
        return Some(Mail {
            message: message.clone(),
            qos: reader.qos.min(message.qos),
            retain: true,
            ids: reader.id.into_iter().collect(),
        });
    }
}

/// How a message looks to its receiver; nothing if it has expired.
pub(super) fn shown(mail: &Mail, v5: bool, (id, dup): (u16, bool), now: u64) -> Option<Heard> {
    let message = &mail.message;
    if message.ends.is_some_and(|end| end <= now) {
        return None;
    }
    let expiry_s = message.ends.map(|end| (end - now).div_ceil(1000) as u32);
    Some(Heard::Publish(Published {
        topic: message.topic.to_owned(),
        payload: message.payload.clone(),
        qos: mail.qos,
        retain: mail.retain,
        dup,
        id,
        ids: if v5 { mail.ids.clone() } else { Vec::new() },
        expiry_s: expiry_s.filter(|_| v5),
        rest: Vec::new(),
    }))
}
