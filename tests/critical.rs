//! Critical credentials: no pattern reaches them, and what guards a value is changed by nobody whom it keeps out.

use std::path::Path;

use serde_json::{Value, json};

use crate::people::{Browser, code, setup_link};
use crate::pipeline::{ask, token};
use crate::rig::{Rig, until};
use crate::service::home;
use crate::vault::{added, records, refused, told, with_input};

pub const CRITICAL: [&str; 2] = ["--tier", "critical"];

pub async fn is_refused(rig: &Rig, token: &Path, args: &[&str], because: &str) {
    let (code, refusal) = ask(rig, token, args).await;
    assert_eq!(code, Some(1), "{args:?}: {refusal}");
    let detail = refusal["error"]["detail"].as_str().unwrap();
    assert!(detail.contains(because), "{args:?}: {refusal}");
}

pub async fn shown(rig: &Rig, name: &str) -> Value {
    told(rig, &["credential", "show", name, "--env", "lab"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_does_nothing_with_a_critical_credential_but_see_it() {
    let (rig, front) = home().await;
    added(&rig, "crit/key", "lab", b"critical-value", &CRITICAL).await;
    added(&rig, "crit/other", "lab", b"other-value-1", &[]).await;
    let all = ["list", "read", "lease", "rotate", "write"].map(|action| format!("*:{action}"));
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let wide = token(&rig, &front, "wide", &all).await;
    let before = shown(&rig, "crit/key").await;
    let new = front.bench.dir.join("new");
    std::fs::write(&new, "critical-value").unwrap();
    let new = new.to_str().unwrap();
    let why = "a pattern does not include it";
    let refusal = ask(
        &rig,
        &wide,
        &["credential", "rollback", "crit/key", "--env", "lab"],
    )
    .await;
    assert_eq!(refusal.1["error"]["code"], "forbidden", "{refusal:?}");
    for args in [
        &["reveal", "crit/key", "--reason", "x"][..],
        &["lease", "crit/key"],
        &["rotate", "crit/key"],
        &["rotate", "crit/key", "--generate"],
        &["rotate", "crit/key", "--from-file", new],
        &["rollback", "crit/key"],
        &["confirm", "crit/key", "--dependent", "x"],
        &["change", "crit/key", "--tier", "standard"],
        &["change", "crit/key", "--purpose", "y"],
    ] {
        let args = [&["credential"][..], args, &["--env", "lab"]].concat();
        is_refused(&rig, &wide, &args, why).await;
    }
    assert_eq!(shown(&rig, "crit/key").await, before);
    let (_, seen) = ask(
        &rig,
        &wide,
        &["credential", "show", "crit/key", "--env", "lab"],
    )
    .await;
    assert_eq!(seen["tier"], "critical");
    // A caller who may not read does not learn that a guess is equal.
    added_by(&rig, &wide, "crit/guess", new).await;
    let (_, findings) = ask(&rig, &wide, &["check"]).await;
    assert!(!findings.to_string().contains("crit/key"), "{findings}");
    let manifest = front.bench.dir.join("hearthkey.toml");
    std::fs::write(
        &manifest,
        "environment = \"lab\"\n[[credential]]\nname = \"crit/key\"\nactions = [\"read\"]\n",
    )
    .unwrap();
    let check = ["check", "--manifest", manifest.to_str().unwrap()];
    let (_, checked) = ask(&rig, &wide, &check).await;
    let problems = checked["credentials"][0]["problems"].to_string();
    assert!(problems.contains("may not read it"), "{checked}");
    let refusals = records(&rig.verified_log().await, "credential.refuse");
    assert_eq!(refusals[0]["reason"], "critical", "{refusals:?}");
}

pub async fn added_by(rig: &Rig, token: &Path, name: &str, file: &str) {
    let add = [
        "credential",
        "add",
        name,
        "--env",
        "lab",
        "--kind",
        "api-key",
        "--owner",
        "eve",
        "--purpose",
        "x",
        "--from-file",
        file,
    ];
    let (code, answer) = ask(rig, token, &add).await;
    assert_eq!(code, Some(0), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_has_the_gateway_replace_nothing_by_itself() {
    let (rig, front) = home().await;
    let new = front.bench.dir.join("new");
    std::fs::write(&new, "own-value").unwrap();
    let add = "credential add sys/mine --env lab --kind api-token --owner eve --purpose x \
               --rotate-after-uses 1 --rotate-automatically --from-file";
    let mut add: Vec<&str> = add.split_whitespace().collect();
    add.push(new.to_str().unwrap());
    let wide = token(&rig, &front, "wide", &["*:read", "*:write"]).await;
    is_refused(&rig, &wide, &add, "automatic rotation").await;
    let named = token(&rig, &front, "named", &["sys/mine:write"]).await;
    assert_eq!(ask(&rig, &named, &add).await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_has_no_place_told_by_a_critical_authority() {
    let (rig, front) = home().await;
    added(&rig, "ci/trigger", "lab", b"trigger-secret", &CRITICAL).await;
    let notify = json!({
        "method": "POST", "path": "/hook", "json": {"event": "{{event}}"},
        "headers": {"Authorization": "Bearer {{authority}}"},
    });
    let notify = format!("notify={notify}");
    let connect = "bridge connect http ci --env lab --owner anna --purpose builds --authority ci/trigger \
                   --set base_url=https://localhost --set";
    let mut connect: Vec<&str> = connect.split_whitespace().collect();
    connect.push(&notify);
    told(&rig, &connect).await;
    let new = front.bench.dir.join("new");
    std::fs::write(&new, "own-value").unwrap();
    let new = new.to_str().unwrap();
    let wide = token(&rig, &front, "wide", &["*:rotate", "*:write"]).await;
    let add = "credential add sys/mine --env lab --kind api-token --owner eve --purpose x --used-by ci --from-file";
    let mut add: Vec<&str> = add.split_whitespace().collect();
    add.push(new);
    is_refused(
        &rig,
        &wide,
        &add,
        "notified of rotations by a critical authority",
    )
    .await;
    added(
        &rig,
        "sys/mine",
        "lab",
        b"own-value-1",
        &["--used-by", "ci"],
    )
    .await;
    let rotate = "credential rotate sys/mine --env lab --from-file";
    let mut rotate: Vec<&str> = rotate.split_whitespace().collect();
    rotate.push(new);
    is_refused(
        &rig,
        &wide,
        &rotate,
        "notified of rotations by a critical authority",
    )
    .await;
    let both = ["sys/mine:rotate", "sys/mine:write"];
    let named = token(&rig, &front, "named", &both).await;
    let (code, answer) = ask(&rig, &named, &rotate).await;
    assert_eq!(code, Some(0), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_does_not_move_the_end_of_a_credential_by_replacing_its_value() {
    let (rig, front) = home().await;
    added(&rig, "a/key", "lab", b"value-of-then", &[]).await;
    let change = ["credential", "change", "a/key", "--env", "lab"];
    let past = ["--expires", "2020-01-01T00:00:00Z"];
    told(&rig, &[&change[..], &past].concat()).await;
    let before = shown(&rig, "a/key").await["expires_at"].clone();
    let new = front.bench.dir.join("new");
    std::fs::write(&new, "value-of-now").unwrap();
    let rotate = "credential rotate a/key --env lab --from-file";
    let mut rotate: Vec<&str> = rotate.split(' ').collect();
    rotate.push(new.to_str().unwrap());
    let allow = ["a/key:read", "a/key:rotate", "a/key:write"];
    let service = token(&rig, &front, "service", &allow).await;
    assert_eq!(ask(&rig, &service, &rotate).await.0, Some(0));
    until("the new value is current", async || {
        (shown(&rig, "a/key").await["version"] == 2).then_some(())
    })
    .await;
    assert_eq!(shown(&rig, "a/key").await["expires_at"], before);
    let reveal = ["credential", "reveal", "a/key", "--env", "lab"];
    let old = [&reveal[..], &["--version", "1"]].concat();
    for args in [&reveal[..], &old] {
        is_refused(&rig, &service, args, "has expired").await;
    }
    // A person says when the new value ends. The old one's end stays what it was.
    let later = ["--expires", "2099-01-01T00:00:00Z"];
    told(&rig, &[&change[..], &later].concat()).await;
    assert_eq!(ask(&rig, &service, &reveal).await.0, Some(0));
    is_refused(&rig, &service, &old, "has expired").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_by_a_pattern_gets_no_marks_of_critical_values() {
    let (rig, front) = home().await;
    added(&rig, "crit/key", "lab", b"critical-value-4711", &CRITICAL).await;
    let tree = front.bench.dir.join("tree");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("file"), "x = critical-value-4711\n").unwrap();
    let scan = ["credential", "scan", tree.to_str().unwrap(), "--own-only"];
    let wide = token(&rig, &front, "wide", &["*:list", "*:read"]).await;
    assert_eq!(ask(&rig, &wide, &scan).await.0, Some(0));
    let named = token(&rig, &front, "named", &["*:list", "crit/key:read"]).await;
    assert_eq!(ask(&rig, &named, &scan).await.0, Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_changes_nothing_that_guards_a_value_whatever_it_was_granted() {
    let (rig, front) = home().await;
    added(&rig, "a/key", "lab", b"a-value-of-lab", &["--tier", "high"]).await;
    let grants = ["a/key:list", "a/key:write", "a/key:rotate"];
    let writing = token(&rig, &front, "writing", &grants).await;
    let before = shown(&rig, "a/key").await;
    for args in [
        &["--tier", "standard"][..],
        &["--tier", "critical"],
        &["--owner", "eve"],
        &["--used-by", "hook"],
        &["--scope", "admin"],
        &["--expires", "2099-01-01T00:00:00Z"],
        &["--rotate-after-uses", "1000000"],
    ] {
        let args = [&["credential", "change", "a/key", "--env", "lab"][..], args].concat();
        is_refused(&rig, &writing, &args, "a token may not change").await;
    }
    let new = front.bench.dir.join("new");
    std::fs::write(&new, "another-value").unwrap();
    let rotate = [
        "credential",
        "rotate",
        "a/key",
        "--env",
        "lab",
        "--from-file",
        new.to_str().unwrap(),
    ];
    let longer = [&rotate[..], &["--overlap", "90d"]].concat();
    is_refused(&rig, &writing, &longer, "no longer than").await;
    let foreign = [&rotate[..], &["--remote-id", "admin"]].concat();
    is_refused(&rig, &writing, &foreign, "may not set the id of a value").await;
    assert_eq!(shown(&rig, "a/key").await, before);
    let purpose = [
        "credential",
        "change",
        "a/key",
        "--env",
        "lab",
        "--purpose",
        "lamps",
    ];
    assert_eq!(ask(&rig, &writing, &purpose).await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tier_is_lowered_by_a_person_with_a_second_factor_also_on_the_socket() {
    let (rig, front) = home().await;
    added(&rig, "crit/key", "lab", b"critical-value", &CRITICAL).await;
    added(&rig, "crit/early", "lab", b"early-value", &CRITICAL).await;
    let lower = |name: &'static str| {
        [
            "credential",
            "change",
            name,
            "--env",
            "lab",
            "--tier",
            "standard",
        ]
    };
    told(&rig, &lower("crit/early")).await;
    let kept = Browser::new(&front)
        .join(&setup_link(&rig).await, "anna")
        .await;
    let refusal = refused(&rig, &lower("crit/key")).await;
    assert_eq!(refusal["code"], "second_factor_needed", "{refusal}");
    let raise = [
        "credential",
        "change",
        "crit/early",
        "--env",
        "lab",
        "--tier",
        "high",
    ];
    told(&rig, &raise).await;
    let as_owner = [&lower("crit/key")[..], &["--person", "anna", "--json"]].concat();
    let wrong = with_input(&rig, &as_owner, b"000000\n").await;
    assert!(!wrong.status.success());
    assert_eq!(shown(&rig, "crit/key").await["tier"], "critical");
    // The code of now was used up by joining.
    let next = format!("{}\n", code(&kept.totp, 1));
    let lowered = with_input(&rig, &as_owner, next.as_bytes()).await;
    assert!(
        lowered.status.success(),
        "{}",
        String::from_utf8_lossy(&lowered.stdout)
    );
    let again = with_input(
        &rig,
        &[&lower("crit/early")[..], &["--person", "anna", "--json"]].concat(),
        next.as_bytes(),
    )
    .await;
    assert!(!again.status.success(), "a code is used once");
    let log = rig.verified_log().await;
    let described = records(&log, "credential.describe");
    assert_eq!(
        described.last().unwrap()["details"]["second_factor"],
        "anna"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_grant_learns_nothing_from_preconditions() {
    let (rig, front) = home().await;
    added(&rig, "a/key", "lab", b"a-value-of-lab", &[]).await;
    let key = front.key("narrow").await;
    let public = front.bench.dir.join("narrow.pub");
    let create = [
        "token",
        "create",
        "narrow",
        "--env",
        "lab",
        "--allow",
        "b/key:write",
        "--key",
        public.to_str().unwrap(),
    ];
    let made = told(&rig, &create).await;
    let token = made["token"].as_str().unwrap();
    let mut said = Vec::new();
    for name in ["a/key", "a/none"] {
        for tag in ["\"0\"", "\"999999\"", "*"] {
            let path = format!("/api/v1/environments/lab/credentials/{name}/change");
            let matching = format!("if-match: {tag}");
            let more = [
                "-H",
                "content-type: application/json",
                "-H",
                &matching,
                "-d",
                "{}",
            ];
            let answer = front.post(&path, token, &key, &more).await;
            assert_eq!(answer.status, 403, "{name} {tag}: {answer:?}");
            said.push(answer.body.replace(name, "NAME"));
        }
    }
    said.dedup();
    assert_eq!(said.len(), 1, "{said:?}");
    for environment in ["home", "nowhere"] {
        let body = json!({
            "name": "b/key", "environment": environment, "kind": "api-key", "owner": "e", "purpose": "p",
            "tier": "standard", "value": "eA==",
        });
        let body = body.to_string();
        let more = ["-H", "content-type: application/json", "-d", &body];
        let answer = front.post("/api/v1/credentials", token, &key, &more).await;
        assert_eq!(answer.status, 403, "{environment}: {answer:?}");
        let manifest =
            json!({"environment": environment, "credential": [{"name": "b/key"}]}).to_string();
        let more = ["-H", "content-type: application/json", "-d", &manifest];
        let answer = front
            .post("/api/v1/manifest/check", token, &key, &more)
            .await;
        assert_eq!(answer.status, 403, "{environment}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn going_back_brings_the_end_of_a_value_back_with_it() {
    let (rig, front) = home().await;
    added(&rig, "a/key", "lab", b"value-of-then", &[]).await;
    let change = ["credential", "change", "a/key", "--env", "lab", "--expires"];
    let past = "2020-01-01T00:00:00Z";
    told(&rig, &[&change[..], &[past]].concat()).await;
    let new = front.bench.dir.join("new");
    std::fs::write(&new, "value-of-now").unwrap();
    let rotate = [
        "credential",
        "rotate",
        "a/key",
        "--env",
        "lab",
        "--overlap",
        "0s",
        "--from-file",
    ];
    told(&rig, &[&rotate[..], &[new.to_str().unwrap()]].concat()).await;
    let is_version = async |version: u64| {
        until("the value is the current one", async || {
            let shown = shown(&rig, "a/key").await;
            (shown["version"] == version).then_some(shown)
        })
        .await
    };
    assert!(is_version(2).await["expires_at"].is_null());
    // Which value is the current one is not for a token that only asks for new ones.
    let rotates = token(&rig, &front, "rotates", &["a/key:rotate"]).await;
    let back = ["credential", "rollback", "a/key", "--env", "lab"];
    let (_, refusal) = ask(&rig, &rotates, &back).await;
    assert_eq!(refusal["error"]["code"], "forbidden", "{refusal}");
    told(&rig, &back).await;
    let ends = is_version(3).await["expires_at"].clone();
    assert!(ends.as_str().unwrap().starts_with("2020-01-01"), "{ends}");
    let reveal = ["credential", "reveal", "a/key", "--env", "lab"];
    let why = refused(&rig, &reveal).await;
    assert!(
        why["detail"].as_str().unwrap().contains("has expired"),
        "{why}"
    );
}
