//! The HTTPS listener, asked by strangers and by worse.

use std::fs;
use std::path::Path;

use hearthkey_api::Status;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::rig::{PATIENCE, Rig, json, libfaketime};
use crate::service::{Front, SELF, home, listen, read_answer};
use crate::stock::{run, said};

const HEALTH: &str = "/api/v1/health";

/// Routes that are decided on by a token's grants, credential by credential.
fn granted() -> Vec<(&'static str, String)> {
    let credential = "/api/v1/environments/{environment}/credentials/{bridge}/{key}";
    let verbs = ["/change", "/lease", "/rotate", "/confirm", "/rollback"];
    let mut granted: Vec<(&str, String)> = vec![("get", credential.into())];
    granted.extend(
        verbs
            .iter()
            .map(|verb| ("post", format!("{credential}{verb}"))),
    );
    granted.extend(
        [
            ("get", "/api/v1/credentials"),
            ("post", "/api/v1/credentials"),
            ("post", "/api/v1/credentials/marks"),
            ("post", "/api/v1/environments/{environment}/reveal"),
            ("get", "/api/v1/leases"),
            ("post", "/api/v1/leases/{lease}/end"),
            ("post", "/api/v1/manifest/check"),
            ("get", "/api/v1/findings"),
            ("post", "/api/v1/findings"),
        ]
        .map(|(method, path)| (method, path.to_owned())),
    );
    granted
}

