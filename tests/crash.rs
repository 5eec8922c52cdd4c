//! Kill -9 under QoS 1 and 2: what docs/MQTT.md says of a crash, and nothing less.
//!
//! The page's "last second and the time that the disk takes" is [`GRACE`] here: what was acknowledged before it is there
//! after the crash, what was taken before it does not come again. Within it things may be lost or come again, but in order.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use crate::durability::{Chance, number};
use crate::exact::{Exact, Heard, Opening, Said};
use crate::guest::{add_profile, claim_for, enroll_with};
use crate::promised::{GRACE, Line};
use crate::rig::Rig;
use crate::soak::rounds;
use crate::wire::{Door, Identity, Refused};

const SEED: &str = "HEARTHKEY_KILL_SEED";
/// Deaths of each of two gateways.
const DEATHS_SAMPLE: u64 = 4;
const DEATHS_FULL: u64 = 100;
const LIFE_MAX_MS: u64 = 3_500;
/// The same for retained messages, which are written as they change.
const GRACE_RETAINED: Duration = Duration::from_secs(1);
/// By then, what the gateway sent has been read.
const LAST_WORDS: Duration = Duration::from_millis(150);
const RETAINED_TOPICS: u64 = 16;

const HUB: &str = "certificate_lifetime_days = 30\ngrace_days = 30\nkeys = [\"p256\"]\nsessions_max = 16\n\
    [[publish]]\ntopic = \"devices/#\"\nreason = \"all\"\n[[subscribe]]\ntopic = \"devices/#\"\nreason = \"all\"\n";

/// What was acknowledged, by whom, and when.
#[derive(Debug, Default)]
struct Book {
    away: Line,
    here: Line,
    /// Each retained topic: what was sent, and what was acknowledged when.
    retained: BTreeMap<u64, Vec<(u64, Option<Instant>)>>,
    retained_last: u64,
    /// A QoS 2 message that `half` has sent and not released, and when it had its PUBREC.
    is_half_sent: bool,
    half: Option<Instant>,
    /// A QoS 2 message whose release `here` does not answer.
    unreleased: Option<(u16, Instant)>,
    joined: Option<Instant>,
    /// Subscriptions, by their numbers: since when they stand, or are gone.
    standing: BTreeMap<u64, Instant>,
    gone: BTreeMap<u64, Instant>,
    mortal: Option<Instant>,
    quit: BTreeMap<u64, Instant>,
}

struct Home {
    rig: Rig,
    door: Door,
    hub: Identity,
    book: RefCell<Book>,
}

impl Home {
    async fn new() -> Self {
        let mut rig = Rig::new().await;
        rig.start().await;
        let door = Door::of(&rig).await;
        add_profile(&rig, "hub", HUB).await;
        let hub = enroll_with(&door, &claim_for(&rig, "hub", "hub", "15m").await).await;
        let home = Self {
            rig,
            door,
            hub,
            book: RefCell::default(),
        };
        for (name, filters) in [("away", ["set", "half"]), ("here", ["set", "half"])] {
            let mut session = home.open(&Opening::lasting(name)).await.unwrap();
            for filter in filters {
                let filter = format!("devices/{name}/{filter}");
                assert_eq!(session.subscribe(1, &filter).await, Ok(2));
            }
            session.leave().await;
        }
        // The subscriptions themselves are to be durable before the first death.
        sleep(GRACE).await;
        home
    }

    async fn open(&self, opening: &Opening<'_>) -> Result<Exact, Refused> {
        Exact::open(&self.door, &self.hub, opening).await
    }

