//! Mosquitto's dynamic security, plain and over TLS: a real one.

use std::fs;
use std::path::Path;
use std::time::Duration;

use hearthkey_bridges::{
    BridgeError, BridgeKind, Connector, Held, Minted, Progress, Revoked, Verified, connect_with,
};
use serde_json::{Value, json};

use crate::broker::{ADMIN, Broker};
use crate::values::{BRIEF, held, order, says_no_secret, secret};

impl Broker {
    fn plain(&self, password: Option<&str>) -> Box<dyn Connector> {
        let settings =
            json!({"url": format!("mqtt://127.0.0.1:{}", self.port), "roles": ["lamps"]});
        self.bridge(&settings, password)
    }

    fn bridge(&self, settings: &Value, password: Option<&str>) -> Box<dyn Connector> {
        let authority = password.map(secret);
        connect_with(
            BridgeKind::Mosquitto,
            &settings.to_string(),
            authority,
            BRIEF,
        )
        .unwrap()
    }
}

fn kept(minted: &Minted) -> Held {
    held(
        minted.value.expose_text().unwrap(),
        minted.remote_id.as_deref(),
    )
}

/// A private CA and a certificate of its own for `localhost`.
fn certificates(directory: &Path) -> String {
    let root_key = rcgen::KeyPair::generate().unwrap();
    let mut root = rcgen::CertificateParams::new(Vec::new()).unwrap();
    root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    root.distinguished_name
        .push(rcgen::DnType::CommonName, "Attic root");
    let root_pem = root.self_signed(&root_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(root, root_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    fs::write(directory.join("leaf.pem"), leaf.pem()).unwrap();
    fs::write(directory.join("key.pem"), key.serialize_pem()).unwrap();
    root_pem
}

#[tokio::test]
async fn a_user_is_made_with_its_roles_works_beside_the_old_one_and_is_ended() {
    let Some(broker) = Broker::start(None, true) else {
        return;
    };
    broker.prepare();
    let bridge = broker.plain(Some(ADMIN));
    let ignored = Progress::ignored();
    let first = kept(
        &bridge
            .mint(&order("attic mosquitto/lamps v1"), &ignored)
            .await
            .unwrap(),
    );
    let user = first.remote_id.clone().unwrap();
    assert_eq!(user, "attic-mosquitto-lamps-v1");
    assert_eq!(bridge.verify(&first).await, Ok(Verified::Works));
    let password = first.value.expose_text().unwrap().to_owned();
    assert!(broker.publish(&user, &password, "lamps/attic"));
    broker.administer(&["addGroupClient", "upstairs", &user]);

    let mut next = order("attic mosquitto/lamps v2");
    next.replaces = Some(first.clone());
    let second = kept(&bridge.mint(&next, &ignored).await.unwrap());
    for live in [&first, &second] {
        assert_eq!(bridge.verify(live).await, Ok(Verified::Works));
        let scopes = bridge.scopes(live).await.unwrap();
        assert_eq!(scopes.privileged, None);
        let rights = scopes.rights.join("\n");
        assert!(
            rights.contains("lamps/#") && rights.contains("sensors/#"),
            "{rights}"
        );
    }
    assert_eq!(bridge.revoke(&first).await, Ok(Revoked::Gone));
    assert!(!broker.publish(&user, &password, "lamps/attic"));
    assert!(matches!(
        bridge.verify(&first).await,
        Ok(Verified::Fails(_))
    ));
    assert_eq!(bridge.verify(&second).await, Ok(Verified::Works));
    assert_eq!(
        bridge.revoke(&first).await,
        Ok(Revoked::Gone),
        "what is gone is gone"
    );
}

#[tokio::test]
async fn an_order_that_is_repeated_ends_the_value_whose_answer_was_lost() {
    let Some(broker) = Broker::start(None, true) else {
        return;
    };
    broker.prepare();
    let bridge = broker.plain(Some(ADMIN));
    let mut wanted = order("v1");
    wanted.scopes = vec!["sensors".into()];
    let lost = kept(&bridge.mint(&wanted, &Progress::ignored()).await.unwrap());
    let again = kept(&bridge.mint(&wanted, &Progress::ignored()).await.unwrap());
    assert!(matches!(bridge.verify(&lost).await, Ok(Verified::Fails(_))));
    assert_eq!(bridge.verify(&again).await, Ok(Verified::Works));
    let rights = bridge.scopes(&again).await.unwrap().rights.join("\n");
    assert!(
        rights.contains("sensors/#") && !rights.contains("lamps/#"),
        "{rights}"
    );
    // A label that only looks the same once it is a user name is somebody else's.
    let other = bridge.mint(&order("v1 "), &Progress::ignored()).await;
    assert!(other.is_ok(), "{other:?}");
    let taken = bridge
        .mint(&order("v1-"), &Progress::ignored())
        .await
        .unwrap_err();
    assert!(matches!(taken, BridgeError::Refused { .. }), "{taken}");
}

#[tokio::test]
async fn the_administrator_is_privileged_and_is_not_ended() {
    let Some(broker) = Broker::start(None, true) else {
        return;
    };
    let bridge = broker.plain(Some(ADMIN));
    let admin = held(ADMIN, Some("admin"));
    let scopes = bridge.scopes(&admin).await.unwrap();
    assert!(scopes.privileged.unwrap().contains("administer"));
    assert!(matches!(
        bridge.revoke(&admin).await,
        Ok(Revoked::ByHand(_))
    ));
    assert_eq!(bridge.verify(&admin).await, Ok(Verified::Works));
}

#[tokio::test]
async fn an_administrators_password_is_not_told_from_others_by_its_value() {
    // Nobody listens there, and nobody has to: the notification comes before.
    let settings = json!({"url": "mqtt://127.0.0.1:9"}).to_string();
    let authority = Some(secret(ADMIN));
    let bridge = connect_with(BridgeKind::Mosquitto, &settings, authority, BRIEF).unwrap();
    assert_eq!(bridge.authority_id(), Some("admin"));
    let mut said = Vec::new();
    for guess in [ADMIN, "another-password"] {
        let nameless = held(guess, None);
        said.push(bridge.verify(&nameless).await.unwrap_err().to_string());
        said.push(bridge.revoke(&nameless).await.unwrap_err().to_string());
        said.push(bridge.scopes(&nameless).await.unwrap_err().to_string());
    }
    said.dedup();
    assert_eq!(said.len(), 1, "{said:?}");
}

#[tokio::test]
async fn a_wrong_administrator_and_a_role_that_is_none_are_told_apart() {
    let Some(broker) = Broker::start(None, true) else {
        return;
    };
    let stale = broker.plain(Some("canary-stale-password"));
    let error = stale
        .mint(&order("v1"), &Progress::ignored())
        .await
        .unwrap_err();
    assert!(matches!(error, BridgeError::NoAuthority { .. }), "{error}");
    says_no_secret(&error, &["canary-stale-password"]);
    let error = broker
        .plain(Some(ADMIN))
        .mint(&order("v1"), &Progress::ignored())
        .await;
    let error = error.unwrap_err();
    assert!(matches!(error, BridgeError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("Role not found"), "{error}");
    let nobody = broker.plain(None);
    assert!(!nobody.abilities().mint);
    let error = nobody
        .mint(&order("v1"), &Progress::ignored())
        .await
        .unwrap_err();
    assert!(matches!(error, BridgeError::NoAuthority { .. }), "{error}");
}

#[tokio::test]
async fn a_broker_is_believed_by_the_root_of_a_private_ca() {
    let directory = tempfile::tempdir().unwrap();
    let root_pem = certificates(directory.path());
    let Some(broker) = Broker::start(Some(directory.path()), true) else {
        return;
    };
    let url = format!("mqtts://localhost:{}", broker.port);
    let admin = held(ADMIN, Some("admin"));
    let known = broker.bridge(&json!({"url": url, "root_pem": root_pem}), Some(ADMIN));
    assert_eq!(known.verify(&admin).await, Ok(Verified::Works));
    let stranger = broker.bridge(&json!({"url": url}), Some(ADMIN));
    let error = stranger.verify(&admin).await.unwrap_err();
    assert!(matches!(error, BridgeError::NotTrusted { .. }), "{error}");
    says_no_secret(&error, &[ADMIN]);
}

#[tokio::test]
async fn a_broker_without_the_plugin_is_given_up() {
    let Some(broker) = Broker::start(None, false) else {
        return;
    };
    let patience = hearthkey_bridges::Patience {
        exchange: Duration::from_millis(500),
        ..BRIEF
    };
    let settings = json!({"url": format!("mqtt://127.0.0.1:{}", broker.port)}).to_string();
    let authority = Some(secret(ADMIN));
    let bridge = connect_with(BridgeKind::Mosquitto, &settings, authority, patience).unwrap();
    let error = bridge
        .scopes(&held("value", Some("user")))
        .await
        .unwrap_err();
    let expected = matches!(
        error,
        BridgeError::TimedOut { .. } | BridgeError::NoAuthority { .. }
    );
    assert!(expected, "{error}");
    says_no_secret(&error, &[ADMIN]);
}
