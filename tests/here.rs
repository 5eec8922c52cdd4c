//! A second factor on the gateway's own machine: what takes one in a browser takes a person's code on the socket.

use serde_json::{Value, json};

use crate::people::{Browser, Kept, code, invite, setup_link};
use crate::rig::Rig;
use crate::service::{Front, home};
use crate::vault::{added, records, refused, told, with_input};

const CRITICAL: [&str; 2] = ["--tier", "critical"];

/// Has an owner invite somebody in a browser.
pub async fn invited_by(owner: &Browser<'_>, name: &str, role: &str, envs: &[&str]) -> String {
    let asked = json!({"name": name, "role": role, "environments": envs});
    let made = owner.post("/api/v1/people", &asked).await.json();
    made["url"].as_str().unwrap().to_owned()
}

/// A home with a critical value in it, and an owner with an authenticator.
pub async fn owned() -> (Rig, Front, Kept) {
    let (rig, front) = home().await;
    added(&rig, "crit/key", "lab", b"critical-value", &CRITICAL).await;
    added(&rig, "std/key", "lab", b"standard-value", &[]).await;
    let link = setup_link(&rig).await;
    let kept = Browser::new(&front).join(&link, "anna").await;
    (rig, front, kept)
}

/// A command of an owner, with a code on standard input and what follows it there.
pub async fn by_anna(rig: &Rig, args: &[&str], input: &str) -> (bool, String) {
    let (before, after) = match args.iter().position(|arg| *arg == "--") {
        Some(at) => args.split_at(at),
        None => (args, &[][..]),
    };
    let args = [before, &["--person", "anna"], after].concat();
    let output = with_input(rig, &args, input.as_bytes()).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.success(), said)
}

async fn needs_a_code(rig: &Rig, args: &[&str]) {
    let refusal = refused(rig, args).await;
    assert_eq!(refusal["code"], "second_factor_needed", "{args:?}");
}

