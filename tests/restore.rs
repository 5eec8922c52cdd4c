//! A home that burnt down: it is made again of a backup and the recovery code, or refused in one sentence that leaves nothing
//! behind.

use std::fs;
use std::path::Path;
use std::process::Output;

use hearthkey_agent::{ClosedReason, Device, DeviceConnectError};
use serde_json::Value;

use crate::backup::{CANARY, CODE, House, connects, listed};
use crate::rig::{hearthkey, json};

const JOURNAL: &str = "revocations.journal";

impl House {
    /// Makes a home again in a directory.
    async fn restore(&self, file: &Path, to: &Path, code: &str, more: &[&str]) -> Output {
        let mut command = hearthkey();
        command
            .args(["restore", file.to_str().unwrap(), "--json", "--data-dir"])
            .arg(to)
            .args(more)
            .env(CODE, code);
        command.output().await.unwrap()
    }

    pub async fn restored(&self, file: &Path, to: &Path, more: &[&str]) -> Value {
        let output = self.restore(file, to, self.code(), more).await;
        assert!(output.status.success(), "{}", json(&output));
        json(&output)
    }

    /// Why a home is not restored; that nothing is left behind.
    async fn refused(&self, file: &Path, code: &str) -> String {
        let to = self.rig.work.path().join("nothing");
        let output = self.restore(file, &to, code, &[]).await;
        assert_eq!(output.status.code(), Some(1), "it was restored");
        assert!(
            !to.exists(),
            "{:?}",
            fs::read_dir(&to).unwrap().collect::<Vec<_>>()
        );
        let error = &json(&output)["error"];
        assert_eq!(error["code"], "restore_failed", "{error}");
        for part in ["detail", "remedy"] {
            assert!(!error[part].as_str().unwrap().is_empty(), "{error}");
        }
        error["detail"].as_str().unwrap().to_owned()
    }
}

