//! Unlock methods are changed while the home runs: what is added opens it the next time, and what is removed does not.

use std::time::Duration;

use hearthkey_api::{PassphraseMethodRequest, UnlockMethodList};
use serde_json::Value;

use crate::here::{by_anna, owned};
use crate::people::code;
use crate::rig::{Rig, json, until};
use crate::vault::{records, refused, told};

const UNLOCK: &str = "/api/v1/unlock-methods";

async fn unsealed_with(rig: &Rig, words: &str) -> bool {
    let env = [("HEARTHKEY_PASSPHRASE", words)];
    let output = rig.cli_with(&["unseal", "--json"], &env).await;
    let answer = json(&output);
    assert!(
        output.status.success() || answer["error"]["code"] == "refused",
        "{answer}"
    );
    output.status.success()
}

async fn add_passphrase(rig: &Rig, words: &str, more: &[&str]) -> Value {
    let args = [&["unlock", "add-passphrase", "--json"], more].concat();
    let env = [("HEARTHKEY_PASSPHRASE", words)];
    let output = rig.cli_with(&args, &env).await;
    assert!(output.status.success(), "{}", json(&output));
    json(&output)
}

async fn add(rig: &Rig, name: &str, words: &str, replace: bool) -> Option<UnlockMethodList> {
    let request = PassphraseMethodRequest {
        name: name.into(),
        passphrase: words.into(),
        replace,
        second_factor: None,
    };
    let path = format!("{UNLOCK}/passphrases");
    rig.client().post(&path, &request).await.ok()
}

async fn names(rig: &Rig) -> Vec<String> {
    let list = told(rig, &["unlock", "list"]).await;
    let methods = list["methods"].as_array().unwrap().iter();
    let names = methods.map(|one| one["name"].as_str().unwrap().to_owned());
    names.collect()
}

