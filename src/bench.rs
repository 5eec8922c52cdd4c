//! `hearthkey bench`: measures this program on this machine, and peers under the same load.
//!
//! Every measurement has a temporary home of its own and real clients on loopback. CPU is the
//! server's own, from the kernel; what the load costs is not in it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use hearthkey_api::{RevokeRequest, Revoked};
use hearthkey_gateway::bench::Issuance;
use serde::Serialize;
use serde_json::{Value, json};

use crate::bench_peer::{
    Broker, Stage, cpu_us, failed, local, make_directory, make_home, start_gateway,
};
use crate::bench_screens;
use crate::bench_traffic::{Traffic, speak};
use crate::bench_vault;
use crate::bench_wire::{Wire, WireError};
use crate::context::Context;
use crate::failure::Failure;
use crate::stopwatch::Stopwatch;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Operation {
    /// A CSR in, a certificate committed with its audit record.
    Issue,
    /// Mutual TLS and MQTT CONNECT, up to the CONNACK.
    Connect,
    /// Messages from publishers to subscribers who receive all of them.
    Publish,
    /// Retained messages to one reader.
    Retained,
    /// From the request to the client that sees its connection end.
    Revoke,
    /// From the start of the process to "ready".
    Start,
    /// A value out of the vault, once the record of it is on the disk.
    Read,
    /// An inventory that is full: listed, searched, checked.
    List,
    /// What the interface's screens ask in a home that is full of devices.
    Screens,
}

/// Whom to measure instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Peer {
    /// Debian's mosquitto, with the same keys.
    Mosquitto,
}

/// What `bench` is told.
#[derive(Debug, Args)]
pub struct Bench {
    /// What to measure.
    operation: Operation,
    /// How many at the same time: requests, connections, publishers, or live sessions (`revoke`).
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=2000))]
    concurrency: u32,
    /// How many in all; for `publish`, from each publisher; for `start`, certificates stored.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,
    /// What is stored beforehand: certificates for `issue`, credentials for `read` and `list`, devices for `screens`.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=2_000_000))]
    stored: u32,
    /// Subscribers of `publish`, each of which receives everything.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    subscribers: u32,
    /// The QoS of `publish`.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=1))]
    qos: u8,
    /// Messages that a publisher has on its way at once.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    window: u32,
    /// Publishers that keep the broker busy while `revoke` is measured.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100))]
    load: u32,
    /// Measure a peer under the same load.
    #[arg(long)]
    peer: Option<Peer>,
    /// OpenBao's program: `read` measures it beside the vault, in turns.
    #[arg(long, value_name = "PROGRAM")]
    openbao: Option<PathBuf>,
    /// Let `read` come over HTTPS, with tokens and proofs.
    #[arg(long, conflicts_with = "openbao")]
    https: bool,
}

/// A result. Rates are operations a second, times microseconds.
#[derive(Debug, Serialize)]
struct Measured {
    operation: Operation,
    peer: Option<Peer>,
    concurrency: u32,
    count: u32,
    seconds: f64,
    rate_per_s: f64,
    cpu_us_per_op: f64,
    latency_us: Option<Latency>,
    details: Value,
}

/// How long something took, in microseconds.
#[derive(Debug, Serialize)]
pub struct Latency {
    /// Half of all took no longer.
    pub p50: u64,
    /// 99 of 100 took no longer.
    pub p99: u64,
    /// The longest.
    pub max: u64,
}

impl Latency {
    /// What these say; nothing if there are none.
    pub fn of(mut us: Vec<u64>) -> Option<Self> {
        us.sort_unstable();
        let at = |share: usize| {
            us.get((us.len() * share / 100).min(us.len().saturating_sub(1)))
                .copied()
        };
        Some(Self {
            p50: at(50)?,
            p99: at(99)?,
            max: us.last().copied()?,
        })
    }
}

