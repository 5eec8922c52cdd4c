//! A gateway whose machine is under the test's control: its environment, its disk, its death.
//!
//! Each rig listens on a loopback address of its own, so that devices find it again after a
//! restart and no two tests meet.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use hearthkey_agent::{Device, EnrollError, Enrollment, Rejection};
use hearthkey_api::{CallError, ClaimOpened, ClaimRequest, Client, DeviceView, Revoked, Status};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{Instant, sleep, timeout};

/// How long anything may take before the test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(30);
const PORT: &str = "18883";

pub struct Rig {
    /// Where the home lies.
    pub data_dir: PathBuf,
    /// Where everything else goes: devices, exports, the gateway's standard error.
    pub work: TempDir,
    /// The gateway's environment.
    pub env: Vec<(String, String)>,
    /// More arguments for `run`.
    pub args: Vec<&'static str>,
    /// What `init` answered.
    pub made: Value,
    /// The address that it listens on.
    pub host: String,
    gateway: Option<(Child, BufReader<ChildStdout>)>,
}

pub fn hearthkey() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hearthkey"));
    command
        .env_remove("RUST_LOG")
        .env_remove("HEARTHKEY_PASSPHRASE")
        .env_remove("JOURNAL_STREAM")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// The device's program, which is built beside the gateway's.
pub fn agent() -> Command {
    let gateway = Path::new(env!("CARGO_BIN_EXE_hearthkey"));
    let mut command = Command::new(gateway.with_file_name("hearthkey-agent"));
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    command.kill_on_drop(true);
    command
}

/// Waits until something holds, looking again and again.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Debian's libfaketime, if it is installed.
pub fn libfaketime() -> Option<PathBuf> {
    let below = std::fs::read_dir("/usr/lib").ok()?.flatten();
    let places = below
        .map(|entry| entry.path())
        .chain(["/usr/local/lib".into()]);
    let library = |place: PathBuf| place.join("faketime/libfaketime.so.1");
    places.map(library).find(|path| path.exists())
}

/// The JSON value that a command printed.
pub fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        let err = String::from_utf8_lossy(&output.stderr);
        panic!(
            "{error}: {}\n{err}",
            String::from_utf8_lossy(&output.stdout)
        )
    })
}

impl Rig {
    /// A home that opens with its key file.
    pub async fn new() -> Self {
        let work = tempfile::tempdir().unwrap();
        let data_dir = work.path().join("home");
        Self::at(work, data_dir, None).await
    }

    /// A home that opens with a passphrase.
    pub async fn with_passphrase(passphrase: &str) -> Self {
        let work = tempfile::tempdir().unwrap();
        let data_dir = work.path().join("home");
        Self::at(work, data_dir, Some(passphrase)).await
    }

