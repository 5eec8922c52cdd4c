//! A whole home behind a real Home Assistant: a hundred Zigbee devices of twelve entities each, and what is left of
//! them after a restart.
//!
//! The Zigbee devices are a simulator: one client under the profile of Zigbee2MQTT that retains what Zigbee2MQTT
//! retains for them, with `output` set to `attribute`: a topic for each value, so that Home Assistant subscribes more
//! than a thousand times. Home Assistant, its MQTT client, its dialogue and its certificate files are real.

use serde_json::json;

use crate::guest::{claim_for, enroll_topic, log_in, new_key, request};
use crate::house::House;
use crate::mqtt::{Client, Hello};
use crate::rig::{Rig, until};
use crate::soak::rounds;
use crate::wire::{Door, Identity};

const DEVICES: usize = 100;
/// What a device tells, each with a topic of its own.
const FIELDS: [&str; 12] = [
    "temperature",
    "humidity",
    "pressure",
    "battery",
    "voltage",
    "power",
    "energy",
    "current",
    "illuminance",
    "linkquality",
    "co2",
    "angle",
];
/// The size of `bridge/devices` with 300 Zigbee devices, in bytes.
const DESCRIPTION_BYTES: usize = 4 << 20;

/// A certificate under a profile that needs approval, and its files.
struct Enrolled {
    identity: Identity,
    certificate: String,
    key: String,
}

async fn approved(rig: &Rig, door: &Door, device: &str, profile: &str) -> Enrolled {
    let claim = claim_for(rig, device, profile, "15m").await;
    let mut client = log_in(door, &claim).await.unwrap();
    let key = new_key();
    let topic = enroll_topic(&claim.claim);
    let held = client
        .ask(&topic, request(&key, device).as_bytes())
        .await
        .unwrap();
    assert_eq!(held.code(), "approval_required");
    let presented = rig.device(device).await.claims[0].presented_key.clone();
    crate::guest::done(
        rig,
        &["device", "approve", device, "--key", &presented.unwrap()],
    )
    .await;
    let certificate = String::from_utf8(client.message().await.unwrap().payload).unwrap();
    let key = key.serialize_pem();
    Enrolled {
        identity: Identity::from_pem(device, &certificate, &key),
        certificate,
        key,
    }
}

/// Simulates Zigbee2MQTT and its devices.
struct ZigbeeSimulator {
    client: Client,
}

impl ZigbeeSimulator {
    async fn connect(door: &Door, who: &Identity) -> Self {
        let hello = Hello {
            will: Some("zigbee2mqtt/bridge/state"),
            ..Hello::v311(&who.device)
        };
        let client = door.connect(Some(who), &hello).await.unwrap();
        let mut simulator = Self { client };
        simulator
            .say("zigbee2mqtt/bridge/state", "online", true)
            .await;
        simulator
    }

    /// Publishes with QoS 1, and hears that it was taken.
    async fn say(&mut self, topic: &str, payload: &str, retain: bool) {
        let said = match retain {
            true => self.client.retain(topic, payload.as_bytes()).await,
            false => self.client.publish(topic, payload.as_bytes()).await,
        };
        assert_eq!(said.unwrap(), 0, "{topic}");
    }

    /// What Zigbee2MQTT retains when it starts: its list of devices, and a description of each entity.
    async fn announce(&mut self) {
        let description = "d".repeat(DESCRIPTION_BYTES);
        self.say("zigbee2mqtt/bridge/devices", &description, true)
            .await;
        for n in 0..DEVICES {
            let address = format!("0x{n:016x}");
            for field in FIELDS {
                let config = json!({
                    "availability": [{"topic": "zigbee2mqtt/bridge/state"}],
                    "device": {"identifiers": [format!("zigbee2mqtt_{address}")], "name": address},
                    "name": field,
                    "object_id": format!("{address}_{field}"),
                    "state_topic": format!("zigbee2mqtt/{address}/{field}"),
                    "unique_id": format!("{address}_{field}_zigbee2mqtt"),
                });
                let topic = format!("homeassistant/sensor/{address}/{field}/config");
                self.say(&topic, &config.to_string(), true).await;
            }
        }
    }

    /// Every device tells a new state, of which the last is kept.
    async fn tell(&mut self, value: u64) {
        for n in 0..DEVICES {
            for field in FIELDS {
                let topic = format!("zigbee2mqtt/0x{n:016x}/{field}");
                self.say(&topic, &value.to_string(), true).await;
            }
        }
    }
}

/// Waits until Home Assistant shows every entity with this value, and none without one.
async fn all_show(house: &House, token: &str, value: u64) {
    let what = format!("{} entities that show {value}", DEVICES * FIELDS.len());
    let shown = &value.to_string();
    until(&what, async || {
        let states = house.states(token).await;
        let entities = states.iter().filter(|state| {
            let id = state["entity_id"].as_str().unwrap_or_default();
            id.starts_with("sensor.0x") && state["state"] == shown.as_str()
        });
        (entities.count() == DEVICES * FIELDS.len()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_assistant_with_twelve_hundred_entities_has_all_of_them_after_restarts_of_either_side()
 {
    let Some(mut house) = House::start().await else {
        return;
    };
    let ada = house.move_in().await;
    let token = house.long_lived(&ada, "story", 1).await;
    let mut rig = Rig::new().await;
    rig.start().await;
    let door = Door::of(&rig).await;
    let controller = approved(&rig, &door, "ha", "home-assistant").await;
    let bridge = approved(&rig, &door, "zigbee", "zigbee2mqtt").await;
    let mut zigbee = ZigbeeSimulator::connect(&door, &bridge.identity).await;
    zigbee.announce().await;
    zigbee.tell(0).await;

    // As in the guide: the bundle that the gateway prints, and the two files of the device. The client id is left empty.
    let bundle = rig.cli(&["trust", "bundle"]).await.stdout;
    let bundle = String::from_utf8(bundle).unwrap();
    let settings = json!({
        "broker": door.address.ip().to_string(), "port": door.address.port(), "keepalive": 60,
        "tls_insecure": false, "protocol": "3.1.1", "transport": "tcp",
    });
    let files = [
        ("certificate", bundle.as_str()),
        ("client_cert", controller.certificate.as_str()),
        ("client_key", controller.key.as_str()),
    ];
    house.connect_mqtt(&token, &settings, files).await;
    all_show(&house, &token, 0).await;

    for round in 1..=rounds(1, 20) {
        house.restart().await;
        all_show(&house, &token, 2 * round - 2).await;
        zigbee.tell(2 * round - 1).await;
        all_show(&house, &token, 2 * round - 1).await;

        rig.restart().await;
        all_show(&house, &token, 2 * round - 1).await;
        zigbee = ZigbeeSimulator::connect(&door, &bridge.identity).await;
        zigbee.tell(2 * round).await;
        all_show(&house, &token, 2 * round).await;
    }
}