    /// Publishes to a session that is away, to one that is here, and what is to be retained, eight at a time.
    async fn speak(&self) -> Result<(), Refused> {
        let mut speaker = self.open(&Opening::passing("speaker")).await?;
        loop {
            let mut on_their_way = BTreeMap::new();
            let mut bytes = Vec::new();
            for id in 1..=8_u16 {
                let (message, what) = self.next_message(id);
                bytes.extend(message.packet());
                on_their_way.insert(id, what);
            }
            speaker.send(&bytes).await;
            while !on_their_way.is_empty() {
                match speaker.read().await? {
                    Heard::Puback(id, 0) => self.promised(on_their_way.remove(&id).unwrap()),
                    Heard::Pubrec(id, 0) => {
                        self.promised(on_their_way[&id]);
                        speaker.acknowledge(6, id).await;
                    }
                    Heard::Pubcomp(id, 0) => drop(on_their_way.remove(&id)),
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    /// The message with this identifier: for `away`, for `here`, or to be retained; with QoS 1 and 2 in turn.
    fn next_message(&self, id: u16) -> (Said, (u16, u64)) {
        let mut book = self.book.borrow_mut();
        let qos = 1 + (id / 4 % 2) as u8;
        if id % 4 == 3 {
            book.retained_last += 1;
            let number = book.retained_last;
            let topic = number % RETAINED_TOPICS;
            book.retained.entry(topic).or_default().push((number, None));
            let message = Said::new(
                &format!("devices/hub/{topic}"),
                &number.to_string(),
                qos,
                id,
            );
            return (message.retained(), (id, number));
        }
        let (name, line) = match id % 4 {
            0 | 1 => ("away", &mut book.away),
            _ => ("here", &mut book.here),
        };
        line.last += 1;
        let number = line.last;
        let topic = format!("devices/{name}/set");
        (
            Said::new(&topic, &number.to_string(), qos, id),
            (id, number),
        )
    }

    fn promised(&self, (id, number): (u16, u64)) {
        let (mut book, now) = (self.book.borrow_mut(), Instant::now());
        match id % 4 {
            3 => {
                let sent = book.retained.get_mut(&(number % RETAINED_TOPICS)).unwrap();
                sent.iter_mut().find(|(its, _)| *its == number).unwrap().1 = Some(now);
            }
            0 | 1 => drop(book.away.promised.insert(number, now)),
            _ => drop(book.here.promised.insert(number, now)),
        }
    }

    /// Takes what comes to `here`, and leaves the first release unanswered.
    async fn hear(&self) -> Result<(), Refused> {
        let mut session = self.open(&Opening::lasting("here")).await?;
        assert!(session.session_present);
        self.book.borrow_mut().here.previous = 0;
        loop {
            match session.read().await? {
                Heard::Message(said) => {
                    self.heard(&said);
                    session.acknowledge(3 + said.qos, said.id).await;
                }
                Heard::Pubrel(id) => {
                    let unreleased = self.book.borrow().unreleased;
                    if unreleased.is_none_or(|(its, _)| its != id) {
                        session.acknowledge(7, id).await;
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn heard(&self, said: &Said) {
        let mut book = self.book.borrow_mut();
        if said.qos == 2 && book.unreleased.is_none() {
            book.unreleased = Some((said.id, Instant::now()));
        }
        book.here.take(said, None);
        assert!(!said.dup, "{said:?}");
    }

    /// Publishes one QoS 2 message and does not release it.
    async fn stop_half_way(&self, cycle: u64) -> Result<(), Refused> {
        let mut half = self.open(&Opening::lasting("half")).await?;
        let message = half_of(cycle);
        self.book.borrow_mut().is_half_sent = true;
        half.say(&message).await;
        assert_eq!(half.read().await?, Heard::Pubrec(message.id, 0));
        self.book.borrow_mut().half = Some(Instant::now());
        half.read().await.map(drop)
    }

    /// Begins a session, and subscribes and unsubscribes.
    async fn join(&self, cycle: u64) -> Result<(), Refused> {
        let opening = Opening {
            clean: true,
            ..Opening::lasting("joiner")
        };
        let mut joiner = self.open(&opening).await?;
        self.book.borrow_mut().joined = Some(Instant::now());
        for n in 0..5_000 {
            let filter = joined(cycle, n);
            assert_eq!(joiner.subscribe(1, &filter).await?, 2);
            self.book.borrow_mut().standing.insert(n, Instant::now());
            if n % 4 == 0 {
                self.book.borrow_mut().standing.remove(&n);
                assert_eq!(joiner.unsubscribe(2, &filter).await?, 0);
                self.book.borrow_mut().gone.insert(n, Instant::now());
            }
            sleep(Duration::from_millis(5)).await;
        }
        joiner.read().await.map(drop)
    }

    /// One that dies with the gateway and leaves a will, and one that says goodbye.
    async fn live_with_wills(&self, cycle: u64) -> Result<(), Refused> {
        let (gone, quit) = (format!("gone-{cycle}"), format!("quit-{cycle}"));
        let mut mortal = Opening::lasting("mortal");
        mortal.will = Some(("devices/mortal/online", &gone, 1));
        let mut mortal = self.open(&mortal).await?;
        self.book.borrow_mut().mortal = Some(Instant::now());
        let mut quitter = Opening::lasting("quitter");
        quitter.will = Some(("devices/quitter/online", &quit, 1));
        self.open(&quitter).await?.leave().await;
        self.book.borrow_mut().quit.insert(cycle, Instant::now());
        mortal.read().await.map(drop)
    }

    /// One life under load, and its death. Returns when that was.
    async fn live_and_die(&mut self, cycle: u64, chance: &mut Chance) -> Instant {
        let life = Duration::from_millis(chance.below(LIFE_MAX_MS));
        let pid = Pid::from_raw(self.rig.pid().try_into().unwrap()).unwrap();
        let kill = async {
            sleep(life).await;
            kill_process(pid, Signal::KILL).unwrap();
            let died = Instant::now();
            sleep(LAST_WORDS).await;
            died
        };
        let load = async {
            let _ = tokio::join!(
                self.speak(),
                self.hear(),
                self.stop_half_way(cycle),
                self.join(cycle),
                self.live_with_wills(cycle),
            );
            std::future::pending::<()>().await;
        };
        let died = tokio::select! {
            died = kill => died,
            () = load => unreachable!(),
        };
        self.rig.kill9().await;
        died
    }

    /// Takes up every session again, and compares.
    async fn check(&self, cycle: u64, died: Instant) {
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

/// A QoS 2 message that is not released, each time with an identifier of its own.
fn half_of(cycle: u64) -> Said {
    let id = 1 + u16::try_from(cycle).unwrap();
    Said::new("devices/away/half", &cycle.to_string(), 2, id)
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

fn joined(cycle: u64, n: u64) -> String {
    format!("devices/joiner/{cycle}/{n}")
}

/// A gateway that dies again and again.
async fn die_again_and_again(seed: u64, deaths: u64) -> Book {
    let mut chance = Chance(seed);
    let mut home = Home::new().await;
    for cycle in 0..deaths {
        let died = home.live_and_die(cycle, &mut chance).await;
        home.rig.start().await;
        home.check(cycle, died).await;
    }
    assert!(
        !home.rig.stderr().contains("panicked"),
        "{}",
        home.rig.stderr()
    );
    home.book.into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_promised_to_sessions_that_last_is_kept_when_the_gateway_is_killed_under_load() {
    let seed = number(SEED).unwrap_or_else(|| u64::from(std::process::id()));
    let deaths = rounds(DEATHS_SAMPLE, DEATHS_FULL);
    println!("{SEED}={seed}");
    let (first, second) = tokio::join!(
        die_again_and_again(seed, deaths),
        die_again_and_again(seed.wrapping_add(1), deaths),
    );
    for Book { away, here, .. } in [first, second] {
        println!(
            "{deaths} deaths: {} and {} messages, {} and {} lost, {} and {} again, within the last {GRACE:?}",
            away.last, here.last, away.lost, here.lost, away.again, here.again
        );
        assert!(
            away.taken.len() > 100 && here.taken.len() > 100,
            "there was no load"
        );
    }
}
