//! Where secrets must not be: in what the program says, in what `ps` shows, in what lies on the disk.
//!
//! Every secret that a story uses is a canary, looked for byte by byte in every form it could take.

use std::fs;
use std::path::Path;
use std::process::Output;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hearthkey_api::ClaimOpened;

use crate::rig::{Rig, json};

const PASSPHRASE: &str = "canary-passphrase-6fd1";
const WRONG_PASSPHRASE: &str = "canary-wrong-passphrase-90ab";
const RETAINED: &str = "canary-retained-payload-5be2";
const QUEUED: &str = "canary-queued-payload-1c77";
const VALUES: [&str; 2] = [
    "canary-first-value-c0ffee11",
    "canary-second-value-beef2277",
];
/// Devices with names that stand nowhere else.
const DEVICES: [&str; 3] = ["canarylamp", "canaryhall", "canarydoor"];

#[derive(Clone)]
struct Canary {
    name: String,
    bytes: Vec<u8>,
}

#[derive(Default, Clone)]
struct Canaries(Vec<Canary>);

impl Canaries {
    fn add(&mut self, name: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        let bytes = bytes.into();
        assert!(bytes.len() >= 10, "too short to be looked for");
        self.0.push(Canary {
            name: name.into(),
            bytes,
        });
    }

    fn add_claim(&mut self, claim: &ClaimOpened) {
        let name = format!("the claim secret of {}", claim.device);
        self.add(&name, claim.secret.as_bytes());
        self.add(&name, claim.secret.to_uppercase());
        self.add(format!("{name}, raw"), unhex(&claim.secret));
        self.add(
            format!("{name}, base64"),
            STANDARD.encode(unhex(&claim.secret)),
        );
    }

    /// A key file of a device: its PEM lines, and what they encode.
    fn add_key(&mut self, file: &Path) {
        let pem = fs::read_to_string(file).unwrap();
        let lines: Vec<&str> = pem
            .lines()
            .filter(|line| !line.starts_with("-----"))
            .collect();
        for line in lines.iter().filter(|line| line.len() >= 40) {
            // The first line of every PKCS#8 key of this kind begins alike.
            self.add("a device key, PEM", &line.as_bytes()[line.len() - 24..]);
        }
        let der = STANDARD.decode(lines.concat()).unwrap();
        // The private scalar follows the fixed head: SEC 1 in PKCS#8.
        self.add("a device key, DER", &der[36..68]);
    }

    fn add_recovery_code(&mut self, code: &str) {
        let digits = code.replace('-', "");
        self.add("the recovery code", code);
        self.add("the recovery code, upper case", code.to_uppercase());
        self.add("the recovery code, raw", unhex(&digits));
        self.add("the recovery code, bare", digits);
    }

    fn assert_none_in(&self, place: &str, haystack: &[u8]) {
        for canary in &self.0 {
            assert!(
                !holds(haystack, &canary.bytes),
                "{} is in {place}",
                canary.name
            );
        }
    }

    fn assert_none_said(&self, what: &str, output: &Output) {
        self.assert_none_in(&format!("the output of {what}"), &output.stdout);
        self.assert_none_in(&format!("the errors of {what}"), &output.stderr);
    }

