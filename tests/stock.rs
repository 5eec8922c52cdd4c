//! The stock tools: openssl and mosquitto, run as a person would.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use hearthkey_api::ClaimOpened;
use tokio::process::Command;
use tokio::time::timeout;

use crate::rig::{PATIENCE, Rig};

/// A directory in which one device keeps its files.
pub struct Bench {
    pub dir: PathBuf,
    pub host: String,
    pub port: String,
}

/// What a command printed, both ways.
pub fn said(output: &Output) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&text).into_owned()
}

pub async fn run(dir: &Path, program: &str, args: &[&str]) -> Output {
    let mut command = Command::new(program);
    command
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    timeout(PATIENCE, command.output())
        .await
        .unwrap_or_else(|_| panic!("{program} {args:?} hangs"))
        .unwrap()
}

/// A home with one device, enrolled with the stock tools.
pub async fn home_with_a_lamp() -> (Rig, Bench) {
    let mut rig = Rig::new().await;
    rig.start().await;
    let bench = Bench::new(&rig, "bench").await;
    bench.enroll(&rig, "lamp").await;
    (rig, bench)
}

impl Bench {
    /// A bench with the home's root in `ca.pem`.
    pub async fn new(rig: &Rig, name: &str) -> Self {
        let dir = rig.work.path().join("bench").join(name);
        std::fs::create_dir_all(&dir).unwrap();
        let bundle = rig.cli(&["trust", "bundle"]).await;
        assert!(bundle.status.success(), "{}", said(&bundle));
        std::fs::write(dir.join("ca.pem"), bundle.stdout).unwrap();
        let mqtt = rig.status().await.listeners.mqtt.unwrap();
        let (host, port) = mqtt.rsplit_once(':').unwrap();
        Self {
            dir,
            host: host.into(),
            port: port.into(),
        }
    }

    pub async fn openssl(&self, line: &str) -> Output {
        let output = run(&self.dir, "openssl", &line.split(' ').collect::<Vec<_>>()).await;
        assert!(output.status.success(), "openssl {line}: {}", said(&output));
        output
    }

    /// Makes a P-256 key and a CSR, with more arguments for `openssl req`.
    pub async fn csr(&self, name: &str, more: &[&str]) -> String {
        self.csr_with_key(
            name,
            &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
            more,
        )
        .await
    }

    pub async fn csr_with_key(&self, name: &str, key: &[&str], more: &[&str]) -> String {
        let (keyout, out) = (format!("{name}.key"), format!("{name}.csr"));
        let subject = format!("/CN={name}");
        let mut args = vec!["req", "-new", "-nodes", "-keyout", &keyout, "-out", &out];
        if !more.contains(&"-subj") {
            args.extend(["-subj", &subject]);
        }
        args.extend(key);
        args.extend(more);
        let output = run(&self.dir, "openssl", &args).await;
        assert!(output.status.success(), "{}", said(&output));
        std::fs::read_to_string(self.dir.join(out)).unwrap()
    }

    /// A mosquitto command that speaks MQTT 5 to the gateway.
    pub async fn mosquitto(&self, program: &str, args: &[&str]) -> Output {
        let common = [
            "-V", "mqttv5", "-h", &self.host, "-p", &self.port, "--cafile", "ca.pem",
        ];
        run(&self.dir, program, &[&common[..], args].concat()).await
    }

    /// As `mosquitto`, with the certificate and client id of a device.
    pub async fn mosquitto_as(&self, device: &str, program: &str, args: &[&str]) -> Output {
        let (certificate, key) = (format!("{device}.crt"), format!("{device}.key"));
        let own = ["--cert", &certificate, "--key", &key, "-i", device];
        self.mosquitto(program, &[&own[..], args].concat()).await
    }

    /// Sends a payload with a claim and gives the answer, accepted or rejected.
    pub async fn ask(&self, claim: &ClaimOpened, payload: &str) -> String {
        let topic = format!("hearthkey/v1/claims/{}/enroll", claim.claim);
        let accepted = format!("{topic}/accepted");
        let args = [
            "-i",
            &claim.claim,
            "-u",
            &claim.claim,
            "-P",
            &claim.secret,
            "-W",
            "20",
            "-t",
            &topic,
            "-e",
            &accepted,
            "-m",
            payload,
        ];
        said(&self.mosquitto("mosquitto_rr", &args).await)
    }

    /// Enrolls with openssl and mosquitto; leaves `NAME.key` and `NAME.crt`.
    pub async fn enroll(&self, rig: &Rig, name: &str) {
        let claim = rig.claim(name).await.unwrap();
        let csr = self.csr(name, &[]).await;
        let answer = self.ask(&claim, &csr).await;
        assert!(
            answer.starts_with("-----BEGIN CERTIFICATE-----"),
            "{answer}"
        );
        std::fs::write(self.dir.join(format!("{name}.crt")), answer).unwrap();
    }

    /// Connects to the listener with openssl, and gives the TLS alert that came back, if one did.
    pub async fn knock(&self, args: &[&str]) -> Option<u8> {
        let said = self.s_client(args).await;
        let (_, number) = said.split_once("SSL alert number ")?;
        let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    }

    /// What openssl says about a connection in which it waits for an answer that never comes, or
    /// for the end.
    pub async fn s_client(&self, args: &[&str]) -> String {
        let to = format!("{}:{}", self.host, self.port);
        // A CONNECT that is cut short is closed by the gateway; TLS 1.3 tells alerts only on reading.
        let common = ["s_client", "-connect", &to, "-CAfile", "ca.pem"];
        let mut command = Command::new("openssl");
        command
            .args(common)
            .args(args)
            .current_dir(&self.dir)
            .kill_on_drop(true);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // Not MQTT: the listener closes at once, and openssl ends.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stdin, b"\n\n\n\n").await;
        let output = timeout(PATIENCE, child.wait_with_output())
            .await
            .unwrap()
            .unwrap();
        drop(stdin);
        said(&output)
    }
}