/// The path of a route, with something for each of its parameters.
fn filled(pattern: &str) -> String {
    let path = pattern
        .replace("{environment}", "home")
        .replace("{seq}", "0");
    let path = path.replace("{id}", "lamp").replace("{name}", "ci");
    let path = path.replace("{bridge}", "hue").replace("{key}", "api-key");
    path.replace("{lease}", "l-0").replace("{place}", "ci")
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_get_health_and_trust_and_services_what_is_listed_and_nobody_anything_else() {
    let (rig, front) = home().await;
    let key = front.key("ci").await;
    let token = front.token(&rig, "ci", &key).await.token;
    let contract: Value = rig.client().get("/api/v1/openapi.json").await.unwrap();
    let public = [
        HEALTH,
        "/api/v1/trust/bundle",
        "/api/v1/trust/crl/{environment}",
        "/.well-known/hearthkey/root.pem",
        "/.well-known/hearthkey/root.crt",
        "/.well-known/hearthkey/fingerprint",
        "/.well-known/hearthkey/crl/{environment}",
        "/.well-known/hearthkey/root.crl",
        "/.well-known/hearthkey/server.crl",
    ];
    let for_browsers = ["/api/v1/session", "/api/v1/invitations"];
    let service = [("get", SELF), ("post", "/api/v1/tokens/self/renew")];
    let granted = granted();
    let mut walked = 0;
    for (pattern, methods) in contract["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let path = filled(pattern);
            let verb = method.to_uppercase();
            let body = [
                "-X",
                verb.as_str(),
                "-H",
                "content-type: application/json",
                "-d",
                "{}",
            ];
            let args = if method == "get" { &[][..] } else { &body };
            let stranger = front.curl(&path, args).await;
            if method == "get" && public.contains(&pattern.as_str()) {
                assert_eq!(stranger.status, 200, "{pattern}");
                continue;
            }
            let expected: &[(u16, &str)] =
                if for_browsers.iter().any(|path| pattern.starts_with(path)) {
                    &[
                        (401, "not_logged_in"),
                        (403, "cross_origin"),
                        (401, "token_missing"),
                    ]
                } else {
                    &[(401, "token_missing")]
                };
            let got = (stranger.status, stranger.code());
            assert!(
                expected.contains(&(got.0, got.1.as_str())),
                "{verb} {pattern}: {got:?}"
            );
            let claims = front.claims(&verb, &path, &token);
            let (answer, _) = front.ask_with(&path, &token, &key, claims, args).await;
            let listed = service.contains(&(method.as_str(), pattern.as_str()));
            if listed {
                assert_eq!(answer.status, 200, "{verb} {pattern}: {answer:?}");
            } else if granted.contains(&(method.as_str(), pattern.clone())) {
                assert_ne!(answer.status, 401, "{verb} {pattern}: {answer:?}");
            } else if pattern.starts_with("/api/v1/invitations")
                || pattern.starts_with("/api/v1/session/p")
                || pattern.ends_with("/session/recovery")
            {
                // These are for pages of the gateway's own, and a service has none.
                assert_eq!(answer.code(), "cross_origin", "{verb} {pattern}");
            } else {
                assert_eq!(
                    (answer.status, answer.code().as_str()),
                    (403, "forbidden"),
                    "{verb} {pattern}"
                );
            }
            walked += 1;
        }
    }
    assert!(walked > 20, "{walked}");
    for path in [
        "/api",
        "/api/v1/openapi.json",
        "/api/v1/trust/bundle/",
        "/api/v1//health",
    ] {
        assert_eq!(front.curl(path, &[]).await.status, 401, "{path}");
    }
    let head = front.curl(HEALTH, &["-I"]).await;
    assert_eq!(head.status, 200);
    // The token walked over half the operator's routes, and did nothing.
    let status: Status = rig.status().await;
    assert!(!status.sealed);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_dressed_and_none_says_what_serves_it() {
    let (_rig, front) = home().await;
    for path in [HEALTH, SELF, "/api/v1/nowhere"] {
        let answer = front
            .curl(path, &["-H", "Origin: https://evil.example"])
            .await;
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        for absent in [
            "server",
            "access-control-allow-origin",
            "strict-transport-security",
            "set-cookie",
        ] {
            assert_eq!(answer.header(absent), None, "{path} {absent}");
        }
    }
    let challenge = front.curl(SELF, &[]).await;
    assert_eq!(
        challenge.header("www-authenticate"),
        Some("dpop algs=\"es256\"")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_under_a_strange_name_is_answered_by_nothing() {
    let (_rig, front) = home().await;
    let (host, other) = (front.host.clone(), "evil.example");
    let port = host.rsplit_once(':').unwrap().1;
    let bare = host.rsplit_once(':').unwrap().0;
    for good in [
        &host,
        bare,
        "localhost",
        &format!("LOCALHOST:{port}"),
        &format!("[::1]:{port}"),
    ] {
        let answer = front
            .raw(&format!("GET {HEALTH} HTTP/1.1\r\nHost: {good}\r\n\r\n"))
            .await;
        assert_eq!(answer.status, 200, "{good}");
    }
    let request = |target: &str, hosts: &str| format!("GET {target} HTTP/1.1\r\n{hosts}\r\n");
    let ours = format!("Host: {host}\r\n");
    for bad in [
        request(HEALTH, &format!("Host: {other}\r\n")),
        request(HEALTH, &format!("Host: {other}:{port}\r\n")),
        request(HEALTH, &format!("Host: {bare}:1\r\n")),
        request(HEALTH, "Host: \r\n"),
        request(HEALTH, ""),
        request(HEALTH, &format!("{ours}{ours}")),
        request(HEALTH, &format!("{ours}Host: {other}\r\n")),
        request(&format!("https://{other}{HEALTH}"), &ours),
        request(&format!("http://{host}{HEALTH}"), &ours),
        request(
            &format!("https://{host}{HEALTH}"),
            &format!("Host: {other}\r\n"),
        ),
        format!("GET {HEALTH} HTTP/1.0\r\n\r\n"),
    ] {
        let answer = front.raw(&bad).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (421, "misdirected"),
            "{bad}"
        );
    }
    let absolute = request(&format!("https://{host}{HEALTH}"), &ours);
    assert_eq!(front.raw(&absolute).await.status, 200);
    for garbage in [
        "\r\n\r\n\r\n",
        "GET / HTTP/9\r\n\r\n",
        "\x00\x01\x02\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        assert_ne!(front.raw(garbage).await.status, 200);
    }
    // Two lengths, or a length and chunks: the way to smuggle one request in another.
    for smuggled in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: xchunked\r\n",
    ] {
        let request = format!("POST {SELF} HTTP/1.1\r\n{ours}{smuggled}\r\n0\r\n\r\n");
        let answer = front.raw(&request).await;
        assert!([0, 400, 401].contains(&answer.status), "{answer:?}");
    }
    assert_eq!(front.curl(HEALTH, &[]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_browser_writes_nothing() {
    let (rig, front) = home().await;
    let key = front.key("ci").await;
    let token = front.token(&rig, "ci", &key).await.token;
    let renew = "/api/v1/tokens/self/renew";
    for origin in [
        "Origin: https://evil.example",
        "Origin: null",
        &format!("Origin: {}", front.url),
    ] {
        let answer = front.post(renew, &token, &key, &["-H", origin]).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (403, "cross_origin"),
            "{origin}"
        );
    }
    assert_eq!(front.post(renew, &token, &key, &[]).await.status, 200);
    let preflight = front
        .curl(
            renew,
            &["-X", "OPTIONS", "-H", "Access-Control-Request-Method: POST"],
        )
        .await;
    assert_eq!(preflight.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_resumed_and_only_http_is_spoken() {
    let (_rig, front) = home().await;
    let to = ["-connect", front.host.as_str()];
    let tls12 = front
        .bench
        .s_client(&[&to[..], &["-tls1_2", "-reconnect"]].concat())
        .await;
    assert!(
        tls12.contains("New, TLSv1.2") && !tls12.contains("Reused, "),
        "{tls12}"
    );
    let tls13 = front
        .bench
        .s_client(&[&to[..], &["-tls1_3"]].concat())
        .await;
    assert!(
        tls13.contains("New, TLSv1.3") && tls13.contains("Verify return code: 0"),
        "{tls13}"
    );
    assert!(!tls13.contains("New Session Ticket arrived"), "{tls13}");
    assert!(front.connect(&[b"mqtt"]).await.is_err());
    assert!(front.connect(&[b"hearthkey-enroll"]).await.is_err());
    let both = front.connect(&[b"h2", b"http/1.1"]).await.unwrap();
    assert_eq!(both.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let one = front.connect(&[b"http/1.1"]).await.unwrap();
    assert_eq!(one.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_sockets_lock_nobody_out_not_even_at_their_own_address() {
    let (_rig, front) = home().await;
    let mut silent = Vec::new();
    for _ in 0..65 {
        silent.push(TcpStream::connect(&front.host).await.unwrap());
    }
    let given = timeout(PATIENCE, silent[0].read(&mut [0; 1])).await;
    assert!(
        matches!(given, Ok(Ok(0) | Err(_))),
        "the first gives way to one more"
    );
    // In a home, everybody may be behind one address, or in one IPv6 /64.
    for more in [&[][..], &["--interface", "127.0.0.77"]] {
        assert_eq!(front.curl(HEALTH, more).await.status, 200, "{more:?}");
    }
    // Their places come back when their handshakes have taken too long.
    for mut stream in silent {
        let ended = timeout(PATIENCE, stream.read(&mut [0; 1])).await.unwrap();
        assert!(matches!(ended, Ok(0) | Err(_)));
    }
    assert_eq!(front.curl(HEALTH, &[]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_slow_is_cut_and_who_sends_too_much_is_told() {
    let (rig, front) = home().await;
    let key = front.key("ci").await;
    let token = front.token(&rig, "ci", &key).await.token;
    let mut head = front.connect(&[]).await.unwrap();
    head.write_all(format!("GET {HEALTH} HTTP/1.1\r\nHost: ").as_bytes())
        .await
        .unwrap();
    let mut idle = front.connect(&[]).await.unwrap();
    let request = format!("GET {HEALTH} HTTP/1.1\r\nHost: {}\r\n\r\n", front.host);
    idle.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(read_answer(&mut idle).await.status, 200);

    let renew = "/api/v1/tokens/self/renew";
    let large = front.bench.dir.join("large");
    fs::write(&large, vec![b' '; 256 * 1024 + 1]).unwrap();
    let too_large = front
        .post(renew, &token, &key, &["--data-binary", "@large"])
        .await;
    assert_eq!(too_large.status, 413, "{too_large:?}");
    let padding = format!("x-padding: {}", "x".repeat(20_000));
    for version in ["--http1.1", "--http2"] {
        let answer = front.curl(HEALTH, &[version, "-H", &padding]).await;
        assert_eq!(answer.status, 431, "{version}");
    }
    let mut lines = vec!["--http1.1"];
    for _ in 0..70 {
        lines.extend(["-H", "x-line: 1"]);
    }
    assert_eq!(front.curl(HEALTH, &lines).await.status, 431);

    // A stranger's body is not waited for.
    let begun = format!(
        "POST {renew} HTTP/1.1\r\nHost: {}\r\nContent-Length: 100\r\n",
        front.host
    );
    assert_eq!(
        front.raw(&format!("{begun}\r\n{{")).await.code(),
        "token_missing"
    );
    let nonce = front.get(SELF, &token, &key).await;
    assert_eq!(nonce.status, 200);
    let proof = loop {
        let claims = front.claims("POST", renew, &token);
        let proof = front.prove(&key, &claims).await;
        let authorized = format!("{begun}Authorization: DPoP {token}\r\nDPoP: {proof}\r\n\r\n{{");
        let answer = front.raw(&authorized).await;
        if answer.code() != "proof_needs_nonce" {
            break answer;
        }
    };
    assert_eq!((proof.status, proof.code().as_str()), (408, "timed_out"));
    for (what, tls) in [
        ("a slow head", &mut head),
        ("an idle connection", &mut idle),
    ] {
        let ended = timeout(PATIENCE, tls.read(&mut [0; 1024])).await;
        let ended = ended.unwrap_or_else(|_| panic!("{what} is not cut"));
        assert!(matches!(ended, Ok(0) | Err(_)), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_listener_is_told_of_closed_while_sealed_and_open_again_after_that() {
    let mut rig = Rig::with_passphrase("a long passphrase").await;
    listen(&mut rig);
    let sealed = rig.launch().await;
    assert_eq!(
        (&sealed["sealed"], &sealed["http"]),
        (&Value::Bool(true), &Value::Null)
    );
    let words = [("HEARTHKEY_PASSPHRASE", "a long passphrase")];
    let unsealed = rig.cli_with(&["unseal", "--json"], &words).await;
    assert!(unsealed.status.success(), "{}", json(&unsealed));
    let front = Front::new(&rig).await;
    assert_eq!(rig.said().await["http"], front.host.as_str());
    assert_eq!(
        rig.status().await.listeners.http.as_deref(),
        Some(front.host.as_str())
    );
    let mut live = front.connect(&[]).await.unwrap();
    assert_eq!(front.curl(HEALTH, &[]).await.status, 200);
    assert!(rig.cli(&["seal"]).await.status.success());
    assert!(TcpStream::connect(&front.host).await.is_err());
    assert!(matches!(
        timeout(PATIENCE, live.read(&mut [0; 1])).await.unwrap(),
        Ok(0) | Err(_)
    ));
    assert_eq!(rig.status().await.listeners.http, None);
    rig.cli_with(&["unseal"], &words).await;
    assert_eq!(front.curl(HEALTH, &[]).await.status, 200);
}

/// The certificate that new connections get.
async fn certificate(front: &Front) -> String {
    let args = [
        "s_client",
        "-connect",
        front.host.as_str(),
        "-CAfile",
        "ca.pem",
    ];
    let shown = said(&run(&front.bench.dir, "openssl", &args).await);
    let (_, rest) = shown.split_once("-----BEGIN CERTIFICATE-----").unwrap();
    rest.split_once("-----END").unwrap().0.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_comes_in_time_and_live_connections_go_on() {
    let Some(library) = libfaketime() else {
        println!("skipped: libfaketime is missing (Debian package faketime)");
        return;
    };
    let mut rig = Rig::new().await;
    listen(&mut rig);
    let clock = rig.work.path().join("clock");
    let set = |offset: &str| {
        let new = clock.with_extension("new");
        fs::write(&new, format!("{offset}\n")).unwrap();
        fs::rename(new, &clock).unwrap();
    };
    rig.env = [
        ("LD_PRELOAD", library.as_path()),
        ("FAKETIME_TIMESTAMP_FILE", &clock),
        ("FAKETIME_NO_CACHE", Path::new("1")),
        ("DONT_FAKE_MONOTONIC", Path::new("1")),
    ]
    .map(|(name, value)| (name.to_owned(), value.display().to_string()))
    .to_vec();
    set("+0");
    rig.start().await;
    let front = Front::new(&rig).await;
    let before = certificate(&front).await;
    let mut live = front.connect(&[]).await.unwrap();
    let request = format!("GET {HEALTH} HTTP/1.1\r\nHost: {}\r\n\r\n", front.host);
    live.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(read_answer(&mut live).await.status, 200);
    // Seventy of its ninety days later, a person believes the clock, and the next look at the
    // certificate finds that it is time.
    set("+70d");
    assert!(rig.cli(&["clock", "confirm"]).await.status.success());
    let added = rig.cli(&["environment", "add", "attic"]).await;
    assert!(added.status.success(), "{} {}", said(&added), rig.stderr());
    assert_ne!(
        certificate(&front).await,
        before,
        "new handshakes get the new one"
    );
    live.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(
        read_answer(&mut live).await.status,
        200,
        "a live connection goes on"
    );
}