    /// A home in a directory.
    pub async fn at(work: TempDir, data_dir: PathBuf, passphrase: Option<&str>) -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut rig = Self {
            data_dir,
            work,
            env: Vec::new(),
            args: Vec::new(),
            made: Value::Null,
            host: format!("127.{}.{n}.1", 1 + std::process::id() % 250),
            gateway: None,
        };
        let slot = if passphrase.is_some() {
            "passphrase"
        } else {
            "keyfile"
        };
        let words: Vec<_> = passphrase
            .iter()
            .map(|words| ("HEARTHKEY_PASSPHRASE", *words))
            .collect();
        let output = rig
            .cli_with(
                &["init", "--home", "attic", "--slot", slot, "--json"],
                &words,
            )
            .await;
        rig.made = json(&output);
        assert!(output.status.success(), "{}", rig.made);
        rig
    }

    /// Starts the gateway and waits until it serves devices.
    pub async fn start(&mut self) {
        let line = self.launch().await;
        assert_eq!(line["ready"], true, "{line} {}", self.stderr());
    }

    /// Starts the gateway and waits for the first thing it says: ready, or sealed.
    pub async fn launch(&mut self) -> Value {
        self.spawn();
        self.said().await
    }

    /// Starts the gateway and does not wait.
    pub fn spawn(&mut self) {
        assert!(self.gateway.is_none());
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.stderr_path())
            .unwrap();
        let mut child = hearthkey()
            .args(["run", "--json", "--mqtt", &format!("{}:{PORT}", self.host)])
            .args(["--host", &self.host])
            .args(&self.args)
            .arg("--data-dir")
            .arg(&self.data_dir)
            .envs(self.env.iter().cloned())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        self.gateway = Some((child, out));
    }

    /// The next thing the gateway says on its standard output.
    pub async fn said(&mut self) -> Value {
        let (_, out) = self.gateway.as_mut().unwrap();
        let mut line = String::new();
        timeout(PATIENCE, out.read_line(&mut line))
            .await
            .unwrap()
            .unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line:?} {}", self.stderr()))
    }

    /// Starts a gateway that is expected to end by itself, and gives its exit code.
    pub async fn fails_to_start(&mut self) -> Option<i32> {
        let log = std::fs::File::create(self.work.path().join("failed.log")).unwrap();
        let ended = hearthkey()
            .args(["run", "--json", "--mqtt", &format!("{}:{PORT}", self.host)])
            .args(["--host", &self.host])
            .arg("--data-dir")
            .arg(&self.data_dir)
            .envs(self.env.iter().cloned())
            .stdout(log)
            .stderr(Stdio::null())
            .status();
        timeout(PATIENCE, ended).await.unwrap().unwrap().code()
    }

    /// What the last gateway that failed to start said on its standard output.
    pub fn failure(&self) -> String {
        std::fs::read_to_string(self.work.path().join("failed.log")).unwrap()
    }

    pub fn pid(&self) -> u32 {
        self.gateway
            .as_ref()
            .and_then(|(child, _)| child.id())
            .unwrap()
    }

    /// Kills the gateway as a power failure would.
    pub async fn kill9(&mut self) {
        let (mut child, _) = self.gateway.take().unwrap();
        child.kill().await.unwrap();
    }

    /// Ends the gateway in order.
    pub async fn stop(&mut self) {
        let (mut child, _) = self.gateway.take().unwrap();
        let pid = Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let ended = timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
        assert!(ended.success(), "{ended} {}", self.stderr());
    }

    pub async fn restart(&mut self) {
        self.stop().await;
        self.start().await;
    }

    fn stderr_path(&self) -> PathBuf {
        self.work.path().join("gateway.log")
    }

    /// Everything the gateway has said on its standard error, over all its runs.
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(self.stderr_path()).unwrap_or_default()
    }

    /// Runs a command on the home.
    pub async fn cli(&self, args: &[&str]) -> Output {
        self.cli_with(args, &[]).await
    }

    /// Runs a command on the home, with more in its environment.
    pub async fn cli_with(&self, args: &[&str], env: &[(&str, &str)]) -> Output {
        let mut command = hearthkey();
        command
            .arg("--data-dir")
            .arg(&self.data_dir)
            .args(args)
            .envs(env.iter().copied());
        timeout(PATIENCE, command.output()).await.unwrap().unwrap()
    }

    pub fn client(&self) -> Client {
        Client::new(&self.data_dir)
    }

    pub async fn status(&self) -> Status {
        self.client().get("/api/v1/status").await.unwrap()
    }

    /// Opens a claim.
    pub async fn claim(&self, device: &str) -> Result<ClaimOpened, CallError> {
        let request = ClaimRequest {
            device: device.into(),
            profile: "generic".into(),
            environment: "home".into(),
            owner: "anna".into(),
            purpose: "test".into(),
            lifetime: "15m".into(),
        };
        self.client().post("/api/v1/claims", &request).await
    }

    pub fn device_dir(&self, device: &str) -> PathBuf {
        self.work.path().join("devices").join(device)
    }

    /// Enrolls with a claim.
    pub async fn enroll_with(&self, claim: &ClaimOpened) -> Result<Device, EnrollError> {
        self.enroll_in(claim, &self.device_dir(&claim.device)).await
    }

    /// Enrolls with a claim into a directory.
    pub async fn enroll_in(
        &self,
        claim: &ClaimOpened,
        directory: &Path,
    ) -> Result<Device, EnrollError> {
        let mut enrollment = Enrollment::new(claim.uri.parse().unwrap());
        enrollment.patience = PATIENCE;
        // A device that is asked to retry later has been refused.
        let (told_in, told) = tokio::sync::oneshot::channel();
        let mut told_in = Some(told_in);
        let refused = |rejection: &Rejection, _| {
            if let Some(told_in) = told_in.take() {
                let _ = told_in.send(rejection.clone());
            }
        };
        tokio::select! {
            enrolled = enrollment.run(directory, refused) => enrolled?,
            Ok(rejection) = told => return Err(EnrollError::Rejected(rejection)),
        };
        Ok(Device::open(directory)?)
    }

    /// Enrolls a new device.
    pub async fn enroll(&self, device: &str) -> Device {
        let claim = self.claim(device).await.unwrap();
        self.enroll_with(&claim).await.unwrap()
    }

    pub async fn device(&self, device: &str) -> DeviceView {
        self.client()
            .get(&format!("/api/v1/devices/{device}"))
            .await
            .unwrap()
    }

    /// Does something to a device.
    pub async fn act(&self, device: &str, verb: &str) -> Result<Value, CallError> {
        self.client()
            .post(&format!("/api/v1/devices/{device}/{verb}"), &())
            .await
    }

    /// Takes a device back.
    pub async fn revoke(&self, device: &str) -> Result<Revoked, CallError> {
        let request = hearthkey_api::RevokeRequest {
            reason: "key-compromise".into(),
        };
        self.client()
            .post(&format!("/api/v1/devices/{device}/revoke"), &request)
            .await
    }

    /// Runs a mosquitto client as a device with a session that lasts; none where it is missing.
    pub async fn mosquitto(&self, program: &str, device: &str, args: &[&str]) -> Option<Output> {
        let output = Command::new(program)
            .args(["-h", &self.host, "-p", PORT, "-i", device, "-q", "1", "-c"])
            .args([
                "--cafile",
                "trust.pem",
                "--cert",
                "device.crt",
                "--key",
                "device.key",
            ])
            .args(args)
            .current_dir(self.device_dir(device))
            .output()
            .await;
        let Ok(output) = output else {
            println!("less: {program} is missing (Debian package mosquitto-clients)");
            return None;
        };
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program}: {error}");
        Some(output)
    }

    /// Exports the log and checks the export; gives its text.
    pub async fn verified_log(&self) -> String {
        let out = self.work.path().join("log.jsonl");
        let out_file = out.to_str().unwrap();
        let exported = self
            .cli(&["log", "export", "--out", out_file, "--replace", "--json"])
            .await;
        assert!(exported.status.success(), "{}", json(&exported));
        let key = json(&self.cli(&["log", "key", "--json"]).await)["vkey"].clone();
        let verified = self.verify(&out, key.as_str().unwrap()).await;
        assert!(verified.status.success(), "{}", json(&verified));
        std::fs::read_to_string(&out).unwrap()
    }

    /// Checks an export.
    pub async fn verify(&self, export: &Path, key: &str) -> Output {
        self.cli(&[
            "log",
            "verify",
            export.to_str().unwrap(),
            "--key",
            key,
            "--json",
        ])
        .await
    }
}
