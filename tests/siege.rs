//! What attackers can make the gateway hold: no more than docs/MQTT.md says, given back when they are gone, while everybody
//! else is served.

use std::net::IpAddr;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::exact::{Exact, Heard, Opening, Said};
use crate::guest::{add_profile, claim_for, enroll, enroll_with};
use crate::mqtt::{packet, string};
use crate::rig::{Rig, until};
use crate::soak::rounds;
use crate::wire::{Door, Identity, Refused};

const MANY: &str = "certificate_lifetime_days = 30\ngrace_days = 30\nkeys = [\"p256\"]\nsessions_max = 64\n\
    [[publish]]\ntopic = \"devices/{device}/#\"\nreason = \"own\"\n[[subscribe]]\ntopic = \"devices/{device}/#\"\nreason = \"own\"\n";
const MIB: u64 = 1024;
/// What may be left of an attack: caches that are bounded, above all those of the database, and pages that are not empty.
const LEFT_KIB: u64 = 40 * MIB;
/// What the gateway may take for all attacks together: see docs/MQTT.md.
fn ceiling_kib() -> u64 {
    rounds(192, 768) * MIB
}

struct Siege {
    rig: Rig,
    door: Door,
    neighbor: Identity,
    attackers: Vec<Identity>,
    idle_kib: u64,
    /// Of it, what is not of the program's own file: code stays in memory once it has run.
    idle_own_kib: u64,
}

impl Siege {
    async fn new(attackers: usize) -> Self {
        let mut rig = Rig::new().await;
        rig.start().await;
        let door = Door::of(&rig).await;
        let neighbor = enroll(&rig, &door, "neighbor").await;
        add_profile(&rig, "many", MANY).await;
        let mut all = Vec::new();
        for n in 0..attackers {
            let claim = claim_for(&rig, &format!("d{n}"), "many", "15m").await;
            all.push(enroll_with(&door, &claim).await);
        }
        let mut siege = Self {
            rig,
            door,
            neighbor,
            attackers: all,
            idle_kib: 0,
            idle_own_kib: 0,
        };
        siege.round_trip().await;
        siege.idle_kib = siege.memory("VmRSS:");
        siege.idle_own_kib = siege.memory("RssAnon:");
        siege
    }

