//! Messages under measurement: from publishers to subscribers, and what is retained to one reader.

use std::sync::Arc;

use rustls::ClientConfig;
use serde_json::json;

use crate::clock::Stopwatch;
use crate::failure::Failure;
use crate::found::Found;
use crate::mosquitto;
use crate::process::{Broker, local};
use crate::program::Program;
use crate::stage::{Stage, enroll};
use crate::wire::{Wire, WireError, identity};

/// Nothing more comes after so long.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);
const PAYLOAD: [u8; 64] = [b'x'; 64];

/// How many say how much to how many.
pub struct Traffic {
    /// Devices that publish.
    pub publishers: usize,
    /// Devices that subscribe to everything.
    pub subscribers: usize,
    /// Messages of each publisher; or retained messages.
    pub count: u32,
    /// Messages that a publisher has on its way at once.
    pub window: u32,
    /// 0 or 1.
    pub qos: u8,
    /// Whether mosquitto is measured.
    pub is_peer: bool,
}

/// What one subscriber received.
struct Heard {
    messages: u64,
    /// When the last one came.
    seconds: f64,
}

impl Traffic {
    /// Everybody publishes at the same time, everything reaches every subscriber.
    pub async fn publish(self, program: &Program) -> Result<Found, Failure> {
        let stage = Stage::open(program).await?;
        let (peer, identities) = mosquitto::beside(&stage, self.publishers, self.is_peer).await?;
        let hubs = hubs(&stage, self.subscribers, peer.is_some()).await?;
        let broker = peer.as_ref().unwrap_or(&stage.gateway);
        let mut subscribers = Vec::new();
        for n in 0..self.subscribers {
            let mut subscriber = connect(broker, &hubs, ("hub", n)).await?;
            subscriber.subscribe("devices/#", self.qos).await?;
            subscribers.push(subscriber);
        }
        let mut publishers = Vec::new();
        for n in 0..self.publishers {
            publishers.push(connect(broker, &identities, ("d", n)).await?);
        }
        let said = u64::from(self.count) * self.publishers as u64;
        let all = said * self.subscribers as u64;
        let cpu = broker.process.cpu_us();
        let watch = Stopwatch::start();
        let listening: Vec<_> = subscribers
            .into_iter()
            .map(|wire| tokio::spawn(listen(wire, said, watch)))
            .collect();
        let how = (self.count, self.window, self.qos);
        let speaking: Vec<_> = publishers
            .into_iter()
            .enumerate()
            .map(|(n, wire)| tokio::spawn(speak(wire, n, how)))
            .collect();
        for task in speaking {
            task.await??;
        }
        let said_s = watch.elapsed().as_secs_f64();
        let (mut delivered, mut seconds) = (0, f64::EPSILON);
        for task in listening {
            let heard = task.await?;
            delivered += heard.messages;
            seconds = heard.seconds.max(seconds);
        }
        let cpu_us = broker.process.cpu_us() - cpu;
        let details = json!({
            "qos": self.qos, "window": self.window, "subscribers": self.subscribers,
            "sent": said, "delivered": delivered, "lost": all - delivered,
            "sent_per_s": said as f64 / said_s,
        });
        Ok(Found {
            operations: delivered.max(1) as f64,
            seconds,
            cpu_us,
            latency: None,
            details,
        })
    }

    /// One device retains messages, another one reads all of them.
    pub async fn retained(self, program: &Program) -> Result<Found, Failure> {
        let stage = Stage::open(program).await?;
        let (peer, identities) = mosquitto::beside(&stage, 1, self.is_peer).await?;
        let hubs = hubs(&stage, 1, peer.is_some()).await?;
        let broker = peer.as_ref().unwrap_or(&stage.gateway);
        let mut publisher = connect(broker, &identities, ("d", 0)).await?;
        for n in 0..self.count {
            let topic = format!("devices/d-0/{n}");
            publisher.retain(&topic, &PAYLOAD).await?;
        }
        let mut reader = connect(broker, &hubs, ("hub", 0)).await?;
        let rss_before_kib = broker.process.rss_kib();
        broker.process.forget_peak();
        let cpu = broker.process.cpu_us();
        let watch = Stopwatch::start();
        reader.subscribe("devices/#", self.qos).await?;
        let all = u64::from(self.count);
        let heard = listen(reader, all, watch).await;
        let details = json!({
            "retained": all, "delivered": heard.messages, "qos": self.qos,
            "rss_before_kib": rss_before_kib, "rss_peak_kib": broker.process.rss_peak_kib(),
        });
        Ok(Found {
            operations: heard.messages.max(1) as f64,
            seconds: heard.seconds,
            cpu_us: broker.process.cpu_us() - cpu,
            latency: None,
            details,
        })
    }
}

/// A client of one of these identities, under its name.
async fn connect(
    broker: &Broker,
    identities: &[Arc<ClientConfig>],
    (kind, n): (&str, usize),
) -> Result<Wire, Failure> {
    let name = format!("{kind}-{n}");
    let wire = Wire::connect(broker.address, local(n), &identities[n], &name);
    Ok(wire.await?)
}

/// Devices that subscribe to everything, and whom they trust.
async fn hubs(
    stage: &Stage,
    count: usize,
    is_peer: bool,
) -> Result<Vec<Arc<ClientConfig>>, Failure> {
    let profile = "name = \"bench-hub\"\ndescription = \"hears all\"\ncertificate_lifetime_days = 1\n\
         grace_days = 0\nkeys = [\"p256\"]\n[[subscribe]]\ntopic = \"devices/#\"\nreason = \"bench\"\n";
    let text = hearthkey_api::ProfileText {
        toml: profile.into(),
        built_in: false,
    };
    let client = stage.client();
    let _: hearthkey_api::ProfileText = client.post("/api/v1/profiles", &text).await?;
    let mut hubs = Vec::with_capacity(count);
    for n in 0..count {
        let name = format!("hub-{n}");
        let directory = stage.device(&name);
        let own = enroll(&client, &name, "bench-hub", &directory).await?;
        hubs.push(match is_peer {
            false => own,
            true => {
                let trust = stage.directory.path().join(mosquitto::SERVER_FILE);
                identity(&directory, &trust)?
            }
        });
    }
    Ok(hubs)
}

/// Publishes so many messages, so many at once.
pub async fn speak(
    mut wire: Wire,
    n: usize,
    (count, window, qos): (u32, u32, u8),
) -> Result<(), WireError> {
    let topic = format!("devices/d-{n}/state");
    let mut left = count;
    while left > 0 {
        let now = left.min(window);
        wire.publish(&topic, &PAYLOAD, (now as u16, qos)).await?;
        left -= now;
    }
    // A client that sends with QoS 0 and disconnects may be gone before its message was read.
    wire.ping().await
}

/// Counts messages until all are there, or none has come for a while.
async fn listen(mut wire: Wire, all: u64, watch: Stopwatch) -> Heard {
    let mut heard = Heard {
        messages: 0,
        seconds: 0.0,
    };
    while heard.messages < all {
        match tokio::time::timeout(PATIENCE, wire.take()).await {
            Ok(Ok(())) => heard.messages += 1,
            _ => return heard,
        }
        heard.seconds = watch.elapsed().as_secs_f64();
    }
    heard
}
