//! An HTTP API by templates: a whole life, and what it looks like on the wire.

use std::sync::{Arc, Mutex};

use hearthkey_bridges::{
    BridgeError, BridgeKind, Connector, Progress, Revoked, SettingsError, Verified, connect_with,
};
use hearthkey_core::time::Span;
use serde_json::{Value, json};

use crate::server::{Asked, Reply, Server};
use crate::values::{AUTHORITY, BRIEF, OLD, held, order, says_no_secret, secret};

/// A cloud that keeps tokens: `POST /tokens`, `GET /me`, `DELETE /tokens/{id}`.
#[derive(Default)]
pub struct Cloud {
    live: Mutex<Vec<(String, String)>>,
}

impl Cloud {
    pub fn answer(&self, asked: &Asked) -> Reply {
        let mut live = self.live.lock().unwrap();
        let bearer = asked.header("authorization").trim_start_matches("Bearer ");
        match (asked.method.as_str(), asked.target.as_str()) {
            _ if bearer != AUTHORITY && !live.iter().any(|(_, token)| token == bearer) => {
                Reply::json(401, json!({"message": format!("who is {bearer}?")}))
            }
            ("POST", "/api/tokens") if bearer == AUTHORITY => {
                let id = format!("id/{}", live.len());
                let token = format!("minted-{}", live.len());
                live.push((id.clone(), token.clone()));
                let life = asked.json()["ttl"].as_i64();
                Reply::json(
                    201,
                    json!({"data": {"id": id, "token": token, "ttl": life}}),
                )
            }
            ("GET", "/api/me") => Reply::json(200, json!({"scopes": ["lights", "admin"]})),
            ("DELETE", target) => {
                let id = target
                    .trim_start_matches("/api/tokens/")
                    .replace("%2F", "/");
                let before = live.len();
                live.retain(|(known, _)| *known != id);
                Reply::json(if live.len() < before { 204 } else { 404 }, "")
            }
            _ => Reply::json(500, ""),
        }
    }

    pub async fn open() -> (Server, Arc<Self>) {
        let cloud = Arc::new(Self::default());
        let behind = cloud.clone();
        (
            Server::plain(move |asked| behind.answer(&asked)).await,
            cloud,
        )
    }

    pub fn live(&self) -> usize {
        self.live.lock().unwrap().len()
    }
}

pub fn settings(url: &str) -> Value {
    json!({
        "base_url": format!("{url}/api"),
        "two_live": true,
        "lifetime_s": 3600,
        "mint": {
            "method": "POST", "path": "/tokens",
            "headers": {"Authorization": "Bearer {{authority}}"},
            "json": {"name": "{{label}}", "ttl": "{{lifetime_s}}"},
            "value": "/data/token", "remote_id": "/data/id", "lifetime_s": "/data/ttl"
        },
        "verify": {"method": "GET", "path": "/me", "headers": {"Authorization": "Bearer {{value}}"}},
        "revoke": {"method": "DELETE", "path": "/tokens/{{remote_id}}", "headers": {"Authorization": "Bearer {{authority}}"}},
        "scopes": {
            "method": "GET", "path": "/me", "headers": {"Authorization": "Bearer {{value}}"},
            "rights": "/scopes", "privileged": ["admin"]
        }
    })
}

pub fn http(settings: &Value) -> Result<Box<dyn Connector>, SettingsError> {
    connect_with(
        BridgeKind::Http,
        &settings.to_string(),
        Some(secret(AUTHORITY)),
        BRIEF,
    )
}