/// What one measurement found, before it is put beside its parameters.
pub struct Found {
    /// How many there were.
    pub operations: f64,
    /// How long they took.
    pub seconds: f64,
    /// The server's CPU.
    pub cpu_us: u64,
    /// How long each took.
    pub latency: Option<Latency>,
    /// What else there is to know.
    pub details: Value,
}

/// How much of a broker is resident, in KiB, once it has had the time to give back what it needs no more.
async fn at_rest(broker: &Broker) -> u64 {
    tokio::time::sleep(Duration::from_secs(12)).await;
    broker.process.rss_kib()
}

/// A failure of a client of the load.
pub fn odd(error: WireError) -> Failure {
    failed("a client failed", &error)
}

impl Bench {
    /// Measures and tells.
    pub async fn obey(self, context: &Context) -> Result<(), Failure> {
        let found = match self.operation {
            Operation::Issue => self.issue().await?,
            Operation::Connect => self.connect().await?,
            Operation::Publish => self.traffic().publish().await?,
            Operation::Retained => self.traffic().retained().await?,
            Operation::Revoke => self.revoke().await?,
            Operation::Start => self.start().await?,
            Operation::Read => self.read().await?,
            Operation::List => {
                bench_vault::list(self.count as usize, self.stored.max(1) as usize).await?
            }
            Operation::Screens => {
                bench_screens::screens(self.count as usize, self.stored.max(1) as usize).await?
            }
        };
        let measured = Measured {
            operation: self.operation,
            peer: self.peer,
            concurrency: self.concurrency,
            count: self.count,
            seconds: found.seconds,
            rate_per_s: found.operations / found.seconds,
            cpu_us_per_op: found.cpu_us as f64 / found.operations,
            latency_us: found.latency,
            details: found.details,
        };
        context.output.answer(&measured, || {
            format!(
                "{:?}: {:.0} a second, {:.0} µs of CPU each, {}",
                self.operation,
                measured.rate_per_s,
                measured.cpu_us_per_op,
                serde_json::to_string(&(&measured.latency_us, &measured.details))
                    .unwrap_or_default()
            )
        })
    }

    async fn issue(&self) -> Result<Found, Failure> {
        let cannot = |error: hearthkey_gateway::bench::BenchError| failed("issuing failed", &error);
        let directory = make_directory()?;
        let home = make_home(directory.path()).await?;
        let csrs = Arc::new(csrs(64)?);
        let issuance = Arc::new(Issuance::open(&home).await.map_err(cannot)?);
        issuance
            .seed("stored", self.stored as usize, &csrs[0])
            .await
            .map_err(cannot)?;
        let count = self.count as usize;
        let watch = Stopwatch::start();
        tokio::task::block_in_place(|| issuance.sign_in_memory(&csrs, count)).map_err(cannot)?;
        let in_memory = watch.elapsed().as_secs_f64();
        let claims = Arc::new(issuance.prepare("device", count).await.map_err(cannot)?);
        let cpu = own_cpu_us();
        let watch = Stopwatch::start();
        let mut tasks = Vec::new();
        for worker in 0..self.concurrency as usize {
            let (issuance, claims, csrs) = (
                Arc::clone(&issuance),
                Arc::clone(&claims),
                Arc::clone(&csrs),
            );
            let step = self.concurrency as usize;
            tasks.push(tokio::spawn(async move {
                let mut us = Vec::new();
                for n in (worker..claims.len()).step_by(step) {
                    let watch = Stopwatch::start();
                    issuance.issue(&claims[n], &csrs[n % csrs.len()]).await?;
                    us.push(watch.elapsed().as_micros() as u64);
                }
                Ok(us)
            }));
        }
        let mut us = Vec::with_capacity(count);
        for task in tasks {
            let done = task
                .await
                .map_err(|error| failed("a task panicked", &error))?;
            us.extend(done.map_err(cannot)?);
        }
        let seconds = watch.elapsed().as_secs_f64();
        let cpu_us = own_cpu_us() - cpu;
        let in_memory_per_s = count as f64 / in_memory;
        let share = count as f64 / seconds / in_memory_per_s;
        let details = json!({
            "in_memory_one_core_per_s": in_memory_per_s,
            "share_of_in_memory": share,
            "stored_before": self.stored,
        });
        if let Some(issuance) = Arc::into_inner(issuance) {
            issuance.close().await;
        }
        Ok(Found {
            operations: count as f64,
            seconds,
            cpu_us,
            latency: Latency::of(us),
            details,
        })
    }

