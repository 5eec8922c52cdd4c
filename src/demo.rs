//! `hearthkey demo`: a temporary home on loopback with real devices, end to end.
//!
//! Nothing here is shown that did not happen: the gateway is the one that `run` starts, the devices
//! are agents that speak the public protocol over TLS, and each step says how long it took.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use clap::Args;
use hearthkey_agent::{ClosedReason, Device, Enrollment, ExchangeError, Session};
use hearthkey_api::{
    ApproveRequest, ClaimOpened, ClaimRequest, Client, DeviceChanged, DeviceView, RevokeRequest,
    Revoked,
};
use hearthkey_gateway::{Announce, InitSlot, RunConfig, RunEvent};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::context::{Context, Nothing};
use crate::demo_report::{Report, Summary};
use crate::demo_vault;
use crate::export::{Target, export};
use crate::failure::{Failure, code};
use crate::run::stop_signal;
use crate::stopwatch::Stopwatch;

/// What `demo` is told.
#[derive(Debug, Args)]
pub struct Demo {
    /// Keep the home and its devices running until SIGTERM or SIGINT.
    #[arg(long)]
    stay: bool,
}

/// A device of the demonstration: its id, its profile, and a topic that is its own.
struct Cast {
    id: &'static str,
    profile: &'static str,
    topic: &'static str,
    payload: &'static str,
}

const CAST: [Cast; 6] = [
    Cast {
        id: "hub",
        profile: "home-assistant",
        topic: "homeassistant/status",
        payload: "online",
    },
    Cast {
        id: "lamp",
        profile: "generic",
        topic: "devices/lamp/state",
        payload: "on",
    },
    Cast {
        id: "zigbee",
        profile: "zigbee2mqtt",
        topic: "zigbee2mqtt/bridge/state",
        payload: r#"{"state":"online"}"#,
    },
    Cast {
        id: "porch",
        profile: "esphome",
        topic: "porch/status",
        payload: "online",
    },
    Cast {
        id: "heater",
        profile: "tasmota",
        topic: "tele/heater/LWT",
        payload: "Online",
    },
    Cast {
        id: "plug",
        profile: "shelly",
        topic: "plug/online",
        payload: "true",
    },
];

/// What the hub listens to: the topics of all the others.
const HEARD: [&str; 5] = [
    "devices/#",
    "zigbee2mqtt/#",
    "tele/#",
    "+/status/#",
    "+/online",
];

/// A running gateway of the demonstration.
struct Stage {
    client: Client,
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<(), hearthkey_gateway::RunError>>,
}

struct Enrolled {
    device: Device,
    session: Session,
}

pub fn failed(what: &str, error: &dyn std::fmt::Display) -> Failure {
    let title = format!("The demonstration stopped: {what}.");
    Failure::with_cause(
        code::SYSTEM,
        &title,
        &error,
        "Run it again with -v, and report it if it stops again.",
    )
}

impl Demo {
    /// Plays the whole demonstration.
    pub async fn obey(self, context: &Context) -> Result<(), Failure> {
        let stop = stop_signal()?;
        let directory = tempfile::Builder::new()
            .prefix("hearthkey-demo-")
            .tempdir()
            .map_err(|error| failed("no temporary directory could be made", &error))?;
        let home = directory.path().join("home");
        let mut report = Report::new(context.output);
        let stage = open_stage(&home, &mut report).await?;
        let mut devices = enroll_all(&stage.client, directory.path(), &mut report).await?;
        publish_all(&mut devices, &mut report).await?;
        renew_one(&stage.client, &mut devices, &mut report).await?;
        refuse_one(&devices, &mut report).await?;
        revoke_one(&stage.client, &mut devices, &mut report).await?;
        demo_vault::play(context, &stage.client, &mut report).await?;
        verify(&stage.client, directory.path(), &mut report).await?;
        report.end(&home, self.stay)?;
        if self.stay {
            stop.await;
        }
        for enrolled in devices {
            enrolled.session.close().await;
        }
        // An error means that the gateway has ended by itself; its own result says why.
        let _ = stage.stop.send(());
        let ended = stage
            .running
            .await
            .map_err(|error| failed("the gateway panicked", &error))?;
        ended.map_err(|error| failed("the gateway failed", &error))
    }
}

