//! A real Home Assistant, installed once by `scripts/home-assistant.sh`. Skipped, with the reason printed, where it cannot
//! be installed; `HEARTHKEY_HOME_ASSISTANT=required` makes that a failure.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use hearthkey_bridges::{
    BridgeError, BridgeKind, Connector, Held, Progress, Revoked, Verified, connect_with,
};
use hearthkey_core::time::Span;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::values::{BRIEF, held, order, says_no_secret, secret};

const CLIENT: &str = "http://127.0.0.1/";
/// It starts in seconds; a machine that is busy with builds takes longer.
const START_LIMIT: Duration = Duration::from_secs(60);

struct House {
    child: Child,
    port: u16,
    _directory: tempfile::TempDir,
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where it is installed, or why not.
fn installed() -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let script = root.join("scripts/home-assistant.sh");
    let output = Command::new(script)
        .arg(target.join("home-assistant"))
        .output();
    let output = output.map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(target.join("home-assistant/venv/bin/hass")),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

impl House {
    async fn start() -> Option<Self> {
        let hass = match installed() {
            Ok(hass) => hass,
            Err(why) => {
                let required =
                    std::env::var("HEARTHKEY_HOME_ASSISTANT").is_ok_and(|word| word == "required");
                assert!(!required, "{why}");
                println!("skipped: {why}");
                return None;
            }
        };
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let directory = tempfile::tempdir().unwrap();
        let configuration = format!(
            "http:\n  server_host: 127.0.0.1\n  server_port: {port}\napi:\nauth:\nwebsocket_api:\nonboarding:\n"
        );
        fs::write(directory.path().join("configuration.yaml"), configuration).unwrap();
        let child = Command::new(hass)
            .arg("--config")
            .arg(directory.path())
            .arg("--skip-pip")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut house = Self {
            child,
            port,
            _directory: directory,
        };
        let open = tokio::time::timeout(START_LIMIT, house.wait_until_open()).await;
        assert!(
            open.is_ok(),
            "Home Assistant did not start within {START_LIMIT:?}"
        );
        Some(house)
    }

    async fn wait_until_open(&mut self) {
        loop {
            assert!(
                self.child.try_wait().unwrap().is_none(),
                "Home Assistant has stopped"
            );
            if matches!(
                self.ask("GET", "/api/onboarding", "", "", None).await,
                Some((200, _))
            ) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        body: &str,
        token: Option<&str>,
    ) -> Option<(u16, Value)> {
        let tcp = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake::<_, Full<bytes::Bytes>>(TokioIo::new(tcp))
                .await
                .ok()?;
        let task = tokio::spawn(connection);
        let mut request = hyper::Request::builder()
            .method(method)
            .uri(path)
            .header("host", format!("127.0.0.1:{}", self.port))
            .header("content-type", kind);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Full::from(body.to_owned())).unwrap();
        let answer = sender.send_request(request).await.ok()?;
        let status = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.ok()?.to_bytes();
        task.abort();
        Some((status, serde_json::from_slice(&bytes).unwrap_or_default()))
    }

    /// The first person, and an access token of their browser's.
    async fn move_in(&self) -> String {
        let person = json!({
            "name": "Ada", "username": "ada", "password": "a-password", "client_id": CLIENT, "language": "en"
        });
        let kind = "application/json";
        let made = self
            .ask(
                "POST",
                "/api/onboarding/users",
                kind,
                &person.to_string(),
                None,
            )
            .await;
        let (status, made) = made.unwrap();
        assert_eq!(status, 200, "{made}");
        let code = made["auth_code"].as_str().unwrap();
        self.exchange_code(code).await
    }

    async fn exchange_code(&self, code: &str) -> String {
        let form = format!(
            "grant_type=authorization_code&code={code}&client_id=http%3A%2F%2F127.0.0.1%2F"
        );
        let kind = "application/x-www-form-urlencoded";
        let (status, tokens) = self
            .ask("POST", "/auth/token", kind, &form, None)
            .await
            .unwrap();
        assert_eq!(status, 200, "{tokens}");
        tokens["access_token"].as_str().unwrap().to_owned()
    }

    /// One command over the websocket, as the browser sends it.
    async fn command(&self, token: &str, mut command: Value) -> Value {
        let url = format!("ws://127.0.0.1:{}/api/websocket", self.port);
        let tcp = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let (mut socket, _) = tokio_tungstenite::client_async(url, tcp).await.unwrap();
        command["id"] = json!(1);
        let auth = json!({"type": "auth", "access_token": token});
        socket.send(Message::text(auth.to_string())).await.unwrap();
        socket
            .send(Message::text(command.to_string()))
            .await
            .unwrap();
        loop {
            let said = socket.next().await.unwrap().unwrap();
            let said: Value = serde_json::from_str(said.to_text().unwrap()).unwrap_or_default();
            if said["type"] == "result" {
                assert_eq!(said["success"], true, "{said}");
                return said["result"].clone();
            }
        }
    }

    fn bridge(&self, token: Option<&str>) -> Box<dyn Connector> {
        let settings = json!({"url": format!("http://127.0.0.1:{}", self.port)}).to_string();
        let patience = hearthkey_bridges::Patience {
            exchange: Duration::from_secs(20),
            ..BRIEF
        };
        connect_with(
            BridgeKind::HomeAssistant,
            &settings,
            token.map(secret),
            patience,
        )
        .unwrap()
    }

