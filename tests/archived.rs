//! A log whose older records are archived: they verify elsewhere with other tools, what remains verifies alone, and whatever
//! asks for what is gone is told so.

use std::path::Path;

use hearthkey_api::{DeviceProvenance, Events, LogSearch};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::people::{Browser, Kept, code, setup_link};
use crate::rfc6962::{Proof, VerifierKey};
use crate::rig::{Rig, json as answer, until};
use crate::service::{Front, home};
use crate::vault::with_input;

/// After any moment that a test runs at.
const LATER: &str = "2999-01-01";

/// A home with three devices and an owner, whose log was archived so far.
struct Archived {
    rig: Rig,
    _front: Front,
    kept: Kept,
    key: String,
    file: String,
    /// The number after the last archived record.
    before: u64,
}

impl Archived {
    async fn new() -> Self {
        let (rig, front) = home().await;
        for device in ["lamp", "hall", "plug"] {
            rig.enroll(device).await;
        }
        for verb in ["suspend", "resume"] {
            rig.act("lamp", verb).await.unwrap();
        }
        let mut anna = Browser::new(&front);
        let kept = anna.join(&setup_link(&rig).await, "anna").await;
        let key = answer(&rig.cli(&["log", "key", "--json"]).await)["vkey"].clone();
        let key = key.as_str().unwrap().trim().to_owned();
        let file = path(&rig, "first.archive");
        let archived = archive(&rig, &file).await;
        let before = archived["before"].as_u64().unwrap();
        assert!(before > 6, "{archived}");
        Self {
            rig,
            _front: front,
            kept,
            key,
            file,
            before,
        }
    }

    /// Drops what is archived, with anna's code of some steps ahead.
    async fn shorten(&self, file: &str, ahead: u64) -> (bool, Value) {
        let args = [
            "log",
            "shorten",
            "--archive",
            file,
            "--person",
            "anna",
            "--json",
        ];
        let code = format!("{}\n", code(&self.kept.totp, ahead));
        let output = with_input(&self.rig, &args, code.as_bytes()).await;
        (output.status.success(), answer(&output))
    }

    async fn shortened(&self) {
        let (done, extent) = self.shorten(&self.file, 1).await;
        assert!(done, "{extent}");
        assert_eq!(extent["first"], self.before);
        self.dropped().await;
    }

    /// Until nothing of what is archived is in the database.
    async fn dropped(&self) {
        until("archived records are dropped", async || {
            let extent = answer(&self.rig.cli(&["log", "size", "--json"]).await);
            (extent["shortening"] == false).then_some(())
        })
        .await;
    }

    async fn refusal(&self, args: &[&str]) -> Value {
        let output = self.rig.cli(&[args, &["--json"]].concat()).await;
        assert!(!output.status.success(), "{args:?}");
        answer(&output)["error"].clone()
    }
}

fn path(rig: &Rig, name: &str) -> String {
    rig.work.path().join(name).to_str().unwrap().to_owned()
}

async fn archive(rig: &Rig, file: &str) -> Value {
    let output = rig
        .cli(&["log", "archive", "--out", file, "--before", LATER, "--json"])
        .await;
    let archived = answer(&output);
    assert!(output.status.success(), "{archived}");
    archived
}

