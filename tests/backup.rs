//! Backups are made, verified, and hold nothing in the clear; what fails is a finding. How they become a home again: [`crate::restore`].

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hearthkey_agent::Device;
use serde_json::Value;
use tokio::time::sleep;

use crate::rig::{Rig, hearthkey, json, until};
use crate::storage_failure::SmallDisk;

pub const CANARY: &str = "canary-value-that-no-backup-may-show";
pub const CODE: &str = "HEARTHKEY_RECOVERY_CODE";

/// A home with devices, a value, and a place for backups.
pub struct House {
    pub rig: Rig,
    pub place: PathBuf,
}

impl House {
    pub async fn new() -> Self {
        let mut rig = Rig::new().await;
        rig.start().await;
        let place = rig.work.path().join("usb");
        fs::create_dir(&place).unwrap();
        Self { rig, place }
    }

    pub fn code(&self) -> &str {
        self.rig.made["recovery_code"].as_str().unwrap()
    }

    pub async fn told(&self, args: &[&str]) -> Value {
        let args = [args, &["--json"]].concat();
        let output = self.rig.cli(&args).await;
        assert!(output.status.success(), "{args:?}: {}", json(&output));
        json(&output)
    }

    pub async fn add_canary(&self) {
        let file = self.rig.work.path().join("value");
        fs::write(&file, CANARY).unwrap();
        let file = file.to_str().unwrap();
        self.told(&[
            "credential",
            "add",
            "cloud/key",
            "--env",
            "home",
            "--kind",
            "api-key",
            "--owner",
            "anna",
            "--purpose",
            "test",
            "--from-file",
            file,
        ])
        .await;
    }

    /// Makes a backup and gives its path.
    pub async fn backup(&self) -> PathBuf {
        let made = self
            .told(&["backup", "create", "--to", self.place.to_str().unwrap()])
            .await;
        made["path"].as_str().unwrap().into()
    }

    pub async fn found(&self, kind: &str) -> Option<Value> {
        let found = self.told(&["check"]).await;
        let findings = found.as_array().unwrap().clone();
        findings.into_iter().find(|finding| finding["kind"] == kind)
    }
}

