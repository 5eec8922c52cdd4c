//! Guessing at logins: how many are judged, and what they tell.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::people::{Browser, PASSWORD, code, in_one_window, invite, setup_link};
use crate::rig::{Rig, until};
use crate::service::{Front, home};
use crate::vault::{added, with_input};

/// A wrong guess, and what is said to it.
async fn guess(front: &Front, name: &str, n: usize) -> String {
    let login = json!({"name": name, "password": format!("wrong password {n}"), "code": "123456"});
    let browser = Browser::new(front);
    let answer = browser.post("/api/v1/session/password", &login).await;
    answer.code()
}

/// A wrong guess of a stranger on another machine.
async fn guess_elsewhere(front: &Front, name: &str) -> String {
    let origin = format!("origin: {}", front.url);
    let login = json!({"name": name, "password": "wrong password", "code": "123456"});
    let (login, json) = (login.to_string(), "content-type: application/json");
    let args = ["-X", "POST", "-H", &origin, "-H", json, "-d", &login];
    let elsewhere = ["--interface", "127.0.9.9"];
    let path = "/api/v1/session/password";
    let answer = front.curl(path, &[&args[..], &elsewhere].concat()).await;
    answer.code()
}

/// The refusals of logins in the log.
async fn refusals(rig: &Rig) -> usize {
    let log = rig.cli(&["log", "tail", "-n", "500", "--json"]).await;
    String::from_utf8_lossy(&log.stdout)
        .matches("session.refuse")
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_that_come_at_once_share_one_budget() {
    let (_rig, front) = home().await;
    in_one_window().await;
    // One name, then one address: ten and twenty failures are judged, and the first ten count for both.
    let one_name = (0..16).map(|n| guess(&front, "anna", n));
    let said = futures_util::future::join_all(one_name).await;
    let judged = said.iter().filter(|code| *code == "login_failed").count();
    assert_eq!(judged, 10, "{said:?}");
    let names: Vec<String> = (0..16).map(|n| format!("nobody-{n}")).collect();
    let one_address = names
        .iter()
        .enumerate()
        .map(|(n, name)| guess(&front, name, n));
    let said = futures_util::future::join_all(one_address).await;
    let judged = said.iter().filter(|code| *code == "login_failed").count();
    assert_eq!(judged, 10, "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_can_guess_is_held_up_by_no_guesses() {
    let (rig, front) = home().await;
    let link = setup_link(&rig).await;
    let kept = Browser::new(&front).join(&link, "anna").await;
    let invited = invite(&rig, "bert", "auditor", &[]).await;
    // More wrong ones than a name or a network once had.
    let recovery = "/api/v1/session/recovery";
    let wrong = json!({"name": "anna", "code": "aaaaa-aaaaa-aaaaa-aaaaa"});
    let tries = (0..24).map(|_| async { Browser::new(&front).post(recovery, &wrong).await });
    let said = futures_util::future::join_all(tries).await;
    assert!(said.iter().all(|answer| answer.code() == "login_failed"));
    let look = "/api/v1/invitations/look";
    let wrong = json!({"token": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"});
    let tries = (0..24).map(|_| async { Browser::new(&front).post(look, &wrong).await });
    let said = futures_util::future::join_all(tries).await;
    assert!(said.iter().all(|answer| answer.code() == "refused"));
    let stranger = Browser::new(&front);
    let wrong = json!({"ceremony": "none", "credential": {}});
    let tries = (0..24).map(|_| stranger.post("/api/v1/session/passkey", &wrong));
    let said = futures_util::future::join_all(tries).await;
    assert!(said.iter().all(|answer| answer.code() == "login_failed"));
    let right = json!({"name": "anna", "code": kept.codes[0]});
    let answer = stranger.post(recovery, &right).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    Browser::new(&front).join(&invited, "bert").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_session_is_from_its_name_logs_in_whoever_fails_with_it_elsewhere() {
    let (mut rig, front) = home().await;
    let link = setup_link(&rig).await;
    let kept = Browser::new(&front).join(&link, "anna").await;
    // Nothing of this is in memory any more.
    rig.restart().await;
    until("the end of patience with a name", async || {
        let said = guess_elsewhere(&front, "anna").await;
        (said == "rate_limited").then_some(())
    })
    .await;
    let shown = code(&kept.totp, 1);
    let login = Browser::new(&front).log_in("anna", PASSWORD, &shown).await;
    assert_eq!(login.status, 200, "{login:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_takes_its_time_and_leaves_its_record_for_every_name() {
    let (rig, front) = home().await;
    Browser::new(&front)
        .join(&setup_link(&rig).await, "anna")
        .await;
    Browser::new(&front)
        .join(&invite(&rig, "dora", "auditor", &[]).await, "dora")
        .await;
    assert!(rig.cli(&["person", "end", "dora"]).await.status.success());
    invite(&rig, "bert", "auditor", &[]).await;
    let before = refusals(&rig).await;
    let mut tried = 0;
    let mut said = Vec::new();
    for name in ["anna", "dora", "bert", "nobody"] {
        let password = json!({"name": name, "password": "wrong password", "code": "123456"});
        let recovery = json!({"name": name, "code": "aaaaa-aaaaa-aaaaa-aaaaa"});
        for (path, login) in [
            ("/api/v1/session/password", password),
            ("/api/v1/session/recovery", recovery),
        ] {
            let begun = Instant::now();
            let answer = Browser::new(&front).post(path, &login).await;
            assert!(
                begun.elapsed() >= Duration::from_millis(400),
                "{name} {path}"
            );
            said.push((answer.status, answer.body));
            tried += 1;
            assert_eq!(refusals(&rig).await, before + tried, "{name} {path}");
        }
    }
    said.dedup();
    assert_eq!(said.len(), 1, "{said:?}");
    // A wrong invitation is written down like them.
    let token = json!({"token": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"});
    let look = "/api/v1/invitations/look";
    assert_eq!(
        Browser::new(&front).post(look, &token).await.code(),
        "refused"
    );
    assert_eq!(refusals(&rig).await, before + tried + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_was_shown_once_is_used_wherever_that_was() {
    let (mut rig, front) = home().await;
    let mut anna = Browser::new(&front);
    let kept = anna.join(&setup_link(&rig).await, "anna").await;
    let step_up = "/api/v1/session/step-up/code";
    let shown = code(&kept.totp, 0);
    let login = Browser::new(&front).log_in("anna", PASSWORD, &shown).await;
    assert_eq!(login.code(), "login_failed", "it was shown to join");
    let again = anna.post(step_up, &json!({"code": shown})).await;
    assert_eq!(again.code(), "second_factor_needed", "it was shown to join");
    let next = code(&kept.totp, 1);
    let mut phone = Browser::new(&front);
    let login = phone.log_in("anna", PASSWORD, &next).await;
    phone.keep(&login);
    rig.restart().await;
    for browser in [&anna, &phone] {
        let again = browser.post(step_up, &json!({"code": next})).await;
        assert_eq!(again.code(), "second_factor_needed", "shown to log in");
    }
    let recovery = json!({"name": "anna", "code": kept.codes[0]});
    let path = "/api/v1/session/recovery";
    let used = Browser::new(&front).post(path, &recovery).await;
    assert_eq!(used.status, 200);
    rig.restart().await;
    let again = Browser::new(&front).post(path, &recovery).await;
    assert_eq!(again.code(), "login_failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_who_guesses_keeps_nobody_from_showing_a_second_factor() {
    let (rig, front) = home().await;
    added(
        &rig,
        "crit/key",
        "lab",
        b"critical-value",
        &["--tier", "critical"],
    )
    .await;
    let mut anna = Browser::new(&front);
    let kept = anna.join(&setup_link(&rig).await, "anna").await;
    // Until the name has to wait, and then the address.
    for name in ["anna", "bert"] {
        let guesses = (0..10).map(|n| guess(&front, name, n));
        let said = futures_util::future::join_all(guesses).await;
        assert!(said.iter().all(|code| code == "login_failed"), "{said:?}");
    }
    assert_eq!(guess(&front, "anna", 20).await, "rate_limited");
    let step_up = "/api/v1/session/step-up/code";
    let shown = code(&kept.totp, 1);
    let fresh = anna.post(step_up, &json!({"code": shown})).await;
    assert_eq!(fresh.status, 200, "{fresh:?}");
    // On the gateway's own machine a code is judged too. This one has been used.
    let lower = "credential change crit/key --env lab --tier high --person anna --json";
    let lower: Vec<&str> = lower.split(' ').collect();
    let refused = with_input(&rig, &lower, format!("{shown}\n").as_bytes()).await;
    let said = String::from_utf8_lossy(&refused.stdout);
    assert!(said.contains("second_factor_needed"), "{said}");
    // Guesses there share a budget as well.
    let wrong = json!({"code": "000000"});
    let guesses = (0..14).map(|_| anna.post(step_up, &wrong));
    let said = futures_util::future::join_all(guesses).await;
    let judged = said.iter().filter(|answer| answer.status == 403).count();
    assert_eq!(judged, 10, "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_keeps_nobody_from_logging_in() {
    use tokio::io::AsyncWriteExt;
    let (_rig, front) = home().await;
    // More of them than requests are worked on at a time.
    let mut slow = Vec::new();
    for _ in 0..63 {
        let mut tls = front.connect(&[]).await.unwrap();
        let head = format!(
            "POST /api/v1/session/password HTTP/1.1\r\nHost: {}\r\nOrigin: {}\r\n\
             Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{",
            front.host, front.url
        );
        tls.write_all(head.as_bytes()).await.unwrap();
        slow.push(tls);
    }
    let login = json!({"name": "anna", "password": "wrong password", "code": "123456"});
    let soon = Duration::from_secs(10);
    let path = "/api/v1/session/password";
    let other = Browser::new(&front);
    let asked = other.post(path, &login);
    assert_eq!(timeout(soon, asked).await.unwrap().code(), "login_failed");
    let health: Value = front
        .curl("/api/v1/health", &["--interface", "127.0.9.9"])
        .await
        .json();
    assert!(health.is_object());
    drop(slow);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_others_have_to_wait_a_name_that_is_known_there_tells_nothing() {
    let (rig, front) = home().await;
    in_one_window().await;
    let link = setup_link(&rig).await;
    let kept = Browser::new(&front).join(&link, "anna").await;
    // A guess with that name counts like the others.
    assert_eq!(guess(&front, "anna", 0).await, "login_failed");
    let names: Vec<String> = (0..20).map(|n| format!("nobody-{n}")).collect();
    let wrong = names.iter().map(|name| guess(&front, name, 0));
    let said = futures_util::future::join_all(wrong).await;
    let judged = said.iter().filter(|code| *code == "login_failed").count();
    assert_eq!(judged, 19, "{said:?}");
    for name in ["anna", "nobody-else"] {
        let begun = Instant::now();
        assert_eq!(guess(&front, name, 1).await, "rate_limited", "{name}");
        assert!(begun.elapsed() >= Duration::from_millis(1500), "{name}");
    }
    let shown = code(&kept.totp, 1);
    let login = Browser::new(&front).log_in("anna", PASSWORD, &shown).await;
    assert_eq!(login.status, 200, "{login:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_strangers_hides_nothing_that_those_who_are_known_do() {
    let (rig, front) = home().await;
    let mut anna = Browser::new(&front);
    anna.join(&setup_link(&rig).await, "anna").await;
    let recovery = "/api/v1/session/recovery";
    let names: Vec<String> = (0..60).map(|n| format!("nobody-{n}")).collect();
    let flood = names.iter().map(async |name| {
        let wrong = json!({"name": name, "code": "aaaaa-aaaaa-aaaaa-aaaaa"});
        Browser::new(&front).post(recovery, &wrong).await
    });
    futures_util::future::join_all(flood).await;
    let written = refusals(&rig).await;
    assert!(
        (10..=20).contains(&written),
        "{written}: the minute may have turned"
    );
    let step_up = json!({"code": "000000"});
    anna.post("/api/v1/session/step-up/code", &step_up).await;
    let log = rig.cli(&["log", "tail", "-n", "20", "--json"]).await;
    let log = String::from_utf8_lossy(&log.stdout).into_owned();
    assert!(log.contains("session.step-up"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_at_what_opens_the_home_have_a_budget_and_right_words_are_none() {
    let mut rig = Rig::new().await;
    std::fs::remove_file(rig.data_dir.join("unseal.key")).unwrap();
    assert_eq!(rig.launch().await["sealed"], true);
    in_one_window().await;
    let recovery = rig.made["recovery_code"].as_str().unwrap().to_owned();
    let unseal = async |words: &str| {
        let words = [("HEARTHKEY_PASSPHRASE", words)];
        let said = rig.cli_with(&["unseal", "--json"], &words).await;
        let said: Value = serde_json::from_slice(&said.stdout).unwrap();
        said["error"]["code"]
            .as_str()
            .unwrap_or("opened")
            .to_owned()
    };
    assert_eq!(unseal(&recovery).await, "opened");
    assert!(rig.cli(&["seal"]).await.status.success());
    for n in 0..10 {
        assert_eq!(unseal(&format!("wrong words {n}")).await, "refused");
    }
    assert_eq!(unseal("wrong words").await, "rate_limited");
    assert_eq!(unseal(&recovery).await, "rate_limited");
    assert!(rig.status().await.sealed);
}
