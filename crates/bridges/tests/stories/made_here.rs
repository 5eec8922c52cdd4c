//! Zigbee and Wi-Fi keys: nothing is talked to, and a person knows the cost before it starts.

use std::io::Write as _;

use hearthkey_bridges::{BridgeError, BridgeKind, Connector, Revoked, Verified, connect};
use serde_json::{Value, json};

use crate::values::{held, order, recorded};

fn made_by(kind: BridgeKind, settings: &Value) -> Box<dyn Connector> {
    connect(kind, &settings.to_string(), None).unwrap()
}

#[tokio::test]
async fn the_cost_of_a_new_zigbee_key_is_counted_and_told_before_it_starts() {
    let mut database = tempfile::NamedTempFile::new().unwrap();
    writeln!(database, "{{\"id\":1,\"type\":\"Coordinator\"}}").unwrap();
    writeln!(
        database,
        "{{\"id\":2,\"type\":\"Router\"}}\n{{\"id\":3,\"type\":\"EndDevice\"}}"
    )
    .unwrap();
    for (settings, cost) in [
        (
            json!({"devices_file": database.path()}),
            "Re-pairing 2 devices",
        ),
        (json!({"devices": 31}), "Re-pairing 31 devices"),
        (
            json!({"devices": 31, "devices_file": "/nowhere/database.db"}),
            "Re-pairing 31 devices",
        ),
        (json!({}), "Re-pairing every device"),
    ] {
        let bridge = made_by(BridgeKind::Zigbee2mqtt, &settings);
        assert!(bridge.abilities().cost.unwrap().starts_with(cost), "{cost}");
        let (progress, steps) = recorded();
        bridge.mint(&order("v1"), &progress).await.unwrap();
        assert!(steps.lock().unwrap()[0].text.starts_with(cost), "{cost}");
    }
}

#[tokio::test]
async fn a_pipe_in_place_of_the_list_of_devices_is_waited_for_by_nobody() {
    let place = tempfile::tempdir().unwrap();
    let pipe = place.path().join("database.db");
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, mode, 0).unwrap();
    let settings = json!({"devices": 31, "devices_file": pipe});
    let cost = made_by(BridgeKind::Zigbee2mqtt, &settings).abilities().cost;
    let cost = cost.unwrap();
    assert!(
        cost.contains("31 devices") && cost.contains("cannot be read"),
        "{cost}"
    );
}

#[tokio::test]
async fn a_new_zigbee_key_has_the_shape_of_the_configuration_and_its_use_is_not_claimed() {
    let bridge = made_by(BridgeKind::Zigbee2mqtt, &json!({"pan_ids": true}));
    let (progress, _) = recorded();
    let minted = bridge.mint(&order("v1"), &progress).await.unwrap();
    let network: Value = serde_json::from_str(minted.value.expose_text().unwrap()).unwrap();
    assert_eq!(network["network_key"].as_array().map(Vec::len), Some(16));
    assert_eq!(network["ext_pan_id"].as_array().map(Vec::len), Some(8));
    let value = held(minted.value.expose_text().unwrap(), None);
    let unknown = bridge.verify(&value).await;
    assert!(
        matches!(unknown, Err(BridgeError::CannotDo { .. })),
        "{unknown:?}"
    );
    let published = held(
        "[1, 3, 5, 7, 9, 11, 13, 15, 0, 2, 4, 6, 8, 10, 12, 13]",
        None,
    );
    assert!(matches!(
        bridge.verify(&published).await,
        Ok(Verified::Fails(_))
    ));
    assert!(matches!(
        bridge.revoke(&value).await,
        Ok(Revoked::ByHand(_))
    ));
    let abilities = bridge.abilities();
    assert!(!abilities.verify && !abilities.revoke && !abilities.two_live);
}

#[tokio::test]
async fn a_new_passphrase_goes_into_secrets_yaml() {
    let bridge = made_by(BridgeKind::Wifi, &json!({"ssid": "Attic", "devices": 1}));
    assert_eq!(
        bridge.abilities().cost.as_deref(),
        Some("Reconnecting 1 device to the network \"Attic\".")
    );
    let (progress, _) = recorded();
    let minted = bridge.mint(&order("v1"), &progress).await.unwrap();
    assert_eq!(minted.value.expose_text().map(str::len), Some(29));
    assert!(matches!(
        bridge.verify(&held("short", None)).await,
        Ok(Verified::Fails(_))
    ));
    assert!(matches!(
        bridge.revoke(&held("long enough", None)).await,
        Ok(Revoked::ByHand(_))
    ));
}
