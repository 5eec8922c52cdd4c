use hearthkey_api::code;
use hearthkey_core::role::Act;
use hearthkey_core::time::Span;

use super::*;

async fn test(home: &TestHome, name: &str) -> hearthkey_api::BridgeTested {
    let permit = here(Act::BridgeChange);
    home.vault.test_bridge(&permit, "lab", name).await.unwrap()
}

async fn disconnect(
    home: &TestHome,
    name: &str,
    retire: bool,
) -> Result<hearthkey_api::Disconnected, Failure> {
    let permit = here(Act::BridgeChange);
    let vault = &home.vault;
    vault.disconnect_bridge(&permit, "lab", name, retire).await
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_bridge_is_reached_is_recorded_and_lasts() {
    let home = TestHome::new().await;
    home.connect("cloud", &["verify"]).await;
    let record = home.records("bridge.connect").pop().unwrap();
    assert_eq!(record.object, "bridge:lab/cloud");
    assert_eq!(record.details["kind"], "command");
    assert!(record.details.contains_key("settings_sha256"));
    let home = home.reopened().await;
    assert_eq!(home.vault.bridges().unwrap().bridges[0].name, "cloud");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_has_a_name_of_its_own_a_known_kind_and_an_environment() {
    let home = TestHome::new().await;
    let mut reserved = home.program("cloud", &[]);
    reserved.name = "token".into();
    let mut kind = home.program("cloud", &[]);
    kind.kind = "toaster".into();
    let mut no_name = home.program("cloud", &[]);
    no_name.name = "a/b".into();
    for request in [reserved, kind, no_name] {
        let refused = home.vault.connect_bridge(&HERE, request).await;
        assert_eq!(refusal(refused), code::INVALID);
    }
    let mut nowhere = home.program("cloud", &[]);
    nowhere.environment = "cellar".into();
    let refused = home.vault.connect_bridge(&HERE, nowhere).await;
    assert_eq!(refusal(refused), code::NOT_FOUND);
    assert!(home.vault.bridges().unwrap().bridges.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_others_can_write_is_given_no_secrets() {
    let home = TestHome::new().await;
    let request = home.program("cloud", &["verify"]);
    let program = home.bridge_dir("cloud").join("program");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o777)).unwrap();
    let refused = problem(home.vault.connect_bridge(&HERE, request).await);
    assert_eq!(refused.code, code::INVALID);
    assert!(refused.detail.contains("can be written by others"));
}

#[tokio::test(flavor = "multi_thread")]
async fn connecting_a_bridge_takes_a_code_once_somebody_joined() {
    let home = TestHome::new().await;
    home.joined().await;
    let mut request = home.program("cloud", &["verify"]);
    let refused = home.vault.connect_bridge(&HERE, request.clone()).await;
    assert_eq!(refusal(refused), code::SECOND_FACTOR_NEEDED);
    assert!(home.vault.bridges().unwrap().bridges.is_empty());
    request.second_factor = home.code();
    assert!(home.vault.connect_bridge(&HERE, request).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_that_cannot_be_asked_is_listed_with_what_prevents_it() {
    let home = TestHome::new().await;
    home.connect("cloud", &["verify"]).await;
    fs::remove_file(home.bridge_dir("cloud").join("program")).unwrap();
    let bridge = home.vault.bridges().unwrap().bridges.remove(0);
    assert!(!bridge.abilities.verify);
    assert!(bridge.abilities.cannot[0].contains("cannot be read"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_to_a_bridge_is_recorded_before_and_without_the_value() {
    let home = TestHome::new().await;
    home.connect("cloud", &["verify"]).await;
    home.add(asked("cloud/key")).await;
    let tested = test(&home, "cloud").await;
    assert!(tested.ok);
    assert_eq!(tested.credentials[0].verdict, "works");
    let tried = home.records("bridge.try").pop().unwrap();
    assert_eq!(tried.details["names"], serde_json::json!(["cloud/key"]));
    assert!(tried.seq < home.records("bridge.test")[0].seq);
    assert!(!home.log_text().contains(&value_of("cloud/key")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_its_bridge_refuses_fails_the_test_and_is_not_verified() {
    let home = TestHome::new().await;
    home.connect("cloud", &["verify"]).await;
    home.add(asked("cloud/key")).await;
    home.set("cloud", "fails");
    let tested = test(&home, "cloud").await;
    assert!(!tested.ok);
    assert_eq!(tested.credentials[0].verdict, "fails");
    assert!(home.shown("cloud/key").credential.verified_at.is_none());
    home.unset("cloud", "fails");
    assert!(test(&home, "cloud").await.ok);
    assert!(home.shown("cloud/key").credential.verified_at.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_that_does_not_answer_leaves_it_unknown_whether_a_value_works() {
    let home = TestHome::new().await;
    home.connect("cloud", &["verify"]).await;
    home.add(asked("cloud/key")).await;
    home.set("cloud", "silent");
    let tested = test(&home, "cloud").await;
    assert!(!tested.ok);
    assert_eq!(tested.credentials[0].verdict, "unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_is_shown_the_credentials_of_its_own_name_and_environment() {
    let home = TestHome::new().await;
    home.connect("cloud", &["verify"]).await;
    for name in ["cloud/one", "cloud/two", "cloudy/key", "clou/key"] {
        home.add(asked(name)).await;
    }
    let mut elsewhere = asked("cloud/three");
    elsewhere.environment = "home".into();
    home.add(elsewhere).await;
    home.retire("cloud/two").await;
    let tested = test(&home, "cloud").await;
    let names: Vec<&str> = tested
        .credentials
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(names, ["cloud/one"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn leave_for_something_else_tests_and_disconnects_no_bridge() {
    let home = TestHome::new().await;
    home.connect("cloud", &["verify"]).await;
    let permit = here(Act::CredentialRetire);
    let refused = home.vault.test_bridge(&permit, "lab", "cloud").await;
    assert_eq!(refusal(refused), code::FORBIDDEN);
    let refused = home
        .vault
        .disconnect_bridge(&permit, "lab", "cloud", true)
        .await;
    assert_eq!(refusal(refused), code::FORBIDDEN);
    assert_eq!(home.vault.bridges().unwrap().bridges.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_beyond_the_declared_ones_are_a_finding_until_they_are_gone() {
    let home = TestHome::new().await;
    home.connect("cloud", &["verify", "scopes"]).await;
    let mut request = asked("cloud/key");
    request.scopes = vec!["read".into()];
    home.add(request).await;
    test(&home, "cloud").await;
    assert!(home.found("cloud/key").is_empty());
    home.set("cloud", "wide");
    test(&home, "cloud").await;
    assert_eq!(home.found("cloud/key"), ["drift"]);
    home.unset("cloud", "wide");
    home.wait(Span::minutes(1));
    test(&home, "cloud").await;
    assert!(home.found("cloud/key").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_is_told_its_authority_and_the_log_is_not() {
    let home = TestHome::new().await;
    home.add(asked("cloud/admin")).await;
    home.add(asked("cloud/key")).await;
    let mut request = home.program("cloud", &["verify"]);
    request.authority = Some("cloud/admin".into());
    home.vault.connect_bridge(&HERE, request).await.unwrap();
    test(&home, "cloud").await;
    let said = fs::read_to_string(home.bridge_dir("cloud").join("said")).unwrap();
    assert!(said.contains(&format!("\"authority\":\"{}\"", value_of("cloud/admin"))));
    assert!(!home.log_text().contains(&value_of("cloud/admin")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_whose_authority_is_retired_is_asked_nothing() {
    let home = TestHome::new().await;
    home.add(asked("cloud/admin")).await;
    home.add(asked("cloud/key")).await;
    let mut request = home.program("cloud", &["verify"]);
    request.authority = Some("cloud/admin".into());
    home.vault.connect_bridge(&HERE, request).await.unwrap();
    home.retire("cloud/admin").await;
    let permit = here(Act::BridgeChange);
    let refused = home.vault.test_bridge(&permit, "lab", "cloud").await;
    assert_eq!(refusal(refused), code::REFUSED);
    assert_eq!(home.times("cloud", "verify"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_does_not_replace_the_credential_by_which_it_is_asked() {
    let home = TestHome::new().await;
    home.add(asked("cloud/admin")).await;
    let mut request = home.program("cloud", &["mint", "verify"]);
    request.authority = Some("cloud/admin".into());
    home.vault.connect_bridge(&HERE, request).await.unwrap();
    let refused = home.rotate("cloud/admin", RotateRequest::default()).await;
    assert_eq!(refusal(refused), code::REFUSED);
    assert_eq!(home.times("cloud", "mint"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disconnected_bridge_is_gone_and_its_credentials_stay() {
    let home = TestHome::new().await;
    home.connect("cloud", &["verify"]).await;
    home.add(asked("cloud/key")).await;
    assert!(disconnect(&home, "cloud", false).await.unwrap().durable);
    assert_eq!(
        refusal(disconnect(&home, "cloud", false).await),
        code::NOT_FOUND
    );
    assert!(home.value("cloud/key").await.is_ok());
    let home = home.reopened().await;
    assert!(home.vault.bridges().unwrap().bridges.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_that_alone_can_end_leased_values_stays_connected() {
    let home = TestHome::new().await;
    home.connect("cloud", &["mint", "revoke", "two-live", "children"])
        .await;
    home.add(asked("cloud/key")).await;
    let lent = home.lent(&HERE, "cloud/key").await.unwrap();
    assert_eq!(
        refusal(disconnect(&home, "cloud", false).await),
        code::REFUSED
    );
    home.vault
        .end_lease(&HERE, &lent.lease.lease)
        .await
        .unwrap();
    assert!(disconnect(&home, "cloud", false).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_go_with_their_bridge_are_ended_there_the_authority_last() {
    let home = TestHome::new().await;
    home.add(asked("cloud/admin")).await;
    home.add(asked("cloud/key")).await;
    let mut request = home.program("cloud", &["verify", "revoke"]);
    request.authority = Some("cloud/admin".into());
    home.vault.connect_bridge(&HERE, request).await.unwrap();
    let out = disconnect(&home, "cloud", true).await.unwrap();
    let names: Vec<&str> = out.retired.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["cloud/key", "cloud/admin"]);
    assert_eq!(home.times("cloud", "revoke"), 1);
    for name in names {
        assert_eq!(refusal(home.value(name).await), code::REFUSED);
    }
    assert!(home.vault.bridges().unwrap().bridges.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_that_is_connected_again_is_reached_where_it_is_now() {
    let home = TestHome::new().await;
    home.connect("cloud", &["verify"]).await;
    home.connect("cloud", &["verify", "revoke"]).await;
    let bridges = home.vault.bridges().unwrap().bridges;
    assert_eq!(bridges.len(), 1);
    assert!(bridges[0].abilities.revoke);
    assert_eq!(home.records("bridge.connect").len(), 2);
}
