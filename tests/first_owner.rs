//! A home that nobody owns yet: its setup link, its invitations, and what is said of its people.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::people::{Browser, invite, setup_link};
use crate::rig::{Rig, hearthkey, json as said_in_json};
use crate::service::{Front, home, listen};

#[tokio::test(flavor = "multi_thread")]
async fn the_setup_link_waits_in_a_private_file_where_no_terminal_shows_it() {
    let mut rig = Rig::new().await;
    listen(&mut rig);
    rig.start().await;
    let told = rig.said().await;
    let file = Path::new(told["setup_file"].as_str().unwrap()).to_owned();
    assert_eq!(told.get("setup"), None);
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(file.parent(), Some(rig.data_dir.as_path()));
    let first = fs::read_to_string(&file).unwrap();
    assert!(!rig.stderr().contains("/setup#"), "{}", rig.stderr());
    // Each start makes another, in place of the one before.
    rig.stop().await;
    assert!(!file.exists(), "a link that is good no more is left");
    rig.start().await;
    rig.said().await;
    let link = fs::read_to_string(&file).unwrap();
    assert_ne!(link, first);
    let front = Front::new(&rig).await;
    Browser::new(&front).join(link.trim(), "anna").await;
    assert!(!file.exists(), "a link that was used is left");
    rig.restart().await;
    assert!(!file.exists(), "the home has an owner");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_setup_link_takes_the_place_of_the_one_in_the_file() {
    let (mut rig, front) = home().await;
    let told = rig.said().await;
    let file = Path::new(told["setup_file"].as_str().unwrap()).to_owned();
    let link = setup_link(&rig).await;
    assert!(!file.exists());
    Browser::new(&front).join(&link, "anna").await;
}

/// What a command that fails says and prints where standard output is the journal.
async fn into_journal(rig: &Rig, args: &[&str]) -> (String, String) {
    let path = rig.work.path().join("journal");
    let journal = fs::File::create(&path).unwrap();
    let stream = journal.metadata().unwrap();
    // As systemd says that standard output is its journal.
    let named = format!("{}:{}", stream.dev(), stream.ino());
    let done = hearthkey()
        .args(args)
        .arg("--data-dir")
        .arg(&rig.data_dir)
        .env("JOURNAL_STREAM", named)
        .stdout(journal)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let done = done.wait_with_output().await.unwrap();
    assert!(!done.status.success(), "{args:?}");
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    (said, fs::read_to_string(&path).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_link_is_printed_into_the_journal_of_the_system() {
    let (rig, _front) = home().await;
    for args in [
        &["person", "setup-link"][..],
        &["person", "invite", "bo", "--role", "operator"],
    ] {
        let (said, printed) = into_journal(&rig, args).await;
        assert!(said.contains("in a terminal"), "{said}");
        assert_eq!(printed, "", "{args:?}");
    }
    let people: Value = rig.client().get("/api/v1/people").await.unwrap();
    assert_eq!(people["people"], Value::Array(Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_value_and_no_token_is_printed_into_the_journal_of_the_system() {
    let (rig, _front) = home().await;
    for args in [
        "credential reveal hue/api-key --env home",
        "credential lease hue/api-key --env home",
        "token create ci --allow *:list --env home --json",
    ] {
        let words: Vec<&str> = args.split(' ').collect();
        let (said, printed) = into_journal(&rig, &words).await;
        let told = format!("{said}{printed}");
        assert!(told.contains("in a terminal"), "{args}: {told}");
    }
    let tokens: Value = rig.client().get("/api/v1/tokens").await.unwrap();
    assert_eq!(tokens["tokens"], Value::Array(Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_link_is_printed_into_a_pipe_of_a_service_which_may_lead_to_the_journal() {
    let (rig, _front) = home().await;
    let mut printed = hearthkey();
    printed
        .args(["person", "setup-link"])
        .arg("--data-dir")
        .arg(&rig.data_dir)
        .env("JOURNAL_STREAM", "8:4711");
    // Standard output is a pipe of this test, and no terminal is there.
    let printed = printed.output().await.unwrap();
    assert!(!printed.status.success());
    assert_eq!(printed.stdout, b"");
    let why = String::from_utf8_lossy(&printed.stderr).into_owned();
    assert!(why.contains("may lead to the journal"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_link_is_given_that_nobody_could_open() {
    let mut rig = Rig::new().await;
    rig.start().await;
    for args in [
        &["person", "invite", "bo", "--role", "operator", "--json"][..],
        &["person", "setup-link", "--json"],
    ] {
        let refused = rig.cli(args).await;
        assert!(!refused.status.success());
        let problem = said_in_json(&refused);
        assert!(
            problem["error"]["remedy"]
                .as_str()
                .unwrap()
                .contains("--http"),
            "{problem}"
        );
        assert!(!problem.to_string().contains("https://"), "{problem}");
    }
    let people: Value = rig.client().get("/api/v1/people").await.unwrap();
    assert_eq!(
        people["people"],
        Value::Array(Vec::new()),
        "nobody was invited"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_told_as_they_are_before_and_after_there_is_an_owner() {
    let (rig, front) = home().await;
    let list = async || {
        let shown = rig.cli(&["person", "list"]).await;
        String::from_utf8_lossy(&shown.stdout).into_owned()
    };
    assert!(list().await.contains("no owner yet"));
    invite(&rig, "bo", "operator", &[]).await;
    // Nobody owns the home, so nobody can be its last owner.
    let changed = rig
        .cli(&["person", "change", "bo", "--role", "auditor"])
        .await;
    assert!(
        changed.status.success(),
        "{}",
        String::from_utf8_lossy(&changed.stderr)
    );
    let shown = list().await;
    assert!(
        shown.contains("no owner yet") && shown.contains("auditor"),
        "{shown}"
    );
    assert!(shown.contains("invited until"), "{shown}");
    let api: Value = rig.client().get("/api/v1/people").await.unwrap();
    assert_eq!(
        (&api["has_owner"], &api["people"][0]["state"]),
        (&false.into(), &"invited".into())
    );
    Browser::new(&front)
        .join(&setup_link(&rig).await, "anna")
        .await;
    assert!(rig.cli(&["person", "end", "bo"]).await.status.success());
    let shown = list().await;
    assert!(!shown.contains("no owner yet"), "{shown}");
    let ended = shown.lines().find(|line| line.starts_with("bo")).unwrap();
    assert!(
        ended.contains("ended") && !ended.contains("everywhere"),
        "{ended}"
    );
    let api: Value = rig.client().get("/api/v1/people").await.unwrap();
    assert_eq!(api["has_owner"], true);
    let last = rig
        .cli(&["person", "change", "anna", "--role", "auditor", "--json"])
        .await;
    let problem = said_in_json(&last).to_string();
    assert!(problem.contains("at least one owner"), "{problem}");
}
