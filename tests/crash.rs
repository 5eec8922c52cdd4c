//! Kill -9 under QoS 1 and 2: what docs/MQTT.md says of a crash, and nothing less.
//!
//! The page's "last second and the time that the disk takes" is [`GRACE`] here: what was acknowledged before it is there
//! after the crash, what was taken before it does not come again. Within it things may be lost or come again, but in order.

use std::cell::RefCell;
use std::collections::BTreeMap;
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
/// By then, what the gateway sent has been read.
const LAST_WORDS: Duration = Duration::from_millis(150);
const RETAINED_TOPICS: u64 = 16;

const HUB: &str = "certificate_lifetime_days = 30\ngrace_days = 30\nkeys = [\"p256\"]\nsessions_max = 16\n\
    [[publish]]\ntopic = \"devices/#\"\nreason = \"all\"\n[[subscribe]]\ntopic = \"devices/#\"\nreason = \"all\"\n";

/// What was acknowledged, by whom, and when.
#[derive(Debug, Default)]
pub struct Book {
    pub away: Line,
    pub here: Line,
    /// Each retained topic: what was sent, and what was acknowledged when.
    pub retained: BTreeMap<u64, Vec<(u64, Option<Instant>)>>,
    pub retained_last: u64,
    /// A QoS 2 message that `half` has sent and not released, and when it had its PUBREC.
    pub is_half_sent: bool,
    pub half: Option<Instant>,
    /// A QoS 2 message whose release `here` does not answer.
    pub unreleased: Option<(u16, Instant)>,
    pub joined: Option<Instant>,
    /// Subscriptions, by their numbers: since when they stand, or are gone.
    pub standing: BTreeMap<u64, Instant>,
    pub gone: BTreeMap<u64, Instant>,
    pub mortal: Option<Instant>,
    pub quit: BTreeMap<u64, Instant>,
}

pub struct Home {
    pub rig: Rig,
    pub door: Door,
    pub hub: Identity,
    pub book: RefCell<Book>,
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

    pub async fn open(&self, opening: &Opening<'_>) -> Result<Exact, Refused> {
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
}

/// A QoS 2 message that is not released, each time with an identifier of its own.
pub fn half_of(cycle: u64) -> Said {
    let id = 1 + u16::try_from(cycle).unwrap();
    Said::new("devices/away/half", &cycle.to_string(), 2, id)
}

pub fn joined(cycle: u64, n: u64) -> String {
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
