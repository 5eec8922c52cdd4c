//! A caller that loses access during a request has nothing done, and keeps nothing.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::issuer::{Issuer, Mood};
use crate::minted::generated;
use crate::people::{Browser, setup_link};
use crate::service::{Answer, Front, home, read_answer};
use crate::vault::told;

/// A request whose head has been judged, and whose body is held back.
struct Begun {
    tls: TlsStream<TcpStream>,
    body: String,
}

/// Sends the head of a request. That the gateway asks for the body says that it has judged the head (RFC 9110 §10.1.1).
async fn begin(front: &Front, browser: &Browser<'_>, request: (&str, &str), body: &Value) -> Begun {
    let shown = format!(
        "Origin: {}\r\nCookie: __Host-hearthkey={}\r\nx-hearthkey-csrf: {}",
        front.url, browser.cookie, browser.csrf
    );
    begin_as(front, &shown, request, body).await
}

/// The same, with these headers.
async fn begin_as(front: &Front, shown: &str, (method, path): (&str, &str), body: &Value) -> Begun {
    let body = body.to_string();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\n{shown}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        front.host,
        body.len()
    );
    let mut tls = front.connect(&[]).await.unwrap();
    tls.write_all(head.as_bytes()).await.unwrap();
    let asked = read_answer(&mut tls).await;
    assert_eq!(asked.status, 100, "{method} {path}: {asked:?}");
    Begun { tls, body }
}

/// Has somebody invited by an owner in a browser, and gives the link.
async fn invited(by: &Browser<'_>, name: &str, role: &str) -> String {
    let body = json!({"name": name, "role": role, "environments": []});
    let made = by.post("/api/v1/people", &body).await.json();
    made["url"]
        .as_str()
        .unwrap_or_else(|| panic!("{made}"))
        .to_owned()
}