/// What a verifier says that shares nothing with the product.
async fn verified_elsewhere(file: &str, key: &str) -> Option<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/verify-archive.py");
    let mut command = Command::new("python3");
    let output = command.arg(script).args([file, key]).output();
    let output = output.await.expect("python3 runs");
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(said)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_verifies_with_hashlib_and_openssl_and_agrees_with_what_was_proved_before() {
    let (rig, _front) = home().await;
    rig.enroll("lamp").await;
    rig.verified_log().await;
    let (old_note, proof) = (path(&rig, "log.jsonl.checkpoint"), path(&rig, "two.proof"));
    let proved = rig.cli(&["log", "prove", "2", "--out", &proof]).await;
    assert!(proved.status.success());
    rig.enroll("hall").await;
    let key = answer(&rig.cli(&["log", "key", "--json"]).await)["vkey"].clone();
    let key = key.as_str().unwrap().trim().to_owned();
    let file = path(&rig, "first.archive");
    let archived = archive(&rig, &file).await;
    let last = archived["before"].as_u64().unwrap() - 1;
    let said = verified_elsewhere(&file, &key).await.unwrap();
    let root = archived["root"].as_str().unwrap();
    assert_eq!(said, format!("records 0 to {last}, root {root}"));
    let older = ["--checkpoint", &old_note, "--proof", &proof];
    let args = [&["log", "verify-archive", &file, "--key", &key][..], &older].concat();
    let verified = rig.cli(&args).await;
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(
        verified.status.success() && said.contains("agrees with 2 older"),
        "{said}"
    );
    // One byte of one record.
    let altered = std::fs::read_to_string(&file)
        .unwrap()
        .replacen("lamp", "lamq", 1);
    let other = path(&rig, "altered.archive");
    std::fs::write(&other, altered).unwrap();
    assert_eq!(verified_elsewhere(&other, &key).await, None);
    let refused = rig
        .cli(&["log", "verify-archive", &other, "--key", &key, "--json"])
        .await;
    let refused = answer(&refused)["error"]["detail"].clone();
    assert!(
        refused
            .as_str()
            .unwrap()
            .contains("at least one was altered"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_archived_is_dropped_and_what_remains_verifies_alone() {
    let mut home = Archived::new().await;
    home.shortened().await;
    let Archived { rig, key, .. } = &home;
    let text = rig.verified_log().await;
    assert!(text.starts_with("{\"archive\":1,"), "{text}");
    let export = path(rig, "log.jsonl");
    let said = verified_elsewhere(&export, key).await.unwrap();
    assert!(
        said.starts_with(&format!("records {} to", home.before)),
        "{said}"
    );
    let records: Vec<&str> = text.lines().skip(1).collect();
    let verifier = VerifierKey::parse(key);
    for (seq, record) in (home.before..).zip(&records) {
        let output = rig.cli(&["log", "prove", &seq.to_string()]).await;
        let proof = Proof::parse(std::str::from_utf8(&output.stdout).unwrap());
        assert!(proof.proves(record.as_bytes(), &verifier), "record {seq}");
    }
    let shortened = records.iter().find(|record| record.contains("log.shorten"));
    let shortened: Value = serde_json::from_str(shortened.unwrap()).unwrap();
    assert_eq!(shortened["details"]["before"], home.before);
    assert_eq!(shortened["details"]["second_factor"], "anna");
    // The next archive continues the first.
    let second = path(rig, "second.archive");
    archive(rig, &second).await;
    let args = ["log", "verify-archive", &home.file, &second, "--key", key];
    let chain = rig.cli(&args).await;
    let said = String::from_utf8_lossy(&chain.stdout).into_owned();
    assert!(
        said.contains("Each archive continues the one before."),
        "{said}"
    );
    let gap = ["log", "verify-archive", &second, &home.file, "--key", key];
    assert!(!rig.cli(&gap).await.status.success());
    // And it opens again, and verifies itself.
    home.rig.kill9().await;
    home.rig.start().await;
    let status = until("the log is verified", async || {
        let status = home.rig.status().await;
        status.log_verified_at.is_some().then_some(status)
    })
    .await;
    assert_eq!((status.incident, status.log_first), (None, home.before));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_asks_for_archived_records_is_told_that_they_are_not_here() {
    let home = Archived::new().await;
    let (rig, client) = (&home.rig, home.rig.client());
    let then: Events = client.get("/api/v1/events").await.unwrap();
    let version = newest_decision(rig, "device:lamp").await;
    home.shortened().await;
    assert!(
        version < home.before,
        "what was decided of the lamp is archived"
    );
    for args in [&["log", "prove", "2"][..], &["log", "prove", "0"]] {
        let refused = home.refusal(args).await;
        assert_eq!(refused["code"], "archived", "{refused}");
    }
    let records = client.get::<Value>("/api/v1/log/records?from=3").await;
    assert!(
        records
            .unwrap_err()
            .to_string()
            .contains("Record 3 is archived and no longer here.")
    );
    let here: Value = client.get("/api/v1/log/records").await.unwrap();
    assert_eq!(here["first"], home.before);
    let tail = rig.cli(&["log", "tail", "-n", "10000"]).await;
    assert!(tail.status.success());
    let told = format!("Records before {} are archived, not here.", home.before);
    assert!(String::from_utf8_lossy(&tail.stderr).contains(&told));
    let search: LogSearch = client
        .get("/api/v1/log/search?object=device:lamp")
        .await
        .unwrap();
    assert_eq!((search.records.len(), search.first), (0, home.before));
    let lamp: DeviceProvenance = client.get("/api/v1/devices/lamp/provenance").await.unwrap();
    assert!(lamp.archived > 0 && lamp.enrolled.is_none(), "{lamp:?}");
    // A cursor of what is archived has missed something; one of now has not.
    let stale = format!(
        "/api/v1/events?wait_s=0&after={}",
        then.next.replacen(|_: char| true, "0", 1)
    );
    let stale: Events = client.get(&stale).await.unwrap();
    assert!(stale.missed && stale.records.is_empty());
    // The version of the lamp is what it was: who saw it before may still change it, once.
    for (seq, status) in [(version - 1, 412), (version, 200), (version, 412)] {
        let header = format!("if-match: \"{seq}\"");
        let path = "/api/v1/devices/lamp/suspend";
        assert_eq!(local(rig, path, &header).await, status, "{seq}");
    }
}

/// The newest record of what was decided about a thing, as its `ETag` has it.
async fn newest_decision(rig: &Rig, object: &str) -> u64 {
    let path = format!("/api/v1/log/search?object={object}");
    let found: LogSearch = rig.client().get(&path).await.unwrap();
    let decided = found
        .records
        .iter()
        .find(|one| !one.record.contains(".refuse\""));
    decided.unwrap().seq
}

/// A request on the local socket with a header, by curl: its status.
async fn local(rig: &Rig, path: &str, header: &str) -> u16 {
    let socket = rig.data_dir.join("hearthkey.sock");
    let output = Command::new("curl")
        .args([
            "--silent",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
        ])
        .args([
            "--request",
            "POST",
            "--header",
            header,
            "--header",
            "content-type: application/json",
        ])
        .args(["--data", "{}", "--unix-socket", socket.to_str().unwrap()])
        .arg(format!("http://localhost{path}"))
        .output()
        .await
        .unwrap();
    String::from_utf8_lossy(&output.stdout).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_in_a_verified_archive_is_dropped_and_only_by_an_owner_with_a_code() {
    let home = Archived::new().await;
    let without = ["log", "shorten", "--archive", &home.file];
    assert_eq!(home.refusal(&without).await["code"], "second_factor_needed");
    // A file that has been cut short is refused before the gateway is asked.
    let cut = path(&home.rig, "cut.archive");
    let whole = std::fs::read(&home.file).unwrap();
    std::fs::write(&cut, &whole[..whole.len() - 300]).unwrap();
    let (done, refused) = home.shorten(&cut, 1).await;
    assert!(!done, "{refused}");
    assert_eq!(refused["error"]["code"], "verify_failed", "{refused}");
    // A good one of which the gateway does not know: its head says more than was noted.
    let head =
        std::str::from_utf8(&whole)
            .unwrap()
            .replacen("{\"archive\":1,", "{\"archive\":1, ", 1);
    std::fs::write(&cut, head).unwrap();
    let (done, refused) = home.shorten(&cut, 1).await;
    assert!(
        !done && refused.to_string().contains("not known here"),
        "{refused}"
    );
    let forged = json!({"first": 0, "before": home.before, "root": "A".repeat(43) + "=",
                        "sha256": "0".repeat(64), "bytes": 1});
    let noted = home
        .rig
        .client()
        .post::<Value>("/api/v1/log/archives", &forged)
        .await;
    assert!(
        noted
            .unwrap_err()
            .to_string()
            .contains("its root hash is another")
    );
    assert_eq!(home.rig.status().await.log_first, 0);
    home.shortened().await;
    let (done, again) = home.shorten(&home.file, 2).await;
    assert!(!done, "{again}");
}