pub fn listed(place: &Path) -> Vec<String> {
    let entries = fs::read_dir(place).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The backups at a place; the journal lies beside them.
fn backups(place: &Path) -> Vec<String> {
    let mut names = listed(place);
    names.retain(|name| !name.contains("-journal-"));
    names
}

pub async fn connects(device: &mut Device) {
    let session = device.connect().await.unwrap();
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_verified_by_the_gateway_and_by_the_code_and_says_what_it_opened() {
    let house = House::new().await;
    house.add_canary().await;
    house.rig.enroll("lamp").await;
    let place = house.place.to_str().unwrap();
    let planned = house
        .told(&["backup", "set", "--to", place, "--keep", "2"])
        .await;
    assert_eq!(planned["plan"]["every"], "daily");
    let first = until("the first backup by itself", async || {
        let list = house.told(&["backup", "list"]).await;
        let idle = list["running_since"].is_null() && list["made_at"].is_string();
        idle.then(|| list.clone())
    })
    .await;
    assert_eq!(first["backups"].as_array().unwrap().len(), 1, "{first}");
    assert_eq!(
        (&first["kit_known"], &first["failed"]),
        (&true.into(), &Value::Null)
    );
    let made = house.told(&["backup", "create"]).await;
    let path = PathBuf::from(made["path"].as_str().unwrap());
    let opened = made["verified"]["opened"].to_string();
    for said in [
        "Every page of the database is whole",
        "end in the signed checkpoint",
        "The root CA opens with its key",
        "has signed the gateway's certificate",
        "issuing/home opens with its key, and it or one before it has signed the certificate of lamp",
        "The value of home/cloud/key opens",
    ] {
        assert!(opened.contains(said), "{said}: {opened}");
    }
    let absent = made["verified"]["absent"].to_string();
    assert!(
        absent.contains("The environment lab holds no value"),
        "{absent}"
    );
    let latest = house.told(&["backup", "verify", "--latest"]).await;
    assert_eq!(latest, made["verified"]);
    let by_code = [(CODE, house.code())];
    let args = ["backup", "verify", path.to_str().unwrap(), "--json"];
    let verified = json(&house.rig.cli_with(&args, &by_code).await);
    assert_eq!(verified, made["verified"]);
    // Two are kept.
    let third = house.told(&["backup", "create"]).await;
    assert_eq!(third["given_up"].as_array().unwrap().len(), 1, "{third}");
    assert_eq!(backups(&house.place).len(), 2);
    for kind in [
        "backup-missing",
        "backup-failed",
        "backup-old",
        "untested-backup",
    ] {
        assert!(house.found(kind).await.is_none(), "{kind}");
    }
    assert!(!house.rig.data_dir.join("backup.trial").exists());
    assert!(!house.rig.data_dir.join("backup.snapshot").exists());
    // The code, typed by a person.
    let checked = house
        .rig
        .cli_with(&["backup", "kit-check", "--json"], &by_code)
        .await;
    let checked = json(&checked);
    assert_eq!(
        (&checked["fits"], &checked["learned"]),
        (&true.into(), &false.into())
    );
    let opens = checked["backups"].as_array().unwrap();
    assert!(
        opens.len() == 2 && opens.iter().all(|one| one["opens"] == true),
        "{checked}"
    );
    let wrong = [(CODE, "00000-00000-00000-00000-00000-00000-00000-00000")];
    let wrong = house
        .rig
        .cli_with(&["backup", "kit-check", "--json"], &wrong)
        .await;
    assert_eq!(wrong.status.code(), Some(1));
    assert_eq!(json(&wrong)["fits"], false);
    let log = house.rig.verified_log().await;
    for action in [
        "backup.set",
        "backup.create",
        "backup.verify",
        "backup.kit_check",
    ] {
        assert!(log.contains(&format!(r#""action":"{action}""#)), "{action}");
    }
    for secret in [house.code(), CANARY] {
        assert!(!log.contains(secret) && !house.rig.stderr().contains(secret));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_from_before_backups_is_learned_when_it_is_typed_and_until_then_none_is_made() {
    let mut house = House::new().await;
    house.rig.stop().await;
    let slots = house.rig.data_dir.join("slots.json");
    let mut text: Value = serde_json::from_slice(&fs::read(&slots).unwrap()).unwrap();
    for slot in text["slots"].as_array_mut().unwrap() {
        slot.as_object_mut().unwrap().remove("kit");
    }
    fs::write(&slots, text.to_string()).unwrap();
    house.rig.start().await;
    let place = house.place.to_str().unwrap();
    let planned = house.told(&["backup", "set", "--to", place]).await;
    let warned = planned["warnings"].to_string();
    assert!(warned.contains("kit-check"), "{warned}");
    let refused = house.rig.cli(&["backup", "create", "--json"]).await;
    let error = &json(&refused)["error"];
    assert!(
        error["remedy"].as_str().unwrap().contains("kit-check"),
        "{error}"
    );
    let found = until("the finding", async || house.found("backup-failed").await).await;
    assert!(found["what"].to_string().contains("kit-check"), "{found}");
    assert!(listed(&house.place).is_empty());
    let by_code = [(CODE, house.code())];
    let checked = house
        .rig
        .cli_with(&["backup", "kit-check", "--json"], &by_code)
        .await;
    assert_eq!(json(&checked)["learned"], true);
    let file = house.backup().await;
    assert!(house.found("backup-failed").await.is_none());
    let anew = house.rig.work.path().join("anew");
    house.restored(&file, &anew, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_killed_while_it_makes_a_backup_leaves_no_half_file_under_a_last_name() {
    let mut house = House::new().await;
    let place = house.place.to_str().unwrap().to_owned();
    let mut whole = 0;
    for delay_ms in [0, 10, 20, 40, 60, 80, 120, 160, 250, 400] {
        let data_dir = house.rig.data_dir.clone();
        let to = place.clone();
        let begun = tokio::spawn(async move {
            let mut command = hearthkey();
            command.arg("--data-dir").arg(data_dir);
            command
                .args(["backup", "create", "--to", &to, "--json"])
                .output()
                .await
        });
        sleep(Duration::from_millis(delay_ms)).await;
        house.rig.kill9().await;
        begun.await.unwrap().unwrap();
        for name in listed(&house.place) {
            if name.ends_with(".unfinished") {
                continue;
            }
            whole += 1;
            let path = house.place.join(&name);
            let args = ["backup", "verify", path.to_str().unwrap(), "--json"];
            let verified = house.rig.cli_with(&args, &[(CODE, house.code())]).await;
            assert!(verified.status.success(), "{name}: {}", json(&verified));
            fs::remove_file(path).unwrap();
        }
        house.rig.start().await;
    }
    println!("{whole} of 10 were whole");
    house.backup().await;
    let names = listed(&house.place);
    assert_eq!(names.len(), 1, "what was never finished is gone: {names:?}");
    assert!(!house.rig.data_dir.join("backup.snapshot").exists());
    assert!(!house.rig.data_dir.join("backup.trial").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_is_full_or_gone_is_a_finding_and_stops_nothing() {
    let house = House::new().await;
    let mut lamp = house.rig.enroll("lamp").await;
    let place = house.place.to_str().unwrap();
    house.told(&["backup", "set", "--to", place]).await;
    until("the first backup", async || {
        house.told(&["backup", "list"]).await["made_at"]
            .as_str()
            .map(drop)
    })
    .await;
    let away = house.rig.work.path().join("away");
    fs::rename(&house.place, &away).unwrap();
    let failed = house.rig.cli(&["backup", "create", "--json"]).await;
    let error = &json(&failed)["error"];
    assert_eq!(error["code"], "backup_failed");
    assert!(
        error["detail"].as_str().unwrap().contains("No such file"),
        "{error}"
    );
    let found = house.found("backup-failed").await.unwrap();
    assert_eq!(found["severity"], "high");
    assert!(!house.place.exists(), "a mount point is not filled");
    connects(&mut lamp).await;
    fs::rename(&away, &house.place).unwrap();
    house.told(&["backup", "create"]).await;
    assert!(
        house.found("backup-failed").await.is_none(),
        "it was put right"
    );

    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let small = disk.place();
    fs::create_dir(&small).unwrap();
    disk.fill();
    let to = small.to_str().unwrap();
    let failed = house
        .rig
        .cli(&["backup", "create", "--to", to, "--json"])
        .await;
    let error = &json(&failed)["error"];
    assert!(
        error["detail"].as_str().unwrap().contains("No space left"),
        "{error}"
    );
    assert_eq!(listed(&small), [""; 0], "nothing half is left");
    let found = house.found("backup-failed").await.unwrap();
    assert!(
        found["what"].as_str().unwrap().contains("No space left"),
        "{found}"
    );
    connects(&mut lamp).await;
    house.rig.enroll("hall").await;
    disk.empty();
    house.told(&["backup", "create", "--to", to]).await;
    assert_eq!(listed(&small).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_is_in_a_backup_in_the_clear_and_nobody_else_may_read_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let house = House::new().await;
    house.add_canary().await;
    house.rig.enroll("lamp").await;
    let file = house.backup().await;
    let bytes = fs::read(&file).unwrap();
    let home = house.rig.made["home"].as_str().unwrap();
    for clear in [
        CANARY,
        house.code(),
        home,
        "SQLite format",
        "PRIVATE KEY",
        "slots",
    ] {
        let found = bytes
            .windows(clear.len())
            .any(|part| part == clear.as_bytes());
        assert!(!found, "{clear}");
    }
    assert!(bytes.starts_with(b"age-encryption.org/v1\n"));
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