    async fn status(&self, token: &Held) -> u16 {
        let token = token.value.expose_text();
        self.ask("GET", "/api/", "", "", token).await.unwrap().0
    }
}

#[tokio::test]
async fn a_real_home_assistant_makes_tries_lists_and_ends_tokens() {
    let Some(house) = House::start().await else {
        return;
    };
    let browser = house.move_in().await;
    let long_lived = json!({"type": "auth/long_lived_access_token", "client_name": "hearthkey", "lifespan": 365});
    let authority = house.command(&browser, long_lived).await;
    let authority = authority.as_str().unwrap();
    let bridge = house.bridge(Some(authority));
    let ignored = Progress::ignored();

    let first = bridge
        .mint(&order("attic ha/token v1"), &ignored)
        .await
        .unwrap();
    assert_eq!(first.lifetime, Some(Span::days(3650)));
    let first = held(
        first.value.expose_text().unwrap(),
        first.remote_id.as_deref(),
    );
    assert_eq!(bridge.verify(&first).await, Ok(Verified::Works));

    // A lease: a child beside it, with a life of its own.
    let mut lease = order("attic ha/token lease 1");
    lease.lifetime = Some(Span::hours(30));
    let child = bridge.mint(&lease, &ignored).await.unwrap();
    assert_eq!(child.lifetime, Some(Span::days(2)));
    let child = held(
        child.value.expose_text().unwrap(),
        child.remote_id.as_deref(),
    );
    assert_eq!(house.status(&child).await, 200);
    assert_eq!(bridge.revoke(&child).await, Ok(Revoked::Gone));
    assert_eq!(house.status(&child).await, 401);

    // An answer that was lost: the same label again.
    let again = bridge
        .mint(&order("attic ha/token v1"), &ignored)
        .await
        .unwrap();
    assert_eq!(house.status(&first).await, 401);
    let again = held(
        again.value.expose_text().unwrap(),
        again.remote_id.as_deref(),
    );
    assert_ne!(first.remote_id, again.remote_id);

    // Its user administers the house: a finding.
    let scopes = bridge.scopes(&again).await.unwrap();
    assert!(
        scopes
            .privileged
            .is_some_and(|why| why.contains("administrator"))
    );
    assert!(scopes.rights[0].contains("Ada"), "{:?}", scopes.rights);

    // Without an id it is asked of the token itself.
    let nameless = held(again.value.expose_text().unwrap(), None);
    assert_eq!(bridge.revoke(&nameless).await, Ok(Revoked::Gone));
    assert_eq!(house.status(&again).await, 401);
    assert_eq!(
        bridge.revoke(&again).await,
        Ok(Revoked::Gone),
        "what is gone is gone"
    );
    assert!(matches!(
        bridge.verify(&again).await,
        Ok(Verified::Fails(_))
    ));

    a_user_who_is_no_administrator(&house, authority).await;
    a_token_rotates_itself(&house, authority).await;
}

/// A second user, without an authority that could end what is theirs.
async fn a_user_who_is_no_administrator(house: &House, authority: &str) {
    let create =
        json!({"type": "config/auth/create", "name": "Kitchen", "group_ids": ["system-users"]});
    let made = house.command(authority, create).await;
    let user = made["user"]["id"].as_str().unwrap();
    let credentials = json!({
        "type": "config/auth_provider/homeassistant/create", "user_id": user, "username": "kitchen", "password": "kitchen"
    });
    house.command(authority, credentials).await;
    let flow = json!({"client_id": CLIENT, "handler": ["homeassistant", null], "redirect_uri": format!("{CLIENT}back")});
    let kind = "application/json";
    let (_, flow) = house
        .ask("POST", "/auth/login_flow", kind, &flow.to_string(), None)
        .await
        .unwrap();
    let step =
        json!({"client_id": CLIENT, "username": "kitchen", "password": "kitchen"}).to_string();
    let path = format!("/auth/login_flow/{}", flow["flow_id"].as_str().unwrap());
    let (_, done) = house.ask("POST", &path, kind, &step, None).await.unwrap();
    let browser = house.exchange_code(done["result"].as_str().unwrap()).await;
    let long_lived =
        json!({"type": "auth/long_lived_access_token", "client_name": "panel", "lifespan": 1});
    let token = house.command(&browser, long_lived).await;
    let token = held(token.as_str().unwrap(), None);

    let bridge = house.bridge(Some(authority));
    let scopes = bridge.scopes(&token).await.unwrap();
    assert_eq!(scopes.privileged, None);
    let error = bridge.revoke(&token).await.unwrap_err();
    assert!(matches!(error, BridgeError::CannotDo { .. }), "{error}");
    says_no_secret(&error, &[authority, token.value.expose_text().unwrap()]);
    // With nothing but itself it can be ended all the same.
    assert_eq!(house.bridge(None).revoke(&token).await, Ok(Revoked::Gone));
    assert_eq!(house.status(&token).await, 401);
}

/// Without an authority, a token makes its own successor and ends itself.
async fn a_token_rotates_itself(house: &House, token: &str) {
    let bridge = house.bridge(None);
    let error = bridge
        .mint(&order("v1"), &Progress::ignored())
        .await
        .unwrap_err();
    assert!(matches!(error, BridgeError::NoAuthority { .. }), "{error}");
    let old = held(token, None);
    let mut next = order("v2");
    next.replaces = Some(old.clone());
    let new = bridge.mint(&next, &Progress::ignored()).await.unwrap();
    assert_eq!(bridge.revoke(&old).await, Ok(Revoked::Gone));
    assert_eq!(house.status(&old).await, 401);
    assert_eq!(
        house
            .status(&held(new.value.expose_text().unwrap(), None))
            .await,
        200
    );
    let error = house
        .bridge(Some(token))
        .mint(&order("v3"), &Progress::ignored())
        .await
        .unwrap_err();
    assert!(matches!(error, BridgeError::NoAuthority { .. }), "{error}");
    says_no_secret(&error, &[token]);
}
