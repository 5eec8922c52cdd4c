//! Bridges that hang, lie, print nonsense or too much, point elsewhere, or say secrets back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hearthkey_bridges::{
    BridgeError, BridgeKind, Patience, Progress, Revoked, Verified, connect_with,
};
use serde_json::{Value, json};

use crate::http::{http, settings};
use crate::server::{Reply, Server};
use crate::values::{AUTHORITY, OLD, held, order, says_no_secret, secret};

/// For bridges that answer at once or never.
const HASTY: Patience = Patience {
    exchange: Duration::from_millis(700),
    person: Duration::from_millis(900),
    poll: Duration::from_millis(20),
};

/// Everything that a bridge can be asked, and the errors of all of it.
async fn every_error(kind: BridgeKind, settings: &Value) -> Vec<BridgeError> {
    let bridge = connect_with(kind, &settings.to_string(), Some(secret(AUTHORITY)), HASTY).unwrap();
    let old = held(OLD, Some("id-1"));
    let mut wanted = order("v2");
    wanted.replaces = Some(old.clone());
    let errors = [
        bridge.verify(&old).await.err(),
        bridge.mint(&wanted, &Progress::ignored()).await.err(),
        bridge.revoke(&old).await.err(),
        bridge.scopes(&old).await.err(),
    ];
    errors.into_iter().flatten().collect()
}

/// What a broken bridge answers to everything, for each kind that speaks HTTP.
async fn all_kinds(reply: impl Fn() -> Reply + Send + Sync + Clone + 'static) -> Vec<BridgeError> {
    let again = reply.clone();
    let plain = Server::plain(move |_| again()).await;
    let mut errors = every_error(BridgeKind::Http, &settings(&plain.url())).await;
    let url = json!({"url": plain.url()});
    errors.extend(every_error(BridgeKind::HomeAssistant, &url).await);
    errors.extend(every_error(BridgeKind::Hue, &url).await);
    assert!(errors.len() >= 10, "{errors:#?}");
    errors
}

#[tokio::test]
async fn a_bridge_that_hangs_is_given_up() {
    for error in all_kinds(|| Reply::Hang).await {
        assert!(
            matches!(
                error,
                BridgeError::TimedOut { .. } | BridgeError::NotPressed { .. }
            ),
            "{error}"
        );
        says_no_secret(&error, &[AUTHORITY, OLD]);
    }
}

/// A status alone may say that a value is gone; then the same status says that it works.
fn is_disproved(error: &BridgeError) -> bool {
    matches!(error, BridgeError::Disproved { .. })
}

#[tokio::test]
async fn garbage_is_no_answer_and_is_not_repeated() {
    let garbage = format!("\0\u{7f}GARBAGE {AUTHORITY} {OLD}\r\n\r\n").into_bytes();
    for error in all_kinds(move || Reply::Raw(garbage.clone())).await {
        let expected = matches!(
            error,
            BridgeError::Garbled { .. } | BridgeError::ClosedEarly { .. }
        );
        assert!(expected || is_disproved(&error), "{error}");
        says_no_secret(&error, &[AUTHORITY, OLD, "GARBAGE"]);
    }
    for error in all_kinds(|| Reply::json(200, "[[[GARBAGE")).await {
        let expected = matches!(error, BridgeError::Garbled { .. });
        assert!(expected || is_disproved(&error), "{error}");
        says_no_secret(&error, &["GARBAGE"]);
    }
}

#[tokio::test]
async fn a_megabyte_is_not_read() {
    let megabyte = format!("{{\"message\": \"{}\"}}", "x".repeat(1_000_000));
    for error in all_kinds(move || Reply::json(200, &megabyte)).await {
        let expected = matches!(
            error,
            BridgeError::TooLong { .. } | BridgeError::Garbled { .. }
        );
        assert!(expected, "{error}");
    }
    let head = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(1_000_000)).into_bytes();
    for error in all_kinds(move || Reply::Raw(head.clone())).await {
        assert!(!error.to_string().contains("xxx"), "{error}");
    }
}

