//! What is measured: a gateway of our own in a process of its own, or a peer with the same keys.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use hearthkey_agent::Enrollment;
use hearthkey_api::{ClaimOpened, ClaimRequest, Client};
use hearthkey_gateway::InitSlot;
use hearthkey_gateway::bench::Issuance;
use rustls::ClientConfig;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use crate::bench_wire::identity;
use crate::failure::{Failure, code};
use crate::stopwatch::Stopwatch;

/// A failure of a measurement.
pub fn failed(what: &str, error: &dyn std::fmt::Display) -> Failure {
    let title = format!("The measurement stopped: {what}.");
    Failure::with_cause(
        code::SYSTEM,
        &title,
        &error,
        "Run it again with -v, and report it if it stops again.",
    )
}

/// A process under measurement.
pub struct Process(Child);

impl Process {
    /// A child that is measured; it ends with this value.
    pub fn of(child: Child) -> Self {
        Self(child)
    }

    fn proc(&self, file: &str) -> String {
        let pid = self.0.id().unwrap_or_default();
        std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default()
    }

    /// CPU time so far, user and system, in microseconds (proc(5): fields 14 and 15 of stat).
    pub fn cpu_us(&self) -> u64 {
        cpu_us(&self.proc("stat"))
    }

    /// Resident memory, in KiB.
    pub fn rss_kib(&self) -> u64 {
        self.status_kib("VmRSS:")
    }

    /// The most resident memory so far, or since [`Process::forget_peak`], in KiB.
    pub fn rss_peak_kib(&self) -> u64 {
        self.status_kib("VmHWM:")
    }

    /// Lets the peak begin anew (proc(5), `clear_refs`).
    pub fn forget_peak(&self) {
        let pid = self.0.id().unwrap_or_default();
        // Where it cannot be, the peak is that of the whole life: too much, never too little.
        let _ = std::fs::write(format!("/proc/{pid}/clear_refs"), "5");
    }

    fn status_kib(&self, name: &str) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            .unwrap_or_default()
    }
}

/// CPU time of a stat line. A tick is 10 ms on every Linux that Rust supports.
pub fn cpu_us(stat: &str) -> u64 {
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = after_name.split_whitespace().skip(11).take(2);
    ticks
        .filter_map(|field| field.parse::<u64>().ok())
        .sum::<u64>()
        * 10_000
}

/// A broker under measurement.
pub struct Broker {
    /// Its process.
    pub process: Process,
    /// Where it listens.
    pub address: SocketAddr,
    /// From the start of the process to its readiness, in milliseconds.
    pub ready_ms: f64,
}

impl Broker {
    /// Ends the process and waits until it is gone.
    pub async fn stop(mut self) {
        // An error means that it has ended already.
        let _ = self.process.0.kill().await;
    }
}

/// A temporary home and its devices.
pub struct Stage {
    /// Everything lies here.
    pub directory: TempDir,
    /// The home.
    pub home: PathBuf,
    /// The gateway.
    pub gateway: Broker,
}

impl Stage {
    /// Makes a home and starts a gateway for it.
    pub async fn open() -> Result<Self, Failure> {
        Self::open_for(0).await
    }

    /// The same, with places for so many connections, if that is more than usual.
    pub async fn open_for(connections: u32) -> Result<Self, Failure> {
        let directory = make_directory()?;
        let home = make_home(directory.path()).await?;
        keep_issuer(&home, &directory.path().join("issuer.pem")).await?;
        // A quarter is for others than those of one network.
        let places = (connections + connections / 2).to_string();
        let more: &[&str] = match connections > 1_000 {
            true => &["--connections", &places],
            false => &[],
        };
        let gateway = start(&home, more).await?.0;
        Ok(Self {
            directory,
            home,
            gateway,
        })
    }

    /// A client of the gateway's API.
    pub fn client(&self) -> Client {
        Client::new(&self.home)
    }

    /// Where a device keeps its files.
    pub fn device(&self, name: &str) -> PathBuf {
        self.directory.path().join("devices").join(name)
    }

    /// A peer if one is to be measured, and devices that it and the gateway know.
    pub async fn broker(
        &self,
        devices: usize,
        is_peer: bool,
    ) -> Result<(Option<Broker>, Vec<Arc<ClientConfig>>), Failure> {
        let identities = self.enroll(devices, "generic").await?;
        if !is_peer {
            return Ok((None, identities));
        }
        let (mosquitto, trust) = start_mosquitto(self).await?;
        let same: Result<Vec<_>, _> = (0..devices)
            .map(|n| identity(&self.device(&format!("d-{n}")), &trust))
            .collect();
        let same = same.map_err(|error| failed("an identity", &error))?;
        Ok((Some(mosquitto), same))
    }

    /// Enrolls devices named `d-0`, `d-1`, … with the public protocol, sixteen at a time, and
    /// gives their identities.
    pub async fn enroll(
        &self,
        count: usize,
        profile: &str,
    ) -> Result<Vec<Arc<ClientConfig>>, Failure> {
        let places = Arc::new(tokio::sync::Semaphore::new(16));
        let mut tasks = Vec::with_capacity(count);
        for n in 0..count {
            let place = Arc::clone(&places)
                .acquire_owned()
                .await
                .map_err(|e| failed("no place", &e))?;
            let (client, name) = (self.client(), format!("d-{n}"));
            let (directory, profile) = (self.device(&name), profile.to_owned());
            tasks.push(tokio::spawn(async move {
                let enrolled = enroll(&client, &name, &profile, &directory).await;
                drop(place);
                enrolled
            }));
        }
        let mut identities = Vec::with_capacity(count);
        for task in tasks {
            identities.push(task.await.map_err(|e| failed("a task panicked", &e))??);
        }
        Ok(identities)
    }
}