/// Restarts a home that nothing opens by itself.
async fn restart_sealed(rig: &mut Rig) {
    rig.stop().await;
    let said = rig.launch().await;
    assert_eq!(said["sealed"], true, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_changes_from_its_key_file_to_a_passphrase_without_being_made_again() {
    let mut rig = Rig::new().await;
    rig.start().await;
    let device = rig.enroll("lamp").await;
    drop(device);
    add_passphrase(&rig, "correct horse", &[]).await;
    assert_eq!(
        names(&rig).await,
        ["key-file", "recovery-code", "passphrase"]
    );
    // What follows is said before.
    let problem = refused(&rig, &["unlock", "remove", "key-file"]).await;
    assert!(
        problem["detail"].as_str().unwrap().contains("SD card"),
        "{problem}"
    );
    told(&rig, &["unlock", "remove", "key-file", "--yes"]).await;
    assert!(!rig.data_dir.join("unseal.key").exists());
    let status = rig.status().await;
    assert_eq!(status.slots, ["recovery-code", "passphrase"]);
    assert!(
        !status
            .warnings
            .iter()
            .any(|warning| warning.contains("key file"))
    );
    restart_sealed(&mut rig).await;
    assert!(!unsealed_with(&rig, "wrong horse").await);
    assert!(unsealed_with(&rig, "correct horse").await);
    assert_eq!(rig.device("lamp").await.state, "active");
    // The last one stays.
    told(&rig, &["unlock", "remove", "recovery-code"]).await;
    let problem = refused(&rig, &["unlock", "remove", "passphrase", "--yes"]).await;
    assert_eq!(problem["code"], "refused");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("o other unlock method"), "{detail}");
    let found = told(&rig, &["check"]).await.to_string();
    assert!(
        found.contains("no-recovery-code") && !found.contains("\"key-file\""),
        "{found}"
    );
    // Sealed by hand, it opens with what there is now.
    told(&rig, &["seal"]).await;
    assert!(unsealed_with(&rig, "correct horse").await);
    let log = rig.verified_log().await;
    let of = |action| {
        records(&log, action)
            .iter()
            .map(|r| r["details"]["method"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(of("unlock.add"), ["passphrase"]);
    assert_eq!(of("unlock.remove"), ["key-file", "recovery-code"]);
    assert!(!log.contains("correct horse"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_code_that_is_issued_again_ends_the_one_before() {
    let mut rig = Rig::with_passphrase("first horse").await;
    let old = rig.made["recovery_code"].as_str().unwrap().to_owned();
    rig.launch().await;
    assert!(unsealed_with(&rig, "first horse").await);
    // One that was shown and never confirmed leaves the old one good.
    let path = format!("{UNLOCK}/recovery-code");
    let lost: Value = rig
        .client()
        .post(&path, &serde_json::json!({}))
        .await
        .unwrap();
    let lost = lost["recovery_code"].as_str().unwrap().to_owned();
    rig.kill9().await;
    rig.launch().await;
    assert!(unsealed_with(&rig, &old).await);
    assert!(names(&rig).await.contains(&"new-recovery-code".to_owned()));
    let new = told(&rig, &["unlock", "recovery-code"]).await;
    let new = new["recovery_code"].as_str().unwrap().to_owned();
    // Durable when it is shown: no orderly stop is needed.
    rig.kill9().await;
    rig.launch().await;
    assert!(!unsealed_with(&rig, &old).await);
    assert!(!unsealed_with(&rig, &lost).await);
    assert!(unsealed_with(&rig, &new).await);
    assert_eq!(names(&rig).await, ["passphrase", "recovery-code"]);
    let log = rig.verified_log().await;
    assert!(!log.contains(&new) && !log.contains(&new.replace('-', "")));
    assert!(!rig.stderr().contains(&new));
    add_passphrase(&rig, "second horse", &["--replace"]).await;
    restart_sealed(&mut rig).await;
    assert!(!unsealed_with(&rig, "first horse").await);
    assert!(unsealed_with(&rig, "second horse").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_at_the_same_moment_do_not_lose_one_another() {
    let mut rig = Rig::with_passphrase("first horse").await;
    rig.launch().await;
    assert!(unsealed_with(&rig, "first horse").await);
    let (one, two, three) = tokio::join!(
        add(&rig, "one", "words of one", false),
        add(&rig, "two", "words of two", false),
        rig.cli(&["unlock", "recovery-code", "--json"]),
    );
    assert!(one.is_some() && two.is_some());
    let code = json(&three)["recovery_code"].as_str().unwrap().to_owned();
    for words in ["words of one", "words of two", &code, "first horse"] {
        told(&rig, &["seal"]).await;
        assert!(unsealed_with(&rig, words).await, "{words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn once_somebody_has_joined_a_change_takes_a_code_on_the_socket() {
    let (rig, _front, kept) = owned().await;
    for args in [
        &["unlock", "recovery-code"][..],
        &["unlock", "add-key-file"],
        &["unlock", "remove", "key-file", "--yes"],
    ] {
        let problem = refused(&rig, args).await;
        assert_eq!(problem["code"], "second_factor_needed", "{args:?}");
    }
    let next = format!("{}\n", code(&kept.totp, 1));
    let (done, said) = by_anna(&rig, &["unlock", "recovery-code"], &next).await;
    assert!(done && said.contains("recovery code"), "{said}");
    assert_eq!(names(&rig).await, ["key-file", "recovery-code"]);
    let log = rig.verified_log().await;
    let entry = &records(&log, "unlock.issue")[0];
    assert_eq!(entry["details"]["second_factor"], "anna", "{entry}");
    assert_eq!(records(&log, "unlock.confirm").len(), 1);
}

/// Killed while the passphrase is replaced again and again: the home opens with the last one that was answered, or the one that
/// was on its way.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_killed_at_any_moment_of_a_change_leaves_a_home_that_opens() {
    let mut rig = Rig::with_passphrase("the words 0").await;
    let code = rig.made["recovery_code"].as_str().unwrap().to_owned();
    rig.launch().await;
    assert!(unsealed_with(&rig, "the words 0").await);
    let mut n = 0;
    for delay_ms in [3, 40, 90, 160, 230, 310] {
        let words = |n: usize| format!("the words {n}");
        let killed = tokio::time::sleep(Duration::from_millis(delay_ms));
        tokio::pin!(killed);
        loop {
            let next = words(n + 1);
            tokio::select! {
                added = add(&rig, "passphrase", &next, true) => {
                    assert!(added.is_some());
                    n += 1;
                }
                () = &mut killed => break,
            }
        }
        rig.kill9().await;
        let said = rig.launch().await;
        assert_eq!(said["sealed"], true, "{said}");
        match unsealed_with(&rig, &words(n)).await {
            true => {}
            false => {
                n += 1;
                assert!(unsealed_with(&rig, &words(n)).await, "{n}");
            }
        }
    }
    told(&rig, &["seal"]).await;
    assert!(unsealed_with(&rig, &code).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_file_that_opens_nothing_leaves_the_home_sealed_and_is_made_anew() {
    let mut rig = Rig::new().await;
    let code = rig.made["recovery_code"].as_str().unwrap().to_owned();
    std::fs::write(rig.data_dir.join("unseal.key"), [7; 32]).unwrap();
    let said = rig.launch().await;
    assert_eq!(said["sealed"], true, "{said}");
    until("the log says why", async || {
        let log = rig.stderr();
        log.contains("the key file is missing or opens nothing")
            .then_some(())
    })
    .await;
    assert!(unsealed_with(&rig, &code).await);
    let found = told(&rig, &["check"]).await.to_string();
    assert!(found.contains("hearthkey unlock add-key-file"), "{found}");
    told(&rig, &["unlock", "add-key-file"]).await;
    let found = told(&rig, &["check"]).await.to_string();
    assert!(!found.contains("unlock-missing"), "{found}");
    rig.restart().await;
}
