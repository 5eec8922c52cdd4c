//! The audit log: what anybody can check with nothing but its public key, and what an opened home
//! says of a log that is not what it was.

use std::fs;
use std::path::PathBuf;

use hearthkey_agent::Device;
use serde_json::Value;

use crate::rfc6962::{Proof, VerifierKey, leaf_hash, open_note, tree_hash};
use crate::rig::{Rig, json};

const DATABASE: &str = "hearthkey.db";

/// A home with a log of some length, its export and its key.
struct Exported {
    rig: Rig,
    file: PathBuf,
    checkpoint: PathBuf,
    key: String,
}

async fn exported() -> Exported {
    let mut rig = Rig::new().await;
    rig.start().await;
    for device in ["lamp", "hall", "door"] {
        rig.enroll(device).await;
    }
    rig.revoke("hall").await.unwrap();
    rig.verified_log().await;
    let file = rig.work.path().join("log.jsonl");
    let checkpoint = rig.work.path().join("log.jsonl.checkpoint");
    let key = json(&rig.cli(&["log", "key", "--json"]).await)["vkey"]
        .as_str()
        .unwrap()
        .to_owned();
    Exported {
        rig,
        file,
        checkpoint,
        key,
    }
}

impl Exported {
    async fn refusal_of(&self, records: &[u8]) -> String {
        let file = self.rig.work.path().join("altered.jsonl");
        fs::write(&file, records).unwrap();
        fs::copy(
            &self.checkpoint,
            self.rig.work.path().join("altered.jsonl.checkpoint"),
        )
        .unwrap();
        let output = self.rig.verify(&file, &self.key).await;
        assert_eq!(output.status.code(), Some(1), "it verified");
        json(&output)["error"]["detail"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_truncated_reordered_or_thinned_export_does_not_verify() {
    let exported = exported().await;
    let whole = fs::read(&exported.file).unwrap();
    let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    assert!(lines.len() >= 8, "{} records", lines.len());
    let mut flipped = whole.clone();
    let at = String::from_utf8_lossy(&whole).find("device:hall").unwrap();
    flipped[at + 7] ^= 1;
    let altered = exported.refusal_of(&flipped).await;
    assert!(altered.contains("at least one was altered"), "{altered}");
    let tail = exported
        .refusal_of(&lines[..lines.len() - 1].concat())
        .await;
    assert!(tail.contains("records were removed or added"), "{tail}");
    let cut = exported.refusal_of(&whole[..whole.len() - 20]).await;
    assert!(cut.contains("altered"), "{cut}");
    let mut swapped = lines.clone();
    swapped.swap(2, 3);
    let order = exported.refusal_of(&swapped.concat()).await;
    assert!(order.contains("Line 3 does not hold record 2"), "{order}");
    let mut thinned = lines.clone();
    thinned.remove(4);
    let removed = exported.refusal_of(&thinned.concat()).await;
    assert!(
        removed.contains("Line 5 does not hold record 4"),
        "{removed}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_checkpoint_or_another_homes_key_does_not_verify() {
    let exported = exported().await;
    let foreign = "hearthkey.home.arpa/attic+00000000+AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAh";
    // Neither is a key: that is an error of usage.
    for key in [foreign, "nonsense"] {
        let refused = exported.rig.verify(&exported.file, key).await;
        assert_eq!(refused.status.code(), Some(2), "{key}");
    }
    let note = fs::read_to_string(&exported.checkpoint).unwrap();
    let size = note.lines().nth(1).unwrap();
    let grown = note.replacen(&format!("\n{size}\n"), &format!("\n{size}0\n"), 1);
    fs::write(&exported.checkpoint, grown).unwrap();
    let refused = exported.rig.verify(&exported.file, &exported.key).await;
    let detail = json(&refused)["error"]["detail"].clone();
    assert!(
        detail.as_str().unwrap().contains("not signed by this key"),
        "{detail}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoint_root_and_every_proof_agree_with_a_verifier_written_from_the_rfc() {
    let exported = exported().await;
    let key = VerifierKey::parse(&exported.key);
    let text = fs::read_to_string(&exported.file).unwrap();
    let records: Vec<&[u8]> = text.lines().map(str::as_bytes).collect();
    let leaves: Vec<_> = records.iter().map(|record| leaf_hash(record)).collect();
    let note = fs::read_to_string(&exported.checkpoint).unwrap();
    let checkpoint = open_note(&note, &key).expect("the note is signed");
    let home = exported.rig.status().await.home;
    assert_eq!(checkpoint.origin, format!("hearthkey.home.arpa/{home}"));
    assert_eq!(checkpoint.size, leaves.len() as u64);
    assert_eq!(checkpoint.root, tree_hash(&leaves));
    for (seq, record) in records.iter().enumerate() {
        let output = exported.rig.cli(&["log", "prove", &seq.to_string()]).await;
        let proof = Proof::parse(std::str::from_utf8(&output.stdout).unwrap());
        assert_eq!(proof.index, seq as u64);
        assert!(proof.proves(record, &key), "record {seq}");
        let other = records[(seq + 1) % records.len()];
        assert!(!proof.proves(other, &key), "another record at {seq}");
    }
    let beyond = exported
        .rig
        .cli(&["log", "prove", "100000", "--json"])
        .await;
    assert_eq!(json(&beyond)["error"]["code"], "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_acts_and_a_devices_enrollment_are_in_the_log_with_their_provenance() {
    let exported = exported().await;
    let text = fs::read_to_string(&exported.file).unwrap();
    let records: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let find = |action: &str, about: &str| {
        let found = records
            .iter()
            .find(|record| record["action"] == action && record.to_string().contains(about));
        found
            .unwrap_or_else(|| panic!("{action} {about}\n{text}"))
            .clone()
    };
    let enrolled = find("device.enroll", "\"lamp\"");
    for detail in [
        "serial",
        "certificate_sha256",
        "key_sha256",
        "profile",
        "environment",
    ] {
        assert!(
            enrolled["details"][detail].is_string(),
            "{detail}: {enrolled}"
        );
    }
    assert!(
        enrolled["actor"]["address"]
            .as_str()
            .unwrap()
            .starts_with("127.")
    );
    let revoked = find("device.revoke", "hall");
    assert_eq!(revoked["reason"], "key-compromise");
    assert_eq!(revoked["actor"]["role"], "operator");
    for (seq, record) in records.iter().enumerate() {
        assert_eq!(record["seq"], seq as u64);
    }
}

/// Copies the database as it lies on the disk of a gateway that is not running.
fn copy_database(rig: &Rig) -> Vec<(String, Vec<u8>)> {
    let names = ["", "-wal", "-shm"].map(|end| format!("{DATABASE}{end}"));
    let read = |name: String| Some((name.clone(), fs::read(rig.data_dir.join(name)).ok()?));
    names.into_iter().filter_map(read).collect()
}

fn put_database(rig: &Rig, files: &[(String, Vec<u8>)]) {
    for end in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(rig.data_dir.join(format!("{DATABASE}{end}")));
    }
    for (name, bytes) in files {
        fs::write(rig.data_dir.join(name), bytes).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolled_back_database_is_read_only_until_a_person_accepts_it_and_nothing_is_un_revoked() {
    let mut rig = Rig::new().await;
    rig.start().await;
    let mut lamp = rig.enroll("lamp").await;
    let promised = rig.claim("cellar").await.unwrap();
    rig.stop().await;
    let old = copy_database(&rig);
    rig.start().await;
    rig.revoke("lamp").await.unwrap();
    rig.revoke("cellar").await.unwrap();
    rig.enroll("hall").await;
    rig.revoke("hall").await.unwrap();
    rig.stop().await;
    put_database(&rig, &old);
    rig.start().await;
    let status = rig.status().await;
    let incident = status.incident.expect("the incident is shown");
    assert!(incident.contains("rolled back"), "{incident}");
    assert!(lamp.connect().await.is_err(), "the lamp is in again");
    let refused = json(&rig.cli(&["environment", "add", "cellar", "--json"]).await);
    assert_eq!(refused["error"]["code"], "read_only");
    let accepted = rig
        .cli(&["log", "accept", "--reason", "a restored backup", "--json"])
        .await;
    assert!(accepted.status.success(), "{}", json(&accepted));
    assert_eq!(rig.status().await.incident, None);
    let log = rig.verified_log().await;
    let accept = log
        .lines()
        .find(|record| record.contains("log.accept"))
        .unwrap();
    assert!(
        accept.contains("a restored backup") && accept.contains("rolled back"),
        "{accept}"
    );
    assert_eq!(rig.device("lamp").await.state, "revoked");
    assert!(lamp.connect().await.is_err());
    assert!(
        rig.enroll_with(&promised).await.is_err(),
        "the claim is back"
    );
    assert_eq!(rig.device("cellar").await.state, "revoked");
    rig.enroll("door").await;
    // A new claim is a new beginning, which the old revocation does not end: neither of a device
    // that the older database knew nor of one that it did not.
    let mut cellar = rig.enroll("cellar").await;
    let claim = rig.claim("hall").await.unwrap();
    let again = rig.work.path().join("hall-again");
    let mut hall = rig.enroll_in(&claim, &again).await.unwrap();
    rig.restart().await;
    assert_eq!(rig.status().await.incident, None);
    assert!(lamp.connect().await.is_err());
    cellar.connect().await.unwrap();
    hall.connect().await.unwrap();
    assert!(
        Device::open(&rig.device_dir("hall"))
            .unwrap()
            .connect()
            .await
            .is_err()
    );
    rig.verified_log().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_database_does_not_open_and_says_so() {
    let mut rig = Rig::new().await;
    rig.start().await;
    rig.enroll("lamp").await;
    rig.stop().await;
    let path = rig.data_dir.join(DATABASE);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert_eq!(rig.fails_to_start().await, Some(1));
    assert!(
        rig.failure().contains("pages of the database are damaged"),
        "{}",
        rig.failure()
    );
    bytes[middle] ^= 1;
    fs::write(&path, &bytes).unwrap();
    rig.start().await;
    rig.verified_log().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_gateway_answers_status_and_unseal_and_a_wrong_passphrase_opens_nothing() {
    const WORDS: &str = "correct horse battery";
    let mut rig = Rig::with_passphrase(WORDS).await;
    let recovery = rig.made["recovery_code"].as_str().unwrap().to_owned();
    assert_eq!(rig.launch().await["sealed"], true);
    let status = rig.status().await;
    assert!(status.sealed && status.listeners.mqtt.is_none());
    for args in [
        &["device", "list", "--json"][..],
        &["log", "key", "--json"],
        &["trust", "bundle", "--json"],
        &["clock", "confirm", "--json"],
        &["seal", "--json"],
    ] {
        assert_eq!(
            json(&rig.cli(args).await)["error"]["code"],
            "gateway_sealed",
            "{args:?}"
        );
    }
    let unseal = async |rig: &Rig, words: &str| {
        rig.cli_with(&["unseal", "--json"], &[("HEARTHKEY_PASSPHRASE", words)])
            .await
    };
    let wrong = unseal(&rig, "correct horse battery!").await;
    assert_eq!(json(&wrong)["error"]["code"], "refused");
    assert!(rig.status().await.sealed);
    for words in [WORDS, &recovery, &recovery.to_uppercase().replace('-', " ")] {
        let opened = unseal(&rig, words).await;
        assert!(opened.status.success(), "{}", json(&opened));
        assert_eq!(rig.said().await["ready"], true);
        rig.verified_log().await;
        let mut device = rig
            .enroll(&format!("lamp-{}", rig.status().await.log_size))
            .await;
        let session = device.connect().await.unwrap();
        assert!(rig.cli(&["seal"]).await.status.success());
        assert_eq!(rig.said().await["sealed"], true);
        session.closed().await;
        assert!(
            device.connect().await.is_err(),
            "a sealed home has an open door"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_anchor_is_said() {
    let mut rig = Rig::new().await;
    rig.start().await;
    let warns = async |rig: &Rig| {
        let warnings = rig.status().await.warnings;
        warnings.iter().any(|warning| warning.contains("anchor"))
    };
    assert!(!warns(&rig).await);
    rig.stop().await;
    fs::remove_file(rig.data_dir.join("checkpoint.anchor")).unwrap();
    rig.start().await;
    assert!(warns(&rig).await);
}
