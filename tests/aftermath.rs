//! What is there after a crash of [`crate::crash`]: every session is taken up again, and compared with what was acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::crash::{Home, half_of, joined};
use crate::exact::{Exact, Heard, Opening, Said};
use crate::promised::GRACE;

/// [`GRACE`] for retained messages, which are written as they change.
const GRACE_RETAINED: Duration = Duration::from_secs(1);

impl Home {
    /// Takes up every session again, and compares.
    pub async fn check(&self, cycle: u64, died: Instant) {
        let mut probe = self.open(&Opening::passing("probe")).await.unwrap();
        self.check_half(cycle, &mut probe).await;
        for name in ["away", "here"] {
            self.drain(cycle, name, died).await;
        }
        self.check_retained(died).await;
        self.check_subscriptions(cycle, &mut probe, died).await;
        self.check_wills(cycle, died).await;
        let mut book = self.book.borrow_mut();
        book.away.check(&format!("cycle {cycle}, away"), died);
        book.here.check(&format!("cycle {cycle}, here"), died);
    }

    /// A QoS 2 message that was not released is sent again: it is the same one.
    async fn check_half(&self, cycle: u64, probe: &mut Exact) {
        let mut half = self.open(&Opening::lasting("half")).await.unwrap();
        if std::mem::take(&mut self.book.borrow_mut().is_half_sent) {
            let mut message = half_of(cycle);
            message.dup = true;
            half.publish(&message).await.unwrap();
        }
        half.leave().await;
        for name in ["away", "here"] {
            let end = Said::new(&format!("devices/{name}/half"), &end_of(cycle), 1, 1);
            probe.publish(&end).await.unwrap();
        }
    }

    /// Takes all that waits for a session, to the end that `probe` has set.
    async fn drain(&self, cycle: u64, name: &str, died: Instant) {
        let mut session = self.open(&Opening::lasting(name)).await.unwrap();
        assert!(session.session_present, "cycle {cycle}: {name} is lost");
        match name {
            "here" => self.book.borrow_mut().here.previous = 0,
            _ => self.book.borrow_mut().away.previous = 0,
        }
        let (mut halves, mut is_over) = (0, false);
        let (mut open, mut released) = (BTreeSet::new(), BTreeSet::new());
        while !is_over || !open.is_empty() {
            match session.read().await.unwrap() {
                Heard::Message(said) => {
                    is_over |= said.text() == end_of(cycle);
                    match said.topic.ends_with("/set") {
                        true => self.drained(name, &said, died),
                        false => halves += usize::from(said.text() == cycle.to_string()),
                    }
                    if said.qos == 2 {
                        open.insert(said.id);
                    }
                    session.acknowledge(3 + said.qos, said.id).await;
                }
                Heard::Pubrel(id) => {
                    open.remove(&id);
                    released.insert(id);
                    session.acknowledge(7, id).await;
                }
                other => panic!("{other:?}"),
            }
        }
        session.leave().await;
        let mut book = self.book.borrow_mut();
        let (unreleased, half) = match name {
            "here" => (book.unreleased.take(), None),
            _ => (None, book.half.take()),
        };
        if let Some((id, _)) = unreleased.filter(|(_, since)| *since + GRACE <= died) {
            assert!(
                released.contains(&id),
                "cycle {cycle}: {id} is not released"
            );
        }
        if half.is_some_and(|since| since + GRACE <= died) {
            assert_eq!(halves, 1, "cycle {cycle}: exactly once");
        }
    }

    fn drained(&self, name: &str, said: &Said, died: Instant) {
        let mut book = self.book.borrow_mut();
        match name {
            "here" => book.here.take(said, Some(died)),
            _ => {
                let was_sent = book.away.taken.contains_key(&said.text().parse().unwrap());
                assert!(!said.dup || was_sent, "{said:?} was never sent before");
                book.away.take(said, Some(died));
            }
        }
    }

