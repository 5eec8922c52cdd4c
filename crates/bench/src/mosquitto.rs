//! Mosquitto as a peer of the MQTT server: the same devices, the same keys.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use rustls::ClientConfig;
use tokio::process::Command;

use crate::clock::Stopwatch;
use crate::failure::{Failure, failed};
use crate::process::{Broker, Process, free_port};
use crate::stage::{ISSUER_FILE, Stage};
use crate::wire::identity;

/// Where a running peer keeps its certificate, in the directory of the stage.
pub const SERVER_FILE: &str = "mosquitto/server.crt";

/// A peer if one is to be measured, and devices that it and the gateway know.
pub async fn beside(
    stage: &Stage,
    devices: usize,
    is_peer: bool,
) -> Result<(Option<Broker>, Vec<Arc<ClientConfig>>), Failure> {
    let identities = stage.enroll(devices, "generic").await?;
    if !is_peer {
        return Ok((None, identities));
    }
    let (mosquitto, trust) = start(stage).await?;
    let same: Result<Vec<_>, _> = (0..devices)
        .map(|n| identity(&stage.device(&format!("d-{n}")), &trust))
        .collect();
    Ok((Some(mosquitto), same?))
}

/// Starts mosquitto with a server certificate of its own and the home's CAs for its clients.
/// Gives it with the file that its clients must trust.
async fn start(stage: &Stage) -> Result<(Broker, PathBuf), Failure> {
    let cannot = |error: &dyn std::fmt::Display| failed("mosquitto did not start", error);
    let directory = stage.directory.path().join("mosquitto");
    std::fs::create_dir_all(&directory).map_err(|e| cannot(&e))?;
    let made =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).map_err(|e| cannot(&e))?;
    let server = stage.directory.path().join(SERVER_FILE);
    let first = stage.device("d-0");
    let authorities = [
        stage.directory.path().join(ISSUER_FILE),
        first.join("trust.pem"),
    ];
    let mut trusted = String::new();
    for file in authorities {
        trusted += &std::fs::read_to_string(file).map_err(|e| cannot(&e))?;
    }
    let port = free_port().map_err(|e| cannot(&e))?;
    let at = directory.display();
    let config = format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\ncafile {at}/ca.pem\ncertfile {at}/server.crt\n\
         keyfile {at}/server.key\nrequire_certificate true\nuse_identity_as_username true\nlog_type error\nuser root\n"
    );
    for (name, text) in [
        ("server.crt", made.cert.pem()),
        ("server.key", made.signing_key.serialize_pem()),
        ("ca.pem", trusted),
        ("mosquitto.conf", config),
    ] {
        std::fs::write(directory.join(name), text).map_err(|e| cannot(&e))?;
    }
    let watch = Stopwatch::start();
    let child = Command::new("mosquitto")
        .arg("-c")
        .arg(directory.join("mosquitto.conf"))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| cannot(&e))?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    while tokio::net::TcpStream::connect(address).await.is_err() {
        if watch.elapsed().as_secs() > 10 {
            return Err(cannot(&"no listener after ten seconds"));
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let ready_us = watch.elapsed_us();
    Ok((
        Broker {
            process: Process::of(child),
            address,
            ready_us,
        },
        server,
    ))
}
