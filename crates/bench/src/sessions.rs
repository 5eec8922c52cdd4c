//! Sessions under measurement: devices that connect, and devices that are revoked.

use std::sync::Arc;
use std::time::Duration;

use hearthkey_api::{RevokeRequest, Revoked};
use serde_json::json;

use crate::clock::Stopwatch;
use crate::failure::Failure;
use crate::found::{Found, Latency};
use crate::mosquitto;
use crate::process::{Broker, local};
use crate::program::Program;
use crate::stage::Stage;
use crate::traffic::speak;
use crate::wire::{Wire, WireError};

/// How many connect, and are revoked.
pub struct Sessions {
    /// Connections that are made at the same time; or live sessions.
    pub concurrency: usize,
    /// Connections, or revocations.
    pub count: u32,
    /// Messages that a publisher has on its way at once.
    pub window: u32,
    /// Sessions that publish while others are revoked.
    pub load: usize,
    /// Whether mosquitto is measured.
    pub is_peer: bool,
}

/// How long nothing happens while that is measured: what is written once a minute is in it.
const IDLE: Duration = Duration::from_secs(120);

/// How much of a broker is resident, in KiB, once it has had the time to give back what it needs no more.
async fn at_rest(broker: &Broker) -> u64 {
    tokio::time::sleep(Duration::from_secs(12)).await;
    broker.process.rss_kib()
}

impl Sessions {
    /// Devices that are known come back, many at the same time.
    pub async fn connect(self, program: &Program) -> Result<Found, Failure> {
        let stage = Stage::open_for(program, self.count).await?;
        let rss_idle_kib = at_rest(&stage.gateway).await;
        let (peer, identities) =
            mosquitto::beside(&stage, self.count as usize, self.is_peer).await?;
        let broker = peer.as_ref().unwrap_or(&stage.gateway);
        let address = broker.address;
        let identities = Arc::new(identities);
        // A storm is devices that come back. The first connection of a certificate is another matter:
        // it is recorded, and ends the certificate's predecessor.
        for (n, identity) in identities.iter().enumerate() {
            drop(Wire::connect(address, local(n), identity, &format!("d-{n}")).await?);
        }
        let rss_before_kib = at_rest(broker).await;
        let cpu = broker.process.cpu_us();
        let watch = Stopwatch::start();
        let mut tasks = Vec::new();
        for worker in 0..self.concurrency {
            let (identities, step) = (Arc::clone(&identities), self.concurrency);
            tasks.push(tokio::spawn(async move {
                let mut done = Vec::new();
                for n in (worker..identities.len()).step_by(step) {
                    let watch = Stopwatch::start();
                    let wire =
                        Wire::connect(address, local(n), &identities[n], &format!("d-{n}")).await?;
                    done.push((watch.elapsed_us(), wire));
                }
                Ok::<_, WireError>(done)
            }));
        }
        let (mut us, mut wires) = (Vec::new(), Vec::new());
        for task in tasks {
            for (took, wire) in task.await?? {
                us.push(took);
                wires.push(wire);
            }
        }
        let seconds = watch.elapsed().as_secs_f64();
        let cpu_us = broker.process.cpu_us() - cpu;
        let rss_with_sessions_kib = at_rest(broker).await;
        let more = rss_with_sessions_kib.saturating_sub(rss_before_kib);
        let details = json!({
            "rss_idle_kib": if self.is_peer { rss_before_kib } else { rss_idle_kib },
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

    /// Devices enroll, connect, and say nothing: what the gateway writes to the disk for that.
    pub async fn idle(self, program: &Program) -> Result<Found, Failure> {
        let stage = Stage::open(program).await?;
        let process = &stage.gateway.process;
        let before = process.written_bytes();
        let identities = stage.enroll(self.count as usize, "generic").await?;
        let mut wires = Vec::new();
        for (n, identity) in identities.iter().enumerate() {
            let name = format!("d-{n}");
            wires.push(Wire::connect(stage.gateway.address, local(n), identity, &name).await?);
        }
        // What is noted of a connection later has been written by then.
        at_rest(&stage.gateway).await;
        let (enrolled, cpu, watch) = (
            process.written_bytes(),
            process.cpu_us(),
            Stopwatch::start(),
        );
        tokio::time::sleep(IDLE).await;
        let written = process.written_bytes() - enrolled;
        let seconds = watch.elapsed().as_secs_f64();
        let details = json!({
            "sessions": wires.len(),
            "written_bytes_per_enrollment_and_first_connection": (enrolled - before) / u64::from(self.count.max(1)),
            "written_bytes_while_idle": written,
            "written_bytes_per_idle_hour": written as f64 * 3600.0 / seconds,
        });
        Ok(Found {
            operations: wires.len() as f64,
            seconds,
            cpu_us: process.cpu_us() - cpu,
            latency: None,
            details,
        })
    }

    /// Devices are revoked one after another, and see the end of their sessions.
    pub async fn revoke(self, program: &Program) -> Result<Found, Failure> {
        let stage = Stage::open(program).await?;
        let sessions = self.concurrency;
        let identities = stage.enroll(sessions, "generic").await?;
        let address = stage.gateway.address;
        let mut wires = Vec::new();
        for (n, identity) in identities.iter().enumerate() {
            wires.push(Wire::connect(address, local(n), identity, &format!("d-{n}")).await?);
        }
        let rss_with_sessions_kib = stage.gateway.process.rss_kib();
        let window = self.window;
        let loaders: Vec<_> = wires
            .drain(..self.load.min(sessions))
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
            closed.await?;
            seen.push(watch.elapsed_us());
            told.push(call.await??.latency_us);
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
}