pub async fn refusal(device: &mut Device) -> ClosedReason {
    match device.connect().await {
        Err(DeviceConnectError::Connect(error)) => error.reason,
        other => panic!("it was let in: {:?}", other.err()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_home_is_made_again_of_a_backup_and_the_code_and_no_device_is_touched() {
    let mut house = House::new().await;
    house.add_canary().await;
    let [mut lamp, mut hall, mut plug] = [
        house.rig.enroll("lamp").await,
        house.rig.enroll("hall").await,
        house.rig.enroll("plug").await,
    ];
    for device in [&mut lamp, &mut hall, &mut plug] {
        connects(device).await;
    }
    house.rig.revoke("plug").await.unwrap();
    let file = house.backup().await;
    house.rig.revoke("hall").await.unwrap();
    let porch = house.rig.enroll("porch").await;
    house.rig.kill9().await;
    // The machine is lost; what is left of it is a copy of the journal.
    let journal = house.rig.work.path().join("journal.copy");
    fs::copy(house.rig.data_dir.join(JOURNAL), &journal).unwrap();
    fs::remove_dir_all(&house.rig.data_dir).unwrap();

    let anew = house.rig.work.path().join("anew");
    let journal = journal.to_str().unwrap();
    let restored = house.restored(&file, &anew, &["--journal", journal]).await;
    assert_eq!(restored["revocations_added"], 1, "{restored}");
    assert_eq!(restored["journal_is_newer"], true, "{restored}");
    assert_eq!(restored["doubt"], Value::Null, "{restored}");
    house.rig.data_dir = anew;
    house.rig.start().await;
    connects(&mut lamp).await;
    for device in [&mut hall, &mut plug] {
        let reason = refusal(device).await;
        assert!(matches!(reason, ClosedReason::Revoked), "{reason:?}");
    }
    // It was enrolled after the backup, and the journal knows it.
    let mut porch = porch;
    connects(&mut porch).await;
    let found = house.found("restored").await.unwrap();
    let what = found["what"].as_str().unwrap();
    assert!(
        what.contains("1 enrolled") && what.contains("replayed to"),
        "{what}"
    );
    let log = house.rig.verified_log().await;
    assert!(log.contains(r#""action":"backup.restore""#));
    let value = house
        .told(&[
            "credential",
            "reveal",
            "cloud/key",
            "--env",
            "home",
            "--reason",
            "test",
        ])
        .await;
    assert!(value.to_string().contains(CANARY), "{value}");
    // It goes on as before.
    house.rig.enroll("attic-lamp").await;
    house.rig.restart().await;
    connects(&mut lamp).await;
    assert_eq!(house.rig.status().await.incident, None);
    let again = house.backup().await;
    assert_ne!(again, file);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_journal_a_restored_home_says_what_it_does_not_know_until_that_is_accepted() {
    let mut house = House::new().await;
    let mut hall = house.rig.enroll("hall").await;
    let file = house.backup().await;
    house.rig.revoke("hall").await.unwrap();
    house.rig.stop().await;
    let old = house.rig.data_dir.join(JOURNAL);
    let anew = house.rig.work.path().join("anew");
    let restored = house.restored(&file, &anew, &[]).await;
    assert_eq!(restored["journal_is_newer"], false);
    let said = restored["unknown"].as_str().unwrap();
    assert!(said.contains("no revocation journal newer"), "{said}");
    house.rig.data_dir = anew;
    house.rig.start().await;
    // Nobody can know that it was revoked.
    connects(&mut hall).await;
    let found = house.found("restored").await.unwrap();
    let what = found["what"].as_str().unwrap();
    let made_at = restored["made_at"].as_str().unwrap();
    assert!(
        what.contains(&format!("what happened from {made_at} to")),
        "{what}"
    );
    house.rig.restart().await;
    assert!(
        house.found("restored").await.is_some(),
        "it stays until somebody accepts it"
    );
    // The journal turns up.
    house.rig.stop().await;
    let third = house.rig.work.path().join("third");
    let old = old.to_str().unwrap();
    house.restored(&file, &third, &["--journal", old]).await;
    house.rig.data_dir = third;
    house.rig.start().await;
    let reason = refusal(&mut hall).await;
    assert!(matches!(reason, ClosedReason::Revoked), "{reason:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_off_altered_foreign_or_newer_is_refused_and_leaves_nothing_behind() {
    let house = House::new().await;
    let file = house.backup().await;
    let bytes = fs::read(&file).unwrap();
    let bad = house.rig.work.path().join("bad.age");
    let length = bytes.len();
    for at in [
        0,
        1,
        30,
        120,
        300,
        700,
        length / 3,
        length / 2,
        length - 65_000,
        length - 17,
        length - 1,
    ] {
        fs::write(&bad, &bytes[..at]).unwrap();
        let why = house.refused(&bad, house.code()).await;
        let known = [
            "cut off or altered",
            "no age file",
            "does not open the backup",
        ];
        assert!(known.iter().any(|known| why.contains(known)), "{at}: {why}");
    }
    for at in [
        0,
        25,
        100,
        200,
        500,
        1000,
        length / 3,
        length / 2,
        length - 1,
    ] {
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        fs::write(&bad, altered).unwrap();
        let why = house.refused(&bad, house.code()).await;
        assert!(
            why.contains("altered") || why.contains("no age file"),
            "{at}: {why}"
        );
    }
    let other = House::new().await;
    let why = house.refused(&file, other.code()).await;
    assert!(
        why.to_lowercase().contains("this key does not open"),
        "{why}"
    );
    let why = house.refused(&other.backup().await, house.code()).await;
    assert!(
        why.to_lowercase().contains("this key does not open"),
        "{why}"
    );
    let newer = newer_backup(&house);
    fs::write(&bad, newer).unwrap();
    let why = house.refused(&bad, house.code()).await;
    assert!(why.contains("has schema 9999"), "{why}");
    let why = house
        .refused(&house.rig.work.path().join("none.age"), house.code())
        .await;
    assert!(why.contains("none.age cannot be read"), "{why}");
    let output = hearthkey()
        .args(["backup", "verify", bad.to_str().unwrap(), "--json"])
        .env(CODE, house.code())
        .output()
        .await
        .unwrap();
    assert_eq!(json(&output)["error"]["code"], "backup_unfit");
}

/// A backup of a schema that is to come, as its program would encrypt it.
fn newer_backup(house: &House) -> Vec<u8> {
    let slots: Value =
        serde_json::from_slice(&fs::read(house.rig.data_dir.join("slots.json")).unwrap()).unwrap();
    let slots = slots["slots"].as_array().unwrap();
    let kit = slots
        .iter()
        .find_map(|slot| slot["kit"]["recipient"].as_str());
    let recipient: age::x25519::Recipient = kit.unwrap().parse().unwrap();
    let part = |name| serde_json::json!({"name": name, "bytes": 1, "sha256": "00".repeat(32)});
    let names = ["slots.json", "hearthkey.db", JOURNAL, "checkpoint.anchor"];
    let manifest = serde_json::json!({
        "format": 1, "home": house.rig.made["home"], "version": "9.0.0", "schema": 9999,
        "made_at": "2030-01-01T00:00:00Z", "log_size": 1, "checkpoint": "", "parts": names.map(part),
    })
    .to_string();
    let length = u32::try_from(manifest.len()).unwrap().to_be_bytes();
    let inside = [
        b"hearthkey backup\n",
        &length[..],
        manifest.as_bytes(),
        &[0; 32],
    ]
    .concat();
    age::encrypt(&recipient, &inside).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_that_is_there_is_never_restored_over() {
    let house = House::new().await;
    let file = house.backup().await;
    let before = fs::read(house.rig.data_dir.join("slots.json")).unwrap();
    let refused = house
        .restore(&file, &house.rig.data_dir, house.code(), &[])
        .await;
    let why = json(&refused)["error"]["detail"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(why.contains("Nothing was changed"), "{why}");
    assert_eq!(
        fs::read(house.rig.data_dir.join("slots.json")).unwrap(),
        before
    );
    assert!(!house.rig.status().await.sealed);
    let full = house.rig.work.path().join("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("notes.txt"), "mine").unwrap();
    let refused = house.restore(&file, &full, house.code(), &[]).await;
    let why = json(&refused)["error"]["detail"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        why.contains("holds other files already: notes.txt"),
        "{why}"
    );
    assert_eq!(listed(&full), ["notes.txt"]);
    // An empty directory that is there already is taken, and is left as it was where that fails.
    let empty = house.rig.work.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let bytes = fs::read(&file).unwrap();
    let bad = house.rig.work.path().join("bad.age");
    fs::write(&bad, &bytes[..bytes.len() / 2]).unwrap();
    let refused = house.restore(&bad, &empty, house.code(), &[]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(listed(&empty), [""; 0]);
    house.restored(&file, &empty, &[]).await;
    let why = house.restore(&file, &empty, house.code(), &[]).await;
    let why = json(&why)["error"]["detail"]
        .as_str()
        .unwrap()
        .to_lowercase();
    assert!(why.contains("there is a home in"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_of_another_home_is_refused() {
    let (house, other) = (House::new().await, House::new().await);
    let file = house.backup().await;
    other.rig.enroll("lamp").await;
    other.rig.revoke("lamp").await.unwrap();
    let foreign = other.rig.data_dir.join(JOURNAL);
    let to = house.rig.work.path().join("nothing");
    let refused = house
        .restore(
            &file,
            &to,
            house.code(),
            &["--journal", foreign.to_str().unwrap()],
        )
        .await;
    let why = json(&refused)["error"]["detail"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(why.contains("no line that this home has written"), "{why}");
    assert!(!to.exists());
}
