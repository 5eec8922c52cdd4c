use hearthkey_api::{Manifest, ManifestEntry, ManifestVerdict, code};
use hearthkey_core::role::Role;
use hearthkey_core::time::Span;

use super::*;
use crate::auth::caller::tests::{role_token, service};

fn entry(name: &str) -> ManifestEntry {
    ManifestEntry {
        name: name.into(),
        feature: None,
        scopes: None,
        actions: None,
    }
}

fn manifest(entries: Vec<ManifestEntry>) -> Manifest {
    Manifest {
        environment: "lab".into(),
        credentials: entries,
    }
}

/// What a manifest with one entry comes to.
fn verdict(home: &TestHome, caller: &Caller, entry: ManifestEntry) -> ManifestVerdict {
    let checked = home
        .vault
        .check_manifest(caller, &manifest(vec![entry]))
        .unwrap();
    assert_eq!(checked.ok, checked.credentials[0].ok);
    checked.credentials.into_iter().next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_and_has_a_value_may_be_used() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    assert!(verdict(&home, &HERE, entry("hue/key")).ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_entry_that_may_not_be_used_fails_the_manifest_and_not_the_others() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let entries = vec![entry("hue/key"), entry("ha/key"), entry("No Name")];
    let checked = home
        .vault
        .check_manifest(&HERE, &manifest(entries))
        .unwrap();
    assert!(!checked.ok);
    let oks: Vec<bool> = checked.credentials.iter().map(|one| one.ok).collect();
    assert_eq!(oks, [true, false, false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_of_another_environment_is_named_as_such() {
    let home = TestHome::new().await;
    let mut request = asked("hue/key");
    request.environment = "home".into();
    home.add(request).await;
    let found = verdict(&home, &HERE, entry("hue/key"));
    assert_eq!(found.problems, ["it is in home and not in lab"]);
    // A token of lab does not learn of it.
    let found = verdict(&home, &service(&["*:list"]), entry("hue/key"));
    assert!(found.problems[0].starts_with("there is no such credential"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_token_may_not_list_is_to_it_as_if_it_were_not_there() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let reader = service(&["hue/key:read"]);
    let there = verdict(&home, &reader, entry("hue/key"));
    let not_there = verdict(&home, &reader, entry("hue/not"));
    assert_eq!(there.problems, not_there.problems);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_is_checked_in_the_environment_of_the_caller() {
    let home = TestHome::new().await;
    let mut elsewhere = manifest(vec![entry("hue/key")]);
    for environment in ["home", "cellar"] {
        elsewhere.environment = environment.into();
        for caller in [service(&["*:list"]), role_token(Role::Auditor, &["lab"])] {
            let refused = home.vault.check_manifest(&caller, &elsewhere);
            assert_eq!(refusal(refused), code::FORBIDDEN);
        }
    }
    assert_eq!(
        refusal(home.vault.check_manifest(&HERE, &elsewhere)),
        code::NOT_FOUND
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_names_one_to_five_hundred_credentials() {
    let home = TestHome::new().await;
    for (count, fits) in [(0, false), (500, true), (501, false)] {
        let entries = vec![entry("hue/key"); count];
        let checked = home.vault.check_manifest(&HERE, &manifest(entries));
        assert_eq!(checked.is_ok(), fits, "{count}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_expired_is_due_or_retired_may_not_be_used() {
    let home = TestHome::new().await;
    let mut request = asked("hue/key");
    request.expires_at = Some(home.now().after(Span::days(1)).to_string());
    home.add(request).await;
    home.add(asked("ha/key")).await;
    home.add(asked("db/key")).await;
    home.retire("db/key").await;
    home.wait(Span::days(366));
    let problem = |name: &str| verdict(&home, &HERE, entry(name)).problems;
    assert_eq!(problem("hue/key")[0], "it has expired");
    assert!(problem("ha/key")[0].starts_with("it is due"));
    assert_eq!(problem("db/key")[0], "it is retired");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_has_no_more_scopes_than_the_manifest_declares() {
    let home = TestHome::new().await;
    let mut request = asked("hue/key");
    request.scopes = vec!["read".into(), "admin".into()];
    home.add(request).await;
    home.add(asked("ha/key")).await;
    let declaring = |name: &str, scopes: &[&str]| {
        let mut entry = entry(name);
        entry.scopes = Some(scopes.iter().map(|scope| (*scope).to_owned()).collect());
        verdict(&home, &HERE, entry)
    };
    assert!(declaring("hue/key", &["read", "admin", "write"]).ok);
    let found = declaring("hue/key", &["read"]);
    assert_eq!(found.problems, ["it has more scopes than declared: admin"]);
    let found = declaring("ha/key", &["read"]);
    assert_eq!(found.problems, ["its rights are unknown"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_may_do_what_the_manifest_declares_no_more_and_no_less() {
    let home = TestHome::new().await;
    home.add(asked("hue/key")).await;
    let declaring = |allow: &[&str]| {
        let mut entry = entry("hue/key");
        entry.actions = Some(vec!["read".into()]);
        verdict(&home, &service(allow), entry)
    };
    assert!(declaring(&["hue/key:list", "hue/key:read"]).ok);
    let less = declaring(&["hue/key:list"]);
    assert_eq!(less.problems, ["this caller may not read it"]);
    let more = declaring(&["hue/key:list", "hue/key:read", "hue/*:write"]);
    assert_eq!(more.problems.len(), 1);
    assert!(more.problems[0].starts_with("this caller may write it"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_does_not_fulfil_what_a_manifest_does_with_a_critical_credential() {
    let home = TestHome::new().await;
    home.add(critical("hue/key")).await;
    let mut entry = entry("hue/key");
    entry.actions = Some(vec!["read".into()]);
    let found = verdict(&home, &service(&["*:list", "hue/*:read"]), entry);
    assert_eq!(found.problems, ["this caller may not read it"]);
}