pub async fn enroll(
    client: &Client,
    name: &str,
    profile: &str,
    directory: &Path,
) -> Result<Arc<ClientConfig>, Failure> {
    let claim: ClaimOpened = client
        .post(
            "/api/v1/claims",
            &ClaimRequest {
                device: name.into(),
                profile: profile.into(),
                environment: "home".into(),
                owner: "bench".into(),
                purpose: "bench".into(),
                lifetime: "1h".into(),
            },
        )
        .await?;
    let uri = claim
        .uri
        .parse()
        .map_err(|error| failed("a claim cannot be read", &error))?;
    let enrolled = Enrollment::new(uri).run(directory, |_, _| {}).await;
    enrolled.map_err(|error| failed("a device could not enroll", &error))?;
    identity(directory, &directory.join("trust.pem")).map_err(|error| failed("an identity", &error))
}

/// Writes the issuing CA beside the home, while no gateway runs on it.
async fn keep_issuer(home: &Path, file: &Path) -> Result<(), Failure> {
    let cannot = |error: &dyn std::fmt::Display| failed("the issuing CA was not found", error);
    let issuance = Issuance::open(home).await.map_err(|e| cannot(&e))?;
    let pem = issuance.issuer_pem().map_err(|e| cannot(&e))?;
    issuance.close().await;
    std::fs::write(file, pem).map_err(|e| cannot(&e))
}

/// A directory that is gone in the end.
pub fn make_directory() -> Result<TempDir, Failure> {
    let made = tempfile::Builder::new()
        .prefix("hearthkey-bench-")
        .tempdir();
    made.map_err(|error| failed("no temporary directory could be made", &error))
}

/// A home that opens with a key file.
pub async fn make_home(directory: &Path) -> Result<PathBuf, Failure> {
    let home = directory.join("home");
    let made = hearthkey_gateway::init(&home, "Bench", InitSlot::KeyFile).await;
    made.map_err(|error| failed("no home could be made", &error))?;
    Ok(home)
}

/// Starts this program as a gateway of its own.
pub async fn start_gateway(home: &Path) -> Result<Broker, Failure> {
    Ok(start(home, &[]).await?.0)
}

/// Starts this program as a gateway that services reach over HTTPS, and tells where.
pub async fn start_gateway_with_https(home: &Path) -> Result<(Broker, SocketAddr), Failure> {
    let (gateway, said) = start(home, &["--http", "127.0.0.1:0"]).await?;
    let https = said["http"].as_str().and_then(|text| text.parse().ok());
    let https = https.ok_or_else(|| failed("there is no HTTPS listener", &said))?;
    Ok((gateway, https))
}

async fn start(home: &Path, more: &[&str]) -> Result<(Broker, serde_json::Value), Failure> {
    let cannot = |error: &dyn std::fmt::Display| failed("the gateway did not start", error);
    let program = std::env::current_exe().map_err(|e| cannot(&e))?;
    let watch = Stopwatch::start();
    let mut child = Command::new(program)
        .args([
            "run",
            "--mqtt",
            "127.0.0.1:0",
            "--host",
            "localhost",
            "--json",
            "--data-dir",
        ])
        .arg(home)
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| cannot(&e))?;
    let line = first_line(child.stdout.take())
        .await
        .map_err(|e| cannot(&e))?;
    let ready_ms = watch.elapsed_ms();
    let said: serde_json::Value = serde_json::from_str(&line).map_err(|e| cannot(&e))?;
    let address = said["mqtt"].as_str().and_then(|text| text.parse().ok());
    let address = address.ok_or_else(|| cannot(&line))?;
    let gateway = Broker {
        process: Process(child),
        address,
        ready_ms,
    };
    Ok((gateway, said))
}

async fn first_line(stdout: Option<ChildStdout>) -> std::io::Result<String> {
    let mut line = String::new();
    if let Some(stdout) = stdout {
        BufReader::new(stdout).read_line(&mut line).await?;
    }
    Ok(line)
}

/// Starts mosquitto with a server certificate of its own and the home's CAs for its clients.
/// Gives it with the file that its clients must trust.
pub async fn start_mosquitto(stage: &Stage) -> Result<(Broker, PathBuf), Failure> {
    let cannot = |error: &dyn std::fmt::Display| failed("mosquitto did not start", error);
    let directory = stage.directory.path().join("mosquitto");
    std::fs::create_dir_all(&directory).map_err(|e| cannot(&e))?;
    let made =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).map_err(|e| cannot(&e))?;
    let server = directory.join("server.crt");
    let first = stage.device("d-0");
    let authorities = [
        stage.directory.path().join("issuer.pem"),
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
    let ready_ms = watch.elapsed_ms();
    Ok((
        Broker {
            process: Process(child),
            address,
            ready_ms,
        },
        server,
    ))
}

/// A port that nobody uses.
pub fn free_port() -> std::io::Result<u16> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

/// The local address of the n-th connection: the listener lets in 256 from one, and more from one network than that.
pub fn local(n: usize) -> IpAddr {
    let network = u8::try_from(1 + n / 1_000).unwrap_or(u8::MAX);
    let host = u8::try_from(2 + n % 1_000 / 200).unwrap_or(u8::MAX);
    Ipv4Addr::new(127, 0, network, host).into()
}
