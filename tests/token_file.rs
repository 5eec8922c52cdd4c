//! Where a token and its key go: into their file, or to a program that keeps them, and nowhere else.

use std::fs;

use hearthkey_api::{TokenFile, TokenView};

use crate::rig::json as answer;
use crate::service::{Key, SELF, home};
use crate::token::token_file;

#[tokio::test(flavor = "multi_thread")]
async fn a_token_and_its_key_are_in_their_file_and_nowhere_else() {
    let (mut rig, front) = home().await;
    rig.args.push("-vvv");
    rig.env.push(("RUST_LOG".into(), "trace".into()));
    rig.restart().await;
    let file = front.bench.dir.join("ci.token");
    let out = file.to_str().unwrap();
    let create = [
        "-vvv",
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
        "--out",
        out,
    ];
    let made = rig.cli_with(&create, &[("RUST_LOG", "trace")]).await;
    let secrets: TokenFile = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let pem = secrets.key.clone().unwrap();
    let middle = pem.lines().nth(2).unwrap().to_owned();
    let bare = secrets.token.strip_prefix("hk1_").unwrap().to_owned();
    let raw: Vec<u8> = (0..32)
        .map(|n| u8::from_str_radix(&bare[n * 2..n * 2 + 2], 16).unwrap())
        .collect();
    let canaries = [
        bare.clone().into_bytes(),
        bare.as_bytes()[..64].to_vec(),
        raw,
        middle.into_bytes(),
    ];
    let clean = |place: &str, text: &[u8]| {
        for canary in &canaries {
            let found = text.windows(canary.len()).any(|window| window == canary);
            assert!(!found, "a secret is in {place}");
        }
    };
    clean(
        "what token create says",
        &[made.stdout, made.stderr].concat(),
    );
    let trace = [("RUST_LOG", "trace"), token_file(&file)[0]];
    for args in [
        &["token", "whoami", "-vvv"][..],
        &["token", "renew", "-vvv"],
        &["device", "list", "-vvv"],
    ] {
        let output = rig.cli_with(args, &trace).await;
        clean(&args.join(" "), &[output.stdout, output.stderr].concat());
    }
    assert!(front.connect(&[b"mqtt"]).await.is_err(), "something to log");
    let bearer = format!("Authorization: Bearer {}", secrets.token);
    let refused = front.curl(SELF, &["-H", &bearer]).await;
    clean("a refusal", refused.body.as_bytes());
    for args in [
        &["token", "list", "--json"][..],
        &["token", "show", "ci"],
        &["log", "tail", "-n", "50"],
    ] {
        let output = rig.cli(args).await;
        clean(&args.join(" "), &[output.stdout, output.stderr].concat());
    }
    clean("the log", rig.verified_log().await.as_bytes());
    rig.stop().await;
    for entry in fs::read_dir(&rig.data_dir).unwrap().flatten() {
        if entry.file_type().unwrap().is_file() {
            clean(
                &entry.file_name().display().to_string(),
                &fs::read(entry.path()).unwrap(),
            );
        }
    }
    assert!(rig.stderr().contains("TRACE") || rig.stderr().contains("DEBUG"));
    clean("the gateway's log", rig.stderr().as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_file_the_key_goes_to_a_program_that_keeps_it_and_to_no_terminal() {
    let (rig, front) = home().await;
    let args = [
        "token", "create", "ci", "--env", "home", "--allow", "*:list", "--ttl", "1h",
    ];
    assert_eq!(rig.cli(&args).await.status.code(), Some(2));
    let made = answer(&rig.cli(&[&args[..], &["--json"]].concat()).await);
    for field in [
        "token",
        "key_id",
        "expires_at",
        "renewable_until",
        "key",
        "root",
        "gateway",
    ] {
        assert!(made[field].is_string(), "{field}: {made}");
    }
    let shown: TokenView = rig.client().get("/api/v1/tokens/ci").await.unwrap();
    assert!(
        shown.owner.starts_with("uid:"),
        "who made it answers for it"
    );
    assert_eq!(shown.purpose, "the service ci");
    fs::write(
        front.bench.dir.join("own.pem"),
        made["key"].as_str().unwrap(),
    )
    .unwrap();
    let key: Key = front.key_of("own").await;
    let token = made["token"].as_str().unwrap();
    assert_eq!(front.get(SELF, token, &key).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_could_not_be_written_down_is_revoked() {
    let (rig, _front) = home().await;
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let create = ["token", "create", "lost", "--env", "home", "--allow"];
    let status = crate::rig::hearthkey()
        .args(create)
        .args(["*:list", "--json", "--data-dir"])
        .arg(&rig.data_dir)
        .stdout(full)
        .stderr(std::process::Stdio::null())
        .status();
    assert!(!status.await.unwrap().success());
    let shown: TokenView = rig.client().get("/api/v1/tokens/lost").await.unwrap();
    assert_eq!(shown.state, "revoked");
}
