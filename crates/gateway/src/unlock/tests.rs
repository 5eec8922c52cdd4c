//! How an open home is unlocked the next time: what may be changed, by whom, and what is on record of it.

use hearthkey_api as api;
use hearthkey_core::role::{Act, Role};
use hearthkey_store::slots::{KEY_FILE, SLOTS_FILE, SlotKind, Slots, Way};
use zeroize::Zeroizing;

use crate::auth::caller::tests::role_token;
use crate::auth::tests::{code_of, owner};
use crate::process::testing::{HERE, TestHome};

fn passphrase(name: &str, words: &str, replace: bool) -> api::PassphraseMethodRequest {
    api::PassphraseMethodRequest {
        name: name.into(),
        passphrase: words.into(),
        replace,
        second_factor: None,
    }
}

fn accepted() -> api::UnlockMethodRemoval {
    api::UnlockMethodRemoval {
        accept: true,
        second_factor: None,
    }
}

/// Whether these words open the home the next time.
fn opens(home: &TestHome, words: &str) -> bool {
    let slots = Slots::read(home.directory.path()).unwrap();
    let way = Way::Words(Zeroizing::new(words.into()));
    slots.unseal(&way).is_ok()
}

async fn confirmed(
    home: &TestHome,
    code: &str,
) -> Result<api::UnlockMethodList, crate::state::failure::Failure> {
    let code = Zeroizing::new(code.to_owned());
    home.unlock.confirm_recovery_code(&HERE, code).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_gets_a_passphrase_and_loses_its_key_file() {
    let home = TestHome::new().await;
    let asked = passphrase("anna", "correct horse", false);
    let list = home.unlock.add_passphrase(&HERE, asked).await.unwrap();
    let names: Vec<&str> = list.methods.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(names, ["key-file", "recovery-code", "anna"]);
    assert!(list.methods.iter().all(|m| m.opens && m.added_at.is_some()));
    let unaccepted = api::UnlockMethodRemoval::default();
    let refused = home.unlock.remove(&HERE, "key-file", unaccepted).await;
    let refused = refused.unwrap_err().0;
    assert!(refused.detail.contains("SD card"), "{}", refused.detail);
    assert!(refused.remedy.contains("--yes"));
    assert!(home.directory.path().join(KEY_FILE).exists());
    let list = home
        .unlock
        .remove(&HERE, "key-file", accepted())
        .await
        .unwrap();
    assert_eq!(list.methods.len(), 2);
    assert!(!home.directory.path().join(KEY_FILE).exists());
    assert!(opens(&home, "correct horse"));
    let of = |action: &str| home.records(action)[0].details["method"].clone();
    assert_eq!(
        (of("unlock.add"), of("unlock.remove")),
        ("anna".into(), "key-file".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_method_stays_and_the_refusal_is_not_on_record_as_a_removal() {
    let home = TestHome::new().await;
    home.unlock
        .remove(&HERE, "key-file", accepted())
        .await
        .unwrap();
    let last = home.unlock.remove(&HERE, "recovery-code", accepted()).await;
    assert_eq!(code_of(last), "refused");
    assert_eq!(home.records("unlock.remove").len(), 1);
    let unknown = home.unlock.remove(&HERE, "anna", accepted()).await;
    assert_eq!(code_of(unknown), "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_recovery_code_opens_until_the_new_one_is_confirmed() {
    let home = TestHome::new().await;
    let first = home.unlock.issue_recovery_code(&HERE, None).await.unwrap();
    confirmed(&home, &first).await.unwrap();
    let second = home.unlock.issue_recovery_code(&HERE, None).await.unwrap();
    assert!(opens(&home, &first) && opens(&home, &second));
    assert_eq!(code_of(confirmed(&home, &first).await), "refused");
    confirmed(&home, &second).await.unwrap();
    assert!(!opens(&home, &first) && opens(&home, &second));
    assert_eq!(home.records("unlock.issue").len(), 2);
    assert_eq!(home.records("unlock.confirm").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_changes_how_a_home_is_unlocked_and_a_session_shows_a_second_factor() {
    let home = TestHome::new().await;
    for role in [Role::Owner, Role::Operator] {
        let token = role_token(role, &[]);
        let asked = passphrase("anna", "correct horse", false);
        let refused = home.unlock.add_passphrase(&token, asked).await;
        assert_eq!(code_of(refused), "forbidden", "{role}");
    }
    assert!(Act::UnlockChange.needs_second_factor());
    // Once somebody has joined, the socket asks for a code, and the confirmation of a code for none.
    let issued = home.unlock.issue_recovery_code(&HERE, None).await.unwrap();
    owner(&home).await;
    let asked = passphrase("anna", "correct horse", false);
    let refused = home.unlock.add_passphrase(&HERE, asked).await;
    assert_eq!(code_of(refused), "second_factor_needed");
    let refused = home.unlock.issue_recovery_code(&HERE, None).await;
    assert_eq!(code_of(refused), "second_factor_needed");
    let refused = home.unlock.remove(&HERE, "key-file", accepted()).await;
    assert_eq!(code_of(refused), "second_factor_needed");
    confirmed(&home, &issued).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_changes_at_the_same_moment_none_is_lost() {
    let home = TestHome::new().await;
    let add = |name, words| {
        home.unlock
            .add_passphrase(&HERE, passphrase(name, words, false))
    };
    let (one, two, code) = tokio::join!(
        add("one", "first words"),
        add("two", "second words"),
        home.unlock.issue_recovery_code(&HERE, None),
    );
    one.and(two).unwrap();
    assert!(opens(&home, "first words") && opens(&home, "second words"));
    assert!(opens(&home, &code.unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passphrase_that_is_refused_changes_nothing() {
    let home = TestHome::new().await;
    let before = std::fs::read(home.directory.path().join(SLOTS_FILE)).unwrap();
    for (name, words, replace, code) in [
        ("anna", "short", false, "invalid"),
        ("key-file", "correct horse", false, "invalid"),
        ("Anna B", "correct horse", false, "invalid"),
        ("anna", "correct horse", true, "not_found"),
    ] {
        let asked = passphrase(name, words, replace);
        let refused = home.unlock.add_passphrase(&HERE, asked).await;
        assert_eq!(code_of(refused), code, "{name} {words}");
    }
    let again = home.unlock.add_key_file(&HERE, None).await;
    assert_eq!(code_of(again), "refused");
    let after = std::fs::read(home.directory.path().join(SLOTS_FILE)).unwrap();
    assert_eq!(before, after);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_the_disk_does_not_take_is_on_record_as_that() {
    let home = TestHome::new().await;
    // A directory in place of the draft: it can be neither removed nor written.
    let draft = home.directory.path().join(format!("{SLOTS_FILE}.new"));
    std::fs::create_dir(&draft).unwrap();
    let asked = passphrase("anna", "correct horse", false);
    let refused = home.unlock.add_passphrase(&HERE, asked).await;
    assert_eq!(code_of(refused), "refused");
    let failed = home.records("unlock.fail");
    assert_eq!(failed[0].details["act"], "unlock.add");
    assert!(!opens(&home, "correct horse"));
}

#[tokio::test(flavor = "multi_thread")]
async fn findings_follow_what_is_changed_while_the_home_runs() {
    let home = TestHome::new().await;
    let kinds = || {
        let found = home.posture.judged(home.now()).unwrap();
        let kinds = found.iter().map(|finding| finding.kind.as_str());
        kinds
            .filter(|kind| {
                kind.contains("key-file") || kind.contains("unlock") || kind.contains("recovery")
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(kinds(), ["key-file"]);
    let asked = passphrase("anna", "correct horse", false);
    home.unlock.add_passphrase(&HERE, asked).await.unwrap();
    home.unlock
        .remove(&HERE, "key-file", accepted())
        .await
        .unwrap();
    home.unlock
        .remove(&HERE, "recovery-code", accepted())
        .await
        .unwrap();
    assert_eq!(kinds(), ["no-recovery-code"]);
    assert!(!home.ctx.store().is_unlocked_by(SlotKind::KeyFile));
    home.unlock.add_key_file(&HERE, None).await.unwrap();
    assert_eq!(kinds(), ["key-file", "no-recovery-code"]);
    std::fs::remove_file(home.directory.path().join(KEY_FILE)).unwrap();
    assert_eq!(kinds(), ["key-file", "no-recovery-code", "unlock-missing"]);
}