#[tokio::test]
async fn a_token_is_made_tried_described_and_ended_by_templates() {
    let (server, cloud) = Cloud::open().await;
    let bridge = http(&settings(&server.url())).unwrap();
    let abilities = bridge.abilities();
    assert!(abilities.verify && abilities.mint && abilities.revoke && abilities.children);
    assert!(abilities.cannot.is_empty());

    let mut wanted = order("home \"attic\" cloud/key v1");
    wanted.lifetime = Some(Span::hours(2));
    let minted = bridge.mint(&wanted, &Progress::ignored()).await.unwrap();
    assert_eq!(minted.remote_id.as_deref(), Some("id/0"));
    assert_eq!(minted.lifetime, Some(Span::hours(2)));
    assert_eq!(
        server.asked()[0].json()["name"],
        "home \"attic\" cloud/key v1"
    );

    let value = minted.value.expose_text().unwrap();
    let new = held(value, minted.remote_id.as_deref());
    assert_eq!(bridge.verify(&new).await, Ok(Verified::Works));
    let scopes = bridge.scopes(&new).await.unwrap();
    assert_eq!(scopes.rights, ["lights", "admin"]);
    assert!(scopes.privileged.unwrap().contains("admin"));
    assert_eq!(bridge.revoke(&new).await, Ok(Revoked::Gone));
    assert_eq!(cloud.live(), 0);
    assert!(matches!(bridge.verify(&new).await, Ok(Verified::Fails(_))));
    assert_eq!(
        bridge.revoke(&new).await,
        Ok(Revoked::Gone),
        "what is gone is gone"
    );
}

#[tokio::test]
async fn old_and_new_live_side_by_side_during_a_rotation() {
    let (server, cloud) = Cloud::open().await;
    let bridge = http(&settings(&server.url())).unwrap();
    let first = bridge
        .mint(&order("v1"), &Progress::ignored())
        .await
        .unwrap();
    let old = held(
        first.value.expose_text().unwrap(),
        first.remote_id.as_deref(),
    );
    let mut next = order("v2");
    next.replaces = Some(old.clone());
    bridge.mint(&next, &Progress::ignored()).await.unwrap();
    assert_eq!(cloud.live(), 2);
    assert_eq!(bridge.verify(&old).await, Ok(Verified::Works));
    assert_eq!(bridge.revoke(&old).await, Ok(Revoked::Gone));
    assert_eq!(cloud.live(), 1);
}

#[tokio::test]
async fn a_wrong_authority_is_told_from_a_wrong_value() {
    let (server, _cloud) = Cloud::open().await;
    let text = settings(&server.url()).to_string();
    let stale = connect_with(
        BridgeKind::Http,
        &text,
        Some(secret("stale-authority")),
        BRIEF,
    );
    let bridge = stale.unwrap();
    let error = bridge
        .mint(&order("v1"), &Progress::ignored())
        .await
        .unwrap_err();
    assert!(matches!(error, BridgeError::NoAuthority { .. }), "{error}");
    says_no_secret(&error, &["stale-authority"]);
    assert!(matches!(
        bridge.verify(&held(OLD, None)).await,
        Ok(Verified::Fails(_))
    ));
}

#[tokio::test]
async fn a_form_and_basic_authentication_are_sent_as_they_should_be() {
    let server = Server::plain(|_| Reply::json(200, json!({"ok": true, "key": "fresh-key"}))).await;
    let bridge = http(&json!({
        "base_url": server.url(),
        "mint": {
            "method": "POST", "path": "/key?for={{label}}", "basic": "{{remote_id}}:{{value}}",
            "form": {"a b": "x={{value}}&y", "scope": "{{scopes}}"}, "value": "/key", "expect": {"/ok": true}
        }
    }));
    let bridge = bridge.unwrap();
    let mut wanted = order("a&b=c/../d");
    wanted.scopes = vec!["read".into(), "write".into()];
    wanted.replaces = Some(held("p&w=1", Some("user")));
    // The label is in the query, but a value with steps upwards is never put into a target.
    let error = bridge
        .mint(&wanted, &Progress::ignored())
        .await
        .unwrap_err();
    assert!(matches!(error, BridgeError::Incomplete { .. }), "{error}");
    wanted.label = "a&b=c".into();
    bridge.mint(&wanted, &Progress::ignored()).await.unwrap();
    let asked = server.asked().remove(0);
    assert_eq!(asked.target, "/key?for=a%26b%3Dc");
    assert_eq!(asked.header("authorization"), "Basic dXNlcjpwJnc9MQ==");
    assert_eq!(
        asked.header("content-type"),
        "application/x-www-form-urlencoded"
    );
    assert_eq!(asked.body, "a%20b=x%3Dp%26w%3D1%26y&scope=read%20write");
}

