//! Service tokens, made by an operator and used by programs that are not ours: curl and openssl.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use hearthkey_api::{TokenFile, TokenView};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::rig::{Rig, json as answer, until};
use crate::service::{Front, SELF, home, read_answer};
use crate::stock::said;

pub const RENEW: &str = "/api/v1/tokens/self/renew";

/// What was written down of refusals with a code.
pub async fn refusals(rig: &Rig, code: &str) -> Vec<Value> {
    let log = rig.verified_log().await;
    let records = log.lines().map(|line| serde_json::from_str(line).unwrap());
    records
        .filter(|record: &Value| record["reason"] == code)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_used_with_proofs_that_openssl_signs_and_with_our_own_and_both_agree() {
    let (rig, front) = home().await;
    let key = front.key("ci").await;
    let made = front.token(&rig, "ci", &key).await;
    assert!(made.token.starts_with("hk1_") && made.token.len() == 76);
    let own = front.get(SELF, &made.token, &key).await;
    assert_eq!(own.status, 200, "{own:?}");
    assert_eq!(own.json()["name"], "ci");
    assert_eq!(own.json()["expires_at"], made.expires_at.as_str());
    // The same key in a token file: the command line signs what openssl signed.
    let file = front.bench.dir.join("ci.json");
    let pem = fs::read_to_string(front.bench.dir.join("ci.pem")).unwrap();
    let text = json!({
        "gateway": front.url, "root": made.root, "name": "ci", "environment": "home", "token": made.token,
        "key": pem, "expires_at": made.expires_at, "renewable_until": made.renewable_until,
    });
    fs::write(&file, text.to_string()).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let told = rig
        .cli_with(&["token", "whoami", "--json"], &token_file(&file))
        .await;
    assert_eq!(answer(&told), own.json());
    let shown: TokenView = rig.client().get("/api/v1/tokens/ci").await.unwrap();
    assert_eq!((shown.uses, shown.state.as_str()), (2, "live"));
    assert_eq!(shown.last_address.as_deref(), Some("127.0.0.1"));
    assert!(
        rig.verified_log()
            .await
            .contains(r#""new_address":"127.0.0.1""#)
    );
}

pub fn token_file(path: &Path) -> [(&str, &str); 1] {
    [("HEARTHKEY_TOKEN_FILE", path.to_str().unwrap())]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_expires_is_renewed_by_its_bearer_and_held_until_a_person_authorizes_it() {
    let (rig, front) = home().await;
    let file = front.bench.dir.join("ci.token");
    let out = file.to_str().unwrap();
    front
        .token_with(
            &rig,
            "ci",
            &["--ttl", "2s", "--ceiling", "30d", "--out", out],
        )
        .await;
    let ask = async |args: &[&str]| {
        let args = [args, &["--json"]].concat();
        answer(&rig.cli_with(&args, &token_file(&file)).await)
    };
    let code = async || ask(&["token", "whoami"]).await["error"]["code"].clone();
    until("the end of the token", async || {
        (code().await == "token_expired").then_some(())
    })
    .await;
    let renewed = ask(&["token", "renew"]).await;
    let read: TokenFile = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(renewed["expires_at"], read.expires_at.as_str(), "{renewed}");
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );

    // Another whose ceiling is near: in the end its bearer cannot renew it any more.
    let key = front.key("short").await;
    let public = front.bench.dir.join("short.pub");
    let spans = [
        "--ttl",
        "1h",
        "--ceiling",
        "1s",
        "--key",
        public.to_str().unwrap(),
    ];
    let token = front.token_with(&rig, "short", &spans).await.token;
    until("the token's ceiling", async || {
        let refused = front.post(RENEW, &token, &key, &[]).await;
        (refused.code() == "token_held").then_some(())
    })
    .await;
    let refused = front.get(SELF, &token, &key).await;
    assert_eq!(refused.code(), "token_held");
    assert!(
        refused.json()["remedy"]
            .as_str()
            .unwrap()
            .contains("hearthkey token reauthorize")
    );
    let list = said(&rig.cli(&["token", "list"]).await);
    assert!(
        list.contains("Held until a person authorizes them again: short."),
        "{list}"
    );
    let by_operator = answer(&rig.cli(&["token", "renew", "short", "--json"]).await);
    assert_eq!(by_operator["error"]["code"], "refused");
    rig.cli(&["token", "reauthorize", "short"]).await;
    let log = rig.verified_log().await;
    for action in [
        "token.create",
        "token.renew",
        "token.reauthorize",
        "token.refuse",
    ] {
        assert!(log.contains(action), "{action}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reauthorized_token_lives_again_and_a_revoked_one_is_gone_at_once() {
    let (mut rig, front) = home().await;
    let key = front.key("ci").await;
    let token = front.token(&rig, "ci", &key).await.token;
    assert_eq!(front.get(SELF, &token, &key).await.status, 200);
    let before: TokenView = rig.client().get("/api/v1/tokens/ci").await.unwrap();
    let after = answer(&rig.cli(&["token", "reauthorize", "ci", "--json"]).await);
    // Without the Z, the order of the texts is that of the instants: a fraction leaves out its last zeros.
    let after = after["renewable_until"].as_str().unwrap();
    assert!(after.trim_end_matches('Z') > before.renewable_until.trim_end_matches('Z'));
    let again = rig
        .cli(&[
            "token", "create", "ci", "--env", "home", "--allow", "*:list", "--owner", "a",
        ])
        .await;
    assert_eq!(again.status.code(), Some(2), "a purpose is required");
    let taken = [
        "token",
        "create",
        "ci",
        "--env",
        "home",
        "--allow",
        "*:list",
        "--owner",
        "a",
        "--purpose",
        "b",
        "--json",
    ];
    assert_eq!(answer(&rig.cli(&taken).await)["error"]["code"], "refused");

    let revoked = answer(&rig.cli(&["token", "revoke", "ci", "--json"]).await);
    assert_eq!(revoked["durable"], true);
    for when in ["at once", "after kill -9"] {
        let refused = front.get(SELF, &token, &key).await;
        assert_eq!(refused.code(), "token_revoked", "{when}");
        assert_eq!(
            front.post(RENEW, &token, &key, &[]).await.code(),
            "token_revoked"
        );
        rig.kill9().await;
        rig.start().await;
    }
    let authorized = answer(&rig.cli(&["token", "reauthorize", "ci", "--json"]).await);
    assert_eq!(authorized["error"]["code"], "refused", "revoking is final");
    // The name is free again, and the old token stays what it is.
    front.token(&rig, "ci", &key).await;
    assert_eq!(front.get(SELF, &token, &key).await.code(), "token_revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_bound_to_a_device_is_good_with_its_live_certificate_alone() {
    let (rig, front) = home().await;
    let bench = &front.bench;
    for device in ["lamp", "door"] {
        bench.enroll(&rig, device).await;
    }
    let token = front
        .token_with(&rig, "hall", &["--bind", "device:lamp"])
        .await
        .token;
    let authorization = format!("Authorization: Bearer {token}");
    let ask = async |who: Option<&str>| {
        let files = who.map(|who| (format!("{who}.crt"), format!("{who}.key")));
        let mut args = vec!["-H", authorization.as_str()];
        if let Some((certificate, key)) = &files {
            args.extend(["--cert", certificate, "--key", key]);
        }
        front.curl(SELF, &args).await
    };
    assert_eq!(ask(Some("lamp")).await.status, 200);
    assert_eq!(ask(None).await.code(), "certificate_missing");
    assert_eq!(ask(Some("door")).await.code(), "certificate_wrong");
    let bare = front
        .curl(SELF, &["--cert", "lamp.crt", "--key", "lamp.key"])
        .await;
    assert_eq!(
        bare.code(),
        "token_missing",
        "a certificate alone has no grants"
    );
    for code in ["certificate_missing", "certificate_wrong"] {
        assert_eq!(refusals(&rig, code).await[0]["outcome"], "alert");
    }
    // A live connection: its next request is judged by what holds then.
    let mut live = Live::open(&front, "lamp").await;
    assert_eq!(live.ask(&front, &token).await.status, 200);
    rig.act("lamp", "suspend").await.unwrap();
    assert_eq!(live.ask(&front, &token).await.code(), "certificate_over");
    rig.act("lamp", "resume").await.unwrap();
    assert_eq!(live.ask(&front, &token).await.status, 200);
    rig.revoke("lamp").await.unwrap();
    assert_eq!(live.ask(&front, &token).await.code(), "certificate_over");
    let health = format!("{}/api/v1/health", front.url);
    let identity = ["--cert", "lamp.crt", "--key", "lamp.key"];
    let args = [&["-s", "--cacert", "ca.pem", &health][..], &identity].concat();
    let shut = crate::stock::run(&bench.dir, "curl", &args).await;
    assert!(
        !shut.status.success(),
        "a revoked certificate passes no handshake"
    );

    for (bind, env, code) in [
        ("device:nobody", "home", "not_found"),
        ("device:door", "lab", "refused"),
        ("door", "home", "invalid"),
    ] {
        let args = [
            "token",
            "create",
            "x",
            "--env",
            env,
            "--allow",
            "*:list",
            "--owner",
            "a",
            "--purpose",
            "b",
        ];
        let made = rig
            .cli(&[&args[..], &["--bind", bind, "--json"]].concat())
            .await;
        assert_eq!(answer(&made)["error"]["code"], code, "{bind} {env}");
    }
}

/// A connection with a device's certificate, held open by openssl.
struct Live {
    child: tokio::process::Child,
}

impl Live {
    async fn open(front: &Front, device: &str) -> Self {
        let child = tokio::process::Command::new("openssl")
            .args([
                "s_client",
                "-quiet",
                "-connect",
                &front.host,
                "-CAfile",
                "ca.pem",
            ])
            .args([
                "-cert",
                &format!("{device}.crt"),
                "-key",
                &format!("{device}.key"),
            ])
            .current_dir(&front.bench.dir)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { child }
    }

    async fn ask(&mut self, front: &Front, token: &str) -> crate::service::Answer {
        let request = format!(
            "GET {SELF} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n\r\n",
            front.host
        );
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(request.as_bytes()).await.unwrap();
        read_answer(self.child.stdout.as_mut().unwrap()).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_works_from_elsewhere_as_far_as_its_token_goes() {
    let (rig, front) = home().await;
    let file = front.bench.dir.join("ci.token");
    let out = file.to_str().unwrap();
    front.token_with(&rig, "ci", &["--out", out]).await;
    let second = rig
        .cli(&[
            "token",
            "create",
            "ci2",
            "--env",
            "home",
            "--allow",
            "*:list",
            "--owner",
            "a",
            "--purpose",
            "b",
            "--out",
            out,
            "--json",
        ])
        .await;
    assert_eq!(
        answer(&second)["error"]["code"],
        "system",
        "no file is overwritten"
    );
    assert!(answer(&rig.cli(&["token", "show", "ci2", "--json"]).await)["error"].is_object());

    let own = answer(
        &rig.cli_with(&["token", "whoami", "--json"], &token_file(&file))
            .await,
    );
    assert_eq!(own["allow"], json!(["*:list", "*:read"]));
    let refused = answer(
        &rig.cli_with(&["device", "list", "--json"], &token_file(&file))
            .await,
    );
    assert_eq!(refused["error"]["code"], "forbidden");
    assert!(
        refused["error"]["remedy"]
            .as_str()
            .unwrap()
            .contains("operator")
    );
    let root = front.bench.dir.join("ca.pem");
    let remote = ["--gateway", &front.url, "--root", root.to_str().unwrap()];
    let bundle = rig.cli(&[&["trust", "bundle"], &remote[..]].concat()).await;
    assert_eq!(bundle.stdout, fs::read(&root).unwrap());
    let stranger = rig
        .cli(&[&["device", "list", "--json"], &remote[..]].concat())
        .await;
    assert_eq!(answer(&stranger)["error"]["code"], "token_missing");
    // A root that is not the gateway's: nobody is told anything.
    front.bench.openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout o.key -out other.pem -subj /CN=x -days 9").await;
    let other = front.bench.dir.join("other.pem");
    let wrong = ["--gateway", &front.url, "--root", other.to_str().unwrap()];
    let wrong = rig
        .cli(&[&["trust", "bundle", "--json"], &wrong[..]].concat())
        .await;
    assert_eq!(answer(&wrong)["error"]["code"], "unreachable");
    let rootless = rig
        .cli(&["trust", "bundle", "--json", "--gateway", &front.url])
        .await;
    assert_eq!(rootless.status.code(), Some(2));
    let plain = rig
        .cli(&[
            "trust",
            "bundle",
            "--json",
            "--gateway",
            "http://h",
            "--root",
            root.to_str().unwrap(),
        ])
        .await;
    assert_eq!(answer(&plain)["error"]["code"], "network");
}