    fn traffic(&self) -> Traffic {
        Traffic {
            publishers: self.concurrency as usize,
            subscribers: self.subscribers as usize,
            count: self.count,
            window: self.window,
            qos: self.qos,
            is_peer: self.peer.is_some(),
        }
    }

    async fn connect(&self) -> Result<Found, Failure> {
        let stage = Stage::open_for(self.count).await?;
        let rss_idle_kib = at_rest(&stage.gateway).await;
        let (peer, identities) = stage
            .broker(self.count as usize, self.peer.is_some())
            .await?;
        let broker = peer.as_ref().unwrap_or(&stage.gateway);
        let address = broker.address;
        let identities = Arc::new(identities);
        // A storm is devices that come back. The first connection of a certificate is another matter:
        // it is recorded, and ends the certificate's predecessor.
        for (n, identity) in identities.iter().enumerate() {
            drop(
                Wire::connect(address, local(n), identity, &format!("d-{n}"))
                    .await
                    .map_err(odd)?,
            );
        }
        let rss_before_kib = at_rest(broker).await;
        let cpu = broker.process.cpu_us();
        let watch = Stopwatch::start();
        let mut tasks = Vec::new();
        for worker in 0..self.concurrency as usize {
            let (identities, step) = (Arc::clone(&identities), self.concurrency as usize);
            tasks.push(tokio::spawn(async move {
                let mut done = Vec::new();
                for n in (worker..identities.len()).step_by(step) {
                    let watch = Stopwatch::start();
                    let wire =
                        Wire::connect(address, local(n), &identities[n], &format!("d-{n}")).await?;
                    done.push((watch.elapsed().as_micros() as u64, wire));
                }
                Ok::<_, WireError>(done)
            }));
        }
        let (mut us, mut wires) = (Vec::new(), Vec::new());
        for task in tasks {
            for (took, wire) in task
                .await
                .map_err(|e| failed("a task panicked", &e))?
                .map_err(odd)?
            {
                us.push(took);
                wires.push(wire);
            }
        }
        let seconds = watch.elapsed().as_secs_f64();
        let cpu_us = broker.process.cpu_us() - cpu;
        let rss_with_sessions_kib = at_rest(broker).await;
        let more = rss_with_sessions_kib.saturating_sub(rss_before_kib);
        let details = json!({
            "rss_idle_kib": if self.peer.is_some() { rss_before_kib } else { rss_idle_kib },
            "rss_before_kib": rss_before_kib,
            "rss_with_sessions_kib": rss_with_sessions_kib,
            "kib_per_session": more as f64 / wires.len() as f64,
        });
        Ok(Found {
            operations: wires.len() as f64,
            seconds,
            cpu_us,
            latency: Latency::of(us),
            details,
        })
    }