#[tokio::test]
async fn a_bridge_that_closes_early_is_no_answer() {
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"data\"".to_vec();
    for reply in [Vec::new(), half] {
        for error in all_kinds(move || Reply::Raw(reply.clone())).await {
            let expected = matches!(
                error,
                BridgeError::ClosedEarly { .. } | BridgeError::Garbled { .. }
            );
            assert!(expected, "{error}");
        }
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_not_even_to_the_same_host() {
    let elsewhere = Server::plain(|_| Reply::json(200, "{}")).await;
    for target in [
        format!("{}/{OLD}", elsewhere.url()),
        "http://169.254.169.254/latest".to_owned(),
        format!("/other?token={OLD}"),
    ] {
        let answer = format!("HTTP/1.1 307 Go\r\nlocation: {target}\r\ncontent-length: 0\r\n\r\n");
        for error in all_kinds(move || Reply::Raw(answer.clone().into_bytes())).await {
            assert!(matches!(error, BridgeError::Redirected { .. }), "{error}");
            says_no_secret(&error, &[OLD]);
        }
    }
    assert!(elsewhere.asked().is_empty());
}

#[tokio::test]
async fn a_new_value_that_does_not_work_is_not_handed_over_and_is_ended() {
    let server = Server::plain(|asked| match asked.method.as_str() {
        "POST" => Reply::json(
            201,
            json!({"data": {"id": "id-7", "token": "canary-minted", "ttl": 60}}),
        ),
        "DELETE" => Reply::json(204, ""),
        _ => Reply::json(401, ""),
    });
    let server = server.await;
    let bridge = http(&settings(&server.url())).unwrap();
    let error = bridge
        .mint(&order("v1"), &Progress::ignored())
        .await
        .unwrap_err();
    assert!(matches!(error, BridgeError::Disproved { .. }), "{error}");
    says_no_secret(&error, &[AUTHORITY, "canary-minted"]);
    let last = server.asked().pop().unwrap();
    assert_eq!(
        (last.method.as_str(), last.target.as_str()),
        ("DELETE", "/api/tokens/id-7")
    );
}

#[tokio::test]
async fn a_value_that_is_said_to_be_gone_and_still_works_is_not_gone() {
    let server = Server::plain(|_| Reply::json(200, "{}")).await;
    let bridge = http(&settings(&server.url())).unwrap();
    let error = bridge.revoke(&held(OLD, Some("id-1"))).await.unwrap_err();
    assert!(matches!(error, BridgeError::Disproved { .. }), "{error}");
    assert!(error.to_string().contains("still works"), "{error}");
}

#[tokio::test]
async fn a_value_that_could_not_be_tried_is_not_lost() {
    let server = Server::plain(|asked| match asked.method.as_str() {
        "POST" => Reply::json(
            201,
            json!({"data": {"id": "id-7", "token": "fresh", "ttl": 60}}),
        ),
        _ => Reply::json(503, ""),
    });
    let server = server.await;
    let bridge = http(&settings(&server.url())).unwrap();
    let minted = bridge
        .mint(&order("v1"), &Progress::ignored())
        .await
        .unwrap();
    assert_eq!(minted.value.expose_text(), Some("fresh"));
}

#[tokio::test]
async fn a_value_that_is_empty_too_long_old_or_missing_is_none() {
    for (data, why) in [
        (json!({"id": "i", "ttl": 60, "token": ""}), "empty"),
        (
            json!({"id": "i", "ttl": 60, "token": "x".repeat(20_000)}),
            "longer",
        ),
        (json!({"id": "i", "ttl": 60, "token": OLD}), "the old one"),
        (json!({"id": "i", "ttl": 60}), "no value where"),
        (
            json!({"id": "i", "ttl": 60, "token": {"a": 1}}),
            "no value where",
        ),
        (json!({"ttl": 60, "token": "canary-minted"}), "no id"),
        (
            json!({"id": "x\u{1b}[2J", "ttl": 60, "token": "canary-minted"}),
            "no id",
        ),
        (
            json!({"id": "token canary-minted", "ttl": 60, "token": "canary-minted"}),
            "no id",
        ),
        (
            json!({"id": "x".repeat(600), "ttl": 60, "token": "canary-minted"}),
            "no id",
        ),
        (
            json!({"id": "i", "ttl": "soon", "token": "canary-minted"}),
            "lifetime",
        ),
        (
            json!({"id": "i", "ttl": -1, "token": "canary-minted"}),
            "lifetime",
        ),
    ] {
        let answer = json!({"data": data});
        let server = Server::plain(move |_| Reply::json(201, &answer)).await;
        let bridge = http(&settings(&server.url())).unwrap();
        let mut wanted = order("v2");
        wanted.replaces = Some(held(OLD, None));
        let error = bridge
            .mint(&wanted, &Progress::ignored())
            .await
            .unwrap_err();
        assert!(error.to_string().contains(why), "{why}: {error}");
        says_no_secret(&error, &["canary-minted", OLD]);
    }
}

#[tokio::test]
async fn secrets_that_a_bridge_says_back_stand_in_no_text() {
    // In the words of its own that Hue's protocol has, plainly and encoded.
    let told = Arc::new(AtomicUsize::new(0));
    let count = told.clone();
    let echo = Server::plain(move |asked| {
        count.fetch_add(1, Ordering::Relaxed);
        let key = asked.header("hue-application-key").to_owned();
        let says = format!("no {OLD} {} {key} c2VjcmV0", OLD.to_uppercase());
        match asked.method.as_str() {
            "POST" => Reply::json(200, json!([{"error": {"type": 7, "description": says}}])),
            _ => Reply::json(403, says),
        }
    });
    let echo = echo.await;
    let settings = json!({"url": echo.url()}).to_string();
    let bridge = connect_with(BridgeKind::Hue, &settings, None, HASTY).unwrap();
    let mut wanted = order("v2");
    wanted.replaces = Some(held(OLD, None));
    let error = bridge
        .mint(&wanted, &Progress::ignored())
        .await
        .unwrap_err();
    says_no_secret(&error, &[OLD, &OLD.to_uppercase()]);
    assert!(error.to_string().contains("no …"), "{error}");
    match bridge.verify(&held(OLD, None)).await.unwrap() {
        Verified::Fails(why) => assert!(!why.contains(OLD), "{why}"),
        Verified::Works => unreachable!("it refused"),
    }
    assert_eq!(bridge.revoke(&held(OLD, None)).await, Ok(Revoked::Gone));
    assert!(told.load(Ordering::Relaxed) >= 3);
}

#[tokio::test]
async fn a_bridge_that_is_not_there_is_unreachable() {
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let url = json!({"url": format!("http://127.0.0.1:{port}")});
    for error in every_error(BridgeKind::HomeAssistant, &url).await {
        assert!(matches!(error, BridgeError::Unreachable { .. }), "{error}");
        assert!(error.to_string().contains(&port.to_string()), "{error}");
    }
    let url = json!({"url": format!("mqtt://127.0.0.1:{port}")});
    for error in every_error(BridgeKind::Mosquitto, &url).await {
        assert!(matches!(error, BridgeError::Unreachable { .. }), "{error}");
    }
}