async fn open_stage(home: &Path, report: &mut Report) -> Result<Stage, Failure> {
    let watch = Stopwatch::start();
    let made = hearthkey_gateway::init(home, "Demo", InitSlot::KeyFile)
        .await
        .map_err(|error| failed("no home could be made", &error))?;
    let (stop, stopped) = oneshot::channel::<()>();
    let (tell, mut told) = mpsc::unbounded_channel();
    let config = RunConfig {
        data_dir: home.to_owned(),
        mqtt: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        http: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        connections_max: None,
        hosts: vec!["localhost".into(), "127.0.0.1".into()],
        announce: Announce::Off,
        passphrase: None,
    };
    let on_event = move |event| {
        let _ = tell.send(event);
    };
    let running = tokio::spawn(hearthkey_gateway::run(config, on_event, async {
        let _ = stopped.await;
    }));
    let Some(RunEvent::Ready { mqtt, .. }) = told.recv().await else {
        return Err(failed(
            "the gateway did not open",
            &"see the messages above",
        ));
    };
    report.step(
        "home",
        &format!("a home with its root of trust, serving on {mqtt}"),
        watch,
    )?;
    report.aside(&format!("root certificate, SHA-256: {}", made.root_sha256));
    Ok(Stage {
        client: Client::new(home),
        stop,
        running,
    })
}

async fn enroll_all(
    client: &Client,
    directory: &Path,
    report: &mut Report,
) -> Result<Vec<Enrolled>, Failure> {
    let mut devices = Vec::with_capacity(CAST.len());
    for cast in &CAST {
        let watch = Stopwatch::start();
        let claim: ClaimOpened = client
            .post(
                "/api/v1/claims",
                &ClaimRequest {
                    device: cast.id.into(),
                    profile: cast.profile.into(),
                    environment: "home".into(),
                    owner: "Demo".into(),
                    purpose: "shows how it works".into(),
                    lifetime: "15m".into(),
                },
            )
            .await?;
        let uri = claim
            .uri
            .parse()
            .map_err(|error| failed("the claim cannot be read", &error))?;
        let place = directory.join(cast.id);
        let approved = enroll(client, cast, Enrollment::new(uri), &place).await?;
        let mut device =
            Device::open(&place).map_err(|error| failed("a device has no key", &error))?;
        let session = device
            .connect()
            .await
            .map_err(|error| failed("a device could not connect", &error))?;
        let said = if approved {
            ", after its key was approved"
        } else {
            ""
        };
        let text = format!(
            "{} ({}) has its own certificate{said}, and is connected",
            cast.id, cast.profile
        );
        report.step("enroll", &text, watch)?;
        devices.push(Enrolled { device, session });
    }
    Ok(devices)
}

/// Enrolls; where the profile wants a person to compare the key, does as that person would.
async fn enroll(
    client: &Client,
    cast: &Cast,
    enrollment: Enrollment,
    place: &Path,
) -> Result<bool, Failure> {
    let (held, mut holds) = mpsc::unbounded_channel();
    let enrolling = enrollment.run(place, move |refusal, _| {
        let _ = held.send(refusal.code.clone());
    });
    tokio::pin!(enrolling);
    let mut approved = false;
    loop {
        tokio::select! {
            done = &mut enrolling => {
                return done.map(|_| approved).map_err(|error| failed("a device could not enroll", &error));
            }
            Some(_) = holds.recv(), if !approved => {
                approved = approve(client, cast.id).await?;
            }
        }
    }
}

async fn approve(client: &Client, id: &str) -> Result<bool, Failure> {
    let device: DeviceView = client.get(&format!("/api/v1/devices/{id}")).await?;
    let Some(key_sha256) = device
        .claims
        .iter()
        .find_map(|claim| claim.presented_key.clone())
    else {
        return Ok(false);
    };
    let path = format!("/api/v1/devices/{id}/approve");
    let _: DeviceChanged = client.post(&path, &ApproveRequest { key_sha256 }).await?;
    Ok(true)
}