#[tokio::test]
async fn a_certificate_is_believed_by_its_root_or_its_pin_and_nothing_is_sent_to_another() {
    let server = Server::tls(|_| Reply::json(200, json!({}))).await;
    let identity = server.identity.as_ref().unwrap();
    let url = format!("https://localhost:{}", server.port());
    let verify = json!({"method": "GET", "path": "/", "headers": {"X-Key": "{{value}}"}});
    let with = |more: Value| {
        let mut settings = json!({"base_url": url, "verify": verify});
        settings
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        http(&settings).unwrap()
    };
    let wrong = crate::server::Identity::new();
    for stranger in [
        json!({}),
        json!({"root_pem": wrong.pem}),
        json!({"pin_sha256": wrong.pin}),
    ] {
        let error = with(stranger).verify(&held(OLD, None)).await.unwrap_err();
        assert!(matches!(error, BridgeError::NotTrusted { .. }), "{error}");
        says_no_secret(&error, &[OLD]);
    }
    assert!(server.asked().is_empty());
    for known in [
        json!({"root_pem": identity.pem}),
        json!({"pin_sha256": identity.pin}),
    ] {
        assert_eq!(
            with(known).verify(&held(OLD, None)).await,
            Ok(Verified::Works)
        );
    }
}

#[tokio::test]
async fn settings_that_could_not_work_are_refused_with_the_reason() {
    let with = |name: &str, request: Value| {
        let error = http(&json!({"base_url": "https://api.example", name: request})).err();
        error.map(|error| error.to_string()).unwrap_or_default()
    };
    for (name, request, why) in [
        (
            "verify",
            json!({"method": "GET", "path": "//evil.example/"}),
            "path",
        ),
        (
            "verify",
            json!({"method": "GET", "path": "http://evil.example/"}),
            "path",
        ),
        (
            "verify",
            json!({"method": "CONNECT", "path": "/"}),
            "method",
        ),
        (
            "verify",
            json!({"method": "GET", "path": "/{{valeu}}"}),
            "{{value}}",
        ),
        (
            "verify",
            json!({"method": "GET", "path": "/{{label}}"}),
            "mint",
        ),
        (
            "verify",
            json!({"method": "GET", "path": "/", "headers": {"Host": "evil"}}),
            "host",
        ),
        (
            "verify",
            json!({"method": "GET", "path": "/", "headers": {"Transfer-Encoding": "x"}}),
            "transfer",
        ),
        (
            "verify",
            json!({"method": "GET", "path": "/", "json": {}, "form": {}}),
            "both",
        ),
        (
            "verify",
            json!({"method": "GET", "path": "/", "surprise": 1}),
            "surprise",
        ),
        ("mint", json!({"method": "POST", "path": "/"}), "value"),
        (
            "mint",
            json!({"method": "POST", "path": "/", "value": "data/token"}),
            "pointer",
        ),
        ("scopes", json!({"method": "GET", "path": "/"}), "rights"),
    ] {
        let error = with(name, request.clone());
        assert!(error.contains(why), "{request}: {error:?}");
    }
    let without = json!({"base_url": "https://api.example", "verify": {"method": "GET", "path": "/{{authority}}"}});
    let error = connect_with(BridgeKind::Http, &without.to_string(), None, BRIEF).err();
    assert!(matches!(error, Some(SettingsError::NoAuthority(_))));
}