    /// Each retained topic holds what was acknowledged last, or something newer.
    async fn check_retained(&self, died: Instant) {
        let mut reader = self.open(&Opening::passing("reader")).await.unwrap();
        reader.send(&subscription("devices/hub/+")).await;
        let mut sent = std::mem::take(&mut self.book.borrow_mut().retained);
        let due = |sent: &Vec<(u64, Option<Instant>)>| {
            let settled = |at: Option<Instant>| at.is_some_and(|at| at + GRACE_RETAINED <= died);
            let settled = sent.iter().filter(|(_, at)| settled(*at));
            settled.map(|(number, _)| *number).max()
        };
        let missing = sent
            .iter()
            .filter_map(|(topic, sent)| Some((*topic, due(sent)?)));
        let mut missing: BTreeMap<u64, u64> = missing.collect();
        while !missing.is_empty() {
            let Heard::Message(said) = reader.read().await.unwrap() else {
                continue;
            };
            reader.acknowledge(3 + said.qos, said.id).await;
            let topic: u64 = said.topic.rsplit('/').next().unwrap().parse().unwrap();
            let found: u64 = said.text().parse().unwrap();
            if let Some(due) = missing.remove(&topic) {
                assert!(found >= due, "{topic}: {found} is older than {due}");
                let its = sent.get_mut(&topic).unwrap();
                its.retain(|(number, _)| *number == found);
                assert_eq!(its.len(), 1, "{topic}: {found} was never sent");
                its[0].1 = Some(died);
            }
        }
        self.book.borrow_mut().retained = sent;
    }

    /// What was subscribed is heard, what was unsubscribed is not.
    async fn check_subscriptions(&self, cycle: u64, probe: &mut Exact, died: Instant) {
        let (began, standing, gone) = {
            let mut book = self.book.borrow_mut();
            let began = book.joined.take();
            let standing = std::mem::take(&mut book.standing);
            (began, standing, std::mem::take(&mut book.gone))
        };
        let settled = |since: &Instant| *since + GRACE <= died;
        if !began.is_some_and(|since| settled(&since)) {
            return;
        }
        let mut joiner = self.open(&Opening::lasting("joiner")).await.unwrap();
        assert!(
            joiner.session_present,
            "cycle {cycle}: a new session is lost"
        );
        assert_eq!(joiner.subscribe(1, &joined(cycle, 9_999)).await, Ok(2));
        let some = |all: &BTreeMap<u64, Instant>| -> BTreeSet<u64> {
            let all: Vec<u64> = all
                .iter()
                .filter(|(_, since)| settled(since))
                .map(|(n, _)| *n)
                .collect();
            all.iter()
                .step_by(1 + all.len() / 20)
                .chain(all.last())
                .copied()
                .collect()
        };
        let (heard_of, not_heard_of) = (some(&standing), some(&gone));
        for n in heard_of.iter().chain(&not_heard_of).chain(&[9_999]) {
            let message = Said::new(&joined(cycle, *n), &n.to_string(), 1, 1);
            probe.publish(&message).await.unwrap();
        }
        let mut heard = BTreeSet::new();
        loop {
            let Heard::Message(said) = joiner.read().await.unwrap() else {
                continue;
            };
            joiner.acknowledge(4, said.id).await;
            match said.text().parse().unwrap() {
                9_999 => break,
                n => heard.insert(n),
            };
        }
        assert_eq!(heard, heard_of, "cycle {cycle}: subscriptions");
    }

    /// The will of who died with the gateway is published; that of who had said goodbye is not.
    async fn check_wills(&self, cycle: u64, died: Instant) {
        let mortal = self.book.borrow_mut().mortal.take();
        let is_due = mortal.is_some_and(|since| since + GRACE <= died);
        let mut reader = self.open(&Opening::passing("reader")).await.unwrap();
        reader.send(&subscription("devices/+/online")).await;
        let expected = format!("gone-{cycle}");
        let mut is_said = !is_due;
        while !is_said {
            let Heard::Message(said) = reader.read().await.unwrap() else {
                continue;
            };
            reader.acknowledge(3 + said.qos, said.id).await;
            is_said |= said.text() == expected;
            if let Some(cycle) = said.text().strip_prefix("quit-") {
                let quit = self
                    .book
                    .borrow()
                    .quit
                    .get(&cycle.parse().unwrap())
                    .copied();
                let had_quit = quit.is_some_and(|since| since + GRACE <= died);
                assert!(!had_quit, "a will after a goodbye: {cycle}");
            }
        }
    }
}

/// The last message of a check: one that comes again is that of another.
fn end_of(cycle: u64) -> String {
    format!("end-{cycle}")
}

fn subscription(filter: &str) -> Vec<u8> {
    let mut body = vec![0, 1, 0];
    crate::mqtt::string(&mut body, filter);
    body.push(2);
    crate::mqtt::packet(0x82, &body)
}