async fn publish_all(devices: &mut [Enrolled], report: &mut Report) -> Result<(), Failure> {
    let cannot = |error: ExchangeError| failed("a message did not arrive", &error);
    let (hub, others) = devices
        .split_first_mut()
        .ok_or_else(|| failed("nobody enrolled", &"the cast is empty"))?;
    hub.session.subscribe(&HEARD).await.map_err(cannot)?;
    let hub_cast = &CAST[0];
    hub.session
        .publish(hub_cast.topic, hub_cast.payload)
        .await
        .map_err(cannot)?;
    for (cast, enrolled) in CAST[1..].iter().zip(others) {
        let watch = Stopwatch::start();
        enrolled
            .session
            .publish(cast.topic, cast.payload)
            .await
            .map_err(cannot)?;
        loop {
            let message = hub.session.receive().await;
            let message =
                message.ok_or_else(|| failed("the hub was disconnected", &"unexpected"))?;
            if message.topic == cast.topic {
                break;
            }
        }
        report.step(
            "publish",
            &format!(
                "{} says {} = {}, and the hub receives it",
                cast.id, cast.topic, cast.payload
            ),
            watch,
        )?;
    }
    Ok(())
}

async fn renew_one(
    client: &Client,
    devices: &mut [Enrolled],
    report: &mut Report,
) -> Result<(), Failure> {
    let Some(lamp) = devices.get_mut(1) else {
        return Ok(());
    };
    let watch = Stopwatch::start();
    let _: DeviceChanged = client
        .post("/api/v1/devices/lamp/rotate", &Nothing {})
        .await?;
    let renewal = lamp.device.renew(&lamp.session).await;
    let renewal = renewal.map_err(|error| failed("a device could not renew", &error))?;
    let session = lamp.device.connect().await;
    let session =
        session.map_err(|error| failed("the new certificate does not connect", &error))?;
    std::mem::replace(&mut lamp.session, session).close().await;
    let text = format!(
        "lamp has renewed its key and certificate ({}…), and uses them",
        &renewal.serial[..8]
    );
    report.step("renew", &text, watch)
}

async fn refuse_one(devices: &[Enrolled], report: &mut Report) -> Result<(), Failure> {
    let Some(porch) = devices.get(3) else {
        return Ok(());
    };
    let watch = Stopwatch::start();
    match porch.session.publish("tele/heater/LWT", "Offline").await {
        Err(ExchangeError::Denied { code, .. }) => {
            let text = format!("porch may not publish for heater: {code}");
            report.step("refuse", &text, watch)
        }
        Err(error) => Err(failed("a refusal did not come", &error)),
        Ok(()) => Err(failed(
            "porch published for heater",
            &"this must never happen",
        )),
    }
}

async fn revoke_one(
    client: &Client,
    devices: &mut Vec<Enrolled>,
    report: &mut Report,
) -> Result<(), Failure> {
    let Some(mut plug) = devices.pop() else {
        return Ok(());
    };
    let closed = tokio::spawn(plug.session.closed());
    let watch = Stopwatch::start();
    let reason = RevokeRequest {
        reason: "key-compromise".into(),
    };
    let revoked: Revoked = client.post("/api/v1/devices/plug/revoke", &reason).await?;
    closed
        .await
        .map_err(|error| failed("the disconnect was not seen", &error))?;
    let text = format!(
        "plug is revoked: {} certificate, {} session cut {} µs after the gateway was asked",
        revoked.certificates_revoked, revoked.sessions_dropped, revoked.latency_us
    );
    report.step("revoke", &text, watch)?;
    let watch = Stopwatch::start();
    match plug.device.connect().await {
        Err(hearthkey_agent::DeviceConnectError::Connect(error))
            if matches!(error.reason, ClosedReason::Revoked) =>
        {
            report.step(
                "revoke",
                "plug reconnects and is refused: certificate_revoked",
                watch,
            )
        }
        Err(error) => Err(failed("plug was refused for another reason", &error)),
        Ok(_) => Err(failed("plug reconnected", &"this must never happen")),
    }
}

async fn verify(client: &Client, directory: &Path, report: &mut Report) -> Result<(), Failure> {
    let watch = Stopwatch::start();
    let file = directory.join("log.jsonl");
    let target = Target {
        out: &file,
        checkpoint: None,
        replace: true,
    };
    export(client, target).await?;
    let key: hearthkey_api::LogKeyView = client.get("/api/v1/log/key").await?;
    let checkpoint = directory.join("log.jsonl.checkpoint");
    let verified = hearthkey_gateway::verify_log(&file, &checkpoint, &key.vkey)
        .map_err(|error| failed("the log does not verify", &error))?;
    let text = format!(
        "all of this is in the audit log: {} records, verified offline",
        verified.size
    );
    report.step("verify", &text, watch)?;
    report.summary(Summary {
        log_records: verified.size,
    });
    Ok(())
}
