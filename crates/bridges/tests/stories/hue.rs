//! A Hue bridge: its real protocol over real TLS, spoken by a small server.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hearthkey_bridges::{
    BridgeError, BridgeKind, Connector, Patience, Progress, Revoked, Verified, certificate_pin,
    connect_with,
};
use serde_json::{Value, json};

use crate::server::{Asked, Identity, Reply, Server};
use crate::values::{BRIEF, held, order, recorded, says_no_secret};

const KEY: &str = "83b7780291a6ceffbe0bd049104df1aabbccddee";
const CLIENT_KEY: &str = "321C0C2EBFA7361E55491095B2F5F9DB";

fn answer(asked: &Asked, pressed: bool) -> Reply {
    match (asked.method.as_str(), asked.target.as_str(), pressed) {
        ("POST", "/api", false) => Reply::json(
            200,
            json!([{"error": {"type": 101, "address": "", "description": "link button not pressed"}}]),
        ),
        ("POST", "/api", true) => {
            assert_eq!(asked.json()["generateclientkey"], true);
            Reply::json(
                200,
                json!([{"success": {"username": KEY, "clientkey": CLIENT_KEY}}]),
            )
        }
        ("GET", "/clip/v2/resource/bridge", _) if asked.header("hue-application-key") == KEY => {
            Reply::json(
                200,
                json!({"errors": [], "data": [{"id": "1", "bridge_id": "001788fffe000000"}]}),
            )
        }
        ("GET", "/clip/v2/resource/bridge", _) => Reply::json(403, ""),
        _ => Reply::json(404, ""),
    }
}

/// A bridge and its button.
async fn bridge_with_button() -> (Server, Arc<AtomicBool>) {
    let button = Arc::new(AtomicBool::new(false));
    let pressed = button.clone();
    let server = Server::tls(move |asked| answer(&asked, pressed.load(Ordering::SeqCst))).await;
    (server, button)
}

fn hue(server: &Server, more: &Value, patience: Patience) -> Box<dyn Connector> {
    let mut settings =
        json!({"url": server.url(), "pin_sha256": server.identity.as_ref().unwrap().pin});
    settings
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    connect_with(BridgeKind::Hue, &settings.to_string(), None, patience).unwrap()
}

#[tokio::test]
async fn a_key_is_made_once_the_button_was_pressed_and_a_person_is_told_to() {
    let (server, button) = bridge_with_button().await;
    let bridge = hue(&server, &json!({}), BRIEF);
    let steps = Arc::new(Mutex::new(Vec::new()));
    let told = steps.clone();
    let progress = Progress::new(move |step| {
        told.lock().unwrap().push(step);
        // The person reads it, walks, presses.
        button.store(true, Ordering::SeqCst);
    });
    let minted = bridge
        .mint(&order("attic hue/api-key v2"), &progress)
        .await
        .unwrap();
    assert_eq!(minted.value.expose_text(), Some(KEY));
    assert_eq!(minted.remote_id, None);
    let steps = steps.lock().unwrap();
    assert!(
        steps[0].waits_for_person && steps[0].remaining.is_some(),
        "{steps:?}"
    );
    assert!(steps[0].text.contains("button"), "{steps:?}");
    let pair = server.asked().remove(0);
    assert_eq!(pair.json()["devicetype"], "hearthkey#ttic-hue-api-key-v2");
}

#[tokio::test]
async fn a_button_that_nobody_presses_is_given_up() {
    let (server, _button) = bridge_with_button().await;
    let patience = Patience {
        person: Duration::from_millis(300),
        ..BRIEF
    };
    let bridge = hue(&server, &json!({}), patience);
    let (progress, steps) = recorded();
    let error = bridge.mint(&order("v1"), &progress).await.unwrap_err();
    assert!(matches!(error, BridgeError::NotPressed { .. }), "{error}");
    assert!(error.remedy().contains("press"), "{}", error.remedy());
    assert!(steps.lock().unwrap().len() > 1, "it asks more than once");
}

#[tokio::test]
async fn a_key_that_is_made_at_the_last_moment_is_taken() {
    let (server, button) = bridge_with_button().await;
    button.store(true, Ordering::SeqCst);
    // The time is up while the bridge answers.
    let patience = Patience {
        person: Duration::ZERO,
        ..BRIEF
    };
    let bridge = hue(&server, &json!({}), patience);
    let minted = bridge.mint(&order("v1"), &Progress::ignored()).await;
    assert_eq!(minted.unwrap().value.expose_text(), Some(KEY));
}

#[tokio::test]
async fn a_key_is_tried_and_cannot_be_ended_from_here() {
    let (server, _button) = bridge_with_button().await;
    let bridge = hue(&server, &json!({}), BRIEF);
    assert_eq!(bridge.verify(&held(KEY, None)).await, Ok(Verified::Works));
    assert!(matches!(
        bridge.verify(&held("another-key", None)).await,
        Ok(Verified::Fails(_))
    ));
    let Ok(Revoked::ByHand(what)) = bridge.revoke(&held(KEY, None)).await else {
        unreachable!("a bridge deletes no key");
    };
    assert!(
        what.contains("1.31") && what.contains("account.meethue.com"),
        "{what}"
    );
    assert!(!bridge.abilities().revoke);
    assert_eq!(
        bridge.revoke(&held("another-key", None)).await,
        Ok(Revoked::Gone)
    );
}

#[tokio::test]
async fn a_key_may_bring_its_client_key_along() {
    let (server, button) = bridge_with_button().await;
    button.store(true, Ordering::SeqCst);
    let bridge = hue(&server, &json!({"client_key": true}), BRIEF);
    let (progress, _) = recorded();
    let minted = bridge.mint(&order("v1"), &progress).await.unwrap();
    let value: Value = serde_json::from_slice(minted.value.expose()).unwrap();
    assert_eq!(value, json!({"username": KEY, "clientkey": CLIENT_KEY}));
    let both = held(minted.value.expose_text().unwrap(), None);
    assert_eq!(bridge.verify(&both).await, Ok(Verified::Works));
}

#[tokio::test]
async fn another_certificate_than_the_pinned_one_gets_no_key() {
    let (server, _button) = bridge_with_button().await;
    let pin = certificate_pin(&server.url()).await.unwrap();
    assert_eq!(pin.to_string(), server.identity.as_ref().unwrap().pin);
    let bridge = hue(&server, &json!({"pin_sha256": Identity::new().pin}), BRIEF);
    let error = bridge.verify(&held(KEY, None)).await.unwrap_err();
    assert!(matches!(error, BridgeError::NotTrusted { .. }), "{error}");
    says_no_secret(&error, &[KEY]);
    assert!(server.asked().is_empty());
    assert!(certificate_pin("http://127.0.0.1").await.is_err());
    assert!(certificate_pin("https://169.254.169.254").await.is_err());
}