impl Begun {
    async fn finish(mut self) -> Answer {
        self.tls.write_all(self.body.as_bytes()).await.unwrap();
        read_answer(&mut self.tls).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_sender_is_ended_before_its_body_has_come_is_not_carried_out() {
    let (rig, front) = home().await;
    let (mut anna, mut mal) = (Browser::new(&front), Browser::new(&front));
    anna.join(&setup_link(&rig).await, "anna").await;
    mal.join(&invited(&anna, "mal", "owner").await, "mal").await;
    let bo = invited(&anna, "bo", "auditor").await;
    Browser::new(&front).join(&bo, "bo").await;
    let raise = json!({"role": "owner", "environments": []});
    let profile = json!({"toml": "name = \"evil\"", "built_in": false});
    let mut begun = Vec::new();
    for (request, body) in [
        // What ends access, what does not, and what only reads.
        (("POST", "/api/v1/people/bo/change"), &raise),
        (("POST", "/api/v1/profiles"), &profile),
        (("GET", "/api/v1/people"), &json!({})),
    ] {
        let one = begin(&front, &mal, request, body).await;
        begun.push((request, one));
    }
    let ended = anna.post("/api/v1/people/mal/end", &json!({})).await;
    assert_eq!(ended.status, 200, "{ended:?}");
    for (request, one) in begun {
        let answer = one.finish().await;
        assert_eq!(answer.status, 401, "{request:?}: {answer:?}");
    }
    let people = anna.get("/api/v1/people").await.json();
    let bo = people["people"].as_array().unwrap().iter();
    let bo: Vec<_> = bo.filter(|person| person["name"] == "bo").collect();
    assert_eq!(bo[0]["role"], "auditor", "{people}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_sender_may_do_less_once_its_body_has_come_is_not_carried_out() {
    let (rig, front) = home().await;
    let (mut anna, mut mal) = (Browser::new(&front), Browser::new(&front));
    anna.join(&setup_link(&rig).await, "anna").await;
    mal.join(&invited(&anna, "mal", "owner").await, "mal").await;
    let (owner, auditor) = (
        json!({"role": "owner", "environments": []}),
        json!({"role": "auditor", "environments": []}),
    );
    let begun = begin(
        &front,
        &mal,
        ("POST", "/api/v1/people/anna/change"),
        &auditor,
    )
    .await;
    let lowered = anna.post("/api/v1/people/mal/change", &auditor).await;
    assert_eq!(lowered.status, 200, "{lowered:?}");
    assert_eq!(begun.finish().await.status, 403);
    // Anna may still do what an owner does.
    let raised = anna.post("/api/v1/people/mal/change", &owner).await;
    assert_eq!(raised.status, 200, "{raised:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_token_asks_for_many_devices_is_not_done_if_it_is_revoked_before_the_body_has_come()
{
    let (rig, front) = home().await;
    for device in ["lamp", "plug"] {
        rig.enroll(device).await;
    }
    let key = front.key("tablet").await;
    let public = front.bench.dir.join("tablet.pub");
    let create = [
        "token",
        "create",
        "tablet",
        "--role",
        "operator",
        "--owner",
        "anna",
        "--purpose",
        "test",
        "--key",
        public.to_str().unwrap(),
    ];
    let made = told(&rig, &create).await;
    let token = made["token"].as_str().unwrap();
    let both = json!(["lamp", "plug"]);
    let mut begun = Vec::new();
    for (path, body) in [
        (
            "/api/v1/devices/bulk",
            json!({"action": "revoke", "reason": "key-compromise", "devices": both}),
        ),
        (
            "/api/v1/devices/preview",
            json!({"action": "revoke", "devices": both}),
        ),
    ] {
        let nonce = front.nonce(path, token, &key).await;
        let mut claims = front.claims("POST", path, token);
        claims["nonce"] = nonce.into();
        let proof = front.prove(&key, &claims).await;
        let shown = format!("Authorization: DPoP {token}\r\nDPoP: {proof}");
        begun.push((path, begin_as(&front, &shown, ("POST", path), &body).await));
    }
    told(&rig, &["token", "revoke", "tablet"]).await;
    for (path, one) in begun {
        let answer = one.finish().await;
        assert_eq!(answer.status, 401, "{path}: {answer:?}");
        assert_eq!(answer.code(), "token_revoked", "{path}");
    }
    for device in ["lamp", "plug"] {
        assert_eq!(rig.device(device).await.state, "active");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_whose_session_has_ended_gives_way_to_newcomers() {
    let (rig, front) = home().await;
    let mut anna = Browser::new(&front);
    anna.join(&setup_link(&rig).await, "anna").await;
    let mut kept = front.connect(&[]).await.unwrap();
    let cookie = format!("Cookie: __Host-hearthkey={}\r\n", anna.cookie);
    let ask = |path: &str, more: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{more}\r\n", front.host)
    };
    let known = ask("/api/v1/session", &cookie);
    kept.write_all(known.as_bytes()).await.unwrap();
    assert_eq!(read_answer(&mut kept).await.status, 200);
    let ended = anna.post("/api/v1/session/end", &json!({})).await;
    assert_eq!(ended.status, 200, "{ended:?}");
    // It is still served, as any stranger's.
    let health = ask("/api/v1/health", "");
    kept.write_all(health.as_bytes()).await.unwrap();
    assert_eq!(read_answer(&mut kept).await.status, 200);
    let mut newcomers = Vec::new();
    for _ in 0..64 {
        newcomers.push(TcpStream::connect(&front.host).await.unwrap());
    }
    // Sooner than one on which nothing goes on is closed.
    let soon = Duration::from_secs(8);
    let closed = timeout(soon, kept.read(&mut [0; 64])).await;
    assert!(matches!(closed, Ok(Ok(0) | Err(_))), "{closed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_suspended_while_a_value_is_made_for_it_is_not_given_it() {
    let (rig, front) = home().await;
    let issuer = Issuer::connected(&rig, "sys").await;
    generated(&rig, "sys/token").await;
    front.bench.enroll(&rig, "nas").await;
    let bound = ["--bind", "device:nas", "--allow", "sys/token:lease"];
    let token = front.token_with(&rig, "nas", &bound).await.token;
    let authorization = format!("Authorization: Bearer {token}");
    let args = [
        "-H",
        &authorization,
        "-H",
        "Content-Type: application/json",
        "-d",
        "{\"lifetime\": \"1h\"}",
        "--cert",
        "nas.crt",
        "--key",
        "nas.key",
    ];
    issuer.is_in(Mood::Holds);
    let made = issuer.made();
    let lease = front.curl(
        "/api/v1/environments/home/credentials/sys/token/lease",
        &args,
    );
    let suspended = async {
        issuer.has_made(made + 1).await;
        rig.act("nas", "suspend").await.unwrap();
        issuer.is_in(Mood::Answers);
    };
    let (answer, ()) = tokio::join!(lease, suspended);
    assert_eq!(answer.status, 401, "{answer:?}");
    assert_eq!(answer.code(), "certificate_over");
}
