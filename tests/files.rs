//! The files of a home and of an export: whose they are, and what is never written over.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::process::Stdio;

use hearthkey_api::CallError;
use serde_json::Value;

use crate::rig::{Rig, hearthkey, json, until};
use crate::stock::said;
use crate::thief::{open, tamper};

const DATABASE: [&str; 3] = ["hearthkey.db", "hearthkey.db-wal", "hearthkey.db-shm"];

async fn journal_findings(rig: &Rig) -> Vec<String> {
    let found = json(&rig.cli(&["check", "--json"]).await);
    let all = found.as_array().unwrap().iter();
    all.filter(|finding| finding["kind"] == "journal-incomplete")
        .map(|finding| finding["what"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_has_one_gateway_also_without_its_lock_file() {
    let mut rig = Rig::new().await;
    rig.start().await;
    fs::remove_file(rig.data_dir.join("hearthkey.lock")).unwrap();
    assert_ne!(rig.fails_to_start().await, Some(0));
    assert!(
        rig.failure().contains("Another gateway runs on"),
        "{}",
        rig.failure()
    );
    rig.claim("lamp").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_has_one_gateway_whatever_home_it_is_linked_into() {
    let mut rig = Rig::new().await;
    rig.start().await;
    let (home, other) = (rig.data_dir.clone(), rig.work.path().join("other"));
    fs::create_dir(&other).unwrap();
    for file in ["slots.json", "unseal.key"] {
        fs::copy(home.join(file), other.join(file)).unwrap();
    }
    let (here, there) = (home.join(DATABASE[0]), other.join(DATABASE[0]));
    for (is_hard, why) in [(false, "it is a link"), (true, "it has another name")] {
        match is_hard {
            true => fs::hard_link(&here, &there).unwrap(),
            false => symlink(&here, &there).unwrap(),
        }
        rig.data_dir = other.clone();
        assert_ne!(rig.fails_to_start().await, Some(0));
        let said = rig.failure();
        assert!(
            said.contains("hearthkey.db") && said.contains(why),
            "{said}"
        );
        rig.data_dir = home.clone();
        fs::remove_file(&there).unwrap();
    }
    rig.claim("lamp").await.unwrap();
}

async fn unlock_findings(rig: &Rig) -> Vec<Value> {
    let found = json(&rig.cli(&["check", "--json"]).await);
    let all = found.as_array().unwrap().iter();
    all.filter(|finding| finding["kind"] == "unlock-missing")
        .cloned()
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_opens_the_home_and_has_gone_is_told_while_the_home_is_open() {
    let mut rig = Rig::new().await;
    rig.start().await;
    assert!(unlock_findings(&rig).await.is_empty());
    let (slots, aside) = (
        rig.data_dir.join("slots.json"),
        rig.work.path().join("slots"),
    );
    fs::rename(&slots, &aside).unwrap();
    let found = unlock_findings(&rig).await;
    let [finding] = &found[..] else {
        panic!("{found:?}");
    };
    assert!(
        finding["what"].as_str().unwrap().contains("slots.json"),
        "{finding}"
    );
    let remedy = finding["remedy"].as_str().unwrap();
    assert!(remedy.starts_with("Do not stop"), "{remedy}");
    fs::rename(&aside, &slots).unwrap();
    assert!(unlock_findings(&rig).await.is_empty());
    rig.stop().await;
    fs::remove_file(rig.data_dir.join("unseal.key")).unwrap();
    assert_eq!(rig.launch().await["sealed"], true);
    let code = rig.made["recovery_code"].as_str().unwrap();
    let words = [("HEARTHKEY_PASSPHRASE", code)];
    assert!(rig.cli_with(&["unseal"], &words).await.status.success());
    let found = unlock_findings(&rig).await;
    assert!(
        found.len() == 1 && found[0].to_string().contains("unseal.key"),
        "{found:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_line_without_its_end_is_told_and_takes_no_other_with_it() {
    let mut rig = Rig::new().await;
    rig.start().await;
    let mut alpha = rig.enroll("alpha").await;
    let mut beta = rig.enroll("beta").await;
    rig.stop().await;
    let backup = rig.work.path().join("backup");
    fs::create_dir(&backup).unwrap();
    for file in DATABASE
        .iter()
        .filter(|file| rig.data_dir.join(file).exists())
    {
        fs::copy(rig.data_dir.join(file), backup.join(file)).unwrap();
    }
    rig.start().await;
    rig.revoke("alpha").await.unwrap();
    rig.stop().await;
    let journal = rig.data_dir.join("revocations.journal");
    let mut bytes = fs::read(&journal).unwrap();
    assert_eq!(bytes.pop(), Some(b'\n'));
    fs::write(&journal, bytes).unwrap();
    rig.start().await;
    let warnings = rig.status().await.warnings.join(" ");
    assert!(warnings.contains("had no end"), "{warnings}");
    assert!(journal_findings(&rig).await[0].contains("had no end"));
    rig.revoke("beta").await.unwrap();
    rig.stop().await;
    for file in DATABASE {
        let _ = fs::remove_file(rig.data_dir.join(file));
        if backup.join(file).exists() {
            fs::copy(backup.join(file), rig.data_dir.join(file)).unwrap();
        }
    }
    rig.start().await;
    assert!(alpha.connect().await.is_err());
    assert!(beta.connect().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_is_gone_is_a_finding_until_its_devices_are_written_down_again() {
    let mut rig = Rig::new().await;
    rig.start().await;
    rig.enroll("lamp").await;
    rig.enroll("hall").await;
    rig.revoke("lamp").await.unwrap();
    rig.act("hall", "retire").await.unwrap();
    assert_eq!(journal_findings(&rig).await, [] as [String; 0]);
    let journal = rig.data_dir.join("revocations.journal");
    fs::remove_file(&journal).unwrap();
    assert!(journal_findings(&rig).await[0].contains("not where it was"));
    // What is revoked now is in a new journal, and what was revoked before is not.
    rig.revoke("lamp").await.unwrap();
    let found = journal_findings(&rig).await;
    assert!(
        found[0].contains("1 revoked or retired device: hall"),
        "{found:?}"
    );
    rig.stop().await;
    fs::remove_file(&journal).unwrap();
    rig.start().await;
    let found = journal_findings(&rig).await;
    for said in [
        "was missing when the home was unlocked",
        "2 revoked or retired devices",
    ] {
        assert!(found[0].contains(said), "{found:?}");
    }
    for device in ["lamp", "hall"] {
        rig.revoke(device).await.unwrap();
    }
    rig.restart().await;
    let found = journal_findings(&rig).await;
    assert!(!found[0].contains("does not hold"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_journal_was_emptied_of_is_told_and_written_into_it_again() {
    let mut rig = Rig::new().await;
    rig.start().await;
    for life in ["first", "second"] {
        let claim = rig.claim("lamp").await.unwrap();
        let directory = rig.work.path().join(life);
        rig.enroll_in(&claim, &directory).await.unwrap();
        rig.revoke("lamp").await.unwrap();
    }
    rig.stop().await;
    let journal = rig.data_dir.join("revocations.journal");
    let lines = fs::read_to_string(&journal).unwrap();
    let first = lines.lines().next().unwrap();
    fs::write(&journal, format!("{first}\n")).unwrap();
    rig.start().await;
    let found = journal_findings(&rig).await;
    assert!(
        found[0].contains("did not hold 1 revoked or retired device: lamp"),
        "{found:?}"
    );
    until("the second life to be in the journal", async || {
        (rig.status().await.revocations_pending == 0).then_some(())
    })
    .await;
    rig.restart().await;
    assert_eq!(journal_findings(&rig).await, [] as [String; 0]);
    let log = rig.verified_log().await;
    assert!(log.contains("journal_incomplete"), "{log}");
}

/// The findings about what outlives the database, with their ids.
async fn witness_findings(rig: &Rig) -> Vec<(String, String)> {
    let found = json(&rig.cli(&["check", "--json"]).await);
    let text = |finding: &Value, name: &str| finding[name].as_str().unwrap().to_owned();
    let all = found.as_array().unwrap().iter();
    all.filter(|finding| {
        ["journal-incomplete", "not-anchored"].contains(&finding["kind"].as_str().unwrap())
    })
    .map(|finding| (text(finding, "id"), text(finding, "what")))
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_that_opened_without_its_witnesses_says_so_until_a_person_accepts_it() {
    let mut rig = Rig::new().await;
    rig.start().await;
    let lose = |rig: &Rig| {
        for witness in ["revocations.journal", "checkpoint.anchor"] {
            fs::remove_file(rig.data_dir.join(witness)).unwrap();
        }
    };
    for time in 0..2 {
        rig.stop().await;
        lose(&rig);
        rig.start().await;
        rig.restart().await;
        let found = witness_findings(&rig).await;
        assert_eq!(found.len(), 2, "{time}: {found:?}");
        for (id, what) in found {
            assert!(
                what.contains("missing when the home was unlocked on"),
                "{what}"
            );
            let args = ["--owner", "anna", "--reason", "known", "--json"];
            let accept = [&["check", "--accept", &id][..], &args].concat();
            assert!(rig.cli(&accept).await.status.success());
        }
        // Accepted is this loss, and not the next.
        assert!(witness_findings(&rig).await.is_empty());
    }
    let log = rig.verified_log().await;
    assert_eq!(crate::vault::records(&log, "home.open").len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_whose_slots_are_lost_is_not_written_over_by_another() {
    let mut rig = Rig::new().await;
    rig.start().await;
    rig.claim("lamp").await.unwrap();
    rig.stop().await;
    let slots = rig.data_dir.join("slots.json");
    let kept = fs::read(&slots).unwrap();
    fs::remove_file(&slots).unwrap();
    let init = ["init", "--home", "attic", "--slot", "keyfile", "--json"];
    let refused = json(&rig.cli(&init).await);
    let why = refused["error"].to_string();
    assert!(why.contains("slots.json is missing"), "{refused}");
    fs::write(&slots, kept).unwrap();
    rig.start().await;
    assert!(rig.cli(&["device", "show", "lamp"]).await.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_that_a_newer_program_has_written_is_not_opened_nor_unsealed_and_stays_as_it_is() {
    const SCHEMA: i64 = 999;
    let mut rig = Rig::new().await;
    let database = open(&rig);
    database
        .pragma_update(None, "user_version", SCHEMA)
        .unwrap();
    drop(database);
    assert_eq!(rig.fails_to_start().await, Some(1));
    let why = "he database has schema 999, and this program supports schemas up to ";
    assert!(rig.failure().contains(why), "{}", rig.failure());
    // Without its key file it waits for words.
    let (key, away) = (
        rig.data_dir.join("unseal.key"),
        rig.work.path().join("unseal.key"),
    );
    fs::rename(&key, &away).unwrap();
    assert_eq!(rig.launch().await["sealed"], true);
    let code = rig.made["recovery_code"].as_str().unwrap().to_owned();
    let words = [("HEARTHKEY_PASSPHRASE", code.as_str())];
    let refused = json(&rig.cli_with(&["unseal", "--json"], &words).await);
    assert_eq!(refused["error"]["code"], "refused", "{refused}");
    let told = refused["error"]["detail"].as_str().unwrap();
    assert!(told.contains(why), "{told}");
    assert!(told.contains("a newer Hearthkey has written it"), "{told}");
    assert!(!told.contains('\n'), "{told}");
    assert!(rig.status().await.sealed);
    rig.stop().await;
    fs::rename(&away, &key).unwrap();
    let schema = open(&rig).pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0));
    assert_eq!(schema.unwrap(), SCHEMA);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_of_the_homes_own_stays_where_the_program_has_one_of_its_name() {
    let mut rig = Rig::new().await;
    rig.start().await;
    let warns = async |rig: &Rig| {
        let warnings = rig.status().await.warnings;
        warnings
            .iter()
            .any(|warning| warning.contains("The profile shelly is your own"))
    };
    assert!(!warns(&rig).await);
    rig.stop().await;
    let mine = "UPDATE profile SET built_in = 0, toml = toml || '# Mine.' WHERE name = 'shelly'";
    tamper(&rig, mine);
    for _ in 0..2 {
        rig.start().await;
        assert!(warns(&rig).await);
        let shown = json(&rig.cli(&["profile", "show", "shelly", "--json"]).await);
        assert_eq!(shown["built_in"], false, "{shown}");
        assert!(shown["toml"].as_str().unwrap().ends_with("# Mine."));
        rig.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_init_that_did_not_get_to_its_end_is_repeated() {
    let place = tempfile::tempdir().unwrap();
    let args = ["init", "--home", "attic", "--slot", "keyfile", "--json"];
    for file in ["init.unfinished", "hearthkey.db", "unseal.key"] {
        fs::write(place.path().join(file), "").unwrap();
    }
    let mut command = hearthkey();
    let output = command.arg("--data-dir").arg(place.path()).args(args);
    let made = json(&output.output().await.unwrap());
    assert_ne!(made["home"], Value::Null, "{made}");
    assert!(!place.path().join("init.unfinished").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_is_made_where_nobody_else_can_write_and_nothing_else_lies() {
    let place = tempfile::tempdir().unwrap();
    let init = async |name: &str| {
        let data_dir = place.path().join(name);
        let args = ["init", "--home", "attic", "--slot", "keyfile", "--json"];
        let mut command = hearthkey();
        let output = command.arg("--data-dir").arg(&data_dir).args(args).output();
        json(&output.await.unwrap())
    };
    let victim = place.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    for (name, mode, link) in [
        ("open-to-all", 0o777, false),
        ("open-to-group", 0o770, false),
        ("planted", 0o700, true),
    ] {
        let dir = place.path().join(name);
        fs::create_dir(&dir).unwrap();
        if link {
            symlink(&victim, dir.join("unseal.key.new")).unwrap();
            fs::write(dir.join("holiday.jpg"), "").unwrap();
        }
        fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).unwrap();
        let refused = init(name).await;
        assert_eq!(refused["error"]["code"], "init_failed", "{refused}");
        assert!(!dir.join("slots.json").exists());
    }
    fs::remove_file(place.path().join("planted/holiday.jpg")).unwrap();
    let made = init("planted").await;
    assert_ne!(made["home"], Value::Null, "{made}");
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
    let key = place.path().join("planted/unseal.key");
    assert!(fs::symlink_metadata(key).unwrap().is_file());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_replaces_nothing_unasked_and_never_a_device() {
    let mut rig = Rig::new().await;
    rig.start().await;
    let out = rig.work.path().join("log.jsonl");
    let export = ["log", "export", "--out", out.to_str().unwrap()];
    assert!(rig.cli(&export).await.status.success());
    let before = fs::read(&out).unwrap();
    let again = rig.cli(&export).await;
    assert!(!again.status.success());
    assert!(said(&again).contains("--replace"), "{}", said(&again));
    assert_eq!(fs::read(&out).unwrap(), before);
    rig.claim("lamp").await.unwrap();
    let replaced = rig.cli(&[&export[..], &["--replace"]].concat()).await;
    assert!(replaced.status.success(), "{}", said(&replaced));
    assert!(fs::read(&out).unwrap().len() > before.len());

    // Standard output is a pipe here: it gets the records and nothing else.
    let link = rig.work.path().join("stdout");
    symlink("/proc/self/fd/1", &link).unwrap();
    let mut command = hearthkey();
    let piped = command
        .arg("--data-dir")
        .arg(&rig.data_dir)
        .args(["log", "export", "--out", link.to_str().unwrap()])
        .stdout(Stdio::piped())
        .output();
    let piped = piped.await.unwrap();
    assert!(piped.status.success(), "{}", said(&piped));
    let lines = String::from_utf8(piped.stdout).unwrap();
    assert!(
        lines
            .lines()
            .all(|line| serde_json::from_str::<Value>(line).is_ok())
    );
    assert!(lines.contains("claim.open"));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(!rig.work.path().join("stdout.checkpoint").exists());
    let nothing = rig
        .cli(&["log", "export", "--out", "/dev/null", "--replace"])
        .await;
    assert!(nothing.status.success(), "{}", said(&nothing));
    let kind = fs::metadata("/dev/null").unwrap().file_type();
    assert!(kind.is_char_device());
}

#[tokio::test(flavor = "multi_thread")]
async fn records_and_their_checkpoint_are_two_files() {
    let mut rig = Rig::new().await;
    rig.start().await;
    let out = rig.work.path().join("log.jsonl");
    let same = rig.work.path().join(".").join("log.jsonl");
    let (out_text, same) = (out.to_str().unwrap(), same.to_str().unwrap());
    for replace in [&[] as &[&str], &["--replace"]] {
        let args = ["log", "export", "--out", out_text, "--checkpoint", same];
        let refused = rig.cli(&[&args[..], replace].concat()).await;
        assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
        assert!(!out.exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_gateway_does_not_open_a_home_that_took_the_place_of_its_own() {
    let words = [("HEARTHKEY_PASSPHRASE", "correct horse battery")];
    let mut rig = Rig::with_passphrase(words[0].1).await;
    assert_eq!(rig.launch().await["sealed"], true);
    let away = rig.work.path().join("away");
    fs::rename(&rig.data_dir, &away).unwrap();
    fs::create_dir(&rig.data_dir).unwrap();
    for file in ["hearthkey.db", "slots.json"] {
        fs::copy(away.join(file), rig.data_dir.join(file)).unwrap();
    }
    let mut unseal = hearthkey();
    let unsealed = unseal
        .args(["unseal", "--data-dir"])
        .arg(&away)
        .envs(words)
        .output();
    let unsealed = unsealed.await.unwrap();
    assert!(!unsealed.status.success());
    let why = said(&unsealed);
    assert!(why.contains("moved or replaced"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_ahead_log_that_is_taken_away_is_noticed_and_nothing_in_it_is_lost() {
    let mut rig = Rig::new().await;
    rig.start().await;
    rig.claim("lamp").await.unwrap();
    fs::remove_file(rig.data_dir.join("hearthkey.db-wal")).unwrap();
    let Err(CallError::Problem(problem)) = rig.claim("hall").await else {
        panic!("what would be lost with the power is called durable");
    };
    assert_eq!(problem.code, "storage_unavailable");
    let told = format!("{problem:?}");
    assert!(told.contains("hearthkey.db-wal was removed"), "{told}");
    rig.restart().await;
    assert_eq!(rig.status().await.incident, None);
    let log = rig.verified_log().await;
    assert!(log.contains("lamp") && !log.contains("hall"), "{log}");
    rig.claim("hall").await.unwrap();
}