    /// A line of the gateway's status, in KiB (proc(5)).
    fn memory(&self, line: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.rig.pid())).unwrap();
        let found = status.lines().find_map(|its| its.strip_prefix(line));
        let number = found.and_then(|rest| rest.split_whitespace().next());
        number.unwrap().parse().unwrap()
    }

    /// Another device says something and hears it.
    async fn round_trip(&self) {
        let mut neighbor = self.door.device(&self.neighbor).await.unwrap();
        assert_eq!(neighbor.subscribe("devices/neighbor/x").await, Ok(1));
        let said = neighbor.publication("devices/neighbor/x", b"on", false);
        neighbor.send(&said).await;
        assert_eq!(neighbor.message().await.unwrap().payload, b"on");
        neighbor.leave().await;
    }

    fn attacker(&self, n: usize) -> (&Identity, String) {
        let who = &self.attackers[n];
        (who, format!("devices/{}", who.device))
    }

    async fn open(&self, n: usize, opening: &Opening<'_>) -> Result<Exact, Refused> {
        Exact::open(&self.door, self.attacker(n).0, opening).await
    }

    /// The attack is over, and its memory is given back.
    async fn lift(&self, what: &str) {
        self.round_trip().await;
        let peak = self.memory("VmHWM:");
        assert!(peak < self.idle_kib + ceiling_kib(), "{what}: {peak} KiB");
        let most = self.idle_own_kib + LEFT_KIB;
        let given_back = async || {
            let now = self.memory("RssAnon:");
            (now <= most).then_some(now)
        };
        let left = until(&format!("{what}: memory is given back"), given_back).await;
        println!(
            "{what}: {} MiB idle, {} at most; of its own {} idle, {} left",
            self.idle_kib / MIB,
            peak / MIB,
            self.idle_own_kib / MIB,
            left / MIB
        );
        // From here on, the peak is that of the next attack.
        let references = format!("/proc/{}/clear_refs", self.rig.pid());
        std::fs::write(references, "5").unwrap();
        assert!(!self.rig.stderr().contains("panicked"));
    }

    /// Sessions that subscribe and never read again, and much that is published to them.
    async fn do_not_read(&self, sessions: usize, messages: u16) {
        let mut held = Vec::new();
        for n in 0..sessions {
            let own = n * self.attackers.len() / sessions;
            let opening = format!("s{n}");
            let mut session = self.open(own, &Opening::lasting(&opening)).await.unwrap();
            let filter = format!("{}/#", self.attacker(own).1);
            assert_eq!(session.subscribe(1, &filter).await, Ok(2));
            held.push(session);
        }
        let loud = "x".repeat(250_000);
        for n in 0..self.attackers.len() {
            let topic = format!("{}/loud", self.attacker(n).1);
            let mut speaker = self.open(n, &Opening::passing("loud")).await.unwrap();
            for id in 1..=messages {
                speaker
                    .publish(&Said::new(&topic, &loud, 1, id))
                    .await
                    .unwrap();
                if id == messages / 2 {
                    self.round_trip().await;
                }
            }
        }
        self.round_trip().await;
        drop(held);
        // What waits for them is theirs until they begin anew.
        for n in 0..sessions {
            let own = n * self.attackers.len() / sessions;
            let name = format!("s{n}");
            let session = self.open(own, &Opening::passing(&name)).await.unwrap();
            session.leave().await;
        }
    }

    /// A 65th session of one device is refused, as often as it is tried.
    async fn open_too_many(&self, tries: usize) {
        let mut held = Vec::new();
        for n in 0..tries {
            let name = format!("t{n}");
            match self.open(0, &Opening::passing(&name)).await {
                Ok(session) => held.push(session),
                Err(refused) => assert!(matches!(refused, Refused::Connack(0x97, _))),
            }
        }
        assert_eq!(held.len(), 64.min(tries));
        self.round_trip().await;
    }

    /// Strangers who begin a handshake and say nothing more.
    async fn crowd(&self, strangers: usize) {
        let mut held: Vec<TcpStream> = Vec::new();
        for n in 0..strangers {
            let (network, host) = (1 + n / 1_000, 1 + n / 200);
            let from = IpAddr::from([127, 200, network as u8, host as u8]);
            let Ok(mut tcp) = self.door.seen_from(from).tcp().await else {
                continue;
            };
            let _ = tcp.write_all(b"\x16\x03\x01\x02\x00\x01").await;
            held.push(tcp);
            if n % 500 == 499 {
                self.round_trip().await;
            }
        }
        self.round_trip().await;
    }

    /// Filters as long and as deep as they may be, until there is no room for more.
    async fn subscribe_much(&self, filters: usize) {
        for n in 0..self.attackers.len() {
            let mut session = self.open(n, &Opening::passing("deep")).await.unwrap();
            let own = self.attacker(n).1;
            let mut last = 0;
            for first in 0..filters / 50 {
                let mut body = vec![0, 1, 0];
                for filter in first * 50..(first + 1) * 50 {
                    string(&mut body, &format!("{own}/{filter}{}/+", "/a".repeat(480)));
                    body.push(1);
                }
                session.send(&packet(0x82, &body)).await;
                last = match session.read().await.unwrap() {
                    Heard::Answer(1, reason) => reason,
                    other => panic!("{other:?}"),
                };
            }
            assert_eq!(last, 0x97, "the last of {filters} filters");
            self.round_trip().await;
        }
    }

    /// Retained messages, until there is no room for more, and cleared again.
    async fn retain_much(&self, count: usize) {
        for n in 0..self.attackers.len() {
            let mut session = self.open(n, &Opening::passing("retain")).await.unwrap();
            let own = self.attacker(n).1;
            for payload in ["y".repeat(4_000), String::new()] {
                for first in 0..count / 50 {
                    let mut bytes = Vec::new();
                    for id in 1..=50_u16 {
                        let topic = format!("{own}/{}", first * 50 + usize::from(id));
                        bytes.extend(Said::new(&topic, &payload, 1, id).retained().packet());
                    }
                    session.send(&bytes).await;
                    for _ in 0..50 {
                        let answer = session.read().await.unwrap();
                        assert!(matches!(answer, Heard::Puback(_, 0 | 0x97)), "{answer:?}");
                    }
                }
                self.round_trip().await;
            }
        }
    }

    /// QoS 2 handshakes that are never completed, in both directions, over connection after connection.
    async fn stop_half_way(&self, connections: usize) {
        for n in 0..self.attackers.len() {
            let topic = format!("{}/half", self.attacker(n).1);
            let mut taker = self.open(n, &Opening::lasting("taker")).await.unwrap();
            assert_eq!(taker.subscribe(1, &topic).await, Ok(2));
            for round in 0..connections {
                let name = format!("giver{round}");
                let mut giver = self.open(n, &Opening::lasting(&name)).await.unwrap();
                let payload = "z".repeat(1_000);
                for id in 1..=64 {
                    giver.say(&Said::new(&topic, &payload, 2, id)).await;
                }
                for _ in 0..64 {
                    assert!(matches!(giver.read().await, Ok(Heard::Pubrec(_, 0))));
                }
                taker = self.open(n, &Opening::lasting("taker")).await.unwrap();
                let mut taken = 0;
                while taken < 64 {
                    match taker.read().await.unwrap() {
                        Heard::Message(said) => {
                            taken += 1;
                            taker.acknowledge(5, said.id).await;
                        }
                        Heard::Pubrel(_) => {}
                        other => panic!("{other:?}"),
                    }
                }
            }
            self.round_trip().await;
        }
        for n in 0..self.attackers.len() {
            for name in (0..connections)
                .map(|n| format!("giver{n}"))
                .chain(["taker".into()])
            {
                let session = self.open(n, &Opening::passing(&name)).await.unwrap();
                session.leave().await;
            }
        }
    }
}

/// Two thousand sockets are more than a process has by default.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn attackers_hold_a_bounded_amount_of_memory_and_leave_none_of_it() {
    raise_open_files();
    let siege = Siege::new(rounds(1, 4) as usize).await;
    // One address has an eighth of the places, 256, of which the neighbor has one.
    siege
        .do_not_read(rounds(16, 240) as usize, rounds(80, 200) as u16)
        .await;
    siege.lift("sessions that do not read").await;
    siege.open_too_many(rounds(66, 256) as usize).await;
    siege.lift("sessions of one device").await;
    siege.crowd(rounds(200, 2_048) as usize).await;
    siege.lift("connections of strangers").await;
    siege.subscribe_much(rounds(500, 10_000) as usize).await;
    siege.lift("subscriptions").await;
    siege.retain_much(rounds(1_500, 20_000) as usize).await;
    siege.lift("retained messages").await;
    siege.stop_half_way(rounds(4, 40) as usize).await;
    siege.lift("handshakes half done").await;
}