    /// Looks at every process on the machine, as `ps` would.
    fn assert_none_in_ps(&self) {
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            self.assert_none_in(&format!("{}/cmdline", entry.path().display()), &line);
        }
    }

    fn assert_none_on_disk(&self, directory: &Path, except: &[&str]) {
        let mut looked_at = 0;
        for entry in fs::read_dir(directory).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if entry.file_type().unwrap().is_file() && !except.contains(&name.as_str()) {
                self.assert_none_in(&name, &fs::read(entry.path()).unwrap());
                looked_at += 1;
            }
        }
        assert!(looked_at >= 3, "{looked_at} files");
    }
}

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    let first = needle[0];
    let mut rest = haystack;
    while let Some(at) = rest.iter().position(|byte| *byte == first) {
        if rest[at..].starts_with(needle) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .map(|digit| (digit as char).to_digit(16).unwrap() as u8)
        .collect();
    digits
        .chunks_exact(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

/// Everything a home does with secrets. Gives what was used.
async fn use_secrets(rig: &Rig, canaries: &mut Canaries) {
    for device in DEVICES {
        let asked = rig
            .cli(
                &[
                    "-vvv",
                    "device",
                    "claim",
                    device,
                    "--profile",
                    "generic",
                    "--environment",
                    "home",
                ]
                .into_iter()
                .chain([
                    "--owner",
                    "anna",
                    "--purpose",
                    "test",
                    "--lifetime",
                    "15m",
                    "--json",
                ])
                .collect::<Vec<_>>(),
            )
            .await;
        let claim: ClaimOpened = serde_json::from_value(json(&asked)).unwrap();
        canaries.add_claim(&claim);
        assert!(
            holds(&asked.stdout, claim.secret.as_bytes()),
            "a canary is not found where it is"
        );
        canaries.assert_none_in("the errors of device claim", &asked.stderr);
        rig.enroll_with(&claim).await.unwrap();
        canaries.add_key(&rig.device_dir(device).join("device.key"));
        // Used up: the same secret again, with another key, is refused.
        let again = rig
            .enroll_in(&claim, &rig.work.path().join("again").join(device))
            .await;
        let refused = format!("{:?}", again.err().unwrap());
        canaries.assert_none_in("the error of a device", refused.as_bytes());
    }
    rig.revoke(DEVICES[1]).await.unwrap();
    use_the_vault(rig, canaries).await;
    let [lamp, ..] = DEVICES;
    let topic = format!("devices/{lamp}/state");
    let subscribe = ["-t", topic.as_str(), "-E"];
    if rig
        .mosquitto("mosquitto_sub", lamp, &subscribe)
        .await
        .is_some()
    {
        for (payload, more) in [(RETAINED, &["-r"][..]), (QUEUED, &[])] {
            let publish = [&["-t", &topic, "-m", payload][..], more].concat();
            rig.mosquitto("mosquitto_pub", lamp, &publish).await;
        }
        canaries.add("a retained payload", RETAINED);
        canaries.add("a queued payload", QUEUED);
    }
}

/// Values are added, given out in every way, replaced and refused.
async fn use_the_vault(rig: &Rig, canaries: &mut Canaries) {
    for value in VALUES {
        canaries.add("a value of the vault", value);
        canaries.add("a value of the vault, base64", STANDARD.encode(value));
    }
    let [first, second] = VALUES;
    let added = crate::vault::add(rig, "hue/canary", "home", first.as_bytes(), &[]).await;
    canaries.assert_none_said("credential add", &added);
    let twice = crate::vault::add(rig, "hue/canary", "home", second.as_bytes(), &[]).await;
    canaries.assert_none_said("a refused credential add", &twice);
    let shown = rig.cli(&["credential", "reveal", "hue/canary"]).await;
    assert_eq!(shown.stdout, first.as_bytes());
    canaries.assert_none_in("the errors of credential reveal", &shown.stderr);
    crate::vault::told(rig, &["credential", "lease", "hue/canary"]).await;
    let run = [
        "-vvv",
        "credential",
        "run",
        "--env",
        "home",
        "hue/canary",
        "--",
        "true",
    ];
    canaries.assert_none_said("credential run", &rig.cli(&run).await);
    crate::rotation::rotate(rig, "hue/canary", second.as_bytes(), &["--overlap", "0s"]).await;
    crate::rotation::at_step(rig, "hue/canary", "done").await;
    for args in [
        &["credential", "show", "hue/canary"][..],
        &["credential", "list"],
        &["credential", "leases"],
        &["check"],
    ] {
        canaries.assert_none_said(
            &args.join(" "),
            &rig.cli(&[&["-vvv", "--json"], args].concat()).await,
        );
    }
}

/// Nothing says a canary, and nothing on the disk holds one.
async fn assert_kept(rig: &Rig, canaries: &Canaries, except: &[&str]) {
    canaries.assert_none_in("the gateway's log", rig.stderr().as_bytes());
    for args in [
        &["status", "--json"][..],
        &["device", "list", "--json"],
        &["device", "show", DEVICES[0]],
        &["log", "tail", "-n", "500", "--json"],
        &["device", "show", "nobody", "--json"],
    ] {
        canaries.assert_none_said(&args.join(" "), &rig.cli(&[&["-vvv"], args].concat()).await);
    }
    canaries.assert_none_in("the export", rig.verified_log().await.as_bytes());
    canaries.assert_none_in_ps();
    canaries.assert_none_on_disk(&rig.data_dir, except);
}

/// The database is no SQLite file to anybody without the key, and names nobody.
fn assert_opaque(rig: &Rig) {
    for name in ["hearthkey.db", "hearthkey.db-wal"] {
        let Ok(bytes) = fs::read(rig.data_dir.join(name)) else {
            continue;
        };
        for plain in [
            &b"SQLite format 3"[..],
            b"CREATE TABLE",
            b"generic",
            b"key-compromise",
        ] {
            assert!(
                !holds(&bytes, plain),
                "{name} holds {}",
                plain.escape_ascii()
            );
        }
        for device in DEVICES {
            assert!(!holds(&bytes, device.as_bytes()), "{name} names {device}");
        }
        // Encrypted pages look random: a page in clear has long runs of zeros. A write-ahead log that
        // has just been written back is empty.
        let pages = bytes.get(32..).unwrap_or_default();
        assert!(!holds(pages, &[0; 64]), "{name} has a page in clear");
    }
}

async fn secrets_stay_secret(mut rig: Rig, mut canaries: Canaries, except: &[&str]) {
    canaries.add_recovery_code(rig.made["recovery_code"].as_str().unwrap());
    rig.args = vec!["-vvv"];
    rig.start().await;
    use_secrets(&rig, &mut canaries).await;
    assert_kept(&rig, &canaries, except).await;
    assert_opaque(&rig);
    // What was kept for devices comes back, and still nobody says it.
    rig.kill9().await;
    rig.args.clear();
    rig.env.push(("RUST_LOG".into(), "trace".into()));
    rig.start().await;
    let topic = format!("devices/{}/state", DEVICES[0]);
    let receive = ["-t", topic.as_str(), "-C", "1", "-W", "10"];
    if let Some(received) = rig.mosquitto("mosquitto_sub", DEVICES[0], &receive).await {
        let text = String::from_utf8_lossy(&received.stdout).into_owned();
        assert!(text.contains(RETAINED) || text.contains(QUEUED), "{text:?}");
    }
    rig.enroll_with(&rig.claim("canaryattic").await.unwrap())
        .await
        .unwrap();
    assert_kept(&rig, &canaries, except).await;
    rig.stop().await;
    assert_opaque(&rig);
    canaries.assert_none_on_disk(&rig.data_dir, except);
    let said = rig.stderr();
    assert!(
        said.contains("TRACE") || said.contains("DEBUG"),
        "the log says little: {said}"
    );
    canaries.assert_none_in("the gateway's log", said.as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_a_home_with_a_passphrase_is_said_shown_or_stored_in_clear() {
    let mut rig = Rig::with_passphrase(PASSPHRASE).await;
    rig.env
        .push(("HEARTHKEY_PASSPHRASE".into(), PASSPHRASE.into()));
    let mut canaries = Canaries::default();
    canaries.add("the passphrase", PASSPHRASE);
    secrets_stay_secret(rig, canaries, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_a_home_with_a_key_file_is_anywhere_but_in_that_file() {
    let rig = Rig::new().await;
    let key = fs::read(rig.data_dir.join("unseal.key")).unwrap();
    let mut canaries = Canaries::default();
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    canaries.add("the key file, hexadecimal", hex);
    canaries.add("the key file, base64", STANDARD.encode(&key));
    canaries.add("the key file", key);
    secrets_stay_secret(rig, canaries, &["unseal.key"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_passphrase_is_repeated_nowhere() {
    let mut rig = Rig::with_passphrase(PASSPHRASE).await;
    rig.args = vec!["-vvv"];
    rig.launch().await;
    let mut canaries = Canaries::default();
    canaries.add("the passphrase", PASSPHRASE);
    canaries.add("the wrong passphrase", WRONG_PASSPHRASE);
    for words in [WRONG_PASSPHRASE, PASSPHRASE] {
        for args in [&["unseal", "-vvv"][..], &["unseal", "--json"], &["seal"]] {
            let said = rig.cli_with(args, &[("HEARTHKEY_PASSPHRASE", words)]).await;
            canaries.assert_none_said(&args.join(" "), &said);
        }
    }
    rig.env
        .push(("HEARTHKEY_PASSPHRASE".into(), WRONG_PASSPHRASE.into()));
    rig.stop().await;
    assert_eq!(rig.fails_to_start().await, Some(1));
    canaries.assert_none_in("the refusal to start", rig.failure().as_bytes());
    canaries.assert_none_in("the gateway's log", rig.stderr().as_bytes());
    canaries.assert_none_in_ps();
    canaries.assert_none_on_disk(&rig.data_dir, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_holds_secrets_is_readable_by_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let mut rig = Rig::new().await;
    rig.start().await;
    rig.enroll("lamp").await;
    rig.revoke("lamp").await.unwrap();
    for name in [
        "unseal.key",
        "slots.json",
        "revocations.journal",
        "hearthkey.db",
        "hearthkey.db-wal",
    ] {
        let mode = fs::metadata(rig.data_dir.join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{name} has mode {mode:o}");
    }
}
