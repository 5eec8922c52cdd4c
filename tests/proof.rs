//! Proofs of possession, made with openssl: right, wrong, old, copied and stolen.

use serde_json::{Value, json};

use crate::clock::machine_time_s;
use crate::rig::until;
use crate::service::{SELF, home};
use crate::stock::{run, said};
use crate::token::{RENEW, refusals};

#[tokio::test(flavor = "multi_thread")]
async fn each_wrong_proof_is_refused_with_its_own_code() {
    let (rig, front) = home().await;
    let (key, thief) = (front.key("ci").await, front.key("thief").await);
    let token = front.token(&rig, "ci", &key).await.token;
    let other = front.token(&rig, "other", &thief).await.token;
    assert_eq!(front.get(SELF, &token, &key).await.status, 200);

    let claims = || front.claims("GET", SELF, &token);
    let with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        claims
    };
    let elsewhere = format!("{}{RENEW}", front.url);
    let host = front.url.replace("18443", "18444");
    for (code, key, claims) in [
        ("proof_wrong_request", &key, with("htm", "POST".into())),
        ("proof_wrong_request", &key, with("htm", "get".into())),
        ("proof_wrong_request", &key, with("htu", elsewhere.into())),
        (
            "proof_wrong_request",
            &key,
            with("htu", format!("{host}{SELF}").into()),
        ),
        ("proof_wrong_request", &key, with("htu", SELF.into())),
        ("proof_wrong_token", &key, front.claims("GET", SELF, &other)),
        ("proof_wrong_token", &key, with("ath", Value::Null)),
        ("proof_invalid", &key, with("jti", "".into())),
        ("proof_invalid", &key, with("iat", "now".into())),
        ("proof_wrong_key", &thief, claims()),
    ] {
        let shown = claims.to_string();
        let (refused, _) = front.ask_with(SELF, &token, key, claims, &[]).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (401, code),
            "{shown}"
        );
        let oauth = if code == "proof_wrong_key" {
            "invalid_token"
        } else {
            "invalid_dpop_proof"
        };
        let challenge = refused.header("www-authenticate").unwrap();
        assert!(challenge.contains(oauth), "{challenge}");
        assert!(refused.json()["remedy"].as_str().unwrap().ends_with('.'));
    }
    let (good, proof) = front.ask_with(SELF, &token, &key, claims(), &[]).await;
    assert_eq!(good.status, 200);
    let (dpop, bearer) = (
        format!("Authorization: DPoP {token}"),
        format!("Authorization: Bearer {token}"),
    );
    let proof = format!("DPoP: {proof}");
    let unknown = format!("Authorization: DPoP {}", token.replace("hk1_", "hk1_0"));
    for (code, args) in [
        (
            "proof_replayed",
            &["-H", dpop.as_str(), "-H", proof.as_str()][..],
        ),
        ("proof_missing", &["-H", &dpop]),
        ("proof_missing", &["-H", &bearer]),
        ("proof_missing", &["-H", &bearer, "-H", &proof]),
        ("proof_invalid", &["-H", &dpop, "-H", &proof, "-H", &proof]),
        ("proof_invalid", &["-H", &dpop, "-H", "DPoP: e30.e30.e30"]),
        ("token_unknown", &["-H", &unknown, "-H", &proof]),
        ("token_unknown", &["-H", &dpop, "-H", &dpop, "-H", &proof]),
        ("token_unknown", &["-H", "Authorization: Basic YTpi"]),
        ("token_missing", &["-H", &proof]),
        ("token_missing", &[]),
    ] {
        let refused = front.curl(SELF, args).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (401, code),
            "{args:?}"
        );
    }
    // A token in a URL is none.
    let in_url = front
        .curl(&format!("{SELF}?access_token={token}"), &[])
        .await;
    assert_eq!(in_url.code(), "token_missing");
    assert!(!rig.verified_log().await.contains(&token));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_token_without_its_key_raises_an_alert() {
    let (rig, front) = home().await;
    let (key, thief) = (front.key("ci").await, front.key("thief").await);
    let token = front.token(&rig, "ci", &key).await.token;
    let bare = format!("Authorization: Bearer {token}");
    for _ in 0..3 {
        assert_eq!(
            front.curl(SELF, &["-H", &bare]).await.code(),
            "proof_missing"
        );
    }
    assert_eq!(
        front.get(SELF, &token, &thief).await.code(),
        "proof_wrong_key"
    );
    for (code, key_id) in [("proof_missing", false), ("proof_wrong_key", true)] {
        let records = refusals(&rig, code).await;
        let alert = &records[0];
        assert_eq!(alert["outcome"], "alert", "{alert}");
        assert_eq!(
            (&alert["object"], &alert["actor"]["name"]),
            (&json!("token:ci"), &json!("unknown"))
        );
        assert!(
            alert["actor"]["address"]
                .as_str()
                .unwrap()
                .starts_with("127.0.0.1:")
        );
        assert_eq!(alert["details"]["key_id"].is_string(), key_id);
    }
    // The same again within a minute is counted, so that a thief cannot fill the log.
    assert!(refusals(&rig, "proof_missing").await.len() < 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_with_a_wrong_clock_is_taken_with_a_nonce_and_no_other_way() {
    let (rig, front) = home().await;
    let key = front.key("ci").await;
    let token = front.token(&rig, "ci", &key).await.token;
    let late = |seconds: i64| {
        let mut claims = front.claims("GET", SELF, &token);
        claims["iat"] = (i64::try_from(machine_time_s()).unwrap() + seconds).into();
        claims
    };
    for seconds in [-3600, -120, 60, 1_000_000] {
        let claims = late(seconds);
        let proof = format!("DPoP: {}", front.prove(&key, &claims).await);
        let authorization = format!("Authorization: DPoP {token}");
        let asked = front
            .curl(SELF, &["-H", &authorization, "-H", &proof])
            .await;
        assert_eq!(
            (asked.status, asked.code().as_str()),
            (401, "proof_needs_nonce"),
            "{seconds}"
        );
        assert!(
            asked
                .header("www-authenticate")
                .unwrap()
                .contains("use_dpop_nonce")
        );
        let (taken, _) = front.ask_with(SELF, &token, &key, claims, &[]).await;
        assert_eq!(taken.status, 200, "{seconds}");
    }
    let mut guessed = late(-3600);
    guessed["nonce"] = "00".repeat(16).into();
    let proof = format!("DPoP: {}", front.prove(&key, &guessed).await);
    let authorization = format!("Authorization: DPoP {token}");
    let asked = front
        .curl(SELF, &["-H", &authorization, "-H", &proof])
        .await;
    assert_eq!(asked.code(), "proof_needs_nonce");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_outlives_kill_9_and_a_proof_that_was_used_before_it_does_not() {
    let (mut rig, front) = home().await;
    let key = front.key("ci").await;
    let token = front.token(&rig, "ci", &key).await.token;
    let claims = front.claims("GET", SELF, &token);
    let (good, proof) = front.ask_with(SELF, &token, &key, claims, &[]).await;
    assert_eq!(good.status, 200);
    rig.kill9().await;
    rig.start().await;
    let authorization = format!("Authorization: DPoP {token}");
    let proof = format!("DPoP: {proof}");
    let replayed = front
        .curl(SELF, &["-H", &authorization, "-H", &proof])
        .await;
    assert_eq!(
        (replayed.status, replayed.code().as_str()),
        (401, "proof_needs_nonce")
    );
    assert_eq!(front.get(SELF, &token, &key).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_guesses_is_not_listened_to_and_others_are() {
    let (rig, front) = home().await;
    let key = front.key("ci").await;
    let token = front.token(&rig, "ci", &key).await.token;
    let guess = "Authorization: DPoP hk1_guess";
    let from = ["--interface", "127.0.0.66", "-H", guess];
    let limited = until("the end of patience", async || {
        let answer = front.curl(SELF, &from).await;
        (answer.status == 429).then_some(answer)
    })
    .await;
    assert_eq!(limited.code(), "rate_limited");
    assert_eq!(front.get(SELF, &token, &key).await.status, 200);
    // In a home, everybody may be behind one address, or in one IPv6 /64.
    let claims = front.claims("GET", SELF, &token);
    let (neighbour, _) = front.ask_with(SELF, &token, &key, claims, &from[..2]).await;
    assert_eq!(neighbour.status, 200, "who has a token is heard");
    let health = front
        .curl("/api/v1/health", &["--interface", "127.0.0.66"])
        .await;
    assert_eq!(health.status, 200, "what everybody may ask stays open");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_script_for_strangers_works_as_it_stands_in_the_documentation() {
    let page = include_str!("../docs/API.md");
    let (_, script) = page.split_once("```bash\n").unwrap();
    let (script, _) = script.split_once("```").unwrap();
    let (rig, front) = home().await;
    let key = front.key("ci").await;
    let token = front.token(&rig, "ci", &key).await.token;
    let dir = &front.bench.dir;
    std::fs::write(dir.join("ci.token"), &token).unwrap();
    std::fs::write(dir.join("dpop.sh"), script).unwrap();
    for query in ["", "?a=1"] {
        let url = format!("{}{SELF}{query}", front.url);
        let asked = run(dir, "bash", &["dpop.sh", "GET", &url]).await;
        assert!(said(&asked).contains(r#""name":"ci""#), "{}", said(&asked));
    }
    let url = format!("{}{RENEW}", front.url);
    let renewed = run(dir, "bash", &["dpop.sh", "POST", &url]).await;
    assert!(
        said(&renewed).contains("renewable_until"),
        "{}",
        said(&renewed)
    );
}