const REVEAL: [&str; 7] = [
    "credential",
    "reveal",
    "crit/key",
    "--env",
    "lab",
    "--reason",
    "test",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_critical_value_is_given_on_the_socket_to_whoever_shows_a_code() {
    let (rig, front, kept) = owned().await;
    for args in [
        &REVEAL[..],
        &["credential", "lease", "crit/key", "--env", "lab"],
        &[
            "credential",
            "run",
            "crit/key",
            "std/key",
            "--env",
            "lab",
            "--",
            "true",
        ],
    ] {
        let args: Vec<&str> = match args.iter().position(|arg| *arg == "--") {
            Some(at) => [&args[..at], &["--json"], &args[at..]].concat(),
            None => [args, &["--json"]].concat(),
        };
        let output = rig.cli(&args).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            said.contains("second_factor_needed"),
            "{args:?}: {output:?}"
        );
        assert!(!said.contains("critical-value"), "{said}");
    }
    let standard = ["credential", "reveal", "std/key", "--env", "lab"];
    assert_eq!(told(&rig, &standard).await["text"], "standard-value");
    let wrong = by_anna(&rig, &REVEAL, "000000\n").await;
    assert!(!wrong.0, "{wrong:?}");
    let next = format!("{}\n", code(&kept.totp, 1));
    let given = by_anna(&rig, &REVEAL, &next).await;
    assert_eq!(given, (true, "critical-value".to_owned()));
    let again = by_anna(&rig, &REVEAL, &next).await;
    assert!(!again.0, "a code is used once");
    let log = rig.verified_log().await;
    let read = records(&log, "credential.read");
    let last = read.last().unwrap();
    assert_eq!(last["details"]["second_factor"], "anna", "{last}");
    let wrong: Vec<Value> = records(&log, "person.refuse");
    let why: Vec<&str> = wrong.iter().filter_map(|r| r["reason"].as_str()).collect();
    assert_eq!(why, ["wrong_code", "used_code"], "{wrong:?}");
    drop(front);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_comes_first_on_standard_input_and_the_rest_is_the_commands() {
    let (rig, _front, kept) = owned().await;
    let run = ["credential", "run", "crit/key", "--env", "lab", "--", "cat"];
    let input = format!("{}\nwhat follows\n", code(&kept.totp, 1));
    let said = by_anna(&rig, &run, &input).await;
    assert_eq!(said, (true, "what follows\n".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_act_of_an_owner_is_done_on_the_socket_without_a_code() {
    let (rig, front, kept) = owned().await;
    let bridge = [
        "bridge",
        "connect",
        "http",
        "crit",
        "--env",
        "lab",
        "--owner",
        "anna",
        "--purpose",
        "test",
        "--authority",
        "crit/key",
        "--set",
        "base_url=http://127.0.0.1:9",
        "--set",
        r#"verify={"method":"GET","path":"/me","headers":{"x":"{{authority}}"}}"#,
    ];
    let file = front.bench.dir.join("named.token");
    let grant = ["token", "create", "named", "--env", "lab", "--out"];
    let named = [&grant[..], &[file.to_str().unwrap()]].concat();
    let named = [&named[..], &["--allow", "crit/key:read"]].concat();
    let add = ["environment", "add", "staging"];
    let place = front.bench.dir.to_str().unwrap();
    for args in [
        &bridge[..],
        &named,
        &add,
        &["backup", "create", "--to", place],
        &["backup", "set", "--to", place],
        &["person", "invite", "eve", "--role", "owner"],
        &[
            "person",
            "invite",
            "eve",
            "--role",
            "developer",
            "--env",
            "lab",
        ],
    ] {
        needs_a_code(&rig, args).await;
    }
    // A role that may do nothing of the kind, and a token that no critical credential is named in, are given as before.
    invite(&rig, "bert", "operator", &["lab"]).await;
    let more = ["person", "change", "bert", "--role", "developer"];
    needs_a_code(&rig, &[&more[..], &["--env", "lab"]].concat()).await;
    // Nor does it take one to take something away.
    told(&rig, &["person", "change", "bert", "--role", "auditor"]).await;
    let standard = [&grant[..], &[file.to_str().unwrap()]].concat();
    told(&rig, &[&standard[..], &["--allow", "*:read"]].concat()).await;
    let next = format!("{}\n", code(&kept.totp, 1));
    let added = by_anna(&rig, &add, &next).await;
    assert!(added.0 && added.1.contains("staging"), "{added:?}");
    let log = rig.verified_log().await;
    let entry = &records(&log, "environment.add")[0];
    assert_eq!(entry["details"]["second_factor"], "anna", "{entry}");
}

#[tokio::test(flavor = "multi_thread")]
async fn before_anybody_has_joined_the_socket_asks_for_nothing_and_then_for_good() {
    let (rig, front) = home().await;
    added(&rig, "crit/key", "lab", b"critical-value", &CRITICAL).await;
    let link = invite(&rig, "udo", "auditor", &[]).await;
    assert_eq!(told(&rig, &REVEAL).await["text"], "critical-value");
    // An auditor has a code, and may not see a value with it.
    let kept = Browser::new(&front).join(&link, "udo").await;
    let refusal = refused(&rig, &REVEAL).await;
    let remedy = refusal["remedy"].as_str().unwrap();
    assert!(remedy.contains("person setup-link"), "{refusal}");
    let by_udo = [&REVEAL[..], &["--person", "udo", "--json"]].concat();
    let next = format!("{}\n", code(&kept.totp, 1));
    let refusal = with_input(&rig, &by_udo, next.as_bytes()).await;
    let said = String::from_utf8_lossy(&refusal.stdout).into_owned();
    assert!(said.contains("not of a person who may do this"), "{said}");
    // The way back of a home without an owner.
    let mut anna = Browser::new(&front);
    let kept = anna.join(&setup_link(&rig).await, "anna").await;
    let next = format!("{}\n", code(&kept.totp, 1));
    let given = by_anna(&rig, &REVEAL, &next).await;
    assert_eq!(given, (true, "critical-value".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_who_has_lost_the_authenticator_gets_another_one_by_the_gateways_own_user() {
    let (rig, front, _) = owned().await;
    let again = told(&rig, &["person", "invite-again", "anna"]).await;
    needs_a_code(&rig, &REVEAL).await;
    let link = again["url"].as_str().unwrap();
    let kept = Browser::new(&front).join(link, "anna").await;
    let next = format!("{}\n", code(&kept.totp, 1));
    let given = by_anna(&rig, &REVEAL, &next).await;
    assert_eq!(given, (true, "critical-value".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn sending_away_the_last_authenticator_opens_nothing() {
    let (rig, front) = home().await;
    added(&rig, "crit/key", "lab", b"critical-value", &CRITICAL).await;
    let link = invite(&rig, "dora", "developer", &["lab"]).await;
    let kept = Browser::new(&front).join(&link, "dora").await;
    let by_dora = [&REVEAL[..], &["--person", "dora"]].concat();
    let next = format!("{}\n", code(&kept.totp, 1));
    let given = with_input(&rig, &by_dora, next.as_bytes()).await;
    assert!(given.status.success(), "{given:?}");
    // At once, and without a code: it may be urgent.
    told(&rig, &["person", "end", "dora"]).await;
    needs_a_code(&rig, &REVEAL).await;
    needs_a_code(&rig, &["environment", "add", "staging"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_leaves_a_critical_credential_with_a_code_or_nothing_is_changed() {
    let (rig, _front, kept) = owned().await;
    let change = ["credential", "change", "std/key", "--env", "lab"];
    told(&rig, &[&change[..], &["--used-by", "hook"]].concat()).await;
    let places = ["--used-by", "hook", "--used-by", "site"];
    let more = [&CRITICAL[..], &places].concat();
    added(&rig, "crit/used", "lab", b"another-value", &more).await;
    let retire = ["credential", "retire", "--project", "hook"];
    needs_a_code(&rig, &retire).await;
    let used = ["credential", "show", "crit/used", "--env", "lab"];
    let gone = ["credential", "show", "std/key", "--env", "lab"];
    assert_eq!(told(&rig, &used).await["used_by"], json!(["hook", "site"]));
    assert_eq!(told(&rig, &gone).await["state"], "active");
    let next = format!("{}\n", code(&kept.totp, 1));
    let retired = by_anna(&rig, &retire, &next).await;
    assert!(retired.0, "{retired:?}");
    assert_eq!(told(&rig, &used).await["used_by"], json!(["site"]));
    assert_eq!(told(&rig, &gone).await["state"], "retired");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_to_come_in_again_ends_when_its_person_gets_another_role() {
    let (rig, front, _kept) = owned().await;
    let invited = invite(&rig, "bert", "operator", &["lab"]).await;
    Browser::new(&front).join(&invited, "bert").await;
    let again = told(&rig, &["person", "invite-again", "bert"]).await;
    let token = again["url"].as_str().unwrap().split_once('#').unwrap().1;
    let look = json!({"token": token});
    let stranger = Browser::new(&front);
    let path = "/api/v1/invitations/look";
    assert_eq!(stranger.post(path, &look).await.status, 200);
    told(&rig, &["person", "change", "bert", "--role", "auditor"]).await;
    let answer = stranger.post(path, &look).await;
    assert_eq!(answer.code(), "refused", "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_what_is_not_there_yet_takes_a_code() {
    let (rig, front, _kept) = owned().await;
    let file = front.bench.dir.join("later.token");
    let out = ["--env", "lab", "--out", file.to_str().unwrap()];
    let create = [&["token", "create", "later"][..], &out].concat();
    needs_a_code(
        &rig,
        &[&create[..], &["--allow", "crit/later:read"]].concat(),
    )
    .await;
    let named = [&create[..], &["--allow", "std/key:read"]].concat();
    told(&rig, &named).await;
    told(&rig, &["credential", "retire", "std/key", "--env", "lab"]).await;
    // What is there no more may be there again, and critical.
    let file = front.bench.dir.join("again.token");
    let again = ["token", "create", "again", "--env", "lab", "--out"];
    let again = [&again[..], &[file.to_str().unwrap()]].concat();
    needs_a_code(&rig, &[&again[..], &["--allow", "std/key:read"]].concat()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_critical_authority_makes_is_critical_unless_a_person_says_otherwise() {
    let (rig, _front, kept) = owned().await;
    let bridge = [
        "bridge",
        "connect",
        "http",
        "cloud",
        "--env",
        "lab",
        "--owner",
        "anna",
        "--purpose",
        "test",
        "--set",
        "base_url=http://127.0.0.1:9",
        "--set",
        r#"mint={"method":"POST","path":"/keys","headers":{"x":"{{authority}}"},"value":"/key"}"#,
        "--authority",
        "std/key",
    ];
    let add = [
        "credential",
        "add",
        "cloud/new",
        "--env",
        "lab",
        "--kind",
        "api-token",
        "--owner",
        "anna",
        "--purpose",
        "test",
        "--generate",
    ];
    let critical = [&add[..], &CRITICAL].concat();
    let next = format!("{}\n", code(&kept.totp, 1));
    assert!(by_anna(&rig, &bridge, &next).await.0);
    told(
        &rig,
        &[
            "credential",
            "change",
            "std/key",
            "--env",
            "lab",
            "--tier",
            "critical",
        ],
    )
    .await;
    needs_a_code(&rig, &add).await;
    // Nobody answers there; it is kept all the same.
    rig.cli(&critical).await;
    let kept = told(&rig, &["credential", "show", "cloud/new", "--env", "lab"]).await;
    assert_eq!(kept["tier"], "critical");
}