    async fn revoke(&self) -> Result<Found, Failure> {
        let stage = Stage::open().await?;
        let sessions = self.concurrency as usize;
        let identities = stage.enroll(sessions, "generic").await?;
        let address = stage.gateway.address;
        let mut wires = Vec::new();
        for (n, identity) in identities.iter().enumerate() {
            wires.push(
                Wire::connect(address, local(n), identity, &format!("d-{n}"))
                    .await
                    .map_err(odd)?,
            );
        }
        let rss_with_sessions_kib = stage.gateway.process.rss_kib();
        let window = self.window;
        let loaders: Vec<_> = wires
            .drain(..(self.load as usize).min(sessions))
            .enumerate()
            .map(|(n, wire)| tokio::spawn(speak(wire, n, (u32::MAX, window, 1))))
            .collect();
        let first = loaders.len();
        let client = stage.client();
        let cpu = stage.gateway.process.cpu_us();
        let begun = Stopwatch::start();
        let (mut seen, mut told) = (Vec::new(), Vec::new());
        for (n, wire) in wires.into_iter().enumerate().take(self.count as usize) {
            let closed = tokio::spawn(wire.closed());
            let watch = Stopwatch::start();
            let path = format!("/api/v1/devices/d-{}/revoke", n + first);
            let reason = RevokeRequest {
                reason: "key-compromise".into(),
            };
            let call = tokio::spawn({
                let client = client.clone();
                async move { client.post::<Revoked>(&path, &reason).await }
            });
            closed.await.map_err(|e| failed("a task panicked", &e))?;
            seen.push(watch.elapsed().as_micros() as u64);
            told.push(
                call.await
                    .map_err(|e| failed("a task panicked", &e))??
                    .latency_us,
            );
        }
        let seconds = begun.elapsed().as_secs_f64();
        let cpu_us = stage.gateway.process.cpu_us() - cpu;
        for loader in loaders {
            loader.abort();
        }
        let details = json!({
            "live_sessions": sessions, "publishers": first,
            "rss_with_sessions_kib": rss_with_sessions_kib,
            "told_latency_us": Latency::of(told),
        });
        Ok(Found {
            operations: seen.len() as f64,
            seconds,
            cpu_us,
            latency: Latency::of(seen),
            details,
        })
    }

    async fn read(&self) -> Result<Found, Failure> {
        let (count, concurrency) = (self.count as usize, self.concurrency as usize);
        let stored = self.stored.max(1) as usize;
        if self.https {
            bench_vault::read_over_https(count, concurrency, stored).await
        } else {
            bench_vault::read(count, concurrency, stored, self.openbao.as_deref()).await
        }
    }

    async fn start(&self) -> Result<Found, Failure> {
        let cannot = |error: hearthkey_gateway::bench::BenchError| failed("seeding failed", &error);
        let directory = make_directory()?;
        let home = make_home(directory.path()).await?;
        let issuance = Issuance::open(&home).await.map_err(cannot)?;
        issuance
            .seed("stored", self.count as usize, &csrs(1)?[0])
            .await
            .map_err(cannot)?;
        issuance.close().await;
        let mut us = Vec::new();
        let mut rss_kib = 0;
        let watch = Stopwatch::start();
        for _ in 0..5 {
            let gateway = start_gateway(&home).await?;
            us.push((gateway.ready_ms * 1000.0) as u64);
            rss_kib = gateway.process.rss_kib();
            gateway.stop().await;
        }
        let details = json!({ "certificates": self.count, "rss_idle_kib": rss_kib });
        let seconds = watch.elapsed().as_secs_f64();
        Ok(Found {
            operations: 5.0,
            seconds,
            cpu_us: 0,
            latency: Latency::of(us),
            details,
        })
    }
}

pub fn csrs(count: usize) -> Result<Vec<Vec<u8>>, Failure> {
    let cannot = |error: rcgen::Error| failed("a signing request could not be made", &error);
    (0..count)
        .map(|_| {
            let key = rcgen::KeyPair::generate().map_err(cannot)?;
            let params = rcgen::CertificateParams::default();
            let request = params.serialize_request(&key).map_err(cannot)?;
            Ok(request.pem().map_err(cannot)?.into_bytes())
        })
        .collect()
}

fn own_cpu_us() -> u64 {
    cpu_us(&std::fs::read_to_string("/proc/self/stat").unwrap_or_default())
}
