//! People: joining, logging in, roles, and what a page of a stranger can do.

use aws_lc_rs::hmac;
use hearthkey_api::Client;
use serde_json::{Value, json};

use crate::clock::{machine_time_s, set, settable};
use crate::here::invited_by;
use crate::rig::{Rig, json as said_in_json, until};
use crate::service::{Answer, Front, home, listen};

pub const PASSWORD: &str = "four random words here";

/// A browser as curl plays it: it keeps its cookie, and says where its page is from.
pub struct Browser<'a> {
    front: &'a Front,
    pub cookie: String,
    pub csrf: String,
}

/// What a person keeps: the secret of their codes, and their recovery codes.
pub struct Kept {
    pub totp: Vec<u8>,
    pub codes: Vec<String>,
}

/// RFC 4648 §6, without padding.
pub fn base32(text: &str) -> Vec<u8> {
    let (mut bits, mut held, mut bytes) = (0_u32, 0, Vec::new());
    for c in text.bytes() {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'2'..=b'7' => c - b'2' + 26,
            _ => continue,
        };
        bits = bits << 5 | u32::from(value);
        held += 5;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    bytes
}

/// RFC 6238 with six digits and 30 seconds.
pub fn code(secret: &[u8], ahead: u64) -> String {
    let step = machine_time_s() / 30 + ahead;
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let tag = tag.as_ref();
    let at = usize::from(tag[19] & 15);
    let number = u32::from_be_bytes(tag[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
    format!("{:06}", number % 1_000_000)
}

impl<'a> Browser<'a> {
    pub fn new(front: &'a Front) -> Self {
        Self {
            front,
            cookie: String::new(),
            csrf: String::new(),
        }
    }

    /// Asks with curl, as the browser that is logged in.
    pub async fn ask(&self, path: &str, args: &[&str]) -> Answer {
        let cookie = format!("cookie: __Host-hearthkey={}", self.cookie);
        let csrf = format!("x-hearthkey-csrf: {}", self.csrf);
        let mut all = vec!["-A", "Storybrowser/1.0"];
        if !self.cookie.is_empty() {
            all.extend(["-H", cookie.as_str(), "-H", csrf.as_str()]);
        }
        all.extend(args);
        self.front.curl(path, &all).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(path, &[]).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_with(path, &[], body).await
    }

    /// With more headers, like `if-match: "7"`.
    pub async fn post_with(&self, path: &str, headers: &[&str], body: &Value) -> Answer {
        let origin = format!("origin: {}", self.front.url);
        let body = body.to_string();
        let json = "content-type: application/json";
        let mut args = vec!["-X", "POST", "-H", &origin, "-H", json, "-d", &body];
        args.extend(headers.iter().flat_map(|header| ["-H", header]));
        self.ask(path, &args).await
    }

    /// Remembers what a login answered.
    pub fn keep(&mut self, answer: &Answer) {
        assert_eq!(answer.status, 200, "{answer:?}");
        // `Answer` has its head in lower case, which is no form of a secret.
        let at = answer.raw_header("set-cookie").unwrap();
        let value = at.split(';').next().unwrap();
        self.cookie = value.split_once('=').unwrap().1.to_owned();
        let body = answer.json();
        let session = if body["session"].is_object() {
            &body["session"]
        } else {
            &body
        };
        self.csrf = session["csrf"].as_str().unwrap().to_owned();
    }

    /// Takes up a link with a password.
    pub async fn join(&mut self, link: &str, name: &str) -> Kept {
        let token = link.split_once('#').unwrap().1;
        let begin = json!({"token": token, "name": name, "password": PASSWORD});
        let begun = self.post("/api/v1/invitations/password", &begin).await;
        assert_eq!(begun.status, 200, "{begun:?}");
        let begun = begun.json();
        let totp = base32(begun["totp_secret"].as_str().unwrap());
        let confirm = json!({"ceremony": begun["ceremony"], "code": code(&totp, 0)});
        let joined = self
            .post("/api/v1/invitations/password/confirm", &confirm)
            .await;
        self.keep(&joined);
        let codes = joined.json()["recovery_codes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|code| code.as_str().unwrap().to_owned())
            .collect();
        Kept { totp, codes }
    }

    pub async fn log_in(&mut self, name: &str, password: &str, code: &str) -> Answer {
        let login = json!({"name": name, "password": password, "code": code});
        self.post("/api/v1/session/password", &login).await
    }
}

pub async fn setup_link(rig: &Rig) -> String {
    let made = said_in_json(&rig.cli(&["person", "setup-link", "--json"]).await);
    made["url"].as_str().unwrap().to_owned()
}

/// Invites somebody by the command line, and gives their link.
pub async fn invite(rig: &Rig, name: &str, role: &str, environments: &[&str]) -> String {
    let mut args = vec!["person", "invite", name, "--role", role, "--json"];
    for environment in environments {
        args.extend(["--env", environment]);
    }
    let made = said_in_json(&rig.cli(&args).await);
    made["url"]
        .as_str()
        .unwrap_or_else(|| panic!("{made}"))
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_setup_link_makes_one_owner_and_works_once() {
    let (rig, front) = home().await;
    let link = setup_link(&rig).await;
    let mut anna = Browser::new(&front);
    let token = json!({"token": link.split_once('#').unwrap().1});
    let look = anna.post("/api/v1/invitations/look", &token).await.json();
    assert_eq!(
        (look["role"].as_str(), look["first"].as_bool()),
        (Some("owner"), Some(true))
    );
    anna.join(&link, "anna").await;
    let me = anna.get("/api/v1/session").await.json();
    assert_eq!(
        (&me["name"], &me["role"]),
        (&json!("anna"), &json!("owner"))
    );
    let again = Browser::new(&front)
        .post("/api/v1/invitations/look", &token)
        .await;
    assert_eq!((again.status, again.code().as_str()), (409, "refused"));
    let another = rig.cli(&["person", "setup-link", "--json"]).await;
    assert!(!another.status.success());
    // An owner stays: neither of these may leave the home without one.
    for args in [
        &["person", "end", "anna", "--json"][..],
        &["person", "change", "anna", "--role", "auditor", "--json"],
    ] {
        let refused = rig.cli(args).await;
        let text = String::from_utf8_lossy(&refused.stdout).into_owned();
        assert!(text.contains("at least one owner"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_needs_name_password_and_a_code_that_was_not_used() {
    let (rig, front) = home().await;
    let kept = Browser::new(&front)
        .join(&setup_link(&rig).await, "anna")
        .await;
    let mut browser = Browser::new(&front);
    let good = code(&kept.totp, 1);
    let mut said = Vec::new();
    for (name, password, code) in [
        ("nobody", PASSWORD, good.as_str()),
        ("anna", "wrong password", good.as_str()),
        ("anna", PASSWORD, "000000"),
        ("anna", PASSWORD, ""),
    ] {
        let refused = browser.log_in(name, password, code).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (401, "login_failed")
        );
        said.push(refused.body);
    }
    said.dedup();
    assert_eq!(
        said.len(),
        1,
        "the answer does not tell what was wrong: {said:?}"
    );
    let answer = browser.log_in("anna", PASSWORD, &good).await;
    let cookie = answer.raw_header("set-cookie").unwrap();
    for part in [
        "__Host-hearthkey=",
        "Secure",
        "HttpOnly",
        "SameSite=Strict",
        "Path=/",
    ] {
        assert!(cookie.contains(part), "{part}");
    }
    browser.keep(&answer);
    assert_eq!(browser.get("/api/v1/devices").await.status, 200);
    let replayed = Browser::new(&front).log_in("anna", PASSWORD, &good).await;
    assert_eq!(replayed.code(), "login_failed", "a code is good once");
}

/// Waits until the five minutes in which failures are counted do not end while a story guesses.
pub async fn in_one_window() {
    until("a window of guesses with time left", async || {
        (machine_time_s() % 300 < 275).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_is_slowed_by_name_and_tells_nothing_about_who_there_is() {
    let (rig, front) = home().await;
    in_one_window().await;
    let kept = Browser::new(&front)
        .join(&setup_link(&rig).await, "anna")
        .await;
    for name in ["anna", "nobody"] {
        let mut codes = Vec::new();
        for _ in 0..11 {
            let mut browser = Browser::new(&front);
            codes.push(
                browser
                    .log_in(name, "wrong password", "123456")
                    .await
                    .code(),
            );
        }
        let slow = codes.iter().filter(|code| *code == "rate_limited").count();
        assert!(slow >= 1, "{name}: {codes:?}");
        assert_eq!(codes[0], "login_failed", "{name}");
    }
    let mut browser = Browser::new(&front);
    let held = browser.log_in("anna", PASSWORD, &code(&kept.totp, 1)).await;
    assert_eq!(held.code(), "rate_limited");
    let log = rig.cli(&["log", "tail", "-n", "100", "--json"]).await;
    let log = String::from_utf8_lossy(&log.stdout).into_owned();
    assert!(log.contains("session.refuse") && log.contains("wrong_password"));
    assert!(
        !log.contains("nobody"),
        "what was typed as a name is not written down"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_code_logs_in_once_and_is_an_alert() {
    let (rig, front) = home().await;
    let kept = Browser::new(&front)
        .join(&setup_link(&rig).await, "anna")
        .await;
    let login = json!({"name": "anna", "code": kept.codes[3].to_uppercase()});
    let path = "/api/v1/session/recovery";
    let mut browser = Browser::new(&front);
    let upper = browser.post(path, &login).await;
    assert_eq!(upper.code(), "login_failed", "codes are in lower case");
    let login = json!({"name": "anna", "code": kept.codes[3].replace('-', " ")});
    let answer = browser.post(path, &login).await;
    browser.keep(&answer);
    let again = Browser::new(&front).post(path, &login).await;
    assert_eq!(again.code(), "login_failed");
    let own = browser.get("/api/v1/people/me").await.json();
    assert_eq!(own["recovery_codes_left"], 9);
    let alerts = rig.cli(&["log", "tail", "-n", "50", "--json"]).await;
    let text = String::from_utf8_lossy(&alerts.stdout).into_owned();
    assert!(text.contains("a recovery code was used"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_stranger_can_do_nothing_in_a_persons_name() {
    let (rig, front) = home().await;
    let mut anna = Browser::new(&front);
    anna.join(&setup_link(&rig).await, "anna").await;
    let path = "/api/v1/session/end";
    let ours = format!("origin: {}", front.url);
    let csrf = format!("x-hearthkey-csrf: {}", anna.csrf);
    let cookie = format!("cookie: __Host-hearthkey={}", anna.cookie);
    let json = "content-type: application/json";
    for (origin, carried, code) in [
        (
            Some("origin: https://evil.example"),
            Some(csrf.as_str()),
            "cross_origin",
        ),
        (Some("origin: null"), Some(csrf.as_str()), "cross_origin"),
        (None, Some(csrf.as_str()), "cross_origin"),
        (Some(ours.as_str()), None, "csrf"),
        (Some(ours.as_str()), Some("x-hearthkey-csrf: 00"), "csrf"),
    ] {
        let mut args = vec!["-X", "POST", "-H", json, "-d", "{}", "-H", cookie.as_str()];
        for header in [origin, carried].into_iter().flatten() {
            args.extend(["-H", header]);
        }
        let answer = front.curl(path, &args).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (403, code),
            "{origin:?}"
        );
    }
    // A login is no easier to forge: it needs a page of ours.
    let args = ["-X", "POST", "-H", json, "-d", "{}"];
    let forged = front.curl("/api/v1/session/passkey/options", &args).await;
    assert_eq!(forged.code(), "cross_origin");
    let page = front.curl("/", &[]).await;
    assert_eq!(page.header("x-frame-options"), Some("deny"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"));
    assert_eq!(
        anna.get("/api/v1/session").await.status,
        200,
        "still logged in"
    );
    let left = anna.post(path, &json!({})).await;
    assert_eq!(left.status, 200);
    assert!(left.raw_header("set-cookie").unwrap().contains("Max-Age=0"));
    let over = anna.get("/api/v1/session").await;
    assert_eq!((over.status, over.code().as_str()), (401, "not_logged_in"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_given_at_login_and_never_taken_from_the_browser() {
    let (rig, front) = home().await;
    let kept = Browser::new(&front)
        .join(&setup_link(&rig).await, "anna")
        .await;
    let mut victim = Browser::new(&front);
    victim.cookie = "planted-by-somebody-else".into();
    let answer = victim.log_in("anna", PASSWORD, &code(&kept.totp, 1)).await;
    victim.keep(&answer);
    assert_ne!(victim.cookie, "planted-by-somebody-else");
    let mut thief = Browser::new(&front);
    thief.cookie = "planted-by-somebody-else".into();
    assert_eq!(thief.get("/api/v1/session").await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_hold_over_https_each_in_its_environments() {
    let (rig, front) = home().await;
    rig.cli(&["environment", "add", "lab"]).await;
    let mut anna = Browser::new(&front);
    anna.join(&setup_link(&rig).await, "anna").await;
    for (environment, name) in [("home", "hue/api-key"), ("lab", "ha/token")] {
        let add = [
            "credential",
            "add",
            name,
            "--env",
            environment,
            "--kind",
            "api-key",
            "--generate",
            "--owner",
            "anna",
            "--purpose",
            "test",
            "--json",
        ];
        let added = rig.cli(&add).await;
        assert!(added.status.success(), "{added:?}");
    }
    let mut dev = Browser::new(&front);
    let link = invited_by(&anna, "dora", "developer", &["lab"]).await;
    dev.join(&link, "dora").await;
    let mut audit = Browser::new(&front);
    audit
        .join(&invite(&rig, "udo", "auditor", &[]).await, "udo")
        .await;
    let names = |answer: Answer| -> Vec<String> {
        let list = answer.json()["credentials"].clone();
        let name = |view: &Value| view["name"].as_str().unwrap().to_owned();
        list.as_array().unwrap().iter().map(name).collect()
    };
    let seen = names(dev.get("/api/v1/credentials").await);
    assert!(seen.contains(&"ha/token".to_owned()));
    assert!(
        !seen.iter().any(|name| name.starts_with("hue/")),
        "{seen:?}"
    );
    let seen = names(audit.get("/api/v1/credentials").await);
    assert!(seen.contains(&"hue/api-key".to_owned()));
    let reveal = |environment: &str, name: &str| {
        (
            format!("/api/v1/environments/{environment}/reveal"),
            json!({"names": [name], "use": "reveal", "reason": "to see"}),
        )
    };
    let (path, body) = reveal("lab", "ha/token");
    assert_eq!(dev.post(&path, &body).await.status, 200);
    assert_eq!(audit.post(&path, &body).await.code(), "forbidden");
    let (path, body) = reveal("home", "hue/api-key");
    assert_eq!(dev.post(&path, &body).await.code(), "forbidden");
    for path in ["/api/v1/log/records", "/api/v1/people"] {
        assert_eq!(dev.get(path).await.code(), "forbidden", "{path}");
        assert_eq!(audit.get(path).await.status, 200, "{path}");
    }
    // Another role holds from the next request on; an end is an end.
    rig.cli(&["person", "change", "udo", "--role", "operator"])
        .await;
    let me = audit.get("/api/v1/session").await.json();
    assert_eq!(me["role"], "operator");
    rig.cli(&["person", "end", "udo"]).await;
    assert_eq!(audit.get("/api/v1/session").await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_shows_a_secret_wants_a_second_factor_of_the_last_five_minutes() {
    let mut rig = Rig::new().await;
    listen(&mut rig);
    if !settable(&mut rig) {
        return;
    }
    rig.start().await;
    let front = Front::new(&rig).await;
    let mut anna = Browser::new(&front);
    let kept = anna.join(&setup_link(&rig).await, "anna").await;
    let body = json!({"name": "bert", "role": "operator", "environments": []});
    assert_eq!(anna.post("/api/v1/people", &body).await.status, 200);
    set(&rig, "+301s");
    let body = json!({"name": "cleo", "role": "operator", "environments": []});
    let refused = anna.post("/api/v1/people", &body).await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (403, "second_factor_needed")
    );
    let wrong = json!({"code": "000000"});
    let path = "/api/v1/session/step-up/code";
    assert_eq!(anna.post(path, &wrong).await.code(), "second_factor_needed");
    let right = json!({"code": code(&kept.totp, 10)});
    let fresh = anna.post(path, &right).await;
    assert_eq!(fresh.status, 200, "{fresh:?}");
    assert_eq!(
        anna.post(path, &right).await.code(),
        "second_factor_needed",
        "once"
    );
    assert_eq!(anna.post("/api/v1/people", &body).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_listed_with_where_they_come_from_and_ended_by_their_person() {
    let (rig, front) = home().await;
    let mut anna = Browser::new(&front);
    let kept = anna.join(&setup_link(&rig).await, "anna").await;
    let mut phone = Browser::new(&front);
    let answer = phone.log_in("anna", PASSWORD, &code(&kept.totp, 1)).await;
    phone.keep(&answer);
    let list = anna.get("/api/v1/sessions").await.json();
    let sessions = list["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 2);
    let other = sessions.iter().find(|s| s["this"] == false).unwrap();
    assert_eq!(other["agent"], "Storybrowser/1.0");
    assert_eq!(other["address"], "127.0.0.1");
    let id = other["id"].as_str().unwrap();
    let ended = anna
        .post(&format!("/api/v1/sessions/{id}/end"), &json!({}))
        .await;
    assert_eq!(ended.status, 200);
    assert_eq!(phone.get("/api/v1/session").await.status, 401);
    // A restart ends no session.
    drop(phone);
    let client: Client = rig.client();
    let before: Value = client.get("/api/v1/people").await.unwrap();
    assert_eq!(before["people"][0]["name"], "anna");
}
