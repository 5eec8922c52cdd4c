//! Peers that lie in the middle of a conversation: a websocket that signs in and then does not keep its word, and brokers
//! that are none.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use hearthkey_bridges::{BridgeError, BridgeKind, Connector, Patience, Progress, connect_with};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;

use crate::values::{AUTHORITY, BRIEF, OLD, held, order, says_no_secret, secret};

const HASTY: Patience = Patience {
    exchange: Duration::from_millis(700),
    ..BRIEF
};

/// Stops when it is dropped.
struct Peer {
    port: u16,
    task: JoinHandle<()>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Peer {
    /// A websocket that lets everybody in and answers each request with these messages.
    async fn websocket(answers: impl Fn(&Value) -> Vec<Value> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answers = Arc::new(answers);
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let answers = answers.clone();
                tokio::spawn(async move {
                    let mut socket = tokio_tungstenite::accept_async(tcp).await.unwrap();
                    let hello = json!({"type": "auth_required"});
                    let _ = socket.send(Message::text(hello.to_string())).await;
                    while let Some(Ok(said)) = socket.next().await {
                        let said = serde_json::from_slice(&said.into_data()).unwrap_or_default();
                        for answer in answers(&said) {
                            let _ = socket.send(Message::text(answer.to_string())).await;
                        }
                    }
                });
            }
        });
        Self { port, task }
    }

    /// Sends these bytes to each client that connects, then closes or listens for ever.
    async fn raw(bytes: Vec<u8>, closes: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            while let Ok((mut tcp, _)) = listener.accept().await {
                let bytes = bytes.clone();
                tokio::spawn(async move {
                    let _ = tcp.write_all(&bytes).await;
                    let mut heard = [0; 1024];
                    while !closes && tcp.read(&mut heard).await.is_ok_and(|n| n > 0) {}
                });
            }
        });
        Self { port, task }
    }

    fn bridge(&self, kind: BridgeKind) -> Box<dyn Connector> {
        let scheme = if kind == BridgeKind::Mosquitto {
            "mqtt"
        } else {
            "http"
        };
        let settings = json!({"url": format!("{scheme}://127.0.0.1:{}", self.port)}).to_string();
        connect_with(kind, &settings, Some(secret(AUTHORITY)), HASTY).unwrap()
    }

    async fn mint_error(&self, kind: BridgeKind) -> BridgeError {
        let mut wanted = order("v2");
        wanted.replaces = Some(held(OLD, Some("id-1")));
        let minted = self.bridge(kind).mint(&wanted, &Progress::ignored()).await;
        let error = minted.unwrap_err();
        says_no_secret(&error, &[AUTHORITY, OLD, "canary-minted"]);
        error
    }
}

/// An honest beginning: signing in, and an empty list.
fn begins(said: &Value) -> Option<Vec<Value>> {
    match said["type"].as_str() {
        Some("auth") => Some(vec![json!({"type": "auth_ok"})]),
        Some("auth/refresh_tokens") => Some(vec![result(said, json!([]))]),
        _ => None,
    }
}

fn result(said: &Value, result: Value) -> Value {
    json!({"id": said["id"], "type": "result", "success": true, "result": result})
}

#[tokio::test]
async fn a_house_that_does_not_keep_its_word_is_not_believed() {
    type Lie = fn(&Value) -> Vec<Value>;
    let lies: [(Lie, &str); 7] = [
        (|said| vec![result(said, json!(""))], "empty"),
        (
            |said| vec![result(said, json!({"token": "canary-minted"}))],
            "no text",
        ),
        (
            |said| vec![result(said, json!("canary-minted"))],
            "not in its list",
        ),
        (
            |said| vec![result(said, json!("x".repeat(600_000)))],
            "longer",
        ),
        (|_| vec![json!({"canary-minted": true})], "not of the API"),
        (
            |_| vec![json!({"id": 999, "type": "result", "success": true, "result": "x"}); 400],
            "but no answer",
        ),
        (|_| Vec::new(), "did not finish"),
    ];
    for (lie, why) in lies {
        let house = Peer::websocket(move |said| begins(said).unwrap_or_else(|| lie(said))).await;
        let error = house.mint_error(BridgeKind::HomeAssistant).await;
        assert!(error.to_string().contains(why), "{why}: {error}");
    }
}

#[tokio::test]
async fn a_house_that_says_a_token_back_is_scrubbed() {
    let house = Peer::websocket(|said| {
        let token = said["access_token"].as_str().unwrap_or_default();
        vec![json!({"type": "auth_invalid", "message": format!("who is {token}, {OLD}?")})]
    });
    let error = house.await.mint_error(BridgeKind::HomeAssistant).await;
    assert!(matches!(error, BridgeError::NoAuthority { .. }), "{error}");
    assert!(error.to_string().contains("who is …"), "{error}");
    let house = Peer::websocket(|said| {
        let refusal = json!({"message": format!("no {AUTHORITY} {OLD}")});
        let refused =
            json!({"id": said["id"], "type": "result", "success": false, "error": refusal});
        begins(said).unwrap_or(vec![refused])
    });
    let error = house.await.mint_error(BridgeKind::HomeAssistant).await;
    assert!(matches!(error, BridgeError::Refused { .. }), "{error}");
}

#[tokio::test]
async fn a_broker_that_is_none_is_given_up() {
    let huge_connack = [&[0x20, 0xff, 0xff, 0xff, 0x7f][..], &[0; 100_000]].concat();
    for (bytes, closes) in [
        (Vec::new(), true),
        (Vec::new(), false),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), false),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), true),
        (huge_connack, false),
        (vec![0xff; 1_000_000], false),
        // A CONNACK that promises more than it sends.
        (vec![0x20, 0x10, 0x00], true),
    ] {
        let broker = Peer::raw(bytes, closes).await;
        let error = broker.mint_error(BridgeKind::Mosquitto).await;
        let expected = matches!(
            error,
            BridgeError::TimedOut { .. }
                | BridgeError::ClosedEarly { .. }
                | BridgeError::Garbled { .. }
                | BridgeError::TooLong { .. }
        );
        assert!(expected, "{error}");
    }
}
